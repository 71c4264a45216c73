import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { EditBuilder, KEY } from '../../test/support/manifest.ts';
import { isFailure } from '../base/failure.ts';
import { decodeVersionEdit, Tag, type VersionEdit } from './version-edit.ts';

const NOTHING: VersionEdit = {
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

const UID = Uint8Array.from({ length: 16 }, (_, i) => i + 1);
const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text));

describe('a version edit', () => {
  test.each<[string, EditBuilder, Partial<VersionEdit>]>([
    ['nothing', edit(), {}],
    ['comparator', edit().varint(Tag.comparator).slice(bytes('bytewise')), { comparatorName: bytes('bytewise') }],
    [
      'counters',
      edit().counters(3, 7, 2n ** 56n - 1n),
      { logNumber: 3, nextFileNumber: 7, lastSequence: 2n ** 56n - 1n },
    ],
    ['previous log number', edit().varint(Tag.previousLogNumber).varint(5), { previousLogNumber: 5 }],
    ['log number to keep', edit().varint(Tag.minLogNumberToKeep).varint(9), { minLogNumberToKeep: 9 }],
    ['compaction cursor, a hint', edit().varint(Tag.compactCursor).varint(2).slice(KEY), {}],
    ['column family', edit().columnFamily(4), { columnFamilyId: 4 }],
    [
      'new column family',
      edit().addColumnFamily(4, 'offsets'),
      { columnFamilyId: 4, addedColumnFamilyName: bytes('offsets') },
    ],
    ['dropped column family', edit().dropColumnFamily(4), { columnFamilyId: 4, dropsColumnFamily: true }],
    ['max column family', edit().varint(Tag.maxColumnFamily).varint(4), { maxColumnFamilyId: 4 }],
    ['atomic group', edit().atomicGroup(2), { groupEditsLeft: 2 }],
    ['database id', edit().varint(Tag.databaseId).slice(bytes('id')), { databaseId: bytes('id') }],
    [
      'full history timestamp',
      edit().varint(Tag.fullHistoryTimestampLow).slice(bytes('ts')),
      { fullHistoryTimestampLow: bytes('ts') },
    ],
    [
      'timestamps flag',
      edit().varint(Tag.persistUserDefinedTimestamps).slice(Uint8Array.of(1)),
      { persistsUserTimestamps: Uint8Array.of(1) },
    ],
    ['log', edit().varint(Tag.walAddition).varint(8).varint(1), { tracksLogs: true }],
    [
      'log with its size',
      edit().varint(Tag.walAddition).varint(8).varint(2).varint(100).varint(1),
      { tracksLogs: true },
    ],
    ['deleted log', edit().varint(Tag.walDeletion).varint(8), { tracksLogs: true }],
    ['log, second form', edit().varint(Tag.walAddition2).slice(Uint8Array.of(8, 1)), { tracksLogs: true }],
    ['deleted log, second form', edit().varint(Tag.walDeletion2).slice(Uint8Array.of(8)), { tracksLogs: true }],
    ['compaction progress', edit().varint(8202).slice(bytes('any')), {}],
    ['compacted manifest size', edit().varint(8203).slice(Uint8Array.of(9)), {}],
    [
      'tag of the future that may be ignored',
      edit()
        .varint(8192 + 4000)
        .slice(bytes('any')),
      {},
    ],
    ['deleted table', edit().deleteTable(6, 12), { deletedTables: [{ level: 6, number: 12 }] }],
  ])('says %s', (_what, builder, expected) => {
    const after = edit().columnFamily(77).bytes();
    const decoded = decodeVersionEdit(Buffer.concat([after, builder.bytes()]));
    expect(plain(decoded)).toEqual({ ...NOTHING, columnFamilyId: 77, ...expected });
  });

  test('says a new table with all its fields, and keeps its bytes as they are', () => {
    const customFields = [
      [5, Uint8Array.of(1)], // Known to RocksDB, of no use to us.
      [3, Uint8Array.of(9, 0, 0, 0, 0, 0, 0, 0)],
      [4, Uint8Array.of(33)],
      [12, UID],
      [65, Uint8Array.of(0)],
      [63, bytes('of the future, may be ignored')],
    ] as const;
    const table = edit().addTable({ level: 6, number: 300, sizeBytes: 5000, sequences: [7n, 2n ** 55n], customFields });
    const record = Buffer.concat([edit().deleteTable(0, 300).bytes(), table.bytes(), edit().columnFamily(1).bytes()]);
    expect(plain(decodeVersionEdit(record))).toEqual({
      ...NOTHING,
      columnFamilyId: 1,
      minLogNumberToKeep: 9,
      deletedTables: [{ level: 0, number: 300 }],
      newTables: [
        {
          level: 6,
          number: 300,
          sizeBytes: 5000,
          smallestSequence: 7n,
          largestSequence: 2n ** 55n,
          uniqueId: UID,
          oldestBlobFileNumber: 33,
          raw: Uint8Array.from(table.bytes()),
        },
      ],
    });
  });

  test('a unique id of zeros and a blob file number of 0 mean that there is none', () => {
    const customFields = [
      [4, Uint8Array.of(0)],
      [12, new Uint8Array(16)],
    ] as const;
    const [table] = decodeVersionEdit(edit().addTable({ level: 0, number: 3, customFields }).bytes()).newTables;
    expect([table?.uniqueId, table?.oldestBlobFileNumber]).toEqual([undefined, undefined]);
  });

  test.each([
    ['7, of LevelDB', edit().varint(Tag.newFile).varint(1).varint(8).varint(900).slice(KEY).slice(KEY), [0n, 0n]],
    [
      '100',
      edit().varint(Tag.newFile2).varint(1).varint(8).varint(900).slice(KEY).slice(KEY).varint(3).varint(4),
      [3n, 4n],
    ],
    [
      '102',
      edit().varint(Tag.newFile3).varint(1).varint(8).varint(0).varint(900).slice(KEY).slice(KEY).varint(3).varint(4),
      [3n, 4n],
    ],
  ])('says a new table in the old form %s', (_tag, builder, [smallestSequence, largestSequence]) => {
    const raw = Uint8Array.from(builder.bytes());
    const table = { level: 1, number: 8, sizeBytes: 900, smallestSequence, largestSequence, raw };
    const expected = { ...table, uniqueId: undefined, oldestBlobFileNumber: undefined };
    expect(plain(decodeVersionEdit(builder.bytes()).newTables)).toEqual([expected]);
  });

  test.each([
    [Tag.blobFileAddition, Tag.blobFileGarbage],
    [Tag.blobFileAdditionDeprecated, Tag.blobFileGarbageDeprecated],
  ])('says blob files and their garbage under the tags %i and %i', (additionTag, garbageTag) => {
    const addition = edit().varint(additionTag).varint(5).varint(10).varint(1000).slice(bytes('m')).slice(bytes('sum'));
    addition.varint(7).slice(bytes('may be ignored')).varint(0);
    const garbage = edit().varint(garbageTag).varint(5).varint(2).varint(200).varint(7).slice(bytes('x')).varint(0);
    expect(plain(decodeVersionEdit(Buffer.concat([addition.bytes(), garbage.bytes()])))).toEqual({
      ...NOTHING,
      newBlobFiles: [{ number: 5, blobs: 10, blobBytes: 1000, raw: Uint8Array.from(addition.bytes()), garbageTag }],
      blobGarbage: [{ number: 5, blobs: 2, blobBytes: 200 }],
    });
  });

  test.each<[string, EditBuilder, string]>([
    ['tag', edit().columnFamily(1).varint(999), 'tag 999 at byte 3 is unknown and must not be ignored'],
    ['tag 8, which no release writes any more', edit().varint(8), 'tag 8 at byte 0 is unknown and must not be ignored'],
    [
      'custom tag of a table',
      edit().addTable({ level: 0, number: 3, customFields: [[66, UID]] }),
      'custom tag 66 of table 3 at byte 69 is unknown and must not be ignored',
    ],
    [
      'custom tag of a blob file',
      edit().varint(Tag.blobFileGarbage).varint(5).varint(2).varint(200).varint(64).slice(UID),
      'custom tag 64 of a blob file at byte 6 is unknown and must not be ignored',
    ],
    [
      'field of a log',
      edit().varint(Tag.walAddition).varint(8).varint(3).varint(100).varint(1),
      'log field 3 at byte 3 is unknown and must not be ignored',
    ],
    [
      'path of a table',
      edit().addTable({ level: 0, number: 3, customFields: [[65, Uint8Array.of(1)]] }),
      'table 3 lies on path 1, outside of the database directory',
    ],
    [
      'path of a table in the old form',
      edit().varint(Tag.newFile3).varint(1).varint(8).varint(2).varint(900).slice(KEY).slice(KEY).varint(3).varint(4),
      'table 8 lies on path 2, outside of the database directory',
    ],
  ])('with an unknown %s is invalid', (_what, builder, message) => {
    expect(() => decodeVersionEdit(builder.bytes())).toThrow(message);
    expect(() => decodeVersionEdit(builder.bytes())).toThrow(expect.toSatisfy((error) => isFailure(error, 'invalid')));
  });

  test.each<[string, EditBuilder, string]>([
    ['file number that no number can hold', edit().deleteTable(0, 2 ** 53), 'file number at byte 2 is malformed'],
    [
      'key without a sequence number',
      edit().varint(Tag.newFile).varint(0).varint(3).varint(9).slice(UID.subarray(0, 7)),
      'smallest key at byte 4 is too short',
    ],
    [
      'unique id of another length',
      edit().addTable({ level: 0, number: 3, customFields: [[12, UID.subarray(1)]] }),
      'unique id at byte 69 has 15 bytes',
    ],
    [
      'log number to keep of another length',
      edit().addTable({ level: 0, number: 3, customFields: [[3, UID]] }),
      'min log number to keep at byte 69 is malformed',
    ],
  ])('with a %s is corrupt', (_what, builder, message) => {
    expect(() => decodeVersionEdit(builder.bytes())).toThrow(message);
    expect(() => decodeVersionEdit(builder.bytes())).toThrow(expect.toSatisfy((error) => isFailure(error, 'corrupt')));
  });

  test('of any bytes throws nothing but a Failure', () => {
    const tag = fc.constantFrom(...Object.values(Tag), 8202, 8203, 8192 + 99, 999);
    const tail = fc.uint8Array({ maxLength: 60 });
    fc.assert(
      fc.property(fc.array(fc.tuple(tag, tail)), (fields) => {
        const record = fields.reduce((builder, [number, body]) => builder.varint(number).raw(body), edit()).bytes();
        try {
          decodeVersionEdit(record);
        } catch (error) {
          expect(error).toSatisfy((thrown) => isFailure(thrown, 'corrupt', 'invalid'));
        }
      }),
      { numRuns: 2000 },
    );
  });
});

function edit(): EditBuilder {
  return new EditBuilder();
}

/** The same with plain arrays of bytes, for comparison by value. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return Uint8Array.from(value);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, plain(field)]));
}
