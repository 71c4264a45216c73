import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Broker } from '../support/kafka/broker.ts';
import { departuresFromDelta } from '../support/kafka/delta.ts';
import { ImageChecker } from '../support/kafka/image-checker.ts';
import { type Guarantee, type PrintedTask, ProtectedApp } from '../support/kafka/protected-app.ts';
import { changelogEnds, checkAll, closedTasks, offsetsOf, restoreElsewhere } from '../support/kafka/published.ts';
import { SteadyLoad } from '../support/kafka/steady-load.ts';
import type { Load } from '../support/model.ts';

/** Half a million records span less than the windows' retention; forty thousand already need two segments. */
const LOAD: Load = { keys: 800, rows: 200, items: 80, stepMs: 150, payloadBytes: 60 };
const PARTITIONS = 2;
const TASKS = ['0_0', '0_1', '1_0', '1_1', 'global'];
const RECORDS_PER_SECOND = 1000;
/** Of steady load in each test; WARMSTATE_SOAK_SECONDS=300 for a long look. */
const SOAK_MS = Number(process.env['WARMSTATE_SOAK_SECONDS'] ?? '20') * 1000;
/** Of the agent under load; WARMSTATE_KILLS=200 for a long look. */
const KILLS = Number(process.env['WARMSTATE_KILLS'] ?? '20');
const KILL_AFTER_MS_MAX = 3000;
const TEST_MS_MAX = 10 * 60_000 + SOAK_MS + KILLS * 30_000;

const ended = new AbortController();
const signal = AbortSignal.any([ended.signal, AbortSignal.timeout(4 * TEST_MS_MAX)]);
const held = new AsyncDisposableStack();
let broker: Broker;
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'warmstate-run-'));
  held.defer(() => rm(directory, { recursive: true, force: true }));
  broker = held.use(await Broker.start(signal));
});

afterAll(async () => {
  ended.abort();
  await held.disposeAsync();
});

function openApp(kind: string, version: string, guarantee: Guarantee): Promise<ProtectedApp> {
  const name = `${kind}-${version.replaceAll('.', '-')}`;
  return ProtectedApp.open({
    name,
    version,
    guarantee,
    broker,
    load: LOAD,
    partitions: PARTITIONS,
    directory: join(directory, name),
    signal,
  });
}

describe.for(['3.9.2', '4.2.2'])('warmstate run beside Kafka Streams %s, at_least_once, under load', (version) => {
  test('publishes nothing wrong, and after the close everything to the last record', {
    timeout: TEST_MS_MAX,
  }, async () => {
    const app = await openApp('soak', version, 'at_least_once');
    await using checker = await ImageChecker.start(version, broker, signal);
    await using sidecar = app.sidecar({ interval: '3s' });
    let fed: number;
    {
      await using application = await app.start();
      await using load = SteadyLoad.start(app, { from: 0, perSecond: RECORDS_PER_SECOND });
      await delay(SOAK_MS, undefined, { signal });
      await sidecar.until('0_0 is offered', async () => {
        const { tasks } = await sidecar.status();
        return tasks.find(({ task, entry }) => task === '0_0' && entry !== null);
      });
      fed = await load.stop();
      await application.caughtUp(fed, LOAD);
      await application.close();
    }
    const closed = await changelogEnds(app, broker);
    expect(await sidecar.end(), sidecar.transcript).toBe(0);

    const { snapshots, wrong, counts } = await checkAll(app, checker, signal);
    console.log(`run beside ${version}: ${fed} records,`, counts);
    expect(wrong).toEqual([]);
    await expectOlderWindowsToShow(app, checker, snapshots);
    expect(await recordOf(app, snapshots.at(-1) ?? '')).toMatchObject({ state: 'sealed' });

    await app.loseDisk();
    const more = fed + 1500;
    await app.feed(fed, more);
    const installed = await app.restore();
    expect(installed.map(({ task, decision }) => [task, decision])).toEqual(TASKS.map((task) => [task, 'warm']));
    expect(offsetsOf(installed)).toEqual(closed);
    await using application = await app.start();
    await application.caughtUp(more, LOAD);
    expect(departuresFromDelta(application.restorations, installed, 'at_least_once')).toEqual([]);
    expect(await application.differencesFrom(more, LOAD)).toEqual([]);
  });
});

describe('warmstate run beside Kafka Streams 3.9.2, exactly_once_v2, under load', () => {
  const FIRST = 12_000;

  test('offers the last clean close and nothing of an open transaction', { timeout: TEST_MS_MAX }, async () => {
    const app = await openApp('transactions', '3.9.2', 'exactly_once_v2');
    await using checker = await ImageChecker.start('3.9.2', broker, signal);
    await using sidecar = app.sidecar({ interval: '3s' });
    await app.feed(0, FIRST);
    {
      await using application = await app.start({ isCalm: true });
      await application.caughtUp(FIRST, LOAD);
      await application.close();
    }
    const closed = await closedTasks(sidecar, TASKS);
    let fed: number;
    {
      await using application = await app.start({ commitIntervalMs: 2000 });
      await using load = SteadyLoad.start(app, { from: FIRST, perSecond: RECORDS_PER_SECOND });
      await delay(SOAK_MS, undefined, { signal });
      await application.kill();
      fed = await load.stop();
    }
    expect(await sidecar.end(), sidecar.transcript).toBe(0);

    const { snapshots, wrong, counts } = await checkAll(app, checker, signal);
    console.log(`run beside 3.9.2, exactly once: ${fed} records,`, counts);
    expect(wrong).toEqual([]);
    expect(counts['live']).toBe(0);
    expect(snapshots.length).toBeGreaterThan(0);

    await app.loseDisk();
    const installed = await app.restore();
    expect(installed.map(({ task, decision }) => [task, decision])).toEqual(TASKS.map((task) => [task, 'warm']));
    // Into the global store no transaction writes: it may have been captured again.
    const transactional = installed.filter(({ task }) => task !== 'global');
    for (const { task, offsets } of transactional) expect([task, offsets]).toEqual([task, closed[task]]);
    await using application = await app.start();
    await application.caughtUp(fed, LOAD);
    expect(departuresFromDelta(application.restorations, installed, 'exactly_once_v2')).toEqual([]);
    expect(await application.differencesFrom(fed, LOAD)).toEqual([]);
  });
});

describe('kill -9 of warmstate run', () => {
  test('leaves, whenever it comes, only what a task had, and the next run goes on', {
    timeout: TEST_MS_MAX,
  }, async () => {
    const app = await openApp('killed', '4.2.2', 'at_least_once');
    await using checker = await ImageChecker.start('4.2.2', broker, signal);
    const wrong: string[] = [];
    const offers: string[] = [];
    const check = async (copy: string): Promise<void> => {
      const { installed, verdict } = await restoreElsewhere(app, checker, { destination: `file://${copy}` });
      await rm(copy, { recursive: true });
      if (installed.length > 0) offers.push(JSON.stringify(offsetsOf(installed)));
      wrong.push(...(verdict?.errors ?? []).map((error) => `kill ${offers.length}: ${error}`));
    };
    let fed: number;
    {
      await using application = await app.start();
      await using load = SteadyLoad.start(app, { from: 0, perSecond: RECORDS_PER_SECOND / 2 });
      let copy: string | undefined;
      for (let kill = 1; kill <= KILLS; kill++) {
        await using sidecar = app.sidecar({ interval: '1s' });
        const checking = copy === undefined ? undefined : check(copy);
        await sidecar.logged('phase-changed'); // Before, the runtime starts, for longer than all the rest on a busy machine.
        await delay(Math.random() * KILL_AFTER_MS_MAX, undefined, { signal });
        await sidecar.kill();
        copy = await copyRepository(app, kill);
        await checking;
      }
      if (copy !== undefined) await check(copy);
      await using sidecar = app.sidecar({ interval: '1s' });
      await sidecar.logged('phase-changed', ({ phase }) => phase === 'watching');
      fed = await load.stop();
      await application.caughtUp(fed, LOAD);
      await application.close();
      expect(await sidecar.end(), sidecar.transcript).toBe(0);
    }
    console.log(`${KILLS} kills, ${offers.length} with an offer, ${new Set(offers).size} different ones`);
    expect(wrong).toEqual([]);
    expect(new Set(offers).size).toBeGreaterThan(KILLS / 10);
    await app.verify();
    const { installed, verdict } = await restoreElsewhere(app, checker);
    expect(verdict?.errors).toEqual([]);
    expect(offsetsOf(installed)).toEqual(await changelogEnds(app, broker));
  });
});

/** The store is a directory in which nothing is changed once it is there: links will do. */
async function copyRepository(app: ProtectedApp, kill: number): Promise<string> {
  await mkdir(app.repository, { recursive: true }); // It may have been killed before its first request.
  const copy = `${app.repository}-${kill}`;
  await promisify(execFile)('cp', ['-rl', app.repository, copy]);
  return copy;
}

/** The comparison sees windows of an older snapshot below the checkpoint of the newest. */
async function expectOlderWindowsToShow(
  app: ProtectedApp,
  checker: ImageChecker,
  snapshots: readonly string[],
): Promise<void> {
  const windows = join(app.name, '0_0/win');
  const older = `${app.stateDir}-older`;
  let offsets: PrintedTask['offsets'] | undefined;
  for (const snapshot of snapshots.slice(0, -1)) {
    await rm(older, { recursive: true, force: true });
    const installed = await app.restore({ snapshot, to: older, tasks: 'all' });
    offsets = installed.find(({ task, decision }) => task === '0_0' && decision === 'warm')?.offsets;
    if (offsets !== undefined) break;
  }
  expect(offsets, 'offsets of an older snapshot of 0_0').toBeDefined();
  const { verdict } = await restoreElsewhere(app, checker, {
    snapshot: snapshots.at(-1) ?? '',
    alter: async (stateDir) => {
      await rm(join(stateDir, windows), { recursive: true });
      await cp(join(older, windows), join(stateDir, windows), { recursive: true });
    },
  });
  const places = verdict?.errors.map((line) => line.split(' ', 2).join(' '));
  expect(new Set(places)).toEqual(new Set(['0_0 win']));
}

async function recordOf(app: ProtectedApp, snapshot: string): Promise<unknown> {
  const [epoch] = snapshot.split('/');
  return JSON.parse(await readFile(join(app.repository, app.name, 'test/records', `${epoch}.json`), 'utf8'));
}
