import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { Failure } from '../../src/base/failure.ts';
import { realFiles } from '../../src/base/file-access.ts';
import { APPLICATION, listFiles, Scenario } from '../support/scenario.ts';
import { SimulatedStore } from '../support/simulated-store.ts';
import { type Ended, warmstate } from '../support/warmstate.ts';

const CLOSED = '3.9.2-alos-closed';
const TASKS = ['0_0', '0_1', '1_0', '1_1', 'global'];
const HOLDER = resolve(import.meta.dirname, '../support/bin/hold-lock.ts');

async function restore(scenario: Scenario, ...more: readonly string[]): Promise<Ended> {
  return warmstate(['restore', ...scenario.flags, ...more]);
}

async function snapshot(scenario: Scenario, ...more: readonly string[]): Promise<Ended> {
  return warmstate(['snapshot', ...scenario.flags, ...more]);
}

/** `0_0 warm`, `0_1 cold damaged`. */
function decisions({ stdout }: Ended): readonly string[] {
  const tasks: readonly { task: string; decision: string; reason: string | null }[] = JSON.parse(stdout).tasks;
  return tasks.map(({ task, decision, reason }) => [task, decision, reason].filter((word) => word !== null).join(' '));
}

const NOTHING = { outcome: 'failed', tasks: [], bytesDownloaded: 0, requests: 0, durationMs: 0 };

describe('the program, given', () => {
  test.each<readonly [string, (at: string) => Promise<unknown>, number, string]>([
    ['no state directory', async () => {}, 3, 'it does not exist'],
    ['a file for a state directory', (at) => writeFile(at, ''), 2, 'it is no directory'],
  ])('%s, starts cold and says so, or fails with its code', async (_what, make, code, why) => {
    await using scenario = await Scenario.open();
    await make(scenario.stateDir);
    const cold = await restore(scenario);
    const hint = 'try: give the state.dir of the application with --state-dir, and mount its volume there\n';
    const said = `warmstate: cannot fill the state directory ${scenario.stateDir}: ${why}\n${hint}`;
    expect([cold.code, JSON.parse(cold.stdout), cold.stderr]).toEqual([0, NOTHING, said]);
    expect((await restore(scenario, '--on-failure', 'fail')).code).toBe(code);
    expect(await snapshot(scenario)).toEqual({
      code,
      stdout: '',
      stderr: `warmstate: cannot read the state directory ${scenario.stateDir}: ${why}\ntry: give the state.dir of the application with --state-dir\n`,
    });
    expect(await readdir(scenario.path)).toEqual(code === 3 ? [] : ['state']);
  });

  test('the directory of another application, fills its own and leaves that alone', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    await rename(scenario.applicationDirectory, join(scenario.stateDir, 'payments'));
    const before = await listFiles(join(scenario.stateDir, 'payments'));
    const refused = await snapshot(scenario);
    expect([refused.code, refused.stderr]).toEqual([
      3,
      `warmstate: cannot find the application orders in ${scenario.stateDir}: it holds payments\n` +
        'try: compare --application-id and --state-dir with the application.id and state.dir of the application\n',
    ]);
    expect(decisions(await restore(scenario))).toEqual(TASKS.map((task) => `${task} warm`));
    expect(await listFiles(join(scenario.stateDir, 'payments'))).toEqual(before);
  });

  test('a ksqlDB application, refuses it in both directions', async () => {
    await using scenario = await Scenario.open(CLOSED);
    const flags = ['--application-id', '_confluent-ksql-default_query_CTAS_1', '--on-failure', 'fail'];
    const { code, stderr } = await restore(scenario, ...flags);
    expect([code, stderr.split('\n')[0]]).toEqual([2, expect.stringContaining('ksqlDB')]);
    expect(await readdir(scenario.stateDir)).toEqual([APPLICATION]);
  });

  test('a state directory that an application holds, keeps its hands off; a snapshot of it is taken', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await using application = await holdLock(scenario);
    expect(application.answer).toBe('held');
    const taken = await snapshot(scenario);
    expect([taken.code, JSON.parse(taken.stdout).tasks.length]).toEqual([0, TASKS.length]);
    await rm(join(scenario.applicationDirectory, '0_0'), { recursive: true });
    const failed = await restore(scenario, '--on-failure', 'fail');
    expect([failed.code, failed.stderr]).toEqual([
      4,
      `warmstate: cannot fill ${scenario.applicationDirectory}: an application holds it\n` +
        'try: stop the application first, or fill another directory with --to\n',
    ]);
    const cold = await restore(scenario);
    expect([cold.code, JSON.parse(cold.stdout)]).toEqual([0, NOTHING]);
    expect((await readdir(scenario.applicationDirectory)).includes('0_0')).toBe(false);
    expect(await readdir(scenario.stateDir)).toEqual([APPLICATION]);
  });

  async function holdLock(scenario: Scenario): Promise<AsyncDisposable & { readonly answer: string }> {
    const child = spawn(process.execPath, [HOLDER, join(scenario.applicationDirectory, '.lock')], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const exited = once(child, 'exit');
    const [answer]: unknown[] = await Promise.race([once(createInterface(child.stdout), 'line'), exited]);
    const end = async (): Promise<void> => {
      child.stdin.end();
      await exited;
    };
    return { answer: String(answer), [Symbol.asyncDispose]: end };
  }

  test('damaged objects, exits 7, or starts cold with the reason and the object', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    const [archive = ''] = await scenario.objects('data');
    await writeFile(archive, (await readFile(archive)).subarray(0, 500));
    await scenario.loseDisk();
    const failed = await restore(scenario, '--on-failure', 'fail');
    expect([failed.code, decisions(failed)]).toEqual([7, TASKS.map((task) => `${task} cold damaged`)]);
    expect(JSON.parse(failed.stdout).tasks[0].message).toContain('it has 500 bytes in the store');
    expect((await restore(scenario)).code).toBe(0);
    expect(await listFiles(scenario.stateDir)).toEqual(['.warmstate/restore.json']);
  });

  test('a destination that is no directory or no repository, exits 2, or starts cold', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await writeFile(scenario.repositoryDir, '');
    expect((await restore(scenario, '--on-failure', 'fail')).code).toBe(2);
    expect((await restore(scenario)).code).toBe(0);
    expect((await snapshot(scenario)).code).toBe(2);
    await rm(scenario.repositoryDir);
    await mkdir(join(scenario.repositoryDir, APPLICATION, 'test/repository.json'), { recursive: true });
    const { code, stderr } = await snapshot(scenario);
    expect([code, stderr]).toEqual([2, expect.stringContaining('repository.json')]);
  });

  test('no time, exits 8, or starts cold', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    await scenario.loseDisk();
    const failed = await restore(scenario, '--deadline', '1ms', '--on-failure', 'fail');
    expect([failed.code, failed.stderr]).toEqual([8, expect.stringContaining('--deadline')]);
    expect((await restore(scenario, '--deadline', '1ms')).code).toBe(0);
  });

  test('a snapshot to take by name that is not there, exits 3 whatever it was told of failures', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    await scenario.loseDisk();
    const { code, stderr } = await restore(scenario, '--snapshot', '1700000000000-pod-0-aaaa/1');
    expect([code, stderr]).toEqual([
      3,
      'warmstate: there is no snapshot 1700000000000-pod-0-aaaa/1\ntry: warmstate list prints the names of snapshots\n',
    ]);
    expect((await restore(scenario, '--snapshot', '../../etc/passwd')).code).toBe(2);
  });

  test.each([
    ['--tasks', '0_0,../x'],
    ['--max-bytes', '-1'],
    ['--snapshot', 'latest'],
  ])('%s %j, starts cold under continue and exits 2 under fail, without a step', async (flag, value) => {
    await using scenario = await Scenario.open();
    await mkdir(scenario.stateDir);
    const { code, stderr } = await restore(scenario, flag, value, '--on-failure', 'fail');
    expect([code, stderr]).toEqual([2, expect.stringContaining(flag)]);
    const lenient = await restore(scenario, flag, value);
    expect([lenient.code, await readdir(scenario.path)]).toEqual([flag === '--snapshot' ? 2 : 0, ['state']]);
  });

  test('--tasks in every form, takes what it names', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    await scenario.loseDisk();
    const planned = async (tasks: string): Promise<readonly string[]> =>
      decisions(await restore(scenario, '--dry-run', '--tasks', tasks));
    expect(await planned('all')).toEqual(TASKS.map((task) => `${task} warm`));
    expect(await planned('none')).toEqual(TASKS.map((task) => `${task} cold not_selected`));
    expect(await planned('global,0_1')).toEqual([
      '0_0 cold not_selected',
      '0_1 warm',
      '1_0 cold not_selected',
      '1_1 cold not_selected',
      'global warm',
    ]);
    expect(await readdir(scenario.stateDir)).toEqual([]);
  });

  test('--to, fills another place and touches neither the volume nor the repository', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    const before = [await listFiles(scenario.repositoryDir), await listFiles(scenario.stateDir)];
    const drill = join(scenario.path, 'drill');
    const ended = await restore(scenario, '--to', drill);
    expect([ended.code, decisions(ended)]).toEqual([0, TASKS.map((task) => `${task} warm`)]);
    expect([await listFiles(scenario.repositoryDir), await listFiles(scenario.stateDir)]).toEqual(before);
    expect((await readdir(join(drill, APPLICATION))).sort()).toEqual(TASKS);
    // It implies --on-failure fail.
    const [archive = ''] = await scenario.objects('data');
    await writeFile(archive, '');
    expect((await restore(scenario, '--to', join(scenario.path, 'second'))).code).toBe(7);
  });
});

describe('time that runs out', () => {
  /** Both at once: instances that are adopted come one after another. */
  const selection = { kind: 'all' } as const;

  /** Two tasks with a large table each; the one of 0_1 does not come. */
  async function stalled(scenario: Scenario): Promise<SimulatedStore> {
    const store = new SimulatedStore();
    for (const [task, number] of [['0_0', 7] as const, ['0_1', 9] as const]) {
      await scenario.plantTask(task, [{ number }]);
      await scenario.snapshot({ store, instance: `pod-${number}` });
      await rm(join(scenario.applicationDirectory, task), { recursive: true });
    }
    await scenario.loseDisk();
    store.script({
      operation: 'get',
      key: /data\/\d+-pod-9-.*-000000$/,
      kind: 'stall',
      keptBytes: 10,
      times: Infinity,
    });
    return store;
  }

  /** Aborts once 0_0 is installed, which is all that can be. */
  async function abortInTime(scenario: Scenario, abort: AbortController, reason: Error): Promise<void> {
    const isThere = (path: string): Promise<boolean> => realFiles.stat(path).then((facts) => facts !== undefined);
    while (!(await isThere(join(scenario.applicationDirectory, '0_0')))) await delay(10);
    await delay(100);
    abort.abort(reason);
  }

  test.each(['deadline', 'stall-timeout'])('by --%s leaves what was installed, and the rest cold', async (which) => {
    await using scenario = await Scenario.open();
    const store = await stalled(scenario);
    const late = new AbortController();
    const choices = which === 'deadline' ? { signal: late.signal } : { stallTimeoutMs: 1000 };
    const [{ outcome, tasks }] = await Promise.all([
      scenario.restore({ store, selection, ...choices }),
      abortInTime(scenario, late, new Failure('deadline', 'the time is up')),
    ]);
    expect([outcome, ...tasks.map(({ task, decision, why }) => `${task} ${decision} ${why?.reason}`)]).toEqual([
      'partial',
      '0_0 warm undefined',
      '0_1 cold deadline',
    ]);
    expect(tasks[1]?.why?.message).toMatch(which === 'deadline' ? 'the time is up' : /no byte moved for 1000 ms$/);
    expect(await readdir(scenario.applicationDirectory)).toEqual(['0_0']);
    expect(await readdir(join(scenario.stateDir, '.warmstate'))).toEqual(['restore.json']);
  });

  test('for a signal that ends the program leaves no staging, and whole tasks', async () => {
    await using scenario = await Scenario.open();
    const store = await stalled(scenario);
    const told = new AbortController();
    const restored = scenario.restore({ store, selection, signal: told.signal });
    const ended = expect(restored).rejects.toThrow('SIGTERM');
    await abortInTime(scenario, told, new Error('SIGTERM'));
    await ended;
    expect(await readdir(scenario.applicationDirectory)).toEqual(['0_0']);
    // What was known of the clock by then, for the stamps of what is installed (A5).
    expect(await readdir(join(scenario.stateDir, '.warmstate'))).toEqual(['restore.json']);
  });
});

test('a store that is closed to whoever restores ends it with the path', async () => {
  await using scenario = await Scenario.open(CLOSED);
  await scenario.snapshot();
  await scenario.loseDisk();
  await chmod(scenario.path, 0o755);
  const records = join(scenario.repositoryDir, APPLICATION, 'test/records');
  await chmod(records, 0o000);
  const isRoot = process.geteuid?.() === 0;
  if (isRoot) process.seteuid?.(65_534);
  const error: unknown = await scenario.restore().catch((thrown: unknown) => thrown);
  if (isRoot) process.seteuid?.(0);
  await chmod(records, 0o755);
  expect(error).toMatchObject({ kind: 'unavailable', detail: 'denied', message: expect.stringContaining(records) });
});
