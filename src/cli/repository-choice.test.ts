import { expect, test } from 'vitest';
import { archivedFile, sampleEntry } from '../../test/support/sample-documents.ts';
import { seededRandom } from '../../test/support/seeded-random.ts';
import { SimulatedStore } from '../../test/support/simulated-store.ts';
import type { Event } from '../events/event.ts';
import type { Entry } from '../repository/document.ts';
import { listRepository, openRepository } from '../repository/repository.ts';
import { openWriter } from '../repository/writer.ts';
import { listStored } from './list.ts';
import type { RepositoryChoice } from './repository-choice.ts';
import { findSnapshot } from './show.ts';

const { signal } = new AbortController();
const context = { signal, emit: () => undefined, operands: [] };
const anything: RepositoryChoice = { applicationId: undefined, lineage: undefined };

interface Publication {
  readonly application?: string;
  readonly lineage?: string;
  readonly instance?: string;
  readonly snapshots: readonly (readonly Entry[])[];
}

/** Publishes as one epoch, a second after another; returns the names. */
async function publish(store: SimulatedStore, publication: Publication): Promise<readonly string[]> {
  const { application = 'orders', lineage = 'shop', instance = 'orders-0', snapshots } = publication;
  const repository = await openRepository(store, { application, lineage, notice: () => undefined, signal });
  const writer = await openWriter(repository, await listRepository(repository, { signal }), {
    instance,
    role: 'snapshot',
    program: 'warmstate 0.1.0',
    guarantee: 'at_least_once',
    maxAgeMs: 82_800_000,
    clock: store.clock,
    random: seededRandom(1),
    signal,
  });
  const names: string[] = [];
  for (const entries of snapshots) {
    await store.clock.sleep(1_000, signal); // Passes at once.
    const document = await writer.publish(writer.nextAttempt(), { entries, ahead: [], seen: new Map() }, { signal });
    names.push(`${document.epoch}/${document.n}`);
  }
  return names;
}

/** With one file of 15 bytes in the file layout, with none in the other. */
function entryOf(change: Partial<Entry> & { readonly task: string }): Entry {
  const files = change.layout === 'column-family' ? [] : [archivedFile(change.task, '.checkpoint')];
  return sampleEntry({ files, stores: [], ...change });
}

test('an empty store has no applications, and nothing to show', async () => {
  const store = new SimulatedStore();
  expect(await listStored(store, anything, context)).toEqual({ kind: 'applications', applications: [] });
  await expect(findSnapshot(store, anything, context)).rejects.toMatchObject({
    kind: 'missing',
    message: 'there is no snapshot to show: nothing is stored yet',
  });
});

test('without a name, all applications are listed with what they have', async () => {
  const store = new SimulatedStore();
  const startMs = store.clock.nowMs();
  await publish(store, { snapshots: [[], []] });
  await publish(store, { instance: 'orders-1', snapshots: [[]] });
  await publish(store, { application: 'payments', lineage: 'test', snapshots: [] });
  const orders = { application: 'orders', lineage: 'shop', instances: 2, snapshots: 3, newestMs: startMs + 3_000 };
  const payments = { application: 'payments', lineage: 'test', instances: 0, snapshots: 0, newestMs: undefined };
  expect(await listStored(store, anything, context)).toEqual({
    kind: 'applications',
    applications: [orders, payments],
  });
  expect(await listStored(store, { ...anything, lineage: 'test' }, context)).toEqual({
    kind: 'applications',
    applications: [payments],
  });
});

test('a named application is listed with its snapshots and the best entry of each task', async () => {
  const store = new SimulatedStore();
  const startMs = store.clock.nowMs();
  const older = entryOf({
    task: '0_0',
    offsets: new Map([['orders-agg-changelog-0', 5n]]),
    stateTimeMs: startMs - 9_000,
  });
  const newer = entryOf({
    task: '0_0',
    offsets: new Map([['orders-agg-changelog-0', 9n]]),
    stateTimeMs: startMs - 1_000,
  });
  const other = entryOf({ task: '10_0', quality: 'live', layout: 'column-family', stateTimeMs: startMs - 2_000 });
  const [first, second] = await publish(store, { snapshots: [[newer], [newer, other]] });
  const [third] = await publish(store, { instance: 'orders-1', snapshots: [[older]] });
  expect(await listStored(store, { ...anything, applicationId: 'orders' }, context)).toEqual({
    kind: 'application',
    application: 'orders',
    lineage: 'shop',
    fences: [],
    quarantines: [],
    snapshots: [
      { snapshot: first, instance: 'orders-0', timeMs: startMs + 1_000, contents: undefined },
      { snapshot: second, instance: 'orders-0', timeMs: startMs + 2_000, contents: { tasks: 2, sizeBytes: 15 } },
      { snapshot: third, instance: 'orders-1', timeMs: startMs + 3_000, contents: { tasks: 1, sizeBytes: 15 } },
    ],
    tasks: [
      { task: '0_0', quality: 'clean', layout: 'file', stateTimeMs: startMs - 1_000, sizeBytes: 15, snapshot: second },
      {
        task: '10_0',
        quality: 'live',
        layout: 'column-family',
        stateTimeMs: startMs - 2_000,
        sizeBytes: 0,
        snapshot: second,
      },
    ],
  });
});

test('an application that is not there is listed as empty', async () => {
  expect(await listStored(new SimulatedStore(), { ...anything, applicationId: 'orders' }, context)).toEqual({
    kind: 'application',
    application: 'orders',
    lineage: undefined,
    snapshots: [],
    tasks: [],
    fences: [],
    quarantines: [],
  });
});

test('where several repositories are meant, one must be named', async () => {
  const store = new SimulatedStore();
  const [name] = await publish(store, { snapshots: [[]] });
  await publish(store, { lineage: 'test', snapshots: [[]] });
  const orders = { ...anything, applicationId: 'orders' };
  const said = { kind: 'invalid', message: 'cannot choose among 2 repositories: orders in shop, orders in test' };
  await expect(listStored(store, orders, context)).rejects.toMatchObject(said);
  await expect(findSnapshot(store, anything, context)).rejects.toMatchObject(said);
  const { document } = await findSnapshot(store, { ...orders, lineage: 'shop' }, context);
  expect(`${document.epoch}/${document.n}`).toBe(name);
});

test('the newest snapshot is shown, or the named one', async () => {
  const store = new SimulatedStore();
  await publish(store, { instance: 'orders-1', snapshots: [[], []] });
  const [first, second] = await publish(store, { snapshots: [[], []] });
  const nameOf = async (operands: readonly string[]): Promise<string> => {
    const { document } = await findSnapshot(store, anything, { ...context, operands });
    return `${document.epoch}/${document.n}`;
  };
  expect([await nameOf([]), await nameOf([first ?? ''])]).toEqual([second, first]);
  await expect(nameOf([`${first}9`])).rejects.toMatchObject({ kind: 'missing' });
  await expect(nameOf(['newest'])).rejects.toMatchObject({ kind: 'invalid' });
});

test('who names a lineage in which nothing lies is told of those in which something does', async () => {
  const store = new SimulatedStore();
  await publish(store, { lineage: 'shop', snapshots: [[entryOf({ task: '0_0' })]] });
  const said: string[] = [];
  const emit = (event: Event): void => void (event.kind === 'notice' && said.push(event.message));
  const listed = await listStored(store, { applicationId: 'orders', lineage: 'default' }, { ...context, emit });
  expect(listed).toMatchObject({ lineage: 'default', snapshots: [] });
  await listStored(store, { applicationId: 'orders', lineage: 'shop' }, { ...context, emit });
  await listStored(store, { applicationId: 'bills', lineage: 'shop' }, { ...context, emit });
  expect(said).toEqual(['nothing is stored of orders under --lineage default, but under shop']);
});
