import { Failure } from '../base/failure.ts';
import { ByteReader } from './coding.ts';
import { entriesOf, handlesOf, readBlock } from './table-block.ts';
import { type BlockHandle, decodeFooter, decodeHandle, type TableFooter } from './table-footer.ts';

/** One version of one key. */
export interface TableEntry {
  readonly key: Uint8Array;
  /** Greater is newer; 0 in tables of the lowest level, below which nothing older can lie. */
  readonly sequence: bigint;
  /** undefined: the key was deleted. A view into the table. */
  readonly value: Uint8Array | undefined;
}

/** Longer than a family of small values ever gets: its write buffer has 1 MiB, and a table holds each key once. */
export const TABLE_BYTES_MAX = 4 * 1024 * 1024;

/**
 * Everything that the table of a small column family says, in the order of its keys, the newest version of each first.
 * Made for families that RocksDB writes with its own defaults: block-based, uncompressed, with a binary index; what goes
 * beyond is a Failure `invalid` that names it. Every byte that is read has been held against its checksum; bytes that
 * are wrong are a Failure `corrupt`. Read from table/block_based/block_based_table_{builder,reader}.cc, RocksDB 10.1 to 11.9.
 */
export function readTable(file: Uint8Array): readonly TableEntry[] {
  if (file.length > TABLE_BYTES_MAX) {
    throw new Failure('invalid', `it has ${file.length} bytes, read are at most ${TABLE_BYTES_MAX}`);
  }
  const footer = decodeFooter(file);
  const meta = readMetaindex(file, footer);
  const properties = readProperties(file, footer, meta);
  const index = footer.index ?? meta.get('rocksdb.index');
  if (index === undefined) throw new Failure('corrupt', 'it has no index');
  const handles = [...handlesOf(readBlock(file, footer, index))];
  assertCount('data blocks', handles.length, properties.dataBlocks);
  assertAscending(handles);

  const entries: TableEntry[] = [];
  let before: Uint8Array | undefined;
  for (const handle of handles) {
    for (const { key, value } of entriesOf(readBlock(file, footer, handle))) {
      if (before !== undefined && compareInternal(before, key) >= 0) {
        throw new Failure('corrupt', `the block at byte ${handle.offset} has keys out of order`);
      }
      before = key;
      entries.push(decodeEntry(key, value));
      if (entries.length > ENTRIES_MAX) throw new Failure('invalid', `it has more than ${ENTRIES_MAX} entries`);
    }
  }
  assertCount('entries', entries.length, properties.entries);
  return entries;
}

function readMetaindex(file: Uint8Array, footer: TableFooter): ReadonlyMap<string, BlockHandle> {
  const raw = pickEntries(readBlock(file, footer, footer.metaindex), META_BLOCKS);
  if (raw.has('rocksdb.range_del')) throw new Failure('invalid', 'it has range deletions, which are not read');
  return new Map([...raw].map(([name, value]) => [name, decodeHandle(new ByteReader(value))]));
}

interface Properties {
  readonly entries: number;
  readonly dataBlocks: number;
}

/** The properties that say how to read, and how much there is to be read. */
function readProperties(file: Uint8Array, footer: TableFooter, meta: ReadonlyMap<string, BlockHandle>): Properties {
  const handle = meta.get('rocksdb.properties');
  if (handle === undefined) throw new Failure('corrupt', 'it has no properties');
  const raw = pickEntries(readBlock(file, footer, handle), PROPERTIES);
  const number = (name: string): number => new ByteReader(raw.get(name) ?? NOTHING).varint64(name);

  if (raw.has('rocksdb.external_sst_file.version')) {
    throw new Failure('invalid', 'it was made outside of its database and ingested, which is not read');
  }
  const comparator = textOf(raw.get('rocksdb.comparator') ?? NOTHING);
  if (comparator !== 'leveldb.BytewiseComparator') {
    throw new Failure('invalid', `its keys are ordered by ${comparator || 'nothing that is named'}, which is not read`);
  }
  const indexType = Buffer.from(raw.get('rocksdb.block.based.table.index.type') ?? NOTHING).toString('hex');
  if (indexType !== BINARY_SEARCH) throw new Failure('invalid', `its index is of type ${indexType}, which is not read`);
  if (number('rocksdb.index.value.is.delta.encoded') !== 1) {
    throw new Failure('invalid', 'its index has values with lengths, which is not read');
  }
  return {
    entries: number('rocksdb.num.entries'),
    dataBlocks: number('rocksdb.num.data.blocks'),
  };
}

/** By name; what nobody asks for takes no memory, however much there is of it. */
function pickEntries(block: Uint8Array, names: ReadonlySet<string>): ReadonlyMap<string, Uint8Array> {
  const picked = new Map<string, Uint8Array>();
  for (const { key, value } of entriesOf(block)) {
    const name = textOf(key);
    if (names.has(name)) picked.set(name, value);
  }
  return picked;
}

/** An internal key ends with eight bytes: sequence number shifted by eight bits, and type, little-endian. */
function decodeEntry(internalKey: Uint8Array, value: Uint8Array): TableEntry {
  const packed = packedOf(internalKey);
  const type = Number(packed & 0xffn);
  if (type !== DELETION && type !== VALUE) {
    throw new Failure('invalid', `it has an entry of type ${type}, read are values (1) and deletions (0)`);
  }
  const key = internalKey.subarray(0, -INTERNAL_KEY_BYTES);
  return { key, sequence: packed >> 8n, value: type === VALUE ? value : undefined };
}

/** InternalKeyComparator: keys ascend, and of one key the newest version comes first. */
function compareInternal(left: Uint8Array, right: Uint8Array): number {
  const [leftPacked, rightPacked] = [packedOf(left), packedOf(right)];
  const order = Buffer.compare(left.subarray(0, -INTERNAL_KEY_BYTES), right.subarray(0, -INTERNAL_KEY_BYTES));
  return order !== 0 ? order : leftPacked === rightPacked ? 0 : leftPacked > rightPacked ? -1 : 1;
}

function packedOf(internalKey: Uint8Array): bigint {
  const at = internalKey.length - INTERNAL_KEY_BYTES;
  if (at < 0) throw new Failure('corrupt', `a key has ${internalKey.length} bytes, which are too few`);
  return new DataView(internalKey.buffer, internalKey.byteOffset + at, INTERNAL_KEY_BYTES).getBigUint64(0, true);
}

/** Then no byte is read twice, whatever the index says. */
function assertAscending(handles: readonly BlockHandle[]): void {
  let end = 0;
  for (const { offset, sizeBytes } of handles) {
    if (offset < end || sizeBytes < 0)
      throw new Failure('corrupt', `its index goes back at the block at byte ${offset}`);
    end = offset + sizeBytes;
  }
}

function assertCount(what: string, found: number, announced: number): void {
  if (found !== announced) throw new Failure('corrupt', `it has ${found} ${what}, its properties say ${announced}`);
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}

const META_BLOCKS = new Set(['rocksdb.index', 'rocksdb.properties', 'rocksdb.range_del']);
const PROPERTIES = new Set([
  'rocksdb.block.based.table.index.type',
  'rocksdb.comparator',
  'rocksdb.external_sst_file.version',
  'rocksdb.index.value.is.delta.encoded',
  'rocksdb.num.data.blocks',
  'rocksdb.num.entries',
]);
const NOTHING = new Uint8Array(0);
/** kBinarySearch as a u32. */
const BINARY_SEARCH = '00000000';
const INTERNAL_KEY_BYTES = 8;
/** Of ValueType (db/dbformat.h), what Put and Delete write. */
const DELETION = 0;
const VALUE = 1;
/** One for each changelog partition of a store, and two more. */
const ENTRIES_MAX = 65_536;
