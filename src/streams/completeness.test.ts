import { describe, expect, test } from 'vitest';
import { after, before, CHECKPOINT_NS, parentOf } from '../../test/support/sights.ts';
import { findMissing, type ParentMemory } from './completeness.ts';
import type { ParentDirectory } from './state-directory.ts';

const STORES = parentOf('stores', ['agg', 'tab']);
const WINDOWS = parentOf('segments', ['win.0', 'win.1', 'win.2']);
const TASK: ReadonlyMap<string, ParentDirectory> = new Map([
  ['rocksdb', STORES],
  ['win', WINDOWS],
  ['late', parentOf('segments', ['late.5', 'late.9'])],
]);

describe('without any earlier look', () => {
  test('a task whose directories are as old as its checkpoint is whole', () => {
    expect(look(TASK)).toBeUndefined();
    expect(look(new Map([['win', parentOf('segments', ['win.0'], CHECKPOINT_NS)]]))).toBeUndefined();
  });

  test.each([
    ['D2: a parent of stores', 'rocksdb', parentOf('stores', ['agg'], CHECKPOINT_NS + 1n)],
    ['D2: a parent of segments', 'win', parentOf('segments', ['win.1', 'win.2'], CHECKPOINT_NS + 1n)],
    ['D2: a parent that has no children left', 'win', parentOf('segments', [], CHECKPOINT_NS + 1n)],
  ])('%s must not have changed since the checkpoint, however long ago', (_name, path, parent) => {
    expect(look(new Map([[path, parent]]), { nowMs: ms(3_600_000) })).toEqual({
      reason: 'changing',
      message: `${path} changed after the offsets were written; waits until they are written again`,
    });
  });

  test('nothing is asked of a task without a checkpoint', () => {
    expect(look(new Map([['win', parentOf('segments', [], after(1))]]), { stateTimeNs: undefined })).toBeUndefined();
  });
});

describe('D2: a change after the checkpoint that an earlier look explains', () => {
  test.each([
    ['a new newest segment', ['win.0', 'win.1', 'win.2', 'win.3']],
    ['the oldest segment gone', ['win.1', 'win.2']],
    ['both', ['win.2', 'win.3']],
    ['all replaced by newer ones', ['win.3', 'win.4']],
  ])('counts once it is ten seconds old: %s', (_name, children) => {
    const changed = new Map([...TASK, ['win', parentOf('segments', children, after(1_000))] as const]);
    const known = rememberOf(TASK);
    expect(look(changed, { known, nowMs: ms(11_001) })).toBeUndefined();
    expect(look(changed, { known, nowMs: ms(10_999) })).toEqual({
      reason: 'changing',
      message: 'win changed less than 10 s ago',
    });
  });

  test('counts at once when it was looked at before', () => {
    const changed = new Map([...TASK, ['win', parentOf('segments', ['win.1', 'win.2'], after(1_000))] as const]);
    expect(look(changed, { known: rememberOf(changed), nowMs: ms(1_001) })).toBeUndefined();
  });

  test('counts only with an earlier look where stamps tell nothing', () => {
    const why = {
      reason: 'changing',
      message: 'rocksdb changed after the offsets were written; waits until they are written again',
    };
    expect(look(TASK, { isDated: false })).toEqual(why);
    expect(look(TASK, { isDated: false, known: rememberOf(TASK) })).toBeUndefined();
  });

  test('the first segments of a store are new', () => {
    const known = rememberOf(new Map([['win', parentOf('segments', [])]]));
    const changed = new Map([['win', parentOf('segments', ['win.7'], after(1_000))]]);
    expect(look(changed, { known, nowMs: ms(20_000) })).toBeUndefined();
  });

  test.each([
    ['an older segment that came', 'late', parentOf('segments', ['late.5', 'late.7', 'late.9'], after(1_000))],
    ['a store that came', 'rocksdb', parentOf('stores', ['agg', 'tab', 'new'], after(1_000))],
    ['a parent of stores that changed without a trace', 'rocksdb', parentOf('stores', ['agg', 'tab'], after(1_000))],
  ])('is none: %s', (_name, path, parent) => {
    const changed = new Map([...TASK, [path, parent] as const]);
    expect(look(changed, { known: rememberOf(TASK), nowMs: ms(20_000) })?.reason).toBe('changing');
  });
});

describe('D4: what was here is here', () => {
  test.each([
    ['a store', new Map([...TASK, ['rocksdb', parentOf('stores', ['agg'])] as const]), 'rocksdb/tab is gone'],
    ['the first store', new Map([...TASK, ['rocksdb', parentOf('stores', ['tab'])] as const]), 'rocksdb/agg is gone'],
    ['all stores', without('rocksdb'), 'rocksdb is gone'],
    ['a window store', without('win'), 'win is gone'],
    [
      'a segment in the middle',
      new Map([...TASK, ['win', parentOf('segments', ['win.0', 'win.2'])] as const]),
      'win/win.1 is gone',
    ],
    [
      'the newest segment',
      new Map([...TASK, ['win', parentOf('segments', ['win.0', 'win.1'])] as const]),
      'win/win.2 is gone',
    ],
    ['all segments', new Map([...TASK, ['win', parentOf('segments', [])] as const]), 'win/win.0 is gone'],
  ])('but %s', (_name, parents, message) => {
    expect(look(parents, { known: rememberOf(TASK) })).toEqual({ reason: 'being_deleted', message });
    expect(look(parents, { known: rememberOf(TASK), stateTimeNs: undefined })).toEqual({
      reason: 'being_deleted',
      message,
    });
  });

  test('segments go from the oldest on, before the checkpoint without a wait', () => {
    const expired = new Map([...TASK, ['win', parentOf('segments', ['win.2'], before(1))] as const]);
    expect(look(expired, { known: rememberOf(TASK), nowMs: ms(1) })).toBeUndefined();
  });
});

function look(
  parents: ReadonlyMap<string, ParentDirectory>,
  changes: {
    readonly known?: ReadonlyMap<string, ParentMemory>;
    readonly stateTimeNs?: bigint | undefined;
    readonly nowMs?: number;
    readonly isDated?: boolean;
  } = {},
): ReturnType<typeof findMissing> {
  const { known, ...times } = changes;
  return findMissing(parents, known, { stateTimeNs: CHECKPOINT_NS, nowMs: ms(60_000), isDated: true, ...times });
}

function without(parent: string): ReadonlyMap<string, ParentDirectory> {
  return new Map([...TASK].filter(([path]) => path !== parent));
}

function rememberOf(parents: ReadonlyMap<string, ParentDirectory>): ReadonlyMap<string, ParentMemory> {
  return new Map([...parents].map(([path, { facts, children }]) => [path, { mtimeNs: facts.mtimeNs, children }]));
}

/** The millisecond in which so many have passed since the checkpoint, as a clock reads it. */
function ms(sinceCheckpointMs: number): number {
  return Number(after(sinceCheckpointMs) / 1_000_000n);
}
