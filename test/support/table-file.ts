import { ByteWriter } from '../../src/rocksdb/coding.ts';
import { crc32c, maskCrc } from '../../src/rocksdb/crc32c.ts';

/** A table of format version 5 whose checksums are right, whatever else is wrong with it. */
export interface TableSketch {
  /** The data blocks, in the order of the index. */
  readonly blocks: readonly (readonly SketchedEntry[])[];
  /** In place of the properties that go with the blocks. */
  readonly properties?: Readonly<Record<string, Uint8Array>>;
  /** More entries of the metaindex, all pointing to the properties. */
  readonly metaindex?: readonly string[];
  /** What the last four bytes of every data block say besides its one restart point. */
  readonly blockFeatures?: number;
  readonly compressionType?: number;
  /** Entries of the index share a byte of their keys, but for the first. */
  readonly packsIndex?: boolean;
  /** In place of the offset and size of each data block in the index. */
  readonly handle?: (offset: number, sizeBytes: number) => readonly [number, number];
}

export interface SketchedEntry {
  readonly key: string;
  readonly sequence: number;
  readonly type?: number;
  readonly value?: Uint8Array;
  /** Bytes that the entry claims to share with the key before. */
  readonly shared?: number;
}

export function tableFile(sketch: TableSketch): Buffer {
  const file = new TableBuilder();
  const dataHandles = sketch.blocks.map((entries) =>
    file.block(blockOf(entries.map(internalEntry), sketch.blockFeatures), sketch.compressionType),
  );
  const index = file.block(
    blockOf(
      dataHandles.map(([offset, sizeBytes], at) => ({
        key: Buffer.from(`${at}`),
        value: handleBytes(sketch.handle?.(offset, sizeBytes) ?? [offset, sizeBytes]),
        hasLength: false,
        shared: sketch.packsIndex === true ? Math.min(at, 1) : 0,
      })),
    ),
  );
  const properties = file.block(blockOf(propertyEntries(sketch)));
  const metaindex = file.block(
    blockOf(
      [...(sketch.metaindex ?? []), 'rocksdb.properties'].map((name) => ({
        key: Buffer.from(name),
        value: handleBytes(properties),
      })),
    ),
  );
  const footer = Buffer.alloc(53);
  footer[0] = 1;
  footer.set(Buffer.concat([handleBytes(metaindex), handleBytes(index)]), 1);
  footer.writeUInt32LE(5, 41);
  footer.writeBigUInt64LE(0x88e241b785f4cff7n, 45);
  return Buffer.concat([file.bytes(), footer]);
}

type Handle = readonly [offset: number, sizeBytes: number];

class TableBuilder {
  readonly #parts: Buffer[] = [];
  #length = 0;

  block(content: Uint8Array, compressionType = 0): Handle {
    const handle = [this.#length, content.length] as const;
    const checked = Buffer.concat([content, Buffer.from([compressionType])]);
    const checksum = Buffer.alloc(4);
    checksum.writeUInt32LE(maskCrc(crc32c(checked)));
    this.#parts.push(checked, checksum);
    this.#length += checked.length + checksum.length;
    return handle;
  }

  bytes(): Buffer {
    return Buffer.concat(this.#parts);
  }
}

interface RawEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly shared?: number;
  readonly hasLength?: boolean;
}

function blockOf(entries: readonly RawEntry[], features = 0): Uint8Array {
  const writer = new ByteWriter();
  for (const { key, value, shared = 0, hasLength = true } of entries) {
    writer.varint(shared).varint(key.length);
    if (hasLength) writer.varint(value.length);
    writer.raw(key).raw(value);
  }
  const restarts = Buffer.alloc(8);
  restarts.writeUInt32LE((1 | features) >>> 0, 4);
  return writer.raw(restarts).bytes();
}

function internalEntry({ key, sequence, type = 1, value = Buffer.alloc(0), shared = 0 }: SketchedEntry): RawEntry {
  const packed = Buffer.alloc(8);
  packed.writeBigUInt64LE((BigInt(sequence) << 8n) | BigInt(type));
  return { key: Buffer.concat([Buffer.from(key), packed]), value, shared };
}

function propertyEntries({ blocks, properties }: TableSketch): readonly RawEntry[] {
  const all = {
    'rocksdb.block.based.table.index.type': Buffer.alloc(4),
    'rocksdb.comparator': Buffer.from('leveldb.BytewiseComparator'),
    'rocksdb.index.value.is.delta.encoded': varint(1),
    'rocksdb.num.data.blocks': varint(blocks.length),
    'rocksdb.num.entries': varint(blocks.flat().length),
    ...properties,
  };
  return Object.entries(all).map(([name, value]) => ({ key: Buffer.from(name), value }));
}

function handleBytes([offset, sizeBytes]: Handle): Uint8Array {
  return new ByteWriter().varint(offset).varint(sizeBytes).bytes();
}

export function varint(value: number): Uint8Array {
  return new ByteWriter().varint(value).bytes();
}
