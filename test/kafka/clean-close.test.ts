import { existsSync, type FSWatcher, watch } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { isFailure } from '../../src/base/failure.ts';
import { realFiles } from '../../src/base/file-access.ts';
import { askApplicationLock } from '../../src/streams/app-lock.ts';
import type { TaskMemory, TaskSight } from '../../src/streams/quality.ts';
import { CHECKPOINT_FILE, GLOBAL_TASK, listTasks } from '../../src/streams/state-directory.ts';
import { Broker } from '../support/kafka/broker.ts';
import { StreamsApp } from '../support/kafka/streams-app.ts';
import type { Load } from '../support/model.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { openTempDirectory } from '../support/temp-directory.ts';
import { judgeSight, lookAtTask } from '../support/verdicts.ts';

/** WARMSTATE_CLOSES=100 for a long run: some 8 s for each on two cores. */
const CLOSES = Number(process.env['WARMSTATE_CLOSES'] ?? 8);
const DURATION_MS_MAX = 60_000 * (5 + CLOSES);

const LOAD: Load = { keys: 5_000, rows: 2_000, items: 200, stepMs: 4_000, payloadBytes: 200 };
const RECORDS = 25_000 * (2 + CLOSES / 4);
const PARTITIONS = 4;
const TASKS = PARTITIONS * 2;
const TOPICS = 'closes';
/** Small enough for a flush every few hundred records of a task, so that compactions run at every close. */
const WRITE_BUFFER_BYTES = 64 * 1024;

const memory = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
const APPLICATIONS = [
  { applicationId: 'a', version: '3.9.2', guarantee: 'at_least_once', volume: tmpdir() },
  { applicationId: 'b', version: '3.9.2', guarantee: 'exactly_once_v2', volume: memory },
  { applicationId: 'c', version: '4.2.2', guarantee: 'at_least_once', volume: memory },
  { applicationId: 'd', version: '4.2.2', guarantee: 'exactly_once_v2', volume: tmpdir() },
] as const;

/**
 * On a busy machine a compaction that the last flush asks for begins after the checkpoint, and nothing tells its output
 * from a flush then (Q1), but for who looked in between (Q2). It comes in bursts: all tasks of one close, or none of hundreds.
 */
const LIVE_MAX = Math.max(TASKS, 0.02 * TASKS * CLOSES);
/** Kafka Streams itself did not end within two minutes; seen with 3.9.2 under exactly-once, once in some 400 closes. */
const NOT_CLOSED_MAX = Math.max(1, CLOSES / 20);

const ended = new AbortController();
const signal = AbortSignal.any([ended.signal, AbortSignal.timeout(DURATION_MS_MAX)]);
const held = new AsyncDisposableStack();
let broker: Broker;

beforeAll(async () => {
  broker = held.use(await Broker.start(signal));
  await broker.createTopics(TOPICS, PARTITIONS);
  await broker.feed(TOPICS, LOAD, { from: 0, to: RECORDS });
});

afterAll(async () => {
  ended.abort();
  await held.disposeAsync();
});

test(`of ${CLOSES} clean closes in the middle of the load, tasks are clean but for late compactions`, {
  timeout: DURATION_MS_MAX,
}, async () => {
  const random = seededRandom(1);
  const directories = new Map<string, string>();
  for (const { applicationId, volume } of APPLICATIONS) {
    directories.set(applicationId, held.use(await openTempDirectory(volume)).path);
  }
  const found: ClosedTask[] = [];
  let notClosed = 0;
  // In turn, so that the broker has forgotten the last life of an application when its next one begins.
  for (let close = 0; close < CLOSES; close++) {
    const { volume: _volume, ...life } = APPLICATIONS[close % APPLICATIONS.length] ?? APPLICATIONS[0];
    const stateDir = directories.get(life.applicationId) ?? '';
    const directory = join(stateDir, life.applicationId);
    await using application = await StreamsApp.start({
      ...life,
      broker,
      stateDir,
      topics: TOPICS,
      writeBufferBytes: WRITE_BUFFER_BYTES,
      commitIntervalMs: 1_000,
      threads: 2,
      signal,
    });
    await delay(1_000 + 2_000 * random.fraction(), undefined, { signal });
    expect(await askApplicationLock(directory)).toBe('running');
    const watcher = new CheckpointWatcher(directory, await listTasks(realFiles, directory));
    const isClosed = await closes(application);
    const memories = await watcher.end();
    if (!isClosed) {
      notClosed += 1;
      continue;
    }
    expect(await askApplicationLock(directory)).toBe('stopped');
    for (const task of await listTasks(realFiles, directory)) {
      if (task === GLOBAL_TASK) continue;
      found.push({
        of: `${life.version} ${life.guarantee}`,
        ...(await describeTask(directory, task, memories.get(task))),
      });
    }
  }
  report(found, notClosed);
  const full = found.filter(({ hasTables }) => hasTables);
  const other = full.filter(({ unwatched }) => unwatched !== 'clean/clean');
  expect(other.filter(({ unwatched }) => unwatched !== 'live/exactly_once_running')).toEqual([]);
  expect(other.length).toBeLessThanOrEqual(LIVE_MAX);
  expect(found.length).toBe((CLOSES - notClosed) * TASKS);
  // On a busy machine many tasks are closed before their first record.
  expect(full.length).toBeGreaterThan(found.length / 4);
  expect(notClosed).toBeLessThanOrEqual(NOT_CLOSED_MAX);
});

interface ClosedTask {
  /** Release and guarantee. */
  readonly of: string;
  /** Where not, it was closed before its first record: it has no offset, and nothing that needs one. */
  readonly hasTables: boolean;
  /** Under at-least-once and exactly-once, to who looks for the first time, and to who looked at every checkpoint. */
  readonly unwatched: string;
  readonly watched: string;
  readonly evidence: string;
}

async function describeTask(
  directory: string,
  task: string,
  memoryOfTask: TaskMemory | undefined,
): Promise<Omit<ClosedTask, 'of'>> {
  const seen = await lookAtTask(directory, task);
  if (seen.kind === 'refused')
    return { hasTables: true, unwatched: seen.why.reason, watched: seen.why.reason, evidence: seen.why.message };
  const applicationId = basename(directory);
  const [unwatched = '', watched = ''] = [undefined, memoryOfTask].map((known) =>
    judgeSight(seen.sight, { applicationId, memory: known }).verdicts.join('/'),
  );
  const hasTables = seen.sight.databases.some(({ tables }) => tables.length > 0);
  return { hasTables, unwatched, watched, evidence: `${task}: ${evidenceOf(seen.sight)}` };
}

/** What is newer than the checkpoint: births and modification times in ms after it. */
function evidenceOf({ checkpoint, databases }: TaskSight): string {
  const afterMs = (stampNs: bigint): string => (Number(stampNs - (checkpoint?.mtimeNs ?? 0n)) / 1e6).toFixed(1);
  const ofDatabase = databases.map(({ path, newestDropped, tables }) => {
    const newer = tables.filter(({ mtimeNs }) => mtimeNs > (checkpoint?.mtimeNs ?? 0n));
    const stamps = newer.map(({ birthtimeNs, mtimeNs }) => `${afterMs(birthtimeNs)} to ${afterMs(mtimeNs)} ms`);
    const facts = [...stamps, ...(newestDropped ? ['what was written last was dropped'] : [])];
    return facts.length === 0 ? [] : [`${path} with ${tables.length} tables: ${facts.join(', ')}`];
  });
  return ofDatabase.flat().join('; ');
}

function report(found: readonly ClosedTask[], notClosed: number): void {
  const rows = found.map(({ of, hasTables, unwatched, watched }) =>
    hasTables ? `${of}: at first sight ${unwatched}, watched ${watched}` : `${of}: without tables ${unwatched}`,
  );
  const counts = [...Map.groupBy(rows, (row) => row)].map(([row, all]) => `${String(all.length).padStart(5)} ${row}`);
  const evidence = found
    .filter(({ hasTables, unwatched }) => hasTables && unwatched !== 'clean/clean')
    .map(({ of, evidence: newer, watched }) => `      ${of} ${newer}; watched ${watched}`);
  console.log([`${CLOSES} closes, ${notClosed} of them without an end`, ...counts.sort(), ...evidence].join('\n'));
}

async function closes(application: StreamsApp): Promise<boolean> {
  try {
    await application.close();
    return true;
  } catch (error) {
    if (isFailure(error, 'deadline')) return false;
    throw error;
  }
}

/** Looks at a task as soon as its checkpoint is rewritten, as a running process does, and remembers. */
class CheckpointWatcher {
  readonly #directory: string;
  readonly #watchers: readonly FSWatcher[];
  readonly #memories = new Map<string, TaskMemory>();
  #looking: Promise<void> = Promise.resolve();

  constructor(directory: string, tasks: readonly string[]) {
    this.#directory = directory;
    this.#watchers = tasks.map((task) =>
      watch(join(directory, task), (_event, name) => {
        if (name === CHECKPOINT_FILE)
          this.#looking = Promise.all([this.#looking, this.#look(task)]).then(() => undefined);
      }),
    );
  }

  async end(): Promise<ReadonlyMap<string, TaskMemory>> {
    for (const watcher of this.#watchers) watcher.close();
    await this.#looking;
    return this.#memories;
  }

  async #look(task: string): Promise<void> {
    const seen = await lookAtTask(this.#directory, task);
    if (seen.kind === 'refused') return;
    const context = { applicationId: basename(this.#directory), memory: this.#memories.get(task) };
    this.#memories.set(task, judgeSight(seen.sight, context).memory);
  }
}
