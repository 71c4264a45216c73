import { describe, expect, test } from 'vitest';
import { archivedFile, sampleEntry } from '../../test/support/sample-documents.ts';
import { seededRandom } from '../../test/support/seeded-random.ts';
import { SimulatedStore } from '../../test/support/simulated-store.ts';
import { listRepository, openRepository } from '../repository/repository.ts';
import { loadWithdrawals } from '../repository/withdrawals.ts';
import { openWriter } from '../repository/writer.ts';
import { type ForgetResult, type ForgetSettings, forget, forgetJson, renderForget } from './forget.ts';

const { signal } = new AbortController();
const NOTHING: ForgetSettings = {
  applicationId: 'orders',
  lineage: 'shop',
  all: false,
  task: undefined,
  instance: undefined,
  layout: undefined,
  before: undefined,
  dryRun: false,
};
const HOUR_MS = 3_600_000;

/** Two instances with two tasks each, the state of orders-1 an hour older. */
async function openStored(): Promise<SimulatedStore> {
  const store = new SimulatedStore();
  const location = { application: 'orders', lineage: 'shop' };
  const repository = await openRepository(store, { ...location, notice: () => undefined, signal });
  for (const [age, instance] of ['orders-0', 'orders-1'].entries()) {
    const listing = await listRepository(repository, { signal });
    const writer = await openWriter(repository, listing, {
      instance,
      role: 'run',
      program: 'warmstate test',
      guarantee: 'at_least_once',
      maxAgeMs: 23 * HOUR_MS,
      clock: store.clock,
      random: seededRandom(age),
      signal,
    });
    const attempt = writer.nextAttempt();
    const stateTimeMs = store.clock.nowMs() - age * HOUR_MS - 1000;
    const capturedBy = `${attempt.name.epoch}/${attempt.name.n}`;
    const entries = ['0_0', '0_1'].map((task) =>
      sampleEntry({ task, stateTimeMs, capturedBy, files: [archivedFile(task, '.checkpoint')], stores: [] }),
    );
    await writer.publish(attempt, { entries, ahead: [], seen: new Map() }, { signal });
  }
  return store;
}

async function forgetIn(store: SimulatedStore, settings: Partial<ForgetSettings>): Promise<ForgetResult> {
  const context = {
    signal,
    emit: () => undefined,
    random: seededRandom(store.keys().length),
    program: 'warmstate test',
  };
  return forget(store, { ...NOTHING, ...settings }, context);
}

async function fencesIn(store: SimulatedStore): Promise<number> {
  const location = { application: 'orders', lineage: 'shop' };
  const repository = await openRepository(store, { ...location, notice: () => undefined, signal });
  return (await loadWithdrawals(repository, { signal })).fences.length;
}

function said({ entries }: ForgetResult): readonly string[] {
  return entries.map(({ task, snapshot }) => `${task} ${/orders-\d/.exec(snapshot)?.[0]}`);
}

describe('forget', () => {
  test.each<[string, Partial<ForgetSettings>, readonly string[]]>([
    ['--all', { all: true }, ['0_0 orders-0', '0_0 orders-1', '0_1 orders-0', '0_1 orders-1']],
    ['--task', { task: ['0_1'] }, ['0_1 orders-0', '0_1 orders-1']],
    ['--instance', { instance: 'orders-1' }, ['0_0 orders-1', '0_1 orders-1']],
    ['--layout', { layout: 'file', task: ['0_0'] }, ['0_0 orders-0', '0_0 orders-1']],
    ['--before', { before: 1_750_000_000_000 - HOUR_MS / 2 }, ['0_0 orders-1', '0_1 orders-1']],
  ])('%s withdraws what is in its scope, and says what that was', async (_, settings, expected) => {
    const store = await openStored();
    const result = await forgetIn(store, settings);
    expect(said(result)).toEqual(expected);
    expect(await fencesIn(store)).toBe(1);
    // Again it is nothing new.
    expect(said(await forgetIn(store, settings))).toEqual([]);
  });

  test('with --dry-run only says what it would withdraw', async () => {
    const store = await openStored();
    const result = await forgetIn(store, { task: ['0_1'], dryRun: true });
    expect(said(result)).toEqual(['0_1 orders-0', '0_1 orders-1']);
    expect(await fencesIn(store)).toBe(0);
    expect(forgetJson(result)).toMatchObject({ fence: { time: null, tasks: ['0_1'], instance: null } });
    const text = renderForget(result, { columns: 200, hasColour: false, nowMs: store.clock.nowMs() });
    expect(text).toMatch(/\nwould be forgotten: 0_1 with a state from before .+, 2 stored states\n$/);
  });

  test.each<[string, Partial<ForgetSettings>]>([
    ['a task', { task: ['7_7'] }],
    ['an instance', { instance: 'orders-9' }],
    ['a layout', { layout: 'column-family' }],
    ['a time', { before: 1_000 }],
    ['an application without --all', { applicationId: 'order', before: 1_000 }],
    ['an application, with --dry-run', { applicationId: 'order', all: true, dryRun: true }],
  ])('says that there is nothing of %s that is not there, and puts up no fence', async (_, settings) => {
    const store = await openStored();
    await expect(forgetIn(store, settings)).rejects.toMatchObject({ kind: 'missing' });
    expect(store.keys().filter((key) => key.includes('/fences/'))).toEqual([]);
  });

  test('reaches further than now by as much as a clock is off unnoticed (A5), and by a second of the store', async () => {
    const store = await openStored();
    const { fence } = await forgetIn(store, { all: true });
    expect(fence.beforeMs - store.clock.nowMs()).toBe(4000);
  });

  test('of the whole application fences also where all was forgotten already: volumes may wake up', async () => {
    const store = await openStored();
    await forgetIn(store, { all: true });
    await store.clock.sleep(HOUR_MS, signal);
    await forgetIn(store, { all: true });
    expect(await fencesIn(store)).toBe(2);
  });

  test('of the whole application fences also where all that was stored is long collected', async () => {
    const store = await openStored();
    for (const key of store.keys()) if (!key.endsWith('/repository.json')) await store.delete(key, { signal });
    expect(said(await forgetIn(store, { all: true }))).toEqual([]);
    expect(await fencesIn(store)).toBe(1);
  });

  test('of a whole application of which nothing was ever stored fences its volumes, and says that the name may be wrong', async () => {
    const store = new SimulatedStore();
    const forgotten = forgetIn(store, { all: true });
    await expect(forgotten).rejects.toMatchObject({
      kind: 'missing',
      message: 'nothing was ever stored of orders in shop: a fence is up for its volumes only',
    });
    expect(await fencesIn(store)).toBe(1);
  });

  test('without a name, where nothing is stored, puts up no fence', async () => {
    const store = new SimulatedStore();
    const forgotten = forgetIn(store, { all: true, applicationId: undefined });
    await expect(forgotten).rejects.toMatchObject({ kind: 'missing' });
    expect(store.keys()).toEqual([]);
  });

  test.each<[string, Partial<ForgetSettings>]>([
    ['nothing', {}],
    ['all and a part', { all: true, task: ['0_0'] }],
    ['the future', { before: 9_000_000_000_000 }],
  ])('of %s is refused', async (_, settings) => {
    await expect(forgetIn(await openStored(), settings)).rejects.toMatchObject({ kind: 'invalid' });
  });
});
