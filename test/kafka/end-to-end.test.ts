import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { Broker } from '../support/kafka/broker.ts';
import { departuresFromDelta, totalsOf } from '../support/kafka/delta.ts';
import { type Guarantee, type PrintedTask, ProtectedApp } from '../support/kafka/protected-app.ts';
import type { StreamsApp } from '../support/kafka/streams-app.ts';
import type { Load } from '../support/model.ts';

/** The records of all lives together span less than the windows' retention: no release may pass over any of them. */
const LOAD: Load = { keys: 800, rows: 200, items: 80, stepMs: 1800, payloadBytes: 60 };
const PARTITIONS = 2;
/** Of two subtopologies, and the global one. */
const TASKS = ['0_0', '0_1', '1_0', '1_1', 'global'];
const DURATION_MS_MAX = 25 * 60_000;
const LOOKS_MAX = 40;
const COMMIT_TIMEOUT_MS = 60_000;
/** Of the end of one transaction, one for each changelog. */
const MARKERS_MAX = 100n;

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

function openApp(kind: string, version: string, guarantee: Guarantee): Promise<ProtectedApp> {
  const name = `${kind}-${version.replaceAll('.', '-')}-${guarantee}`;
  return ProtectedApp.open({ name, version, guarantee, broker, load: LOAD, partitions: PARTITIONS, directory, signal });
}

describe.for(['3.9.2', '4.2.2'])('Kafka Streams %s, at_least_once', (version) => {
  const FIRST = 24_000;
  const FEW = FIRST + 1000;
  const AFTER_THE_LOSS = 1500;

  test('is snapshot while it runs and writes, killed, and comes back warm: only the delta is replayed', async () => {
    const app = await openApp('live', version, 'at_least_once');
    await app.feed(0, FIRST);
    {
      await using application = await app.start({ isCalm: true });
      await application.caughtUp(FIRST, LOAD);
      await application.close();
    }
    const first = await app.snapshot();
    expect(first.tasks.map(({ task, outcome, quality }) => [task, outcome, quality])).toEqual(
      TASKS.map((task) => [task, 'captured', 'clean']),
    );
    let live: readonly string[];
    let written: number;
    {
      await using application = await app.start();
      expect(await app.inspect()).toMatchObject({ running: true, tasks: TASKS.map((task) => ({ task })) });
      await expectRestoreToKeepOff(app);

      await app.feed(FIRST, FEW);
      await application.caughtUp(FEW, LOAD);
      await expectOnlyNewTablesSent(app, first);

      ({ live, written } = await snapshotInMidWork(app, application, { from: FEW, before: first.tasks }));
      await application.caughtUp(written, LOAD);
      await application.kill();
    }
    expect(live, 'tasks captured with tables beyond a checkpoint of this life').toEqual(['0_0', '0_1']);

    await app.loseDisk();
    const fed = written + AFTER_THE_LOSS;
    await app.feed(written, fed);
    const installed = await app.restore();
    expect(installed.map(({ task, decision }) => [task, decision])).toEqual(TASKS.map((task) => [task, 'warm']));
    {
      await using application = await app.start();
      await application.caughtUp(fed, LOAD);
      expect(departuresFromDelta(application.restorations, installed, 'at_least_once')).toEqual([]);
      expect(departuresFromDelta(application.restorations, first.tasks, 'at_least_once')).not.toEqual([]);
      expect(await application.differencesFrom(fed, LOAD)).toEqual([]);
      const totals = totalsOf(application.restorations);
      // It was captured in mid-work: something was written since, and much before.
      expect(totals.agg).toBeGreaterThan(0n);
      expect(totals.agg).toBeLessThan(BigInt(written * 0.8));
      expect(totals.mem).toBe(BigInt(written * 0.8));
      console.log(`live ${version} replayed`, totals);
      await application.kill();
    }
    await expectStaleStoreToShow(app, { snapshot: first.snapshot ?? '', task: '0_0', records: fed });
  });
});

/**
 * An application writes a checkpoint after 10,000 changelog records of a task; those of the first subtopology get 1.2 for
 * each record that is fed. The first portion makes them write one, the second tables that go beyond it but no other
 * checkpoint, and during the third they are looked at: once, for a task whose checkpoint stands still is not captured anew.
 */
const PORTIONS = { toCheckpoint: 10_000, toTables: 3000, meanwhile: 1000 } as const;

async function snapshotInMidWork(
  app: ProtectedApp,
  application: StreamsApp,
  { from, before }: { readonly from: number; readonly before: readonly PrintedTask[] },
): Promise<{ readonly live: readonly string[]; readonly written: number }> {
  const checkpointed = from + PORTIONS.toCheckpoint;
  await app.feed(from, checkpointed);
  await application.caughtUp(checkpointed, LOAD);
  const flushed = checkpointed + PORTIONS.toTables;
  await app.feed(checkpointed, flushed);
  await application.caughtUp(flushed, LOAD);
  const written = flushed + PORTIONS.meanwhile;
  const [{ tasks }] = await Promise.all([app.snapshot(), app.feed(flushed, written)]);
  return { live: liveSince(tasks, before), written };
}

/** The tasks whose tables go beyond their checkpoint, and whose checkpoint goes beyond the one that was captured before. */
function liveSince(tasks: readonly PrintedTask[], before: readonly PrintedTask[]): readonly string[] {
  const offsetOf = (all: readonly PrintedTask[], task: string, changelog: string): bigint =>
    BigInt(all.find((one) => one.task === task)?.offsets[changelog] ?? '-1');
  const live = tasks.filter(({ task, quality }) => quality === 'live' && task.startsWith('0_'));
  return live
    .filter(({ task, offsets }) =>
      Object.entries(offsets).every(([changelog, offset]) => BigInt(offset) > offsetOf(before, task, changelog)),
    )
    .map(({ task }) => task);
}

async function expectRestoreToKeepOff(app: ProtectedApp): Promise<void> {
  expect(await app.tryRestore('fail')).toMatchObject({
    code: 4,
    stderr: expect.stringContaining('an application holds it'),
  });
  expect(await app.tryRestore('continue')).toMatchObject({
    code: 0,
    stdout: 'not restored: the application starts cold\n',
  });
}

async function expectOnlyNewTablesSent(
  app: ProtectedApp,
  first: { readonly snapshot: string | null; readonly bytesUploaded: number },
): Promise<void> {
  const second = await app.snapshot();
  const before = await app.tablesOf(first.snapshot ?? '');
  const after = await app.tablesOf(second.snapshot ?? '');
  const kept = [...after].filter(([table]) => before.has(table));
  expect(kept.length).toBeGreaterThan(0);
  expect(kept).toEqual(kept.map(([table]) => [table, before.get(table)]));
  expect(second.bytesUploaded).toBeLessThan(first.bytesUploaded / 2);
}

/** What a wrong restore looks like: windows of an older snapshot below the checkpoint of a newer one. */
async function expectStaleStoreToShow(
  app: ProtectedApp,
  wrong: { readonly snapshot: string; readonly task: string; readonly records: number },
): Promise<void> {
  await app.loseDisk();
  await app.restore();
  const older = `${app.stateDir}-older`;
  await app.restore({ snapshot: wrong.snapshot, to: older });
  const store = join(app.name, wrong.task, 'win');
  await rm(join(app.stateDir, store), { recursive: true });
  await cp(join(older, store), join(app.stateDir, store), { recursive: true });
  await using application = await app.start();
  await application.caughtUp(wrong.records, LOAD);
  const differences = await application.differencesFrom(wrong.records, LOAD);
  expect(new Set(differences.map((line) => line.split(' ')[0]))).toEqual(new Set(['win']));
}

describe.for([
  { version: '3.9.2', guarantee: 'at_least_once' },
  { version: '3.9.2', guarantee: 'exactly_once_v2' },
  { version: '4.2.2', guarantee: 'at_least_once' },
  { version: '4.2.2', guarantee: 'exactly_once_v2' },
  { version: '4.3.1', guarantee: 'at_least_once' },
  { version: '4.3.1', guarantee: 'exactly_once_v2' },
  { version: '4.4.0', guarantee: 'at_least_once' },
  { version: '4.4.0', guarantee: 'exactly_once_v2' },
] as const)('Kafka Streams $version, $guarantee', ({ version, guarantee }) => {
  const FIRST = 12_000;
  const SINCE = FIRST + 4000;
  const AFTER_THE_LOSS = SINCE + 1500;

  test('is snapshot after a clean close and comes back warm on an empty disk', async () => {
    const app = await openApp('clean', version, guarantee);
    await app.feed(0, FIRST);
    {
      await using application = await app.start({ isCalm: true });
      await application.caughtUp(FIRST, LOAD);
      await application.close();
    }
    const closed = await app.snapshot();
    expect(closed.tasks.map(({ task, quality }) => [task, quality])).toEqual(TASKS.map((task) => [task, 'clean']));
    {
      await using application = await app.start();
      await app.feed(FIRST, SINCE);
      await application.caughtUp(SINCE, LOAD);
      await application.kill();
    }
    await app.loseDisk();
    await app.feed(SINCE, AFTER_THE_LOSS);
    const installed = await app.restore();
    expect(offsetsOf(installed)).toEqual(offsetsOf(closed.tasks));

    await using application = await app.start();
    await application.caughtUp(AFTER_THE_LOSS, LOAD);
    expect(departuresFromDelta(application.restorations, installed, guarantee)).toEqual([]);
    const written = BigInt(SINCE - FIRST);
    // Without a record that a transaction took back: also under exactly-once every total is known.
    expect(totalsOf(application.restorations)).toEqual({
      agg: (written * 8n) / 10n,
      win: (written * 8n) / 10n,
      tab: written / 10n,
      glob: BigInt(AFTER_THE_LOSS - FIRST) / 10n,
      mem: BigInt(SINCE * 0.8),
    });
    expect(await application.differencesFrom(AFTER_THE_LOSS, LOAD)).toEqual([]);
    // The comparison sees a single record.
    expect(await application.differencesFrom(AFTER_THE_LOSS - 2, LOAD)).not.toEqual([]);
    console.log(`clean ${version} ${guarantee} replayed`, totalsOf(application.restorations));
  });
});

function offsetsOf(tasks: readonly PrintedTask[]): Readonly<Record<string, PrintedTask['offsets']>> {
  return Object.fromEntries(tasks.map(({ task, offsets }) => [task, offsets]));
}

describe.for(['3.9.2', '4.2.2'])('Kafka Streams %s, exactly_once_v2, while it runs', (version) => {
  const FIRST = 12_000;
  const WHILE_RUNNING = FIRST + 8000;
  const IN_MID_WORK = WHILE_RUNNING + 12_000;

  test('gives nothing that a transaction may take back, and killed in mid-work comes back with what was committed', async () => {
    const app = await openApp('transactions', version, 'exactly_once_v2');
    await app.feed(0, FIRST);
    {
      await using application = await app.start({ isCalm: true });
      await application.caughtUp(FIRST, LOAD);
      const newborn = transactional((await app.snapshot()).tasks);
      expect(newborn.map(({ outcome, quality }) => [outcome, quality])).toEqual(
        newborn.map(() => ['uncapturable', null]),
      );
      // The checkpoint that a release may write before it opens the stores names no offset and is older than they are.
      const reasons = newborn.map(({ reason }) => reason);
      expect(['exactly_once_running', 'no_offset', 'changing']).toEqual(expect.arrayContaining(reasons));
      await application.close();
    }
    const closed = transactional((await app.snapshot()).tasks);
    {
      await using application = await app.start({ commitIntervalMs: 2000 });
      const feeding = app.feed(FIRST, WHILE_RUNNING);
      const reasons = new Set<string | null>();
      for (let look = 0; look < LOOKS_MAX && !reasons.has('exactly_once_running'); look++) {
        const tasks = transactional((await app.snapshot()).tasks);
        expect(tasks.map(({ quality }) => quality)).toEqual(tasks.map(() => 'clean'));
        expect(offsetsOf(tasks)).toEqual(offsetsOf(closed));
        for (const { reason } of tasks) reasons.add(reason);
      }
      expect(reasons).toContain('exactly_once_running');
      await feeding;
      await application.caughtUp(WHILE_RUNNING, LOAD);

      await killInTransaction(app, application, { from: WHILE_RUNNING, to: IN_MID_WORK });
    }
    await app.loseDisk();
    const installed = await app.restore();
    expect(offsetsOf(transactional(installed))).toEqual(offsetsOf(closed));
    await using application = await app.start();
    await application.caughtUp(IN_MID_WORK, LOAD);
    expect(departuresFromDelta(application.restorations, installed, 'exactly_once_v2')).toEqual([]);
    expect(await application.differencesFrom(IN_MID_WORK, LOAD)).toEqual([]);
    console.log(`transactions ${version} replayed`, totalsOf(application.restorations));
  });
});

/** Into the global store no transaction writes. */
function transactional(tasks: readonly PrintedTask[]): readonly PrintedTask[] {
  return tasks.filter(({ task }) => task !== 'global');
}

/** Right after a commit, as soon as records of the next transaction are in the changelogs. */
async function killInTransaction(
  app: ProtectedApp,
  application: StreamsApp,
  range: { readonly from: number; readonly to: number },
): Promise<void> {
  const middle = (range.from + range.to) / 2;
  const waiting = { timeout: COMMIT_TIMEOUT_MS, interval: 20 };
  const before = await committedSum(app);
  await app.feed(range.from, middle);
  await vi.waitUntil(async () => (await committedSum(app)) > before, waiting);
  const written = await endSum(`${app.name}-.*-changelog`);
  await app.feed(middle, range.to);
  await vi.waitUntil(async () => (await endSum(`${app.name}-.*-changelog`)) > written + MARKERS_MAX, waiting);
  await application.kill();
  const fed = await endSum(`${app.name}-(input|table)`);
  expect(await committedSum(app), 'records committed before the kill').toBeLessThan(fed);
}

async function committedSum(app: ProtectedApp): Promise<bigint> {
  return sum(await broker.committedOffsets(app.name));
}

/** Of all partitions of the topics whose whole name matches. */
async function endSum(topics: string): Promise<bigint> {
  const pattern = new RegExp(`^${topics}-\\d+$`);
  return sum(new Map([...(await broker.endOffsets())].filter(([partition]) => pattern.test(partition))));
}

function sum(offsets: ReadonlyMap<string, bigint>): bigint {
  return offsets.values().reduce((total, offset) => total + offset, 0n);
}
