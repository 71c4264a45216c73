import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Broker } from '../support/kafka/broker.ts';
import { departuresFromDelta } from '../support/kafka/delta.ts';
import { type PrintedTask, ProtectedApp } from '../support/kafka/protected-app.ts';
import type { StreamsApp } from '../support/kafka/streams-app.ts';
import { differences, type Load, type StoreName } from '../support/model.ts';

const LOAD: Load = { keys: 800, rows: 200, items: 80, stepMs: 4000, payloadBytes: 60 };
const FIRST = 4000;
/**
 * 51 hours of the records' time later, and the windows are kept for 24. 4.2.2 looks whether it may pass over records of windows
 * that have expired where an offset is 16,384 or more behind (StoreChangelogReader.shouldProbePastStoredOffset): 17,500 at least.
 */
const ALL = FIRST + 46_000;
const ON_DISK = ['agg', 'win', 'tab'] as const satisfies readonly StoreName[];
const DURATION_MS_MAX = 15 * 60_000;

const ended = new AbortController();
const signal = AbortSignal.any([ended.signal, AbortSignal.timeout(DURATION_MS_MAX)]);
const held = new AsyncDisposableStack();
let broker: Broker;
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'warmstate-windows-'));
  held.defer(() => rm(directory, { recursive: true, force: true }));
  broker = held.use(await Broker.start(signal));
});

afterAll(async () => {
  ended.abort();
  await held.disposeAsync();
});

// Others begin at the checkpoint + 1 and replay what is thrown away at once; the contents are the same.
test('Kafka Streams 4.2.2 passes over windows that have expired since the snapshot, and has what a cold start has', async () => {
  const version = '4.2.2';
  const name = 'expired';
  const guarantee = 'at_least_once';
  const app = await ProtectedApp.open({
    name,
    version,
    guarantee,
    broker,
    directory,
    signal,
    load: LOAD,
    partitions: 2,
  });
  await app.feed(0, FIRST);
  {
    await using application = await app.start({ isCalm: true });
    await application.caughtUp(FIRST, LOAD);
    await application.close();
  }
  await app.snapshot();
  {
    await using application = await app.start({ isCalm: true });
    await app.feed(FIRST, ALL);
    await application.committed();
    await application.kill();
  }

  await app.loseDisk();
  const installed = await app.restore();
  let warm: Contents;
  {
    await using application = await app.start({ isCalm: true });
    await application.committed();
    const windows = application.restorations.filter(({ store }) => store === 'win');
    expect(
      windows.map(({ changelog, startingOffset }) => startingOffset - offsetOf(installed, changelog) > 1n),
    ).toEqual([true, true]);
    const departures = departuresFromDelta(application.restorations, installed, guarantee);
    expect(departures.filter((line) => !line.includes('-win-changelog-'))).toEqual([]);
    warm = await contentsOf(application);
    await application.kill();
  }
  await app.loseDisk();
  await using application = await app.start({ isCalm: true });
  await application.committed();
  const cold = await contentsOf(application);
  for (const store of ON_DISK) expect([store, differences(warm[store], cold[store])]).toEqual([store, []]);
  expect(warm.win.size).toBeGreaterThan(0);
});

function offsetOf(installed: readonly PrintedTask[], changelog: string): bigint {
  return BigInt(installed.find(({ offsets }) => changelog in offsets)?.offsets[changelog] ?? '-1');
}

type Contents = Record<(typeof ON_DISK)[number], ReadonlyMap<string, string>>;

async function contentsOf(application: StreamsApp): Promise<Contents> {
  return {
    agg: await application.contentsOf('agg'),
    win: await application.contentsOf('win'),
    tab: await application.contentsOf('tab'),
  };
}
