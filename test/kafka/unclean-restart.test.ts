import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { realFiles } from '../../src/base/file-access.ts';
import type { TaskMemory } from '../../src/streams/quality.ts';
import { GLOBAL_TASK, listTasks } from '../../src/streams/state-directory.ts';
import { Broker } from '../support/kafka/broker.ts';
import { StreamsApp } from '../support/kafka/streams-app.ts';
import type { Load } from '../support/model.ts';
import { openTempDirectory } from '../support/temp-directory.ts';
import { judgeSight, lookAtTask } from '../support/verdicts.ts';

const LOAD: Load = { keys: 5_000, rows: 2_000, items: 200, stepMs: 4_000, payloadBytes: 200 };
const RECORDS = 150_000;
const DURATION_MS_MAX = 10 * 60_000;
const FLUSHED_MS_MAX = 60_000;
/** Leaves offsets to go on from. */
const FIRST_LIFE_MS = 4_000;
/** A compaction that ends after the checkpoint hides what the close is to show, on a busy machine of all tasks at once. */
const CLOSES_MAX = 4;
const APPLICATION = 'unclean';

const ended = new AbortController();
const signal = AbortSignal.any([ended.signal, AbortSignal.timeout(DURATION_MS_MAX)]);
const held = new AsyncDisposableStack();
let broker: Broker;

beforeAll(async () => {
  broker = held.use(await Broker.start(signal));
  await broker.createTopics(APPLICATION, 4);
  await broker.feed(APPLICATION, LOAD, { from: 0, to: RECORDS });
});

afterAll(async () => {
  ended.abort();
  await held.disposeAsync();
});

// 3.9.2 goes on with what an open transaction left on disk, and writes a checkpoint over it.
test('Q6: an exactly-once application that was killed and started again is tainted, whatever it writes then', {
  timeout: DURATION_MS_MAX,
}, async () => {
  const root = held.use(await openTempDirectory(tmpdir()));
  const directory = join(root.path, APPLICATION);
  const life = {
    version: '3.9.2',
    guarantee: 'exactly_once_v2',
    broker,
    applicationId: APPLICATION,
    topics: APPLICATION,
    stateDir: root.path,
    writeBufferBytes: 64 * 1024,
    commitIntervalMs: 5_000,
    signal,
  } as const;
  const memories = new Map<string, TaskMemory>();

  {
    // With a large buffer nothing is compacted while it is closed: its checkpoints cover all tables.
    await using application = await StreamsApp.start({ ...life, writeBufferBytes: 16 * 1024 * 1024 });
    await delay(FIRST_LIFE_MS, undefined, { signal });
    await application.close();
  }
  {
    await using application = await StreamsApp.start(life);
    await untilFlushed(directory, memories);
    await application.kill();
  }
  const killed = await judgeAll(directory, memories);
  const flushed = Object.keys(killed).filter((task) => killed[task]?.watched === 'exactly_once_running');
  expect(flushed.length).toBeGreaterThan(0);

  const looksClean = new Set<string>();
  for (let close = 1; close <= CLOSES_MAX && looksClean.size === 0; close++) {
    await using application = await StreamsApp.start(life);
    const restarted = await judgeAll(directory, memories);
    for (const task of flushed) expect([task, restarted[task]?.watched]).toEqual([task, 'unclean_restart']);
    await application.close();
    const closed = await judgeAll(directory, memories);
    for (const task of flushed) expect([task, closed[task]?.watched]).toEqual([task, 'unclean_restart']);
    for (const task of flushed) if (closed[task]?.unwatched === 'clean') looksClean.add(task);
  }
  // To who did not watch, it looks like any other that was closed.
  expect(looksClean.size).toBeGreaterThan(0);
});

/**
 * Looks until most of the tasks that are busy have tables that no checkpoint covers. Of one that moved to another thread in
 * sight nothing more is learnt before its next checkpoint (D2), so in the end one is enough.
 */
async function untilFlushed(directory: string, memories: Map<string, TaskMemory>): Promise<void> {
  const deadlineMs = performance.now() + FLUSHED_MS_MAX;
  for (;;) {
    const verdicts = Object.entries(await judgeAll(directory, memories));
    const uncovered = verdicts.filter(([, { watched }]) => watched === 'exactly_once_running');
    if (uncovered.length >= (performance.now() > deadlineMs - FLUSHED_MS_MAX / 2 ? 1 : 3)) return;
    // On a busy machine tasks move from thread to thread, and are closed and opened between two looks: watched from now on.
    for (const [task, { watched }] of verdicts) if (watched === 'unclean_restart') memories.delete(task);
    if (performance.now() > deadlineMs) throw new Error(`nothing was flushed: ${JSON.stringify(verdicts)}`);
    await delay(200, undefined, { signal });
  }
}

/** What each task is worth under exactly-once to who has watched it, and to who looks for the first time. */
async function judgeAll(
  directory: string,
  memories: Map<string, TaskMemory>,
): Promise<Record<string, { readonly watched: string; readonly unwatched: string }>> {
  const found: Record<string, { watched: string; unwatched: string }> = {};
  for (const task of await listTasks(realFiles, directory)) {
    const seen = task === GLOBAL_TASK ? undefined : await lookAtTask(directory, task);
    if (seen?.kind !== 'seen') continue;
    const watched = judgeSight(seen.sight, { applicationId: APPLICATION, memory: memories.get(task) });
    const unwatched = judgeSight(seen.sight, { applicationId: APPLICATION });
    memories.set(task, watched.memory);
    found[task] = { watched: watched.verdicts[1] ?? '', unwatched: unwatched.verdicts[1] ?? '' };
  }
  return found;
}
