import { Failure } from '../base/failure.ts';
import { ByteReader } from './coding.ts';

/**
 * One change of a database, as a record of its manifest says it. All byte arrays are views into the record.
 *
 *     edit := (tag: varint32, body)*        bodies as in `decodeVersionEdit`
 *
 * Read from db/version_edit.cc, db/wal_edit.cc and db/blob/blob_file_{addition,garbage}.cc, RocksDB 5.18 to 11.9.
 */
export interface VersionEdit {
  /** 0 is `default`. It may follow what it is about, so an edit means nothing before its end. */
  readonly columnFamilyId: number;
  readonly addedColumnFamilyName: Uint8Array | undefined;
  readonly dropsColumnFamily: boolean;
  /** Adds or deletes write-ahead logs; such an edit is about no column family. */
  readonly tracksLogs: boolean;
  /** How many edits of its atomic group follow; undefined outside of groups. */
  readonly groupEditsLeft: number | undefined;
  readonly databaseId: Uint8Array | undefined;
  readonly comparatorName: Uint8Array | undefined;
  readonly persistsUserTimestamps: Uint8Array | undefined;
  readonly fullHistoryTimestampLow: Uint8Array | undefined;
  readonly logNumber: number | undefined;
  readonly previousLogNumber: number | undefined;
  readonly minLogNumberToKeep: number | undefined;
  readonly nextFileNumber: number | undefined;
  readonly lastSequence: bigint | undefined;
  readonly maxColumnFamilyId: number | undefined;
  readonly deletedTables: readonly DeletedTable[];
  readonly newTables: readonly NewTable[];
  readonly newBlobFiles: readonly NewBlobFile[];
  readonly blobGarbage: readonly BlobGarbage[];
}

interface DeletedTable {
  readonly level: number;
  readonly number: number;
}

export interface NewTable {
  readonly level: number;
  readonly number: number;
  readonly sizeBytes: number;
  readonly smallestSequence: bigint;
  readonly largestSequence: bigint;
  /** 16 bytes; undefined where there are none. */
  readonly uniqueId: Uint8Array | undefined;
  readonly oldestBlobFileNumber: number | undefined;
  /** Tag and body as they stand in the record. */
  readonly raw: Uint8Array;
}

export interface NewBlobFile {
  readonly number: number;
  readonly blobs: number;
  /** Of its blob records, without the header and footer of the file. */
  readonly blobBytes: number;
  /** Tag and body as they stand in the record. */
  readonly raw: Uint8Array;
  /** Of its garbage, in the numbering of the release that wrote the addition. */
  readonly garbageTag: number;
}

export interface BlobGarbage {
  readonly number: number;
  readonly blobs: number;
  readonly blobBytes: number;
}

/**
 * Failure `corrupt` for what no release writes, `invalid` for what this one cannot know: a tag that must not be
 * ignored, a table outside of the database directory. Positions in messages count from the start of the record.
 */
export function decodeVersionEdit(record: Uint8Array): VersionEdit {
  const input = new ByteReader(record);
  const edit: Draft = emptyEdit();
  while (!input.atEnd) {
    const start = input.position;
    const tag = input.varint32('tag');
    switch (tag) {
      case Tag.newFile4:
        decodeNewFile4(input, start, edit);
        break;
      case Tag.newFile:
      case Tag.newFile2:
      case Tag.newFile3:
        edit.newTables.push(decodeOldNewFile(input, start, tag));
        break;
      case Tag.deletedFile:
        edit.deletedTables.push({ level: input.varint32('level'), number: input.varint64('file number') });
        break;
      case Tag.blobFileAddition:
      case Tag.blobFileAdditionDeprecated:
        edit.newBlobFiles.push(decodeBlobFileAddition(input, start, tag));
        break;
      case Tag.blobFileGarbage:
      case Tag.blobFileGarbageDeprecated:
        edit.blobGarbage.push(decodeBlobFileGarbage(input));
        break;
      default:
        decodeOtherField(input, tag, start, edit);
    }
  }
  return edit;
}

/** Fields that are not about files. */
function decodeOtherField(input: ByteReader, tag: number, start: number, edit: Draft): void {
  switch (tag) {
    case Tag.comparator:
      edit.comparatorName = input.slice('comparator name');
      return;
    case Tag.logNumber:
      edit.logNumber = input.varint64('log number');
      return;
    case Tag.previousLogNumber:
      edit.previousLogNumber = input.varint64('previous log number');
      return;
    case Tag.nextFileNumber:
      edit.nextFileNumber = input.varint64('next file number');
      return;
    case Tag.lastSequence:
      edit.lastSequence = input.varint64BigInt('last sequence');
      return;
    case Tag.minLogNumberToKeep:
      edit.minLogNumberToKeep = input.varint64('min log number to keep');
      return;
    case Tag.compactCursor: // Where the next compaction of a level would begin: a hint.
      input.varint32('level');
      input.slice('compaction cursor');
      return;
    case Tag.columnFamily:
      edit.columnFamilyId = input.varint32('column family id');
      return;
    case Tag.columnFamilyAdd:
      edit.addedColumnFamilyName = input.slice('column family name');
      return;
    case Tag.columnFamilyDrop:
      edit.dropsColumnFamily = true;
      return;
    case Tag.maxColumnFamily:
      edit.maxColumnFamilyId = input.varint32('max column family id');
      return;
    case Tag.inAtomicGroup:
      edit.groupEditsLeft = input.varint32('edits left in atomic group');
      return;
    default:
      decodeIgnorableField(input, tag, start, edit);
  }
}

/** Fields that an older release skips. All but two, which came without a length, are length-prefixed. */
function decodeIgnorableField(input: ByteReader, tag: number, start: number, edit: Draft): void {
  if ((tag & TAG_SAFE_IGNORE_MASK) === 0) {
    throw new Failure('invalid', `tag ${tag} at byte ${start} is unknown and must not be ignored`);
  }
  switch (tag) {
    case Tag.databaseId:
      edit.databaseId = input.slice('database id');
      return;
    case Tag.walAddition:
      edit.tracksLogs = true;
      return decodeWalAddition(input);
    case Tag.walDeletion:
      edit.tracksLogs = true;
      input.varint64('log number');
      return;
    case Tag.walAddition2:
    case Tag.walDeletion2:
      edit.tracksLogs = true;
      input.slice('log change');
      return;
    case Tag.fullHistoryTimestampLow:
      edit.fullHistoryTimestampLow = input.slice('full history timestamp');
      return;
    case Tag.persistUserDefinedTimestamps:
      edit.persistsUserTimestamps = input.slice('user-defined timestamps flag');
      return;
    default: // Also the progress of a compaction (8202) and the size of the last compacted manifest (8203).
      input.slice(`body of tag ${tag}`);
  }
}

/**
 *     level v32, number v64, size v64, smallest key, largest key, smallest sequence v64, largest sequence v64,
 *     (custom tag v32, slice)*, 1
 */
function decodeNewFile4(input: ByteReader, start: number, edit: Draft): void {
  const level = input.varint32('level');
  const number = input.varint64('file number');
  const sizeBytes = input.varint64('file size');
  skipKeyRange(input);
  const smallestSequence = input.varint64BigInt('smallest sequence');
  const largestSequence = input.varint64BigInt('largest sequence');
  let uniqueId: Uint8Array | undefined;
  let oldestBlobFileNumber: number | undefined;
  for (;;) {
    const fieldStart = input.position;
    const tag = input.varint32('custom tag');
    if (tag === CustomTag.terminate) break;
    const field = input.slice('custom field');
    if (tag === CustomTag.uniqueId) {
      uniqueId = decodeUniqueId(field, fieldStart);
    } else if (tag === CustomTag.oldestBlobFileNumber) {
      oldestBlobFileNumber = new ByteReader(field).varint64('oldest blob file number') || undefined; // 0: none.
    } else if (tag === CustomTag.minLogNumberToKeep) {
      edit.minLogNumberToKeep = decodeFixed64(field, fieldStart);
    } else if (tag === CustomTag.pathId) {
      refuseOtherPath(number, field[0] ?? -1);
    } else if ((tag & CUSTOM_TAG_NOT_SAFE_IGNORE_MASK) !== 0) {
      throw new Failure(
        'invalid',
        `custom tag ${tag} of table ${number} at byte ${fieldStart} is unknown and must not be ignored`,
      );
    }
  }
  const raw = input.bytes.subarray(start, input.position);
  const sequences = { smallestSequence, largestSequence };
  edit.newTables.push({ level, number, sizeBytes, ...sequences, uniqueId, oldestBlobFileNumber, raw });
}

/** As above without custom fields; the first form also has no sequences, and only the third has a path id v32. */
function decodeOldNewFile(input: ByteReader, start: number, tag: number): NewTable {
  const level = input.varint32('level');
  const number = input.varint64('file number');
  if (tag === Tag.newFile3) refuseOtherPath(number, input.varint32('path id'));
  const sizeBytes = input.varint64('file size');
  skipKeyRange(input);
  const hasSequences = tag !== Tag.newFile;
  return {
    level,
    number,
    sizeBytes,
    smallestSequence: hasSequences ? input.varint64BigInt('smallest sequence') : 0n,
    largestSequence: hasSequences ? input.varint64BigInt('largest sequence') : 0n,
    uniqueId: undefined,
    oldestBlobFileNumber: undefined,
    raw: input.bytes.subarray(start, input.position),
  };
}

function skipKeyRange(input: ByteReader): void {
  for (const what of ['smallest key', 'largest key']) {
    const at = input.position;
    if (input.slice(what).length < INTERNAL_KEY_BYTES_MIN) {
      throw new Failure('corrupt', `${what} at byte ${at} is too short`);
    }
  }
}

function decodeUniqueId(field: Uint8Array, at: number): Uint8Array | undefined {
  if (field.length !== 16) throw new Failure('corrupt', `unique id at byte ${at} has ${field.length} bytes`);
  return field.some((byte) => byte !== 0) ? field : undefined;
}

function decodeFixed64(field: Uint8Array, at: number): number {
  const value = field.length === 8 ? Buffer.from(field).readBigUInt64LE() : undefined;
  if (value === undefined || value > Number.MAX_SAFE_INTEGER) {
    throw new Failure('corrupt', `min log number to keep at byte ${at} is malformed`);
  }
  return Number(value);
}

function refuseOtherPath(number: number, pathId: number): void {
  if (pathId === 0) return;
  throw new Failure('invalid', `table ${number} lies on path ${pathId}, outside of the database directory`, {
    hint: 'keep all files of a store in its directory: set neither db_paths nor cf_paths',
  });
}

/** number v64, blobs v64, bytes v64, checksum method, checksum, custom fields. */
function decodeBlobFileAddition(input: ByteReader, start: number, tag: number): NewBlobFile {
  const number = input.varint64('blob file number');
  const blobs = input.varint64('blob count');
  const blobBytes = input.varint64('blob bytes');
  input.slice('checksum method');
  input.slice('checksum');
  skipBlobCustomFields(input);
  return { number, blobs, blobBytes, raw: input.bytes.subarray(start, input.position), garbageTag: tag + 1 };
}

/** number v64, blobs v64, bytes v64, custom fields. */
function decodeBlobFileGarbage(input: ByteReader): BlobGarbage {
  const number = input.varint64('blob file number');
  const blobs = input.varint64('garbage blob count');
  const blobBytes = input.varint64('garbage blob bytes');
  skipBlobCustomFields(input);
  return { number, blobs, blobBytes };
}

/** (custom tag v32, slice)*, 0 */
function skipBlobCustomFields(input: ByteReader): void {
  for (;;) {
    const at = input.position;
    const tag = input.varint32('custom tag');
    if (tag === 0) return;
    if ((tag & CUSTOM_TAG_NOT_SAFE_IGNORE_MASK) !== 0) {
      throw new Failure('invalid', `custom tag ${tag} of a blob file at byte ${at} is unknown and must not be ignored`);
    }
    input.slice('custom field');
  }
}

/** number v64, (2, synced size v64)?, 1 */
function decodeWalAddition(input: ByteReader): void {
  input.varint64('log number');
  for (;;) {
    const at = input.position;
    const tag = input.varint32('log field');
    if (tag === 1) return;
    if (tag !== 2) throw new Failure('invalid', `log field ${tag} at byte ${at} is unknown and must not be ignored`);
    input.varint64('log size');
  }
}

type Draft = {
  -readonly [Field in keyof VersionEdit]: VersionEdit[Field] extends readonly (infer Item)[]
    ? Item[]
    : VersionEdit[Field];
};

function emptyEdit(): Draft {
  return {
    columnFamilyId: 0,
    addedColumnFamilyName: undefined,
    dropsColumnFamily: false,
    tracksLogs: false,
    groupEditsLeft: undefined,
    databaseId: undefined,
    comparatorName: undefined,
    persistsUserTimestamps: undefined,
    fullHistoryTimestampLow: undefined,
    logNumber: undefined,
    previousLogNumber: undefined,
    minLogNumberToKeep: undefined,
    nextFileNumber: undefined,
    lastSequence: undefined,
    maxColumnFamilyId: undefined,
    deletedTables: [],
    newTables: [],
    newBlobFiles: [],
    blobGarbage: [],
  };
}

export const Tag = {
  comparator: 1,
  logNumber: 2,
  nextFileNumber: 3,
  lastSequence: 4,
  compactCursor: 5,
  deletedFile: 6,
  newFile: 7,
  previousLogNumber: 9,
  minLogNumberToKeep: 10,
  newFile2: 100,
  newFile3: 102,
  newFile4: 103,
  columnFamily: 200,
  columnFamilyAdd: 201,
  columnFamilyDrop: 202,
  maxColumnFamily: 203,
  inAtomicGroup: 300,
  blobFileAddition: 400,
  blobFileGarbage: 401,
  databaseId: 8193,
  blobFileAdditionDeprecated: 8194,
  blobFileGarbageDeprecated: 8195,
  walAddition: 8196,
  walDeletion: 8197,
  fullHistoryTimestampLow: 8198,
  walAddition2: 8199,
  walDeletion2: 8200,
  persistUserDefinedTimestamps: 8201,
} as const;

/**
 * Of a new table. Fields that are not named here only travel on in its raw bytes. The log number is the database's,
 * hidden in a table for the sake of old releases.
 */
const CustomTag = { terminate: 1, minLogNumberToKeep: 3, oldestBlobFileNumber: 4, uniqueId: 12, pathId: 65 } as const;

/** A tag with this bit is followed by a length, and who does not know it may skip it. */
const TAG_SAFE_IGNORE_MASK = 1 << 13;

/** A custom tag with this bit must not be skipped by who does not know it. */
const CUSTOM_TAG_NOT_SAFE_IGNORE_MASK = 1 << 6;

/** An internal key ends with sequence number and type. */
const INTERNAL_KEY_BYTES_MIN = 8;
