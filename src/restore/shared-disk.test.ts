import { chmod, mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openTempDirectory } from '../../test/support/temp-directory.ts';
import { nodeDisk } from './disk.ts';
import { openSharedDisk } from './shared-disk.ts';

const modeOf = async (path: string): Promise<string> => ((await stat(path)).mode & 0o7777).toString(8);

test.each([
  ['an emptyDir', 0o777, '777', '777'],
  ['an emptyDir with an fsGroup', 0o2777, '2777', '2777'],
  ['a volume of a group', 0o2775, '2775', '2770'],
])('in %s (%o) everybody who may write it may write what is made in it', async (_what, mode, made, application) => {
  await using directory = await openTempDirectory();
  await chmod(directory.path, mode);
  const disk = await openSharedDisk(directory.path);
  await disk.makeDirectory(join(directory.path, '.warmstate/restore-x/tasks/0_0/rocksdb'));
  await disk.makeDirectory(join(directory.path, 'orders'), 0o750);
  const paths = ['.warmstate', '.warmstate/restore-x', '.warmstate/restore-x/tasks/0_0/rocksdb', 'orders'];
  expect(await Promise.all(paths.map((path) => modeOf(join(directory.path, path))))).toEqual([
    made,
    made,
    made,
    application,
  ]);
});

test('what is there keeps its permissions', async () => {
  await using directory = await openTempDirectory();
  await chmod(directory.path, 0o777);
  await mkdir(join(directory.path, 'orders'), { mode: 0o700 });
  const disk = await openSharedDisk(directory.path);
  await disk.makeDirectory(join(directory.path, 'orders/0_0'));
  await disk.makeDirectory(join(directory.path, 'orders'), 0o750);
  expect([await modeOf(directory.path), await modeOf(join(directory.path, 'orders'))]).toEqual(['777', '700']);
  expect(await modeOf(join(directory.path, 'orders/0_0'))).toBe('777');
});

test('a state directory that is not there yet is as its volume', async () => {
  await using directory = await openTempDirectory();
  await chmod(directory.path, 0o777);
  const stateDir = join(directory.path, 'kafka-streams');
  const disk = await openSharedDisk(stateDir);
  await disk.makeDirectory(join(stateDir, 'orders'), 0o750);
  expect([await modeOf(stateDir), await modeOf(join(stateDir, 'orders'))]).toEqual(['777', '777']);
});

test.each([0o755, 0o1777])(
  'in a directory of one user, or of many who do not share it (%o), nothing is shared',
  async (mode) => {
    await using directory = await openTempDirectory();
    await chmod(directory.path, mode);
    expect(await openSharedDisk(join(directory.path, 'state'))).toBe(nodeDisk);
  },
);
