import { expect, test } from 'vitest';
import { ManualClock } from '../../test/support/manual-clock.ts';
import { type BrokerScript, ScriptedBroker } from '../../test/support/scripted-broker.ts';
import { type Clock, systemRandom } from '../base/clock.ts';
import { askBrokers } from './ask-brokers.ts';
import type { BrokerFacts } from './broker-facts.ts';

const { signal } = new AbortController();
const ID = Buffer.from('000102030405060708090a0b0c0d0e0f', 'hex');
const AGG = 'orders-agg-changelog';
const COMPACTED = { 'cleanup.policy': 'compact', 'delete.retention.ms': '86400000' };

interface Asking {
  readonly answerMsMax?: number;
  readonly clock?: Clock;
}

function ask(
  { port }: Pick<ScriptedBroker, 'port'>,
  topics: readonly string[] = [AGG],
  { answerMsMax = 60_000, clock = new ManualClock({ sleepsPass: true }) }: Asking = {},
): Promise<BrokerFacts> {
  const access = {
    bootstrap: [
      { host: '127.0.0.1', port: 1 }, // Nobody is there.
      { host: '127.0.0.1', port },
    ],
    security: { tls: undefined, credentials: undefined },
    answerMsMax,
  };
  const world = { clock, random: systemRandom, signal };
  return askBrokers(access, { applicationId: 'orders', topics: new Set(topics) }, world);
}

function script(changes: Partial<BrokerScript> = {}): BrokerScript {
  const logs = [
    { start: 0n, end: 7n },
    { start: 3n, end: 9n, stable: 8n },
  ];
  return { topics: { [AGG]: { id: ID, logs, configs: COMPACTED } }, ...changes };
}

test('ids, logs and retention of topics are put together from what a broker says', async () => {
  await using broker = await ScriptedBroker.start(
    script({
      topics: {
        ...script().topics,
        windows: { id: ID, logs: [], configs: { 'cleanup.policy': 'compact,delete', 'delete.retention.ms': '5' } },
        [`${AGG}-2`]: { id: ID, logs: [{ start: 0n, end: 0n }], configs: { 'cleanup.policy': 'delete' } },
        secret: { id: ID, logs: [], error: 29 },
        mute: { id: ID, logs: [{ start: 1n, end: 2n }] },
      },
    }),
  );
  const facts = await ask(broker, [AGG, `${AGG}-2`, 'secret', 'mute', 'gone']);
  const present = { kind: 'present', id: 'AAECAwQFBgcICQoLDA0ODw' };
  expect(facts).toEqual({
    topics: new Map<string, unknown>([
      [
        AGG,
        {
          ...present,
          tombstonesMs: 86_400_000,
          partitions: new Map([
            [0, { start: 0n, end: 7n, isSettled: true }],
            [1, { start: 3n, end: 9n, isSettled: false }],
          ]),
        },
      ],
      [
        `${AGG}-2`,
        { ...present, tombstonesMs: undefined, partitions: new Map([[0, { start: 0n, end: 0n, isSettled: true }]]) },
      ],
      [
        'mute',
        { ...present, tombstonesMs: undefined, partitions: new Map([[0, { start: 1n, end: 2n, isSettled: true }]]) },
      ],
      ['gone', { kind: 'absent' }],
    ]),
    isTransactional: false,
  });
});

test('a topic that is there at the second look is not called absent', async () => {
  await using broker = await ScriptedBroker.start(script({ topics: {} }));
  const starting = {
    nowMs: () => 0,
    monotonicMs: () => 0,
    sleep: async () => {
      broker.script = script();
    },
  };
  expect((await ask(broker, [AGG], { clock: starting })).topics.get(AGG)).toMatchObject({ kind: 'present' });
});

const PROCESS = '01234567-89ab-cdef-0123-456789abcdef';
test.for([
  { what: 'of a thread', ids: [`orders-${PROCESS}-1`], is: true },
  { what: 'of a task, as before Kafka Streams 4.0', ids: ['orders-0_12'], is: true },
  { what: 'of another application whose name goes on', ids: [`orders-eu-${PROCESS}-1`, 'orders-eu-0_1'], is: false },
  { what: 'of whoever else', ids: ['orders', 'orders-', `my-orders-${PROCESS}-1`], is: false },
])('transactional ids $what: $is', async ({ ids, is }) => {
  await using broker = await ScriptedBroker.start(script({ transactionalIds: ids }));
  expect((await ask(broker)).isTransactional).toBe(is);
});

test('a broker that knows no transactions says nothing of them, and everything else', async () => {
  await using broker = await ScriptedBroker.start(script({ withoutKeys: new Set([66]) }));
  const facts = await ask(broker);
  expect(facts.isTransactional).toBeUndefined();
  expect(facts.topics.get(AGG)).toMatchObject({
    partitions: new Map([
      [0, {}],
      [1, {}],
    ]),
  });
});

test('a leader that does not answer leaves out its logs, and the id stays', async () => {
  const logs = [
    { start: 0n, end: 7n },
    { start: 0n, end: 9n, leader: 2 },
  ];
  await using broker = await ScriptedBroker.start({
    topics: { [AGG]: { id: ID, logs, configs: COMPACTED } },
    others: [{ node: 2, port: 1 }],
  });
  const facts = await ask(broker);
  const found = facts.topics.get(AGG);
  expect(found).toMatchObject({ kind: 'present', id: 'AAECAwQFBgcICQoLDA0ODw' });
  expect(found?.kind === 'present' && [...found.partitions.keys()]).toEqual([0]);
  expect(facts.isTransactional).toBeUndefined();
});

test('brokers before 2.8 are told as such', async () => {
  await using broker = await ScriptedBroker.start(script({ withoutKeys: new Set([3]) }));
  await expect(ask(broker)).rejects.toMatchObject({
    kind: 'unavailable',
    message: `cannot ask broker 127.0.0.1:${broker.port}: it knows Metadata not at all, not 10`,
    hint: 'brokers from 2.8 on can be asked',
  });
});

test('whoever is silent is not waited for', async () => {
  await using broker = await ScriptedBroker.start(script({ silentTo: new Set([3]) }));
  await expect(ask(broker, [AGG], { answerMsMax: 600 })).rejects.toMatchObject({
    kind: 'unavailable',
    message: `cannot ask broker 127.0.0.1:${broker.port} (Metadata): it is silent for 0.2 s`,
  });
});

test('where nobody is there the first address is told', async () => {
  await expect(ask({ port: 1 })).rejects.toMatchObject({
    kind: 'unavailable',
    message: expect.stringMatching(/^cannot ask broker 127.0.0.1:1 \(connect\): .*ECONNREFUSED/),
  });
});
