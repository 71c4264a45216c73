import { readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { SnapshotResult } from '../../src/agent/snapshot-result.ts';
import { type Clock, systemClock, systemRandom } from '../../src/base/clock.ts';
import { isFailure } from '../../src/base/failure.ts';
import { openFileStore } from '../../src/storage/file-store.ts';
import { listFiles, Scenario } from '../support/scenario.ts';
import { SimulatedStore } from '../support/simulated-store.ts';
import { warmstate } from '../support/warmstate.ts';

const CLOSED = '3.9.2-alos-closed';

function outcomes({ tasks }: SnapshotResult): Readonly<Record<string, string>> {
  return Object.fromEntries(
    tasks.map(({ task, outcome, why }) => [task, why === undefined ? outcome : `${outcome}: ${why.reason}`]),
  );
}

function all(word: string): Record<string, string> {
  return { '0_0': word, '0_1': word, '1_0': word, '1_1': word, global: word };
}

/** This machine's clock, set wrong by so much. */
function clockAhead(byMs: () => number): Clock {
  return { ...systemClock, nowMs: () => Date.now() + byMs() };
}

describe('a second snapshot', () => {
  test.each([CLOSED, '4.2.2-eos-closed', '2.8.2-alos-closed'])(
    'of what did not change reads and sends nothing (%s)',
    async (recording) => {
      await using scenario = await Scenario.open(recording);
      expect(outcomes(await scenario.snapshot())).toEqual(all('captured'));
      const second = await scenario.snapshot();
      expect([outcomes(second), second.bytesRead, second.bytesUploaded, second.objectsUploaded]).toEqual([
        all('unchanged'),
        0,
        0,
        0,
      ]);
    },
  );

  test('sends of a task that went on what is new, and no table that is stored', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    await scenario.moveOffsets('0_0', 5);
    const second = await scenario.snapshot();
    expect(outcomes(second)).toEqual({ ...all('unchanged'), '0_0': 'captured' });
    // The checkpoint alone.
    expect(second.bytesRead).toBeLessThan(200);
  });

  test.each([
    ['small, in a recorded directory', '2.8.2-alos-closed', '0_0'],
    ['large', undefined, '9_9'],
  ])('knows tables without an id by their content (%s)', async (_size, recording, task) => {
    await using scenario = await Scenario.open(recording);
    await scenario.plantTask('9_9', [{ number: 7 }, { number: 8 }]);
    await scenario.snapshot();
    await scenario.moveOffsets(task, 5);
    const second = await scenario.snapshot();
    expect(outcomes(second)[task]).toBe('captured');
    // Read they were, but what was sent is the checkpoint in its archive.
    expect([second.bytesUploaded < 400, second.bytesReused > 10_000]).toEqual([true, true]);
  });

  test('never takes a task that is being filled again for another topology', async () => {
    await using scenario = await Scenario.open(CLOSED);
    const first = await scenario.snapshot();
    // The disk was lost, and a new process has begun to read the changelogs.
    await rm(join(scenario.applicationDirectory, '0_0/rocksdb/agg/CURRENT'));
    await scenario.rewriteCheckpoint('0_1', (line) => line.replace(/(-win-changelog 1 )\d+/, '$1-4'));
    const second = await scenario.snapshot();
    expect(outcomes(second)).toEqual({
      ...all('unchanged'),
      '0_0': 'carried: being_deleted',
      '0_1': 'carried: no_offset',
    });
    expect(second.tasks.map(({ offsets }) => offsets)).toEqual(first.tasks.map(({ offsets }) => offsets));
    expect(second.tasks[1]?.why?.message).toBe(
      'orders-win-changelog-1 has no offset yet: its store is still being filled',
    );
  });

  test('takes lesser offsets in the same directory for another history: reported, and what was further goes', async () => {
    await using scenario = await Scenario.open(CLOSED);
    const first = await scenario.snapshot();
    await scenario.moveOffsets('0_0', -3);
    const second = await scenario.snapshot();
    expect(outcomes(second)).toEqual({ ...all('unchanged'), '0_0': 'captured: regressed' });
    const offsetsOf = ({ tasks }: SnapshotResult) => [...(tasks[0]?.offsets ?? [])];
    expect(offsetsOf(second)).toEqual(offsetsOf(first).map(([changelog, offset]) => [changelog, offset - 3n]));
    expect(scenario.events).toContainEqual(expect.objectContaining({ kind: 'notice', name: 'task-regressed' }));
    // The process after it knows no more of it.
    expect(outcomes(await scenario.snapshot())).toEqual(all('unchanged'));
  });

  test('A2: keeps the state time of offsets that did not move, though the checkpoint was written anew', async () => {
    await using scenario = await Scenario.open(CLOSED);
    const first = await scenario.snapshot();
    await scenario.moveOffsets('1_0', 0);
    const second = await scenario.snapshot();
    expect(outcomes(second)).toEqual(all('unchanged'));
    expect(second.tasks.map(({ stateTimeMs }) => stateTimeMs)).toEqual(
      first.tasks.map(({ stateTimeMs }) => stateTimeMs),
    );
  });

  test('carries a task that is gone, and one that is being deleted', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    await rm(join(scenario.applicationDirectory, '1_0'), { recursive: true });
    await rm(join(scenario.applicationDirectory, '0_0/rocksdb/agg/CURRENT'));
    expect(outcomes(await scenario.snapshot())).toEqual({
      ...all('unchanged'),
      '0_0': 'carried: being_deleted',
      '1_0': 'carried',
    });
    await scenario.loseDisk();
    expect((await scenario.restore()).tasks.map(({ decision }) => decision)).toEqual(
      Array.from({ length: 5 }, () => 'warm'),
    );
  });

  test('A2: also where what was stored of them is too old and gone', async () => {
    await using scenario = await Scenario.open(CLOSED);
    const first = await scenario.snapshot();
    await scenario.snapshot({ maxAgeMs: 1 });
    for (const { task } of first.tasks) await scenario.moveOffsets(task, 0);
    const again = await scenario.snapshot();
    expect(outcomes(again)).toEqual(all('captured'));
    expect(again.tasks.map(({ stateTimeMs }) => stateTimeMs)).toEqual(
      first.tasks.map(({ stateTimeMs }) => stateTimeMs),
    );
  });

  test('lets go of what is older than max-age', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    expect(outcomes(await scenario.snapshot({ maxAgeMs: 1 }))).toEqual(all('uncapturable: too_old'));
  });

  test('keeps what is older where brokers say that nothing was written since (A4)', async () => {
    await using scenario = await Scenario.open();
    await scenario.plantTask('0_0', [{ number: 7 }]);
    const endsAt = (end: bigint) => async () => {
      const partitions = new Map([[0, { start: 0n, end, isSettled: true }]]);
      const topic = { kind: 'present', id: 'a', tombstonesMs: undefined, partitions } as const;
      return { topics: new Map([['orders-agg-changelog', topic]]), isTransactional: false };
    };
    await scenario.snapshot();
    const snapshot = async (end: bigint) =>
      outcomes(await scenario.snapshot({ maxAgeMs: 1, consultBrokers: endsAt(end) }));
    expect([await snapshot(101n), await snapshot(102n)]).toEqual([
      { '0_0': 'unchanged' },
      { '0_0': 'uncapturable: too_old' },
    ]);
  });

  test('lets go of a task that is gone once it is older than max-age', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    await rm(join(scenario.applicationDirectory, '1_0'), { recursive: true });
    expect(outcomes(await scenario.snapshot())['1_0']).toBe('carried');
    const nextDay = clockAhead(() => 23 * 3_600_000);
    expect(outcomes(await scenario.snapshot({ clock: nextDay }))).not.toHaveProperty('1_0');
  });

  test('replaces an entry whose store left the topology, though its offsets are equal', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    // A new release of the application has no `win`: its directory stays, its offset goes.
    await scenario.rewriteCheckpoint('0_0', (line) => (line.includes('-win-') ? undefined : line));
    const second = await scenario.snapshot();
    expect(outcomes(second)['0_0']).toBe('captured: no_offset');
    expect([...(second.tasks.find(({ task }) => task === '0_0')?.offsets.keys() ?? [])]).toEqual([
      'orders-agg-changelog-0',
    ]);
  });
});

describe('what cannot be captured', () => {
  test('of a running exactly-once application is sent ahead, and serves when it can be', async () => {
    await using scenario = await Scenario.open();
    const guarantee = 'exactly_once_v2';
    const database = await scenario.plantTask('0_0', [{ number: 7 }]);
    await scenario.snapshot({ guarantee });
    // It writes on: what is new may hold writes of transactions that are aborted yet.
    database.change({ add: [{ number: 8, sizeBytes: 400 * 1024 }] });
    const running = await scenario.snapshot({ guarantee, state: 'running' });
    expect(outcomes(running)).toEqual({ '0_0': 'carried: exactly_once_running' });
    expect([running.bytesRead, running.objectsUploaded]).toEqual([400 * 1024, 1]);
    expect(running.tasks[0]?.offsets).toEqual(new Map([['orders-agg-changelog-0', 100n]]));

    await scenario.checkpoint('0_0', 200);
    const closed = await scenario.snapshot({ guarantee });
    expect([outcomes(closed), closed.bytesRead < 1000]).toEqual([{ '0_0': 'captured' }, true]);
    const before = await scenario.hashes();
    await scenario.loseDisk();
    expect((await scenario.restore({ guarantee })).outcome).toBe('restored');
    expect(await scenario.hashes()).toEqual(before);
  });

  test('of Kafka Streams 4.3 is what has segments, or is global, and is open', async () => {
    await using scenario = await Scenario.open('4.3.1-alos-flushed');
    const windowed = 'uncapturable: segmented';
    const expected = { '0_0': windowed, '0_1': windowed, '1_0': 'captured', '1_1': 'captured', global: windowed };
    expect(outcomes(await scenario.snapshot())).toEqual(expected);
  });

  test('of Kafka Streams 4.3 takes no checkpoint along that lies beside offsets inside the databases (I6)', async () => {
    await using scenario = await Scenario.open('4.3.1-alos-closed');
    const task = join(scenario.applicationDirectory, '1_0');
    await writeFile(join(task, '.checkpoint'), '0\n1\norders-agg-changelog 0 1\n');
    await utimes(task, 1_000_000_000, 1_000_000_000);
    expect(outcomes(await scenario.snapshot())['1_0']).toBe('captured');
    await scenario.loseDisk();
    expect((await scenario.restore()).outcome).toBe('restored');
    expect(await readdir(task)).not.toContain('.checkpoint');
  });

  test('for a checkpoint with a wrong count, a store without an entry, an entry without a store', async () => {
    await using scenario = await Scenario.open(CLOSED);
    const checkpoint = (task: string): string => join(scenario.applicationDirectory, task, '.checkpoint');
    await writeFile(checkpoint('0_0'), (await readFile(checkpoint('0_0'), 'utf8')).replace('\n2\n', '\n3\n'));
    await writeFile(
      checkpoint('0_1'),
      (await readFile(checkpoint('0_1'), 'utf8')).replace('\n2\n', '\n1\n').replace(/.*-win-.*\n/, ''),
    );
    await writeFile(
      checkpoint('1_0'),
      (await readFile(checkpoint('1_0'), 'utf8')).replace('\n1\n', '\n2\n').concat('orders-lost-changelog 0 7\n'),
    );
    const result = await scenario.snapshot();
    expect(outcomes(result)).toEqual({
      ...all('captured'),
      '0_0': 'uncapturable: damaged',
      '0_1': 'captured: no_offset',
      '1_0': 'uncapturable: incomplete',
    });
    expect(result.tasks[1]?.why?.message).toBe('without an offset, so left out: win');
    const windows = join(scenario.applicationDirectory, '0_1/win');
    await scenario.loseDisk();
    await scenario.restore();
    expect(await stat(windows).catch(() => 'at home')).toBe('at home');
  });

  test('C3: a store without an offset stays at home, and the task comes back without it', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.rewriteCheckpoint('0_1', (line) => line.replace(/(-win-changelog 1 )\d+/, '$1-4'));
    expect(outcomes(await scenario.snapshot())['0_1']).toBe('captured: no_offset');
    await scenario.loseDisk();
    const { tasks } = await scenario.restore();
    expect(tasks.find(({ task }) => task === '0_1')).toMatchObject({ decision: 'warm', why: undefined });
    // And so it stays until the application has opened it.
    expect(outcomes(await scenario.snapshot())['0_1']).toBe('unchanged');
  });

  test('ksqlDB is refused altogether', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await rename(scenario.applicationDirectory, join(scenario.stateDir, '_confluent-ksql-default_query_1'));
    const flags = ['--state-dir', scenario.stateDir, '--application-id', '_confluent-ksql-default_query_1'];
    const ended = await warmstate([
      'snapshot',
      ...flags,
      '--processing-guarantee',
      'auto',
      '--destination',
      `file://${scenario.repositoryDir}`,
    ]);
    expect([
      ended.code,
      ended.stderr.includes('ksqlDB deletes from its state directory what it does not know'),
    ]).toEqual([2, true]);
  });
});

describe('a snapshot that does not come through', () => {
  test.each([
    ['an object cannot be put', /data/, 'fail-before'],
    ['the reply of an object is lost', /data/, 'fail-after'],
    ['the document cannot be put', /snapshots/, 'fail-before'],
    ['the record cannot be put at the start', /records/, 'fail-before'],
  ] as const)('because %s leaves the one before in force', async (_what, key, kind) => {
    await using scenario = await Scenario.open(CLOSED);
    const store = new SimulatedStore();
    const first = await scenario.snapshot({ store });
    await scenario.moveOffsets('0_0', 5);
    store.script({ operation: 'put', key, kind, times: Infinity });
    await expect(scenario.snapshot({ store })).rejects.toSatisfy((error) => isFailure(error, 'unavailable'));
    store.heal();
    await scenario.loseDisk();
    const { tasks } = await scenario.restore({ store });
    expect(new Set(tasks.map(({ snapshot, decision }) => `${decision} ${snapshot}`))).toEqual(
      new Set([`warm ${first.snapshot}`]),
    );
  });

  test('that only its record does not tell of is offered all the same', async () => {
    await using scenario = await Scenario.open(CLOSED);
    const store = new SimulatedStore();
    await scenario.snapshot({ store });
    await scenario.moveOffsets('0_0', 5);
    store.script({ operation: 'put', key: /records/, kind: 'fail-before', skip: 1, times: Infinity });
    const second = await scenario.snapshot({ store });
    expect(scenario.events).toContainEqual(
      expect.objectContaining({ message: 'the record of a published snapshot could not be written yet' }),
    );
    store.heal();
    await scenario.loseDisk();
    const { tasks } = await scenario.restore({ store });
    expect(tasks[0]).toMatchObject({ task: '0_0', decision: 'warm', why: undefined, snapshot: second.snapshot });
  });

  test('because the reply of the document was lost is whole for whoever reads it', async () => {
    await using scenario = await Scenario.open(CLOSED);
    const store = new SimulatedStore();
    store.script({ operation: 'put', key: /snapshots/, kind: 'fail-after', times: Infinity });
    const before = await scenario.hashes();
    await expect(scenario.snapshot({ store })).rejects.toSatisfy((error) => isFailure(error, 'unavailable'));
    store.heal();
    await scenario.loseDisk();
    expect((await scenario.restore({ store })).outcome).toBe('restored');
    expect(await scenario.hashes()).toEqual(before);
  });
});

describe('a clock', () => {
  test('that was set back by a day between two snapshots changes nothing: the later one is the newer one', async () => {
    await using scenario = await Scenario.open(CLOSED);
    const first = await scenario.snapshot();
    await scenario.moveOffsets('0_0', 5);
    const clock = clockAhead(() => -24 * 3_600_000);
    // By this clock everything on disk was written in the future, so no checkpoint proves anything (Q5).
    const second = await scenario.snapshot({ clock });
    expect(second.tasks.map(({ outcome, quality }) => `${outcome} ${quality}`)).toEqual([
      'captured live',
      ...Array.from({ length: 4 }, () => 'unchanged clean'),
    ]);
    expect((second.snapshot ?? '') > (first.snapshot ?? '')).toBe(true);
    const [state] = second.tasks;
    expect(state?.stateTimeMs).toBeLessThanOrEqual(clock.nowMs());
    await scenario.loseDisk();
    expect((await scenario.restore({ clock })).tasks[0]).toMatchObject({ decision: 'warm', snapshot: second.snapshot });
  });

  test('that was fast when it stamped and is right now makes nothing clean and nothing younger (Q5, A5)', async () => {
    await using scenario = await Scenario.open(CLOSED);
    const store = await openFileStore(scenario.repositoryDir, { clock: systemClock, random: systemRandom });
    expect(outcomes(await scenario.snapshot({ store, clock: clockAhead(() => 600_000) }))).toEqual(all('captured'));
    await scenario.moveOffsets('0_0', 5);
    const { tasks } = await scenario.snapshot({ store });
    expect(tasks.map(({ outcome, quality }) => `${outcome} ${quality}`)).toEqual([
      'captured live',
      ...Array.from({ length: 4 }, () => 'unchanged clean'),
    ]);
    // Its stamp is of today's clock; nobody can know.
    expect(tasks[0]?.stateTimeMs).toBeLessThan(Date.now() - 590_000);
    expect(tasks[0]?.stateTimeMs).toBeGreaterThan(Date.now() - 700_000);
  });

  test('that is set back in the middle of a snapshot voids what stamps say (Q5)', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    for (const task of Object.keys(all(''))) await scenario.moveOffsets(task, 1);
    const { events } = scenario;
    events.length = 0;
    // It runs ahead all the time, so that no stamp lies in the future.
    const clock = clockAhead(() => (events.some(({ kind }) => kind === 'work-announced') ? 300_000 : 600_000));
    const guarantee = 'exactly_once_v2';
    expect(outcomes(await scenario.snapshot({ clock, guarantee }))).toEqual({
      ...all('carried: exactly_once_running'),
      // It was seen before the step (Q2).
      '0_0': 'captured',
    });
  });

  test('that is set ahead in the middle of a snapshot makes nothing younger than it can be (A5)', async () => {
    await using scenario = await Scenario.open(CLOSED);
    const store = await openFileStore(scenario.repositoryDir, { clock: systemClock, random: systemRandom });
    await scenario.snapshot({ store });
    // By less than what is of one moment with the newest table (A1), which would tell.
    const stampS = Date.now() / 1000 + 240;
    for (const task of Object.keys(all(''))) {
      await scenario.moveOffsets(task, 1);
      await utimes(join(scenario.applicationDirectory, task, '.checkpoint'), stampS, stampS);
    }
    const { events } = scenario;
    const before = events.length;
    const isUnderWay = (): boolean => events.slice(before).some(({ kind }) => kind === 'work-announced');
    const clock = clockAhead(() => (isUnderWay() ? 3_600_000 : 0));
    const { tasks } = await scenario.snapshot({ store, clock });
    expect(tasks.map(({ outcome }) => outcome)).toEqual(Object.keys(all('')).map(() => 'captured'));
    for (const { stateTimeMs } of tasks) expect(stateTimeMs).toBeLessThanOrEqual(Date.now());
  });

  test('of the store that differs by a year gives states their right age', async () => {
    await using scenario = await Scenario.open(CLOSED);
    const store = new SimulatedStore();
    const { tasks } = await scenario.snapshot({ store });
    const ages = tasks.map(({ stateTimeMs = 0 }) => store.clock.nowMs() - stateTimeMs);
    expect([Math.min(...ages) >= 0, Math.max(...ages) < 60_000]).toEqual([true, true]);
    await scenario.loseDisk();
    expect((await scenario.restore({ store, maxAgeMs: 60_000 })).outcome).toBe('restored');
    const stamped = await stat(join(scenario.applicationDirectory, '0_0'));
    expect(Math.abs(Date.now() - stamped.mtimeMs)).toBeLessThan(60_000);
  });
});

test('two snapshots at once under one name do not harm each other', async () => {
  await using scenario = await Scenario.open(CLOSED);
  const before = await scenario.hashes();
  const both = await Promise.all([scenario.snapshot(), scenario.snapshot()]);
  expect(new Set(both.map(({ snapshot }) => snapshot)).size).toBe(2);
  for (const { snapshot } of both) {
    await scenario.loseDisk();
    expect((await scenario.restore({ snapshot })).outcome).toBe('restored');
    expect(await scenario.hashes()).toEqual(before);
  }
});

test('the state directory is the same after a snapshot, to the last stamp', async () => {
  await using scenario = await Scenario.open(CLOSED);
  const stamps = async (): Promise<unknown> => {
    const paths = [
      ...(await listFiles(scenario.stateDir)),
      ...(await readdir(scenario.applicationDirectory)).map((name) => `orders/${name}`),
    ];
    return Promise.all(
      paths.map(async (path) => {
        const { mtimeNs, ctimeNs, ino, nlink } = await stat(join(scenario.stateDir, path), { bigint: true });
        return [path, mtimeNs, ctimeNs, ino, nlink];
      }),
    );
  };
  const before = await stamps();
  await scenario.snapshot();
  expect(await stamps()).toEqual(before);
});

test('a single snapshot asks once what others withdrew', async () => {
  await using scenario = await Scenario.open('3.9.2-alos-closed');
  const store = new SimulatedStore();
  await scenario.snapshot({ store });
  const lists = store.log.filter((request) => request.startsWith('list '));
  expect(lists.filter((request) => /fences|damaged/.test(request))).toEqual([
    'list orders/test/fences/',
    'list orders/test/damaged/',
  ]);
});

test('a snapshot of stores that keep their offsets inside tells whether they were closed, and how far they were of their inputs', async () => {
  await using scenario = await Scenario.open('4.3.1-alos-closed');
  await scenario.snapshot();
  const destination = ['--destination', `file://${scenario.repositoryDir}`];
  const outputs = await Promise.all([
    warmstate(['show', '--output', 'json', ...destination]),
    warmstate(['inspect', scenario.stateDir, '--output', 'json']),
  ]);
  const [shown, inspected] = outputs.map(({ stdout }) => insideOf(JSON.parse(stdout)));
  expect(shown).toEqual(inspected);
  const ofTask = shown?.filter(({ task }) => task === '0_0');
  expect(ofTask).toEqual([
    { task: '0_0', name: 'agg', status: 'closed', position: { 'orders-input-0': expect.stringMatching(/^\d+$/) } },
    { task: '0_0', name: 'win', status: 'closed', position: { 'orders-input-0': expect.stringMatching(/^\d+$/) } },
  ]);
});

interface Inside {
  readonly name: string;
  readonly status: string | null;
  readonly position: Readonly<Record<string, string>>;
}

function insideOf({
  tasks,
}: {
  readonly tasks: readonly { readonly task: string; readonly stores: readonly Inside[] }[];
}) {
  return tasks
    .flatMap(({ task, stores }) => stores.map(({ name, status, position }) => ({ task, name, status, position })))
    .sort((left, right) => (`${left.task} ${left.name}` < `${right.task} ${right.name}` ? -1 : 1));
}
