import { describe, expect, test } from 'vitest';
import { HOUR_MS, KEEP_WITHIN_MS, MAX_AGE_MS, RepositoryStory } from '../../test/support/repository-story.ts';
import { bytesBody } from '../storage/object-store.ts';
import { ObjectSet } from './object-set.ts';
import { loadWithdrawals } from './withdrawals.ts';

const { signal } = new AbortController();
const MINUTE_MS = 60_000;

/** A living writer: three snapshots, an hour apart, each with one new table, the last without the first one. */
async function tellStory() {
  const story = await RepositoryStory.open();
  const writer = await story.write('orders-0');
  const first = await writer.publish(1);
  await story.pass(HOUR_MS);
  const second = await writer.publish(1, { kept: first });
  await story.pass(HOUR_MS);
  await writer.publish(1, { kept: second.slice(1) });
  return { story, writer };
}

describe('collection', () => {
  test('leaves all alone that is young, and says why', async () => {
    const { story } = await tellStory();
    const before = story.store.keys();
    const { kept, repositoryBytes, ...came } = await story.collect();
    expect(came).toEqual({ documents: 0, objects: 0, bytes: 0, missing: [] });
    expect(Object.fromEntries(kept)).toEqual({ newest_alive: 1, superseded_lately: 2, referenced: 6, record: 1 });
    expect(story.store.keys()).toEqual(before);
    expect(repositoryBytes).toBeGreaterThan(0);
  });

  test('removes superseded snapshots, then what only they needed', async () => {
    const { story, writer } = await tellStory();
    await story.pass(KEEP_WITHIN_MS + MINUTE_MS);
    await writer.renew();
    story.store.log.length = 0;
    const { documents, objects } = await story.collect();
    // The first table, and the archives of both.
    expect([documents, objects]).toEqual([2, 3]);
    expect(story.keys('snapshots').map((key) => key.slice(-16))).toEqual(['00000003.json.zst'.slice(-16)]);
    expect(story.keys('data').map((key) => key.slice(-23).replace(/^.*\//, ''))).toEqual([
      '00000002-000000',
      '00000003-000000',
      '00000003-000001.tar.zst',
    ]);
    const deleted = story.store.log.filter((line) => line.startsWith('delete') && !line.includes('/doctor/'));
    expect(deleted.map((line) => line.split('/')[2])).toEqual(['snapshots', 'snapshots', 'data', 'data', 'data']);
  });

  test('with --dry-run says the same and writes nothing', async () => {
    const { story, writer } = await tellStory();
    await story.pass(KEEP_WITHIN_MS + MINUTE_MS);
    await writer.renew();
    story.store.log.length = 0;
    const planned = await story.collect({ isDryRun: true });
    expect(story.store.log.filter((line) => /^(put|delete)/.test(line))).toEqual([]);
    expect(await story.collect()).toEqual(planned);
  });

  test('removes the last of a dead epoch when nobody may restore it any more', async () => {
    const { story } = await tellStory();
    await story.pass(MAX_AGE_MS + KEEP_WITHIN_MS);
    await story.collect();
    expect([story.keys('snapshots').length, story.keys('records').length]).toEqual([1, 1]);
    await story.pass(MINUTE_MS);
    await story.collect();
    expect(story.store.keys()).toEqual(['orders/shop/repository.json']);
  });

  test('leaves what a snapshot of another epoch needs, whoever sent it', async () => {
    const story = await RepositoryStory.open();
    const tables = await (await story.write('orders-0')).publish(2);
    await story.pass(MAX_AGE_MS);
    const other = await story.write('orders-1');
    await other.publish(1, { kept: tables.slice(1) });
    await story.pass(KEEP_WITHIN_MS + MINUTE_MS);
    const { missing } = await story.collect();
    expect(missing).toEqual([]);
    expect(
      story
        .keys('data')
        .filter((key) => key.includes('orders-0'))
        .map((key) => key.slice(-15)),
    ).toEqual(['00000001-000001']);
  });

  test('leaves what was sent ahead of a task that cannot be captured yet', async () => {
    const story = await RepositoryStory.open();
    const writer = await story.write('orders-0');
    const ahead = await writer.publish(1);
    await writer.publish(0, { ahead });
    await story.pass(KEEP_WITHIN_MS + MINUTE_MS);
    await writer.renew();
    expect((await story.collect()).documents).toBe(1);
    expect(story.keys('data').filter((key) => /-\d{6}$/.test(key))).toHaveLength(1);
  });

  test('leaves what was sent for a snapshot that is still to come, for as long as a writer may name it', async () => {
    const story = await RepositoryStory.open();
    const writer = await story.write('orders-0');
    await writer.publish(1);
    const key = writer.writer.nextAttempt().nextDataKey();
    await story.store.put(key, bytesBody(Buffer.from('ahead')), { signal });
    await story.pass(KEEP_WITHIN_MS);
    await writer.renew();
    expect((await story.collect()).kept.get('young')).toBe(1);
    expect(story.store.keys()).toContain(key);
    await story.pass(MINUTE_MS);
    await writer.renew();
    expect(await story.collect()).toMatchObject({ documents: 0, objects: 1, bytes: 5 });
    expect(story.store.keys()).not.toContain(key);
  });

  test('leaves fences for ever, and what is none of ours', async () => {
    const { story } = await tellStory();
    const foreign = [
      'orders/shop/data/readme.txt',
      'orders/shop/notes',
      'orders/shop/fences/1750000000000-aaaaaaaa.json',
    ];
    for (const key of foreign) await story.store.put(key, bytesBody(Buffer.from('{"format":2}')), { signal });
    await story.pass(90 * HOUR_MS);
    await story.collect();
    expect(story.store.keys()).toEqual([...foreign, 'orders/shop/repository.json'].sort());
  });
});

describe('nothing is removed', () => {
  const old = async () => {
    const told = await tellStory();
    await told.story.pass(KEEP_WITHIN_MS + MINUTE_MS);
    await told.writer.renew();
    return told.story;
  };
  const unharmed = async (story: RepositoryStory, work: () => Promise<unknown>): Promise<void> => {
    const before = story.store.keys();
    await work();
    expect(story.store.keys().filter((key) => !key.includes('/doctor/'))).toEqual(before);
  };

  test.each(['records', 'snapshots', 'data', 'fences', 'damaged'])('when the listing of %s fails', async (folder) => {
    const story = await old();
    story.store.script({ operation: 'list', key: new RegExp(`/${folder}/`), kind: 'fail-after' });
    await unharmed(story, () => expect(story.collect()).rejects.toMatchObject({ kind: 'unavailable' }));
  });

  test('when a listing of snapshots lacks what a record names', async () => {
    const story = await RepositoryStory.open();
    const writer = await story.write('orders-0');
    const tables = await writer.publish(1);
    await story.pass(KEEP_WITHIN_MS + MINUTE_MS);
    await writer.publish(1, { kept: tables });
    story.store.script({ operation: 'list', key: /snapshots/, kind: 'stale', ageMs: HOUR_MS });
    await unharmed(story, () => expect(story.collect()).rejects.toThrow("cannot trust the store's listing: it lacks"));
  });

  test('when a listing of data lacks what is there', async () => {
    const story = await RepositoryStory.open();
    const writer = await story.write('orders-0');
    await writer.publish(1);
    await story.pass(KEEP_WITHIN_MS + MINUTE_MS);
    await writer.publish(1);
    story.store.script({ operation: 'list', key: /data/, kind: 'stale', ageMs: HOUR_MS });
    await unharmed(story, () => expect(story.collect()).rejects.toThrow("cannot trust the store's listing: it lacks"));
  });

  test('when a snapshot appears that was there before and was not listed', async () => {
    const story = await old();
    const other = await story.write('orders-1', { role: 'snapshot' });
    await other.publish(1);
    await story.pass(2 * MINUTE_MS);
    // Its record is gone, so that nothing tells of it.
    for (const key of story.store.keys()) {
      if (key.includes('/records/') && key.includes('orders-1')) await story.store.delete(key, { signal });
    }
    story.store.script({ operation: 'list', key: /snapshots/, kind: 'stale', ageMs: 3 * MINUTE_MS });
    const data = story.keys('data');
    await expect(story.collect()).rejects.toThrow('it lacks');
    expect(story.keys('data')).toEqual(data);
  });

  test.each([
    ['ahead', 10 * MINUTE_MS],
    ['behind', -10 * MINUTE_MS],
  ])('when the times of objects are %s of the time that the store tells', async (_, ms) => {
    const story = await old();
    const { store } = story;
    const head = store.head.bind(store);
    store.head = async (key, options) => {
      const facts = await head(key, options);
      return { ...facts, modifiedMs: facts.modifiedMs + ms };
    };
    await unharmed(story, () => expect(story.collect()).rejects.toThrow('cannot tell ages in the store'));
  });

  test('when objects are of the future', async () => {
    const story = await old();
    if (!('jump' in story.store.clock) || typeof story.store.clock.jump !== 'function')
      throw new Error('no such clock');
    story.store.clock.jump(-2 * HOUR_MS);
    await unharmed(story, () => expect(story.collect()).rejects.toThrow('cannot tell ages in the store'));
  });

  test.each([
    ['newer', '{"format":2}'],
    ['rotten', 'no JSON'],
  ])('that could be leaned on by a record that is %s', async (_, text) => {
    const story = await old();
    // Sent by whoever wrote it, for a snapshot that is still to come.
    const data = 'orders/shop/data/1750000000000-orders-7-abcd/00000001-000000';
    await story.store.put(data, bytesBody(Buffer.from('table')), { signal });
    await story.pass(KEEP_WITHIN_MS + MINUTE_MS);
    const key = `orders/shop/records/1750000000000-orders-7-abcd.json`;
    await story.store.put(key, bytesBody(Buffer.from(text)), { signal });
    await unharmed(story, async () => {
      const { kept } = await story.collect();
      expect(kept.get('unreadable')).toBeGreaterThan(0);
    });
    expect(story.notices).toContain('record-unreadable');
  });

  test('of the data where a snapshot cannot be read: it may need anything', async () => {
    const story = await old();
    const key = `orders/shop/snapshots/1750000000000-orders-7-abcd/00000001.json.zst`;
    await story.store.put(key, bytesBody(Buffer.from('rotten')), { signal });
    const data = story.keys('data');
    const { kept } = await story.collect();
    expect(kept.get('unreadable')).toBe(3);
    expect(story.keys('data')).toEqual(data);
    expect(story.notices).toContain('snapshot-unreadable');
  });

  test('that a snapshot needs which appeared while it went on', async () => {
    const story = await RepositoryStory.open();
    const writer = await story.write('orders-0');
    const tables = await writer.publish(1);
    await story.pass(MAX_AGE_MS + KEEP_WITHIN_MS + MINUTE_MS);
    // Frozen all the while, it publishes in the midst of a collection for which its snapshot is none any more.
    const { store } = story;
    const list = store.list.bind(store);
    let listings = 0;
    store.list = async function* (prefix, options) {
      if (prefix.includes('/snapshots/') && ++listings === 2) await writer.publish(1, { kept: tables });
      yield* list(prefix, options);
    };
    await story.collect();
    expect(story.keys('data').length).toBe(3);
  });

  test('of the data where such a snapshot cannot be read', async () => {
    const story = await RepositoryStory.open();
    await (await story.write('orders-0')).publish(1);
    await story.pass(MAX_AGE_MS + KEEP_WITHIN_MS + MINUTE_MS);
    const { store } = story;
    const list = store.list.bind(store);
    let listings = 0;
    store.list = async function* (prefix, options) {
      const key = 'orders/shop/snapshots/1750000000000-orders-7-abcd/00000001.json.zst';
      if (prefix.includes('/snapshots/') && ++listings === 2)
        await store.put(key, bytesBody(Buffer.from('rotten')), { signal });
      yield* list(prefix, options);
    };
    expect((await story.collect()).objects).toBe(0);
    expect(story.keys('data').length).toBe(2);
  });
});

describe('what roots need and the store has not', () => {
  test('is told once, with the entries that need it, and removed from there when it is of no use', async () => {
    const { story, writer } = await tellStory();
    const [lost = ''] = story.keys('data').filter((key) => key.endsWith('00000003-000000'));
    await story.store.delete(`orders/shop/data/${lost}`, { signal });
    const { missing } = await story.collect();
    expect(missing).toEqual([`orders/shop/data/${lost}`]);
    const withdrawals = await loadWithdrawals(story.repository, { signal });
    expect(withdrawals.damage.map(({ objects, entries }) => ({ objects, entries }))).toEqual([
      {
        objects: [{ key: `orders/shop/data/${lost}`, problem: 'missing' }],
        entries: [{ task: '0_0', capturedBy: `${writer.writer.record.epoch}/3` }],
      },
    ]);
    const stored = story.keys('damaged');
    story.store.log.length = 0;
    await story.collect({ epoch: '1750000000000-prune-bbbb' });
    expect(story.keys('damaged')).toEqual(stored);
    // Nor is any snapshot read a second time, for the entries that need it.
    const read = story.store.log.filter((line) => /^get .*\/snapshots\//.test(line));
    expect(read.length).toBe(new Set(read).size);

    await writer.publish(1);
    await story.pass(KEEP_WITHIN_MS + MINUTE_MS);
    await writer.renew();
    expect((await story.collect()).missing).toEqual([]);
    expect(story.keys('damaged')).toEqual([]);
  });

  test('is not told by a dry run', async () => {
    const { story } = await tellStory();
    const [lost = ''] = story.keys('data');
    await story.store.delete(`orders/shop/data/${lost}`, { signal });
    expect((await story.collect({ isDryRun: true })).missing).toHaveLength(1);
    expect(story.keys('damaged')).toEqual([]);
  });
});

test('stopped at any request, collection leaves nothing that refers to what is gone', async () => {
  for (let step = 0; ; step++) {
    const { story, writer } = await tellStory();
    await story.pass(KEEP_WITHIN_MS + MINUTE_MS);
    await writer.renew();
    story.store.script({ skip: step, times: Number.POSITIVE_INFINITY, kind: 'fail-after' });
    const isDone = await story.collect().then(
      () => true,
      () => false,
    );
    story.store.heal();
    expect((await story.collect({ isDryRun: true })).missing).toEqual([]);
    if (isDone) break;
  }
});

test('a week of snapshots every five minutes stays within a few times the state', async () => {
  const story = await RepositoryStory.open();
  let writer = await story.write('orders-0');
  const TABLES = 20;
  let tables = await writer.publish(TABLES);
  const stateBytes = tables.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const tablesBytes = (): number =>
    story.store
      .keys()
      .filter((key) => /\/data\/.*-\d{6}$/.test(key))
      .reduce((sum, key) => sum + story.store.bytesOf(key).byteLength, 0);
  const heights: { readonly before: number; readonly after: number }[] = [];
  for (let minute = 5; minute <= 7 * 24 * 60; minute += 5) {
    await story.pass(5 * MINUTE_MS);
    // One new table a snapshot; every hour a compaction rewrites a quarter of all.
    const isCompaction = minute % 60 === 0;
    const kept = tables.slice(isCompaction ? TABLES / 4 : 1);
    if (minute % (24 * 60) === 0) writer = await story.write('orders-0');
    tables = await writer.publish(TABLES - kept.length, { kept });
    if (minute % 360 !== 0) continue;
    const before = tablesBytes() / stateBytes;
    expect((await story.collect()).missing).toEqual([]);
    heights.push({ before, after: tablesBytes() / stateBytes });
  }
  // Per hour four fifths of the state are rewritten: so much lies within --keep-within, and so much comes until the next collection.
  expect(Math.max(...heights.map(({ after }) => after))).toBeLessThan(7.5);
  expect(Math.max(...heights.map(({ before }) => before))).toBeLessThan(12.5);
  expect(heights.at(-1)).toEqual(heights.at(-5));
}, 120_000);

test('a set of keys holds those that it was given, and tells those that another has not', () => {
  const keys = ['00000001-000000', '00000001-000000.tar.zst', '99999999-999999', '00000002-000017.tar.zst'].map(
    (name) => `orders/shop/data/1763854560123-orders-0-a1b2/${name}`,
  );
  const [one, two] = [new ObjectSet(), new ObjectSet()];
  for (const key of keys) one.add(key);
  two.add(keys[1] ?? '');
  one.add('orders/shop/data/readme.txt');
  expect(keys.map((key) => [one.has(key), two.has(key)])).toEqual([
    [true, false],
    [true, true],
    [true, false],
    [true, false],
  ]);
  expect(one.has('orders/shop/data/readme.txt')).toBe(false);
});
