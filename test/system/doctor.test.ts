import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, readdir, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { openTempDirectory, plant } from '../support/temp-directory.ts';

const MAIN = resolve(import.meta.dirname, '../../src/main.ts');
const HOLDER = resolve(import.meta.dirname, '../support/bin/hold-lock.ts');

interface Said {
  readonly code: number;
  readonly stderr: string;
  /** By the name of the check: `outcome: message`, several joined. */
  readonly checks: Readonly<Record<string, string>>;
}

interface Circumstances {
  readonly env?: Readonly<Record<string, string>>;
  /** Before the program starts, as root of a user namespace of its own. */
  readonly prepare?: string;
  readonly uid?: number;
}

/** Runs `doctor --output json` as a pod would. */
async function doctor(args: readonly string[], { env = {}, prepare, uid }: Circumstances = {}): Promise<Said> {
  await using repository = await openTempDirectory();
  const store = ['--destination', `file://${repository.path}`];
  const line = [process.execPath, MAIN, 'doctor', '--output', 'json', ...store, ...args];
  const confined = [
    'unshare',
    '--user',
    '--map-root-user',
    '--mount',
    'sh',
    '-euc',
    `${prepare}\nexec "$@"`,
    'sh',
    ...line,
  ];
  const [program = '', ...rest] = prepare === undefined ? line : confined;
  const options = { env: { PATH: process.env['PATH'] ?? '', ...env }, ...(uid === undefined ? {} : { uid, gid: uid }) };
  const ended = await promisify(execFile)(program, rest, options).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: { code: number; stdout: string; stderr: string }) => error,
  );
  if (ended.stdout === '') throw new Error(`doctor said nothing: ${ended.stderr}`);
  const { checks }: { checks: { check: string; outcome: string; message: string }[] } = JSON.parse(ended.stdout);
  const byName = Object.groupBy(checks, ({ check }) => check);
  const texts = Object.entries(byName).map(([name, lines = []]) => [
    name,
    lines.map(({ outcome, message }) => `${outcome}: ${message}`).join('; '),
  ]);
  return { code: ended.code, stderr: ended.stderr, checks: Object.fromEntries(texts) };
}

const SETTINGS = ['--application-id', 'orders', '--processing-guarantee', 'at_least_once', '--lineage', 'test'];

describe('doctor looks at a pod', () => {
  test('and changes nothing in its state directory', async () => {
    await using root = await openTempDirectory();
    await plant(root.path, ['orders/.lock', 'orders/0_0/rocksdb/store/CURRENT', 'orders/0_1/']);
    const before = await listing(root.path);
    const { checks, stderr } = await doctor([...SETTINGS, '--state-dir', root.path]);
    expect(checks).toMatchObject({
      settings: 'ok: every value can be used',
      'state-dir': `ok: ${root.path} can be read and written`,
      user: expect.stringMatching(/^ok: uid \d+, gid \d+.*, as the application$/),
      application: `ok: orders has 2 tasks in ${root.path}`,
      lock: 'ok: free: orders is not running',
      watches: 'ok: 3 of 3 directories can be watched',
    });
    expect(stderr).toBe('');
    expect(await listing(root.path)).toEqual(before);
  });

  test('and tells every bad setting, with those of a Service, as config does', async () => {
    await using root = await openTempDirectory();
    const env = { WARMSTATE_MAX_AGE: 'soon', WARMSTATE_PORT: 'tcp://10.0.0.1', WARMSTATE_STATE_DIR: root.path };
    const { code, checks } = await doctor(['--concurrency', '0'], { env });
    expect(code).toBe(2);
    expect(checks['settings']).toContain('failed: cannot use WARMSTATE_MAX_AGE=soon');
    expect(checks['settings']).toContain('failed: cannot use --concurrency 0');
    expect(checks['settings']).toContain('failed: WARMSTATE_PORT in the environment is not a setting');
    expect(checks['settings']).toContain('warn: --application-id is not set');
    expect(checks['settings']).toContain('warn: no lineage is set');
  });

  test.each([
    ['absent', 'failed: PATH does not exist', 3],
    ['file', 'failed: PATH is no directory', 2],
  ])('whose state directory is %s', async (name, said, code) => {
    await using root = await openTempDirectory();
    await writeFile(join(root.path, 'file'), '');
    const path = join(root.path, name);
    const ended = await doctor([...SETTINGS, '--state-dir', path]);
    expect([ended.code, ended.checks['state-dir']]).toEqual([code, said.replace('PATH', path)]);
  });

  test('that may not read what belongs to another user', async () => {
    await using root = await openTempDirectory();
    await plant(root.path, ['orders/.lock', 'orders/0_0/']);
    // Root may read whatever the bits say; so it becomes somebody else.
    const isRoot = process.getuid?.() === 0;
    await chmod(root.path, 0o755);
    await chmod(join(root.path, 'orders'), isRoot ? 0o750 : 0o000);
    const ended = await doctor([...SETTINGS, '--state-dir', root.path], isRoot ? { uid: 65_532 } : {});
    await chmod(join(root.path, 'orders'), 0o750);
    expect(ended.code).toBe(6);
    expect(ended.checks['user']).toMatch(
      /^failed: uid \d+, gid \d+.*orders belongs to \d+:\d+ \(\d+\) and cannot be read$/,
    );
    expect(ended.checks['application']).toContain('permission denied');
  });

  test('whose application runs', async () => {
    await using root = await openTempDirectory();
    await plant(root.path, ['orders/.lock', 'orders/0_0/']);
    const holder = spawn(process.execPath, [HOLDER, join(root.path, 'orders/.lock')], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const exited = once(holder, 'exit');
    expect(String(await once(holder.stdout, 'data'))).toBe('held\n');
    const { checks } = await doctor([...SETTINGS, '--state-dir', root.path]);
    expect(checks['lock']).toBe('ok: held: orders is running');
    holder.stdin.end();
    await exited;
  });

  test('that ksqlDB shares', async () => {
    await using root = await openTempDirectory();
    await plant(root.path, ['orders/0_0/', '_confluent-ksql-default_query_1/0_0/']);
    const { code, checks } = await doctor([...SETTINGS, '--state-dir', root.path]);
    expect([code, checks['application']]).toEqual([
      2,
      expect.stringContaining('failed: cannot serve _confluent-ksql-'),
    ]);
  });

  test('whose volume is in memory, or mounted read-only', async () => {
    await using root = await openTempDirectory();
    await plant(root.path, ['memory/', 'state/orders/0_0/']);
    const [memory, state] = ['memory', 'state'].map((name) => join(root.path, name));
    const prepare = `mount -t tmpfs -o size=1m none ${memory}; mount --bind ${state} ${state}; mount -o remount,bind,ro ${state}`;
    const inMemory = await doctor([...SETTINGS, '--state-dir', `${memory}`], { prepare });
    expect(inMemory.checks['volume']).toMatch(/^warn: .*memory is tmpfs: /);
    const readOnly = await doctor([...SETTINGS, '--state-dir', `${state}`], { prepare });
    expect(readOnly.checks['state-dir']).toBe(
      `ok: ${state} is mounted read-only: enough for run and snapshot, not for restore`,
    );
    expect(readOnly.checks['volume']).toMatch(/^ok: .*, mounted at .*state$/);
  });

  test('on a node that has no watches left', async () => {
    await using root = await openTempDirectory();
    await plant(root.path, ['orders/0_0/', 'orders/0_1/']);
    const prepare = 'echo 2 > /proc/sys/user/max_inotify_watches';
    const { code, checks } = await doctor([...SETTINGS, '--state-dir', root.path], { prepare });
    expect(checks['watches']).toMatch(/^warn: 2 of 3 directories can be watched \(ENOSPC\)/);
    expect(code).toBe(0);
  });

  test('whose state is near its limit', async () => {
    await using root = await openTempDirectory();
    await plant(root.path, ['orders/0_0/']);
    await writeFile(join(root.path, 'orders/0_0/table'), Buffer.alloc(90_000));
    const { checks } = await doctor([...SETTINGS, '--state-dir', root.path, '--state-dir-limit', '100000']);
    expect(checks['space']).toMatch(/^warn: 88 KiB of state under --state-dir-limit 98 KiB/);
  });
});

/** Every path with what a write would change. */
async function listing(root: string): Promise<readonly (readonly [string, number, number])[]> {
  const names = ['', ...(await readdir(root, { recursive: true }))].sort();
  return Promise.all(
    names.map(async (name) => {
      const { mtimeMs, ctimeMs } = await stat(join(root, name));
      return [name, mtimeMs, ctimeMs] as const;
    }),
  );
}
