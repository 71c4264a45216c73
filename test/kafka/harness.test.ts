import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Broker } from '../support/kafka/broker.ts';
import { startingOffsetsOf } from '../support/kafka/starting-offsets.ts';
import { type Restoration, StreamsApp } from '../support/kafka/streams-app.ts';
import type { Load } from '../support/model.ts';

const LOAD: Load = { keys: 800, rows: 200, items: 80, stepMs: 4000, payloadBytes: 40 };
const RECORDS = 20_000;
const PARTITIONS = 4;
const DURATION_MS_MAX = 15 * 60_000;

const ended = new AbortController();
const signal = AbortSignal.any([ended.signal, AbortSignal.timeout(DURATION_MS_MAX)]);
const held = new AsyncDisposableStack();
let broker: Broker;
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'warmstate-kafka-'));
  held.defer(() => rm(directory, { recursive: true, force: true }));
  broker = held.use(await Broker.start(signal));
});

afterAll(async () => {
  ended.abort();
  await held.disposeAsync();
});

describe.for([
  { version: '3.9.2', guarantee: 'at_least_once' },
  { version: '4.2.2', guarantee: 'exactly_once_v2' },
] as const)('Kafka Streams $version, $guarantee', ({ version, guarantee }) => {
  test('fills every store as the model says and restores nothing but memory after a clean close', async () => {
    const name = `harness-${version.replaceAll('.', '-')}`;
    const options = {
      version,
      guarantee,
      broker,
      applicationId: name,
      topics: name,
      stateDir: join(directory, name),
      signal,
    };
    await broker.createTopics(name, PARTITIONS);
    await broker.feed(name, LOAD, { from: 0, to: RECORDS });
    {
      await using application = await StreamsApp.start(options);
      await application.caughtUp(RECORDS, LOAD);
      expect(await application.differencesFrom(RECORDS, LOAD)).toEqual([]);
      // The comparison sees a single record.
      expect(await application.differencesFrom(RECORDS - 2, LOAD)).not.toEqual([]);
      await application.close();
    }
    const starts = await startingOffsetsOf(join(options.stateDir, name));
    await using application = await StreamsApp.start(options);
    expect(await application.differencesFrom(RECORDS, LOAD)).toEqual([]);
    expect(totals(application.restorations)).toEqual({
      agg: { partitions: PARTITIONS, restored: 0n },
      win: { partitions: PARTITIONS, restored: 0n },
      mem: { partitions: PARTITIONS, restored: BigInt(RECORDS * 0.8) },
      tab: { partitions: PARTITIONS, restored: 0n },
      glob: { partitions: 2, restored: 0n },
    });
    const persistent = application.restorations.filter(({ store }) => store !== 'mem');
    expect(new Map(persistent.map(({ changelog, startingOffset }) => [changelog, startingOffset]))).toEqual(starts);
  });
});

/** Per store, how many of its partitions were looked at and how many records came back. */
function totals(restorations: readonly Restoration[]): Record<string, { partitions: number; restored: bigint }> {
  const groups = Map.groupBy(restorations, (restoration) => restoration.store);
  return Object.fromEntries(
    Array.from(groups, ([store, members]) => [
      store,
      { partitions: members.length, restored: members.reduce((sum, member) => sum + member.totalRestored, 0n) },
    ]),
  );
}
