/**
 * What an OPTIONS file says of the release that wrote it: an INI text with `rocksdb_version=9.7.3` in its section
 * [Version] (options/options_parser.cc). Undefined where it does not say so.
 */
export function readRocksDbVersion(options: Uint8Array): string | undefined {
  return /^\s*rocksdb_version=(\d+\.\d+\.\d+)\s*$/m.exec(
    Buffer.from(options.subarray(0, HEAD_BYTES)).toString('latin1'),
  )?.[1];
}

/** The version stands in the first section. */
const HEAD_BYTES = 4096;
