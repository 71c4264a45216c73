import { expect, test } from 'vitest';
import { ManualClock } from '../../test/support/manual-clock.ts';
import type { BrokerFacts } from '../kafka/broker-facts.ts';
import { BrokerView } from './broker-view.ts';

const { signal } = new AbortController();
const FACTS: BrokerFacts = {
  topics: new Map([
    [
      'a',
      {
        kind: 'present',
        id: 'id-of-a',
        tombstonesMs: 1000,
        partitions: new Map([[0, { start: 0n, end: 9n, isSettled: true }]]),
      },
    ],
    ['gone', { kind: 'absent' }],
  ]),
  isTransactional: true,
};
const REMEMBERED: BrokerFacts = {
  topics: new Map([['a', { kind: 'present', id: 'id-of-a', tombstonesMs: undefined, partitions: new Map() }]]),
  isTransactional: undefined,
};

test('brokers that fall silent are left alone for a minute, and what they told of topics still holds, but no range', async () => {
  const clock = new ManualClock();
  let asked = 0;
  let answer: BrokerFacts | undefined = FACTS;
  const view = new BrokerView(() => {
    asked += 1;
    return Promise.resolve(answer);
  }, clock);
  const topics = new Set(['a', 'gone']);
  expect(await view.look(topics, signal)).toEqual(FACTS);
  answer = undefined;
  expect(await view.look(topics, signal)).toEqual(REMEMBERED);
  answer = FACTS;
  await clock.advance(59_000);
  expect(await view.look(topics, signal)).toEqual(REMEMBERED);
  expect(asked).toBe(2);
  await clock.advance(2000);
  expect(await view.look(topics, signal)).toEqual(FACTS);
});

test('nothing is asked about no topic, and nobody is asked who was not named', async () => {
  const clock = new ManualClock();
  const never = (): never => expect.unreachable('asked');
  expect(await new BrokerView(never, clock).look(new Set(), signal)).toBeUndefined();
  expect(await new BrokerView(undefined, clock).look(new Set(['a']), signal)).toBeUndefined();
});
