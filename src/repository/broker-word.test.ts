import { describe, expect, test } from 'vitest';
import type { BrokerFacts, LogRange, TopicFacts } from '../kafka/broker-facts.ts';
import {
  replayRecords,
  type StoredState,
  standsAtEnd,
  topicIdsFor,
  topicsOf,
  whyDeletionsLost,
  whyOtherHistory,
  whyOtherTopics,
} from './broker-word.ts';

const HOUR_MS = 3_600_000;
const range = (start: bigint, end: bigint, isSettled = true): LogRange => ({ start, end, isSettled });
const topic = (id: string, ranges: readonly LogRange[], tombstonesMs?: number): TopicFacts => ({
  kind: 'present',
  id,
  tombstonesMs,
  partitions: new Map(ranges.entries()),
});
const facts = (
  topics: Readonly<Record<string, TopicFacts>>,
  isTransactional: boolean | undefined = false,
): BrokerFacts => ({
  topics: new Map(Object.entries(topics)),
  isTransactional,
});
const state = (offsets: Readonly<Record<string, bigint>>, more: Partial<StoredState> = {}): StoredState => ({
  task: '0_0',
  offsets: new Map(Object.entries(offsets)),
  ...more,
});

test('topics are those of the offsets, whatever dashes they have', () => {
  expect([...topicsOf([state({ 'app-a-changelog-0': 1n, 'app-a-changelog-1': 2n }), state({ 'b-12': 3n })])]).toEqual([
    'app-a-changelog',
    'b',
  ]);
});

test('ids are those that brokers tell; none is none', () => {
  const told = facts({ a: topic('id-a', []), b: { kind: 'absent' } });
  expect(
    topicIdsFor(
      new Map([
        ['a-0', 1n],
        ['b-0', 1n],
        ['c-0', 1n],
      ]),
      told,
    ),
  ).toEqual(new Map([['a', 'id-a']]));
  expect(topicIdsFor(new Map([['b-0', 1n]]), told)).toBeUndefined();
  expect(topicIdsFor(new Map([['a-0', 1n]]), undefined)).toBeUndefined();
});

describe('another history', () => {
  const known = { topicIds: new Map([['a', 'first']]) };
  test.for([
    {
      what: 'a topic that is gone',
      state: state({ 'a-0': 4n }),
      told: { a: { kind: 'absent' } },
      why: 'the topic a does not exist',
    },
    {
      what: 'another topic of that name, empty',
      state: state({ 'a-0': 4n }, known),
      told: { a: topic('second', [range(0n, 0n)]) },
      why: 'the topic a is another one now: its id was first and is second',
    },
    {
      what: 'another topic of that name, longer than before',
      state: state({ 'a-0': 4n }, known),
      told: { a: topic('second', [range(0n, 900n)]) },
      why: 'the topic a is another one now: its id was first and is second',
    },
    {
      what: 'a log that ends before',
      state: state({ 'a-0': 4n }),
      told: { a: topic('x', [range(0n, 4n)]) },
      why: 'the log of a-0 ends at 4, and the state goes on at 5',
    },
    {
      what: 'a log that begins after',
      state: state({ 'a-0': 4n }),
      told: { a: topic('x', [range(6n, 9n)]) },
      why: 'the log of a-0 begins at 6, and the state goes on at 5',
    },
    {
      what: 'a global log that ends before',
      state: state({ 'a-0': 5n }, { task: 'global' }),
      told: { a: topic('x', [range(0n, 4n)]) },
      why: 'the log of a-0 ends at 4, and the state goes on at 5',
    },
  ] as const)('is $what', ({ state: stored, told, why }) => {
    expect(whyOtherHistory(stored, facts(told))).toEqual({ reason: 'topic_changed', message: why });
  });

  test.for([
    { what: 'the same topic', state: state({ 'a-0': 4n }, known), told: { a: topic('first', [range(0n, 9n)]) } },
    { what: 'a log that ends right there', state: state({ 'a-0': 4n }), told: { a: topic('x', [range(0n, 5n)]) } },
    { what: 'a log that begins right there', state: state({ 'a-0': 4n }), told: { a: topic('x', [range(5n, 9n)]) } },
    {
      what: 'a global log, whose offset is the next one',
      state: state({ 'a-0': 5n }, { task: 'global' }),
      told: { a: topic('x', [range(0n, 5n)]) },
    },
    { what: 'a topic of which nothing is told', state: state({ 'a-0': 4n }, known), told: {} },
    {
      what: 'a log of which nothing is told',
      state: state({ 'a-7': 4n }, known),
      told: { a: topic('first', [range(0n, 1n)]) },
    },
  ] as const)('is not $what', ({ state: stored, told }) => {
    expect(whyOtherHistory(stored, facts(told))).toBeUndefined();
  });

  test('shows by the topics alone', () => {
    expect(whyOtherTopics(known.topicIds, facts({ a: topic('first', []) }))).toBeUndefined();
    expect(whyOtherTopics(known.topicIds, facts({}))).toBeUndefined();
    expect(whyOtherTopics(known.topicIds, facts({ a: topic('second', []) }))).toMatchObject({
      reason: 'topic_changed',
    });
  });
});

test('deletions are kept for 23 of 24 parts of the retention, and without compaction for ever', () => {
  const told = facts({ a: topic('x', [], 24 * HOUR_MS), b: topic('y', []) });
  expect(whyDeletionsLost({ ...state({ 'a-0': 1n }), ageMs: 23 * HOUR_MS }, told)).toBeUndefined();
  expect(whyDeletionsLost({ ...state({ 'a-0': 1n }), ageMs: 23 * HOUR_MS + 1 }, told)).toEqual({
    reason: 'too_old',
    message: 'its state is 23 h 00 min old, and a keeps deletions for 1 d 00 h (delete.retention.ms)',
  });
  expect(whyDeletionsLost({ ...state({ 'b-0': 1n, 'c-0': 1n }), ageMs: 1e12 }, told)).toBeUndefined();
});

describe('what stands at the end of its logs', () => {
  test.for([
    {
      what: 'everything is read',
      state: state({ 'a-0': 4n, 'a-1': 8n }),
      told: facts({ a: topic('x', [range(0n, 5n), range(0n, 9n)]) }),
      is: true,
    },
    {
      what: 'one record is left',
      state: state({ 'a-0': 3n }),
      told: facts({ a: topic('x', [range(0n, 5n)]) }),
      is: false,
    },
    {
      what: 'a mark of a transaction is left',
      state: state({ 'a-0': 3n }),
      told: facts({ a: topic('x', [range(0n, 5n)]) }, true),
      is: true,
    },
    {
      what: 'a record and its mark are left',
      state: state({ 'a-0': 2n }),
      told: facts({ a: topic('x', [range(0n, 5n)]) }, true),
      is: false,
    },
    {
      what: 'a transaction is open',
      state: state({ 'a-0': 3n }),
      told: facts({ a: topic('x', [range(0n, 5n, false)]) }, true),
      is: false,
    },
    {
      what: 'one record is left of a global log',
      state: state({ 'a-0': 4n }, { task: 'global' }),
      told: facts({ a: topic('x', [range(0n, 5n)]) }, true),
      is: false,
    },
    {
      what: 'one log is not known',
      state: state({ 'a-0': 4n, 'b-0': 1n }),
      told: facts({ a: topic('x', [range(0n, 5n)]) }),
      is: false,
    },
    {
      what: 'the log ends before',
      state: state({ 'a-0': 7n }),
      told: facts({ a: topic('x', [range(0n, 5n)]) }),
      is: false,
    },
    { what: 'it has no offsets', state: state({}), told: facts({}), is: false },
  ])('$what: $is', ({ state: stored, told, is }) => {
    expect(standsAtEnd(stored, told)).toBe(is);
  });
});

test('the records that are left are counted over all logs, from where they begin', () => {
  const told = facts({ a: topic('x', [range(0n, 10n), range(50n, 60n)]), b: topic('y', [range(0n, 5n)]) });
  expect(replayRecords(state({ 'a-0': 4n, 'b-0': 4n }), told)).toBe(5);
  expect(replayRecords(state({ 'a-1': -1n }), told)).toBe(10);
  expect(replayRecords(state({ 'a-0': 9n, 'b-0': 99n }), told)).toBe(0);
  expect(replayRecords(state({ 'a-0': 4n }, { task: 'global' }), told)).toBe(6);
  expect(replayRecords(state({ 'a-0': 4n, 'c-0': 1n }), told)).toBeUndefined();
});
