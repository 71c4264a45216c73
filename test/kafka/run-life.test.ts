import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Broker } from '../support/kafka/broker.ts';
import { departuresFromDelta } from '../support/kafka/delta.ts';
import { ImageChecker } from '../support/kafka/image-checker.ts';
import { ProtectedApp } from '../support/kafka/protected-app.ts';
import { changelogEnds, checkAll, closedTasks, offsetsOf } from '../support/kafka/published.ts';
import type { Load } from '../support/model.ts';
import type { Sidecar } from '../support/sidecar.ts';

const LOAD: Load = { keys: 800, rows: 200, items: 80, stepMs: 150, payloadBytes: 60 };
const VERSION = '4.2.2';
const GUARANTEE = 'at_least_once';
const TASKS = ['0_0', '0_1', '1_0', '1_1', 'global'];
/** A checkpoint is written after 10,000 changelog records of a task: of the first subtopology after 8,334 of these. */
const SOME = 10_000;
const FLAGS = { interval: '1s', 'log-level': 'debug' };
const TEST_MS_MAX = 10 * 60_000;

const ended = new AbortController();
const signal = AbortSignal.any([ended.signal, AbortSignal.timeout(5 * TEST_MS_MAX)]);
const held = new AsyncDisposableStack();
let broker: Broker;
let checker: ImageChecker;
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'warmstate-life-'));
  held.defer(() => rm(directory, { recursive: true, force: true }));
  broker = held.use(await Broker.start(signal));
  checker = held.use(await ImageChecker.start(VERSION, broker, signal));
});

afterAll(async () => {
  ended.abort();
  await held.disposeAsync();
});

function openApp(name: string): Promise<ProtectedApp> {
  return ProtectedApp.open({
    name,
    version: VERSION,
    guarantee: GUARANTEE,
    broker,
    load: LOAD,
    partitions: 2,
    directory: join(directory, name),
    signal,
  });
}

test('run follows an application that crashes and is started again in place', { timeout: TEST_MS_MAX }, async () => {
  const app = await openApp('crashing');
  await using sidecar = app.sidecar(FLAGS);
  {
    await using application = await app.start();
    await app.feed(0, SOME);
    await application.caughtUp(SOME, LOAD);
    await application.kill();
  }
  await sidecar.logged('application-ended');
  await untilFinishedAfter(sidecar, 'application-ended');
  {
    await using application = await app.start();
    await app.feed(SOME, 3 * SOME);
    await application.caughtUp(3 * SOME, LOAD);
    await application.close();
  }
  await expectToTheEnd(app, sidecar);
});

/** A round that began after the event. */
async function untilFinishedAfter(sidecar: Sidecar, event: string): Promise<void> {
  await sidecar.until(`a round has ended after ${event}`, async () => {
    const at = sidecar.log.findIndex((line) => line.event === event);
    return sidecar.log.slice(at).some((line) => line.event === 'snapshot-finished') || undefined;
  });
}

/** Ends the run of a closed application: nothing that it ever published is wrong, and it has everything. */
async function expectToTheEnd(app: ProtectedApp, sidecar: Sidecar): Promise<void> {
  expect(await sidecar.end(), sidecar.transcript).toBe(0);
  const { snapshots, wrong, counts } = await checkAll(app, checker, signal);
  console.log(app.name, counts);
  expect(wrong).toEqual([]);
  const last = snapshots.at(-1) ?? '';
  const installed = await app.restore({ snapshot: last, to: `${app.stateDir}-drill`, tasks: 'all' });
  expect(installed.map(({ task, decision }) => [task, decision])).toEqual(TASKS.map((task) => [task, 'warm']));
  expect(offsetsOf(installed)).toEqual(await changelogEnds(app, broker));
}

test('run says which application empties its directory at its start, and goes on', {
  timeout: TEST_MS_MAX,
}, async () => {
  const app = await openApp('cleaning');
  await using sidecar = app.sidecar(FLAGS);
  await app.feed(0, SOME);
  {
    await using application = await app.start({ isCalm: true });
    await application.caughtUp(SOME, LOAD);
    await application.close();
  }
  await closedTasks(sidecar, TASKS);
  {
    await using application = await app.start({ cleansUp: true });
    const problem = await sidecar.logged('problem-appeared', ({ area }) => area === 'state-dir');
    expect(problem.msg).toMatch(/^the application deleted .* at its start/);
    await app.feed(SOME, 2 * SOME);
    await application.caughtUp(2 * SOME, LOAD);
    await application.close();
  }
  await expectToTheEnd(app, sidecar);
});

test('run that is told to end before its application waits for the close', { timeout: TEST_MS_MAX }, async () => {
  const app = await openApp('outlived');
  await using sidecar = app.sidecar(FLAGS);
  {
    await using application = await app.start();
    await app.feed(0, SOME);
    await application.caughtUp(SOME, LOAD);
    sidecar.signal('SIGTERM');
    await sidecar.logged('phase-changed', ({ phase }) => phase === 'finishing');
    await app.feed(SOME, 2 * SOME);
    await application.caughtUp(2 * SOME, LOAD);
    expect(sidecar.isAlive).toBe(true);
    await application.close();
  }
  await expectToTheEnd(app, sidecar);
});

// In a user namespace of its own the limit is the process's alone.
test.for([
  { name: 'watches', limit: 'max_inotify_watches' },
  { name: 'watchers', limit: 'max_inotify_instances' },
])('run on a node without free $name looks by itself', { timeout: TEST_MS_MAX }, async ({ limit }) => {
  const app = await openApp(`unwatched-${limit.slice(12)}`);
  const shell = ['sh', '-c', `echo 0 > /proc/sys/user/${limit} && exec "$@"`, 'sh'];
  await using sidecar = app.sidecar(FLAGS, { prefix: ['unshare', '--map-root-user', ...shell] });
  {
    await using application = await app.start();
    await app.feed(0, SOME);
    await application.caughtUp(SOME, LOAD);
    await app.feed(SOME, 2 * SOME);
    await application.caughtUp(2 * SOME, LOAD);
    await sidecar.until('a task of the first subtopology is offered', async () => {
      const { tasks } = await sidecar.status();
      return tasks.find(({ task, entry }) => task.startsWith('0_') && entry !== null);
    });
    expect(await watchesOf(sidecar)).toBe(0);
    await application.close();
  }
  await expectToTheEnd(app, sidecar);
});

async function watchesOf({ pid }: Sidecar): Promise<number> {
  const infos = await readdir(`/proc/${pid}/fdinfo`);
  const texts = await Promise.all(infos.map((fd) => readFile(`/proc/${pid}/fdinfo/${fd}`, 'utf8').catch(() => '')));
  return texts.flatMap((text) => text.split('\n')).filter((line) => line.startsWith('inotify wd:')).length;
}

test('a pod that dies comes back warm under another name, and sends only what is new', {
  timeout: TEST_MS_MAX,
}, async () => {
  const app = await openApp('reborn');
  const first = app.as('pod-a');
  const second = app.as('pod-b');
  expect(await first.restore()).toEqual([]);
  {
    await using sidecar = first.sidecar(FLAGS);
    await using application = await first.start();
    await first.feed(0, SOME);
    await application.caughtUp(SOME, LOAD);
    await sidecar.until('the first subtopology is offered', async () => {
      const { tasks } = await sidecar.status();
      const offered = tasks.filter(({ task, entry }) => task.startsWith('0_') && entry !== null);
      return offered.length === 2 || undefined;
    });
    expect(await watchesOf(sidecar)).toBeGreaterThan(0);
    await first.feed(SOME, SOME + 1000);
    await application.caughtUp(SOME + 1000, LOAD);
    await Promise.all([application.kill(), sidecar.kill()]);
  }
  await first.loseDisk();

  const installed = await second.restore({ tasks: 'all' });
  const warm = installed.filter(({ decision }) => decision === 'warm');
  expect(warm.map(({ task }) => task)).toEqual(expect.arrayContaining(['0_0', '0_1']));
  const origins = await Promise.all(warm.map(({ task, snapshot }) => second.tablesOf(snapshot ?? '', task)));
  const restored = new Map(origins.flatMap((tables) => [...tables]));
  await using sidecar = second.sidecar(FLAGS);
  await using application = await second.start({ isCalm: true });
  await application.caughtUp(SOME + 1000, LOAD);
  expect(departuresFromDelta(application.restorations, warm, GUARANTEE).filter(isOfInstalled)).toEqual([]);
  expect(await application.differencesFrom(SOME + 1000, LOAD)).toEqual([]);
  expect(await sidecar.metric('warmstate_restore_info{outcome="restored"}')).toBe(1);
  expect(await sidecar.metric('warmstate_restore_tasks{decision="warm",reason=""}')).toBe(warm.length);
  expect(await sidecar.metric('warmstate_restore_downloaded_bytes')).toBeGreaterThan(0);
  expect(await sidecar.metric('warmstate_previous_shutdown_info{result="none"}')).toBe(1);

  const published = await sidecar.logged('snapshot-finished', ({ result }) => result === 'published');
  const sent = await second.tablesOf(String(published['snapshot']));
  const kept = [...sent].filter(([table]) => restored.has(table));
  expect(kept.length).toBeGreaterThan(0);
  expect(kept).toEqual(kept.map(([table]) => [table, restored.get(table)]));
  await application.close();
  await expectToTheEnd(second, sidecar);
});

/** A task that had not been captured yet is new to it. */
function isOfInstalled(departure: string): boolean {
  return !departure.endsWith('and nothing was installed');
}
