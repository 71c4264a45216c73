import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { decodeCheckpoint } from '../../src/streams/checkpoint-file.ts';
import { Broker } from '../support/kafka/broker.ts';
import { departuresFromDelta } from '../support/kafka/delta.ts';
import { ImageChecker } from '../support/kafka/image-checker.ts';
import { type PrintedTask, ProtectedApp } from '../support/kafka/protected-app.ts';
import { checkAll, closedTasks } from '../support/kafka/published.ts';
import type { Load } from '../support/model.ts';
import type { Sidecar } from '../support/sidecar.ts';

const LOAD: Load = { keys: 800, rows: 200, items: 80, stepMs: 1500, payloadBytes: 60 };
const PARTITIONS = 2;
const TASKS = ['0_0', '0_1', '1_0', '1_1', 'global'];
/** Of the input. */
const BUSY = ['0_0', '0_1'] as const;
const THROWN_AT = 1000;
const THROWING = 8000;
const IN_TRANSACTION = THROWING + 6000;
const FIRST = 6000;
const LATER = FIRST + 8000;
const DURATION_MS_MAX = 25 * 60_000;
const PATIENCE = { timeout: 120_000, interval: 20 };
/** Of the changelogs, which get 2.4 for each record but those of the tables: enough for write buffers to be flushed. */
const FLUSHED_RECORDS = 9000n;

const ended = new AbortController();
const signal = AbortSignal.any([ended.signal, AbortSignal.timeout(DURATION_MS_MAX)]);
const held = new AsyncDisposableStack();
let broker: Broker;
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'warmstate-aborted-'));
  held.defer(() => rm(directory, { recursive: true, force: true }));
  broker = held.use(await Broker.start(signal));
});

afterAll(async () => {
  ended.abort();
  await held.disposeAsync();
});

function openApp(kind: string, version: string): Promise<ProtectedApp> {
  const name = `${kind}-${version.replaceAll('.', '-')}`;
  return ProtectedApp.open({
    name,
    version,
    guarantee: 'exactly_once_v2',
    broker,
    load: LOAD,
    partitions: PARTITIONS,
    directory: join(directory, name),
    signal,
  });
}

describe.for(['2.8.2', '3.9.2', '4.2.2', '4.3.1'])('Kafka Streams %s, exactly_once_v2', (version) => {
  // Each throw takes back a transaction of which tables hold a part; what the record itself wrote is marked.
  test('throws now and then and is killed in a transaction: no restored state ever holds an aborted write', async () => {
    const app = await openApp('throwing', version);
    await using checker = await ImageChecker.start(version, broker, signal);
    await using sidecar = app.sidecar({ interval: '1s' });
    await app.feed(0, THROWING);
    {
      await using application = await app.start({ failsEvery: THROWN_AT, commitIntervalMs: 2000 });
      await application.caughtUp(THROWING, LOAD);
      expect(application.events.filter(({ event }) => event === 'failed').length).toBeGreaterThan(4);
      await application.close();
    }
    {
      // A compaction that began right after that close left tables newer than its checkpoint, and what is opened over those
      // is refused as long as it is the same directory. So into new ones, where nothing is compacted.
      await using application = await app.start({ isCalm: true, cleansUp: true });
      await application.caughtUp(THROWING, LOAD);
      await application.close();
    }
    const closed = await closedTasks(sidecar, TASKS);
    {
      await using application = await app.start({ commitIntervalMs: 8000 });
      const written = await changelogEnd(app);
      await app.feed(THROWING, IN_TRANSACTION);
      await vi.waitUntil(async () => (await changelogEnd(app)) > written + FLUSHED_RECORDS, PATIENCE);
      await application.kill();
    }
    expect(await sidecar.end(), sidecar.transcript).toBe(0);

    const { snapshots, wrong, counts } = await checkAll(app, checker, signal);
    console.log(`${version}, throwing:`, counts);
    expect(wrong).toEqual([]);
    expect(snapshots.length).toBeGreaterThan(0);
    expect(counts['live']).toBe(0);
    expect(await errorsOfVolume(app, checker, closed)).not.toEqual([]);

    await app.loseDisk();
    const installed = await app.restore();
    for (const task of BUSY)
      expect(taskOf({ tasks: installed }, task)).toMatchObject({ decision: 'warm', offsets: closed[task] });
    await using application = await app.start();
    await application.caughtUp(IN_TRANSACTION, LOAD);
    expect(departuresFromDelta(application.restorations, installed, 'exactly_once_v2')).toEqual([]);
    expect(await application.differencesFrom(IN_TRANSACTION, LOAD)).toEqual([]);
  });
});

/** That the comparison sees aborted writes: the volume as the kill left it, with the offsets of the close that it began from. */
async function errorsOfVolume(
  app: ProtectedApp,
  checker: ImageChecker,
  closed: Readonly<Record<string, PrintedTask['offsets'] | undefined>>,
): Promise<readonly string[]> {
  const copy = join(directory, `killed-${app.name}`);
  for (const task of BUSY) {
    await cp(join(app.stateDir, app.name, task), join(copy, task), { recursive: true });
    const offsets = Object.entries(closed[task] ?? {}).filter(([changelog]) => !changelog.includes('-mem-changelog-'));
    const lines = offsets.map(([changelog, offset]) => `${changelog.replace(/-(\d+)$/, ' $1')} ${offset}\n`);
    await writeFile(join(copy, task, '.checkpoint'), `0\n${lines.length}\n${lines.join('')}`);
  }
  const image = { applicationDirectory: copy, applicationId: app.name, topics: app.name, exact: [] };
  return (await checker.check(image)).errors;
}

describe.for(['3.8.1', '4.2.1'])('Kafka Streams %s, exactly_once_v2', (version) => {
  test('leaves its checkpoint behind while it runs: believed until something is flushed, and refused from then on', async () => {
    const app = await openApp('leftover', version);
    await app.feed(0, FIRST);
    {
      await using application = await app.start({ isCalm: true });
      await application.caughtUp(FIRST, LOAD);
      await application.close();
    }
    const closed = await app.snapshot();
    const leftover = await checkpointOf(app, '0_0');
    {
      await using application = await app.start({ isCalm: true });
      await app.feed(FIRST, FIRST + 500);
      await application.caughtUp(FIRST + 500, LOAD);
      expect(await checkpointOf(app, '0_0')).toEqual(leftover);
      const unflushed = taskOf(await app.snapshot(), '0_0');
      expect(unflushed).toMatchObject({ outcome: 'unchanged', quality: 'clean', reason: null });
      expect(unflushed.offsets).toEqual(taskOf(closed, '0_0').offsets);
      await application.close();
    }
    const again = await app.snapshot();
    await using application = await app.start();
    await app.feed(FIRST + 500, LATER);
    await application.caughtUp(LATER, LOAD);
    const flushed = taskOf(await app.snapshot(), '0_0');
    expect(await checkpointOf(app, '0_0')).toEqual(new Map(checkpointed(again)));
    expect(flushed).toMatchObject({ outcome: 'carried', quality: 'clean', reason: 'exactly_once_running' });
    expect(flushed.offsets).toEqual(taskOf(again, '0_0').offsets);
  });
});

/**
 * A task that is lost to a session that ran out, as on a machine that stands still for seconds, is thrown away and begun anew: no
 * application starts over it.
 */
const PATIENT = { 'consumer.session.timeout.ms': 20_000 };

describe.for(['3.9.2'])('Kafka Streams %s, exactly_once_v2', (version) => {
  // Kafka Streams goes on with the aborted writes, and writes a checkpoint over them.
  test('is killed in a transaction and started again on the same volume: nothing of it is offered', async () => {
    const app = await openApp('unclean', version);
    await app.feed(0, FIRST);
    {
      await using application = await app.start({ isCalm: true });
      await application.caughtUp(FIRST, LOAD);
      await application.close();
    }
    await using sidecar = app.sidecar({ interval: '1s' });
    const closed = await closedTasks(sidecar, TASKS);
    {
      await using application = await app.start({ commitIntervalMs: 8000, streams: PATIENT });
      const written = await changelogEnd(app);
      await app.feed(FIRST, LATER);
      await vi.waitUntil(async () => (await changelogEnd(app)) > written + FLUSHED_RECORDS, PATIENCE);
      // Not for want of a checkpoint: that is away for a moment while a task is opened.
      for (const task of BUSY)
        await untilRefused(sidecar, task, {
          reason: 'exactly_once_running',
          message: 'tables are newer than .checkpoint',
        });
      await application.kill();
    }
    {
      await using application = await app.start({ isCalm: true, streams: PATIENT });
      await application.caughtUp(LATER, LOAD);
      for (const task of BUSY) await untilRefused(sidecar, task, { reason: 'unclean_restart' });
      await application.close();
    }
    expect(await sidecar.end(), sidecar.transcript).toBe(0);
    const offered = await app.restore({ to: `${app.stateDir}-drill`, tasks: 'all' });
    for (const task of BUSY) expect(taskOf({ tasks: offered }, task).offsets).toEqual(closed[task]);
    // The checkpoint on disk goes far beyond what is offered.
    const rewritten = await checkpointOf(app, BUSY[0]);
    for (const [changelog, offset] of Object.entries(closed[BUSY[0]] ?? {}))
      expect(rewritten.get(changelog)).toBeGreaterThan(BigInt(offset));
  });
});

/** With a message that begins so. */
async function untilRefused(
  sidecar: Sidecar,
  name: string,
  { reason, message: beginning = '' }: { readonly reason: string; readonly message?: string },
): Promise<void> {
  await sidecar.until(`${name} is refused: ${reason} ${beginning}`, async () => {
    const { tasks } = await sidecar.status();
    const task = tasks.find((one) => one.task === name);
    return task?.reason === reason && task.message?.startsWith(beginning);
  });
}

function checkpointed(snapshot: { readonly tasks: readonly PrintedTask[] }): readonly (readonly [string, bigint])[] {
  return Object.entries(taskOf(snapshot, '0_0').offsets).map(([changelog, offset]) => [changelog, BigInt(offset)]);
}

/** The offsets that lie on disk, while the application may run. */
async function checkpointOf(app: ProtectedApp, task: string): Promise<ReadonlyMap<string, bigint>> {
  return decodeCheckpoint(await readFile(join(app.stateDir, app.name, task, '.checkpoint'))).offsets;
}

function taskOf({ tasks }: { readonly tasks: readonly PrintedTask[] }, name: string): PrintedTask {
  const found = tasks.find(({ task }) => task === name);
  if (found === undefined) throw new Error(`the snapshot has no task ${name}`);
  return found;
}

async function changelogEnd(app: ProtectedApp): Promise<bigint> {
  const pattern = new RegExp(`^${app.name}-.*-changelog-\\d+$`);
  const ends = [...(await broker.endOffsets())].filter(([partition]) => pattern.test(partition));
  return ends.reduce((sum, [, end]) => sum + end, 0n);
}
