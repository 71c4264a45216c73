import { describe, expect, test } from 'vitest';
import { checkpointSight } from '../../test/support/sights.ts';
import { coverStores, keepsOwnOffsets } from './offsets.ts';

test('a database keeps its own offsets when it has the column family for them', () => {
  expect(keepsOwnOffsets(['default', 'offsets'])).toBe(true);
  expect(keepsOwnOffsets(['default', 'keyValueWithTimestamp'])).toBe(false);
});

describe('stores that may travel', () => {
  test.each([
    [
      'every named store with an offset',
      ['orders-agg-changelog 0 1', 'orders-win-changelog 0 0'],
      ['agg', 'win'],
      ['agg', 'win'],
      [],
    ],
    ['a store of any name', ['orders-a.b-c_changelog-changelog 0 1'], ['a.b-c_changelog'], ['a.b-c_changelog'], []],
    ['C3: not one without an entry', ['orders-agg-changelog 0 1'], ['agg', 'cache'], ['agg'], ['cache']],
    [
      'C3: not one without an offset',
      ['orders-agg-changelog 0 1', 'orders-win-changelog 0 -4'],
      ['agg', 'win'],
      ['agg'],
      ['win'],
    ],
    ['an empty one without an offset is not missed', ['orders-agg-changelog 0 1'], ['agg', 'cache?'], ['agg'], []],
    [
      'the one store that an optimized-away changelog can mean',
      ['orders-agg-changelog 0 1', 'customers 0 5'],
      ['agg', 'tab'],
      ['agg', 'tab'],
      [],
    ],
    [
      'all global stores',
      ['countries 0 5', 'countries 1 6', 'rates 0 7'],
      ['countries-store', 'rates-store'],
      ['countries-store', 'rates-store'],
      [],
    ],
    ['none where nothing is named', [], ['agg'], [], ['agg']],
  ])('%s', (_name, entries, stores, served, leftOut) => {
    expect(cover(entries, stores)).toEqual({ kind: 'covered', stores: new Set(served), leftOut });
  });
});

describe('a task is refused', () => {
  test.each([
    [
      'C1: a named store is missing',
      ['orders-agg-changelog 0 1', 'orders-win-changelog 0 2'],
      ['agg', 'other'],
      'incomplete',
      '.checkpoint names orders-win-changelog, but there is no store win',
    ],
    [
      'C1: a store that is named without an offset is missing',
      ['orders-agg-changelog 0 1', 'orders-win-changelog 0 -4'],
      ['agg'],
      'incomplete',
      '.checkpoint names orders-win-changelog, but there is no store win',
    ],
    [
      'C1: there are fewer stores than topics, whatever these are called',
      ['orders-agg-changelog 0 1', 'customers 0 5'],
      ['agg'],
      'incomplete',
      '.checkpoint names 2 changelogs, which are more than the stores there are (1)',
    ],
    [
      'C1: a global store is missing',
      ['countries 0 5', 'rates 0 7'],
      ['countries-store'],
      'incomplete',
      '.checkpoint names 2 changelogs, which are more than the stores there are (1)',
    ],
    [
      'C3: nothing tells which store an optimized-away changelog means',
      ['orders-agg-changelog 0 1', 'customers 0 5'],
      ['agg', 'tab', 'cache'],
      'no_offset',
      'of the stores tab, cache only 1 can have an offset (customers), and nothing tells which',
    ],
    [
      'C3: nothing tells which of two has none yet',
      ['customers 0 5', 'countries 0 -4'],
      ['tab', 'cache'],
      'no_offset',
      'of the stores tab, cache only 1 can have an offset (customers, countries), and nothing tells which',
    ],
  ])('%s', (_name, entries, stores, reason, message) => {
    expect(cover(entries, stores)).toEqual({ kind: 'refused', why: { reason, message } });
  });
});

test('the changelog of another application names no store', () => {
  expect(cover(['others-agg-changelog 0 1'], ['agg'])).toEqual({
    kind: 'covered',
    stores: new Set(['agg']),
    leftOut: [],
  });
  expect(cover(['orders--changelog 0 1', 'orders-changelog 0 1'], ['a', 'b'])).toEqual({
    kind: 'covered',
    stores: new Set(['a', 'b']),
    leftOut: [],
  });
});

test('a store that stayed at home for want of an offset is not missing where the task was installed', () => {
  const named = ['orders-agg-changelog 0 1', 'orders-win-changelog 0 -4'];
  expect(cover(named, ['agg'], true)).toEqual({ kind: 'covered', stores: new Set(['agg']), leftOut: [] });
  expect(cover(named, ['agg'])).toMatchObject({ kind: 'refused', why: { reason: 'incomplete' } });
  expect(cover(['orders-agg-changelog 0 1', 'orders-win-changelog 0 1'], ['agg'], true).kind).toBe('refused');
});

/** Stores have tables, but for those with a question mark. */
function cover(
  entries: readonly string[],
  stores: readonly string[],
  isInstalled = false,
): ReturnType<typeof coverStores> {
  const found = stores.map((name) => [name.replace('?', ''), { hasTables: !name.endsWith('?') }] as const);
  return coverStores(checkpointSight(entries).content, new Map(found), { applicationId: 'orders', isInstalled });
}
