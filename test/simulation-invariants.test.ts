import { hash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { encodeDamageReport } from '../src/repository/damaged.ts';
import { type Entry, encodeDocument, type StoredFile } from '../src/repository/document.ts';
import { repositoryKeys, type SnapshotName } from '../src/repository/keys.ts';
import { MemoryDisk } from './support/memory-disk.ts';
import { sampleDocument } from './support/sample-documents.ts';
import { Chance } from './support/simulation/chance.ts';
import { Cluster } from './support/simulation/cluster.ts';
import { TableContents } from './support/simulation/database.ts';
import { Invariants } from './support/simulation/invariants.ts';
import { findForgotten, findLocalFault, ModelApp, STATE_DIR } from './support/simulation/model-app.ts';
import { SimulatedProcess } from './support/simulation/process.ts';
import { RepositoryWatch } from './support/simulation/repository-watch.ts';
import { WorldClock } from './support/simulation/world-clock.ts';

// Each invariant of docs/decisions/0028-the-simulation.md is handed a repository, or a volume, that breaks it.

const HOUR_MS = 3_600_000;
const KEYS = repositoryKeys({ application: 'app', lineage: 'sim' });
const EPOCH = '1790000000000-app-0-aaaa';
const OTHER_EPOCH = '1790000000001-app-1-bbbb';

test('a repository as it should be breaks none', async () => {
  const { find, publish, entryAt } = makeScene();
  await publish({ epoch: EPOCH, n: 1 }, [entryAt(3)]);
  await publish({ epoch: EPOCH, n: 2 }, [entryAt(4)]);
  expect(find()).toBeUndefined();
});

describe('what is offered is true', () => {
  test('not where a table is missing', async () => {
    const { find, publish, entryAt } = makeScene();
    await publish({ epoch: EPOCH, n: 1 }, [entryAt(4, { holds: 2 })]);
    expect(find()).toMatch(/^what is offered is true: .* agg at 4 has no k3/);
  });

  test('not where clean state is ahead of its offset', async () => {
    const { find, publish, entryAt } = makeScene();
    await publish({ epoch: EPOCH, n: 1 }, [entryAt(2, { holds: 5 })]);
    expect(find()).toMatch(/^what is offered is true: .*which is later than its offset 2$/);
  });

  test('live state may be ahead, but not under exactly-once', async () => {
    const [atLeastOnce, exactlyOnce] = [makeScene(), makeScene({ isExactlyOnce: true })];
    for (const { publish, entryAt } of [atLeastOnce, exactlyOnce])
      await publish({ epoch: EPOCH, n: 1 }, [{ ...entryAt(2, { holds: 5 }), quality: 'live' }]);
    expect(atLeastOnce.find()).toBeUndefined();
    expect(exactlyOnce.find()).toMatch(/^what is offered is true: .*it is live/);
  });

  test('not where it is of a history that is over', async () => {
    const { cluster, find, publish, entryAt, write } = makeScene();
    await publish({ epoch: EPOCH, n: 1 }, [entryAt(2)]);
    cluster.reset();
    write(9);
    expect(find()).toMatch(/^what is offered is true: .*now is history 2$/);
  });

  test('not where replay does not hear of a deletion any more', async () => {
    const { clock, cluster, find, publish, entryAt } = makeScene();
    await publish({ epoch: EPOCH, n: 1 }, [{ ...entryAt(4), stateTimeMs: clock.nowMs + 20 * HOUR_MS }]);
    const log = cluster.changelog('0_0', 'agg');
    log.append({ key: 'k1', segment: 0, value: undefined, atMs: clock.nowMs });
    log.commit(clock.nowMs);
    expect(find()).toBeUndefined();
    await clock.advance(25 * HOUR_MS);
    expect(find()).toMatch(/^what is offered is true: .*has k1=.* instead of k1=deleted/);
  });
});

test('nothing offered disappears before its time', async () => {
  const { clock, find, publish, entryAt } = makeScene();
  await publish({ epoch: EPOCH, n: 1 }, [entryAt(4)]);
  expect(find()).toBeUndefined();
  await publish({ epoch: EPOCH, n: 2 }, [entryAt(2)]);
  expect(find()).toMatch(/^nothing offered disappears before its time: 0_0 at app-agg-changelog-0:4/);
  await publish({ epoch: EPOCH, n: 3 }, [entryAt(4)]);
  expect(find()).toBeUndefined();
  await clock.advance(24 * HOUR_MS);
  await publish({ epoch: EPOCH, n: 4 }, []);
  expect(find()).toBeUndefined();
});

describe('what is promised to nobody may disappear', () => {
  const AGG = { name: 'agg', kind: 'plain' } as const;
  const OLD = { name: 'old', kind: 'plain' } as const;

  test('what some writer lets go of by its own --max-age', async () => {
    const { clock, find, publish, entryAt } = makeScene({ promisedMs: 12 * HOUR_MS });
    await publish({ epoch: EPOCH, n: 1 }, [entryAt(4)]);
    expect(find()).toBeUndefined();
    await clock.advance(13 * HOUR_MS);
    await publish({ epoch: EPOCH, n: 2 }, []);
    expect(find()).toBeUndefined();
  });

  test('what is of a topology that was gone for a while', async () => {
    const { cluster, find, publish, entryAt, write } = makeScene();
    await publish({ epoch: EPOCH, n: 1 }, [entryAt(4)]);
    expect(find()).toBeUndefined();
    cluster.stores = [AGG, OLD];
    write(1, 'old');
    expect(find()).toBeUndefined();
    cluster.stores = [AGG];
    expect(find()).toBeUndefined();
    await publish({ epoch: EPOCH, n: 2 }, []);
    expect(find()).toBeUndefined();
  });

  test('what its own writer replaced by what is younger, and further somewhere', async () => {
    const scene = makeScene();
    const { clock, cluster, find, publish, entryAt, write, withStore } = scene;
    cluster.stores = [AGG, OLD];
    write(6, 'old');
    const publishAt = (n: number, agg: number, old: number) =>
      publish({ epoch: EPOCH, n }, [withStore(entryAt(agg), 'old', old)]);
    await publishAt(1, 5, 2);
    expect(find()).toBeUndefined();
    await clock.advance(1000);
    await publishAt(2, 3, 3);
    expect(find()).toBeUndefined();
    await clock.advance(1000);
    await publishAt(3, 3, 2);
    expect(find()).toMatch(
      /^nothing offered disappears before its time: 0_0 at app-agg-changelog-0:3 app-old-changelog-0:3/,
    );
  });
});

test('nothing hides a better one', async () => {
  // As `best` would choose without the question who is further.
  const { find, publish, entryAt, clock } = makeScene({
    choose: (offers) => offers.toSorted((a, b) => b.stateTimeMs - a.stateTimeMs)[0],
  });
  await publish({ epoch: EPOCH, n: 1 }, [entryAt(4)]);
  await publish({ epoch: OTHER_EPOCH, n: 1 }, [{ ...entryAt(2), stateTimeMs: clock.nowMs + 1000 }]);
  expect(find()).toMatch(/^nothing hides a better one: 0_0 at app-agg-changelog-0:4 is passed over/);
});

describe('no object goes that a document needs', () => {
  test('neither when it is removed', async () => {
    const { find, publish, remove, entryAt, objectOf } = makeScene();
    const entry = entryAt(4);
    await publish({ epoch: EPOCH, n: 1 }, [entry]);
    remove(objectOf(entry));
    expect(find()).toMatch(/removed .*, which .* needs$/);
  });

  test('nor when a writer says that its document stands', async () => {
    const { find, publish, remove, entryAt, objectOf } = makeScene();
    const entry = entryAt(4);
    await publish({ epoch: EPOCH, n: 1 }, [entry], { isAcknowledged: false });
    remove(objectOf(entry));
    expect(find()).toBeUndefined();
    await publish({ epoch: EPOCH, n: 1 }, [entry], { isPut: false });
    expect(find()).toMatch(/^no object goes that a document needs: .*, which is gone$/);
  });

  test('a lifecycle rule may take what it likes', async () => {
    const { watch, find, publish, entryAt, objectOf } = makeScene();
    const entry = entryAt(4);
    await publish({ epoch: EPOCH, n: 1 }, [entry]);
    watch.deleted(objectOf(entry), undefined);
    expect(find()).toBeUndefined();
  });
});

describe('what is missing at the end', () => {
  /** Its document was put late, by a writer that was held up for long. */
  async function loseUnder({ isAcknowledged, isTold }: { readonly isAcknowledged: boolean; readonly isTold: boolean }) {
    const { watch, publish, remove, entryAt, objectOf } = makeScene();
    const entry = entryAt(4);
    await publish({ epoch: EPOCH, n: 1 }, [entry], { isAcknowledged });
    const object = objectOf(entry);
    remove(object);
    const report = { application: 'app', lineage: 'sim', epoch: OTHER_EPOCH, timeMs: 1, writer: 'w', entries: [] };
    const told = encodeDamageReport({ ...report, objects: [{ key: object, problem: 'missing' }] });
    if (isTold) watch.put(KEYS.damaged(OTHER_EPOCH), told, new SimulatedProcess('prune', new WorldClock(), () => 0));
    return watch.isGivenUp(object);
  }

  test('is given up where no writer stands by it and everybody is told', async () => {
    expect(await loseUnder({ isAcknowledged: false, isTold: true })).toBe(true);
  });

  test('is given up where its document came when it was gone, and nobody has looked since', async () => {
    const { watch, publish, remove, entryAt, objectOf, clock } = makeScene();
    const entry = entryAt(4);
    remove(objectOf(entry));
    await clock.advance(1);
    await publish({ epoch: EPOCH, n: 1 }, [entry], { isAcknowledged: false });
    expect(watch.isGivenUp(objectOf(entry))).toBe(true);
    expect(watch.isGivenUp('what no document names')).toBe(false);
  });

  test.each([
    ['where nobody is told', { isAcknowledged: false, isTold: false }],
    ['where a writer stands by it', { isAcknowledged: true, isTold: true }],
  ])('is not, %s', async (_where, how) => {
    expect(await loseUnder(how)).toBe(false);
  });
});

describe('no object goes that a restore needs', () => {
  const OLD = { epoch: EPOCH, n: 1 };

  /** A restore reads a document, a newer one comes, and later the old one is collected. */
  async function collectUnder(afterMs: number) {
    const scene = makeScene();
    const { watch, publish, entryAt, remove, clock, reader } = scene;
    const entry = entryAt(4);
    await publish(OLD, [entry]);
    watch.follow(reader);
    watch.got(KEYS.snapshot(OLD), reader);
    await publish({ epoch: EPOCH, n: 2 }, [entryAt(5)]);
    await clock.advance(afterMs);
    remove(KEYS.snapshot(OLD));
    return { ...scene, object: scene.objectOf(entry) };
  }

  test('neither when it is removed', async () => {
    const { find, remove, object } = await collectUnder(HOUR_MS / 2);
    remove(object);
    expect(find()).toMatch(/^no object goes that a restore needs: collector removed .*reader read/);
  });

  test('nor when it is asked for', async () => {
    const { find, watch, object, reader } = await collectUnder(HOUR_MS / 2);
    watch.missed(object, reader);
    expect(find()).toMatch(/^no object goes that a restore needs: reader read .*is gone$/);
  });

  test('what was gone before its document came was never there', async () => {
    const { find, watch, publish, entryAt, objectOf, remove, clock, reader } = makeScene();
    const entry = entryAt(4);
    remove(objectOf(entry));
    await clock.advance(1);
    await publish(OLD, [entry], { isAcknowledged: false });
    watch.follow(reader);
    watch.got(KEYS.snapshot(OLD), reader);
    watch.missed(objectOf(entry), reader);
    expect(find()).toBeUndefined();
  });

  test('a reader has as long as --keep-within says', async () => {
    const { find, remove, object } = await collectUnder(HOUR_MS + 1);
    remove(object);
    expect(find()).toBeUndefined();
  });

  test('whoever has ended needs nothing', async () => {
    const { find, watch, remove, object, reader } = await collectUnder(HOUR_MS / 2);
    watch.letGo(reader);
    remove(object);
    expect(find()).toBeUndefined();
  });
});

describe('two writers never meet', () => {
  test('on the keys of one epoch', async () => {
    const { watch, publish, reader, find } = makeScene();
    await publish({ epoch: EPOCH, n: 1 }, []);
    watch.put(KEYS.data({ epoch: EPOCH, n: 2 }, 1), Buffer.alloc(1), reader);
    expect(find()).toMatch(/^two writers: reader put .*, which is writer's$/);
  });

  test('nor does one put a key twice', async () => {
    const { watch, writer, find } = makeScene();
    for (let times = 0; times < 2; times++) watch.put(KEYS.data({ epoch: EPOCH, n: 1 }, 1), Buffer.alloc(1), writer);
    expect(find()).toMatch(/^two writers: writer put .* twice$/);
  });
});

describe('on a volume', () => {
  function openVolume() {
    const scene = makeScene({ values: 0 });
    const { clock, cluster, contents } = scene;
    const world = {
      disk: new MemoryDisk({ clock: { nowMs: () => clock.nowMs } }),
      cluster,
      contents,
      chance: new Chance(1),
      nowMs: () => clock.nowMs,
    };
    world.disk.makeDirectory(STATE_DIR);
    const app = new ModelApp(world);
    app.open('0_0', { isSlow: false });
    for (let times = 0; times < 5; times++) app.do('0_0', 'write');
    app.close('0_0');
    return { ...scene, world };
  }

  test('what is closed is true', () => {
    const { world } = openVolume();
    expect([findLocalFault('0_0', world), findForgotten('0_0', world)]).toEqual([undefined, undefined]);
  });

  test('what follows others hears of every deletion, also where hours go by at once', async () => {
    const { world, cluster, clock } = openVolume();
    const standby = { ...world, disk: new MemoryDisk({ clock: { nowMs: () => clock.nowMs } }) };
    standby.disk.makeDirectory(STATE_DIR);
    const app = new ModelApp(standby);
    app.standBy('0_0');
    const write = (key: string, value: number | undefined): void => {
      const [changelog] = cluster.changelogsOf('0_0');
      changelog?.append({ key, segment: 0, value, atMs: clock.nowMs });
      changelog?.commit(clock.nowMs);
    };
    write('k8', 1);
    app.catchUp();
    write('k8', undefined);
    await clock.advance(30 * HOUR_MS);
    write('k9', 1);
    app.endStandby('0_0');
    expect(findLocalFault('0_0', standby)).toBeUndefined();
  });

  test('what is installed is true: not what misses a table', () => {
    const { world } = openVolume();
    const [table] = world.disk
      .entries(`${STATE_DIR}/app/0_0/rocksdb/agg`, 'sorted')
      .filter(({ name }) => name.endsWith('.sst'));
    world.disk.unlink(`${STATE_DIR}/app/0_0/rocksdb/agg/${table?.name}`);
    expect(findLocalFault('0_0', world)).toMatch(/000\d+\.sst has undefined bytes/);
  });

  test('what is forgotten stays so: not where its history is over', () => {
    const { world, cluster } = openVolume();
    cluster.reset();
    expect(findForgotten('0_0', world)).toMatch(/^0_0 holds k\d=.* of history 1, now is 2$/);
  });
});

test('segments go once there is a newer one, as in Kafka Streams, and not when their store is opened', () => {
  const { clock, contents } = makeScene();
  const cluster = new Cluster({
    tasks: 1,
    isExactlyOnce: false,
    leavesCheckpoint: false,
    stores: [{ name: 'win', kind: 'segmented' }],
  });
  const disk = new MemoryDisk({ clock: { nowMs: () => clock.nowMs } });
  disk.makeDirectory(STATE_DIR);
  const app = new ModelApp({ disk, cluster, contents, chance: new Chance(1), nowMs: () => clock.nowMs });
  const segments = (): readonly string[] => disk.entries(`${STATE_DIR}/app/0_0/win`, 'sorted').map(({ name }) => name);
  const write = (segment: number): void => {
    cluster.changelog('0_0', 'win').append({ key: `w${segment}k0`, segment, value: 1, atMs: clock.nowMs });
    cluster.changelog('0_0', 'win').commit(clock.nowMs);
  };

  write(1);
  app.open('0_0', { isSlow: false });
  app.close('0_0');
  write(4);
  app.standBy('0_0');
  app.endStandby('0_0');
  expect(segments()).toEqual(['win.3600000']);
  app.open('0_0', { isSlow: false });
  expect(segments()).toEqual(['win.14400000']);
});

test('time goes by for whoever sleeps, also for what rounding left of a wait', async () => {
  const clock = new WorldClock();
  await clock.advance(131_458_200);
  const sleeper = new SimulatedProcess('sleeper', clock, () => 0).clock;
  const untilMs = sleeper.monotonicMs();
  let wokenMs: number | undefined;
  void sleeper.sleep(7.45e-9, new AbortController().signal).then(() => {
    wokenMs = sleeper.monotonicMs();
  });
  await clock.advance(10);
  expect(wokenMs).toBeGreaterThan(untilMs);
});

/** One task with one store, whose changelog holds so many values, and a repository that is watched. */
function makeScene({
  isExactlyOnce = false,
  values = 6,
  promisedMs = 23 * HOUR_MS,
  choose,
}: {
  readonly isExactlyOnce?: boolean;
  readonly values?: number;
  readonly promisedMs?: number;
  readonly choose?: ConstructorParameters<typeof Invariants>[0];
} = {}) {
  const clock = new WorldClock();
  const cluster = new Cluster({
    tasks: 1,
    isExactlyOnce,
    leavesCheckpoint: false,
    stores: [{ name: 'agg', kind: 'plain' }],
  });
  const contents = new TableContents();
  const watch = new RepositoryWatch(clock);
  const invariants = new Invariants(choose);
  const [writer, collector, reader] = [process('writer'), process('collector'), process('reader')];
  let objects = 0;

  function process(name: string): SimulatedProcess {
    return new SimulatedProcess(name, clock, () => 0);
  }

  function write(count: number, store = 'agg'): void {
    const log = cluster.changelog('0_0', store);
    for (let n = 0; n < count; n++)
      log.append({ key: `k${n}`, segment: 0, value: cluster.nextValue(), atMs: clock.nowMs });
    log.commit(clock.nowMs);
  }

  /** A table with all changes up to this offset. */
  function storeTable(store: string, holds: number): Omit<StoredFile, 'path'> {
    const changes = cluster
      .changelog('0_0', store)
      .after(-1, clock.nowMs)
      .filter((change) => change.offset <= holds);
    const table = contents.write(changes, 64);
    const key = KEYS.data({ epoch: EPOCH, n: 1_000 + objects++ }, 1);
    watch.put(key, table.bytes, writer);
    const content = { sizeBytes: 64, sha256: hash('sha256', table.bytes) };
    const stretch = { kind: 'stretch', key, ...content, storedBytes: 64, encoding: 'none' } as const;
    return { ...content, uid: undefined, objects: [stretch] };
  }

  /** The same with another store. */
  function withStore(entry: Entry, name: string, offset: number): Entry {
    const files = [{ path: `rocksdb/${name}/000009.sst`, ...storeTable(name, offset) }];
    return {
      ...entry,
      offsets: new Map([...entry.offsets, [`app-${name}-changelog-0`, BigInt(offset)]]),
      stores: [
        ...entry.stores,
        { name, kind: 'rocksdb', rocksdbVersion: undefined, columnFamilies: ['default'], files },
      ],
    };
  }

  /** At this offset, with the changes up to another one. */
  function entryAt(offset: number, { holds = offset }: { readonly holds?: number } = {}): Entry {
    const stored = storeTable('agg', holds);
    return {
      task: '0_0',
      quality: 'clean',
      layout: 'file',
      stateTimeMs: clock.nowMs,
      capturedAtMs: clock.nowMs,
      capturedBy: `${EPOCH}/${offset}${holds}${objects}`,
      offsets: new Map([['app-agg-changelog-0', BigInt(offset)]]),
      files: [{ path: '.checkpoint', ...stored }],
      stores: [
        {
          name: 'agg',
          kind: 'rocksdb',
          rocksdbVersion: undefined,
          columnFamilies: ['default'],
          files: [{ path: 'rocksdb/agg/000009.sst', ...stored }],
        },
      ],
    };
  }

  async function publish(
    name: SnapshotName,
    entries: readonly Entry[],
    { isPut = true, isAcknowledged = true }: { readonly isPut?: boolean; readonly isAcknowledged?: boolean } = {},
  ): Promise<void> {
    const by = writer;
    const change = { application: 'app', lineage: 'sim', ...name, entries, ahead: [], seen: new Map() };
    if (isPut) watch.put(KEYS.snapshot(name), await encodeDocument(sampleDocument(change)), by);
    const record = JSON.stringify({ epoch: name.epoch, newest: name.n });
    if (isAcknowledged) watch.put(KEYS.record(name.epoch), Buffer.from(record), by);
    await watch.read();
  }

  write(values);
  return {
    clock,
    cluster,
    contents,
    watch,
    writer,
    reader,
    write,
    entryAt,
    withStore,
    publish,
    remove: (key: string) => watch.deleted(key, collector),
    objectOf: (entry: Entry) => entry.stores[0]?.files[0]?.objects[0]?.key ?? '',
    find: () => invariants.find({ cluster, watch, contents, nowMs: clock.nowMs, maxAgeMs: 23 * HOUR_MS, promisedMs }),
  };
}
