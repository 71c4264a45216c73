import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { systemClock, systemRandom } from '../../src/base/clock.ts';
import type { Trial } from '../../src/repository/record.ts';
import { listRepository, loadRecords, openRepository } from '../../src/repository/repository.ts';
import type { RestoreResult } from '../../src/repository/restore-result.ts';
import { openWriter } from '../../src/repository/writer.ts';
import { openFileStore } from '../../src/storage/file-store.ts';
import { Killed, mortalDisk } from '../support/mortal-disk.ts';
import { Pod } from '../support/pod.ts';
import { APPLICATION, Scenario } from '../support/scenario.ts';
import { warmstate } from '../support/warmstate.ts';

const CLOSED = '3.9.2-alos-closed';
const TASKS = ['0_0', '0_1', '1_0', '1_1', 'global'];
const { signal } = new AbortController();

function all(word: string): Record<string, string> {
  return Object.fromEntries(TASKS.map((task) => [task, word]));
}

function decisions({ tasks }: RestoreResult): Record<string, string> {
  const said = tasks.map(({ task, decision, why }) => [
    task,
    why === undefined ? decision : `${decision}: ${why.reason}`,
  ]);
  return Object.fromEntries(said);
}

const failed = { state: 'failed', lockTaken: 2, lockLost: 2 } as const;
const confirmed = { state: 'confirmed', lockTaken: 1, lockLost: 0 } as const;

/** What a sidecar beside the application says after the newest restore, as the only thing it does. */
async function say(scenario: Scenario, trial: Omit<Trial, 'atMs'>): Promise<void> {
  const store = await openFileStore(scenario.repositoryDir, { clock: systemClock, random: systemRandom });
  const repository = await openRepository(store, {
    application: APPLICATION,
    lineage: 'test',
    notice: () => {},
    signal,
  });
  const listing = await listRepository(repository, { signal });
  const records = (await loadRecords(repository, listing, { signal })).map(({ record }) => record);
  const restored = records.findLast(({ role }) => role === 'restore');
  const writer = await openWriter(repository, listing, {
    instance: restored?.instance ?? 'none',
    role: 'run',
    program: 'warmstate test',
    guarantee: 'at_least_once',
    maxAgeMs: 1,
    after: restored?.epoch,
    clock: systemClock,
    random: systemRandom,
    signal,
  });
  const atMs = writer.toStoreTimeMs(systemClock.nowMs());
  await writer.amendRecord({ state: 'sealed', trial: { ...trial, atMs } }, { signal });
}

/** A life of a pod on a disk of its own. */
async function live(
  scenario: Scenario,
  instance: string,
  trial?: Omit<Trial, 'atMs'>,
  appVersion?: string,
): Promise<Record<string, string>> {
  await scenario.loseDisk();
  const result = await scenario.restore({ instance, appVersion });
  if (trial !== undefined) await say(scenario, trial);
  return decisions(result);
}

describe('after two restores over which the application was lost', () => {
  test('the third pod starts cold by itself, whatever the pods are called', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    expect(await live(scenario, 'orders-a', failed)).toEqual(all('warm'));
    expect(await live(scenario, 'orders-b', failed)).toEqual(all('warm'));
    expect(await live(scenario, 'orders-c')).toEqual(all('cold: quarantined'));
    expect(await live(scenario, 'orders-a')).toEqual(all('cold: quarantined'));
    const where = ['--destination', `file://${scenario.repositoryDir}`, '--application-id', APPLICATION];
    const { stdout } = await warmstate(['list', ...where, '--output', 'json']);
    const lines = stdout.split('\n').filter((line) => line.includes('"kind":"quarantine"'));
    expect(lines.map((line) => JSON.parse(line))).toMatchObject(TASKS.map((task) => ({ task, appVersion: null })));
  });

  test('another version is not concerned, and its good life says nothing of the first', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    await live(scenario, 'orders-0', failed, 'v2');
    await live(scenario, 'orders-0', failed, 'v2');
    expect(await live(scenario, 'orders-0', undefined, 'v2')).toEqual(all('cold: quarantined'));
    expect(await live(scenario, 'orders-0', confirmed, 'v1')).toEqual(all('warm'));
    expect(await live(scenario, 'orders-0', undefined, 'v2')).toEqual(all('cold: quarantined'));
  });

  test('what is captured later is offered again', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    await live(scenario, 'pod-0', failed);
    await live(scenario, 'pod-0', failed);
    await scenario.moveOffsets('0_0', 5);
    await scenario.snapshot();
    expect(await live(scenario, 'pod-0')).toEqual({ ...all('cold: quarantined'), '0_0': 'warm' });
  });

  test('only what both had installed is left out', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    const one = (task: string) => ({ kind: 'list' as const, tasks: [task, 'global'] });
    for (const task of ['0_0', '0_1']) {
      await scenario.loseDisk();
      await scenario.restore({ selection: one(task) });
      await say(scenario, failed);
    }
    expect(await live(scenario, 'pod-0')).toEqual({ ...all('warm'), global: 'cold: quarantined' });
  });

  test('a later one with which it was seen to live ends it for what that installed', async () => {
    await using scenario = await Scenario.open(CLOSED);
    const { snapshot } = await scenario.snapshot();
    await live(scenario, 'pod-0', failed);
    await live(scenario, 'pod-1', failed);
    // Somebody who names the snapshot gets it, and the application lives after all.
    await scenario.loseDisk();
    await scenario.restore({ snapshot, selection: { kind: 'list', tasks: ['0_0', '1_1'] } });
    await say(scenario, confirmed);
    const expected = { ...all('cold: quarantined'), '0_0': 'warm', '1_1': 'warm' };
    expect(await live(scenario, 'pod-2')).toEqual(expected);
  });
});

describe('a restore that runs again on the same volume', () => {
  test('goes on with the trial, and takes away what the application could not live with', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    await live(scenario, 'pod-0', failed);
    expect(decisions(await scenario.restore())).toEqual(all('local'));
    await say(scenario, failed);
    // Its own work in one task is spared.
    await scenario.moveOffsets('0_1', 7);
    expect(decisions(await scenario.restore())).toEqual({ ...all('cold: quarantined'), '0_1': 'local' });
    expect(Object.keys(await scenario.hashes()).every((path) => path.startsWith(`${APPLICATION}/0_1/`))).toBe(true);
  });

  test('takes a directory away whole or not at all, wherever it is killed, and the next one ends the same', async () => {
    for (let steps = 0; ; steps++) {
      await using scenario = await Scenario.open(CLOSED);
      await scenario.snapshot();
      await live(scenario, 'pod-0', failed);
      const whole = await scenario.hashes();
      await scenario.restore();
      await say(scenario, failed);
      const disk = mortalDisk(scenario.stateDir, steps);
      await scenario.restore({ disk }).catch((error: unknown) => {
        if (!(error instanceof Killed || error instanceof SuppressedError)) throw error;
      });
      const left = await scenario.hashes();
      for (const task of TASKS) {
        const paths = Object.keys(whole).filter((path) => path.startsWith(`${APPLICATION}/${task}/`));
        const kept = paths.filter((path) => left[path] === whole[path]);
        expect([0, paths.length]).toContain(kept.length);
      }
      const again = decisions(await scenario.restore());
      expect(Object.values(again).filter((word) => word !== 'cold: quarantined')).toEqual([]);
      expect(await scenario.hashes()).toEqual({});
      if (!disk.isDead()) break;
    }
  });

  test('leaves alone what the application was seen to live with, whatever happens to it later', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    await live(scenario, 'pod-0', confirmed);
    for (let i = 0; i < 3; i++) {
      expect(decisions(await scenario.restore())).toEqual(all('local'));
      await say(scenario, failed);
    }
  });

  test('leaves alone what no restore put there', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    await live(scenario, 'pod-0', failed);
    await live(scenario, 'pod-0', failed);
    // Kafka Streams made a directory of its own.
    await scenario.loseDisk();
    const own = join(scenario.applicationDirectory, '0_0');
    await mkdir(join(own, 'rocksdb/agg'), { recursive: true });
    await writeFile(join(own, '.checkpoint'), '0\n0\n');
    await scenario.restore();
    expect(Object.keys(await scenario.hashes())).toEqual([`${APPLICATION}/0_0/.checkpoint`]);
    await rm(own, { recursive: true });
  });
});

/** The settings of a pod, shared by its containers. */
function flagsOf(
  scenario: Scenario,
  instance: string,
  appVersion: string,
): Record<'restore' | 'run', readonly string[]> {
  const run = scenario.flags.flatMap((flag, i, all) => (all[i - 1] === '--instance' ? [instance] : [flag]));
  const shared = run.filter((flag, i, all) => flag !== '--output' && all[i - 1] !== '--output');
  return { restore: [...shared, '--output', 'json', '--app-version', appVersion], run: shared };
}

async function restoreAs(scenario: Scenario, instance: string, appVersion: string): Promise<Record<string, string>> {
  await scenario.loseDisk();
  const { code, stdout } = await warmstate(['restore', ...flagsOf(scenario, instance, appVersion).restore]);
  const { tasks }: { tasks: { task: string; decision: string; reason: string | null }[] } = JSON.parse(stdout);
  expect(code).toBe(0);
  return Object.fromEntries(
    tasks.map(({ task, decision, reason }) => [task, reason === null ? decision : `${decision}: ${reason}`]),
  );
}

/** What RocksDB leaves of a try to open a store. */
async function tryToOpen(scenario: Scenario): Promise<void> {
  await writeFile(join(scenario.applicationDirectory, '0_0/rocksdb/agg/LOCK'), '');
}

// Some twenty processes one after another, on machines that may be slow.
describe('whole pods', { timeout: 400_000 }, () => {
  test('a store that the application cannot open is started cold by the third pod, and by no other version', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    for (const instance of ['orders-0', 'orders-7c9f-x2x']) {
      expect(await restoreAs(scenario, instance, 'v2')).toEqual(all('warm'));
      await using pod = await Pod.start(scenario, flagsOf(scenario, instance, 'v2').run);
      for (const says of ['undecided 1/0', 'undecided 2/1', 'failed 3/2']) {
        await pod.startApplication();
        await tryToOpen(scenario);
        await pod.untilTrial(says);
        await pod.loseApplication();
      }
      expect(await pod.end()).toBe(0);
    }
    expect(await restoreAs(scenario, 'orders-0', 'v2')).toEqual(all('cold: quarantined'));
    expect(await restoreAs(scenario, 'orders-0', 'v3')).toEqual(all('warm'));
  });

  test('a broker that is away, a spot kill in the first minute and idleness condemn nothing', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    for (const instance of ['orders-0', 'orders-1']) {
      expect(await restoreAs(scenario, instance, 'v2')).toEqual(all('warm'));
      await using pod = await Pod.start(scenario, flagsOf(scenario, instance, 'v2').run);
      // Restarted by its probe again and again, it waits for the broker.
      for (const says of ['undecided 1/0', 'undecided 2/0', 'undecided 3/0']) {
        await pod.startApplication();
        await pod.untilTrial(says);
        await pod.loseApplication();
      }
      // The broker is back; the node goes.
      await pod.startApplication();
      await tryToOpen(scenario);
      await pod.untilTrial('undecided 4/0');
      await pod.end();
    }
    expect(await restoreAs(scenario, 'orders-2', 'v2')).toEqual(all('warm'));
  });
});
