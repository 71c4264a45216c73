import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import { openTempDirectory } from '../../test/support/temp-directory.ts';
import { openTaskWatcher } from './watcher.ts';

/** Events come within milliseconds. */
const A_WHILE_MS = 200;
const PATIENCE = { timeout: 20_000 };

async function writeCheckpoint(task: string): Promise<void> {
  await writeFile(join(task, '.checkpoint.tmp'), '0\n0\n');
  await rename(join(task, '.checkpoint.tmp'), join(task, '.checkpoint'));
}

/** Writes until it is noticed: when a watch begins to hear is not told. */
async function untilHinted(task: string, hints: string[], name: string): Promise<void> {
  hints.length = 0;
  await vi.waitFor(async () => {
    await writeCheckpoint(task);
    expect(hints).toContain(name);
  }, PATIENCE);
}

test('a checkpoint that is renamed into its place is a hint, again and again, also in a directory that is new under its name', async () => {
  await using root = await openTempDirectory();
  const first = join(root.path, '0_0');
  const second = join(root.path, '0_1');
  await mkdir(join(first, 'rocksdb'), { recursive: true });
  await mkdir(second);
  const hints: string[] = [];
  await using watcher = openTaskWatcher((task) => hints.push(task));
  watcher.watchOnly([first, second]);
  await untilHinted(first, hints, '0_0');
  await untilHinted(second, hints, '0_1');
  await untilHinted(first, hints, '0_0');
  expect(watcher.isWatching).toBe(true);

  await rm(first, { recursive: true });
  watcher.watchOnly([second]);
  await mkdir(first);
  watcher.watchOnly([first, second]);
  await untilHinted(first, hints, '0_0');
});

test('what lies below a task directory is not watched', async () => {
  await using root = await openTempDirectory();
  const task = join(root.path, '0_0');
  await mkdir(join(task, 'rocksdb'), { recursive: true });
  const hints: string[] = [];
  await using watcher = openTaskWatcher((name) => hints.push(name));
  watcher.watchOnly([task]);
  await untilHinted(task, hints, '0_0');
  await delay(A_WHILE_MS);
  hints.length = 0;
  await writeFile(join(task, 'rocksdb', '000001.sst'), 'x');
  await delay(A_WHILE_MS);
  expect(hints).toEqual([]);
});
