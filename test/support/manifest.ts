import { ByteWriter } from '../../src/rocksdb/coding.ts';
import { Tag } from '../../src/rocksdb/version-edit.ts';

/** Writes version edits field by field, in the order of the calls, for tests and benchmarks. */
export class EditBuilder extends ByteWriter {
  /** The fields that every database needs: log number, next file number, last sequence. */
  counters(logNumber: number, nextFileNumber: number, lastSequence: bigint): this {
    this.varint(Tag.logNumber).varint(logNumber).varint(Tag.nextFileNumber).varint(nextFileNumber);
    return this.varint(Tag.lastSequence).varint(lastSequence);
  }

  columnFamily(id: number): this {
    return this.varint(Tag.columnFamily).varint(id);
  }

  addColumnFamily(id: number, name: string): this {
    return this.columnFamily(id).varint(Tag.columnFamilyAdd).slice(Buffer.from(name));
  }

  dropColumnFamily(id: number): this {
    return this.columnFamily(id).varint(Tag.columnFamilyDrop);
  }

  atomicGroup(editsLeft: number): this {
    return this.varint(Tag.inAtomicGroup).varint(editsLeft);
  }

  deleteTable(level: number, number: number): this {
    return this.varint(Tag.deletedFile).varint(level).varint(number);
  }

  /** A kNewFile4 as RocksDB 7.3 and later write it. */
  addTable(table: TableFields): this {
    const { level, number, sizeBytes = 1000, sequences = [1n, 2n], customFields = [] } = table;
    this.varint(Tag.newFile4).varint(level).varint(number).varint(sizeBytes).slice(KEY).slice(KEY);
    this.varint(sequences[0]).varint(sequences[1]);
    for (const [tag, field] of customFields) this.varint(tag).slice(field);
    return this.varint(1);
  }

  addBlobFile(number: number, blobs: number, blobBytes: number): this {
    this.varint(Tag.blobFileAddition).varint(number).varint(blobs).varint(blobBytes);
    return this.slice(Buffer.alloc(0)).slice(Buffer.alloc(0)).varint(0);
  }

  addBlobGarbage(number: number, blobs: number, blobBytes: number): this {
    return this.varint(Tag.blobFileGarbage).varint(number).varint(blobs).varint(blobBytes).varint(0);
  }
}

export interface TableFields {
  readonly level: number;
  readonly number: number;
  readonly sizeBytes?: number;
  readonly sequences?: readonly [bigint, bigint];
  readonly customFields?: readonly (readonly [number, Uint8Array])[];
}

/** An internal key: a user key, then sequence number and type in eight bytes. */
export const KEY = Buffer.concat([Buffer.from('a user key of its time'), Buffer.alloc(8, 1)]);
