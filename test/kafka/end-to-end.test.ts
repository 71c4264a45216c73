import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Broker } from '../support/kafka/broker.ts';
import { type Restoration, StreamsApp, type StreamsAppOptions } from '../support/kafka/streams-app.ts';
import type { Load } from '../support/model.ts';
import { warmstate } from '../support/warmstate.ts';

const LOAD: Load = { keys: 800, rows: 200, items: 80, stepMs: 1800, payloadBytes: 60 };
/** More than 10,000 changelog records in each task of the first subtopology: enough for a checkpoint while it runs. */
const FIRST = 24_000;
const WHILE_RUNNING = 20_000;
const AFTER_THE_LOSS = 1500;
const PARTITIONS = 2;
/** Of two subtopologies, and the global one. */
const TASKS = 2 * PARTITIONS + 1;
const DURATION_MS_MAX = 25 * 60_000;

const ended = new AbortController();
const signal = AbortSignal.any([ended.signal, AbortSignal.timeout(DURATION_MS_MAX)]);
const held = new AsyncDisposableStack();
let broker: Broker;
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'warmstate-e2e-'));
  held.defer(() => rm(directory, { recursive: true, force: true }));
  broker = held.use(await Broker.start(signal));
});

afterAll(async () => {
  ended.abort();
  await held.disposeAsync();
});

interface TaskResult {
  readonly task: string;
  readonly outcome: string;
  readonly decision: string;
  readonly quality: string | null;
  readonly reason: string | null;
  readonly offsets: Readonly<Record<string, string>>;
}

type Guarantee = StreamsAppOptions['guarantee'];

/** One application with its topics, its state directory and its repository. */
class Setting {
  readonly name: string;
  readonly options: StreamsAppOptions;
  readonly #arguments: readonly string[];

  constructor(name: string, version: string, guarantee: Guarantee) {
    this.name = name;
    const stateDir = join(directory, name);
    // Small write buffers: tables are flushed between two checkpoints, as in a busy store of the usual size.
    this.options = {
      version,
      guarantee,
      broker,
      applicationId: name,
      topics: name,
      stateDir,
      writeBufferBytes: 64 * 1024,
      cacheBytes: 0,
      signal,
    };
    const flags = {
      'state-dir': stateDir,
      'application-id': name,
      'processing-guarantee': guarantee,
      destination: `file://${directory}/repository`,
      instance: 'pod-0',
      lineage: 'test',
      output: 'json',
    };
    this.#arguments = Object.entries(flags).flatMap(([flag, value]) => [`--${flag}`, value]);
  }

  async open(): Promise<void> {
    await mkdir(this.options.stateDir, { recursive: true });
    await broker.createTopics(this.name, PARTITIONS);
  }

  feed(from: number, count: number): Promise<void> {
    return broker.feed(this.name, LOAD, { from, to: from + count });
  }

  async snapshot(): Promise<{ readonly tasks: readonly TaskResult[]; readonly bytesUploaded: number }> {
    const { code, stdout, stderr } = await warmstate(['snapshot', ...this.#arguments]);
    if (code !== 0) throw new Error(`snapshot ended with ${code}: ${stderr}`);
    return JSON.parse(stdout);
  }

  async restore(): Promise<readonly TaskResult[]> {
    const { code, stdout, stderr } = await warmstate(['restore', ...this.#arguments, '--on-failure', 'fail']);
    if (code !== 0) throw new Error(`restore ended with ${code}: ${stderr}`);
    return JSON.parse(stdout).tasks;
  }

  restoreUnderLock(): ReturnType<typeof warmstate> {
    return warmstate(['restore', ...this.#arguments, '--on-failure', 'fail']);
  }

  /** What a pod without a volume goes through. */
  async loseDisk(): Promise<void> {
    await rm(this.options.stateDir, { recursive: true });
    await mkdir(this.options.stateDir);
  }
}

/** Where every persistent store has to begin, by changelog partition, from what restore said it installed. */
function startsOf(tasks: readonly TaskResult[]): ReadonlyMap<string, bigint> {
  const starts = tasks.flatMap(({ task, offsets }) =>
    Object.entries(offsets).map(
      ([changelog, offset]) => [changelog, BigInt(offset) + (task === 'global' ? 0n : 1n)] as const,
    ),
  );
  return new Map(starts);
}

/** Holds what Kafka Streams said of its restoration against what was installed. */
function expectDeltaOnly(
  restorations: readonly Restoration[],
  starts: ReadonlyMap<string, bigint>,
  { guarantee, mayStartLater }: { readonly guarantee: Guarantee; readonly mayStartLater: (store: string) => boolean },
): void {
  const persistent = restorations.filter(({ store }) => store !== 'mem');
  expect(new Set(persistent.map(({ changelog }) => changelog))).toEqual(new Set(starts.keys()));
  for (const { store, changelog, startingOffset, endingOffset, totalRestored } of persistent) {
    const start = starts.get(changelog) ?? -1n;
    if (mayStartLater(store)) expect(startingOffset, `${store} ${changelog}`).toBeGreaterThanOrEqual(start);
    else expect(startingOffset, `${store} ${changelog}`).toBe(start);
    // Under exactly-once a transaction ends in a marker, which has an offset and is no record.
    if (guarantee === 'at_least_once')
      expect(totalRestored, `${store} ${changelog}`).toBe(endingOffset - startingOffset);
    else expect(totalRestored, `${store} ${changelog}`).toBeLessThanOrEqual(endingOffset - startingOffset);
  }
  for (const { changelog, startingOffset, endingOffset, totalRestored } of restorations.filter(
    ({ store }) => store === 'mem',
  )) {
    expect(startingOffset, changelog).toBe(0n);
    expect(totalRestored, changelog).toBeGreaterThan(((endingOffset - startingOffset) * 9n) / 10n);
  }
}

function restoredOf(restorations: readonly Restoration[]): Record<string, bigint> {
  const sums: Record<string, bigint> = {};
  for (const { store, totalRestored } of restorations) sums[store] = (sums[store] ?? 0n) + totalRestored;
  return sums;
}

/** From 4.2 on Kafka Streams passes over records of windows that have expired. */
const windowsMayStartLater = (version: string) => (store: string) => version.startsWith('4.') && store === 'win';

describe.for(['3.9.2', '4.2.2'])('Kafka Streams %s, at-least-once', (version) => {
  test('is snapshot while it runs and writes, killed, and comes back warm: only the delta is replayed', async () => {
    const setting = new Setting(`live-${version.replaceAll('.', '-')}`, version, 'at_least_once');
    await setting.open();
    await setting.feed(0, FIRST);
    {
      await using application = await StreamsApp.start(setting.options);
      await application.caughtUp(FIRST, LOAD);
      await application.close();
    }
    expect((await setting.snapshot()).tasks.map(({ outcome }) => outcome)).toEqual(
      Array.from({ length: TASKS }, () => 'captured'),
    );
    let fed = FIRST;
    const qualities = new Set<string | null>();
    {
      await using application = await StreamsApp.start(setting.options);
      const refused = await setting.restoreUnderLock();
      expect([refused.code, refused.stderr]).toEqual([4, expect.stringContaining('an application holds it')]);

      const feeding = setting.feed(fed, WHILE_RUNNING);
      fed += WHILE_RUNNING;
      // Beside the running application, until something was captured that it had written since its checkpoint.
      for (let look = 0; look < 40 && !qualities.has('live'); look++) {
        for (const { quality } of (await setting.snapshot()).tasks) qualities.add(quality);
      }
      await feeding;
      await application.caughtUp(fed, LOAD);
      await application.kill();
    }
    expect(qualities).toContain('live');

    await setting.loseDisk();
    await setting.feed(fed, AFTER_THE_LOSS);
    fed += AFTER_THE_LOSS;
    const tasks = await setting.restore();
    const starts = startsOf(tasks);
    expect(tasks.filter(({ decision }) => decision !== 'warm')).toEqual([]);
    expect(tasks).toHaveLength(TASKS);

    await using application = await StreamsApp.start(setting.options);
    await application.caughtUp(fed, LOAD);
    expectDeltaOnly(application.restorations, starts, {
      guarantee: 'at_least_once',
      mayStartLater: windowsMayStartLater(version),
    });
    expect(await application.differencesFrom(fed, LOAD)).toEqual([]);
    console.log(`${setting.name} replayed`, restoredOf(application.restorations));
  });
});

describe.for([
  { version: '3.9.2', guarantee: 'at_least_once' },
  { version: '3.9.2', guarantee: 'exactly_once_v2' },
  { version: '4.2.2', guarantee: 'at_least_once' },
  { version: '4.2.2', guarantee: 'exactly_once_v2' },
] as const)('Kafka Streams $version, $guarantee', ({ version, guarantee }) => {
  test('is snapshot after a clean close and comes back warm on an empty disk', async () => {
    const setting = new Setting(`clean-${version.replaceAll('.', '-')}-${guarantee}`, version, guarantee);
    await setting.open();
    await setting.feed(0, FIRST);
    let whileRunning: readonly TaskResult[];
    {
      await using application = await StreamsApp.start(setting.options);
      await application.caughtUp(FIRST, LOAD);
      whileRunning = (await setting.snapshot()).tasks;
      await application.close();
    }
    // What is captured of a running exactly-once application is nothing that a transaction may still take back.
    if (guarantee === 'exactly_once_v2') {
      expect(whileRunning.filter(({ quality }) => quality === 'live')).toEqual([]);
      const reasons = whileRunning.flatMap(({ reason }) => reason ?? []);
      // In its first life a task has a checkpoint without offsets, or none; its windows are new.
      expect(['exactly_once_running', 'no_offset', 'changing']).toEqual(expect.arrayContaining(reasons));
    }
    const closed = await setting.snapshot();
    expect(closed.tasks.map(({ quality }) => quality)).toEqual(Array.from({ length: TASKS }, () => 'clean'));

    await setting.loseDisk();
    await setting.feed(FIRST, AFTER_THE_LOSS);
    const fed = FIRST + AFTER_THE_LOSS;
    const starts = startsOf(await setting.restore());
    await using application = await StreamsApp.start(setting.options);
    await application.caughtUp(fed, LOAD);
    expectDeltaOnly(application.restorations, starts, { guarantee, mayStartLater: windowsMayStartLater(version) });
    expect(await application.differencesFrom(fed, LOAD)).toEqual([]);
    // The comparison sees a single record.
    expect(await application.differencesFrom(fed - 2, LOAD)).not.toEqual([]);
    console.log(`${setting.name} replayed`, restoredOf(application.restorations));
  });
});

test('Kafka Streams 4.3.1 keeps its offsets inside RocksDB and is left cold', async () => {
  const setting = new Setting('column-family-4-3-1', '4.3.1', 'at_least_once');
  await setting.open();
  await setting.feed(0, 2000);
  {
    await using application = await StreamsApp.start(setting.options);
    await application.caughtUp(2000, LOAD);
    await application.close();
  }
  const { tasks, bytesUploaded } = await setting.snapshot();
  expect([new Set(tasks.map(({ reason }) => reason)), bytesUploaded]).toEqual([new Set(['no_offset']), 0]);
});
