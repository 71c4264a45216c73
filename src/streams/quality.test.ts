import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  after,
  before,
  CHECKPOINT_NS,
  checkpointSight,
  databaseSight,
  lookContext,
  parentOf,
  tableSight,
  taskSight,
} from '../../test/support/sights.ts';
import {
  type DatabaseSight,
  type JudgeContext,
  type Judgement,
  judge,
  type TaskSight,
  verdictUnder,
} from './quality.ts';
import { stateTimeMs } from './state-time.ts';

const CLEAN = ['clean', 'clean'];
/** Under at-least-once worth something, under exactly-once not. */
const LIVE = ['live', 'exactly_once_running'];

const CLOSED = taskSight();
const OLD = { tables: [tableSight(before(5_000))] };
const FLUSHED = withTables(tableSight(after(1)));

describe('a task with a checkpoint file', () => {
  test('is clean under every guarantee when nothing was written since the checkpoint', () => {
    expect(judge(CLOSED, lookContext())).toEqual({
      atLeastOnce: { kind: 'valid', quality: 'clean' },
      exactlyOnce: { kind: 'valid', quality: 'clean' },
      stores: new Set(['agg', 'win']),
      leftOut: [],
      memory: {
        device: 8n,
        inode: 12n,
        birthtimeNs: before(3_600_000),
        checkpoint: { inode: 77n, mtimeNs: CHECKPOINT_NS },
        passed: true,
        tainted: false,
        databases: new Map([
          ['rocksdb/agg', { manifest: 'MANIFEST-000005', greatestSequence: 1_000n }],
          ['win/win.0', { manifest: 'MANIFEST-000005', greatestSequence: 1_000n }],
          ['win/win.3600000', { manifest: 'MANIFEST-000005', greatestSequence: 1_000n }],
        ]),
        parents: new Map([
          ['rocksdb', { mtimeNs: before(60_000), children: ['agg'] }],
          ['win', { mtimeNs: before(60_000), children: ['win.0', 'win.3600000'] }],
        ]),
        watch: { sinceMs: lookContext().nowMs, writes: 0n, looksExactlyOnce: false },
      },
    });
  });

  test('is live under at-least-once and refused under exactly-once when a table is newer than the checkpoint', () => {
    const { atLeastOnce, exactlyOnce } = judge(FLUSHED, lookContext());
    expect({ atLeastOnce, exactlyOnce }).toEqual({
      atLeastOnce: { kind: 'valid', quality: 'live' },
      exactlyOnce: {
        kind: 'refused',
        why: {
          reason: 'exactly_once_running',
          message: 'tables are newer than .checkpoint and may hold writes of aborted transactions',
        },
      },
    });
  });

  test('is refused without the file', () => {
    expect(verdicts(taskSight({ checkpoint: undefined }))).toEqual(['no_offset', 'exactly_once_running']);
  });

  test('is refused when a store is none of RocksDB', () => {
    expect(verdicts(taskSight({ customStores: ['lucene'] }))).toEqual(['unsupported_store', 'unsupported_store']);
  });
});

describe('Q1: no table is newer than the checkpoint', () => {
  test.each([
    ['was flushed before it', tableSight(before(1)), CLEAN],
    ['was flushed in the very tick of it', tableSight(CHECKPOINT_NS), CLEAN],
    ['was flushed a nanosecond after it', tableSight(CHECKPOINT_NS + 1n), LIVE],
    ['is the output of a compaction that ran across it', tableSight(after(40), before(16)), CLEAN],
    ['was copied later with its old mtime', tableSight(before(5_000), after(1_000)), CLEAN],
    ['ended after it on a file system without birth times', tableSight(after(1), 0n), LIVE],
    ['ended before it on a file system without birth times', tableSight(before(1), 0n), CLEAN],
  ])('a table that %s', (_name, table, expected) => {
    expect(verdicts(withTables(table))).toEqual(expected);
  });

  test('equal stamps count as newer where the file system has whole seconds', () => {
    const second = 1_700_000_000_000_000_000n;
    const at = (table: bigint): TaskSight => ({
      ...withTables(tableSight(table)),
      checkpoint: checkpointSight(['orders-agg-changelog 3 1', 'orders-win-changelog 3 1'], { mtimeNs: second }),
      parents: new Map([['win', parentOf('segments', ['win.0', 'win.3600000'], second)]]),
    });
    expect([verdicts(at(second)), verdicts(at(second - 1_000_000_000n))]).toEqual([LIVE, CLEAN]);
  });

  test('one newer table of one segment is enough', () => {
    const databases = [databaseSight('rocksdb/agg'), databaseSight('win/win.0', { tables: [tableSight(after(1))] })];
    expect(verdicts(taskSight({ databases }))).toEqual(LIVE);
  });
});

describe('Q2: what passed once goes on passing while nothing newer is added', () => {
  const compacted = withTables(tableSight(after(2_000)));

  test('a later compaction does no harm', () => {
    expect(verdicts(compacted, { after: [CLOSED] })).toEqual(CLEAN);
    expect(verdicts(compacted)).toEqual(LIVE);
  });

  test('nor does a second one', () => {
    expect(verdicts(withTables(tableSight(after(9_000))), { after: [CLOSED, compacted] })).toEqual(CLEAN);
  });

  test.each([
    ['a flush', withAgg({ greatestSequence: 1_001n })],
    ['another manifest', withAgg({ manifest: 'MANIFEST-000009' })],
    ['a checkpoint of another inode', { ...compacted, checkpoint: checkpointOf({ inode: 78n }) }],
    ['a checkpoint rewritten in place', { ...compacted, checkpoint: checkpointOf({ mtimeNs: after(1) }) }],
    ['a new segment that has tables', withSegment({ tables: [tableSight(after(1))] })],
    ['a new segment whose tables were dropped', withSegment({ tables: [], newestDropped: true })],
  ])('%s is another matter', (_name, sight) => {
    expect(verdicts(sight, { after: [CLOSED], nowMs: laterMs(20_000) })).toEqual(LIVE);
  });

  test('a new segment without tables holds nothing newer', () => {
    const sight = { ...withSegment({ tables: [], greatestSequence: 0n }), databases: [...compacted.databases] };
    sight.databases.push(databaseSight('win/win.7200000', { tables: [], greatestSequence: 0n }));
    expect(verdicts(sight, { after: [CLOSED], nowMs: laterMs(20_000) })).toEqual(CLEAN);
  });

  test('what never passed does not begin to', () => {
    expect(verdicts(FLUSHED, { after: [FLUSHED] })).toEqual(LIVE);
    // A compaction under a clock that was set back.
    expect(verdicts(CLOSED, { after: [FLUSHED] })).toEqual(LIVE);
  });

  test.each([
    ['is added', withAgg({ greatestSequence: 1_001n, tables: [tableSight(before(5_000))] })],
    ['is added under a new manifest', withAgg({ ...OLD, manifest: 'MANIFEST-000009', greatestSequence: 1_001n })],
    ['is a new segment', withSegment({ tables: [tableSight(before(5_000))] })],
  ])('what %s while it is in place is newer, whatever its stamps say', (_name, sight) => {
    const life = { nowMs: laterMs(20_000) };
    expect(verdicts(sight, { after: [CLOSED], ...life })).toEqual(LIVE);
    expect(verdicts(sight, { after: [CLOSED, sight], ...life })).toEqual(LIVE);
    expect(verdicts({ ...sight, checkpoint: checkpointOf({ inode: 78n }) }, { after: [CLOSED], ...life })).toEqual(
      CLEAN,
    );
  });
});

describe('Q4: what was dropped has no stamp', () => {
  const emptied = withAgg({ tables: [], newestDropped: true });

  test('a store that is empty, but was not, counts as written', () => {
    expect(verdicts(emptied)).toEqual(LIVE);
    expect(verdicts(withAgg({ tables: [], greatestSequence: 0n }))).toEqual(CLEAN);
  });

  test('so does one with old tables whose newest was dropped', () => {
    expect(verdicts(withAgg({ tables: [tableSight(before(5_000))], newestDropped: true }))).toEqual(LIVE);
  });

  test('unless Q2 covers it', () => {
    expect(verdicts(emptied, { after: [CLOSED] })).toEqual(CLEAN);
  });

  test('unless the database held all of it when the checkpoint was another one', () => {
    const earlier = { ...emptied, checkpoint: checkpointOf({ inode: 70n, mtimeNs: before(30_000) }) };
    expect(verdicts(emptied, { after: [earlier] })).toEqual(CLEAN);
    expect(verdicts(emptied, { after: [{ ...emptied, checkpoint: undefined }] })).toEqual(CLEAN);
  });

  test.each([
    ['has the same checkpoint', emptied],
    ['held less', withAgg({ greatestSequence: 999n }, { inode: 70n })],
    ['had another manifest', withAgg({ manifest: 'MANIFEST-000002', greatestSequence: 1_000n }, { inode: 70n })],
  ])('an earlier look that %s says nothing', (_name, earlier) => {
    expect(verdicts(emptied, { after: [earlier] })[0]).toBe('live');
  });

  test('nor does one under the same checkpoint that waited for the clock of a file server', () => {
    const nowMs = Number(CHECKPOINT_NS / 1_000_000n);
    expect(verdicts(emptied, { after: [emptied], firstMs: nowMs - 999, nowMs })).toEqual(LIVE);
  });
});

describe('Q5: a clock that jumped voids the stamps', () => {
  const future = after(120_000);
  const ofTheFuture = { ...CLOSED, checkpoint: checkpointOf({ mtimeNs: future }) };
  const CHANGING = ['changing', 'changing'];

  test.each([
    ['a table ended in the future', withTables(tableSight(future, before(1)))],
    ['a table was born in the future', withTables(tableSight(before(1), future))],
  ])('%s', (_name, sight) => {
    expect(verdicts(sight)).toEqual(LIVE);
    expect(verdicts(sight, { after: [sight], nowMs: laterMs(180_000), firstMs: laterMs(60_000) })).toEqual(LIVE);
  });

  test.each([
    ['the checkpoint is from the future', ofTheFuture, {}, LIVE],
    ['the clock was seen to go back', CLOSED, { clockWasSet: true }, CLEAN],
  ])(
    '%s: then nothing tells that no store is missing (D2), unless an earlier look does',
    (_name, sight, context, known) => {
      expect(verdicts(sight, context)).toEqual(CHANGING);
      expect(verdicts(sight, { after: [CLOSED], ...context })).toEqual(known);
    },
  );

  test('a checkpoint that came after the clock was set back proves nothing of what it is compared with', () => {
    const rewritten = { ...CLOSED, checkpoint: checkpointOf({ inode: 78n }) };
    expect(verdicts(rewritten, { after: [FLUSHED] })).toEqual(CLEAN);
    expect(verdicts(rewritten, { after: [FLUSHED], clockWasSet: true })).toEqual(LIVE);
  });

  test.each([
    ['of the checkpoint', ofTheFuture, {}],
    ['that went back', CLOSED, { firstWasSet: true }],
  ])('also once the clock has come up with it: the stamp %s', (_name, sight, context) => {
    const later = { nowMs: laterMs(180_000), firstMs: laterMs(60_000), ...context };
    expect(verdicts(sight, { after: [sight], ...later })).toEqual(CHANGING);
    const rewritten = { ...sight, checkpoint: checkpointOf({ inode: 78n, mtimeNs: after(150_000) }) };
    expect(verdicts(rewritten, { after: [sight], ...later })).toEqual(CLEAN);
  });

  test('a file server whose clock is a moment ahead is forgiven at the next look', () => {
    const atMs = (aheadMs: number): number => Number(CHECKPOINT_NS / 1_000_000n) - aheadMs;
    expect(verdicts(CLOSED, { nowMs: atMs(999) })).toEqual(LIVE);
    expect(verdicts(CLOSED, { after: [CLOSED], firstMs: atMs(999), nowMs: atMs(0) })).toEqual(CLEAN);
    expect(verdicts(CLOSED, { after: [CLOSED], firstMs: atMs(1_002), nowMs: atMs(0) })).toEqual(CHANGING);
  });

  test('a stamp of this very millisecond is no future', () => {
    expect(verdicts(CLOSED, { nowMs: Number(CHECKPOINT_NS / 1_000_000n) })).toEqual(CLEAN);
  });

  test('but not what passed before', () => {
    expect(verdicts(CLOSED, { after: [CLOSED], clockWasSet: true })).toEqual(CLEAN);
  });
});

describe('Q6: what was started over tables that no checkpoint covered is tainted', () => {
  const restarted = openedAnew({ checkpoint: checkpointOf({ inode: 90n, mtimeNs: after(30_000) }) });
  const TAINTED = ['clean', 'unclean_restart'];

  test('a checkpoint that is rewritten at the start does not make up for it', () => {
    expect(verdicts(restarted, { after: [FLUSHED] })).toEqual(TAINTED);
  });

  test('neither for tables that had no checkpoint at all', () => {
    const running = taskSight({ checkpoint: undefined });
    expect(verdicts(restarted, { after: [running] })).toEqual(TAINTED);
    expect(verdicts(openedAnew({ checkpoint: undefined }), { after: [running] })).toEqual([
      'no_offset',
      'unclean_restart',
    ]);
  });

  test('it stays so, whatever comes', () => {
    const closed = { ...restarted, checkpoint: checkpointOf({ inode: 91n, mtimeNs: after(40_000) }) };
    expect(verdicts(closed, { after: [FLUSHED, restarted] })).toEqual(TAINTED);
    expect(verdicts(closed, { after: [FLUSHED, restarted, { ...closed, checkpoint: undefined }] })).toEqual(TAINTED);
  });

  test('until the directory is another one', () => {
    const elsewhere = { ...restarted, facts: { ...restarted.facts, inode: 13n } };
    const reborn = { ...restarted, facts: { ...restarted.facts, birthtimeNs: before(1) } };
    for (const sight of [elsewhere, reborn]) expect(verdicts(sight, { after: [FLUSHED] })).toEqual(CLEAN);
  });

  test('also where its volume was mounted anew and has another device number', () => {
    const remounted = { ...restarted, facts: { ...restarted.facts, device: 9n } };
    expect(verdicts(remounted, { after: [FLUSHED] })).toEqual(TAINTED);
    // Where directories have no time of birth nothing but the device tells that it is no other one.
    const [before, now] = [FLUSHED, remounted].map((sight) => ({
      ...sight,
      facts: { ...sight.facts, birthtimeNs: 0n },
    }));
    expect(verdicts(now ?? remounted, { after: [before ?? FLUSHED] })).toEqual(CLEAN);
  });

  test.each([
    ['a start after a clean close', [CLOSED], restarted],
    ['a clean close after it was refused', [FLUSHED], { ...CLOSED, checkpoint: restarted.checkpoint }],
    ['a start after that clean close', [FLUSHED, { ...CLOSED, checkpoint: checkpointOf({ inode: 80n }) }], restarted],
  ])('%s is no taint', (_name, earlier, sight) => {
    expect(verdicts(sight, { after: earlier })).toEqual(CLEAN);
  });

  test('a database that is being made changes its manifest, and never had a table', () => {
    const born = withAll({ manifest: 'MANIFEST-000001', tables: [], greatestSequence: 0n }, { checkpoint: undefined });
    const opened = withAll(
      { manifest: 'MANIFEST-000005', tables: [], greatestSequence: 0n },
      { checkpoint: undefined },
    );
    expect(verdicts(CLOSED, { after: [born, opened] })).toEqual(CLEAN);
    expect(verdicts(CLOSED, { after: [born] })).toEqual(TAINTED);
    const settled = withAll({ greatestSequence: 0n }, {});
    expect(verdicts(settled, { after: [born] })).toEqual(TAINTED);
  });

  test('no transaction writes into global stores', () => {
    const sight = { ...restarted, task: 'global' };
    expect(verdicts(sight, { after: [{ ...FLUSHED, task: 'global' }] })).toEqual(CLEAN);
  });
});

describe('Q7: an application that is said to run at-least-once, and whose checkpoint stands still', () => {
  const start = withAgg({ greatestSequence: 10_000n, tables: [tableSight(after(1))] });
  const grown = withAgg({ greatestSequence: 60_001n, tables: [tableSight(after(200_000))] });
  const SUSPICIOUS = ['looks_exactly_once', 'exactly_once_running'];
  const fiveMinutes = { isRunning: true, firstMs: laterMs(60_000), nowMs: laterMs(360_000) };

  test('is refused after five minutes and 50,000 writes', () => {
    expect(verdicts(grown, { after: [start], ...fiveMinutes })).toEqual(SUSPICIOUS);
    expect(judgeAfter(grown, { after: [start], ...fiveMinutes }).atLeastOnce).toEqual({
      kind: 'refused',
      why: {
        reason: 'looks_exactly_once',
        message: '50001 writes in 5 min without a new .checkpoint: the application seems to run exactly-once',
      },
    });
  });

  test('is refused when the checkpoint is missing all the time', () => {
    const [first, second] = [withoutCheckpoint(start), withoutCheckpoint(grown)];
    expect(verdicts(second, { after: [first], ...fiveMinutes })).toEqual(SUSPICIOUS);
  });

  test.each([
    ['after less time', { ...fiveMinutes, nowMs: laterMs(359_999) }, grown],
    ['after fewer writes', fiveMinutes, withAgg({ greatestSequence: 60_000n, tables: [tableSight(after(1))] })],
    ['when it does not run', { ...fiveMinutes, isRunning: false }, grown],
  ])('is live %s', (_name, context, sight) => {
    expect(verdicts(sight, { after: [start], ...context })).toEqual(LIVE);
  });

  test('is live again after a new checkpoint', () => {
    const sight = { ...grown, checkpoint: checkpointOf({ inode: 78n }) };
    expect(verdicts(sight, { after: [start], ...fiveMinutes })).toEqual(LIVE);
    expect(verdicts(sight, { after: [start, grown], ...fiveMinutes })).toEqual(LIVE);
  });

  test('is still refused when it was killed', () => {
    expect(verdicts(grown, { after: [start, grown], ...fiveMinutes, isRunningNow: false })).toEqual(SUSPICIOUS);
  });

  test('cannot hide behind segments that expire', () => {
    const life = [withSegmentOnly('win.0'), withSegmentOnly('win.3600000')];
    expect(verdicts(withSegmentOnly('win.7200000'), { after: life, ...fiveMinutes })).toEqual(SUSPICIOUS);
  });

  test('is not suspected for stores without a changelog', () => {
    expect(verdicts(withCache(90_000n), { after: [withCache(1_000n)], ...fiveMinutes })).toEqual(LIVE);
  });

  test('is not suspected for what was there before the lowest level lost its sequence numbers', () => {
    const settled = withAgg({ greatestSequence: 0n, tables: [tableSight(before(1))] });
    expect(verdicts(grown, { after: [settled], ...fiveMinutes })).toEqual(LIVE);
  });
});

describe('Q8: an installed task that was not opened yet', () => {
  test('keeps the quality it was restored with', () => {
    expect(verdicts(CLOSED, { installedQuality: 'live' })).toEqual(LIVE);
    expect(verdicts(FLUSHED, { installedQuality: 'clean' })).toEqual(CLEAN);
  });

  test('is not taken for one that was opened over uncovered tables when it was clean', () => {
    const restarted = openedAnew({ checkpoint: checkpointOf({ inode: 90n, mtimeNs: after(30_000) }) });
    expect(verdicts(restarted, { after: [FLUSHED], firstInstalled: 'clean' })).toEqual(CLEAN);
    expect(verdicts(restarted, { after: [CLOSED], firstInstalled: 'live' })).toEqual(['clean', 'unclean_restart']);
  });
});

describe('completeness', () => {
  test('C1: a changelog in the checkpoint without its store refuses the task', () => {
    const checkpoint = checkpointSight(['orders-agg-changelog 3 1', 'orders-gone-changelog 3 1']);
    expect(verdicts(taskSight({ checkpoint }))).toEqual(['incomplete', 'incomplete']);
  });

  test('C1: a window store without segments is a store', () => {
    const idle = new Map([...CLOSED.parents, ['idle', parentOf('segments', [])] as const]);
    const checkpoint = checkpointSight(['orders-agg-changelog 3 1', 'orders-idle-changelog 3 1']);
    expect(judge(taskSight({ checkpoint, parents: idle }), lookContext()).stores).toEqual(new Set(['agg', 'idle']));
  });

  test('C3: a store without an offset stays at home', () => {
    const checkpoint = checkpointSight(['orders-win-changelog 3 1']);
    const { stores, leftOut, atLeastOnce } = judge(taskSight({ checkpoint }), lookContext());
    expect({ stores, leftOut, atLeastOnce }).toEqual({
      stores: new Set(['win']),
      leftOut: ['agg'],
      atLeastOnce: { kind: 'valid', quality: 'clean' },
    });
  });

  test('C3: a task none of whose stores has an offset is refused', () => {
    const checkpoint = checkpointSight(['orders-agg-changelog 3 -4', 'orders-win-changelog 3 -4']);
    expect(verdicts(taskSight({ checkpoint }))).toEqual(['no_offset', 'no_offset']);
  });

  test('D2: a parent that changed after the checkpoint refuses the task', () => {
    const parents = new Map([['rocksdb', parentOf('stores', ['agg'], after(1))]]);
    expect(verdicts(taskSight({ parents }))).toEqual(['changing', 'changing']);
  });

  test('D4: a store that is gone refuses the task, at every later look too', () => {
    const smaller = taskSight({ parents: new Map([['rocksdb', parentOf('stores', [])]]) });
    expect(verdicts(smaller, { after: [CLOSED] })).toEqual(['being_deleted', 'being_deleted']);
    expect(verdicts(smaller, { after: [CLOSED, smaller] })).toEqual(['being_deleted', 'being_deleted']);
  });
});

describe('A1: the state time', () => {
  const known = { offsetsSince: { offsets: new Map([['orders-agg-changelog-3', 1n]]), stateTimeMs: 5 } };
  const first = { offsetsSince: undefined };

  test('is that of the checkpoint, in whole milliseconds', () => {
    expect(stateTimeMs(CLOSED, known)).toBe(1_700_000_000_123);
    expect(stateTimeMs(taskSight({ checkpoint: undefined }), known)).toBeUndefined();
  });

  test('is not later at first sight than the newest table: the checkpoint may have been rewritten without progress', () => {
    const tables = [
      tableSight(before(5_000)),
      tableSight(before(4_000), after(9_000)),
      tableSight(after(7_000), before(3_000)),
    ];
    const sight = taskSight({ databases: [databaseSight('rocksdb/agg', { tables }), databaseSight('win/win.0', OLD)] });
    expect(stateTimeMs(sight, first)).toBe(Number(before(3_000) / 1_000_000n));
    expect(stateTimeMs(withTables(tableSight(after(1))), first)).toBe(1_700_000_000_123);
  });

  test('of what is known is that of the newest table where that is five minutes older', () => {
    const of = (ageMs: number) => {
      const tables = [tableSight(before(ageMs)), tableSight(before(2 * ageMs))];
      return stateTimeMs(taskSight({ databases: [databaseSight('rocksdb/agg', { tables })] }), known);
    };
    expect([of(300_000), of(300_001)]).toEqual([1_700_000_000_123, Number(before(300_001) / 1_000_000n)]);
  });

  test('is that of the checkpoint where there are no tables: nothing of them can come back', () => {
    const empty = databaseSight('rocksdb/agg', { tables: [] });
    expect(stateTimeMs(taskSight({ databases: [empty] }), first)).toBe(1_700_000_000_123);
  });
});

describe('under auto', () => {
  test('counts only what both guarantees grant', () => {
    expect(verdictUnder('auto', judge(CLOSED, lookContext()))).toEqual({ kind: 'valid', quality: 'clean' });
    const flushed = judge(FLUSHED, lookContext());
    const message =
      'tables are newer than .checkpoint and may hold writes of aborted transactions; it is valid under at_least_once alone';
    const why = { reason: 'guarantee_unknown', message };
    expect(verdictUnder('auto', flushed)).toEqual({ kind: 'refused', why });
    expect(verdictUnder('at_least_once', flushed)).toBe(flushed.atLeastOnce);
    expect(verdictUnder('exactly_once_v2', flushed)).toBe(flushed.exactlyOnce);
  });
});

test('what at-least-once refuses as well, or what may only need another look, keeps its reason under auto', () => {
  const none = judge(taskSight({ checkpoint: undefined }), lookContext());
  expect(verdictUnder('auto', none)).toBe(none.exactlyOnce);
  const exactlyOnce = { kind: 'refused', why: { reason: 'changing', message: 'just closed' } } as const;
  expect(verdictUnder('auto', { ...judge(CLOSED, lookContext()), exactlyOnce })).toBe(exactlyOnce);
});

describe('for any life of a task', () => {
  test('a second look at the same thing says the same', () => {
    fc.assert(
      fc.property(sights, sights, contexts, (first, second, context) => {
        const memory = judge(first, { ...context, memory: undefined }).memory;
        const judgement = judge(second, { ...context, memory });
        expect(judge(second, { ...context, memory: judgement.memory })).toEqual(judgement);
      }),
      { numRuns: 1_000 },
    );
  });

  test('what exactly-once grants at-least-once grants as well', () => {
    fc.assert(
      fc.property(sights, sights, contexts, (first, second, context) => {
        const { atLeastOnce, exactlyOnce } = judge(second, { ...context, memory: judge(first, context).memory });
        if (exactlyOnce.kind === 'valid') expect(atLeastOnce).toEqual(exactlyOnce);
      }),
      { numRuns: 1_000 },
    );
  });

  test('the memory of another directory changes nothing', () => {
    fc.assert(
      fc.property(sights, sights, contexts, (first, second, context) => {
        const memory = { ...judge(first, context).memory, inode: 13n };
        expect(judge(second, { ...context, memory })).toEqual(judge(second, { ...context, memory: undefined }));
      }),
      { numRuns: 1_000 },
    );
  });

  test('a clock that went back never makes a task more valid', () => {
    fc.assert(
      fc.property(sights, sights, contexts, (first, second, context) => {
        const { memory } = judge(first, context);
        const trusted = judge(second, { ...context, memory, clockWasSet: false });
        const doubted = judge(second, { ...context, memory, clockWasSet: true });
        if (doubted.exactlyOnce.kind === 'valid') expect(trusted.exactlyOnce).toEqual(doubted.exactlyOnce);
      }),
      { numRuns: 1_000 },
    );
  });
});

/** Stamps around the checkpoint, few enough to be equal often. */
const stamps = fc.constantFrom(0n, before(5_000), before(1), CHECKPOINT_NS, after(1), after(5_000), after(90_000));

const databases = fc
  .uniqueArray(fc.constantFrom('rocksdb/agg', 'rocksdb/tab', 'win/win.0', 'win/win.3600000', 'win/win.7200000'))
  .chain((paths) =>
    fc.tuple(
      ...paths.map((path) =>
        fc.record({
          store: fc.constant(databaseSight(path).store),
          path: fc.constant(path),
          manifest: fc.constantFrom('MANIFEST-000005', 'MANIFEST-000009'),
          columnFamilies: fc.constant(['default']),
          greatestSequence: fc.constantFrom(0n, 1_000n, 70_000n),
          newestDropped: fc.boolean(),
          tables: fc.array(fc.record({ mtimeNs: stamps, birthtimeNs: stamps }), { maxLength: 2 }),
          bornNs: fc.constant(before(3_600_000)),
          own: fc.constant(undefined),
        }),
      ),
    ),
  );

const sights = fc
  .record({
    databases,
    parentStamp: fc.constantFrom(before(60_000), CHECKPOINT_NS, after(1), after(40_000)),
    checkpoint: fc.option(
      fc.record({
        inode: fc.constantFrom(77n, 78n),
        mtimeNs: fc.constantFrom(before(1), CHECKPOINT_NS, after(90_000)),
        entries: fc.subarray(['orders-agg-changelog 3 1', 'orders-win-changelog 3 1', 'orders-tab-changelog 3 -4']),
      }),
      { nil: undefined },
    ),
  })
  .map(({ databases, parentStamp, checkpoint }): TaskSight => {
    const children = (parent: string): readonly string[] =>
      databases.flatMap(({ path }) => (path.startsWith(`${parent}/`) ? [path.slice(parent.length + 1)] : [])).sort();
    return taskSight({
      databases,
      parents: new Map([
        ['rocksdb', parentOf('stores', children('rocksdb'), parentStamp)],
        ['win', parentOf('segments', children('win'), parentStamp)],
      ]),
      checkpoint: checkpoint === undefined ? undefined : checkpointSight(checkpoint.entries, checkpoint),
    });
  });

const contexts: fc.Arbitrary<JudgeContext> = fc
  .record({
    nowMs: fc.constantFrom(laterMs(1), laterMs(60_000), laterMs(600_000)),
    isRunning: fc.boolean(),
    clockWasSet: fc.boolean(),
    installedQuality: fc.option(fc.constantFrom('clean', 'live'), { nil: undefined }),
  })
  .map((changes) => lookContext(changes));

type Life = Partial<JudgeContext> & {
  /** Earlier looks, in their order. */
  readonly after?: readonly TaskSight[];
  readonly firstMs?: number;
  readonly firstWasSet?: boolean;
  readonly firstInstalled?: 'clean' | 'live';
  readonly isRunningNow?: boolean;
};

/** Quality, or the reason there is none, under at-least-once and exactly-once. */
function verdicts(sight: TaskSight, life: Life = {}): readonly string[] {
  const { atLeastOnce, exactlyOnce } = judgeAfter(sight, life);
  return [atLeastOnce, exactlyOnce].map((verdict) => (verdict.kind === 'valid' ? verdict.quality : verdict.why.reason));
}

function judgeAfter(sight: TaskSight, life: Life): Judgement {
  const { after: earlier = [], firstMs, firstWasSet = false, firstInstalled, isRunningNow, ...changes } = life;
  const context = lookContext(changes);
  let memory: JudgeContext['memory'];
  for (const [index, look] of earlier.entries()) {
    const first = {
      nowMs: firstMs ?? context.nowMs,
      clockWasSet: firstWasSet,
      installedQuality: firstInstalled,
    };
    memory = judge(look, { ...context, ...(index === 0 ? first : {}), memory }).memory;
  }
  return judge(sight, { ...context, isRunning: isRunningNow ?? context.isRunning, memory });
}

function laterMs(ms: number): number {
  return Number(after(ms) / 1_000_000n);
}

function checkpointOf(changes: Partial<NonNullable<TaskSight['checkpoint']>>): NonNullable<TaskSight['checkpoint']> {
  return checkpointSight(['orders-agg-changelog 3 100', 'orders-win-changelog 3 200'], changes);
}

function withTables(...tables: DatabaseSight['tables']): TaskSight {
  return withAgg({ tables });
}

function withAgg(
  changes: Partial<DatabaseSight>,
  checkpoint: Partial<NonNullable<TaskSight['checkpoint']>> = {},
): TaskSight {
  const [, ...segments] = CLOSED.databases;
  const agg = databaseSight('rocksdb/agg', { tables: [tableSight(after(1))], ...changes });
  return taskSight({ databases: [agg, ...segments], checkpoint: checkpointOf(checkpoint) });
}

function withAll(changes: Partial<DatabaseSight>, sight: Partial<TaskSight>): TaskSight {
  return taskSight({ ...sight, databases: CLOSED.databases.map((database) => ({ ...database, ...changes })) });
}

function openedAnew(sight: Partial<TaskSight>): TaskSight {
  return withAll({ manifest: 'MANIFEST-000012' }, sight);
}

/** As CLOSED, with a third segment that came ten seconds ago. */
function withSegment(changes: Partial<DatabaseSight>): TaskSight {
  return taskSight({
    databases: [...CLOSED.databases, databaseSight('win/win.7200000', changes)],
    parents: new Map([
      ['rocksdb', parentOf('stores', ['agg'])],
      ['win', parentOf('segments', ['win.0', 'win.3600000', 'win.7200000'], after(1))],
    ]),
  });
}

function withoutCheckpoint(sight: TaskSight): TaskSight {
  return { ...sight, checkpoint: undefined };
}

/** A running task whose only segment has 26,000 writes behind it. */
function withSegmentOnly(name: string): TaskSight {
  const segment = databaseSight(`win/${name}`, { greatestSequence: 26_000n, tables: [tableSight(after(1))] });
  return taskSight({
    databases: [databaseSight('rocksdb/agg'), segment],
    parents: new Map([['win', parentOf('segments', [name], before(1))]]),
  });
}

/** A running task with a store that has no changelog. */
function withCache(greatestSequence: bigint): TaskSight {
  const { databases } = withTables(tableSight(after(1)));
  return taskSight({ databases: [...databases, databaseSight('rocksdb/cache', { greatestSequence })] });
}
