import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  SAMPLE_EPOCH,
  SAMPLE_KEYS,
  SAMPLE_NAME,
  sampleDocument,
  sampleEntry,
  sampleRecord,
} from '../../test/support/sample-documents.ts';
import { SimulatedStore } from '../../test/support/simulated-store.ts';
import { Failure } from '../base/failure.ts';
import { bytesBody } from '../storage/object-store.ts';
import { encodeDocument, type SnapshotDocument } from './document.ts';
import { repositoryKeys } from './keys.ts';
import { EPOCH_SILENCE_MS_MAX, type EpochRecord, encodeRecord, summarise } from './record.ts';
import {
  documentsOf,
  listApplications,
  listRepository,
  loadBase,
  loadDocument,
  loadRecords,
  markRepository,
  type NewestSnapshot,
  type Notice,
  newestSnapshots,
  openRepository,
  type Repository,
} from './repository.ts';

const signal = new AbortController().signal;
const OLDER_EPOCH = '1763854560000-orders-0-zzzz';
const OTHER_EPOCH = '1763854560050-orders-1-yyyy';

interface World {
  readonly store: SimulatedStore;
  readonly repository: Repository;
  readonly notices: readonly string[];
}

async function openWorld(store = new SimulatedStore({ wholeSeconds: true })): Promise<World> {
  const notices: string[] = [];
  const notice: Notice = (_name, message, facts) => void notices.push(`${message} ${JSON.stringify(facts)}`);
  const repository = await openRepository(store, { application: 'orders', lineage: 'shop', notice, signal });
  return { store, repository, notices };
}

function put(store: SimulatedStore, key: string, bytes: Uint8Array | string): Promise<unknown> {
  return store.put(key, bytesBody(Buffer.from(bytes)), { signal });
}

async function putDocument(store: SimulatedStore, change: Partial<SnapshotDocument> = {}): Promise<SnapshotDocument> {
  const document = sampleDocument(change);
  await put(store, SAMPLE_KEYS.snapshot(document), await encodeDocument(document));
  return document;
}

async function putRecord(store: SimulatedStore, change: Partial<EpochRecord> = {}): Promise<EpochRecord> {
  const record = sampleRecord(change);
  await put(store, SAMPLE_KEYS.record(record.epoch), encodeRecord(record));
  return record;
}

async function newest({ repository }: World): Promise<readonly NewestSnapshot[]> {
  return newestSnapshots(repository, await listRepository(repository, { signal }), { signal });
}

describe('a repository', () => {
  test('that nobody wrote is empty', async () => {
    const { repository, store } = await openWorld();
    expect(await listRepository(repository, { signal })).toEqual({
      storeTimeMs: store.clock.nowMs(),
      epochs: [],
      recorded: new Map(),
      documents: [],
    });
  });

  test('says its format in the same bytes, once', async () => {
    const { repository, store } = await openWorld();
    await markRepository(repository, { signal });
    await markRepository(repository, { signal });
    expect(Buffer.from(store.bytesOf('orders/shop/repository.json')).toString()).toBe('{"format":1}\n');
    expect(store.log.filter((line) => line.startsWith('put'))).toEqual(['put orders/shop/repository.json']);
    const requests = store.log.length;
    const again = await openWorld(store);
    await markRepository(again.repository, { signal });
    expect(store.log.slice(requests)).toEqual(['get orders/shop/repository.json']);
  });

  test('of another format is not opened', async () => {
    const store = new SimulatedStore();
    await put(store, 'orders/shop/repository.json', '{"format":2}');
    await expect(openWorld(store)).rejects.toThrow(
      new Failure('invalid', 'cannot read orders/shop/repository.json: it has format 2, this program reads 1', {
        hint: 'use the version of warmstate that wrote it',
      }),
    );
  });

  test('whose format cannot be read is not opened', async () => {
    const store = new SimulatedStore();
    await put(store, 'orders/shop/repository.json', '');
    await expect(openWorld(store)).rejects.toMatchObject({ kind: 'corrupt' });
  });

  test('is found by listing, with the names that users gave', async () => {
    const store = new SimulatedStore();
    const locations = [
      { application: 'a', lineage: 'prod' },
      { application: 'b/ä', lineage: '.hidden' },
      { application: 'b/ä', lineage: 'prod' },
    ];
    for (const location of locations.toReversed())
      await put(store, repositoryKeys(location).repository, '{"format":1}');
    for (const other of ['readme.txt', 'a/prod/records/x.json', 'a/b/c/repository.json']) await put(store, other, '');
    expect(await listApplications(store, { signal })).toEqual(locations);
  });
});

describe('a listing', () => {
  test('is in order, whatever order and pages the store gives', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer(), async (seed) => {
        const { repository, store } = await openWorld(new SimulatedStore({ seed }));
        for (const epoch of [SAMPLE_EPOCH, OLDER_EPOCH]) {
          for (const n of [10, 9, 100]) await put(store, SAMPLE_KEYS.snapshot({ epoch, n }), 'x');
        }
        await put(store, SAMPLE_KEYS.record(OTHER_EPOCH), 'x');
        await put(store, SAMPLE_KEYS.record(SAMPLE_EPOCH), 'x');
        const listing = await listRepository(repository, { signal });
        const [modifiedMs, storedBytes] = [store.clock.nowMs(), 1];
        expect(listing).toEqual({
          storeTimeMs: store.clock.nowMs(),
          epochs: [OLDER_EPOCH, OTHER_EPOCH, SAMPLE_EPOCH],
          recorded: new Map([OTHER_EPOCH, SAMPLE_EPOCH].map((epoch) => [epoch, modifiedMs])),
          documents: [OLDER_EPOCH, SAMPLE_EPOCH].flatMap((epoch) =>
            [9, 10, 100].map((n) => ({ name: { epoch, n }, modifiedMs, storedBytes })),
          ),
        });
        expect(documentsOf(listing, OLDER_EPOCH).map(({ n }) => n)).toEqual([100, 10, 9]);
      }),
      { numRuns: 30 },
    );
  });

  test('passes over what is not ours, and says so once', async () => {
    const { repository, store, notices } = await openWorld();
    await put(store, 'orders/shop/records/notes.json', '');
    await put(store, `orders/shop/snapshots/${SAMPLE_EPOCH}/latest.json.zst`, '');
    await putDocument(store);
    expect((await listRepository(repository, { signal })).documents).toMatchObject([{ name: SAMPLE_NAME }]);
    expect(notices).toEqual([
      'ignored objects that are not of a repository {"objects":2,"first":"orders/shop/records/notes.json"}',
    ]);
  });
});

describe('the newest snapshots', () => {
  test('are told by the records alone, and who lives by the clock of the store', async () => {
    const world = await openWorld();
    const dead = await putRecord(world.store, { epoch: OLDER_EPOCH, newest: 3 });
    await putDocument(world.store, { epoch: OLDER_EPOCH, n: 3 });
    await world.store.clock.sleep(EPOCH_SILENCE_MS_MAX + 1000, signal);
    const alive = await putRecord(world.store, { newest: 12 });
    await putDocument(world.store, { n: 11 });
    await putDocument(world.store, { n: 12 });
    const sealed = await putRecord(world.store, {
      epoch: OTHER_EPOCH,
      instance: 'orders-1',
      state: 'sealed',
      newest: 1,
    });
    await putDocument(world.store, { epoch: OTHER_EPOCH, n: 1 });

    expect(await newest(world)).toEqual([
      { name: { epoch: OLDER_EPOCH, n: 3 }, record: dead, lives: false, tasks: dead.tasks },
      { name: { epoch: OTHER_EPOCH, n: 1 }, record: sealed, lives: false, tasks: sealed.tasks },
      { name: SAMPLE_NAME, record: alive, lives: true, tasks: alive.tasks },
    ]);
    expect(world.store.log.filter((line) => line.startsWith('get') && line.includes('/snapshots/'))).toEqual([]);
  });

  test('of an epoch that another of its instance has followed are those of a dead one, however young its record', async () => {
    const world = await openWorld();
    const killed = await putRecord(world.store, { epoch: OLDER_EPOCH, newest: 3 });
    await putDocument(world.store, { epoch: OLDER_EPOCH, n: 3 });
    const livesOf = async () => (await newest(world)).map(({ name, lives }) => [name.epoch, lives]);
    await putRecord(world.store, { epoch: OTHER_EPOCH, instance: 'orders-1' });
    await putRecord(world.store, { role: 'snapshot' });
    expect(await livesOf()).toEqual([[OLDER_EPOCH, true]]);

    await putRecord(world.store, { role: 'run', instance: killed.instance });
    expect(await livesOf()).toEqual([[OLDER_EPOCH, false]]);
  });

  test('are read from the documents where a record lags behind or is gone', async () => {
    const world = await openWorld();
    const lagging = await putRecord(world.store, { newest: 11 });
    await putDocument(world.store, { n: 11 });
    const document = await putDocument(world.store, { n: 12, entries: [sampleEntry({ task: '1_1' })] });
    const orphan = await putDocument(world.store, { epoch: OTHER_EPOCH, n: 7 });
    expect(await newest(world)).toEqual([
      { name: { epoch: OTHER_EPOCH, n: 7 }, record: undefined, lives: false, tasks: orphan.entries.map(summarise) },
      { name: SAMPLE_NAME, record: lagging, lives: true, tasks: document.entries.map(summarise) },
    ]);
  });

  test('are those before where the newest cannot be read', async () => {
    const world = await openWorld();
    const good = await putDocument(world.store, { n: 10 });
    await put(world.store, SAMPLE_KEYS.snapshot({ ...SAMPLE_NAME, n: 11 }), 'rubbish');
    await putDocument(world.store, { n: 12 });
    world.store.tamper(SAMPLE_KEYS.snapshot(SAMPLE_NAME), (bytes) => bytes.subarray(1));
    expect(await newest(world)).toEqual([
      { name: { ...SAMPLE_NAME, n: 10 }, record: undefined, lives: false, tasks: good.entries.map(summarise) },
    ]);
    expect(world.notices).toEqual([
      expect.stringContaining(`passed over a snapshot that cannot be read {"snapshot":"${SAMPLE_EPOCH}/12"`),
      expect.stringContaining(`passed over a snapshot that cannot be read {"snapshot":"${SAMPLE_EPOCH}/11"`),
    ]);
  });

  test('leave out an epoch that has none', async () => {
    const world = await openWorld();
    await putRecord(world.store, { newest: undefined, tasks: [] });
    expect(await newest(world)).toEqual([]);
  });

  test('are not guessed while the store does not answer', async () => {
    const world = await openWorld();
    await putDocument(world.store);
    world.store.script({ operation: 'get', kind: 'fail-before' });
    await expect(newest(world)).rejects.toMatchObject({ kind: 'unavailable' });
  });
});

describe('records', () => {
  test('that are rotten, of another format, or gone by now are passed over', async () => {
    const { repository, store, notices } = await openWorld();
    const record = await putRecord(store);
    await put(store, SAMPLE_KEYS.record(OLDER_EPOCH), '{"format":2}');
    await put(store, SAMPLE_KEYS.record(OTHER_EPOCH), encodeRecord(record)); // Copied from elsewhere.
    await put(store, SAMPLE_KEYS.record('1763854560001-orders-2-aaaa'), '');
    const listing = await listRepository(repository, { signal });
    await store.delete(SAMPLE_KEYS.record('1763854560001-orders-2-aaaa'), { signal });

    const nowMs = store.clock.nowMs();
    expect(await loadRecords(repository, listing, { signal })).toEqual([
      { record, modifiedMs: nowMs, storeTimeMs: nowMs },
    ]);
    expect(notices.toSorted()).toEqual([
      `passed over a record that cannot be read {"problem":"cannot read ${SAMPLE_KEYS.record(OLDER_EPOCH)}: it has format 2, this program reads 1"}`,
      `passed over a record that cannot be read {"problem":"cannot read ${SAMPLE_KEYS.record(OTHER_EPOCH)}: it is ${SAMPLE_KEYS.record(SAMPLE_EPOCH)}"}`,
    ]);
  });
});

describe('a document', () => {
  test('is loaded by its name', async () => {
    const { repository, store } = await openWorld();
    const document = await putDocument(store);
    expect(await loadDocument(repository, SAMPLE_NAME, { signal })).toEqual(document);
  });

  test('is put together from all that the store gives of it', async () => {
    const { repository, store } = await openWorld();
    const entries = Array.from({ length: 800 }, (_, partition) => sampleEntry({ task: `1_${partition}` }));
    const document = await putDocument(store, { entries });
    expect(store.bytesOf(SAMPLE_KEYS.snapshot(SAMPLE_NAME)).byteLength).toBeGreaterThan(100 * 1024);
    expect(await loadDocument(repository, SAMPLE_NAME, { signal })).toEqual(document);
  });

  test('that does not exist is missing', async () => {
    const { repository } = await openWorld();
    await expect(loadDocument(repository, SAMPLE_NAME, { signal })).rejects.toThrow(
      new Failure('missing', `there is no snapshot ${SAMPLE_EPOCH}/12`, {
        hint: 'warmstate list prints the names of snapshots',
      }),
    );
  });

  test('that is larger than any is not read', async () => {
    const { repository, store } = await openWorld();
    const key = SAMPLE_KEYS.snapshot(SAMPLE_NAME);
    await put(store, key, new Uint8Array(64 * 1024 * 1024 + 1));
    await expect(loadDocument(repository, SAMPLE_NAME, { signal })).rejects.toThrow(
      new Failure('corrupt', `cannot read ${key}: it has 67108865 bytes, 67108864 are allowed`),
    );
  });
});

describe('the base of a writer', () => {
  test('is the newest document of the newest epoch of its instance that has one', async () => {
    const { repository, store } = await openWorld();
    await putDocument(store, { epoch: OLDER_EPOCH, n: 1 });
    const expected = await putDocument(store, { epoch: OLDER_EPOCH, n: 2 });
    await putDocument(store, { epoch: OTHER_EPOCH, n: 9 });
    await putRecord(store, { newest: undefined, tasks: [] });
    const listing = await listRepository(repository, { signal });
    expect(await loadBase(repository, listing, { instance: 'orders-0', signal })).toEqual(expected);
    expect(await loadBase(repository, listing, { instance: 'orders', signal })).toBeUndefined();
  });

  test('is an older one where the newest cannot be read', async () => {
    const { repository, store } = await openWorld();
    const expected = await putDocument(store, { epoch: OLDER_EPOCH, n: 1 });
    await put(store, SAMPLE_KEYS.snapshot(SAMPLE_NAME), 'rubbish');
    const listing = await listRepository(repository, { signal });
    expect(await loadBase(repository, listing, { instance: 'orders-0', signal })).toEqual(expected);
  });

  test('is given up after eight that cannot be read', async () => {
    const { repository, store, notices } = await openWorld();
    await putDocument(store, { n: 1 });
    for (let n = 2; n < 10; n++) await put(store, SAMPLE_KEYS.snapshot({ ...SAMPLE_NAME, n }), 'rubbish');
    const listing = await listRepository(repository, { signal });
    expect(await loadBase(repository, listing, { instance: 'orders-0', signal })).toBeUndefined();
    expect(notices).toHaveLength(8);
  });
});
