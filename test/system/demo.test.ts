import { execFile } from 'node:child_process';
import { mkdir, readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { openTempDirectory } from '../support/temp-directory.ts';

const MAIN = resolve(import.meta.dirname, '../../src/main.ts');

test('the demo tells its story with real figures, and leaves nothing behind', async () => {
  await using directory = await openTempDirectory();
  const temporary = join(directory.path, 'tmp');
  await mkdir(temporary);
  // Neither a home nor a terminal, and nothing of the caller's settings.
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [MAIN, 'demo'], {
    env: { TMPDIR: temporary, PATH: process.env['PATH'] },
    cwd: directory.path,
  });

  expect(stderr).toBe('');
  expect([...stdout.matchAll(/^\d\. .*$/gm)].map(([line]) => line)).toEqual([
    '1. What is on disk',
    '2. Snapshot',
    '3. The application goes on: 1,200 records more. Snapshot again',
    '4. The pod is lost, and its disk with it. Restore',
    '5. One bit in the store goes wrong. Restore once more',
  ]);
  expect(stdout).toContain('  once more, with nothing new: 0 B read, 0 B sent\n');
  expect(Number(/([\d.]+) % of the first/.exec(stdout)?.[1])).toBeLessThan(20);
  expect(stdout).toMatch(/ {2}9 of 9 tasks warm, .* fetched/);
  const [, same, all, tables] =
    /(\d+) of (\d+) files are identical byte for byte, among them all (\d+) tables/.exec(stdout) ?? [];
  expect([same, tables]).toEqual([all, '38']);
  // Every offset is named: two changelogs of four tasks, one of four, two partitions of the global topic.
  expect(stdout.match(/orders-(?:agg|win|tab)-changelog-\d +\d+$|orders-global-\d +\d+$/gm)).toHaveLength(14);
  expect(stdout).toContain('  0_0 starts cold: damaged,');
  expect(stdout).toContain('  8 of 9 tasks warm\n');
  expect(await readdir(temporary)).toEqual([]);
});
