import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Broker } from '../support/kafka/broker.ts';
import { departuresFromDelta } from '../support/kafka/delta.ts';
import { type PrintedSnapshot, type PrintedTask, ProtectedApp } from '../support/kafka/protected-app.ts';
import type { StreamsApp } from '../support/kafka/streams-app.ts';
import { type Load, timestampOf } from '../support/model.ts';

const LOAD: Load = { keys: 300, rows: 1_000, items: 40, stepMs: 2_000, payloadBytes: 60 };
const SOME = 4_000;
/** Fed while compaction is waited for: it works where something is new. Few enough to leave deleted keys deleted. */
const PORTION = 100;
const PORTION_MS = 3_000;
/** Kafka's `delete.retention.ms` of the changelogs, and our `--max-age`; by default they are 24 and 23 hours. */
const RETENTION_MS = 120_000;
const MAX_AGE = '120s';
const TEST_MS_MAX = 10 * 60_000;

/** Changelogs are compacted at once, and again and again: their segments are rolled by the records' own time. */
const COMPACTED = {
  'topic.delete.retention.ms': RETENTION_MS,
  'topic.segment.ms': 100_000,
  'topic.min.cleanable.dirty.ratio': 0.01,
};

const ended = new AbortController();
const signal = AbortSignal.any([ended.signal, AbortSignal.timeout(2 * TEST_MS_MAX)]);
const held = new AsyncDisposableStack();
let broker: Broker;
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'warmstate-age-'));
  held.defer(() => rm(directory, { recursive: true, force: true }));
  broker = held.use(await Broker.start(signal, { 'log.cleaner.backoff.ms': 500 }));
});

afterAll(async () => {
  ended.abort();
  await held.disposeAsync();
});

// Both mostly wait. An idle task is one that is started and closed without anything to do: its files are written anew (A2).
test.concurrent.for(['busy', 'idle'] as const)(
  'what was deleted stays deleted, just before the state of a task that is %s is too old and after (4.2.2)',
  { timeout: TEST_MS_MAX },
  async (kind) => {
    const place = { load: LOAD, partitions: 2, directory: join(directory, kind) };
    const app = await ProtectedApp.open({
      name: kind,
      version: '4.2.2',
      guarantee: 'at_least_once',
      broker,
      ...place,
      signal,
    });
    const start = (): Promise<StreamsApp> => app.start({ isCalm: true, streams: COMPACTED });
    const live = async (from: number, to: number): Promise<void> => {
      if (to > from) await app.feed(from, to);
      await using application = await start();
      await application.caughtUp(to, LOAD);
      await application.close();
    };

    await live(0, SOME);
    const stateTimes = stateTimesOf(await app.snapshot());
    if (kind === 'idle') {
      await live(SOME, SOME);
      expect(stateTimesOf(await app.snapshot())).toEqual(stateTimes);
    }
    // A task is as old as its newest table, and some have their last one earlier than others.
    const stateMs = Math.min(...Object.values(stateTimes).map((time) => Date.parse(time ?? '')));
    await live(SOME, 2 * SOME);
    const untilAge = (share: number): Promise<void> =>
      delay(Math.max(0, stateMs + share * RETENTION_MS - Date.now()), undefined, { signal });
    // Else the machine is too slow for this, which says nothing of what is tested.
    expect(Date.now()).toBeLessThan(stateMs + 0.9 * RETENTION_MS);
    await untilAge(0.9);

    await app.loseDisk();
    const young = await app.restore({ tasks: 'all', 'max-age': MAX_AGE });
    expect(words(young)).toEqual(['warm']);
    let records = 2 * SOME;
    {
      await using application = await start();
      const departures = departuresFromDelta(application.restorations, young, 'at_least_once');
      expect(departures.filter((text) => !isOfCompaction(text))).toEqual([]);
      expect(await application.differencesFrom(records, LOAD)).toEqual([]);
      await untilAge(1.1);
      while ((await broker.tombstones(`${kind}-tab-changelog`, timestampOf(2 * SOME, LOAD))) > 0) {
        await app.feed(records, records + PORTION);
        records += PORTION;
        await delay(PORTION_MS, undefined, { signal });
      }
      await application.caughtUp(records, LOAD);
    }

    // Whoever does not mind the age gets back what was deleted.
    await app.loseDisk();
    expect(words(await app.restore({ tasks: 'all', 'max-age': '1h' }))).toEqual(['warm']);
    {
      await using application = await start();
      expect((await application.differencesFrom(records, LOAD)).join('\n')).toMatch(/^tab row-\d+: .*, not absent$/m);
    }
    await app.loseDisk();
    expect(words(await app.restore({ tasks: 'all', 'max-age': MAX_AGE }))).toEqual(['cold: too_old']);
    await using application = await start();
    expect(await application.differencesFrom(records, LOAD)).toEqual([]);
  },
);

function stateTimesOf({ tasks }: PrintedSnapshot): Readonly<Record<string, string | null>> {
  return Object.fromEntries(tasks.map(({ task, stateTime }) => [task, stateTime]));
}

/** Of a compacted changelog fewer records are left than it has offsets. */
function isOfCompaction(departure: string): boolean {
  return / \d+ records of \[/.test(departure);
}

/** What became of all tasks; one word where it was the same. */
function words(tasks: readonly PrintedTask[]): readonly string[] {
  return [
    ...new Set(tasks.map(({ decision, reason }) => (reason === null ? `${decision}` : `${decision}: ${reason}`))),
  ];
}
