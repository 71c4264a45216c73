import { copyFile, mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { AgentScenario } from '../../test/support/agent-scenario.ts';
import { ManualClock } from '../../test/support/manual-clock.ts';
import { archivedFile, sampleEntry, sampleRecord } from '../../test/support/sample-documents.ts';
import { SimulatedStore } from '../../test/support/simulated-store.ts';
import { openTempDirectory, type TempDirectory } from '../../test/support/temp-directory.ts';
import { realFiles } from '../base/file-access.ts';
import type { Event } from '../events/event.ts';
import type { Layout } from '../repository/document.ts';
import { type EpochRecord, encodeRecord, type Trial } from '../repository/record.ts';
import { listRepository, openRepository } from '../repository/repository.ts';
import type { InstalledTask, RestoreReport } from '../repository/restore-result.ts';
import { judgeTrial } from '../repository/trial.ts';
import { bytesBody } from '../storage/object-store.ts';
import type { ApplicationState } from '../streams/app-lock.ts';
import { ApplicationTrial, recallTrial, type TrialFinding } from './trial.ts';

const STORES = ['rocksdb/agg', 'rocksdb/other'];

let directory: TempDirectory;
let clock: ManualClock;
let events: Event[];
let found: TrialFinding | undefined;

beforeEach(async () => {
  directory = await openTempDirectory();
  clock = new ManualClock();
  events = [];
});
afterEach(() => directory[Symbol.asyncDispose]());

/** Puts a task of two stores in place, as a restore does. */
async function install(task: string, layout: Layout = 'file'): Promise<InstalledTask> {
  const paths = STORES.flatMap((store) => [`${store}/CURRENT`, `${store}/MANIFEST-000005`]);
  for (const path of paths) {
    await mkdir(join(directory.path, task, dirname(path)), { recursive: true });
    await writeFile(join(directory.path, task, path), path.endsWith('CURRENT') ? 'MANIFEST-000005\n' : '');
  }
  const { dev, ino, birthtimeNs } = await stat(join(directory.path, task), { bigint: true });
  const { files: _files, stores: _stores, ...facts } = sampleEntry({ task, layout });
  const files = paths.map((path) => ({ ...archivedFile(task, path), inode: 1n, mtimeNs: 2n, ctimeNs: 3n }));
  return { ...facts, device: dev, inode: ino, birthtimeNs, snapshot: facts.capturedBy, files };
}

/** RocksDB's attempt to open a store; it comes to a new manifest when it succeeds. */
async function open(task: string, store: string, manifest = 'MANIFEST-000009'): Promise<void> {
  await writeFile(join(directory.path, task, store, 'LOCK'), '');
  await writeFile(join(directory.path, task, store, 'CURRENT'), `${manifest}\n`);
}

const tried = (task: string): Promise<void> => open(task, 'rocksdb/other', 'MANIFEST-000005');

/** The same, by an application that ends of it. */
async function tryAndEnd(task: string): Promise<void> {
  await tried(task);
  const log = join(directory.path, task, 'rocksdb/other/LOG');
  await rename(log, `${log}.old.${clock.nowMs()}`).catch(() => undefined);
  await writeFile(log, '');
}

function reportOf(installed: readonly InstalledTask[], change: Partial<RestoreReport> = {}): RestoreReport {
  const cold = { why: undefined, snapshot: undefined, quality: undefined, stateTimeMs: undefined };
  const tasks = installed.map(({ task }) => {
    return { ...cold, task, decision: 'warm' as const, capturedAtMs: undefined, offsets: new Map(), sizeBytes: 0 };
  });
  return {
    application: 'orders',
    lineage: 'shop',
    instance: 'orders-0',
    epoch: '1763854560000-orders-0-zzzz',
    writer: 'warmstate test',
    timeMs: clock.nowMs(),
    guarantee: 'at_least_once',
    appVersion: 'v2',
    result: { outcome: 'restored', tasks, bytesDownloaded: 0, requests: 0, durationMs: 0 },
    installed,
    taints: [],
    ...change,
  };
}

/** Looks every second at an application in its states, each `<state> <seconds>`, doing what stands between them. */
async function follow(
  report: RestoreReport | undefined,
  story: readonly (string | (() => Promise<unknown>))[],
  earlier?: Pick<Trial, 'state'>,
): Promise<string> {
  const parts = { applicationDirectory: directory.path, report, files: realFiles, clock };
  const trial = new ApplicationTrial({ ...parts, emit: (event) => void events.push(event) });
  const steps = story.flatMap((step): readonly (typeof step)[] => {
    if (typeof step !== 'string') return [step];
    const [state = '', seconds] = step.split(' ');
    return Array.from({ length: Number(seconds) }, () => state);
  });
  let last: TrialFinding | undefined;
  for (const step of steps) {
    if (typeof step === 'string') {
      await clock.advance(1000);
      last = (await trial.look(STATES.get(step), earlier)) ?? last;
    } else await step();
  }
  found = last;
  return last === undefined ? 'nothing' : `${last.trial.state} ${last.trial.lockTaken}/${last.trial.lockLost}`;
}

const STATES = new Map<string, ApplicationState>([
  ['running', 'running'],
  ['stopped', 'stopped'],
  ['unknown', 'unknown'],
]);

const crash = ['running 3', 'stopped 5'] as const;

test('an application that opens a restored store and stays is confirmed a minute later, and said once', async () => {
  const report = reportOf([await install('0_0'), await install('0_1')]);
  expect(await follow(report, ['stopped 9', 'running 4', () => open('0_1', 'rocksdb/agg'), 'running 60'])).toBe(
    'undecided 1/0',
  );
  expect(await follow(report, ['running 61'])).toBe('confirmed 1/0');
  expect(events).toEqual([
    {
      kind: 'notice',
      name: 'trial-confirmed',
      level: 'info',
      message: 'the application lives with what was restored',
    },
  ]);
  expect(found?.problem).toBeUndefined();
});

test('one that tries to open a restored store and ends, again and again, has failed; the problem says what to do', async () => {
  const report = reportOf([await install('0_0'), await install('0_1')]);
  expect(await follow(report, ['running 2', () => tried('0_1'), 'stopped 5', ...crash, ...crash])).toBe('failed 3/2');
  const message =
    'version v2 of the application ended 2 times after 0_0, 0_1 had been restored, and was not seen to live with it';
  expect(found).toMatchObject({
    problem: { message, hint: expect.stringContaining('read its log') },
  });
});

test('what it tried at the last moment counts, what it tries in its next life does not yet', async () => {
  const last = reportOf([await install('0_0')]);
  expect(await follow(last, ['running 3', () => tried('0_0'), 'stopped 5', 'running 1'])).toBe('undecided 2/1');
  const next = reportOf([await install('0_1')]);
  expect(await follow(next, ['running 3', 'stopped 5', () => tried('0_1'), 'running 3'])).toBe('undecided 2/0');
});

test('one that is gone before anybody looks leaves traces: they count once each', async () => {
  const report = reportOf([await install('0_0'), await install('0_1')]);
  const pass = () => tryAndEnd('0_1');
  expect(await follow(report, ['stopped 3', pass, 'stopped 9'])).toBe('undecided 1/0');
  expect(await follow(report, ['stopped 3', pass, 'stopped 30', pass, 'stopped 30'])).toBe('failed 2/2');
  // One that began before this process did is nothing that it saw.
  expect(await follow(report, ['stopped 60'])).toBe('nothing');
  expect(await follow(report, ['stopped 3', 'running 2', pass, 'stopped 30'])).toBe('undecided 1/1');
});

test('one that is restarted while it never touched what was restored is not condemned', async () => {
  expect(await follow(reportOf([await install('0_0')]), [...crash, ...crash, ...crash, ...crash])).toBe(
    'undecided 4/0',
  );
});

test('one of 4.3 or later is, for it may refuse a directory before it opens anything', async () => {
  expect(await follow(reportOf([await install('0_0', 'column-family')]), [...crash, ...crash, ...crash])).toBe(
    'failed 3/2',
  );
});

test.each<[string, (task: string) => Promise<unknown>]>([
  ['was deleted by Kafka Streams', (task) => rm(join(directory.path, task), { recursive: true })],
  [
    'was made again by Kafka Streams',
    async (task) => {
      await rename(join(directory.path, task), join(directory.path, 'old'));
      await install(task);
      await open(task, 'rocksdb/agg');
    },
  ],
])('a task that %s is not the one that was installed', async (_, change) => {
  const report = reportOf([await install('0_0')]);
  expect(await follow(report, ['running 2', () => change('0_0'), 'running 100', 'stopped 5', ...crash, ...crash])).toBe(
    'undecided 3/0',
  );
});

test('a task that an earlier restore installed and this one left was opened before: only five minutes confirm', async () => {
  const report = reportOf([await install('0_0')]);
  await open('0_0', 'rocksdb/agg');
  const tasks = report.result.tasks.map((task) => ({ ...task, decision: 'local' as const }));
  const local = { ...report, result: { ...report.result, tasks } };
  expect(await follow(local, ['running 200'])).toBe('undecided 1/0');
  expect(await follow(local, ['running 302'])).toBe('confirmed 1/0');
});

test('the end of the pod is not held against what was restored', async () => {
  const report = reportOf([await install('0_0')]);
  await tried('0_0');
  expect(await follow(report, [...crash, 'running 3', 'stopped 9'])).toBe('undecided 2/1');
});

test('while the lock cannot be asked for nothing counts, and where it never can nothing is followed', async () => {
  const report = reportOf([await install('0_0')]);
  await open('0_0', 'rocksdb/agg');
  expect(await follow(report, ['running 50', 'denied 20', 'running 50'])).toBe('undecided 1/0');
  expect(await follow(report, ['unknown 400'])).toBe('nothing');
  expect(await follow(undefined, ['running 400'])).toBe('nothing');
});

test.each<[string, Partial<RestoreReport>, Trial['state'] | undefined]>([
  ['was installed', { installed: [] }, undefined],
  ['can be told to the repository', { epoch: undefined }, undefined],
  ['is open: it was confirmed before this process', {}, 'confirmed'],
])('where nothing %s, nothing is followed', async (_, change, state) => {
  const report = { ...reportOf([await install('0_0')]), ...change };
  expect(await follow(report, ['running 400'], state === undefined ? undefined : { state })).toBe('nothing');
});

test('what processes of this instance saw before this one is recalled, since the restore', async () => {
  const store = new SimulatedStore();
  const { signal } = new AbortController();
  const repository = await openRepository(store, { application: 'orders', lineage: 'shop', notice: () => {}, signal });
  const put = async (epoch: string, after: string, instance = 'orders-0'): Promise<void> => {
    const trial = { state: 'undecided', atMs: 7, lockTaken: 2, lockLost: 1 } as const;
    const record = sampleRecord({ epoch, instance, after, trial, newest: undefined, tasks: [] });
    await store.put(repository.keys.record(epoch), bytesBody(encodeRecord(record)), { signal });
  };
  const restoreEpoch = '1763854560000-orders-0-zzzz';
  await put('1763854550000-orders-0-aaaa', '1763854540000-orders-0-zzzz');
  await put('1763854570000-orders-0-bbbb', restoreEpoch);
  await put('1763854580000-orders-0-cccc', restoreEpoch);
  const listing = await listRepository(repository, { signal });
  const of = { instance: 'orders-0', signal };
  expect(await recallTrial(repository, listing, { ...of, restoreEpoch })).toEqual({
    state: 'failed',
    atMs: 7,
    lockTaken: 4,
    lockLost: 2,
  });
  expect(await recallTrial(repository, listing, { ...of, restoreEpoch: undefined })).toBeUndefined();
});

describe('beside an agent', () => {
  /** Captured, lost and restored; the application opens a store at once. */
  async function openRestored(): Promise<AgentScenario> {
    const scene = await AgentScenario.open('3.9.2-alos-closed');
    const choices = { store: scene.store, clock: scene.clock };
    await scene.disk.snapshot(choices);
    await scene.disk.loseDisk();
    await scene.disk.restore(choices);
    const store = join(scene.disk.applicationDirectory, '0_0/rocksdb/agg');
    const [manifest = ''] = (await readdir(store)).filter((name) => name.startsWith('MANIFEST'));
    await copyFile(join(store, manifest), join(store, 'MANIFEST-900000'));
    await writeFile(join(store, 'CURRENT'), 'MANIFEST-900000\n');
    await writeFile(join(store, 'LOCK'), '');
    return scene;
  }

  /** The application takes its lock or loses it, the agent sees that, and so much time goes by. */
  async function become(scene: AgentScenario, lock: 'running' | 'stopped', ms: number): Promise<void> {
    scene.lock = lock;
    await scene.until('it is seen', () => scene.status.applicationRunning === (lock === 'running'));
    await scene.pass(ms);
  }

  const trialOf = (scene: AgentScenario): EpochRecord['trial'] =>
    scene.records().findLast(({ role }) => role === 'run')?.trial;

  test('a confirmation comes into its record, which names the restore, and the next sidecar asks no more', async () => {
    await using scene = await openRestored();
    const restored = scene.records().find(({ role }) => role === 'restore');
    scene.start();
    await scene.until('it is confirmed', () => trialOf(scene)?.state === 'confirmed');
    expect(trialOf(scene)).toMatchObject({ lockTaken: 1, lockLost: 0 });
    expect(scene.records().at(-1)?.after).toBe(restored?.epoch);
    await scene.kill();
    scene.start();
    await scene.pass(3000);
    for (let i = 0; i < 3; i++) {
      await become(scene, 'stopped', 12_000);
      await become(scene, 'running', 3000);
    }
    expect(trialOf(scene)?.lockLost ?? 0).toBe(0);
    expect(scene.status.problems).toEqual([]);
    expect(judgeTrial(scene.records(), restored?.epoch ?? '')?.state).toBe('confirmed');
  });

  test('a failure is a problem until the application lives after all, also where storage hears of it late', async () => {
    await using scene = await openRestored();
    scene.start();
    await scene.untilRounds(1);
    scene.store.script({ kind: 'fail-before', times: Infinity });
    for (let i = 0; i < 2; i++) {
      await become(scene, 'stopped', 12_000);
      await become(scene, 'running', 3000);
    }
    const ofTrial = () => scene.status.problems.filter(({ area }) => area === 'trial');
    expect(ofTrial()).toMatchObject([{ message: expect.stringContaining('ended 2 times') }]);
    scene.store.heal();
    // With the next sign of life; by then it may live.
    await scene.until('storage hears of it', () => trialOf(scene)?.lockLost === 2);
    await scene.until('it is confirmed', () => trialOf(scene)?.state === 'confirmed');
    expect(ofTrial()).toEqual([]);
    expect(trialOf(scene)).toMatchObject({ state: 'confirmed', lockLost: 2 });
  });

  test('a preStop hook of a pod that lives on hides no loss: a liveness probe that fails runs it as well', async () => {
    await using scene = await openRestored();
    const agent = scene.start();
    await scene.untilRounds(1);
    for (let i = 0; i < 2; i++) {
      await agent.requestSnapshot('pre_stop');
      await become(scene, 'stopped', 12_000);
      await become(scene, 'running', 3000);
    }
    await scene.until('it is told', () => trialOf(scene)?.lockLost === 2);
  });

  test('where the pod ends, what came after its preStop hook adds nothing', async () => {
    await using scene = await openRestored();
    const agent = scene.start();
    await scene.untilRounds(1);
    await agent.requestSnapshot('pre_stop');
    await become(scene, 'stopped', 15_000);
    await scene.end();
    expect(trialOf(scene)?.lockLost ?? 0).toBe(0);
  });

  test('the end of the pod adds nothing', async () => {
    await using scene = await openRestored();
    scene.start();
    await scene.pass(3000);
    await become(scene, 'stopped', 2000);
    await become(scene, 'running', 3000);
    await become(scene, 'stopped', 3000);
    await scene.end();
    expect(trialOf(scene)).toMatchObject({ state: 'undecided', lockTaken: 2, lockLost: 1 });
  });
});
