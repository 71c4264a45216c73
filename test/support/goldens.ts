import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseCurrent } from '../../src/rocksdb/file-name.ts';
import type { LiveTable } from '../../src/rocksdb/live-files.ts';

/** A database as a release of RocksDB left it; test/fixtures/rocksdb/maker made them all. */
export interface Golden {
  /** `9.7.3/atomic` */
  readonly name: string;
  readonly release: string;
  readonly directory: string;
  readonly manifestName: string;
  readonly manifest: Uint8Array;
  /** What RocksDB said of it. */
  readonly expected: RocksDbDescription;
}

/** The JSON of the maker's Description.java. Sequence numbers are absent in 5.18. */
export interface RocksDbDescription {
  readonly tables: readonly (Pick<LiveTable, 'number' | 'sizeBytes' | 'level' | 'columnFamily'> & {
    readonly smallestSequence?: string;
    readonly largestSequence?: string;
  })[];
  readonly blobFiles: readonly number[];
  /** Per column family a digest of its entries. */
  readonly contents: Readonly<Record<string, string>>;
  readonly lastSequence: string;
}

const GOLDENS_DIRECTORY = resolve(import.meta.dirname, '../fixtures/rocksdb');

export const GOLDEN_MAKER_DIRECTORY = join(GOLDENS_DIRECTORY, 'maker');

export const GOLDENS: readonly Golden[] = readdirSync(GOLDENS_DIRECTORY)
  .filter((release) => /^\d/.test(release))
  .flatMap((release) => readdirSync(join(GOLDENS_DIRECTORY, release)).map((scenario) => loadGolden(release, scenario)));

function loadGolden(release: string, scenario: string): Golden {
  const directory = join(GOLDENS_DIRECTORY, release, scenario);
  const manifestName = parseCurrent(readFileSync(join(directory, 'CURRENT')));
  const manifest = readFileSync(join(directory, manifestName));
  return {
    name: `${release}/${scenario}`,
    release,
    directory,
    manifestName,
    manifest,
    expected: JSON.parse(readFileSync(join(directory, 'expected.json'), 'utf8')),
  };
}

export function goldenFileSize(golden: Golden, name: string): number {
  return statSync(join(golden.directory, name)).size;
}
