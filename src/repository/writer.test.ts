import { describe, expect, test } from 'vitest';
import { ManualClock } from '../../test/support/manual-clock.ts';
import { archivedFile, sampleEntry } from '../../test/support/sample-documents.ts';
import { seededRandom } from '../../test/support/seeded-random.ts';
import { SimulatedStore } from '../../test/support/simulated-store.ts';
import { isFailure } from '../base/failure.ts';
import { bytesBody } from '../storage/object-store.ts';
import type { Entry, StoredFile } from './document.ts';
import { formatSnapshotName, parseEpoch, type SnapshotName } from './keys.ts';
import { decodeRecord } from './record.ts';
import {
  listRepository,
  loadBase,
  loadDocument,
  type Notice,
  newestSnapshots,
  openRepository,
  type Repository,
} from './repository.ts';
import { type Attempt, openWriter, type RepositoryWriter, type WriterOptions } from './writer.ts';

const signal = new AbortController().signal;

interface World {
  readonly store: SimulatedStore;
  readonly repository: Repository;
  readonly clock: ManualClock;
  readonly notices: readonly string[];
  readonly open: (change?: Partial<WriterOptions>) => Promise<RepositoryWriter>;
}

/** A pod whose clock is ten minutes ahead of the store's. */
async function openWorld(): Promise<World> {
  const store = new SimulatedStore();
  const clock = new ManualClock({ startMs: store.clock.nowMs() + 600_000 });
  const notices: string[] = [];
  const notice: Notice = (name, message) => void notices.push(`${name}: ${message}`);
  const repository = await openRepository(store, { application: 'orders', lineage: 'shop', notice, signal });
  let seed = 0;
  const open = async (change: Partial<WriterOptions> = {}): Promise<RepositoryWriter> =>
    openWriter(repository, await listRepository(repository, { signal }), {
      instance: 'orders-0',
      role: 'run',
      program: 'warmstate 0.1.0',
      guarantee: 'at_least_once',
      maxAgeMs: 82_800_000,
      clock,
      random: seededRandom(seed++),
      signal,
      ...change,
    });
  return { store, repository, clock, notices, open };
}

/** Sends one object and an archive, and gives the entry that refers to them. */
async function send(store: SimulatedStore, attempt: Attempt, offset: bigint): Promise<Entry> {
  const [data, archive] = [attempt.nextDataKey(), attempt.nextArchiveKey()];
  for (const key of [data, archive]) await store.put(key, bytesBody(Buffer.from('12345')), { signal });
  const inArchive = (path: string): StoredFile => ({
    ...archivedFile('0_3', path),
    objects: [{ kind: 'archived', key: archive, storedBytes: 5, contentBytes: 99, entry: `0_3/${path}` }],
  });
  const sha256 = '0'.repeat(64);
  const table: StoredFile = {
    path: 'rocksdb/agg/000012.sst',
    sizeBytes: 5,
    sha256,
    uid: undefined,
    objects: [{ kind: 'stretch', key: data, sizeBytes: 5, storedBytes: 5, sha256, encoding: 'none' }],
  };
  return sampleEntry({
    offsets: new Map([['orders-agg-changelog-3', offset]]),
    capturedBy: `${attempt.name.epoch}/${attempt.name.n}`,
    files: [inArchive('.checkpoint')],
    stores: [{ name: 'agg', kind: 'rocksdb', rocksdbVersion: undefined, columnFamilies: ['default'], files: [table] }],
  });
}

async function snapshot({ store }: World, writer: RepositoryWriter, offset: bigint): Promise<void> {
  const attempt = writer.nextAttempt();
  await writer.publish(
    attempt,
    { entries: [await send(store, attempt, offset)], ahead: [], seen: new Map() },
    { signal },
  );
}

/** The offset that a restore would find, after every object that it needs was found too. */
async function offeredOffset({ store, repository }: World): Promise<bigint | undefined> {
  const [newest] = await newestSnapshots(repository, await listRepository(repository, { signal }), { signal });
  if (newest === undefined) return undefined;
  const { entries } = await loadDocument(repository, newest.name, { signal });
  const keys = new Set(store.keys());
  const needed = entries.flatMap((entry) => [...entry.files, ...entry.stores.flatMap((each) => each.files)]);
  expect(needed.flatMap((file) => file.objects).filter(({ key }) => !keys.has(key))).toEqual([]);
  expect(newest.tasks.map(({ offsets }) => offsets)).toEqual(entries.map(({ offsets }) => offsets));
  return entries[0]?.offsets.get('orders-agg-changelog-3');
}

describe('publishing', () => {
  test('goes in this order: mark, record; data, archive, document, record', async () => {
    const world = await openWorld();
    const writer = await world.open();
    await snapshot(world, writer, 1n);
    await snapshot(world, writer, 2n);
    const { epoch } = writer.record;
    expect(world.store.log).toEqual([
      'get orders/shop/repository.json',
      'list orders/shop/records/',
      'list orders/shop/snapshots/',
      'head orders/shop/repository.json',
      'put orders/shop/repository.json',
      `put orders/shop/records/${epoch}.json`,
      `put orders/shop/data/${epoch}/00000001-000000`,
      `put orders/shop/data/${epoch}/00000001-000001.tar.zst`,
      `put orders/shop/snapshots/${epoch}/00000001.json.zst`,
      `put orders/shop/records/${epoch}.json`,
      `put orders/shop/data/${epoch}/00000002-000000`,
      `put orders/shop/data/${epoch}/00000002-000001.tar.zst`,
      `put orders/shop/snapshots/${epoch}/00000002.json.zst`,
      `put orders/shop/records/${epoch}.json`,
    ]);
  });

  const STEPS = 4; // Of one snapshot: data, archive, document, record.
  const steps = Array.from({ length: STEPS + 1 }, (_, step) => step);
  test.each(steps)('that is killed before step %i leaves the snapshot before, or the new one, whole', async (step) => {
    const world = await openWorld();
    const writer = await world.open();
    await snapshot(world, writer, 1n);
    world.store.script({ kind: 'fail-before', skip: step, times: Number.POSITIVE_INFINITY });
    await snapshot(world, writer, 2n).catch(() => undefined);
    world.store.heal();
    expect(await offeredOffset(world)).toBe(step < 3 ? 1n : 2n);
  });

  test.each(steps)('that is killed after step %i, before its reply, leaves one of them whole', async (step) => {
    const world = await openWorld();
    const writer = await world.open();
    await snapshot(world, writer, 1n);
    world.store.script({ kind: 'fail-after', skip: step });
    world.store.script({ kind: 'fail-before', skip: step, times: Number.POSITIVE_INFINITY });
    await snapshot(world, writer, 2n).catch(() => undefined);
    world.store.heal();
    expect(await offeredOffset(world)).toBe(step < 2 ? 1n : 2n);
  });

  test('for the first time offers nothing until the document is there', async () => {
    for (const step of steps) {
      const world = await openWorld();
      const writer = await world.open();
      world.store.script({ kind: 'fail-before', skip: step, times: Number.POSITIVE_INFINITY });
      await snapshot(world, writer, 1n).catch(() => undefined);
      world.store.heal();
      expect(await offeredOffset(world)).toBe(step < 3 ? undefined : 1n);
    }
  });

  test('spends the number of a document whose put was rejected, though it may yet appear', async () => {
    const world = await openWorld();
    const writer = await world.open();
    await snapshot(world, writer, 1n);
    world.store.script({ kind: 'fail-after', operation: 'put', key: /snapshots/ });
    await expect(snapshot(world, writer, 2n)).rejects.toMatchObject({ kind: 'unavailable' });
    expect(writer.record.newest).toBe(1);
    await snapshot(world, writer, 3n);
    expect(writer.record.newest).toBe(3);
    expect(await offeredOffset(world)).toBe(3n);
  });

  test('takes an attempt once, and only the newest', async () => {
    const world = await openWorld();
    const writer = await world.open();
    const contents = { entries: [], ahead: [], seen: new Map() };
    const first = writer.nextAttempt();
    const second = writer.nextAttempt();
    expect([first.name.n, second.name.n]).toEqual([1, 2]);
    const bug = `bug: attempt ${writer.record.epoch}`;
    await expect(writer.publish(first, contents, { signal })).rejects.toThrow(`${bug}/1 is spent`);
    await writer.publish(second, contents, { signal });
    await expect(writer.publish(second, contents, { signal })).rejects.toThrow(`${bug}/2 is spent`);
  });

  test('is done once the document is there; a record that fails is noticed and brought by the next renewal', async () => {
    const world = await openWorld();
    const writer = await world.open();
    world.store.script({ kind: 'fail-before', operation: 'put', key: /records/ });
    await snapshot(world, writer, 1n);
    expect(world.notices).toEqual(['record-not-written: the record of a published snapshot could not be written yet']);
    await writer.amendRecord({}, { signal });
    expect(storedRecord(world, writer)).toMatchObject({ newest: 1, tasks: [{ task: '0_3' }] });
  });

  test('ends with the reason of the signal where that aborts before the record is written', async () => {
    const world = await openWorld();
    const writer = await world.open();
    const controller = new AbortController();
    const attempt = writer.nextAttempt();
    const put = world.store.put.bind(world.store);
    world.store.put = async (key, body, options) => {
      if (key.includes('/records/')) controller.abort(new Error('stopped'));
      return put(key, body, options);
    };
    const published = writer.publish(
      attempt,
      { entries: [], ahead: [], seen: new Map() },
      { signal: controller.signal },
    );
    await expect(published).rejects.toThrow('stopped');
  });

  test('can change the record in the same stroke', async () => {
    const world = await openWorld();
    const writer = await world.open();
    const contents = { entries: [], ahead: [], seen: new Map() };
    await writer.publish(writer.nextAttempt(), contents, { signal, record: { state: 'sealed' } });
    expect(storedRecord(world, writer)).toMatchObject({ newest: 1, state: 'sealed' });
    expect(world.store.log.filter((line) => line.startsWith('put') && line.includes('/records/'))).toHaveLength(2);
  });

  test('stamps documents by the clock of the store', async () => {
    const world = await openWorld();
    const writer = await world.open();
    const attempt = writer.nextAttempt();
    const document = await writer.publish(attempt, { entries: [], ahead: [], seen: new Map() }, { signal });
    expect(document.timeMs).toBe(world.store.clock.nowMs());
    expect(writer.toStoreTimeMs(world.clock.nowMs())).toBe(world.store.clock.nowMs());
    expect(await loadDocument(world.repository, attempt.name, { signal })).toEqual(document);
  });

  test('learns the clock of the store anew with every renewal', async () => {
    const world = await openWorld();
    const writer = await world.open();
    world.clock.jump(3_600_000);
    await writer.amendRecord({}, { signal });
    expect(writer.toStoreTimeMs(world.clock.nowMs())).toBe(world.store.clock.nowMs());
  });
});

describe('a snapshot that is withdrawn (G2)', () => {
  const KEEP_WITHIN_MS = 3_600_000;

  /** `passedMs` after something was sent for it. */
  async function publishAfter(
    { store, clock }: World,
    writer: RepositoryWriter,
    { passedMs, documents = [] }: { readonly passedMs: number; readonly documents?: readonly SnapshotName[] },
  ): Promise<SnapshotName> {
    await clock.advance(passedMs);
    await store.clock.sleep(passedMs, signal); // Passes at once.
    const attempt = writer.nextAttempt();
    const contents = { entries: [await send(store, attempt, 20n)], ahead: [], seen: new Map() };
    const leaning = { documents, sentSinceMs: store.clock.nowMs() - passedMs };
    await writer.publish(attempt, contents, { signal, leaning });
    return attempt.name;
  }

  test('tells which of the documents that it leans on are gone', async () => {
    const world = await openWorld();
    const there = await publishAfter(world, await world.open({ instance: 'orders-1' }), { passedMs: 0 });
    const gone = [1, 2].map((n) => ({ epoch: '1750000000000-orders-2-aaaa', n }));
    const writer = await world.open();
    expect(writer.gone).toBeUndefined();
    const published = publishAfter(world, writer, { passedMs: 0, documents: [...gone, there] });
    await expect(published).rejects.toSatisfy((error) => isFailure(error, 'moved'));
    expect(writer.gone).toEqual(new Set(gone.map(formatSnapshotName)));
    await publishAfter(world, writer, { passedMs: 0, documents: [there] });
    expect(writer.gone).toBeUndefined();
  });

  test('over what was sent too long ago still leans on the one before, for as long as that is there', async () => {
    const world = await openWorld();
    const { store, repository } = world;
    const writer = await world.open({ keepWithinMs: KEEP_WITHIN_MS });
    const before = await publishAfter(world, writer, { passedMs: 0 });
    await expect(publishAfter(world, writer, { passedMs: KEEP_WITHIN_MS + 1 })).rejects.toSatisfy((error) =>
      isFailure(error, 'moved'),
    );
    expect(writer.gone).toEqual(new Set());
    expect(await offeredOffset(world)).toBe(20n);
    await store.delete(repository.keys.snapshot(before), { signal });
    await expect(publishAfter(world, writer, { passedMs: 0 })).rejects.toSatisfy((error) => isFailure(error, 'moved'));
    expect(writer.gone).toEqual(new Set([formatSnapshotName(before)]));
    await publishAfter(world, writer, { passedMs: 0 });
  });
});

describe('what a writer knows of the clock that stamps its volume (A5)', () => {
  /** Of a stamp that is there from the beginning. */
  const olderByMs = (writer: RepositoryWriter, clock: ManualClock): number => writer.mayBeOlderByMs(clock.nowMs(), 0);
  const clocksOf = ({ record }: RepositoryWriter): readonly number[] =>
    record.clocks?.map(({ storeAheadMs }) => storeAheadMs) ?? [];

  test('begins with what lives before it knew, and lasts in its record', async () => {
    const { store, clock, open } = await openWorld();
    const writer = await open({ clocks: [{ storeAheadMs: -900_000, untilMs: undefined }] });
    expect([clocksOf(writer), olderByMs(writer, clock)]).toEqual([[-900_000, -600_000], 303_000]);
    await writer.amendRecord({}, { signal });
    const key = `orders/shop/records/${writer.record.epoch}.json`;
    const { clocks } = decodeRecord(store.bytesOf(key), key);
    expect(clocks).toEqual(writer.record.clocks);
  });

  test('changes where it is set: back, what was stamped before may be older', async () => {
    const { clock, open } = await openWorld();
    const writer = await open();
    const stampMs = clock.nowMs();
    clock.jump(-300_000);
    await writer.amendRecord({}, { signal });
    expect([clocksOf(writer), writer.mayBeOlderByMs(stampMs, 0)]).toEqual([[-600_000, -300_000], 303_000]);
  });

  test('says nothing of what came after it was last read', async () => {
    const { clock, open } = await openWorld();
    const writer = await open({ clocks: [{ storeAheadMs: -900_000, untilMs: undefined }] });
    expect(writer.mayBeOlderByMs(clock.nowMs(), clock.monotonicMs() + 1)).toBe(0);
    expect(writer.mayBeOlderByMs(clock.nowMs(), clock.monotonicMs())).toBe(303_000);
  });

  test('does not come from a store whose servers disagree, nor from a machine that was suspended', async () => {
    const { store, clock, open } = await openWorld();
    const writer = await open();
    for (const aheadMs of [20_000, -20_000]) {
      await store.clock.sleep(20_000 + aheadMs, signal);
      await clock.advance(20_000);
      await writer.amendRecord({}, { signal });
    }
    clock.jump(3_600_000);
    await store.clock.sleep(3_600_000, signal);
    await writer.amendRecord({}, { signal });
    expect([clocksOf(writer), olderByMs(writer, clock)]).toEqual([[-600_000], 0]);
  });
});

describe('an epoch', () => {
  test('shows itself by its record before it sends anything', async () => {
    const world = await openWorld();
    const writer = await world.open({ after: '1763854560000-orders-0-zzzz', keepWithinMs: 5 });
    expect(storedRecord(world, writer)).toEqual({
      application: 'orders',
      lineage: 'shop',
      instance: 'orders-0',
      epoch: writer.record.epoch,
      writer: 'warmstate 0.1.0',
      role: 'run',
      state: 'alive',
      renewedAtMs: world.store.clock.nowMs(),
      guarantee: 'at_least_once',
      maxAgeMs: 82_800_000,
      keepWithinMs: 5,
      after: '1763854560000-orders-0-zzzz',
      newest: undefined,
      tasks: [],
      taints: [],
      claims: [],
      installed: [],
    });
  });

  test('sorts after the one before, and goes on from its newest document', async () => {
    const world = await openWorld();
    const first = await world.open();
    await snapshot(world, first, 1n);
    world.clock.jump(-3_600_000);
    const second = await world.open();
    const times = [first, second].map((writer) => parseEpoch(writer.record.epoch)?.timeMs ?? 0);
    expect(times).toEqual([world.store.clock.nowMs(), world.store.clock.nowMs() + 1]);
    const listing = await listRepository(world.repository, { signal });
    const base = await loadBase(world.repository, listing, { instance: 'orders-0', signal });
    expect(base).toMatchObject({ epoch: first.record.epoch, n: 1 });
  });

  test('of a second process under the same name disturbs nobody', async () => {
    const world = await openWorld();
    const listing = await listRepository(world.repository, { signal });
    const options = {
      ...(await world.open()).record,
      role: 'snapshot',
      program: 'warmstate 0.1.0',
      clock: world.clock,
      signal,
    } as const;
    const writers = await Promise.all([
      openWriter(world.repository, listing, { ...options, random: seededRandom(8) }),
      openWriter(world.repository, listing, { ...options, random: seededRandom(9) }),
    ]);
    await Promise.all(writers.map((writer, index) => snapshot(world, writer, BigInt(index + 5))));
    const snapshots = await newestSnapshots(world.repository, await listRepository(world.repository, { signal }), {
      signal,
    });
    expect(new Set(snapshots.map(({ tasks }) => tasks[0]?.offsets.get('orders-agg-changelog-3')))).toEqual(
      new Set([5n, 6n]),
    );
  });

  test('that cannot show itself is not begun', async () => {
    const world = await openWorld();
    world.store.script({ kind: 'fail-before', operation: 'put', key: /records/ });
    await expect(world.open()).rejects.toSatisfy((error) => isFailure(error, 'unavailable'));
  });

  test('writes its record one at a time, so that the newest stays', async () => {
    const world = await openWorld();
    const writer = await world.open();
    const put = world.store.put.bind(world.store);
    let underway = 0;
    world.store.put = async (key, body, options) => {
      expect(++underway).toBe(1);
      await new Promise((resolve) => setImmediate(resolve));
      underway--;
      return put(key, body, options);
    };
    const taints = [{ task: '0_1', device: 1n, inode: 2n }];
    await Promise.all([
      writer.amendRecord({ state: 'released' }, { signal }),
      writer.amendRecord({ taints }, { signal }),
      writer.amendRecord({ state: 'sealed' }, { signal }),
    ]);
    expect(storedRecord(world, writer)).toMatchObject({ state: 'sealed', taints });
  });
});

function storedRecord({ store, repository }: World, writer: RepositoryWriter): unknown {
  const key = repository.keys.record(writer.record.epoch);
  return decodeRecord(store.bytesOf(key), key);
}
