import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { holdLock } from '../support/held-lock.ts';
import { layOut } from '../support/recorded.ts';
import { hashesOf, Scenario } from '../support/scenario.ts';
import { Sidecar } from '../support/sidecar.ts';
import { type Ended, warmstate } from '../support/warmstate.ts';

const CLOSED = '3.9.2-alos-closed';
const HELD: Readonly<Record<string, readonly string[]>> = { 'old-0': ['0_0', '0_1'], 'old-1': ['1_0', '1_1'] };

/** A repository of two instances that are gone. */
async function openRepository(): Promise<Scenario> {
  const scenario = await Scenario.open();
  for (const [instance, tasks] of Object.entries(HELD)) {
    await layOut(CLOSED, scenario.stateDir);
    for (const task of Object.values(HELD).flat()) {
      if (!tasks.includes(task)) await rm(join(scenario.applicationDirectory, task), { recursive: true });
    }
    await scenario.snapshot({ instance });
    await scenario.loseDisk();
  }
  return scenario;
}

/** The program itself, on a volume of its own; what it made warm. */
async function restoreAs(scenario: Scenario, instance: string): Promise<readonly string[]> {
  const stateDir = join(scenario.path, instance);
  await mkdir(stateDir);
  const own = ['--instance', instance, '--state-dir', stateDir, '--replicas', '2'];
  const { code, stdout, stderr } = await warmstate(['restore', ...own], { env: scenario.environment });
  expect([code, stderr.includes('"level":"error"')]).toEqual([0, false]);
  const { tasks }: { readonly tasks: readonly { readonly task: string; readonly decision: string }[] } =
    JSON.parse(stdout);
  return tasks.flatMap(({ task, decision }) => (decision === 'warm' ? [task] : []));
}

test('two pods with new names that start together divide what two others had', async () => {
  await using scenario = await openRepository();
  const [one, other] = await Promise.all([restoreAs(scenario, 'new-0'), restoreAs(scenario, 'new-1')]);
  expect(new Set([...one, ...other])).toEqual(new Set(['0_0', '0_1', '1_0', '1_1', 'global']));
  for (const tasks of [one, other]) expect(tasks).toEqual(expect.arrayContaining(['global']));
  expect(Math.min(one.length, other.length)).toBe(3);
});

test('a pod gets back what it had under its name, and the next one the rest', async () => {
  await using scenario = await openRepository();
  expect(await restoreAs(scenario, 'old-1')).toEqual(['1_0', '1_1', 'global']);
  expect(await restoreAs(scenario, 'new-0')).toEqual(['0_0', '0_1', 'global']);
  // Nothing is left but what others are restoring: a copy.
  expect(await restoreAs(scenario, 'new-1')).toHaveLength(3);
});

describe('beside an instance that is finishing', () => {
  interface Restored {
    readonly tasks: readonly { readonly task: string; readonly decision: string; readonly snapshot: string | null }[];
  }

  /** Its sidecar was told to end and has said so; its application holds on. */
  async function finish(scenario: Scenario): Promise<Sidecar> {
    const sidecar = Sidecar.start([...scenario.flags, '--interval', '1h']);
    await sidecar.logged('snapshot-finished', ({ result }) => result === 'published');
    sidecar.signal('SIGTERM');
    await sidecar.until('its record says so', async () =>
      (await records(scenario)).find(({ state }) => state === 'finishing'),
    );
    return sidecar;
  }

  async function restoreBeside(scenario: Scenario, waitForFinal: string): Promise<Ended> {
    const stateDir = join(scenario.path, 'new-0');
    await mkdir(stateDir);
    const own = ['--instance', 'new-0', '--state-dir', stateDir, '--wait-for-final', waitForFinal];
    return warmstate(['restore', ...own], { env: scenario.environment });
  }

  function snapshotsOf({ stdout }: Ended): readonly (string | undefined)[] {
    const { tasks }: Restored = JSON.parse(stdout);
    return [
      ...new Set(tasks.map(({ decision, snapshot }) => (decision === 'warm' ? snapshot?.split('/')[1] : decision))),
    ];
  }

  test('a restore waits for its last snapshot, and takes that', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await using application = await holdLock(scenario.applicationDirectory);
    await using sidecar = await finish(scenario);
    const restoring = restoreBeside(scenario, '2m');
    await sidecar.until('somebody restores', async () =>
      (await records(scenario)).find(({ role }) => role === 'restore'),
    );
    for (const task of ['0_0', '0_1', '1_0', '1_1', 'global']) await scenario.moveOffsets(task, 7);
    const hashes = await scenario.hashes();
    await application.release();
    expect(await sidecar.exitCode()).toBe(0);
    const ended = await restoring;
    expect([ended.code, ended.stderr.includes('"event":"final-awaited"'), snapshotsOf(ended)]).toEqual([
      0,
      true,
      ['2'],
    ]);
    expect(await hashesOf(join(scenario.path, 'new-0'))).toEqual(hashes);
  });

  test('a restore gives up after its time, and goes on with what there is', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await using application = await holdLock(scenario.applicationDirectory);
    await using sidecar = await finish(scenario);
    const ended = await restoreBeside(scenario, '2s');
    expect([ended.code, ended.stderr.includes('"event":"final-awaited"'), snapshotsOf(ended)]).toEqual([
      0,
      true,
      ['1'],
    ]);
    expect(sidecar.isAlive).toBe(true);
    await application.release();
    expect(await sidecar.exitCode()).toBe(0);
  });

  async function records(scenario: Scenario): Promise<readonly { readonly role: string; readonly state: string }[]> {
    const paths = await scenario.objects('records');
    return Promise.all(paths.map(async (path) => JSON.parse(await readFile(path, 'utf8'))));
  }
});
