import { readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { SnapshotResult } from '../../src/agent/snapshot-result.ts';
import { isFailure } from '../../src/base/failure.ts';
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

/** Rewrites a checkpoint as Kafka Streams does, with some offsets moved. */
async function moveOffsets(scenario: Scenario, task: string, by: number): Promise<void> {
  const path = join(scenario.applicationDirectory, task, '.checkpoint');
  const text = (await readFile(path, 'utf8')).replaceAll(/(?<= )(\d+)$/gm, (offset) => String(Number(offset) + by));
  // The first two lines are version and count.
  const [version, count] = (await readFile(path, 'utf8')).split('\n');
  await writeFile(`${path}.tmp`, [version, count, ...text.split('\n').slice(2)].join('\n'));
  await rename(`${path}.tmp`, path);
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
    await moveOffsets(scenario, '0_0', 5);
    const second = await scenario.snapshot();
    expect(outcomes(second)).toEqual({ ...all('unchanged'), '0_0': 'captured' });
    // The checkpoint alone.
    expect(second.bytesRead).toBeLessThan(200);
  });

  test('never goes back: lesser offsets in the same directory are reported, and the further entry stays', async () => {
    await using scenario = await Scenario.open(CLOSED);
    const first = await scenario.snapshot();
    await moveOffsets(scenario, '0_0', -3);
    const second = await scenario.snapshot();
    expect(outcomes(second)).toEqual({ ...all('unchanged'), '0_0': 'carried: regressed' });
    const offsetsOf = ({ tasks }: SnapshotResult) => tasks.find(({ task }) => task === '0_0')?.offsets;
    expect(offsetsOf(second)).toEqual(offsetsOf(first));
    expect(scenario.events).toContainEqual(expect.objectContaining({ kind: 'notice', level: 'error' }));
  });

  test('A2: keeps the state time of offsets that did not move, though the checkpoint was written anew', async () => {
    await using scenario = await Scenario.open(CLOSED);
    const first = await scenario.snapshot();
    await moveOffsets(scenario, '1_0', 0);
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

  test('lets go of what is older than max-age', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    expect(outcomes(await scenario.snapshot({ maxAgeMs: 1 }))).toEqual(all('uncapturable: too_old'));
  });

  test('replaces an entry whose store left the topology, though its offsets are equal', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    // A new release of the application has no `win`: its directory stays, its offset goes.
    const path = join(scenario.applicationDirectory, '0_0/.checkpoint');
    const lines = (await readFile(path, 'utf8')).split('\n').filter((line) => !line.includes('-win-'));
    await writeFile(`${path}.tmp`, ['0', '1', ...lines.slice(2)].join('\n'));
    await rename(`${path}.tmp`, path);
    const second = await scenario.snapshot();
    expect(outcomes(second)['0_0']).toBe('captured: no_offset');
    expect([...(second.tasks.find(({ task }) => task === '0_0')?.offsets.keys() ?? [])]).toEqual([
      'orders-agg-changelog-0',
    ]);
  });
});

describe('what cannot be captured', () => {
  test('of a running exactly-once application is sent ahead, and serves when it can be', async () => {
    await using scenario = await Scenario.open('3.9.2-alos-flushed');
    const ahead = await scenario.snapshot({ guarantee: 'exactly_once_v2', state: 'running' });
    expect(outcomes(ahead)).toMatchObject({ global: 'uncapturable: exactly_once_running' });
  });

  test('of Kafka Streams 4.3 has its offsets inside RocksDB', async () => {
    await using scenario = await Scenario.open('4.3.1-alos-closed');
    const result = await scenario.snapshot();
    expect([outcomes(result), result.bytesUploaded]).toEqual([all('uncapturable: no_offset'), 0]);
    await scenario.loseDisk();
    expect((await scenario.restore()).outcome).toBe('empty');
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
    ['an object', /data/],
    ['the document', /snapshots/],
  ])('because %s cannot be put leaves the one before in force', async (_what, key) => {
    await using scenario = await Scenario.open(CLOSED);
    const store = new SimulatedStore();
    const first = await scenario.snapshot({ store });
    await moveOffsets(scenario, '0_0', 5);
    store.script({ operation: 'put', key, kind: 'fail-before', times: Infinity });
    await expect(scenario.snapshot({ store })).rejects.toSatisfy((error) => isFailure(error, 'unavailable'));
    store.heal();
    await scenario.loseDisk();
    const { tasks } = await scenario.restore({ store });
    expect(new Set(tasks.map(({ snapshot, decision }) => `${decision} ${snapshot}`))).toEqual(
      new Set([`warm ${first.snapshot}`]),
    );
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
