import { Failure } from '../base/failure.ts';
import { ByteReader } from './coding.ts';
import { BLOCK_TRAILER_BYTES, type BlockHandle, checksumAt, decodeHandle, type TableFooter } from './table-footer.ts';

/**
 *     block := entry*, restart point u32 * count, count u32
 *     entry := shared v32, own v32, value length v32, own key bytes, value
 *
 * A key is the first `shared` bytes of the key before and its own. In an index no value length is written, and an
 * entry that shares something would have a part of a handle only; with RocksDB's defaults each is a restart point and shares
 * nothing. The uppermost bits of the count are features. Read from table/block_based/{block.cc, block_util.h,
 * data_block_footer.cc} and IndexValue (table/format.cc), RocksDB 10.1 to 11.9.
 */
export interface BlockEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** The content of a block, a view, once it has its checksum. `corrupt` without it, `invalid` for a compressed one. */
export function readBlock(file: Uint8Array, footer: TableFooter, handle: BlockHandle): Uint8Array {
  const { offset, sizeBytes } = handle;
  const end = offset + sizeBytes;
  if (offset < 0 || end + BLOCK_TRAILER_BYTES > footer.offset) {
    throw new Failure('corrupt', `a block of ${sizeBytes} bytes at byte ${offset} does not fit into it`);
  }
  const stored = new DataView(file.buffer, file.byteOffset + end + 1, 4).getUint32(0, true);
  if (checksumAt(footer, file.subarray(offset, end + 1), offset) !== stored) {
    throw new Failure('corrupt', `the block at byte ${offset} does not have its checksum`);
  }
  const compression = file[end];
  if (compression !== NO_COMPRESSION) {
    throw new Failure('invalid', `the block at byte ${offset} is compressed (type ${compression}), which is not read`);
  }
  return file.subarray(offset, end);
}

/** The entries of a data, properties or metaindex block, in their order. */
export function* entriesOf(block: Uint8Array): Generator<BlockEntry> {
  const input = new ByteReader(entryBytes(block));
  let key: Uint8Array = new Uint8Array(0);
  while (!input.atEnd) {
    const shared = input.varint32('shared key length');
    const own = input.varint32('key length');
    const valueLength = input.varint32('value length');
    key = joinKey(key, shared, input.take(own, 'key'));
    yield { key, value: input.take(valueLength, 'value') };
  }
}

/** The handles of the data blocks that an index block lists. */
export function* handlesOf(block: Uint8Array): Generator<BlockHandle> {
  const input = new ByteReader(entryBytes(block));
  while (!input.atEnd) {
    const shared = input.varint32('shared key length');
    if (shared > 0) throw new Failure('invalid', 'its index has entries between restart points, which are not read');
    input.take(input.varint32('key length'), 'key');
    yield decodeHandle(input);
  }
}

/** The bytes before the restart points, which are needed for searching only. */
function entryBytes(block: Uint8Array): Uint8Array {
  if (block.length < 4) throw new Failure('corrupt', `a block has ${block.length} bytes`);
  const count = new DataView(block.buffer, block.byteOffset + block.length - 4, 4).getUint32(0, true);
  if (count > RESTARTS_MAX) {
    throw new Failure('invalid', `a block has features (0x${count.toString(16)}) that are not read`);
  }
  const end = block.length - 4 * (count + 1);
  if (end < 0) throw new Failure('corrupt', `a block of ${block.length} bytes has ${count} restart points`);
  return block.subarray(0, end);
}

function joinKey(before: Uint8Array, shared: number, own: Uint8Array): Uint8Array {
  if (shared > before.length) {
    throw new Failure('corrupt', `a key shares ${shared} bytes with one of ${before.length}`);
  }
  if (shared + own.length > KEY_BYTES_MAX) {
    throw new Failure('invalid', `a key has ${shared + own.length} bytes, read are at most ${KEY_BYTES_MAX}`);
  }
  return shared === 0 ? own : Buffer.concat([before.subarray(0, shared), own]);
}

const NO_COMPRESSION = 0;
/** Above are hash indexes, uniform keys, values apart from keys. */
const RESTARTS_MAX = 2 ** 28 - 1;
/** A topic name has 249 bytes, a property name some 60. Bounds what a block of keys that share everything unfolds to. */
const KEY_BYTES_MAX = 1024;
