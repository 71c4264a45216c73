import { expect, test } from 'vitest';
import type { Event } from '../events/event.ts';
import type { BrokerFacts, ConsultBrokers } from '../kafka/broker-facts.ts';
import type { Guarantee } from '../streams/quality.ts';
import { consultOn } from './broker-word.ts';
import { describePlan } from './fill.ts';
import type { LocalTask, OfferedEntry } from './plan.ts';

const NOW_MS = 1_750_000_000_000;
const HOUR_MS = 3_600_000;

const offer = (offset: bigint, changes: Partial<OfferedEntry> = {}): OfferedEntry => ({
  task: '0_0',
  quality: 'clean',
  layout: 'file',
  stateTimeMs: NOW_MS - HOUR_MS,
  capturedAtMs: NOW_MS - HOUR_MS,
  capturedBy: 'E/1',
  offsets: new Map([['a-0', offset]]),
  topicIds: new Map([['a', 'first']]),
  sizeBytes: 1,
  epoch: 'E',
  n: 1,
  lives: false,
  ...changes,
});
const local: LocalTask = {
  task: '0_0',
  verdict: { kind: 'valid', quality: 'clean' },
  offsets: new Map([['a-0', 4n]]),
  topicIds: new Map([['a', 'first']]),
  unfilled: new Set(),
  stateTimeMs: NOW_MS - HOUR_MS,
  sizeBytes: 1,
  taint: undefined,
  onTrial: undefined,
  quarantine: undefined,
  leftIn: 'file',
};
const told = (
  id: string,
  changes: { readonly tombstonesMs?: number; readonly isTransactional?: boolean } = {},
): BrokerFacts => ({
  topics: new Map([
    [
      'a',
      {
        kind: 'present',
        id,
        tombstonesMs: changes.tombstonesMs,
        partitions: new Map([[0, { start: 0n, end: 9n, isSettled: true }]]),
      },
    ],
  ]),
  isTransactional: changes.isTransactional ?? false,
});

async function consult(facts: BrokerFacts | undefined, guarantee: Guarantee = 'at_least_once') {
  const events: Event[] = [];
  const asked: string[] = [];
  const consultBrokers: ConsultBrokers = (topics) => {
    asked.push(...topics);
    return Promise.resolve(facts);
  };
  const given = { offers: [offer(4n)], locals: [local], guarantee, nowMs: NOW_MS };
  const { signal } = new AbortController();
  const word = await consultOn(given, { consultBrokers, emit: (event) => events.push(event), signal });
  return { word, asked, events };
}

test('without brokers, and with silent ones, everything stays as it is', async () => {
  const { signal } = new AbortController();
  const given = { offers: [offer(4n)], locals: [local], guarantee: 'at_least_once' as const, nowMs: NOW_MS };
  const unasked = await consultOn(given, { emit: () => expect.unreachable(), signal });
  for (const word of [unasked, (await consult(undefined)).word]) {
    expect([word.locals, word.guarantee]).toEqual([[local], 'at_least_once']);
    expect([word.objection(offer(99n)), word.isCurrent(offer(8n))]).toEqual([undefined, false]);
    const tasks = [describePlan({ kind: 'warm', task: '0_0', offer: offer(4n), why: undefined })];
    expect(word.estimate(tasks)).toBe(tasks);
  }
});

test('what is of this history stays, and what is left to replay is counted', async () => {
  const { word, asked, events } = await consult(told('first'));
  expect(asked).toEqual(['a']);
  expect(events).toEqual([]);
  expect(word.locals).toEqual([local]);
  expect(word.objection(offer(4n))).toBeUndefined();
  const plans = [
    describePlan({ kind: 'warm', task: '0_0', offer: offer(4n), why: undefined }),
    describePlan({ kind: 'cold', task: '0_0', why: { reason: 'too_old', message: '' } }),
    describePlan({ kind: 'cold', task: '7_7', why: { reason: 'nothing_stored', message: '' } }),
  ];
  expect(word.estimate(plans).map(({ replayRecords }) => replayRecords)).toEqual([4, 9, undefined]);
});

test('what is of another history is objected to, and must leave the volume', async () => {
  const { word } = await consult(told('second'));
  const why = { reason: 'topic_changed', message: 'the topic a is another one now: its id was first and is second' };
  expect(word.objection(offer(4n))).toEqual(why);
  expect(word.locals).toEqual([{ ...local, quarantine: why }]);
});

test('the end of a log counts against what was captured before it was asked for, not against what came since', async () => {
  const { word } = await consult(told('first'));
  expect(word.objection(offer(99n))).toMatchObject({ reason: 'topic_changed' });
  expect(word.objection(offer(99n, { capturedAtMs: NOW_MS + 5000 }))).toBeUndefined();
  expect(
    word.objection(offer(99n, { capturedAtMs: NOW_MS + 5000, topicIds: new Map([['a', 'other']]) })),
  ).toMatchObject({
    reason: 'topic_changed',
  });
});

test('lost deletions are objected to, but for state to which nothing was written since', async () => {
  const { word } = await consult(told('first', { tombstonesMs: HOUR_MS }));
  expect(word.objection(offer(4n))).toMatchObject({ reason: 'too_old' });
  expect([word.objection(offer(8n)), word.isCurrent(offer(8n)), word.isCurrent(offer(4n))]).toEqual([
    undefined,
    true,
    false,
  ]);
});

test.for([
  { guarantee: 'at_least_once', isTransactional: true, becomes: 'auto', notices: 1 },
  { guarantee: 'at_least_once', isTransactional: false, becomes: 'at_least_once', notices: 0 },
  { guarantee: 'exactly_once_v2', isTransactional: true, becomes: 'exactly_once_v2', notices: 0 },
  { guarantee: 'auto', isTransactional: true, becomes: 'auto', notices: 0 },
] as const)(
  '$guarantee, transactional ids $isTransactional: goes by $becomes',
  async ({ guarantee, isTransactional, becomes, notices }) => {
    const { word, events } = await consult(told('first', { isTransactional }), guarantee);
    expect(word.guarantee).toBe(becomes);
    expect(events.map((event) => event.kind === 'notice' && event.name)).toEqual(
      Array.from({ length: notices }, () => 'guarantee-doubtful'),
    );
  },
);
