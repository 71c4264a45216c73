import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { TaskSight } from '../../src/streams/quality.ts';
import { Broker } from '../support/kafka/broker.ts';
import { departuresFromDelta, totalsOf } from '../support/kafka/delta.ts';
import { type PrintedTask, ProtectedApp } from '../support/kafka/protected-app.ts';
import type { Load } from '../support/model.ts';
import { judgeSight, lookAtTask } from '../support/verdicts.ts';

/** Offsets inside RocksDB: Kafka Streams 4.3 and later. */

const LOAD: Load = { keys: 800, rows: 200, items: 80, stepMs: 2000, payloadBytes: 200 };
const PARTITIONS = 2;
const WINDOWED = ['0_0', '0_1'];
const PLAIN = ['1_0', '1_1'];
const DURATION_MS_MAX = 15 * 60_000;
const DIVERGED_MS_MAX = 120_000;

const ended = new AbortController();
const signal = AbortSignal.any([ended.signal, AbortSignal.timeout(DURATION_MS_MAX)]);
const held = new AsyncDisposableStack();
let broker: Broker;
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'warmstate-family-'));
  held.defer(() => rm(directory, { recursive: true, force: true }));
  broker = held.use(await Broker.start(signal));
});

afterAll(async () => {
  ended.abort();
  await held.disposeAsync();
});

describe.for(['4.3.1', '4.4.0'])('Kafka Streams %s, at_least_once, while it runs', (version) => {
  const FIRST = 40_000;
  const PORTION = 8_000;
  const AFTER_THE_LOSS = FIRST + 1500;

  test('plain stores are captured live, segments that were flushed apart are not, and all once it is closed', async () => {
    const name = `live-${version.replaceAll('.', '-')}`;
    const app = await ProtectedApp.open({
      name,
      version,
      guarantee: 'at_least_once',
      broker,
      load: LOAD,
      partitions: PARTITIONS,
      directory,
      signal,
    });
    let live: readonly PrintedTask[];
    {
      await using application = await app.start();
      // Offsets are committed into memory, and reach the disk with the next table.
      for (let from = 0; from < FIRST; from += PORTION) {
        await app.feed(from, from + PORTION);
        await application.caughtUp(from + PORTION, LOAD);
      }
      const diverged = await untilApart(app);
      expect(diverged.verdicts).toEqual(['segmented', 'exactly_once_running']);
      live = (await app.snapshot()).tasks;
      expect(verdictsOf(live, PLAIN)).toEqual(PLAIN.map((task) => [task, 'captured', 'live', null]));
      expect(verdictsOf(live, WINDOWED)).toEqual(WINDOWED.map((task) => [task, 'uncapturable', null, 'segmented']));
      expect(verdictsOf(live, ['global'])).toEqual([['global', 'uncapturable', null, 'segmented']]);
      await application.kill();
    }
    await app.loseDisk();
    await app.feed(FIRST, AFTER_THE_LOSS);
    const installed = (await app.restore()).filter(({ decision }) => decision === 'warm');
    expect(installed.map(({ task, offsets }) => [task, offsets])).toEqual(
      live.filter(({ task }) => PLAIN.includes(task)).map(({ task, offsets }) => [task, offsets]),
    );
    {
      await using application = await app.start();
      await application.caughtUp(AFTER_THE_LOSS, LOAD);
      const plain = application.restorations.filter(({ store }) => store === 'tab');
      expect(departuresFromDelta(plain, installed, 'at_least_once')).toEqual([]);
      expect(await application.differencesFrom(AFTER_THE_LOSS, LOAD)).toEqual([]);
      console.log(`live ${version} replayed`, totalsOf(application.restorations));
      await application.close();
    }
    const closed = (await app.snapshot()).tasks;
    const all = [...WINDOWED, ...PLAIN, 'global'];
    expect(closed.map(({ task, quality }) => [task, quality])).toEqual(all.map((task) => [task, 'clean']));
  });
});

/** Looks until two segments of a store carry different offsets on disk, as only separate flushes leave them. */
async function untilApart(app: ProtectedApp): Promise<{ readonly verdicts: readonly string[] }> {
  const deadlineMs = performance.now() + DIVERGED_MS_MAX;
  for (;;) {
    for (const task of WINDOWED) {
      const seen = await lookAtTask(join(app.stateDir, app.name), task);
      if (seen.kind !== 'seen' || !isApart(seen.sight)) continue;
      console.log(task, describeSegments(seen.sight));
      return judgeSight(seen.sight, { applicationId: app.name });
    }
    if (performance.now() > deadlineMs) throw new Error('no two segments were flushed apart');
    await delay(200, undefined, { signal });
  }
}

function isApart(sight: TaskSight): boolean {
  const flushed = describeSegments(sight).filter(({ offset }) => offset !== undefined);
  return new Set(flushed.map(({ offset }) => offset)).size > 1;
}

function describeSegments({
  databases,
}: TaskSight): readonly { readonly path: string; readonly offset: bigint | undefined }[] {
  return databases
    .filter(({ store }) => store === 'win')
    .map(({ path, own }) => ({ path, offset: own?.kind === 'read' ? own.offsets.values().next().value : undefined }));
}

function verdictsOf(tasks: readonly PrintedTask[], some: readonly string[]): readonly unknown[] {
  const chosen = tasks.filter(({ task }) => some.includes(task));
  return chosen.map(({ task, outcome, quality, reason }) => [task, outcome, quality, reason]);
}
