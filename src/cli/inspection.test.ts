import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
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
  return inspectStateDirectory({ stateDir, applicationId }, tools);
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

test('offsets inside RocksDB are recognised', async () => {
  const stateDir = join(scratch, 'column-family');
  await layOut('4.3.1-alos-closed', stateDir);
  expect(new Set((await inspect(stateDir)).tasks.map(({ layout }) => layout))).toEqual(new Set(['column-family']));
});

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
