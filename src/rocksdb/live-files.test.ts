import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { GOLDENS, type Golden, goldenFileSize } from '../../test/support/goldens.ts';
import { EditBuilder } from '../../test/support/manifest.ts';
import { Failure, isFailure } from '../base/failure.ts';
import { blobFileName, tableFileName } from './file-name.ts';
import { type LiveFiles, type LiveTable, ManifestReplay } from './live-files.ts';
import { frameRecords } from './record-writer.ts';
import { Tag } from './version-edit.ts';

describe.each(GOLDENS)('the manifest of $name', (golden) => {
  const history = historyOf(golden.manifest);

  test('gives what RocksDB says is live, and only files that are there', () => {
    const replay = replayOf(golden.manifest);
    expect(replay.trustedBytes).toBe(golden.manifest.length);
    const live = replay.live();
    expect(live?.tables).toMatchObject(golden.expected.tables.map(expectedTable).sort((a, b) => a.number - b.number));
    expect(live?.blobFiles.map(({ number }) => number)).toEqual(golden.expected.blobFiles);
    expect(live?.columnFamilies).toEqual(Object.keys(golden.expected.contents));
    expect(live?.newestDropped).toBe(golden.name.endsWith('/emptied'));
    for (const { number, sizeBytes } of live?.tables ?? []) {
      expect(goldenFileSize(golden, tableFileName(number))).toBe(sizeBytes);
    }
    for (const { number, sizeBytes } of live?.blobFiles ?? []) {
      expect(goldenFileSize(golden, blobFileName(number))).toBe(sizeBytes);
    }
  });

  test('carries a unique id per table from RocksDB 7.3 on', () => {
    const uids =
      replayOf(golden.manifest)
        .live()
        ?.tables.map(({ uid }) => uid) ?? [];
    if (hasUniqueIds(golden)) {
      expect(uids).toEqual(uids.map(() => expect.stringMatching(/^[0-9a-f]{32}$/)));
      expect(new Set(uids).size).toBe(uids.length);
    } else {
      expect(uids).toEqual(uids.map(() => undefined));
    }
  });

  test('replays to the same when it comes in pieces', () => {
    const whole = replayOf(golden.manifest);
    const min = golden.manifest.length < 10_000 ? 1 : 100;
    fc.assert(
      fc.property(fc.array(fc.integer({ min, max: 5000 }), { minLength: 1, maxLength: 20 }), (chunkSizes) => {
        const replay = new ManifestReplay();
        for (let at = 0, turn = 0; at < golden.manifest.length; turn++) {
          const chunk = Buffer.from(golden.manifest.subarray(at, at + (chunkSizes[turn % chunkSizes.length] ?? min)));
          at += chunk.length;
          replay.feed(chunk);
          chunk.fill(0xee);
        }
        expect(stateOf(replay)).toEqual(stateOf(whole));
        expect(Buffer.compare(replay.compact(), whole.compact())).toBe(0);
      }),
      { numRuns: 10 },
    );
  });

  test('cut at any byte, gives a state of its history', () => {
    for (const cut of sampled(golden.manifest.length, golden.manifest.length < 10_000 ? 300 : 60)) {
      const replay = replayOf(golden.manifest.subarray(0, cut));
      expect(replay.fedBytes).toBe(cut);
      expect(stateOf(replay)).toEqual(history.findLast(({ trustedBytes }) => trustedBytes <= cut));
    }
  });

  test('with any flipped bit is refused, or ends at a state of its history', () => {
    const flipped = Buffer.from(golden.manifest);
    for (const bit of sampled(golden.manifest.length * 8, golden.manifest.length < 700 ? Infinity : 200)) {
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      const outcome = replayOrFailure(flipped);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      if (outcome instanceof Failure) continue;
      expect(outcome.trustedBytes).toBeLessThan(golden.manifest.length);
      expect(outcome.trustedBytes).toBeLessThanOrEqual(bit >> 3);
      expect(history).toContainEqual(stateOf(outcome));
    }
  });

  test('is written anew with the same live set, at any point of its history', () => {
    const replay = new ManifestReplay();
    const chosen = new Set(sampled(history.length, 60));
    for (const [index, { trustedBytes, live }] of history.entries()) {
      replay.feed(golden.manifest.subarray(replay.fedBytes, trustedBytes));
      if (live === undefined) {
        expect(() => replay.compact()).toThrow('cannot rewrite a manifest that is not complete');
      } else if (chosen.has(index)) {
        const compacted = replayOf(replay.compact());
        expect(withoutTraces(compacted.live())).toEqual(withoutTraces(live));
        expect(compacted.compact()).toEqual(replay.compact());
      }
    }
  });
});

describe('a replay', () => {
  test('begins incomplete, until log number, next file number and last sequence were seen', () => {
    const replay = new ManifestReplay();
    expect(stateOf(replay)).toEqual({ trustedBytes: 0, live: undefined });
    const records = [
      edit().varint(Tag.logNumber).varint(3),
      edit().varint(Tag.nextFileNumber).varint(4),
      edit().varint(Tag.lastSequence).varint(5),
    ].map((builder) => builder.bytes());
    replay.feed(frameRecords(records.slice(0, 2)));
    expect(replay.live()).toBeUndefined();
    expect(replayOf(frameRecords(records)).live()).toEqual(EMPTY);
  });

  test('remembers the greatest sequence number when the table that had it is gone, and that it is', () => {
    const gone = [
      start().addTable({ level: 0, number: 5, sequences: [1n, 90n] }),
      edit().addTable({ level: 0, number: 6, sequences: [91n, 2n ** 55n] }),
      edit().deleteTable(0, 5).deleteTable(0, 6),
    ];
    expect(liveAfter(gone)).toEqual({ ...EMPTY, greatestSequence: 2n ** 55n, newestDropped: true });
  });

  test('says that what was written last is gone until something newer is written', () => {
    const gone = [start().addTable(TABLE_5), edit().deleteTable(0, 5)];
    const live = liveAfter([...gone, edit().addTable({ level: 0, number: 6, sequences: [3n, 3n] })]);
    expect([liveAfter(gone)?.newestDropped, live?.newestDropped]).toEqual([true, false]);
  });

  test('takes the output of a compaction for what went into it', () => {
    const edits = [
      start().addTable(TABLE_5),
      edit()
        .deleteTable(0, 5)
        .addTable({ level: 6, number: 6, sequences: [0n, 0n] }),
    ];
    expect(liveAfter(edits)).toMatchObject({ greatestSequence: 2n, newestDropped: false });
  });

  test('tells that what was written last was dropped, though older tables are left', () => {
    const old = { level: 6, number: 5, sequences: [0n, 0n] } as const;
    const written = [
      start().addTable(old),
      edit().addTable({ level: 0, number: 6, sequences: [1n, 90n] }),
      edit().addTable({ level: 0, number: 7, sequences: [91n, 99n] }),
    ];
    const annihilated = edit().deleteTable(0, 6).deleteTable(0, 7);
    expect(liveAfter([...written, annihilated])).toMatchObject({
      tables: [{ number: 5 }],
      greatestSequence: 99n,
      newestDropped: true,
    });
    const later = edit().addTable({ level: 0, number: 8, sequences: [100n, 100n] });
    expect(liveAfter([...written, annihilated, later])?.newestDropped).toBe(false);
  });

  test.each([
    ['an older table was dropped', [edit().deleteTable(0, 5)]],
    [
      'it was merged',
      [
        edit()
          .deleteTable(0, 6)
          .addTable({ level: 6, number: 7, sequences: [0n, 0n] }),
      ],
    ],
    [
      'it was moved',
      [
        edit()
          .deleteTable(0, 6)
          .addTable({ level: 5, number: 6, sequences: [91n, 99n] }),
      ],
    ],
  ])('does not tell so when %s', (_name, edits) => {
    const written = [
      start().addTable({ level: 0, number: 5, sequences: [1n, 90n] }),
      edit().addTable({ level: 0, number: 6, sequences: [91n, 99n] }),
    ];
    expect(liveAfter([...written, ...edits])?.newestDropped).toBe(false);
  });

  test('tells so when even what it was merged into is gone', () => {
    const merged = edit()
      .deleteTable(0, 5)
      .addTable({ level: 6, number: 6, sequences: [0n, 0n] });
    const edits = [start().addTable({ level: 0, number: 5, sequences: [1n, 90n] }), merged, edit().deleteTable(6, 6)];
    expect(liveAfter(edits)).toEqual({ ...EMPTY, greatestSequence: 90n, newestDropped: true });
  });

  test('moves a table to another level within one edit', () => {
    const live = liveAfter([
      start().addTable(TABLE_5),
      edit()
        .addTable({ ...TABLE_5, level: 6 })
        .deleteTable(0, 5),
    ]);
    expect(live?.tables).toEqual([{ ...LIVE_TABLE_5, level: 6 }]);
  });

  test('knows the column family of an edit at its end only', () => {
    const live = liveAfter([start(), edit().addColumnFamily(2, 'offsets'), edit().addTable(TABLE_5).columnFamily(2)]);
    expect(live).toMatchObject({
      columnFamilies: ['default', 'offsets'],
      tables: [{ ...LIVE_TABLE_5, columnFamily: 'offsets' }],
    });
  });

  test('drops the tables of a dropped column family', () => {
    const edits = [start(), edit().addColumnFamily(2, 'offsets'), edit().addTable(TABLE_5).columnFamily(2)];
    expect(liveAfter([...edits, edit().dropColumnFamily(2)])).toEqual({
      ...EMPTY,
      greatestSequence: 2n,
      newestDropped: true,
    });
  });

  test('tells that what was written last was dropped with its column family', () => {
    const edits = [start().addTable(TABLE_5), edit().addColumnFamily(2, 'offsets')];
    const newest = edit()
      .addTable({ level: 0, number: 6, sequences: [91n, 99n] })
      .columnFamily(2);
    const live = liveAfter([...edits, newest, edit().dropColumnFamily(2)]);
    expect([live?.tables.length, live?.newestDropped]).toEqual([1, true]);
  });

  test('ignores changes of write-ahead logs', () => {
    const log = edit().varint(Tag.walAddition2).slice(Uint8Array.of(8, 1)).columnFamily(0);
    expect(liveAfter([start().addTable(TABLE_5), log])?.tables).toEqual([LIVE_TABLE_5]);
  });

  test('applies an atomic group when it is complete, and trusts nothing of it before', () => {
    const before = frameRecords([start().bytes()]);
    const whole = frameRecords([
      start().bytes(),
      edit().addTable(TABLE_5).atomicGroup(1).bytes(),
      edit().addTable({ level: 0, number: 6 }).atomicGroup(0).bytes(),
    ]);
    const replay = replayOf(whole.subarray(0, whole.length - 1));
    expect(stateOf(replay)).toEqual({ trustedBytes: before.length, live: EMPTY });
    replay.feed(whole.subarray(whole.length - 1));
    expect(replay.trustedBytes).toBe(whole.length);
    expect(replay.live()?.tables.map(({ number }) => number)).toEqual([5, 6]);
  });

  test('keeps the edits of an open atomic group when the buffer that they came in is used again', () => {
    const records = [start(), edit().addTable(TABLE_5).atomicGroup(1), edit().atomicGroup(0)];
    const replay = new ManifestReplay();
    for (const record of records) {
      const buffer = Buffer.from(frameRecords([record.bytes()]));
      replay.feed(buffer);
      buffer.fill(0xee);
    }
    expect(replay.compact()).toEqual(replayOf(frameRecords(records.map((record) => record.bytes()))).compact());
  });

  test.each<[string, readonly EditBuilder[], string]>([
    [
      'adds a table twice',
      [edit().addTable(TABLE_5), edit().addTable({ level: 1, number: 5 })],
      'edit adds 000005.sst on level 1, which is on level 0 already',
    ],
    [
      'adds a table of another column family',
      [edit().addTable(TABLE_5), edit().addColumnFamily(2, 'x'), edit().addTable(TABLE_5).columnFamily(2)],
      'edit adds table 5, which is in column family 0 already',
    ],
    ['deletes a table that is not there', [edit().deleteTable(0, 5)], 'edit deletes 000005.sst, which is not there'],
    [
      'deletes a table twice',
      [edit().addTable(TABLE_5), edit().deleteTable(0, 5), edit().deleteTable(0, 5)],
      'edit deletes 000005.sst, which is not there',
    ],
    [
      'deletes a table of another level',
      [edit().addTable(TABLE_5), edit().deleteTable(1, 5)],
      'edit deletes 000005.sst from level 1, which is on level 0',
    ],
    [
      'adds a column family twice',
      [edit().addColumnFamily(2, 'x'), edit().addColumnFamily(2, 'y')],
      'edit adds column family 2, which is there already',
    ],
    [
      'drops the default column family',
      [edit().dropColumnFamily(0)],
      'edit is about column family 0, which is not there',
    ],
    [
      'drops a column family that is not there',
      [edit().dropColumnFamily(2)],
      'edit is about column family 2, which is not there',
    ],
    [
      'is about a column family that is not there',
      [edit().addTable(TABLE_5).columnFamily(2)],
      'edit is about column family 2, which is not there',
    ],
    [
      'drops a column family and adds a table',
      [edit().addColumnFamily(2, 'x'), edit().dropColumnFamily(2).addTable(TABLE_5)],
      'edit of no column family adds or deletes files',
    ],
    [
      'adds a log and a table',
      [edit().varint(Tag.walDeletion).varint(8).addTable(TABLE_5)],
      'edit of no column family adds or deletes files',
    ],
    [
      'skips a part of an atomic group',
      [edit().atomicGroup(2), edit().atomicGroup(0)],
      'atomic group is broken off with 2 edits to come',
    ],
    [
      'begins an atomic group in another',
      [edit().atomicGroup(2), edit().atomicGroup(2)],
      'atomic group is broken off with 2 edits to come',
    ],
    [
      'stands alone in an atomic group',
      [edit().atomicGroup(1), edit()],
      'atomic group is broken off with 1 edits to come',
    ],
    [
      'adds a blob file twice',
      [edit().addBlobFile(7, 1, 9), edit().addBlobFile(7, 1, 9)],
      'edit adds 000007.blob, which is there already',
    ],
    [
      'finds garbage in no blob file',
      [edit().addBlobGarbage(7, 1, 9)],
      'edit finds garbage in 000007.blob, which is not there',
    ],
    [
      'finds more garbage than blobs',
      [edit().addBlobFile(7, 1, 9), edit().addBlobGarbage(7, 2, 9)],
      'edit finds more garbage in 000007.blob than it holds',
    ],
  ])('of an edit that %s is corrupt, and stays so', (_what, edits, message) => {
    const records = [start(), ...edits].map((builder) => builder.bytes());
    const at = frameRecords(records.slice(0, -1)).length;
    const replay = new ManifestReplay();
    const failure = new Failure('corrupt', `manifest record at byte ${at}: ${message}`);
    expect(() => replay.feed(frameRecords(records))).toThrow(failure);
    expect(() => replay.feed(new Uint8Array(0))).toThrow(failure);
    expect(() => replay.live()).toThrow(failure);
    expect(() => replay.compact()).toThrow(failure);
  });

  test('of an unknown tag is invalid and says where', () => {
    const at = frameRecords([start().bytes()]).length;
    const outcome = replayOrFailure(frameRecords([start().bytes(), edit().columnFamily(0).varint(999).bytes()]));
    expect(outcome).toMatchObject({
      kind: 'invalid',
      message: `manifest record at byte ${at}: tag 999 at byte 3 is unknown and must not be ignored`,
    });
  });

  test('of any bytes throws nothing but a Failure, however good their framing', () => {
    const records = fc.array(
      fc.oneof(
        fc.uint8Array({ maxLength: 40 }),
        fc.constantFrom(start().bytes(), edit().addTable(TABLE_5).bytes(), edit().atomicGroup(1).bytes()),
      ),
    );
    const manifests = fc.oneof(fc.uint8Array({ maxLength: 200 }), records.map(frameRecords));
    fc.assert(
      fc.property(manifests, (bytes) => {
        const outcome = replayOrFailure(bytes);
        if (!(outcome instanceof Failure)) expect(outcome.trustedBytes).toBeLessThanOrEqual(bytes.length);
      }),
      { numRuns: 1000 },
    );
  });
});

describe('blob files', () => {
  const linked = (number: number, blobFile: number) =>
    edit().addTable({ level: 0, number, customFields: [[4, Uint8Array.of(blobFile)]] });

  test.each<[string, readonly EditBuilder[], readonly number[]]>([
    ['none, where no table points to one', [threeBlobFiles()], []],
    ['none, where tables point to unknown ones only', [threeBlobFiles(), linked(5, 40)], []],
    ['none below the oldest that a table points to', [threeBlobFiles(), linked(5, 20)], [20, 30]],
    ['not those that are all garbage', [threeBlobFiles(), linked(5, 10), edit().addBlobGarbage(20, 4, 400)], [10, 30]],
    ['those with some garbage', [threeBlobFiles(), linked(5, 10), edit().addBlobGarbage(20, 3, 300)], [10, 20, 30]],
    [
      'one that is all garbage while a table points to it',
      [threeBlobFiles(), linked(5, 10), edit().addBlobGarbage(10, 4, 400)],
      [10, 20, 30],
    ],
    [
      'none, once the last table that pointed to one is deleted',
      [threeBlobFiles(), linked(5, 20), edit().deleteTable(0, 5)],
      [],
    ],
    [
      'those above, once the oldest link is gone',
      [threeBlobFiles(), linked(5, 10), linked(6, 30), edit().deleteTable(0, 5)],
      [30],
    ],
    ['the same, after a table moved', [threeBlobFiles(), linked(5, 20), linked(5, 20).deleteTable(0, 5)], [20, 30]],
  ])('are live: %s', (_rule, edits, expected) => {
    const manifest = frameRecords(edits.map((builder) => builder.bytes()));
    const blobFiles = expected.map((number) => ({ number, sizeBytes: 30 + 400 + 32 }));
    const replay = replayOf(manifest);
    expect(replay.live()?.blobFiles).toEqual(blobFiles);
    expect(replayOf(replay.compact()).live()?.blobFiles).toEqual(blobFiles);
  });
});

describe('a manifest written anew', () => {
  test('keeps the fields of database, column families and files', () => {
    const manifest = frameRecords(
      [
        edit().varint(Tag.databaseId).slice(Buffer.from('an id')),
        edit()
          .varint(Tag.comparator)
          .slice(Buffer.from('bytewise'))
          .varint(Tag.persistUserDefinedTimestamps)
          .slice(Uint8Array.of(1)),
        edit()
          .addColumnFamily(3, 'offsets')
          .varint(Tag.comparator)
          .slice(Buffer.from('reverse'))
          .varint(Tag.maxColumnFamily)
          .varint(3),
        edit().varint(Tag.logNumber).varint(12),
        edit().counters(10, 30, 900n).varint(Tag.previousLogNumber).varint(0).varint(Tag.minLogNumberToKeep).varint(11),
        edit()
          .varint(Tag.logNumber)
          .varint(14)
          .varint(Tag.fullHistoryTimestampLow)
          .slice(Buffer.from('ts'))
          .columnFamily(3)
          .addTable({ ...TABLE_5, customFields: [[17, Buffer.from('opaque')]] }),
        edit().addBlobFile(20, 4, 400).addBlobGarbage(20, 1, 90),
        edit()
          .addBlobGarbage(20, 1, 10)
          .addTable({
            level: 2,
            number: 6,
            customFields: [
              [4, Uint8Array.of(20)],
              [3, Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0)],
            ],
          }),
      ].map((builder) => builder.bytes()),
    );
    const expected = frameRecords(
      [
        edit().varint(Tag.databaseId).slice(Buffer.from('an id')),
        edit()
          .varint(Tag.comparator)
          .slice(Buffer.from('bytewise'))
          .varint(Tag.persistUserDefinedTimestamps)
          .slice(Uint8Array.of(1)),
        edit()
          .varint(Tag.logNumber)
          .varint(12)
          .addTable({
            level: 2,
            number: 6,
            customFields: [
              [4, Uint8Array.of(20)],
              [3, Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0)],
            ],
          })
          .addBlobFile(20, 4, 400)
          .addBlobGarbage(20, 2, 100),
        edit().varint(Tag.comparator).slice(Buffer.from('reverse')).addColumnFamily(3, 'offsets'),
        edit()
          .varint(Tag.logNumber)
          .varint(14)
          .addTable({ ...TABLE_5, customFields: [[17, Buffer.from('opaque')]] })
          .columnFamily(3)
          .varint(Tag.fullHistoryTimestampLow)
          .slice(Buffer.from('ts')),
        edit()
          .varint(Tag.previousLogNumber)
          .varint(0)
          .varint(Tag.nextFileNumber)
          .varint(30)
          .varint(Tag.maxColumnFamily)
          .varint(3)
          .varint(Tag.minLogNumberToKeep)
          .varint(11)
          .varint(Tag.lastSequence)
          .varint(900),
      ].map((builder) => builder.bytes()),
    );
    expect(Buffer.from(replayOf(manifest).compact()).toString('hex')).toBe(Buffer.from(expected).toString('hex'));
  });
});

const TABLE_5 = { level: 0, number: 5 } as const;

const LIVE_TABLE_5 = {
  ...TABLE_5,
  sizeBytes: 1000,
  columnFamily: 'default',
  smallestSequence: 1n,
  largestSequence: 2n,
  uid: undefined,
};

const EMPTY: LiveFiles = {
  tables: [],
  blobFiles: [],
  columnFamilies: ['default'],
  greatestSequence: 0n,
  newestDropped: false,
};

interface State {
  readonly trustedBytes: number;
  readonly live: LiveFiles | undefined;
}

function edit(): EditBuilder {
  return new EditBuilder();
}

function start(): EditBuilder {
  return edit().counters(3, 100, 1000n);
}

function threeBlobFiles(): EditBuilder {
  return start().addBlobFile(10, 4, 400).addBlobFile(20, 4, 400).addBlobFile(30, 4, 400);
}

function liveAfter(edits: readonly EditBuilder[]): LiveFiles | undefined {
  return replayOf(frameRecords(edits.map((builder) => builder.bytes()))).live();
}

function replayOf(bytes: Uint8Array): ManifestReplay {
  const replay = new ManifestReplay();
  replay.feed(bytes);
  return replay;
}

function replayOrFailure(bytes: Uint8Array): ManifestReplay | Failure {
  try {
    return replayOf(bytes);
  } catch (error) {
    if (isFailure(error, 'corrupt', 'invalid')) return error;
    throw error;
  }
}

function stateOf(replay: ManifestReplay): State {
  return { trustedBytes: replay.trustedBytes, live: replay.live() };
}

/** Every state that the manifest went through, beginning with nothing. */
function historyOf(manifest: Uint8Array): readonly State[] {
  const replay = new ManifestReplay();
  const history = [stateOf(replay)];
  for (let at = 0; at < manifest.length; at++) {
    replay.feed(manifest.subarray(at, at + 1));
    if (replay.trustedBytes !== history.at(-1)?.trustedBytes) history.push(stateOf(replay));
  }
  return history;
}

/** Without what a manifest that was written anew cannot know. */
function withoutTraces(live: LiveFiles | undefined): Partial<LiveFiles> {
  const { greatestSequence: _greatest, newestDropped: _dropped, ...rest } = live ?? EMPTY;
  return rest;
}

function expectedTable(table: Golden['expected']['tables'][number]): Partial<LiveTable> & { readonly number: number } {
  const { smallestSequence, largestSequence, ...rest } = table;
  if (smallestSequence === undefined || largestSequence === undefined) return rest;
  return { ...rest, smallestSequence: BigInt(smallestSequence), largestSequence: BigInt(largestSequence) };
}

function hasUniqueIds({ release }: Golden): boolean {
  const [major = 0, minor = 0] = release.split('.').map(Number);
  return major > 7 || (major === 7 && minor >= 3);
}

/** All numbers below `length`, or `count` of them, spread evenly with the last one among them. */
function sampled(length: number, count: number): readonly number[] {
  if (length <= count) return Array.from({ length }, (_, i) => i);
  return Array.from({ length: count }, (_, i) => length - 1 - Math.floor((i * length) / count));
}
