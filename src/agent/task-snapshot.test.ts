import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { type HookedFiles, hookedFiles } from '../../test/support/hooked-files.ts';
import { ModelDatabase } from '../../test/support/model-database.ts';
import { SimulatedStore } from '../../test/support/simulated-store.ts';
import { openTempDirectory } from '../../test/support/temp-directory.ts';
import { systemClock } from '../base/clock.ts';
import { Budget } from '../base/concurrency.ts';
import { Failure } from '../base/failure.ts';
import type { Event } from '../events/event.ts';
import type { Guarantee } from '../streams/quality.ts';
import { KnownTables } from './known-tables.ts';
import { Looks } from './looks.ts';
import { type TaskOutcome, type TaskTools, takeTask } from './task-snapshot.ts';

/** Large enough to be sent by itself, before the task is captured. */
const TABLE_BYTES = 300 * 1024;
/** Longer than the ticks in which file systems stamp. */
const TICK_MS = 20;

/** A task with two large tables, under a checkpoint that is as young as they are. */
async function plantTask(root: string): Promise<ModelDatabase> {
  const database = new ModelDatabase(join(root, '0_0/rocksdb/agg'));
  database.change({ add: [7, 8].map((number) => ({ number, sizeBytes: TABLE_BYTES })) });
  await delay(TICK_MS);
  writeFileSync(join(root, '0_0/.checkpoint'), '0\n1\norders-agg-changelog 0 100\n');
  await delay(TICK_MS);
  return database;
}

interface Choices {
  readonly guarantee?: Guarantee;
  readonly isRunning?: boolean;
  readonly tools?: Partial<TaskTools>;
}

/** Takes task 0_0, and says what came of it: its tables that are stored, or why not and what was sent ahead. */
async function take(root: string, files: HookedFiles, { guarantee, isRunning, tools }: Choices = {}): Promise<Taken> {
  await using looks = new Looks(
    {
      applicationDirectory: root,
      applicationId: 'orders',
      guarantee: guarantee ?? 'at_least_once',
      transactionalStores: false,
      passesOverUnreadable: false,
    },
    { files, clock: systemClock, emit: () => {} },
    { base: undefined, report: undefined },
  );
  looks.isRunning = isRunning ?? true;
  const events: Event[] = [];
  let keys = 0;
  const outcome = await takeTask(
    '0_0',
    {
      applicationDirectory: root,
      isProgress: () => true,
      previous: undefined,
      archiveUse: new Map(),
      damaged: new Set(),
    },
    {
      files,
      look: (options) => looks.look('0_0', options),
      pinnedBytesMax: async () => 2 ** 30,
      isLate: () => false,
      emit: (event) => void events.push(event),
      signal: new AbortController().signal,
      store: new SimulatedStore(),
      nextDataKey: () => `data/${(keys += 1)}`,
      compression: 'none',
      concurrency: 2,
      memory: new Budget(64 * 1024 * 1024),
      known: new KnownTables(),
      ...tools,
    },
  );
  const retried = events.flatMap((event) => (event.kind === 'capture-retried' ? [event.why.message] : []));
  if (outcome.kind !== 'taken') return { outcome, quality: undefined, stored: [], retried, sent: keys };
  await using taken = outcome.taken;
  return { outcome, quality: taken.quality, stored: [...taken.stored.keys()], retried, sent: keys };
}

interface Taken {
  readonly outcome: TaskOutcome;
  readonly quality: string | undefined;
  readonly stored: readonly string[];
  /** Why it was begun again. */
  readonly retried: readonly string[];
  /** Keys that were given out. */
  readonly sent: number;
}

/** Compacts both tables into a third one while they are sent ahead: that is what is left to be pinned. */
function compactMeanwhile(files: HookedFiles, database: ModelDatabase): void {
  files.once('before', 'hold agg/000007.sst', () =>
    database.change({ add: [{ number: 9, sizeBytes: TABLE_BYTES, largestSequence: 8n }], remove: [7, 8] }),
  );
}

test('Q2: a task that was clean before its tables were sent stays so, though they are compacted meanwhile', async () => {
  await using root = await openTempDirectory();
  const files = hookedFiles();
  compactMeanwhile(files, await plantTask(root.path));
  const { quality, stored } = await take(root.path, files, { guarantee: 'exactly_once_v2' });
  expect([quality, stored]).toEqual(['clean', ['rocksdb/agg/000009.sst']]);
});

test('another file of the same name and size is not sent in the place of a table', async () => {
  await using root = await openTempDirectory();
  const files = hookedFiles();
  const database = new ModelDatabase(join(root.path, '0_0/rocksdb/agg'));
  const [first, second] = [Buffer.alloc(16, 1), Buffer.alloc(16, 2)];
  const table = { number: 7, sizeBytes: TABLE_BYTES };
  database.change({ add: [{ ...table, uid: first }] });
  writeFileSync(join(root.path, '0_0/.checkpoint'), '0\n1\norders-agg-changelog 0 100\n');
  await delay(TICK_MS);
  files.once('before', 'hold agg/000007.sst', () => {
    writeFileSync(`${database.path(7)}.new`, Buffer.alloc(TABLE_BYTES, 'other'));
    renameSync(`${database.path(7)}.new`, database.path(7));
    database.logEdit({ remove: [7] });
    database.logEdit({ add: [{ ...table, uid: second }] });
  });
  const known = new KnownTables();
  const { stored, sent } = await take(root.path, files, { tools: { known } });
  expect([stored, sent]).toEqual([['rocksdb/agg/000007.sst'], 1]);
  const nowhere = { device: 0n, inode: 0n, sizeBytes: 0, mtimeNs: 0n, ctimeNs: 0n };
  expect(known.find({ uid: first.toString('hex'), sizeBytes: TABLE_BYTES, facts: nowhere })).toBeUndefined();
});

test('where the volume runs short while tables are pinned they are let go, and it begins again with less', async () => {
  await using root = await openTempDirectory();
  const files = hookedFiles();
  compactMeanwhile(files, await plantTask(root.path));
  let asked = 0;
  // There is room when they are pinned, and none any more when they are to be sent.
  const pinnedBytesMax = async (): Promise<number> => ((asked += 1) === 1 ? 2 ** 30 : TABLE_BYTES - 1);
  const { stored, retried } = await take(root.path, files, { tools: { pinnedBytesMax } });
  expect(retried).toEqual([
    `cannot hold ${TABLE_BYTES} bytes of 0_0: the volume is short, ${TABLE_BYTES - 1} are allowed`,
  ]);
  expect([stored, asked]).toEqual([['rocksdb/agg/000009.sst'], 2]);
});

test.each<[string, number]>([
  ['large', TABLE_BYTES],
  ['small', 1000],
])('a %s table that may not be held goes ahead by itself, and then the task is taken', async (_what, sizeBytes) => {
  await using root = await openTempDirectory();
  const files = hookedFiles();
  const database = await plantTask(root.path);
  files.once('before', `hold ${placeOf(7)}`, () =>
    database.change({ add: [{ number: 9, sizeBytes, largestSequence: 8n }], remove: [7, 8] }),
  );
  const { stored } = await take(root.path, files, { tools: { pinnedBytesMax: async () => 1 } });
  expect(stored).toEqual(['rocksdb/agg/000009.sst']);
});

test('one that compacts faster than it can be sent is tried four times, and waits with what was sent', async () => {
  await using root = await openTempDirectory();
  const files = hookedFiles();
  const database = await plantTask(root.path);
  for (const [from, to] of [7, 9, 10, 11, 12, 13].entries().map(([index, number]) => [number, index + 9] as const)) {
    files.once('before', `hold ${placeOf(from)}`, () =>
      database.change({ add: [{ number: to, sizeBytes: TABLE_BYTES, largestSequence: 8n }], remove: [from] }),
    );
  }
  const { outcome } = await take(root.path, files, { tools: { pinnedBytesMax: async () => 1 } });
  if (outcome.kind !== 'refused') throw new Error(outcome.kind);
  expect(outcome.why).toEqual({
    reason: 'changing',
    message: 'it writes more than may be held open at once, faster than it can be sent',
  });
  expect(outcome.ahead.map(({ path }) => path)).toEqual(['rocksdb/agg/000008.sst']);
  const held = files.trace.filter((line) => line.endsWith('.sst') && line.startsWith('hold'));
  expect(held.toSorted()).toEqual([7, 8, 9, 10, 11].map((number) => `hold ${placeOf(number)}`));
});

test.each<[string, Choices, readonly [string, number]]>([
  ['will be needed once it closes', { guarantee: 'exactly_once_v2' }, ['exactly_once_running', 2]],
  ['may never be captured', {}, ['no_offset', 0]],
])('the tables of one that is refused are sent where they %s', async (_what, choices, told) => {
  await using root = await openTempDirectory();
  const database = await plantTask(root.path);
  if (choices.guarantee === undefined) rmSync(join(root.path, '0_0/.checkpoint'));
  // Written after the checkpoint: no capture of a transaction that may be aborted.
  else database.change({ add: [{ number: 9, sizeBytes: 1000 }] });
  const { outcome, sent } = await take(root.path, hookedFiles(), choices);
  expect([outcome.kind === 'refused' ? outcome.why.reason : outcome.kind, sent]).toEqual(told);
});

test('one that never holds still is begun three times', async () => {
  await using root = await openTempDirectory();
  const look = async (): Promise<never> => {
    throw new Failure('moved', 'a file moved');
  };
  const { outcome, retried } = await take(root.path, hookedFiles(), { tools: { look } });
  expect(outcome).toEqual({ kind: 'refused', why: { reason: 'changing', message: 'a file moved' }, ahead: [] });
  expect(retried.length).toBe(3);
});

test('what is left when it is late waits for the next round, with what was sent', async () => {
  await using root = await openTempDirectory();
  await plantTask(root.path);
  const files = hookedFiles();
  const isLate = (): boolean => files.trace.some((line) => /^hold agg\/\d+\.sst$/.test(line));
  const { outcome, sent } = await take(root.path, files, { tools: { isLate, concurrency: 1 } });
  if (outcome.kind !== 'refused') throw new Error(outcome.kind);
  expect([outcome.why.message, outcome.ahead.length, sent]).toEqual(['its upload takes several rounds', 1, 1]);
});

function placeOf(number: number): string {
  return `agg/${String(number).padStart(6, '0')}.sst`;
}
