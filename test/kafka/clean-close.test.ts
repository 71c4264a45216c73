import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { isFailure } from '../../src/base/failure.ts';
import { realFiles } from '../../src/base/file-access.ts';
import { askApplicationLock } from '../../src/streams/app-lock.ts';
import type { TaskSight } from '../../src/streams/quality.ts';
import { GLOBAL_TASK, listTasks } from '../../src/streams/state-directory.ts';
import { Broker } from '../support/kafka/broker.ts';
import { StreamsApp } from '../support/kafka/streams-app.ts';
import type { Load } from '../support/model.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { openTempDirectory } from '../support/temp-directory.ts';
import { judgeSight, lookAtTask } from '../support/verdicts.ts';

/** WARMSTATE_CLOSES=100 for a long run: some 6 s for each on two cores. */
const CLOSES = Number(process.env['WARMSTATE_CLOSES'] ?? 8);
const DURATION_MS_MAX = 60_000 * (5 + CLOSES);

const LOAD: Load = { keys: 5_000, rows: 2_000, items: 200, stepMs: 4_000, payloadBytes: 200 };
const RECORDS = 25_000 * (2 + CLOSES / 4);
const PARTITIONS = 4;
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

test(`of ${CLOSES} clean closes in the middle of the load every task is clean at once, with nobody watching`, {
  timeout: DURATION_MS_MAX,
}, async () => {
  const random = seededRandom(1);
  const directories = new Map<string, string>();
  for (const { applicationId, volume } of APPLICATIONS) {
    directories.set(applicationId, held.use(await openTempDirectory(volume)).path);
  }
  const found: string[] = [];
  // In turn, so that the broker has forgotten the last life of an application when its next one begins.
  for (let close = 0; close < CLOSES; close++) {
    const { volume: _volume, ...life } = APPLICATIONS[close % APPLICATIONS.length] ?? APPLICATIONS[0];
    const { applicationId, version, guarantee } = life;
    const stateDir = directories.get(applicationId) ?? '';
    const directory = join(stateDir, applicationId);
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
    const isClosed = await application.close().then(
      () => true,
      (error: unknown) => {
        if (isFailure(error, 'deadline')) return false;
        throw error;
      },
    );
    const name = `${version} ${guarantee}`;
    if (!isClosed) {
      found.push(`${name} ${NOT_CLOSED}`);
      continue;
    }
    expect(await askApplicationLock(directory)).toBe('stopped');
    for (const task of await listTasks(realFiles, directory))
      found.push(`${name} ${await describeTask(directory, task)}`);
  }
  const counts = Object.fromEntries([...Map.groupBy(found, (line) => line)].map(([line, all]) => [line, all.length]));
  console.log(`closes: ${CLOSES}`, counts);
  const rows = Object.entries(counts);
  const count = (what: string): number =>
    rows.filter(([line]) => line.includes(what)).reduce((sum, [, ofLine]) => sum + ofLine, 0);
  expect(rows.filter(([line]) => line.includes(' task with tables') && !line.endsWith(' clean/clean'))).toEqual([]);
  expect(count(' task ')).toBe((CLOSES - count(NOT_CLOSED)) * PARTITIONS * 2);
  expect(count(' task with tables')).toBeGreaterThan(count(' task ') / 2);
  expect(count(NOT_CLOSED)).toBeLessThanOrEqual(Math.max(1, CLOSES / 20));
});

/** Kafka Streams itself did not end within two minutes; seen with 3.9.2 under exactly-once, once in some hundred closes. */
const NOT_CLOSED = 'not closed';

async function describeTask(directory: string, task: string): Promise<string> {
  const seen = await lookAtTask(directory, task);
  if (seen.kind === 'refused') return `task with tables ${seen.why.reason}`;
  const { sight } = seen;
  const { verdicts } = judgeSight(sight, { applicationId: basename(directory) });
  if (task === GLOBAL_TASK) return `global ${verdicts.join('/')}`;
  // Closed before its first record: it has no offset, and nothing that needs one.
  const hasTables = sight.databases.some(({ tables }) => tables.length > 0);
  const line = `task ${hasTables ? 'with' : 'without'} tables ${verdicts.join('/')}`;
  return verdicts.includes('live') ? `${line} (${task}: ${evidenceOf(sight)})` : line;
}

/** What is newer than the checkpoint: births and modification times in ms after it. */
function evidenceOf({ checkpoint, databases }: TaskSight): string {
  const afterMs = (stampNs: bigint): string => (Number(stampNs - (checkpoint?.mtimeNs ?? 0n)) / 1e6).toFixed(1);
  const ofDatabase = databases.map(({ path, manifest, newestDropped, tables }) => {
    const newer = tables.filter(({ mtimeNs }) => mtimeNs >= (checkpoint?.mtimeNs ?? 0n));
    const stamps = newer.map(({ birthtimeNs, mtimeNs }) => `${afterMs(birthtimeNs)} to ${afterMs(mtimeNs)} ms`);
    const facts = [...stamps, ...(newestDropped ? ['what was written last was dropped'] : [])];
    return facts.length === 0 ? [] : [`${path} ${manifest} with ${tables.length} tables: ${facts.join(', ')}`];
  });
  return `now ${afterMs(BigInt(Date.now()) * 1_000_000n)} ms; ${ofDatabase.flat().join('; ')}`;
}
