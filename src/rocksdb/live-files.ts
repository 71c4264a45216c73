import { Failure, isFailure } from '../base/failure.ts';
import { copyOf } from './coding.ts';
import { ColumnFamily } from './column-family.ts';
import { type DatabaseState, writeManifest } from './manifest-writer.ts';
import { RecordReader } from './record-reader.ts';
import { decodeVersionEdit, type NewTable, type VersionEdit } from './version-edit.ts';

/** What a database consists of after the trusted prefix of its manifest. */
export interface LiveFiles {
  /** Of all column families, by number. */
  readonly tables: readonly LiveTable[];
  /** By number. */
  readonly blobFiles: readonly LiveBlobFile[];
  /** Names in the order of their ids; the first is `default`. */
  readonly columnFamilies: readonly string[];
  /** The greatest largest sequence number of any table that an edit ever added; 0 where none was. */
  readonly greatestSequence: bigint;
  /**
   * What was written last is in no live table: an edit took the table with the greatest sequence number away and
   * added none (a compaction in which deletions met all that they delete), or the tables that came of it are gone.
   */
  readonly newestDropped: boolean;
}

export interface LiveTable {
  readonly number: number;
  readonly sizeBytes: number;
  readonly level: number;
  /** The name of its column family. */
  readonly columnFamily: string;
  readonly smallestSequence: bigint;
  readonly largestSequence: bigint;
  /** RocksDB's unique id, 32 hex digits in the order of the manifest; undefined where there is none (before 7.3). */
  readonly uid: string | undefined;
}

interface LiveBlobFile {
  readonly number: number;
  readonly sizeBytes: number;
}

/**
 * Replays a manifest that is fed as it grows, under the rules of VersionEditHandler (db/version_edit_handler.cc,
 * RocksDB 11.9; the same since 5.18). After a Failure, `corrupt` for bytes that RocksDB does not write and
 * `invalid` for what this program does not know, every further call throws it again: begin with a new replay.
 *
 * A torn tail is no failure, for its rest may still come. In a file that does not grow any more, `trustedBytes`
 * below `fedBytes` is either such a tail, zeros, an open atomic group, or damage that looks like one of them.
 */
export class ManifestReplay {
  readonly #reader = new RecordReader();
  readonly #families = new Map<number, ColumnFamily>([[0, new ColumnFamily(0, Buffer.from('default'))]]);
  readonly #database: DatabaseState = emptyDatabase();
  #greatestSequence = 0n;
  /** The greatest largest sequence number of any table that went without a successor. */
  #droppedSequence = 0n;
  /** The edits of an atomic group that is not complete yet. */
  #group: VersionEdit[] = [];
  #trustedBytes = 0;
  #live: LiveFiles | undefined;
  #failure: Failure | undefined;

  /** Takes the bytes that follow those fed before; the buffer may be used again. */
  feed(bytes: Uint8Array): void {
    this.#throwIfFailed();
    try {
      this.#reader.feed(bytes, (record, start, end) => this.#accept(record, start, end));
    } catch (error) {
      if (isFailure(error)) this.#failure = error;
      throw error;
    }
  }

  get fedBytes(): number {
    return this.#reader.fedBytes;
  }

  /** The length of the prefix that ends with the last whole record outside of an open atomic group. */
  get trustedBytes(): number {
    return this.#trustedBytes;
  }

  /** The state after the trusted prefix; undefined while RocksDB would not open a database with it. */
  live(): LiveFiles | undefined {
    this.#throwIfFailed();
    if (!this.#isComplete()) return undefined;
    this.#live ??= this.#collect();
    return this.#live;
  }

  /**
   * A manifest that says in one snapshot what the trusted prefix says in its edits. It holds no trace of what was
   * deleted, so of `live()` it keeps all but `newestDropped` and what `greatestSequence` knew of deleted tables.
   */
  compact(): Uint8Array {
    this.#throwIfFailed();
    if (!this.#isComplete()) throw new Failure('corrupt', 'cannot rewrite a manifest that is not complete');
    return writeManifest(this.#database, [...this.#families.values()]);
  }

  #throwIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** VersionEditHandler::CheckIterationResult. */
  #isComplete(): boolean {
    const { hasLogNumber, nextFileNumber, lastSequence } = this.#database;
    return hasLogNumber && nextFileNumber !== undefined && lastSequence !== undefined;
  }

  #accept(record: Uint8Array, start: number, end: number): void {
    try {
      for (const edit of this.#takeGroup(decodeVersionEdit(record), record)) this.#apply(edit);
      if (this.#group.length === 0) this.#trustedBytes = end;
    } catch (error) {
      if (!isFailure(error)) throw error;
      const { kind, message, hint } = error;
      const cause = { cause: error, ...(hint === undefined ? {} : { hint }) };
      throw new Failure(kind, `manifest record at byte ${start}: ${message}`, cause);
    }
  }

  /**
   * The edits that are to be applied now: an edit that stands alone, or a whole atomic group with its last one.
   * AtomicGroupReadBuffer::AddEdit: every edit of a group says how many follow.
   */
  #takeGroup(edit: VersionEdit, record: Uint8Array): readonly VersionEdit[] {
    const editsLeft = edit.groupEditsLeft;
    const expected = this.#group.at(-1)?.groupEditsLeft;
    if (expected !== undefined && editsLeft !== expected - 1) {
      throw new Failure('corrupt', `atomic group is broken off with ${expected} edits to come`);
    }
    if (editsLeft === undefined) return [edit];
    this.#group.push(decodeVersionEdit(copyOf(record))); // A copy, because it outlives the record.
    if (editsLeft > 0) return [];
    const group = this.#group;
    this.#group = [];
    return group;
  }

  #apply(edit: VersionEdit): void {
    this.#live = undefined;
    const family = this.#affectedFamily(edit);
    if (family === undefined) {
      const files = edit.newTables.length + edit.deletedTables.length + edit.newBlobFiles.length;
      if (files > 0) throw new Failure('corrupt', 'edit of no column family adds or deletes files');
    } else {
      this.#refuseSharedNumbers(edit, family);
      if (edit.newTables.length === 0)
        this.#noteDropped(edit.deletedTables.map(({ number }) => family.tables.get(number)));
      family.applyFiles(edit);
      applyFamilyFields(edit, family);
      if (edit.logNumber !== undefined) this.#database.hasLogNumber = true;
    }
    for (const { largestSequence } of edit.newTables) {
      if (largestSequence > this.#greatestSequence) this.#greatestSequence = largestSequence;
    }
    applyDatabaseFields(edit, this.#database);
  }

  /** The column family whose fields an edit sets: none when it drops one or is about write-ahead logs. */
  #affectedFamily(edit: VersionEdit): ColumnFamily | undefined {
    const { columnFamilyId: id, addedColumnFamilyName } = edit;
    const present = this.#families.get(id);
    if (addedColumnFamilyName !== undefined) {
      if (present !== undefined) throw new Failure('corrupt', `edit adds column family ${id}, which is there already`);
      const added = new ColumnFamily(id, copyOf(addedColumnFamilyName));
      this.#families.set(id, added);
      return added;
    }
    if (edit.tracksLogs && !edit.dropsColumnFamily) return undefined;
    if (present === undefined || (edit.dropsColumnFamily && id === 0)) {
      throw new Failure('corrupt', `edit is about column family ${id}, which is not there`);
    }
    if (!edit.dropsColumnFamily) return present;
    this.#noteDropped([...present.tables.values()]);
    this.#families.delete(id);
    return undefined;
  }

  #noteDropped(tables: readonly (NewTable | undefined)[]): void {
    for (const table of tables) {
      if (table !== undefined && table.largestSequence > this.#droppedSequence) {
        this.#droppedSequence = table.largestSequence;
      }
    }
  }

  /** File numbers are the database's: two column families cannot have the same table. */
  #refuseSharedNumbers(edit: VersionEdit, family: ColumnFamily): void {
    if (this.#families.size === 1) return;
    for (const other of this.#families.values()) {
      if (other === family) continue;
      const shared = edit.newTables.find(({ number }) => other.tables.has(number));
      if (shared !== undefined) {
        throw new Failure('corrupt', `edit adds table ${shared.number}, which is in column family ${other.id} already`);
      }
    }
  }

  /** Without any table all is dropped; the numbers alone do not show it, for the lowest level has none. */
  #hasDroppedNewest(families: readonly ColumnFamily[]): boolean {
    if (this.#greatestSequence === 0n) return false;
    return this.#droppedSequence === this.#greatestSequence || families.every(({ tables }) => tables.size === 0);
  }

  #collect(): LiveFiles {
    const families = [...this.#families.values()].sort((a, b) => a.id - b.id);
    return {
      tables: families
        .flatMap(({ name, tables }) => [...tables.values()].map((table) => liveTable(table, name)))
        .sort((a, b) => a.number - b.number),
      blobFiles: families
        .flatMap((family) => family.liveBlobFiles())
        .map(({ file }) => ({ number: file.number, sizeBytes: BLOB_HEADER_BYTES + file.blobBytes + BLOB_FOOTER_BYTES }))
        .sort((a, b) => a.number - b.number),
      columnFamilies: families.map(({ name }) => name),
      greatestSequence: this.#greatestSequence,
      newestDropped: this.#hasDroppedNewest(families),
    };
  }
}

function emptyDatabase(): DatabaseState {
  return {
    databaseId: undefined,
    hasLogNumber: false,
    previousLogNumber: undefined,
    minLogNumberToKeep: undefined,
    nextFileNumber: undefined,
    lastSequence: undefined,
    maxColumnFamilyId: undefined,
  };
}

/** VersionEditHandler::ExtractInfoFromVersionEdit, what belongs to the column family. */
function applyFamilyFields(edit: VersionEdit, family: ColumnFamily): void {
  if (edit.logNumber !== undefined) family.logNumber = Math.max(family.logNumber, edit.logNumber);
  if (edit.comparatorName !== undefined) family.comparatorName = copyOf(edit.comparatorName);
  if (edit.persistsUserTimestamps !== undefined) family.persistsUserTimestamps = copyOf(edit.persistsUserTimestamps);
  if (edit.fullHistoryTimestampLow !== undefined) {
    family.fullHistoryTimestampLow = copyOf(edit.fullHistoryTimestampLow);
  }
}

/** The same, what belongs to the database. */
function applyDatabaseFields(edit: VersionEdit, database: DatabaseState): void {
  if (edit.databaseId !== undefined) database.databaseId = copyOf(edit.databaseId);
  database.previousLogNumber = edit.previousLogNumber ?? database.previousLogNumber;
  database.nextFileNumber = edit.nextFileNumber ?? database.nextFileNumber;
  database.lastSequence = edit.lastSequence ?? database.lastSequence;
  database.maxColumnFamilyId = edit.maxColumnFamilyId ?? database.maxColumnFamilyId;
  if (edit.minLogNumberToKeep !== undefined) {
    database.minLogNumberToKeep = Math.max(database.minLogNumberToKeep ?? 0, edit.minLogNumberToKeep);
  }
}

function liveTable(table: NewTable, columnFamily: string): LiveTable {
  const { number, sizeBytes, level, smallestSequence, largestSequence, uniqueId } = table;
  const uid = uniqueId === undefined ? undefined : Buffer.from(uniqueId).toString('hex');
  return { number, sizeBytes, level, columnFamily, smallestSequence, largestSequence, uid };
}

/**
 * A blob file enters the manifest after its footer was written (BlobFileBuilder::CloseBlobFile), so a live one
 * always has it (SharedBlobFileMetaData::GetBlobFileSize, db/blob/blob_log_format.h).
 */
const BLOB_HEADER_BYTES = 30;
const BLOB_FOOTER_BYTES = 32;
