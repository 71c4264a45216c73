import { describe, expect, test } from 'vitest';
import { SAMPLE_EPOCH, SAMPLE_KEYS, SAMPLE_NAME, sampleEntry } from '../../test/support/sample-documents.ts';
import { seededRandom } from '../../test/support/seeded-random.ts';
import { SimulatedStore } from '../../test/support/simulated-store.ts';
import { bytesBody } from '../storage/object-store.ts';
import type { FenceReason, FenceScope } from './fence.ts';
import { openRepository, type Repository } from './repository.ts';
import {
  findDamaged,
  loadWithdrawals,
  NOTHING_WITHDRAWN,
  tellDamage,
  type Withdrawals,
  whyNotOffered,
  whyWithdrawn,
  writeFence,
} from './withdrawals.ts';

const { signal } = new AbortController();

interface World {
  readonly store: SimulatedStore;
  readonly repository: Repository;
  readonly notices: readonly string[];
}

async function openWorld(): Promise<World> {
  const store = new SimulatedStore({ wholeSeconds: true });
  const notices: string[] = [];
  const notice = (name: string): void => void notices.push(name);
  const repository = await openRepository(store, { application: 'orders', lineage: 'shop', notice, signal });
  return { store, repository, notices };
}

async function forgetAll({ repository, store }: World, change: Partial<FenceScope> = {}): Promise<Withdrawals> {
  const withdrawals = await loadWithdrawals(repository, { signal });
  const everything = { tasks: undefined, instance: undefined, layout: undefined, quality: undefined };
  const scope: FenceScope & { reason: FenceReason } = {
    reason: 'forgotten',
    beforeMs: store.clock.nowMs(),
    ...everything,
    ...change,
  };
  const how = { random: seededRandom(store.keys().length), program: 'warmstate test', withdrawals, signal };
  await writeFence(repository, scope, how);
  return loadWithdrawals(repository, { signal });
}

function offerOf(stateTimeMs: number) {
  return { ...sampleEntry({ stateTimeMs }), ...SAMPLE_NAME };
}

test('nothing is withdrawn from an empty repository', async () => {
  const { repository, store } = await openWorld();
  const withdrawals = await loadWithdrawals(repository, { signal });
  expect(whyWithdrawn(withdrawals, offerOf(0))).toBeUndefined();
  expect(withdrawals.storeTimeMs).toBe(store.clock.nowMs());
});

describe('a fence', () => {
  test('withdraws what is older, for whoever looks', async () => {
    const world = await openWorld();
    const nowMs = world.store.clock.nowMs();
    const withdrawals = await forgetAll(world);
    expect(whyWithdrawn(withdrawals, offerOf(nowMs - 1))?.reason).toBe('forgotten');
    expect(whyWithdrawn(withdrawals, offerOf(nowMs))).toBeUndefined();
  });

  test('is not put up again where one stands that covers it', async () => {
    const world = await openWorld();
    await forgetAll(world);
    const withdrawals = await forgetAll(world, { tasks: ['0_3'], beforeMs: 1 });
    expect(withdrawals.fences).toHaveLength(1);
    expect((await forgetAll(world, { beforeMs: world.store.clock.nowMs() + 1 })).fences).toHaveLength(2);
  });

  test.each([
    ['rotten', 'no JSON'],
    ['of a newer format', '{"format":2}'],
  ])('that is %s counts as the widest one of its time', async (_, text) => {
    const { store, repository, notices } = await openWorld();
    const key = SAMPLE_KEYS.fence({ timeMs: 5_000_000, token: 'a1b2c3d4' });
    await store.put(key, bytesBody(Buffer.from(text)), { signal });
    const withdrawals = await loadWithdrawals(repository, { signal });
    expect(whyWithdrawn(withdrawals, offerOf(5_000_000))?.reason).toBe('forgotten');
    expect(whyWithdrawn(withdrawals, offerOf(5_004_000))).toBeUndefined();
    expect(notices).toEqual(['withdrawal-unreadable']);
  });

  test('that cannot be fetched is no reason to go on without it', async () => {
    const world = await openWorld();
    await forgetAll(world);
    world.store.script({ operation: 'get', key: /fences/, kind: 'fail-before' });
    await expect(loadWithdrawals(world.repository, { signal })).rejects.toMatchObject({ kind: 'unavailable' });
  });
});

describe('a report of damage', () => {
  const key = SAMPLE_KEYS.data(SAMPLE_NAME, 2);
  const found = {
    objects: [{ key, problem: 'missing' }],
    entries: [{ task: '0_3', capturedBy: `${SAMPLE_EPOCH}/12` }],
  } as const;
  const how = { epoch: SAMPLE_EPOCH, program: 'warmstate test', withdrawals: NOTHING_WITHDRAWN, signal };

  test('withdraws the entries it names, and every one that needs what it names', async () => {
    const { repository } = await openWorld();
    await tellDamage(repository, found, how);
    const withdrawals = await loadWithdrawals(repository, { signal });
    expect(whyWithdrawn(withdrawals, offerOf(0))?.reason).toBe('damaged');
    expect(whyWithdrawn(withdrawals, { ...offerOf(0), task: '0_4' })).toBeUndefined();
    expect(findDamaged(withdrawals, sampleEntry())).toEqual({ path: 'rocksdb/agg/000012.sst', key });
    expect(findDamaged(withdrawals, sampleEntry({ stores: [] }))).toBeUndefined();
    // Captured by another snapshot, which leans on the same table: whoever found it knew nothing of it.
    const later = sampleEntry({ capturedBy: `${SAMPLE_EPOCH}/13` });
    expect(whyNotOffered(withdrawals, later, SAMPLE_EPOCH)?.reason).toBe('damaged');
    expect(whyNotOffered(withdrawals, { ...later, stores: [] }, SAMPLE_EPOCH)).toBeUndefined();
  });

  test('that cannot be read says nothing', async () => {
    const { store, repository, notices } = await openWorld();
    await store.put(SAMPLE_KEYS.damaged(SAMPLE_EPOCH), bytesBody(Buffer.from('{"format":2}')), { signal });
    expect((await loadWithdrawals(repository, { signal })).damagedObjects.size).toBe(0);
    expect(notices).toEqual(['withdrawal-unreadable']);
  });

  test('is read again only where it was written again', async () => {
    const { store, repository } = await openWorld();
    await tellDamage(repository, found, how);
    const first = await loadWithdrawals(repository, { signal });
    const gets = (): number => store.log.filter((line) => line.startsWith('get')).length;
    const before = gets();
    const second = await loadWithdrawals(repository, { signal, known: first });
    expect([gets(), second.damagedObjects.size]).toEqual([before, 1]);
    const more = { objects: [{ key: SAMPLE_KEYS.data(SAMPLE_NAME, 3), problem: 'wrong' }], entries: [] } as const;
    await tellDamage(repository, more, { ...how, withdrawals: second });
    expect((await loadWithdrawals(repository, { signal, known: second })).damagedObjects.size).toBe(2);
  });

  test('is not written where all of it was told already, by whomever', async () => {
    const { store, repository } = await openWorld();
    await tellDamage(repository, found, how);
    const withdrawals = await loadWithdrawals(repository, { signal });
    store.log.length = 0;
    await tellDamage(repository, found, { ...how, epoch: '1763854560999-verify-a1b2', withdrawals });
    expect(store.log).toEqual([]);
  });
});
