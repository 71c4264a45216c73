import { describe, expect, test } from 'vitest';
import {
  after,
  before,
  checkpointSight,
  databaseSight,
  familyDatabase,
  lookContext,
  parentOf,
  tableSight,
  taskSight,
  unwrittenDatabase,
} from '../../test/support/sights.ts';
import { type DatabaseSight, type JudgeContext, type Judgement, judge, type TaskSight } from './quality.ts';
import { stateTimeMs } from './state-time.ts';

const CLEAN = ['clean', 'clean'];
const SEGMENTED = ['segmented', 'segmented'];
const NO_OFFSET = ['no_offset', 'no_offset'];
const UNKNOWN = ['guarantee_unknown', 'guarantee_unknown'];

const OPEN = { status: 'open' } as const;
const UNMARKED = { status: undefined } as const;
const offsets = (store: string, offset: bigint) => ({ offsets: new Map([[`orders-${store}-changelog-3`, offset]]) });

/** A plain store and a window store of two segments, closed. */
const CLOSED = familySight(
  familyDatabase('rocksdb/agg'),
  familyDatabase('win/win.0'),
  familyDatabase('win/win.3600000'),
);
/** Plain stores alone. */
const PLAIN = familySight(familyDatabase('rocksdb/agg'), familyDatabase('rocksdb/tab'));

describe('a task whose offsets lie inside RocksDB', () => {
  test('is clean under every guarantee when every database was closed and not written to since', () => {
    expect(judge(CLOSED, lookContext())).toMatchObject({
      atLeastOnce: { kind: 'valid', quality: 'clean' },
      exactlyOnce: { kind: 'valid', quality: 'clean' },
      stores: new Set(['agg', 'win']),
      leftOut: [],
    });
  });

  test.each([
    [
      'one open store',
      [familyDatabase('rocksdb/agg', OPEN), familyDatabase('rocksdb/tab')],
      ['live', 'exactly_once_running'],
    ],
    [
      'one open store beside segments that are closed',
      [familyDatabase('rocksdb/agg', OPEN), familyDatabase('win/win.0')],
      ['segmented', 'exactly_once_running'],
    ],
    [
      'one open segment',
      [familyDatabase('win/win.0'), familyDatabase('win/win.3600000', OPEN)],
      ['segmented', 'exactly_once_running'],
    ],
    [
      'closed segments with different offsets',
      [familyDatabase('win/win.0'), familyDatabase('win/win.3600000', offsets('win', 99n))],
      SEGMENTED,
    ],
    [
      'a closed segment without an offset beside one that has it',
      [familyDatabase('win/win.0'), familyDatabase('win/win.3600000', { offsets: new Map() })],
      SEGMENTED,
    ],
    [
      'a segment that was never flushed, as old as the others',
      [familyDatabase('win/win.0'), unwrittenDatabase('win/win.3600000', before(1))],
      SEGMENTED,
    ],
    [
      'a segment that was never flushed, without a birth time',
      [familyDatabase('win/win.0'), unwrittenDatabase('win/win.3600000', 0n)],
      SEGMENTED,
    ],
    [
      'a segment that was never flushed, made after the others were closed',
      [familyDatabase('win/win.0'), unwrittenDatabase('win/win.3600000', after(1))],
      CLEAN,
    ],
    ['one store that has no status', [familyDatabase('rocksdb/agg', UNMARKED), familyDatabase('rocksdb/tab')], UNKNOWN],
    [
      'a store without a status beside an open one',
      [familyDatabase('rocksdb/agg', UNMARKED), familyDatabase('rocksdb/tab', OPEN)],
      UNKNOWN,
    ],
    ['no store that was ever flushed', [unwrittenDatabase('rocksdb/agg', before(1))], NO_OFFSET],
  ])('with %s', (_name, databases, expected) => {
    expect(verdicts(familySight(...databases))).toEqual(expected);
  });

  test('is refused when a store is none of RocksDB', () => {
    expect(verdicts({ ...CLOSED, customStores: ['lucene'] })).toEqual(['unsupported_store', 'unsupported_store']);
  });

  test('is refused with its reason where its offsets cannot be read', () => {
    const why = { reason: 'damaged', message: 'cannot read the offsets in rocksdb/agg/000012.sst' } as const;
    const sight = familySight(
      databaseSight('rocksdb/agg', { own: { kind: 'unreadable', why } }),
      familyDatabase('rocksdb/tab'),
    );
    expect(judge(sight, lookContext())).toMatchObject({ atLeastOnce: { why }, exactlyOnce: { why } });
  });

  test('is worth the same whatever stamps its tables have, and whether it runs', () => {
    const written = { tables: [tableSight(after(30_000))] };
    const sight = familySight(familyDatabase('rocksdb/agg', {}, written));
    expect(verdicts(sight, { isRunning: true })).toEqual(CLEAN);
  });

  test('is tainted by nothing that happens to it', () => {
    const running = familySight(familyDatabase('rocksdb/agg', OPEN));
    const restarted = familySight(familyDatabase('rocksdb/agg', {}, { manifest: 'MANIFEST-000009' }));
    const { memory } = judge(running, lookContext({ isRunning: true }));
    expect(verdicts(restarted, { memory })).toEqual(CLEAN);
  });

  test('is never said to look exactly-once, however long it runs without a checkpoint', () => {
    const look = lookContext({ isRunning: true });
    const { memory } = judge(familySight(familyDatabase('rocksdb/agg', OPEN)), look);
    const later = { ...look, memory, nowMs: look.nowMs + 600_000 };
    const busy = judge(familySight(familyDatabase('rocksdb/agg', OPEN, { greatestSequence: 90_000n })), later);
    expect(busy.atLeastOnce).toEqual({ kind: 'valid', quality: 'live' });
    expect(busy.memory.watch).toEqual(memory.watch);
  });
});

test('a task that an older release left over writes of its own stays tainted when its offsets move inside', () => {
  const killed = {
    ...familySight(databaseSight('rocksdb/agg')),
    checkpoint: undefined,
  };
  const { memory } = judge(killed, lookContext({ isRunning: true }));
  const moved = familySight(familyDatabase('rocksdb/agg', {}, { manifest: 'MANIFEST-000009' }));
  expect(verdicts(moved, { memory })).toEqual(['clean', 'unclean_restart']);
});

describe('what was just closed while the application goes on', () => {
  const young = familySight(familyDatabase('rocksdb/agg', {}, { tables: [tableSight(after(55_000))] }));

  test('may be deleted next, for a transaction that failed', () => {
    expect(verdicts(young, { isRunning: true })).toEqual(['clean', 'changing']);
  });

  test('is clean once the application has ended, or ten seconds have passed', () => {
    expect(verdicts(young)).toEqual(CLEAN);
    expect(verdicts(young, { isRunning: true, nowMs: lookContext().nowMs + 5_000 })).toEqual(CLEAN);
  });

  test('is clean where it is global, into which no transaction writes', () => {
    expect(verdicts({ ...young, task: 'global' }, { isRunning: true })).toEqual(CLEAN);
  });
});

describe('global stores', () => {
  test('are captured closed only', () => {
    expect(verdicts({ ...PLAIN, task: 'global' })).toEqual(CLEAN);
    const open = familySight(familyDatabase('rocksdb/agg', OPEN));
    expect(verdicts({ ...open, task: 'global' })).toEqual(['segmented', 'exactly_once_running']);
  });
});

describe('transactional stores', () => {
  const apart = [
    familyDatabase('win/win.0', UNMARKED),
    familyDatabase('win/win.3600000', { ...UNMARKED, ...offsets('win', 1n) }),
  ];
  const TRANSACTIONAL = { transactionalStores: true };

  test.each([
    ['closed', [familyDatabase('rocksdb/agg', UNMARKED)], TRANSACTIONAL, ['transactional', 'transactional']],
    [
      'running',
      [familyDatabase('rocksdb/agg', UNMARKED)],
      { ...TRANSACTIONAL, isRunning: true },
      ['exactly_once_running', 'exactly_once_running'],
    ],
    ['with segments apart', apart, TRANSACTIONAL, SEGMENTED],
    [
      'with a store closed before they were transactional',
      [familyDatabase('rocksdb/agg', UNMARKED), familyDatabase('rocksdb/tab')],
      TRANSACTIONAL,
      ['transactional', 'transactional'],
    ],
    [
      'with a store left open before they were',
      [familyDatabase('rocksdb/agg', UNMARKED), familyDatabase('rocksdb/tab', OPEN)],
      TRANSACTIONAL,
      UNKNOWN,
    ],
    [
      'that were installed and not opened',
      [familyDatabase('rocksdb/agg', UNMARKED)],
      { installedQuality: 'transactional' } as const,
      ['transactional', 'transactional'],
    ],
    ['that nobody said are', [familyDatabase('rocksdb/agg', UNMARKED)], {}, UNKNOWN],
  ])('%s', (_name, databases, context, expected) => {
    expect(verdicts(familySight(...databases), context)).toEqual(expected);
  });
});

describe('a task that comes from the file layout', () => {
  /** Opened by the new release, nothing flushed since. */
  const blank = { offsets: new Map<string, bigint>(), status: undefined, writtenNs: undefined };
  const checkpoint = checkpointSight(['orders-agg-changelog 3 100', 'orders-tab-changelog 3 7']);

  test.each([
    ['its offsets are in memory only', familySight(familyDatabase('rocksdb/agg', blank))],
    ['and the checkpoint is still there', { ...familySight(familyDatabase('rocksdb/agg', blank)), checkpoint }],
    [
      'one store was flushed, another was not',
      familySight(familyDatabase('rocksdb/agg'), familyDatabase('rocksdb/tab', blank)),
    ],
    [
      'one store is not opened yet',
      { ...familySight(familyDatabase('rocksdb/agg'), databaseSight('rocksdb/tab')), checkpoint },
    ],
  ])('is refused while %s', (_name, sight) => {
    expect(verdicts(sight)).toEqual(NO_OFFSET);
    expect(judge(sight, lookContext()).stores).toEqual(new Set());
  });

  test('leaves a store at home that the application has no more', () => {
    const judgement = judge(familySight(familyDatabase('rocksdb/agg'), databaseSight('rocksdb/old')), lookContext());
    expect([words(judgement), judgement.stores, judgement.leftOut]).toEqual([CLEAN, new Set(['agg']), ['old']]);
  });
});

describe('C3: a store without an offset', () => {
  test('stays at home and is named', () => {
    const unlogged = familyDatabase('rocksdb/tab', { offsets: new Map(), status: 'open' });
    const judgement = judge(familySight(familyDatabase('rocksdb/agg'), unlogged), lookContext());
    expect([words(judgement), judgement.stores, judgement.leftOut]).toEqual([CLEAN, new Set(['agg']), ['tab']]);
  });

  test('travels where it knows so, and is empty', () => {
    const nothing = {
      offsets: new Map<string, bigint>(),
      unknown: new Set(['orders-tab-changelog-3']),
      hasData: false,
    };
    const known = judge(
      familySight(familyDatabase('rocksdb/agg'), familyDatabase('rocksdb/tab', nothing)),
      lookContext(),
    );
    expect([known.stores, known.leftOut]).toEqual([new Set(['agg', 'tab']), []]);
    const filled = familyDatabase('rocksdb/tab', { ...nothing, hasData: true });
    const thrownBack = judge(familySight(familyDatabase('rocksdb/agg'), filled), lookContext());
    expect([thrownBack.stores, thrownBack.leftOut]).toEqual([new Set(['agg']), ['tab']]);
  });
});

describe('D2: the task directory itself', () => {
  const changed = { ...CLOSED, facts: { ...CLOSED.facts, mtimeNs: after(1), ctimeNs: after(1) } };

  test('must not have changed since the offsets were written', () => {
    expect(verdicts(changed)).toEqual(['changing', 'changing']);
  });

  test('unless it was seen so before', () => {
    const later = familySight(...CLOSED.databases.map((one) => familyDatabase(one.path, { writtenNs: after(2) })));
    const { memory } = judge({ ...later, facts: changed.facts }, lookContext());
    expect(verdicts(changed, { memory })).toEqual(CLEAN);
  });

  test('may have been touched by the close, in milliseconds', () => {
    const [closedNs, ctimeNs] = [(after(1_000) / 1_000_000n) * 1_000_000n, after(1_000)];
    const closed = { ...CLOSED, facts: { ...CLOSED.facts, mtimeNs: closedNs, ctimeNs } };
    expect(verdicts(closed)).toEqual(CLEAN);
    expect(verdicts({ ...closed, facts: { ...closed.facts, ctimeNs: closedNs } })).toEqual(['changing', 'changing']);
    // What came or went, and was renamed or given to another user after that.
    const renamed = { ...CLOSED.facts, mtimeNs: after(1_000), ctimeNs: after(2_000) };
    expect(verdicts({ ...closed, facts: renamed })).toEqual(['changing', 'changing']);
    const { memory } = judge(closed, lookContext());
    const deleted = { ...CLOSED, facts: { ...CLOSED.facts, mtimeNs: after(2_000), ctimeNs: after(2_000) } };
    expect(verdicts(deleted, { memory })).toEqual(['changing', 'changing']);
  });

  test('never loses a store', () => {
    const { memory } = judge(CLOSED, lookContext());
    const smaller = familySight(familyDatabase('rocksdb/agg'));
    expect(verdicts(smaller, { memory })).toEqual(['being_deleted', 'being_deleted']);
    // Whatever else would speak against it: nothing is sent ahead of what is being deleted.
    const open = familySight(familyDatabase('rocksdb/agg', OPEN));
    expect(verdicts(open, { memory })).toEqual(['being_deleted', 'being_deleted']);
  });

  test('is left out of it in the file layout, where the checkpoint touches it', () => {
    const file = taskSight();
    expect(verdicts({ ...file, facts: { ...file.facts, mtimeNs: after(1) } })).toEqual(CLEAN);
  });
});

describe('A1: the state time', () => {
  test('is that of the oldest offsets, whatever was written beside them', () => {
    const sight = familySight(
      familyDatabase('rocksdb/agg', { writtenNs: before(9_000) }, { tables: [tableSight(after(1_000))] }),
      familyDatabase('win/win.0', { writtenNs: before(7_000) }),
      familyDatabase('win/win.3600000', { writtenNs: before(8_000) }),
      familyDatabase('rocksdb/unlogged', { offsets: new Map(), writtenNs: before(90_000) }),
    );
    const withCheckpoint = { ...sight, checkpoint: checkpointSight(['orders-agg-changelog 3 100']) };
    for (const one of [sight, withCheckpoint])
      expect(stateTimeMs(one, { offsetsSince: undefined })).toBe(Number(before(9_000) / 1_000_000n));
  });

  test('is unknown where nothing was flushed', () => {
    const unwritten = familySight(unwrittenDatabase('rocksdb/agg', before(1)));
    expect(stateTimeMs(unwritten, { offsetsSince: undefined })).toBeUndefined();
  });
});

function familySight(...databases: readonly DatabaseSight[]): TaskSight {
  const parents = Map.groupBy(databases, ({ path }) => path.slice(0, path.indexOf('/')));
  return taskSight({
    checkpoint: undefined,
    databases,
    parents: new Map(
      [...parents].map(([parent, of]) => {
        const children = of.map(({ path }) => path.slice(parent.length + 1));
        return [parent, parentOf(parent === 'rocksdb' ? 'stores' : 'segments', children)] as const;
      }),
    ),
  });
}

function verdicts(sight: TaskSight, context: Partial<JudgeContext> = {}): readonly string[] {
  return words(judge(sight, lookContext(context)));
}

function words({ atLeastOnce, exactlyOnce }: Judgement): readonly string[] {
  return [atLeastOnce, exactlyOnce].map((verdict) => (verdict.kind === 'valid' ? verdict.quality : verdict.why.reason));
}
