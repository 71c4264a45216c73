import { ByteWriter } from './coding.ts';
import type { ColumnFamily } from './column-family.ts';
import { frameRecords } from './record-writer.ts';
import { Tag } from './version-edit.ts';

/** What the edits of a manifest say of the whole database. */
export interface DatabaseState {
  databaseId: Uint8Array | undefined;
  /** Some column family was given a log number. */
  hasLogNumber: boolean;
  previousLogNumber: number | undefined;
  minLogNumberToKeep: number | undefined;
  nextFileNumber: number | undefined;
  lastSequence: bigint | undefined;
  maxColumnFamilyId: number | undefined;
}

/**
 * A manifest with one snapshot of the state, as VersionSet::WriteCurrentStateToManifest writes it (db/version_set.cc,
 * RocksDB 11.9): per column family an edit that creates it and one with its files. Files are written as they stood
 * in the source, so that fields we do not know survive, and so that a release reads what one of its age wrote.
 *
 * Left out is what a restored database does not need: compaction cursors, write-ahead logs, tags that may be ignored.
 */
export function writeManifest(database: DatabaseState, families: readonly ColumnFamily[]): Uint8Array {
  const records = families.flatMap((family) => [identityEdit(family), filesEdit(family)]);
  return frameRecords([...databaseIdEdit(database), ...records, countersEdit(database)]);
}

function databaseIdEdit({ databaseId }: DatabaseState): readonly Uint8Array[] {
  return databaseId === undefined ? [] : [new ByteWriter().varint(Tag.databaseId).slice(databaseId).bytes()];
}

function identityEdit(family: ColumnFamily): Uint8Array {
  const edit = new ByteWriter();
  if (family.comparatorName !== undefined) edit.varint(Tag.comparator).slice(family.comparatorName);
  if (family.id !== 0)
    edit.varint(Tag.columnFamily).varint(family.id).varint(Tag.columnFamilyAdd).slice(family.rawName);
  if (family.persistsUserTimestamps !== undefined) {
    edit.varint(Tag.persistUserDefinedTimestamps).slice(family.persistsUserTimestamps);
  }
  return edit.bytes();
}

function filesEdit(family: ColumnFamily): Uint8Array {
  const edit = new ByteWriter().varint(Tag.logNumber).varint(family.logNumber);
  for (const { raw } of family.tables.values()) edit.raw(raw);
  for (const { file, garbageBlobs, garbageBytes } of family.liveBlobFiles()) {
    edit.raw(file.raw);
    if (garbageBlobs === 0) continue;
    edit.varint(file.garbageTag).varint(file.number).varint(garbageBlobs).varint(garbageBytes).varint(0);
  }
  if (family.id !== 0) edit.varint(Tag.columnFamily).varint(family.id);
  if (family.fullHistoryTimestampLow !== undefined) {
    edit.varint(Tag.fullHistoryTimestampLow).slice(family.fullHistoryTimestampLow);
  }
  return edit.bytes();
}

/** Comes last: the raw bytes of a table may carry an older log number to keep. */
function countersEdit(database: DatabaseState): Uint8Array {
  const edit = new ByteWriter();
  const fields = [
    [Tag.previousLogNumber, database.previousLogNumber],
    [Tag.nextFileNumber, database.nextFileNumber],
    [Tag.maxColumnFamily, database.maxColumnFamilyId],
    [Tag.minLogNumberToKeep, database.minLogNumberToKeep],
    [Tag.lastSequence, database.lastSequence],
  ] as const;
  for (const [tag, value] of fields) if (value !== undefined) edit.varint(tag).varint(value);
  return edit.bytes();
}
