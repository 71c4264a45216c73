import { expect, test } from 'vitest';
import { HOUR_MS, KEEP_WITHIN_MS, MAX_AGE_MS, RepositoryStory } from '../../test/support/repository-story.ts';
import { seededRandom } from '../../test/support/seeded-random.ts';
import { SimulatedStore } from '../../test/support/simulated-store.ts';
import type { Collection } from '../repository/collection.ts';
import { prune, pruneExitCode, pruneJson, renderPrune } from './prune.ts';

const { signal } = new AbortController();
const context = { signal, emit: () => undefined, random: seededRandom(1), program: 'warmstate test' };
const settings = {
  applicationId: undefined,
  lineage: undefined,
  maxAge: MAX_AGE_MS,
  keepWithin: KEEP_WITHIN_MS,
  dryRun: false,
};

const collection: Collection = {
  documents: 2,
  objects: 7,
  bytes: 2 ** 20,
  missing: ['orders/shop/data/1763854560123-orders-0-a1b2/00000012-000000'],
  kept: new Map([
    ['newest_alive', 1],
    ['referenced', 12],
  ]),
  repositoryBytes: 2 ** 24,
};

test('where nothing is stored nothing is to be done', async () => {
  const nothing = await prune(new SimulatedStore(), settings, context);
  expect(pruneJson(nothing)).toEqual({ documents: 0, objects: 0, bytes: 0, missing: [], kept: {} });
  expect(pruneExitCode(nothing)).toBe(0);
});

test('the only repository is pruned, by what its writers say, or by longer settings of this call', async () => {
  const story = await RepositoryStory.open();
  const writer = await story.write('orders-0');
  await writer.publish(1);
  await writer.publish(1);
  await story.pass(KEEP_WITHIN_MS + HOUR_MS);
  expect(await prune(story.store, { ...settings, keepWithin: KEEP_WITHIN_MS + 2 * HOUR_MS }, context)).toMatchObject({
    documents: 0,
  });
  expect(await prune(story.store, { ...settings, keepWithin: HOUR_MS }, context)).toMatchObject({
    documents: 1,
    objects: 2,
  });
});

test('what is missing is told under an epoch of its own, and is the exit code', async () => {
  const story = await RepositoryStory.open();
  await (await story.write('orders-0')).publish(1);
  const [lost = ''] = story.keys('data');
  await story.store.delete(`orders/shop/data/${lost}`, { signal });
  expect(pruneExitCode(await prune(story.store, settings, context))).toBe(7);
  expect(story.keys('damaged')).toEqual([expect.stringMatching(/^\d{13}-prune-[a-z0-9]{4}\.json$/)]);
});

test('what goes, what stays and why is printed', () => {
  const look = { columns: 120, hasColour: false, nowMs: 0 };
  expect(renderPrune(collection, look, { isDryRun: true })).toBe(`\
STAYS  REASON        WHICH IS
    1  newest_alive  the newest snapshot of an instance that lives
   12  referenced    an object that a snapshot which stays needs

missing: orders/shop/data/1763854560123-orders-0-a1b2/00000012-000000
would be removed: 2 snapshots and 7 objects, 1.0 MiB; 16 MiB stay
`);
  expect(renderPrune(collection, look, { isDryRun: false })).toContain('\nremoved: 2 snapshots');
  expect(pruneJson(collection)).toMatchObject({ kept: { newest_alive: 1, referenced: 12 } });
});
