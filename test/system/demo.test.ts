import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { openTempDirectory } from '../support/temp-directory.ts';

const MAIN = resolve(import.meta.dirname, '../../src/main.ts');

/** Neither a home nor a terminal, and nothing of the caller's settings. */
function bareEnvironment(temporary: string): NodeJS.ProcessEnv {
  return { TMPDIR: temporary, PATH: process.env['PATH'] };
}

test('the demo tells its story with real figures, and leaves nothing behind', async () => {
  await using directory = await openTempDirectory();
  const temporary = join(directory.path, 'tmp');
  await mkdir(temporary);
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [MAIN, 'demo'], {
    env: bareEnvironment(temporary),
    cwd: directory.path,
  });

  expect(stderr).toBe('');
  expect([...stdout.matchAll(/^\d\. .*$/gm)].map(([line]) => line)).toEqual([
    '1. What is on disk',
    '2. Snapshot',
    '3. The application goes on: 600 records more. Snapshot again',
    '4. The pod is lost, and its disk with it. Restore',
    '5. One bit in the store goes wrong. Restore once more',
  ]);
  expect(stdout.split('\n').filter((line) => line.length > 80)).toEqual([]);

  const [full = 0, incremental = 0] = Array.from(stdout.matchAll(/ read, ([\d.]+) (KiB|MiB) sent as /g), sentBytes);
  expect(full).toBeGreaterThan(0);
  expect(incremental).toBeGreaterThan(0);
  expect(incremental).toBeLessThan(full / 10);
  const [, percent] = /^ {2}([\d.]+) % of the first/m.exec(stdout) ?? [];
  expect(Number(percent)).toBeLessThan(10);
  expect(stdout).toContain('  once more, with nothing new: 0 B read, 0 B sent\n');

  expect(stdout).toMatch(/^ {2}9 of 9 tasks warm, .* fetched/m);
  // Four tasks with agg and win, four with tab, the global one.
  expect(stdout).toContain('  13 of 13 stores complete, 14 of 14 offsets as they were\n');
  const offsets = stdout.match(/orders-(?:agg|win|tab)-changelog-\d +\d+$|orders-global-\d +\d+$/gm);
  expect(offsets).toHaveLength(14);
  const files = /^ {2}(\d+) of (\d+) files identical byte for byte, among them all 40 tables$/m.exec(stdout);
  expect(files?.[1]).toBe(files?.[2]);

  const [, victim] = /^ {2}in the object of \S+\.sst of task (\d_\d) /m.exec(stdout) ?? [];
  expect(stdout).toContain(`  ${victim} starts cold (damaged): `);
  expect(stdout).toContain('  8 of 9 tasks warm\n');
  const others = /^ {2}(\d+) of (\d+) files of the other tasks identical, nothing of (\d_\d) installed$/m.exec(stdout);
  expect([others?.[1], others?.[3]]).toEqual([others?.[2], victim]);
  expect(await readdir(temporary)).toEqual([]);
});

test.for([
  { signal: 'SIGINT', code: 130 },
  { signal: 'SIGTERM', code: 143 },
] as const)('a demo that is ended by $signal leaves nothing behind', async ({ signal, code }) => {
  await using directory = await openTempDirectory();
  const demo = spawn(process.execPath, [MAIN, 'demo'], {
    env: bareEnvironment(directory.path),
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const closed = once(demo, 'close');
  let told = '';
  demo.stdout.setEncoding('utf8').on('data', (text: string) => {
    // On the second chapter it has a state directory, and is busy with a repository.
    if (!told.includes('2. Snapshot') && (told + text).includes('2. Snapshot')) demo.kill(signal);
    told += text;
  });
  expect(await closed).toEqual([code, null]);
  expect(told).not.toContain('Next:');
  expect(await readdir(directory.path)).toEqual([]);
});

function sentBytes([, amount, unit]: RegExpExecArray): number {
  return Number(amount) * (unit === 'MiB' ? 1024 ** 2 : 1024);
}
