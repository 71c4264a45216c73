import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { ObjectStore } from '../../src/storage/object-store.ts';
import { AgentScenario } from '../support/agent-scenario.ts';

const CLOSED = '3.9.2-alos-closed';
const LARGE_BYTES = 300 * 1024;

/** What was written to the store, without the signs of life, which come whenever a minute has gone by. */
function writes(scene: AgentScenario, from = 0): readonly string[] {
  const puts = scene.store.log.slice(from).filter((line) => line.startsWith('put'));
  const names = puts.map((line) => line.replace(/^put orders\/test\//, '').replace(/\d{13}-pod-0-\w{4}/g, 'E'));
  return names.filter((name, index) => {
    return name !== 'records/E.json' || /^(?:snapshots|repository)/.test(names[index - 1] ?? '');
  });
}

/** The port, until so many requests were made: the next one finds the process dead, before or after it is done. */
function mortalStore(store: ObjectStore, death: { readonly after: number; readonly die: () => void }): ObjectStore {
  let made = 0;
  const step = async <T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> => {
    if (made === death.after) death.die();
    made += 1;
    signal.throwIfAborted();
    return work();
  };
  return {
    put: (key, body, options) => step(() => store.put(key, body, options), options.signal),
    get: (key, options) => step(() => store.get(key, options), options.signal),
    head: (key, options) => step(() => store.head(key, options), options.signal),
    delete: (key, options) => step(() => store.delete(key, options), options.signal),
    list: (prefix, options) => store.list(prefix, options),
  };
}

/** Hashes of what travels, by task and path. */
async function statesOf(scene: AgentScenario): Promise<ReadonlyMap<string, string>> {
  const byTask = Map.groupBy(Object.entries(await scene.disk.hashes()), ([path]) => path.split('/')[1] ?? '');
  return new Map([...byTask].map(([task, files]) => [task, JSON.stringify(files)]));
}

/** Everything that is offered, filled into the emptied directory. */
async function restored(scene: AgentScenario): Promise<ReadonlyMap<string, string>> {
  await scene.disk.loseDisk();
  await scene.disk.restore({ store: scene.store, clock: scene.clock });
  return statesOf(scene);
}

test('a life writes data, archive, document and record in this order, and nothing else', async () => {
  await using scene = await AgentScenario.open();
  const database = await scene.disk.plantTask('0_0', [{ number: 7 }]);
  scene.start();
  await scene.untilRounds(1);
  database.change({ add: [{ number: 8, sizeBytes: LARGE_BYTES }] });
  await scene.disk.checkpoint('0_0', 200);
  await scene.untilRounds(2);
  scene.lock = 'stopped';
  await scene.end();
  expect(writes(scene)).toEqual([
    'repository.json',
    'records/E.json',
    'data/E/00000001-000000',
    'data/E/00000001-000001.tar.zst',
    'snapshots/E/00000001.json.zst',
    'records/E.json',
    'data/E/00000002-000000',
    'data/E/00000002-000001.tar.zst',
    'snapshots/E/00000002.json.zst',
    'records/E.json',
  ]);
});

test('killed after any step, what is offered is whole, and the next life goes on from it', {
  timeout: 300_000,
}, async () => {
  await using scene = await AgentScenario.open(CLOSED);
  scene.start();
  await scene.untilRounds(1);
  await scene.kill();
  let deaths = 0;
  for (let after = 0; ; after++) {
    const before = await statesOf(scene);
    await scene.disk.moveOffsets('0_0', 5);
    await scene.disk.moveOffsets('1_1', 5);
    const wanted = await statesOf(scene);
    const documents = (await scene.documents()).length;
    const rounds = scene.rounds.length;
    scene.start({ store: mortalStore(scene.store, { after, die: () => void scene.kill() }) });
    await scene.until('it is dead, or done', () => scene.hasEnded || scene.rounds.length > rounds);
    const isDone = !scene.hasEnded;
    if (!isDone) deaths += 1;
    await scene.kill();
    const isPublished = (await scene.documents()).length > documents;
    expect(await restored(scene), `killed after ${after} requests`).toEqual(isPublished ? wanted : before);
    if (isDone) break;
  }
  // Opening the epoch, looking back, data, document, record.
  expect(deaths).toBeGreaterThan(6);
});

describe('after a restore', () => {
  test('the first snapshot sends only what the application wrote since', async () => {
    await using scene = await AgentScenario.open();
    await scene.disk.plantTask('0_0', [{ number: 7 }, { number: 8 }]);
    await scene.disk.plantTask('0_1', [{ number: 7 }]);
    scene.start();
    await scene.untilRounds(1);
    await scene.kill();
    await restored(scene);
    const from = scene.store.log.length;
    scene.start();
    await scene.untilRounds(2);
    expect([scene.rounds[1]?.uploadedBytes, writes(scene, from)]).toEqual([
      0,
      ['snapshots/E/00000001.json.zst', 'records/E.json'],
    ]);
    expect(scene.status.restore).toMatchObject({
      outcome: 'restored',
      tasks: [{ decision: 'warm' }, { decision: 'warm' }],
    });

    await scene.disk.checkpoint('0_1', 300);
    await scene.untilRounds(3);
    expect(scene.rounds[2]?.uploadedBytes).toBeLessThan(1000);
    const [record] = scene.records().filter(({ role }) => role === 'restore');
    expect(scene.records().at(-1)?.after).toBe(record?.epoch);
  });

  test('of another application nothing is said', async () => {
    await using scene = await AgentScenario.open();
    await scene.disk.plantTask('0_0', [{ number: 7 }]);
    scene.start();
    await scene.untilRounds(1);
    await scene.kill();
    await restored(scene);
    scene.start({ settings: { applicationId: 'payments' } });
    await scene.until('it has begun', () => scene.status.epoch !== undefined);
    expect([scene.status.restore, scene.status.problems]).toEqual([undefined, []]);
  });

  test('what lies on the volume stays where its own life, killed a moment ago, had published less', async () => {
    await using scene = await AgentScenario.open();
    await scene.disk.plantTask('0_0', [{ number: 7 }]);
    scene.start();
    await scene.untilRounds(1);
    await scene.disk.checkpoint('0_0', 200);
    await scene.kill();
    scene.lock = 'stopped';
    const { store, clock } = scene;
    const { tasks } = await scene.disk.restore({ store, clock, guarantee: 'at_least_once' });
    expect(tasks.map(({ task, decision }) => [task, decision])).toEqual([['0_0', 'local']]);
  });

  test('an application that empties its directory at its start is found out', async () => {
    await using scene = await AgentScenario.open();
    await scene.disk.plantTask('0_0', [{ number: 7 }]);
    scene.lock = 'stopped';
    scene.start();
    await scene.untilRounds(1);
    await scene.end();
    await restored(scene);
    for (const name of await readdir(scene.disk.applicationDirectory)) {
      await rm(join(scene.disk.applicationDirectory, name), { recursive: true });
    }
    scene.lock = 'running';
    scene.start();
    await scene.until('it says so', () => scene.status.problems.length > 0);
    expect(scene.status.problems).toMatchObject([{ area: 'state-dir', message: expect.stringContaining('0_0') }]);
  });
});

test('Q7: what was live is offered no longer once the setting is seen to lie', async () => {
  await using scene = await AgentScenario.open();
  const database = await scene.disk.plantTask('0_0', [{ number: 7 }]);
  scene.start();
  await scene.untilRounds(1);
  database.change({ add: [{ number: 8, sizeBytes: LARGE_BYTES }] });
  await scene.disk.checkpoint('0_0', 200);
  database.change({ add: [{ number: 9, sizeBytes: LARGE_BYTES }] });
  await scene.untilRounds(2);
  const qualities = async (): Promise<unknown> =>
    (await scene.documents()).at(-1)?.entries.map(({ task, quality }) => [task, quality]);
  expect(await qualities()).toEqual([['0_0', 'live']]);
  database.change({ add: [{ number: 10, sizeBytes: LARGE_BYTES, largestSequence: 90_000n }] });
  await scene.until('it shows', () => scene.taskStatus('0_0')?.why?.reason === 'looks_exactly_once');
  await scene.until('it is withdrawn', () => scene.taskStatus('0_0')?.entry === undefined);
  expect(await qualities()).toEqual([]);
});

describe('under exactly-once', () => {
  const settings = { processingGuarantee: 'exactly_once_v2' } as const;

  test('tables of a running task are sent ahead, so that little is left when it is closed', async () => {
    await using scene = await AgentScenario.open();
    const database = await scene.disk.plantTask('0_0', [{ number: 7 }]);
    database.change({ add: [{ number: 8, sizeBytes: LARGE_BYTES }] });
    scene.start({ settings });
    await scene.untilRounds(1);
    const [document] = await scene.documents();
    expect([document?.entries, document?.ahead.map(({ path }) => path).sort()]).toEqual([
      [],
      ['rocksdb/agg/000007.sst', 'rocksdb/agg/000008.sst'],
    ]);
    await scene.pass(2000);
    expect(scene.taskStatus('0_0')).toMatchObject({ state: 'uncapturable', why: { reason: 'exactly_once_running' } });
    expect(scene.status.finalSnapshot.pendingBytes).toBe(0);

    await scene.disk.checkpoint('0_0', 200);
    scene.hint('0_0');
    scene.lock = 'stopped';
    await scene.end();
    const [, last] = await scene.documents();
    expect(last?.entries.map(({ task, quality }) => [task, quality])).toEqual([['0_0', 'clean']]);
    const final = scene.rounds.at(-1);
    expect(final?.uploadedBytes).toBeLessThan(2000);
  });

  test('Q2: a checkpoint is looked at when it is written, and compactions after that do no harm', async () => {
    await using scene = await AgentScenario.open();
    const database = await scene.disk.plantTask('0_0', [{ number: 7 }]);
    scene.start({ settings });
    await scene.untilRounds(1);
    database.change({ add: [{ number: 8, sizeBytes: LARGE_BYTES }] });
    await scene.disk.checkpoint('0_0', 200);
    scene.hint('0_0');
    await scene.until('it is seen', () => scene.taskStatus('0_0')?.isPending === true);
    // Born after the checkpoint, with nothing newer in it.
    database.change({ add: [{ number: 9, sizeBytes: LARGE_BYTES, largestSequence: 8n }], remove: [7, 8] });
    await scene.untilRounds(2);
    const [, second] = await scene.documents();
    expect(second?.entries.map(({ offsets, quality }) => [offsets.get('orders-agg-changelog-0'), quality])).toEqual([
      [200n, 'clean'],
    ]);
  });

  test('without watches a checkpoint is seen within two seconds', async () => {
    await using scene = await AgentScenario.open();
    await scene.disk.plantTask('0_0', [{ number: 7 }]);
    scene.start({ settings, watches: false });
    await scene.untilRounds(1);
    await scene.pass(3000);
    await scene.disk.checkpoint('0_0', 200);
    await scene.pass(2500);
    expect(scene.taskStatus('0_0')?.isPending).toBe(true);
  });

  /** The application flushes, is killed, opens the database anew, and writes a checkpoint over it, after one round. */
  async function goOnOverUncovered(scene: AgentScenario): Promise<void> {
    const database = await scene.disk.plantTask('0_0', [{ number: 7 }]);
    scene.start({ settings });
    await scene.untilRounds(1);
    database.change({ add: [{ number: 8, sizeBytes: LARGE_BYTES }] });
    await scene.pass(45_000);
    database.rollManifest();
    await scene.disk.checkpoint('0_0', 200);
  }

  test('Q6: one that is killed and comes back over uncovered tables is tainted, and that is told in record and document', async () => {
    await using scene = await AgentScenario.open();
    await goOnOverUncovered(scene);
    await scene.pass(15_000);
    expect(scene.taskStatus('0_0')).toMatchObject({ why: { reason: 'unclean_restart' } });
    await scene.untilRounds(2);
    expect(
      scene
        .records()
        .at(-1)
        ?.taints.map(({ task }) => task),
    ).toEqual(['0_0']);
    const [, second] = await scene.documents();
    expect(second?.seen.get('0_0')?.tainted).toBe(true);
    expect(second?.entries.map(({ offsets }) => offsets.get('orders-agg-changelog-0'))).toEqual([100n]);
  });

  test('Q6: a taint outlives who saw it and was killed before the next document', async () => {
    await using scene = await AgentScenario.open();
    await goOnOverUncovered(scene);
    await scene.until('it is in the record', () => (scene.records().at(-1)?.taints.length ?? 0) > 0);
    await scene.kill();
    expect(scene.rounds.length).toBe(1);

    scene.start({ settings });
    await scene.untilRounds(2);
    expect(scene.taskStatus('0_0')).toMatchObject({ why: { reason: 'unclean_restart' } });
    const [, second] = await scene.documents();
    expect(second?.entries.map(({ offsets }) => offsets.get('orders-agg-changelog-0'))).toEqual([100n]);
    await scene.kill();
  });

  test('Q6: nor does a restore leave it in place', async () => {
    await using scene = await AgentScenario.open();
    await goOnOverUncovered(scene);
    await scene.until('it is in the record', () => (scene.records().at(-1)?.taints.length ?? 0) > 0);
    await scene.kill();
    const { store, clock } = scene;
    const { tasks } = await scene.disk.restore({ store, clock, guarantee: 'exactly_once_v2' });
    expect(tasks.map(({ decision, offsets }) => [decision, offsets.get('orders-agg-changelog-0')])).toEqual([
      ['warm', 100n],
    ]);
  });
});
