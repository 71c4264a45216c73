import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { symlink } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, expect, test } from 'vitest';
import { openTempDirectory, plant } from '../../test/support/temp-directory.ts';
import { isFailure } from '../base/failure.ts';
import { askApplicationLock } from './app-lock.ts';

describe('the lock of an application', () => {
  test('is held while its process holds it, and free when that has ended', async () => {
    await using root = await openTempDirectory();
    await plant(root.path, ['.lock']);
    const application = await startHolding(join(root.path, '.lock'));
    expect(application.answer).toBe('held');
    expect(await askApplicationLock(root.path)).toBe('running');
    await application.end();
    expect(await askApplicationLock(root.path)).toBe('stopped');
  });

  test('is not taken, and not let go, by asking', async () => {
    await using root = await openTempDirectory();
    await plant(root.path, ['.lock']);
    expect(await askApplicationLock(root.path)).toBe('stopped');
    const first = await startHolding(join(root.path, '.lock'));
    expect(await askApplicationLock(root.path)).toBe('running');
    const second = await startHolding(join(root.path, '.lock'));
    expect([first.answer, second.answer]).toEqual(['held', 'refused']);
    await Promise.all([first.end(), second.end()]);
  });

  test('is free where there is none, or no application', async () => {
    await using root = await openTempDirectory();
    await plant(root.path, ['file', 'application/0_0/']);
    for (const name of ['absent', 'application', 'file']) {
      expect(await askApplicationLock(join(root.path, name))).toBe('stopped');
    }
  });

  test('that cannot be looked at is no lock that is free', async () => {
    await using root = await openTempDirectory();
    await symlink('.lock', join(root.path, '.lock'));
    await expect(askApplicationLock(root.path)).rejects.toSatisfy(
      (error) =>
        isFailure(error, 'unavailable') && error.message === `cannot ask for the lock ${root.path}/.lock: ELOOP`,
    );
  });
});

const HOLDER = resolve(import.meta.dirname, '../../test/support/bin/hold-lock.ts');

async function startHolding(path: string): Promise<{ readonly answer: string; end(): Promise<void> }> {
  const child = spawn(process.execPath, [HOLDER, path], { stdio: ['pipe', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  const lines = createInterface({ input: child.stdout });
  const [answer]: unknown[] = await Promise.race([once(lines, 'line'), exited.then(() => ['ended'])]);
  const end = async (): Promise<void> => {
    child.stdin.end();
    await exited;
  };
  return { answer: String(answer), end };
}
