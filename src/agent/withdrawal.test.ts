import { cp, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { AgentScenario } from '../../test/support/agent-scenario.ts';
import { seededRandom } from '../../test/support/seeded-random.ts';
import { Failure } from '../base/failure.ts';
import { collect } from '../repository/collection.ts';
import { filesOfEntry, type SnapshotDocument } from '../repository/document.ts';
import type { FenceScope } from '../repository/fence.ts';
import { openRepository, type Repository } from '../repository/repository.ts';
import { loadWithdrawals, type Withdrawals, writeFence } from '../repository/withdrawals.ts';
import type { ObjectStore } from '../storage/object-store.ts';

const { signal } = new AbortController();
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const LARGE_BYTES = 300 * 1024;

function open({ store }: AgentScenario): Promise<Repository> {
  return openRepository(store, { application: 'orders', lineage: 'test', notice: () => undefined, signal });
}

async function withdrawn(scene: AgentScenario): Promise<Withdrawals> {
  return loadWithdrawals(await open(scene), { signal });
}

/** As `warmstate forget` does. */
async function forget(scene: AgentScenario, change: Partial<FenceScope> = {}): Promise<void> {
  const withdrawals = await withdrawn(scene);
  const everything = { tasks: undefined, instance: undefined, layout: undefined, quality: undefined };
  const scope = { reason: 'forgotten', beforeMs: scene.clock.nowMs(), ...everything, ...change } as const;
  await writeFence(await open(scene), scope, { random: seededRandom(1), program: 'test', withdrawals, signal });
}

/** As `warmstate prune` does. */
async function prune(scene: AgentScenario): Promise<readonly string[]> {
  const settings = { maxAgeMs: 23 * HOUR_MS, keepWithinMs: 6 * HOUR_MS, isDryRun: false, program: 'test' };
  const epoch = '1750000000000-prune-aaaa';
  return (await collect(await open(scene), { ...settings, epoch, random: seededRandom(2), signal })).missing;
}

async function newest(scene: AgentScenario): Promise<SnapshotDocument | undefined> {
  return (await scene.documents()).at(-1);
}

async function offered(scene: AgentScenario): Promise<readonly string[]> {
  return ((await newest(scene))?.entries ?? []).map(({ task }) => task);
}

/** Keys that the newest document needs and the store has not. */
async function lacking(scene: AgentScenario): Promise<readonly string[]> {
  const there = new Set(scene.store.keys());
  const files = ((await newest(scene))?.entries ?? []).flatMap(filesOfEntry);
  return files.flatMap(({ objects }) => objects.map(({ key }) => key)).filter((key) => !there.has(key));
}

async function loseTables(scene: AgentScenario): Promise<void> {
  for (const key of scene.store.keys()) if (/\/data\/.*-\d{6}$/.test(key)) await scene.store.delete(key, { signal });
}

/** As a collection removes what it takes for dead. */
async function loseAll({ store }: AgentScenario): Promise<void> {
  for (const key of store.keys()) if (/\/(snapshots|data)\//.test(key)) await store.delete(key, { signal });
}

function noticesOf(scene: AgentScenario): readonly string[] {
  return scene.events.filter((event) => event.kind === 'notice').map(({ name }) => name);
}

describe('what is forgotten while the application runs', () => {
  test('is carried no further, also where nothing changes', async () => {
    await using scene = await AgentScenario.open();
    await scene.disk.plantTask('0_0', [{ number: 7 }]);
    scene.start();
    await scene.untilRounds(1);
    await scene.pass(MINUTE_MS);
    await forget(scene);
    await scene.until('a round', () => scene.rounds.length > 1, 10_000);
    expect(await offered(scene)).toEqual([]);
    expect(scene.taskStatus('0_0')?.entry).toBeUndefined();
    // No more rounds come of it.
    await scene.pass(20 * MINUTE_MS, 10_000);
    expect(scene.rounds.length).toBe(2);
  });

  test('costs one round where it is of an earlier life, and nothing is left to offer', async () => {
    await using scene = await AgentScenario.open();
    await scene.disk.plantTask('0_0', [{ number: 7 }]);
    scene.start();
    await scene.untilRounds(1);
    await scene.kill();
    await rm(join(scene.disk.applicationDirectory, '0_0'), { recursive: true });
    scene.start();
    await scene.until('the epoch', () => scene.status.epoch !== undefined);
    await forget(scene);
    await scene.pass(20 * MINUTE_MS, 10_000);
    const rounds = scene.rounds.length;
    await scene.pass(20 * MINUTE_MS, 10_000);
    expect(scene.rounds.length - rounds).toBeLessThan(2);
  });

  test('gives way to what comes after it, though its offsets are lesser', async () => {
    await using scene = await AgentScenario.open();
    await scene.disk.plantTask('0_0', [{ number: 7 }]);
    await scene.disk.checkpoint('0_0', 500);
    scene.start();
    await scene.untilRounds(1);
    await scene.pass(MINUTE_MS);
    await forget(scene, { beforeMs: Date.now() + 1000 });
    await scene.disk.checkpoint('0_0', 20);
    const afterwards = new Date(Date.now() + MINUTE_MS);
    await utimes(join(scene.disk.applicationDirectory, '0_0/.checkpoint'), afterwards, afterwards);
    await scene.pass(2000);
    scene.hint('0_0');
    await scene.untilRounds(2);
    expect((await newest(scene))?.entries.map(({ offsets }) => [...offsets.values()])).toEqual([[20n]]);
  });

  test('does not come back by a checkpoint that was only written again', async () => {
    await using scene = await AgentScenario.open();
    await scene.disk.plantTask('0_0', [{ number: 7 }]);
    scene.start();
    await scene.untilRounds(1);
    await scene.pass(MINUTE_MS);
    await forget(scene);
    await scene.disk.checkpoint('0_0', 100); // As it stood.
    const afterwards = new Date(scene.clock.nowMs() + 1000);
    await utimes(join(scene.disk.applicationDirectory, '0_0/.checkpoint'), afterwards, afterwards);
    await scene.pass(2000);
    scene.hint('0_0');
    await scene.untilRounds(2);
    expect(await offered(scene)).toEqual([]);
    expect(scene.taskStatus('0_0')?.entry).toBeUndefined();
  });

  test('does not come back by a copy of its directory, whose checkpoint alone tells an age', async () => {
    await using scene = await AgentScenario.open();
    await scene.disk.plantTask('0_0', []);
    scene.start();
    await scene.untilRounds(1);
    await scene.pass(MINUTE_MS);
    await forget(scene);
    const directory = join(scene.disk.applicationDirectory, '0_0');
    await cp(directory, `${directory}.copy`, { recursive: true });
    await rm(directory, { recursive: true });
    await rename(`${directory}.copy`, directory);
    await scene.pass(MINUTE_MS);
    const afterwards = new Date(scene.clock.nowMs());
    for (const name of await readdir(directory, { recursive: true }))
      await utimes(join(directory, name), afterwards, afterwards);
    await scene.pass(2000);
    const before = scene.rounds.length;
    scene.hint('0_0');
    await scene.untilRounds(before + 1);
    expect(await offered(scene)).toEqual([]);
  });

  test('is not captured from a volume that wakes up with it', async () => {
    await using scene = await AgentScenario.open();
    await scene.disk.plantTask('0_0', [{ number: 7 }]);
    await scene.clock.advance(MINUTE_MS);
    scene.start();
    await scene.untilRounds(1);
    scene.lock = 'stopped';
    await scene.end();
    scene.lock = 'running';
    await forget(scene);
    for (const key of scene.store.keys()) if (!key.includes('/fences/')) await scene.store.delete(key, { signal });
    scene.start({ settings: { instance: 'pod-1' } });
    await scene.untilRounds(3);
    expect([await offered(scene), await lacking(scene)]).toEqual([[], []]);
    expect(scene.store.keys().filter((key) => key.includes('/data/'))).toEqual([]);
  });
});

describe('what a running application shows to be wrong', () => {
  test('is fenced for everybody where Kafka threw a task back, and what stands there now is spared', async () => {
    await using scene = await AgentScenario.open();
    await scene.disk.plantTask('0_0', [{ number: 7 }]);
    await scene.disk.checkpoint('0_0', 500);
    scene.start();
    await scene.untilRounds(1);
    const old = await newest(scene);
    await scene.disk.checkpoint('0_0', 20);
    // So much later that no rounding hides it.
    const later = new Date(Date.now() + MINUTE_MS);
    await utimes(join(scene.disk.applicationDirectory, '0_0/.checkpoint'), later, later);
    scene.hint('0_0');
    await scene.untilRounds(2);
    const { fences } = await withdrawn(scene);
    expect(fences).toMatchObject([{ reason: 'regressed', tasks: ['0_0'], quality: undefined }]);
    const [fence] = fences;
    expect(old?.entries[0]?.stateTimeMs).toBeLessThan(fence?.beforeMs ?? 0);
    const [entry] = (await newest(scene))?.entries ?? [];
    expect([...(entry?.offsets.values() ?? [])]).toEqual([20n]);
    expect(entry?.stateTimeMs).toBeGreaterThanOrEqual(fence?.beforeMs ?? 0);
    // Once is enough.
    await scene.disk.checkpoint('0_0', 30);
    scene.hint('0_0');
    await scene.untilRounds(3);
    expect((await withdrawn(scene)).fences).toHaveLength(1);
  });

  test('is offered as it was thrown back for as long as it stands so, though the answers of the store drift', async () => {
    await using scene = await AgentScenario.open();
    const { store } = scene;
    let driftMs = 0;
    const drifting: ObjectStore = {
      put: async (key, body, options) => {
        const { storeTimeMs } = await store.put(key, body, options);
        return { storeTimeMs: storeTimeMs + driftMs };
      },
      get: (key, options) => store.get(key, options),
      head: (key, options) => store.head(key, options),
      list: async function* (prefix, options) {
        for await (const page of store.list(prefix, options))
          yield { ...page, storeTimeMs: page.storeTimeMs + driftMs };
      },
      delete: (key, options) => store.delete(key, options),
    };
    await scene.disk.plantTask('0_0', [{ number: 7 }]);
    await scene.disk.checkpoint('0_0', 500);
    scene.start({ store: drifting });
    await scene.untilRounds(1);
    await scene.disk.checkpoint('0_0', 20);
    const later = new Date(Date.now() + MINUTE_MS);
    await utimes(join(scene.disk.applicationDirectory, '0_0/.checkpoint'), later, later);
    scene.hint('0_0');
    await scene.untilRounds(2);
    driftMs = 900;
    await scene.disk.plantTask('0_1', [{ number: 7 }]);
    await scene.pass(2 * MINUTE_MS);
    scene.hint('0_1');
    await scene.untilRounds(3);
    const entries = (await newest(scene))?.entries.map(({ task, offsets }) => [task, ...offsets.values()]);
    expect(entries).toEqual([
      ['0_0', 20n],
      ['0_1', 100n],
    ]);
  });

  test('is fenced for everybody where a fence could not be put up at once', async () => {
    await using scene = await AgentScenario.open();
    await scene.disk.plantTask('0_0', [{ number: 7 }]);
    await scene.disk.checkpoint('0_0', 500);
    scene.start();
    await scene.untilRounds(1);
    scene.store.script({ operation: 'put', key: /fences/, kind: 'fail-before' });
    await scene.disk.checkpoint('0_0', 20);
    scene.hint('0_0');
    await scene.until('the fence', () => scene.store.keys().some((key) => key.includes('/fences/')));
    expect((await withdrawn(scene)).fences).toMatchObject([{ reason: 'regressed', tasks: ['0_0'] }]);
  });

  test('is fenced as far as it was captured live, where the setting is seen to lie (Q7)', async () => {
    await using scene = await AgentScenario.open();
    const database = await scene.disk.plantTask('0_0', [{ number: 7 }]);
    database.change({ add: [{ number: 9, sizeBytes: LARGE_BYTES }] });
    scene.start();
    await scene.untilRounds(1);
    expect((await newest(scene))?.entries.map(({ quality }) => quality)).toEqual(['live']);
    database.change({ add: [{ number: 10, sizeBytes: LARGE_BYTES, largestSequence: 90_000n }] });
    await scene.until('it is withdrawn', () => scene.taskStatus('0_0')?.entry === undefined && scene.rounds.length > 1);
    await scene.until('the fence', () => scene.store.keys().some((key) => key.includes('/fences/')));
    const { fences } = await withdrawn(scene);
    expect(fences).toMatchObject([{ reason: 'looks_exactly_once', tasks: ['0_0'], quality: 'live' }]);
  });
});

describe('objects that a lifecycle rule or a helpful human took away', () => {
  test('are back after the next round', async () => {
    await using scene = await AgentScenario.open();
    await scene.disk.plantTask('0_0', [{ number: 7 }, { number: 8 }]);
    await scene.disk.plantTask('0_1', [{ number: 7 }]);
    scene.start();
    await scene.untilRounds(1);
    const before = (await newest(scene))?.entries;
    await loseTables(scene);
    expect((await prune(scene)).length).toBe(2);
    // Nothing changes on disk: the agent finds it out by itself.
    await scene.until('a round', () => scene.rounds.length > 1, 10_000);
    expect([await offered(scene), await lacking(scene)]).toEqual([['0_0', '0_1'], []]);
    const after = (await newest(scene))?.entries;
    // It is the same state, not a younger one.
    expect(after?.map(({ stateTimeMs }) => stateTimeMs)).toEqual(before?.map(({ stateTimeMs }) => stateTimeMs));
    expect(await prune(scene)).toEqual(expect.any(Array));
    await scene.pass(20 * MINUTE_MS, 10_000);
    expect(scene.rounds.length).toBe(2);
  });

  test('with small files in them as well', async () => {
    await using scene = await AgentScenario.open('3.9.2-alos-closed');
    scene.start();
    await scene.untilRounds(1);
    for (const key of scene.store.keys()) if (key.endsWith('.tar.zst')) await scene.store.delete(key, { signal });
    await prune(scene);
    await scene.until('a round', () => scene.rounds.length > 1, 10_000);
    expect([await lacking(scene), (await offered(scene)).length]).toEqual([[], 5]);
  });

  test('are sent again for an entry that cannot be captured now, as far as its tables lie on the disk', async () => {
    await using scene = await AgentScenario.open();
    const database = await scene.disk.plantTask('0_0', [{ number: 7 }]);
    scene.start({ settings: { processingGuarantee: 'exactly_once_v2' } });
    await scene.untilRounds(1);
    // Written since, in a transaction that may be aborted.
    database.change({ add: [{ number: 8, sizeBytes: LARGE_BYTES }] });
    scene.hint('0_0');
    await scene.untilRounds(2);
    const before = (await newest(scene))?.entries;
    await loseTables(scene);
    await prune(scene);
    await scene.until('a round', () => scene.rounds.length > 2, 10_000);
    const after = (await newest(scene))?.entries;
    expect(await lacking(scene)).toEqual([]);
    expect(after?.map(({ task, offsets }) => [task, offsets])).toEqual(
      before?.map(({ task, offsets }) => [task, offsets]),
    );
  });
});

describe('a writer that was cut off for longer than what it leans on is kept (G2)', () => {
  const documentKeys = ({ store }: AgentScenario): readonly string[] =>
    store.keys().filter((key) => key.includes('/snapshots/'));

  test('withdraws a snapshot that goes on from one that is gone, and sends everything again', async () => {
    await using scene = await AgentScenario.open();
    await scene.disk.plantTask('0_0', [{ number: 7 }]);
    await scene.disk.plantTask('0_1', [{ number: 7 }]);
    scene.start();
    await scene.untilRounds(1);
    await scene.pass(4 * HOUR_MS, MINUTE_MS);
    await loseAll(scene);
    await scene.disk.checkpoint('0_0', 200);
    scene.hint('0_0');
    await scene.untilRounds(2);
    expect(scene.rounds.map(({ result }) => result)).toEqual(['published', 'published']);
    expect([await offered(scene), await lacking(scene)]).toEqual([['0_0', '0_1'], []]);
    expect(documentKeys(scene)).toHaveLength(1);
    expect(noticesOf(scene)).toContain('snapshot-withdrawn');
  });

  test('without the right to delete publishes one that supersedes it', async () => {
    await using scene = await AgentScenario.open();
    await scene.disk.plantTask('0_0', [{ number: 7 }]);
    scene.start();
    await scene.untilRounds(1);
    await scene.pass(4 * HOUR_MS, MINUTE_MS);
    await loseAll(scene);
    scene.store.script({ operation: 'delete', kind: 'fail-before', times: Infinity });
    await scene.disk.checkpoint('0_0', 200);
    scene.hint('0_0');
    await scene.untilRounds(2);
    expect([documentKeys(scene).length, await lacking(scene)]).toEqual([2, []]);
    expect(scene.records().map(({ newest: n }) => n)).toEqual([3]);
  });

  test('does so too where that one says the same as the one before', async () => {
    await using scene = await AgentScenario.open();
    await scene.disk.plantTask('0_0', [{ number: 7 }]);
    scene.start({ stallTimeoutMs: 9 * HOUR_MS });
    await scene.untilRounds(1);
    scene.store.script({ operation: 'put', key: /\/snapshots\//, kind: 'delay', ms: 7 * HOUR_MS });
    scene.store.script({ operation: 'delete', kind: 'fail-before', times: Infinity });
    await scene.disk.plantTask('0_1', [{ number: 7 }]);
    scene.hint('0_1');
    await scene.pass(HOUR_MS, MINUTE_MS);
    await rm(join(scene.disk.applicationDirectory, '0_1'), { recursive: true });
    await scene.until('the next snapshot', () => scene.rounds.length > 1, MINUTE_MS);
    expect([documentKeys(scene).length, await offered(scene)]).toEqual([3, ['0_0']]);
  });

  test('looks for the snapshot of its previous life, however young that is', async () => {
    await using scene = await AgentScenario.open();
    await scene.disk.plantTask('0_0', [{ number: 7 }]);
    scene.start();
    await scene.untilRounds(1);
    scene.lock = 'stopped';
    await scene.end();
    scene.lock = 'running';
    scene.start();
    await scene.until('the epoch', () => scene.status.epoch !== undefined);
    await loseAll(scene);
    await scene.disk.checkpoint('0_0', 200);
    scene.hint('0_0');
    await scene.until('a document', () => documentKeys(scene).length > 0);
    await scene.pass(10_000);
    expect([await offered(scene), await lacking(scene)]).toEqual([['0_0'], []]);
  });

  test('leaves nothing to the life after it that it could not look for any more', async () => {
    await using scene = await AgentScenario.open();
    const { store } = scene;
    const exactlyOnce = { processingGuarantee: 'exactly_once_v2' } as const;
    const cutOff: ObjectStore = {
      put: (key, body, options) => store.put(key, body, options),
      get: (key, options) => store.get(key, options),
      head: async (key, options) => {
        if (key.includes('/snapshots/')) throw new Failure('unavailable', 'cut off');
        return store.head(key, options);
      },
      list: (prefix, options) => store.list(prefix, options),
      delete: (key, options) => store.delete(key, options),
    };
    const database = await scene.disk.plantTask('0_0', [{ number: 7 }]);
    scene.start({ settings: exactlyOnce, store: cutOff });
    await scene.untilRounds(1);
    // From here on it cannot be captured.
    database.change({ add: [{ number: 8, sizeBytes: LARGE_BYTES }], remove: [7] });
    await scene.pass(4 * HOUR_MS, MINUTE_MS);
    await loseAll(scene);
    await scene.disk.plantTask('0_1', [{ number: 7 }]);
    scene.hint('0_1');
    await scene.until('a document', () => documentKeys(scene).length > 0);
    await scene.kill();
    expect([await offered(scene), (await lacking(scene)).length > 0]).toEqual([['0_0', '0_1'], true]);
    scene.start({ settings: exactlyOnce });
    await scene.until('its snapshot', () => scene.status.snapshot !== undefined);
    expect([await offered(scene), await lacking(scene)]).toEqual([['0_1'], []]);
  });

  test('asks nothing while it publishes in time', async () => {
    await using scene = await AgentScenario.open();
    await scene.disk.plantTask('0_0', [{ number: 7 }]);
    scene.start();
    await scene.untilRounds(1);
    scene.store.log.length = 0;
    await scene.disk.checkpoint('0_0', 200);
    scene.hint('0_0');
    await scene.untilRounds(2);
    expect(scene.store.log.filter((line) => /^(head|delete)/.test(line))).toEqual([]);
  });

  test('sends again what it had sent for a snapshot that came too late', async () => {
    await using scene = await AgentScenario.open();
    await scene.disk.plantTask('0_0', [{ number: 7 }]);
    // The whole machine stands still while the document is under way; only the store's clock goes on.
    scene.store.script({ operation: 'put', key: /\/data\/.*tar/, kind: 'delay', ms: 7 * HOUR_MS });
    scene.start({ stallTimeoutMs: 9 * HOUR_MS });
    await scene.until('a document', () => scene.rounds.length > 0, MINUTE_MS);
    expect(noticesOf(scene)).toContain('snapshot-withdrawn');
    const tables = scene.store.keys().filter((key) => /\/data\/.*-\d{6}$/.test(key));
    expect([tables.length, await lacking(scene), await offered(scene)]).toEqual([2, [], ['0_0']]);
  });

  describe('goes on offering what it cannot capture now', () => {
    const exactlyOnce = { processingGuarantee: 'exactly_once_v2' } as const;

    /**
     * The machine stands still for hours while it sends what an open transaction wrote; the old tables are merged into that.
     * `meanwhile` happens before it withdraws its snapshot.
     */
    async function freeze(scene: AgentScenario, meanwhile: () => Promise<unknown> = async () => {}): Promise<void> {
      const { store } = scene;
      const database = await scene.disk.plantTask('0_0', [{ number: 7 }]);
      const watched: ObjectStore = {
        put: (key, body, options) => store.put(key, body, options),
        get: (key, options) => store.get(key, options),
        head: (key, options) => store.head(key, options),
        list: (prefix, options) => store.list(prefix, options),
        delete: async (key, options) => {
          if (key.includes('/snapshots/')) await meanwhile();
          await store.delete(key, options);
        },
      };
      scene.start({ settings: exactlyOnce, stallTimeoutMs: 9 * HOUR_MS, store: watched });
      await scene.untilRounds(1);
      store.script({ operation: 'put', key: /\/data\//, kind: 'delay', ms: 7 * HOUR_MS });
      database.change({ add: [{ number: 8, sizeBytes: LARGE_BYTES }], remove: [7] });
      scene.hint('0_0');
      await scene.until('the next snapshot', () => scene.rounds.length > 1, MINUTE_MS);
      expect(noticesOf(scene)).toContain('snapshot-withdrawn');
    }

    test('as its own snapshot before still names it', async () => {
      await using scene = await AgentScenario.open();
      await freeze(scene);
      expect([documentKeys(scene).length, await offered(scene), await lacking(scene)]).toEqual([2, ['0_0'], []]);
      await scene.kill();
      await scene.disk.loseDisk();
      const { store, clock } = scene;
      const { tasks } = await scene.disk.restore({ store, clock, guarantee: 'exactly_once_v2' });
      expect(tasks.map(({ task, decision }) => [task, decision])).toEqual([['0_0', 'warm']]);
    });

    test('as another snapshot that it leans on still names it', async () => {
      await using scene = await AgentScenario.open();
      const runOnce = async (instance: string): Promise<void> => {
        scene.lock = 'running';
        scene.start({ settings: { ...exactlyOnce, instance } });
        await scene.until('its snapshot', () => documentKeys(scene).some((key) => key.includes(instance)));
        scene.lock = 'stopped';
        await scene.end();
        await scene.disk.loseDisk();
      };
      await scene.disk.plantTask('0_1', [{ number: 7 }]);
      await runOnce('pod-1');
      await scene.disk.plantTask('0_0', [{ number: 7 }]);
      await runOnce('pod-2');
      const { store, clock } = scene;
      await scene.disk.restore({ store, clock, guarantee: 'exactly_once_v2', selection: { kind: 'all' } });
      await rm(join(scene.disk.applicationDirectory, '0_0/.checkpoint'));
      await rm(join(scene.disk.applicationDirectory, '0_1/.checkpoint'));
      scene.lock = 'running';
      scene.start({ settings: exactlyOnce });
      await scene.until('the epoch', () => scene.status.epoch !== undefined);
      for (const key of documentKeys(scene)) if (key.includes('pod-1')) await store.delete(key, { signal });
      await scene.until('its snapshot', () => scene.status.snapshot !== undefined);
      expect(noticesOf(scene)).toContain('snapshot-withdrawn');
      expect([await offered(scene), await lacking(scene)]).toEqual([['0_0'], []]);
    });

    test('but not what was found missing meanwhile', async () => {
      await using scene = await AgentScenario.open();
      await freeze(scene, async () => {
        await loseTables(scene);
        expect((await prune(scene)).length).toBeGreaterThan(0);
      });
      expect(await offered(scene)).toEqual([]);
    });

    test('nor what was forgotten meanwhile', async () => {
      await using scene = await AgentScenario.open();
      await freeze(scene, () => forget(scene));
      expect(await offered(scene)).toEqual([]);
    });

    test('nor what a collection took together with that snapshot', async () => {
      await using scene = await AgentScenario.open();
      await freeze(scene, () => loseAll(scene));
      expect([documentKeys(scene).length, await offered(scene), await lacking(scene)]).toEqual([1, [], []]);
    });
  });
});

test('a fence of the regressed state is found by its time, not by when it is captured', async () => {
  await using scene = await AgentScenario.open();
  await scene.disk.plantTask('0_0', [{ number: 7 }]);
  const { mtimeMs } = await stat(join(scene.disk.applicationDirectory, '0_0/.checkpoint'));
  scene.start();
  await scene.untilRounds(1);
  await forget(scene, { beforeMs: Math.floor(mtimeMs) - 10 * MINUTE_MS });
  await scene.pass(20 * MINUTE_MS, 10_000);
  expect(await offered(scene)).toEqual(['0_0']);
});
