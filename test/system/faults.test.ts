import { execFile, spawn } from 'node:child_process';
import { chmod, mkdir, readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { isFailure } from '../../src/base/failure.ts';
import { Scenario } from '../support/scenario.ts';
import { SimulatedStore } from '../support/simulated-store.ts';

const MAIN = resolve(import.meta.dirname, '../../src/main.ts');
const CLOSED = '3.9.2-alos-closed';
const NOBODY = 65_534;
const KILLS = 12;

describe('a restore that is killed', () => {
  test('at any instant leaves whole tasks or none, and the next one ends well', { timeout: 180_000 }, async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    const whole = await scenario.hashes();
    let killedInMidWork = 0;
    let delayMs = 0;
    while (killedInMidWork < KILLS) {
      await scenario.loseDisk();
      const child = spawn(process.execPath, [MAIN, 'restore', ...scenario.flags], { stdio: 'ignore' });
      const ended = new Promise<void>((done) => child.once('exit', () => done()));
      // From the moment on at which it begins to write, a little later each time until it was too late.
      while (!(await readdir(scenario.stateDir)).includes('.warmstate') && child.exitCode === null) await delay(1);
      await delay(delayMs);
      child.kill('SIGKILL');
      await ended;
      const isKilled = child.signalCode === 'SIGKILL';
      if (isKilled) killedInMidWork += 1;
      delayMs = isKilled ? delayMs + 6 : 0;
      const left = await scenario.hashes();
      const installed = new Set(Object.keys(left).map((path) => path.split('/')[1]));
      const expected = Object.entries(whole).filter(([path]) => installed.has(path.split('/')[1]));
      expect(left).toEqual(Object.fromEntries(expected));
    }
    const { tasks } = await scenario.restore();
    expect(tasks.filter(({ decision }) => decision === 'cold')).toEqual([]);
    expect(await scenario.hashes()).toEqual(whole);
    expect(await readdir(join(scenario.stateDir, '.warmstate'))).toEqual(['restore.json']);
  });
});

/** Runs a command with a small file system mounted over a directory, in a namespace of its own. */
async function withSmallDisk(
  directory: string,
  size: string,
  command: readonly string[],
): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string; readonly left: string }> {
  const script = `mount -t tmpfs -o size=${size} tmpfs "$0" || exit 99; "$@"; code=$?; echo; echo "left: $(cd "$0" && find . -mindepth 1 -maxdepth 3 | sort | tr '\\n' ' ')"; exit $code`;
  const { code, stdout, stderr } = await promisify(execFile)('unshare', [
    '-rm',
    'sh',
    '-c',
    script,
    directory,
    ...command,
  ]).then(
    (out) => ({ code: 0, ...out }),
    (error: { code: number; stdout: string; stderr: string }) => error,
  );
  if (code === 99) throw new Error(`cannot mount a small disk for this test: ${stderr}`);
  const [json = '', left = ''] = stdout.split('\nleft: ');
  return { code, stdout: json.trim(), stderr, left: left.trim() };
}

describe('a full disk', () => {
  test('while publishing is said so, and what was offered before stays', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await mkdir(scenario.repositoryDir);
    const ended = await withSmallDisk(scenario.repositoryDir, '40k', [
      process.execPath,
      MAIN,
      'snapshot',
      ...scenario.flags,
    ]);
    expect([ended.code, ended.stdout]).toEqual([6, '']);
    expect(ended.stderr).toMatch(/cannot store .*no space left on the volume\ntry: /);
  });

  test('while restoring leaves whole tasks or none, and starts the rest cold', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    await scenario.loseDisk();
    // By their bytes all tasks fit; by the blocks that small files take they do not.
    const command = [process.execPath, MAIN, 'restore', ...scenario.flags, '--max-bytes', '1GiB'];
    const ended = await withSmallDisk(scenario.stateDir, '448k', command);
    expect(ended.code, ended.stderr).toBe(0);
    const { outcome, tasks } = JSON.parse(ended.stdout);
    expect(['partial', 'failed']).toContain(outcome);
    const cold = tasks.filter((task: { decision: string }) => task.decision === 'cold');
    expect(new Set(cold.map((task: { reason: string }) => task.reason))).toEqual(new Set(['no_space']));
    expect(ended.left).not.toContain('.warmstate/restore-');
  });
});

describe('a directory without permission', () => {
  /** Root may read everything, so it becomes somebody else meanwhile. */
  async function asNobody<T>(work: () => Promise<T>): Promise<T> {
    const isRoot = process.geteuid?.() === 0;
    if (isRoot) process.seteuid?.(NOBODY);
    try {
      return await work();
    } finally {
      if (isRoot) process.seteuid?.(0);
    }
  }

  test('of a task stops the snapshot with a hint; of the volume leaves the application to start cold', async () => {
    await using scenario = await Scenario.open(CLOSED);
    const store = new SimulatedStore();
    await scenario.snapshot({ store });
    await chmod(scenario.path, 0o755);
    const task = join(scenario.applicationDirectory, '0_0');
    await chmod(task, 0o000);
    const error = await asNobody(() => scenario.snapshot({ store }).catch((thrown: unknown) => thrown));
    await chmod(task, 0o755);
    if (!isFailure(error)) throw new Error('did not fail', { cause: error });
    expect([error.kind, error.message, error.hint]).toEqual([
      'unavailable',
      expect.stringMatching(/permission denied$/),
      'run as the user or group of the application that owns the state directory',
    ]);

    await scenario.loseDisk();
    await chmod(scenario.stateDir, 0o555);
    const denied = await asNobody(() => scenario.restore({ store }));
    await chmod(scenario.stateDir, 0o755);
    expect(new Set(denied.tasks.map(({ decision, why }) => `${decision} ${why?.reason}`))).toEqual(
      new Set(['cold denied']),
    );
    expect(denied.tasks[0]?.why?.message).toMatch(/^cannot make .*: permission denied$/);
  });
});
