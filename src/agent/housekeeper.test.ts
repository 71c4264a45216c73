import { expect, test } from 'vitest';
import { ManualClock } from '../../test/support/manual-clock.ts';
import {
  HOUR_MS,
  KEEP_WITHIN_MS,
  MAX_AGE_MS,
  RepositoryStory,
  type StoryWriter,
} from '../../test/support/repository-story.ts';
import { seededRandom } from '../../test/support/seeded-random.ts';
import { SimulatedStore } from '../../test/support/simulated-store.ts';
import { Failure } from '../base/failure.ts';
import type { Event } from '../events/event.ts';
import { findCollector } from '../repository/collector.ts';
import { loadWithdrawals } from '../repository/withdrawals.ts';
import { type HouseholdEpoch, Housekeeper } from './housekeeper.ts';

const { signal } = new AbortController();
const MINUTE_MS = 60_000;

/** A writer and the housekeeper beside it. */
class Household {
  readonly events: Event[] = [];
  readonly #story: RepositoryStory;
  readonly #writer: StoryWriter;
  readonly #housekeeper: Housekeeper;

  constructor(story: RepositoryStory, writer: StoryWriter, prunes = true) {
    const settings = { maxAgeMs: MAX_AGE_MS, keepWithinMs: KEEP_WITHIN_MS, program: 'warmstate test', prunes };
    this.#story = story;
    this.#writer = writer;
    this.#housekeeper = new Housekeeper(settings, {
      clock: story.store.clock,
      random: seededRandom(1),
      emit: (event) => void this.events.push(event),
    });
  }

  get pruned(): readonly Event[] {
    return this.events.filter(({ kind }) => kind === 'prune-finished');
  }

  /** Time goes by, minute by minute, with a sign of life each. */
  async live(ms: number): Promise<void> {
    const { store, repository } = this.#story;
    let storeTimeMs = store.clock.nowMs();
    const epoch: HouseholdEpoch = {
      name: this.#writer.writer.record.epoch,
      repository,
      lookAround: async () => void ({ storeTimeMs } = await loadWithdrawals(repository, { signal })),
      get storeTimeMs() {
        return storeTimeMs;
      },
    };
    for (let passedMs = 0; passedMs < ms; passedMs += 2 * MINUTE_MS) {
      await this.#story.pass(2 * MINUTE_MS);
      await this.#writer.renew();
      await this.#housekeeper.keepHouse(epoch, signal);
    }
  }
}

test('one instance alone collects soon after its start, then every six hours', async () => {
  const story = await RepositoryStory.open();
  const writer = await story.write('orders-0');
  const tables = await writer.publish(2);
  await story.pass(HOUR_MS);
  await writer.publish(1, { kept: tables.slice(1) });
  const household = new Household(story, writer);
  await household.live(8 * MINUTE_MS);
  expect(household.pruned).toHaveLength(0);
  await household.live(4 * MINUTE_MS);
  expect(household.pruned).toMatchObject([{ documents: 0, objects: 0 }]);
  await household.live(5 * HOUR_MS);
  expect(household.pruned).toHaveLength(1);
  await household.live(2 * HOUR_MS);
  expect(household.pruned).toMatchObject([
    {},
    { documents: 1, objects: 2, missing: 0, repositoryBytes: expect.any(Number) },
  ]);
});

test('of several, the one with the smallest epoch collects, and the next one when that is gone', async () => {
  const story = await RepositoryStory.open();
  const [first, second] = [await story.write('orders-0'), await story.write('orders-1')];
  expect(await findCollector(story.repository, { signal })).toBe(first.writer.record.epoch);
  const household = new Household(story, second);
  for (let minutes = 0; minutes < 90; minutes += 2) {
    await first.renew();
    await household.live(2 * MINUTE_MS);
  }
  expect(household.pruned).toHaveLength(0);
  await household.live(70 * MINUTE_MS);
  expect(household.pruned).toHaveLength(1);
});

test('whoever may not collect is passed over, so that one of the others does', async () => {
  const story = await RepositoryStory.open();
  const first = await story.write('orders-0', { collects: false });
  const second = await story.write('orders-1');
  expect(await findCollector(story.repository, { signal })).toBe(second.writer.record.epoch);
  const household = new Household(story, second);
  for (let minutes = 0; minutes < 20; minutes += 2) {
    await first.renew();
    await household.live(2 * MINUTE_MS);
  }
  expect(household.pruned).toHaveLength(1);
});

test('restores, sealed epochs, lives that were followed and those that are silent do not collect', async () => {
  const story = await RepositoryStory.open();
  expect(await findCollector(story.repository, { signal })).toBeUndefined();
  await story.write('orders-9', { role: 'restore' });
  await (await story.write('orders-8')).renew({ state: 'sealed' });
  await story.write('orders-7');
  await story.write('orders-7');
  const later = story.keys('records').findLast((key) => key.includes('orders-7'));
  expect(`${await findCollector(story.repository, { signal })}.json`).toBe(later);
  // A snapshot that is taken beside a run does not follow it.
  await story.write('orders-7', { role: 'snapshot' });
  expect(`${await findCollector(story.repository, { signal })}.json`).toBe(later);
  await story.pass(4 * MINUTE_MS);
  expect(await findCollector(story.repository, { signal })).toBeUndefined();
});

test('who collects is found without reading the records of those that are silent', async () => {
  const story = await RepositoryStory.open();
  for (const instance of ['orders-0', 'orders-1', 'orders-2']) await story.write(instance);
  await story.pass(4 * MINUTE_MS);
  const { writer } = await story.write('orders-3');
  story.store.log.length = 0;
  expect(await findCollector(story.repository, { signal })).toBe(writer.record.epoch);
  expect(story.store.log).toEqual(['list orders/shop/records/', `get orders/shop/records/${writer.record.epoch}.json`]);
});

test('with --prune off nothing is deleted, not even asked for', async () => {
  const story = await RepositoryStory.open();
  const writer = await story.write('orders-0');
  await writer.publish(1);
  await writer.publish(1);
  const household = new Household(story, writer, false);
  story.store.log.length = 0;
  await household.live(8 * HOUR_MS);
  expect(story.store.log.filter((line) => !line.includes('/records/'))).toEqual([]);
});

test('a store that refuses is told once an hour, and nothing comes of it', async () => {
  const story = await RepositoryStory.open();
  const writer = await story.write('orders-0');
  await writer.publish(1);
  const household = new Household(story, writer);
  story.store.script({ operation: 'delete', kind: 'fail-before', times: Number.POSITIVE_INFINITY });
  await household.live(150 * MINUTE_MS);
  expect(household.events.map((event) => event.kind === 'notice' && event.name)).toEqual([
    'prune-failed',
    'prune-failed',
    'prune-failed',
  ]);
});

test('a role that may not delete is told so, and what to do', async () => {
  const story = await RepositoryStory.open();
  const writer = await story.write('orders-0');
  await writer.publish(1);
  await writer.publish(1);
  await story.pass(KEEP_WITHIN_MS + HOUR_MS);
  const failure = new Failure('unavailable', 'cannot delete orders/shop/snapshots/1: access denied', {
    detail: 'denied',
  });
  story.store.script({ operation: 'delete', kind: 'fail-before', failure, times: Number.POSITIVE_INFINITY });
  const household = new Household(story, writer);
  await household.live(12 * MINUTE_MS);
  expect(household.events).toMatchObject([
    {
      kind: 'notice',
      name: 'prune-failed',
      level: 'warn',
      message:
        'cannot remove what retention lets go: cannot delete orders/shop/snapshots/1: access denied; ' +
        'grant the right to delete, or set --prune off: then another does it',
    },
  ]);
  expect(story.keys('snapshots')).toHaveLength(2);
});

test('nothing is removed on the day that the clock of the store leaps', async () => {
  const clock = new ManualClock({ sleepsPass: true });
  const story = await RepositoryStory.open(new SimulatedStore({ clock }));
  const writer = await story.write('orders-0');
  await writer.publish(1);
  const household = new Household(story, writer);
  await household.live(12 * MINUTE_MS);
  await writer.publish(1);
  clock.jump(30 * HOUR_MS);
  await writer.renew();
  await household.live(7 * HOUR_MS - 30 * MINUTE_MS);
  expect(household.events.map((event) => (event.kind === 'notice' ? event.name : event.kind))).toEqual([
    'prune-finished',
    'prune-failed',
  ]);
  expect(story.keys('snapshots')).toHaveLength(2);
});

test('what is missing is told loudly', async () => {
  const story = await RepositoryStory.open();
  const writer = await story.write('orders-0');
  await writer.publish(1);
  const [lost = ''] = story.keys('data');
  await story.store.delete(`orders/shop/data/${lost}`, { signal });
  const household = new Household(story, writer);
  await household.live(12 * MINUTE_MS);
  expect(household.events).toMatchObject([
    { kind: 'prune-finished', missing: 1 },
    { kind: 'notice', name: 'objects-missing', level: 'error', facts: { objects: 1 } },
  ]);
  expect(story.keys('damaged')).toEqual([`${writer.writer.record.epoch}.json`]);
});
