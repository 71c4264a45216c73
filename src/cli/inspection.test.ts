import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { layOut } from '../../test/support/recorded.ts';
import { systemClock } from '../base/clock.ts';
import { realFiles } from '../base/file-access.ts';
import { askApplicationLock } from '../streams/app-lock.ts';
import { type Inspection, inspectStateDirectory } from './inspection.ts';

const tools = {
  files: realFiles,
  askLock: askApplicationLock,
  clock: systemClock,
  emit: () => undefined,
  signal: new AbortController().signal,
};

let scratch = '';
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'warmstate-inspect-'));
});
afterAll(async () => {
  await rm(scratch, { recursive: true });
});

function inspect(stateDir: string, applicationId?: string): Promise<Inspection> {
  return inspectStateDirectory({ stateDir, applicationId, transactionalStores: false }, tools);
}

function shortly({ tasks }: Inspection): readonly (readonly unknown[])[] {
  return tasks.map(({ task, layout, quality, why }) => [
    task,
    layout,
    quality.at_least_once,
    quality.exactly_once_v2,
    why?.reason,
  ]);
}

test('a cleanly closed application is clean under every guarantee, with its offsets and stores', async () => {
  const stateDir = join(scratch, 'closed');
  await layOut('3.9.2-alos-closed', stateDir);
  const inspection = await inspect(stateDir);
  expect([inspection.application, inspection.state]).toEqual(['orders', 'stopped']);
  expect(shortly(inspection)).toEqual(
    ['0_0', '0_1', '1_0', '1_1', 'global'].map((task) => [task, 'file', 'clean', 'clean', undefined]),
  );
  const [first] = inspection.tasks;
  expect(first?.offsets.keys().toArray().sort()).toEqual(['orders-agg-changelog-0', 'orders-win-changelog-0']);
  expect(first?.stores.map(({ name, kind }) => [name, kind])).toEqual([
    ['win', 'segmented'],
    ['agg', 'rocksdb'],
  ]);
  expect(first?.stores.every(({ tables, sizeBytes }) => tables > 0 && sizeBytes > 1_000)).toBe(true);
  expect(first?.stateTimeMs).toBeGreaterThan(Date.now() - 60_000);
});

test('what an application left behind when it was killed is refused with its reason', async () => {
  const stateDir = join(scratch, 'flushed');
  await layOut('4.2.2-eos-flushed', stateDir);
  expect(shortly(await inspect(stateDir, 'orders'))).toEqual([
    ...['0_0', '0_1', '1_0', '1_1'].map((task) => [task, 'file', undefined, undefined, 'no_offset']),
    ['global', 'file', 'live', undefined, 'exactly_once_running'],
  ]);
});

describe('offsets inside RocksDB', () => {
  test.each(['4.3.1-alos-closed', '4.3.1-eos-closed'])(
    'of %s are those that the application had reached',
    async (name) => {
      const stateDir = join(scratch, name);
      const { endOffsets } = await layOut(name, stateDir);
      const { tasks } = await inspect(stateDir);
      const worth = tasks.map(({ layout, quality, why }) => [layout, ...Object.values(quality), why]);
      expect(worth).toEqual(tasks.map(() => ['column-family', 'clean', 'clean', undefined]));
      expect(offsetsIn(tasks)).toEqual({
        '0_0': { 'orders-agg-changelog-0': expect.anything(), 'orders-win-changelog-0': expect.anything() },
        '0_1': { 'orders-agg-changelog-1': expect.anything(), 'orders-win-changelog-1': expect.anything() },
        '1_0': { 'orders-tab-changelog-0': expect.anything() },
        '1_1': { 'orders-tab-changelog-1': expect.anything() },
        global: { 'orders-global-0': expect.anything(), 'orders-global-1': expect.anything() },
      });
      for (const { task, offsets } of tasks) {
        // Of a task the last record that was applied: under exactly-once the marker of its transaction follows it.
        const after = task === 'global' ? 0n : name.includes('-eos-') ? 2n : 1n;
        for (const [partition, offset] of offsets) expect(`${offset + after}`).toBe(endOffsets[partition]);
      }
      expect(statusesIn(tasks)).toEqual(Array.from({ length: 7 }, () => 'closed'));
    },
  );

  test('of what was killed after a flush are those that were flushed, of segments the least', async () => {
    const stateDir = join(scratch, 'column-family-flushed');
    await layOut('4.3.1-alos-flushed', stateDir);
    const { tasks } = await inspect(stateDir);
    expect(offsetsIn(tasks)['0_0']).toEqual({ 'orders-agg-changelog-0': 2155n, 'orders-win-changelog-0': 1053n });
    expect(statusesIn(tasks)).toEqual(['open', 'open', 'open', 'open', 'closed', 'closed', 'open']);
  });

  test('that are damaged spoil their task and no other', async () => {
    const stateDir = join(scratch, 'column-family-damaged');
    await layOut('4.3.1-alos-closed', stateDir);
    const path = 'rocksdb/tab/000025.sst';
    const file = join(stateDir, 'orders/1_0', path);
    const bytes = await readFile(file);
    bytes[3]! ^= 1;
    await writeFile(file, bytes);
    const { tasks } = await inspect(stateDir);
    expect(tasks.find(({ task }) => task === '1_0')).toMatchObject({
      layout: 'column-family',
      why: {
        reason: 'damaged',
        message: `cannot read the offsets in ${path}: the block at byte 0 does not have its checksum`,
      },
      offsets: new Map(),
    });
    expect(offsetsIn(tasks)['1_1']).toEqual({ 'orders-tab-changelog-1': 350n });
  });

  test('give way to a .checkpoint, which the application would move inside', async () => {
    const stateDir = join(scratch, 'column-family-and-file');
    await layOut('4.3.1-alos-closed', stateDir);
    await writeFile(join(stateDir, 'orders/1_0/.checkpoint'), '0\n1\norders-tab-changelog 0 17\n');
    expect(offsetsIn((await inspect(stateDir)).tasks)['1_0']).toEqual({ 'orders-tab-changelog-0': 17n });
  });
});

function offsetsIn(tasks: Inspection['tasks']): Readonly<Record<string, object>> {
  return Object.fromEntries(tasks.map(({ task, offsets }) => [task, Object.fromEntries(offsets)]));
}

function statusesIn(tasks: Inspection['tasks']): readonly unknown[] {
  return tasks.flatMap(({ stores }) => stores.map(({ status }) => status));
}

test('the application is the only one there, or the one that is named', async () => {
  const stateDir = join(scratch, 'several');
  await mkdir(stateDir);
  expect(await inspect(stateDir)).toEqual({ application: undefined, state: 'stopped', tasks: [] });
  await expect(inspect(stateDir, 'orders')).rejects.toMatchObject({
    kind: 'missing',
    message: `there is no application orders in ${stateDir}`,
  });
  for (const application of ['orders', 'payments'])
    await mkdir(join(stateDir, application, '0_0'), { recursive: true });
  await expect(inspect(stateDir)).rejects.toMatchObject({
    kind: 'invalid',
    message: `cannot choose among 2 applications in ${stateDir}: orders, payments`,
  });
  expect(shortly(await inspect(stateDir, 'payments'))).toEqual([['0_0', 'file', undefined, undefined, 'no_offset']]);
});

test('a state directory that is absent or a file is said to be so', async () => {
  const file = join(scratch, 'file');
  await writeFile(file, '');
  await expect(inspect(join(scratch, 'absent'))).rejects.toMatchObject({ kind: 'missing' });
  await expect(inspect(file)).rejects.toMatchObject({ kind: 'invalid' });
});
