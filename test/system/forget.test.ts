import { glob, readdir, rm, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type Clock, systemClock, systemRandom } from '../../src/base/clock.ts';
import { Failure } from '../../src/base/failure.ts';
import { openRepository } from '../../src/repository/repository.ts';
import { NOTHING_WITHDRAWN, writeFence } from '../../src/repository/withdrawals.ts';
import { openFileStore } from '../../src/storage/file-store.ts';
import type { ObjectStore } from '../../src/storage/object-store.ts';
import { layOut } from '../support/recorded.ts';
import { Scenario } from '../support/scenario.ts';
import { type Ended, warmstate } from '../support/warmstate.ts';

const CLOSED = '3.9.2-alos-closed';
const TASKS = ['0_0', '0_1', '1_0', '1_1', 'global'];

interface Forgotten {
  readonly entries: readonly { readonly task: string }[];
}

function forget(scenario: Scenario, ...scope: readonly string[]): Promise<Ended> {
  const destination = ['--destination', `file://${scenario.repositoryDir}`];
  return warmstate(['forget', ...destination, '--output', 'json', ...scope]);
}

async function decisions(
  scenario: Scenario,
  choices: Parameters<Scenario['restore']>[0] = {},
): Promise<Record<string, string>> {
  const { tasks } = await scenario.restore(choices);
  return Object.fromEntries(
    tasks.map(({ task, decision, why }) => [task, why === undefined ? decision : `${decision}: ${why.reason}`]),
  );
}

function all(word: string): Record<string, string> {
  return Object.fromEntries(TASKS.map((task) => [task, word]));
}

describe('after forget --all', () => {
  test('nothing of before is restored, and what is captured afterwards is', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    const { code, stdout } = await forget(scenario, '--all');
    const { entries }: Forgotten = JSON.parse(stdout);
    expect([code, entries.map(({ task }) => task)]).toEqual([0, TASKS]);
    await scenario.loseDisk();
    expect(await decisions(scenario)).toEqual(all('cold: forgotten'));
  });

  test('a volume that wakes up with older state is emptied of it, whatever is selected', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    await forget(scenario, '--all');
    expect(await decisions(scenario, { selection: { kind: 'none' } })).toEqual(all('cold: forgotten'));
    expect(Object.keys(await scenario.hashes())).toEqual([]);
  });

  test('what the volume has reached since stays', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    await forget(scenario, '--all');
    await scenario.moveOffsets('0_0', 1);
    await stamp(scenario, '0_0', minutesAgo(-1));
    expect(await decisions(scenario, await openLater(scenario))).toMatchObject({
      '0_0': 'local',
      '0_1': 'cold: forgotten',
    });
  });

  test('a restored task that made no progress is as old as it was, whatever was stamped since (A2)', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    const snapshotTaken = new Date();
    await scenario.loseDisk();
    await scenario.restore();
    const store = await openFileStore(scenario.repositoryDir, { clock: systemClock, random: systemRandom });
    await fenceBefore(store, snapshotTaken);
    for (const [task, by] of [['0_0', 0] as const, ['0_1', 1] as const]) await scenario.moveOffsets(task, by);
    expect(await decisions(scenario)).toMatchObject({ '0_0': 'cold: forgotten', '0_1': 'local' });
  });

  test.each([
    ['stays, where the clock was right then', 0, 'local'],
    ['may be older by what the clock was fast then, and is replaced by what was stored (A5)', 10, 'warm'],
  ])('what a volume got %s', async (_name, fastMinutes, decision) => {
    await using scenario = await Scenario.open(CLOSED);
    const store = await openFileStore(scenario.repositoryDir, { clock: systemClock, random: systemRandom });
    await scenario.snapshot({ store });
    const clock: Clock = { ...systemClock, nowMs: () => Date.now() + fastMinutes * 60_000 };
    expect(await decisions(scenario, { store, clock })).toEqual(all('local'));
    const written = minutesAgo(55);
    for (const task of TASKS) await utimes(join(scenario.applicationDirectory, task, '.checkpoint'), written, written);
    await fenceBefore(store, minutesAgo(60));
    expect(await decisions(scenario, { store })).toEqual(all(decision));
  });

  test.each([
    ['may be of any moment: no fence spares it', minutesAgo(60), 'warm'],
    ['stays, where nothing is fenced', undefined, 'local'],
  ])('what a clock that nobody knows has stamped with a time to come %s (A5)', async (_name, fence, decision) => {
    await using scenario = await Scenario.open(CLOSED);
    const store = await openFileStore(scenario.repositoryDir, { clock: systemClock, random: systemRandom });
    await scenario.snapshot({ store });
    if (fence !== undefined) await fenceBefore(store, fence);
    for (const task of TASKS) {
      await scenario.moveOffsets(task, 1);
      await stamp(scenario, task, minutesAgo(-5));
    }
    expect(await decisions(scenario, { store, guarantee: 'at_least_once' })).toEqual(all(decision));
  });

  test('nor are tables of a time to come, beside a checkpoint that was written before them (A5)', async () => {
    await using scenario = await Scenario.open(CLOSED);
    const store = await openFileStore(scenario.repositoryDir, { clock: systemClock, random: systemRandom });
    await scenario.snapshot({ store });
    await fenceBefore(store, minutesAgo(60));
    await scenario.moveOffsets('0_0', 1);
    await stampTables(scenario, '0_0', minutesAgo(-104));
    for (const path of ['.', '.checkpoint'])
      await utimes(join(scenario.applicationDirectory, '0_0', path), minutesAgo(50), minutesAgo(50));
    expect(await decisions(scenario, { store, guarantee: 'at_least_once' })).toMatchObject({ '0_0': 'warm' });
  });

  test('nor where offsets lie inside them, and no other stamp tells (A5)', async () => {
    await using scenario = await Scenario.open('4.3.1-alos-closed');
    await scenario.snapshot();
    await scenario.loseDisk();
    await layOut('4.3.1-alos-closed', scenario.stateDir);
    await stampTables(scenario, '0_0', minutesAgo(-104));
    await utimes(join(scenario.applicationDirectory, '0_0'), minutesAgo(180), minutesAgo(180));
    await forget(scenario, '--all');
    expect(await decisions(scenario)).toMatchObject({ '0_0': 'cold: forgotten' });
    expect(await readdir(scenario.applicationDirectory)).not.toContain('0_0');
  });

  test('a restore that does not come to its end says what the clock was all the same (A5)', async () => {
    await using scenario = await Scenario.open(CLOSED);
    const store = await openFileStore(scenario.repositoryDir, { clock: systemClock, random: systemRandom });
    await scenario.snapshot({ store });
    const clock: Clock = { ...systemClock, nowMs: () => Date.now() + 10 * 60_000 };
    const broken: ObjectStore = {
      ...store,
      get: async (key, options) => {
        if (key.includes('/records/')) throw new Failure('unavailable', `cannot get ${key}`);
        return store.get(key, options);
      },
    };
    await expect(scenario.restore({ store: broken, clock })).rejects.toMatchObject({ kind: 'unavailable' });
    const written = minutesAgo(55);
    for (const task of TASKS) await utimes(join(scenario.applicationDirectory, task, '.checkpoint'), written, written);
    await fenceBefore(store, minutesAgo(60));
    expect(await decisions(scenario, { store })).toEqual(all('warm'));
  });
});

/** As if it had been written then: progress leaves a table as well. */
async function stamp(scenario: Scenario, task: string, time: Date): Promise<void> {
  await stampTables(scenario, task, time);
  await utimes(join(scenario.applicationDirectory, task, '.checkpoint'), time, time);
}

async function stampTables(scenario: Scenario, task: string, time: Date): Promise<void> {
  const directory = join(scenario.applicationDirectory, task);
  for await (const name of glob('**/*.sst', { cwd: directory })) await utimes(join(directory, name), time, time);
}

/** Two minutes from now, by the clocks of store and pod. */
async function openLater(scenario: Scenario): Promise<{ readonly store: ObjectStore; readonly clock: Clock }> {
  const clock: Clock = { ...systemClock, nowMs: () => Date.now() + 120_000 };
  return { store: await openFileStore(scenario.repositoryDir, { clock, random: systemRandom }), clock };
}

/** As `forget --all --before` where something older is stored. */
async function fenceBefore(store: ObjectStore, time: Date): Promise<void> {
  const { signal } = new AbortController();
  const where = { application: 'orders', lineage: 'test', notice: () => {}, signal };
  const withdrawals = { ...NOTHING_WITHDRAWN, storeTimeMs: Date.now() };
  const scope = { tasks: undefined, instance: undefined, layout: undefined, quality: undefined };
  const fence = { ...scope, beforeMs: time.getTime(), reason: 'forgotten' } as const;
  const how = { random: systemRandom, program: 'warmstate test', withdrawals, signal };
  await writeFence(await openRepository(store, where), fence, how);
}

function minutesAgo(minutes: number): Date {
  return new Date(Date.now() - minutes * 60_000);
}

test('a restore that is only looked at changes nothing of a fenced volume', async () => {
  await using scenario = await Scenario.open(CLOSED);
  await scenario.snapshot();
  await forget(scenario, '--task', '0_0');
  const before = await scenario.hashes();
  expect(await decisions(scenario, { isDryRun: true })).toMatchObject({ '0_0': 'cold: forgotten', '0_1': 'local' });
  expect(await scenario.hashes()).toEqual(before);
});

test('one task is forgotten alone, by name or by instance', async () => {
  await using scenario = await Scenario.open(CLOSED);
  await scenario.snapshot();
  expect((await forget(scenario, '--task', '0_1')).code).toBe(0);
  await scenario.loseDisk();
  expect(await decisions(scenario)).toEqual({ ...all('warm'), '0_1': 'cold: forgotten' });
  expect((await forget(scenario, '--instance', 'nobody')).code).toBe(3);
  expect((await forget(scenario, '--task', '9_9')).code).toBe(3);
  expect((await forget(scenario)).code).toBe(2);
});

test('the name of the pod that it is called in does not narrow what is forgotten', async () => {
  await using scenario = await Scenario.open(CLOSED);
  await scenario.snapshot();
  const env = { WARMSTATE_INSTANCE: 'another' };
  const line = ['forget', '--destination', `file://${scenario.repositoryDir}`, '--all', '--output', 'json'];
  const { stdout } = await warmstate(line, { env });
  const { entries }: Forgotten = JSON.parse(stdout);
  expect(entries).toHaveLength(TASKS.length);
});

describe('what is forgotten while a restore is under way', () => {
  /** Forgets once, just before the first bytes of a task are read. */
  async function openForgetful(scenario: Scenario, ...scope: readonly string[]): Promise<ObjectStore> {
    const store = await openFileStore(scenario.repositoryDir, { clock: systemClock, random: systemRandom });
    const once: { forgets?: Promise<Ended> } = {};
    return {
      put: (key, body, options) => store.put(key, body, options),
      get: async (key, options) => {
        if (key.includes('/data/')) await (once.forgets ??= forget(scenario, ...scope));
        return store.get(key, options);
      },
      head: (key, options) => store.head(key, options),
      list: (prefix, options) => store.list(prefix, options),
      delete: (key, options) => store.delete(key, options),
    };
  }

  test('is taken away again, and nothing else', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    await scenario.loseDisk();
    const store = await openForgetful(scenario, '--task', '0_0,global');
    expect(await decisions(scenario, { store })).toEqual({
      ...all('warm'),
      '0_0': 'cold: forgotten',
      global: 'cold: forgotten',
    });
    const left = new Set(Object.keys(await scenario.hashes()).map((path) => path.split('/')[1]));
    expect(left).toEqual(new Set(['0_1', '1_0', '1_1']));
    // Nor does anybody hear of it from this restore.
    expect(await decisions(scenario)).toEqual({ ...all('local'), '0_0': 'cold: forgotten', global: 'cold: forgotten' });
  });

  test('also from the volume, where it was to stay', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    await rm(join(scenario.applicationDirectory, '0_1'), { recursive: true });
    const store = await openForgetful(scenario, '--all');
    expect(await decisions(scenario, { store })).toEqual(all('cold: forgotten'));
    expect(await scenario.hashes()).toEqual({});
  });

  test('though as many fences are listed as before: a listing may be behind', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    await forget(scenario, '--task', '1_0');
    await scenario.loseDisk();
    const forgetful = await openForgetful(scenario, '--task', '0_0');
    const before = new Set<string>();
    const looks: string[] = [];
    const store: ObjectStore = {
      ...forgetful,
      list: async function* (prefix, options) {
        if (prefix.endsWith('/fences/')) looks.push(prefix);
        for await (const page of forgetful.list(prefix, options)) {
          const fences = page.objects.filter(({ key }) => key.includes('/fences/'));
          if (looks.length === 1) for (const { key } of fences) before.add(key);
          const isShown = ({ key }: { readonly key: string }): boolean => looks.length <= 1 || !before.has(key);
          yield { ...page, objects: page.objects.filter(isShown) };
        }
      },
    };
    const expected = { ...all('warm'), '0_0': 'cold: forgotten', '1_0': 'cold: forgotten' };
    expect(await decisions(scenario, { store })).toEqual(expected);
  });

  test('by the instance that offered it, whoever had captured it', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot({ instance: 'older' });
    await scenario.loseDisk();
    await scenario.restore({ instance: 'old' });
    await scenario.snapshot({ instance: 'old' });
    await scenario.loseDisk();
    const store = await openForgetful(scenario, '--instance', 'old');
    const outcome = await decisions(scenario, { instance: 'new', store, selection: { kind: 'all' } });
    expect(outcome).toEqual(all('cold: forgotten'));
  });
});
