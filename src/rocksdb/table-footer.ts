import { Failure } from '../base/failure.ts';
import { ByteReader } from './coding.ts';
import { crc32c, maskCrc } from './crc32c.ts';
import { xxh3 } from './xxh3.ts';

/** Where a block lies in its table, without its trailer. */
export interface BlockHandle {
  readonly offset: number;
  readonly sizeBytes: number;
}

/**
 * The last 53 bytes of a block-based table:
 *
 *     checksum type u8, 40 bytes by version, format version u32, magic number u64
 *     version 5:      metaindex handle, index handle, padding
 *     version 6, 7:   3e 00 7a 00, checksum of the footer u32, base of checksums u32, size of the metaindex u32,
 *                     16 bytes that are not looked at, 8 bytes that are zero
 *     handle :=       offset v64, size v64
 *
 * Read from table/format.cc, RocksDB 10.1 to 11.9. Of older versions the family that is read here has none.
 */
export interface TableFooter {
  readonly checksum: Checksum;
  readonly metaindex: BlockHandle;
  /** From version 6 on, the metaindex has it. */
  readonly index: BlockHandle | undefined;
  /** 0 up to version 5: then a checksum does not depend on where its bytes lie. */
  readonly checksumBase: number;
  /** Where the footer begins: no block reaches so far. */
  readonly offset: number;
}

type Checksum = 'crc32c' | 'xxh3';

/** Failure `corrupt` for no table and for wrong bytes, `invalid` for a format or checksum that is not read. */
export function decodeFooter(file: Uint8Array): TableFooter {
  const offset = file.length - FOOTER_BYTES;
  if (offset < 0) throw new Failure('corrupt', `it has ${file.length} bytes, which are too few for a table`);
  const footer = Buffer.from(file.subarray(offset));
  const magic = footer.readBigUInt64LE(45);
  if (magic === BLOCK_BASED_TABLE_0) throw unreadVersion(0);
  if (magic !== BLOCK_BASED_TABLE) {
    throw new Failure('corrupt', `its last bytes are ${footer.toString('hex', 45)}, which end no block-based table`);
  }
  const version = footer.readUInt32LE(41);
  if (version < VERSION_MIN || version > VERSION_MAX) throw unreadVersion(version);
  const checksum = CHECKSUMS.get(footer.readUInt8(0));
  if (checksum === undefined) {
    throw new Failure('invalid', `its checksums are of type ${footer.readUInt8(0)}, read are crc32c (1) and xxh3 (4)`);
  }
  return version < 6 ? decodeHandles(footer, { checksum, offset }) : decodeSealed(footer, { checksum, offset });
}

/**
 * The checksum that a block at this offset must carry. The base and the offset are mixed into it from version 6 on
 * (ChecksumModifierForContext), so that a block of another place or table does not pass.
 */
export function checksumAt(
  footer: Pick<TableFooter, 'checksum' | 'checksumBase'>,
  bytes: Uint8Array,
  offset: number,
): number {
  const plain = footer.checksum === 'crc32c' ? maskCrc(crc32c(bytes)) : xxh3OfBlock(bytes);
  if (footer.checksumBase === 0) return plain;
  const place = (offset % 2 ** 32) + Math.floor(offset / 2 ** 32);
  return (plain + ((footer.checksumBase ^ place) >>> 0)) % 2 ** 32;
}

/** ComputeBuiltinChecksum, kXXH3: the last byte is hashed on its own. */
function xxh3OfBlock(bytes: Uint8Array): number {
  const hash = Number(BigInt.asUintN(32, xxh3(bytes.subarray(0, -1))));
  return (hash ^ Math.imul(bytes.at(-1) ?? 0, LAST_BYTE_PRIME)) >>> 0;
}

function decodeHandles(
  footer: Buffer,
  { checksum, offset }: { readonly checksum: Checksum; readonly offset: number },
): TableFooter {
  const input = new ByteReader(footer.subarray(1, 41));
  const [metaindex, index] = [decodeHandle(input), decodeHandle(input)];
  return { checksum, metaindex, index, checksumBase: 0, offset };
}

function decodeSealed(
  footer: Buffer,
  { checksum, offset }: { readonly checksum: Checksum; readonly offset: number },
): TableFooter {
  if (footer.readUInt32LE(1) !== EXTENDED_MAGIC)
    throw new Failure('corrupt', 'its footer has no extended magic number');
  const stored = footer.readUInt32LE(5);
  const checksumBase = footer.readUInt32LE(9);
  const metaindexBytes = footer.readUInt32LE(13);
  footer.writeUInt32LE(0, 5);
  if (checksumBase === 0 || checksumAt({ checksum, checksumBase }, footer, offset) !== stored) {
    throw new Failure('corrupt', 'its footer does not have its checksum');
  }
  if (footer.readBigUInt64LE(33) !== 0n) throw new Failure('invalid', 'its footer asks for a feature that is unknown');
  const metaindex = { offset: offset - BLOCK_TRAILER_BYTES - metaindexBytes, sizeBytes: metaindexBytes };
  return { checksum, metaindex, index: undefined, checksumBase, offset };
}

function unreadVersion(version: number): Failure {
  return new Failure('invalid', `its format version is ${version}, read are ${VERSION_MIN} to ${VERSION_MAX}`);
}

export function decodeHandle(input: ByteReader): BlockHandle {
  return { offset: input.varint64('block offset'), sizeBytes: input.varint64('block size') };
}

/** After every block: compression type u8, checksum u32 of block and type. */
export const BLOCK_TRAILER_BYTES = 5;

const FOOTER_BYTES = 53;
const BLOCK_BASED_TABLE = 0x88e241b785f4cff7n;
/** Of version 0, which RocksDB 5.18 writes for Java. */
const BLOCK_BASED_TABLE_0 = 0xdb4775248b80fb57n;
/** Bytes 3e 00 7a 00. */
const EXTENDED_MAGIC = 0x007a003e;
const VERSION_MIN = 5;
const VERSION_MAX = 7;
const CHECKSUMS: ReadonlyMap<number, Checksum> = new Map([
  [1, 'crc32c'],
  [4, 'xxh3'],
]);
const LAST_BYTE_PRIME = 0x6b9083d9;
