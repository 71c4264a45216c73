import { Failure } from '../base/failure.ts';
import { copyOf } from './coding.ts';
import { blobFileName, tableFileName } from './file-name.ts';
import type { BlobGarbage, NewBlobFile, NewTable, VersionEdit } from './version-edit.ts';

/** One column family, as the edits applied so far left it. */
export class ColumnFamily {
  readonly id: number;
  /** As it stands in the manifest, and as text. */
  readonly rawName: Uint8Array;
  readonly name: string;
  comparatorName: Uint8Array | undefined;
  persistsUserTimestamps: Uint8Array | undefined;
  fullHistoryTimestampLow: Uint8Array | undefined;
  logNumber = 0;
  readonly tables = new Map<number, NewTable>();
  readonly #blobFiles = new Map<number, BlobFile>();

  constructor(id: number, rawName: Uint8Array) {
    this.id = id;
    this.rawName = rawName;
    this.name = Buffer.from(rawName).toString();
  }

  /**
   * Applies what an edit does to the files, in the order and under the rules of VersionBuilder::Rep::Apply
   * (db/version_builder.cc): deletes before adds, so that one edit can move a table to another level.
   */
  applyFiles(edit: VersionEdit): void {
    for (const file of edit.newBlobFiles) this.#addBlobFile(file);
    for (const garbage of edit.blobGarbage) this.#addBlobGarbage(garbage);
    for (const { number, level } of edit.deletedTables) this.#deleteTable(number, level);
    for (const table of edit.newTables) this.#addTable(table);
  }

  /**
   * The blob files that a version of RocksDB keeps (VersionBuilder::Rep::SaveBlobFilesTo): none below the
   * smallest that a table points to, and of the others none that is all garbage and that no table points to.
   * Tables name the oldest blob file they need only, so the ones above it may be needed too.
   */
  liveBlobFiles(): readonly BlobFile[] {
    const all = [...this.#blobFiles.values()].sort((a, b) => a.file.number - b.file.number);
    const oldestLinked = all.findIndex(({ linkedTables }) => linkedTables.size > 0);
    if (oldestLinked < 0) return [];
    return all.slice(oldestLinked).filter((blob) => blob.linkedTables.size > 0 || blob.garbageBlobs < blob.file.blobs);
  }

  #addTable(table: NewTable): void {
    const { number, level } = table;
    const present = this.tables.get(number);
    if (present !== undefined) {
      throw corrupt(`adds ${tableFileName(number)} on level ${level}, which is on level ${present.level} already`);
    }
    const raw = copyOf(table.raw);
    const uniqueId = table.uniqueId === undefined ? undefined : copyOf(table.uniqueId);
    this.tables.set(number, { ...table, raw, uniqueId });
    this.#blobFileOf(table)?.linkedTables.add(number);
  }

  #deleteTable(number: number, level: number): void {
    const table = this.tables.get(number);
    if (table === undefined) throw corrupt(`deletes ${tableFileName(number)}, which is not there`);
    if (table.level !== level) {
      throw corrupt(`deletes ${tableFileName(number)} from level ${level}, which is on level ${table.level}`);
    }
    this.tables.delete(number);
    this.#blobFileOf(table)?.linkedTables.delete(number);
  }

  #blobFileOf(table: NewTable): BlobFile | undefined {
    const { oldestBlobFileNumber } = table;
    return oldestBlobFileNumber === undefined ? undefined : this.#blobFiles.get(oldestBlobFileNumber);
  }

  #addBlobFile(file: NewBlobFile): void {
    if (this.#blobFiles.has(file.number)) throw corrupt(`adds ${blobFileName(file.number)}, which is there already`);
    this.#blobFiles.set(file.number, {
      file: { ...file, raw: copyOf(file.raw) },
      garbageBlobs: 0,
      garbageBytes: 0,
      linkedTables: new Set(),
    });
  }

  #addBlobGarbage(garbage: BlobGarbage): void {
    const blob = this.#blobFiles.get(garbage.number);
    if (blob === undefined) throw corrupt(`finds garbage in ${blobFileName(garbage.number)}, which is not there`);
    blob.garbageBlobs += garbage.blobs;
    blob.garbageBytes += garbage.blobBytes;
    if (blob.garbageBlobs > blob.file.blobs || blob.garbageBytes > blob.file.blobBytes) {
      throw corrupt(`finds more garbage in ${blobFileName(garbage.number)} than it holds`);
    }
  }
}

export interface BlobFile {
  readonly file: NewBlobFile;
  garbageBlobs: number;
  garbageBytes: number;
  /** The tables that name it as the oldest blob file that they need. */
  readonly linkedTables: Set<number>;
}

function corrupt(what: string): Failure {
  return new Failure('corrupt', `edit ${what}`);
}
