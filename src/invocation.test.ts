import { expect, test } from 'vitest';
import { ManualClock } from '../test/support/manual-clock.ts';
import { systemRandom } from './base/clock.ts';
import { Failure } from './base/failure.ts';
import { refuseRestore } from './cli/restore.ts';
import type { Emit } from './events/event.ts';
import { type Commands, invoke, type World } from './invocation.ts';
import { settingsOf } from './settings.ts';

interface Called {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

interface CallOptions {
  readonly commands?: Commands;
  readonly env?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  readonly isTerminal?: boolean;
  readonly clock?: ManualClock;
}

async function call(line: string, options: CallOptions = {}): Promise<Called> {
  const written = { stdout: '', stderr: '' };
  const outputTo = (name: 'stdout' | 'stderr') => ({
    isTerminal: options.isTerminal ?? false,
    hasColour: false,
    columns: () => (options.isTerminal ? 80 : Number.POSITIVE_INFINITY),
    write: (text: string) => void (written[name] += text),
  });
  const world: World = {
    version: '1.2.3',
    env: options.env ?? {},
    hostName: 'orders-0',
    readFile: async () => {
      throw Object.assign(new Error('ENOENT'), { code: 'ENOENT' });
    },
    clock: options.clock ?? new ManualClock({ startMs: Date.UTC(2026, 10, 22, 23, 41, 7) }),
    random: systemRandom,
    signal: options.signal ?? new AbortController().signal,
    endGracefully: () => new AbortController().signal,
    stdout: outputTo('stdout'),
    stderr: outputTo('stderr'),
    memoryOf: (concurrency) => ({ concurrency, bytesPerObject: 1, compressionBytes: 2 }),
  };
  const code = await invoke(line.split(' '), options.commands ?? {}, world);
  return { code, ...written };
}

const list = (run: NonNullable<Commands['list']>['run']): Commands => ({ list: { run } });
const LIST = 'list --destination file:///repository';

test('a command gets its settings, prints its result and returns its exit code', async () => {
  const commands = list(async (settings, { operands, print }) => {
    print(`${JSON.stringify([settings.destination, operands])}\n`);
    return 3;
  });
  expect(await call(LIST, { commands })).toEqual({
    code: 3,
    stdout: '[{"kind":"file","directory":"/repository"},[]]\n',
    stderr: '',
  });
});

test('only the commands that are there are in the help, and config always is', async () => {
  const { stdout } = await call('--help', { commands: list(async () => 0) });
  const commands = stdout.split('Commands:\n')[1]?.split('\n\n')[0] ?? '';
  expect(commands.split('\n').map((row) => row.trim().split(' ')[0])).toEqual(['list', 'config']);
  expect(await call(LIST)).toEqual({
    code: 2,
    stdout: '',
    stderr: "warmstate: cannot read the command line: unknown command 'list'\ntry: warmstate --help\n",
  });
});

test('a failure is its error lines and its exit code', async () => {
  const commands = list(async () => {
    throw new Failure('unavailable', 'cannot list /repository: EACCES', { hint: 'chmod' });
  });
  expect(await call(LIST, { commands })).toEqual({
    code: 6,
    stdout: '',
    stderr: 'warmstate: cannot list /repository: EACCES\ntry: chmod\n',
  });
});

test('a bug is its stack and exit code 1', async () => {
  const commands = list(async () => {
    throw new TypeError('x is undefined');
  });
  const { code, stderr } = await call(LIST, { commands });
  expect([code, stderr.split('\n')[0]]).toEqual([1, 'warmstate: this is a bug: TypeError: x is undefined']);
  expect(stderr).toContain('invocation.test.ts');
});

test('settings that cannot be used are told one by one, and the command does not run', async () => {
  const commands = list(async () => 0);
  expect(await call('list --output xml', { commands })).toEqual({
    code: 2,
    stdout: '',
    stderr: [
      'warmstate: cannot use --output xml: it is none of text, json',
      'warmstate: cannot list: --destination is not set',
      'try: --destination URL, WARMSTATE_DESTINATION, or destination in the settings file',
      '',
    ].join('\n'),
  });
});

test('a restore with settings that cannot be used starts cold, unless it is told to fail', async () => {
  const commands: Commands = { restore: { run: async () => 0, refuse: refuseRestore } };
  const line = 'restore --application-id orders --destination file:///r --lineage prod --processing-guarantee auto';
  const error = 'warmstate: cannot use --max-age soon: it is not a duration above zero such as 30s, 5m or 6h\n';
  expect([
    await call(`${line} --max-age soon`, { commands }),
    await call(`${line} --max-age soon --output json`, { commands, env: { WARMSTATE_ON_FAILURE: 'continue' } }),
    await call(`${line} --max-age soon --on-failure fail`, { commands }),
    await call(`${line} --max-age soon --to /drill`, { commands }),
  ]).toEqual([
    { code: 0, stdout: COLD, stderr: error },
    { code: 0, stdout: COLD_JSON, stderr: error },
    { code: 2, stdout: '', stderr: error },
    { code: 2, stdout: '', stderr: error },
  ]);
  expect((await call(`${line} --max-agr 5m`, { commands })).code).toBe(2);
});

const COLD = 'not restored: the application starts cold\n';
const COLD_JSON = '{"outcome":"failed","tasks":[],"bytesDownloaded":0,"requests":0,"durationMs":0}\n';

test('warnings and events go to standard error, as json where nobody looks', async () => {
  const env = { WARMSTATE_FOO: '1' };
  const commands = list(async (_settings, { emit }) => {
    emit({ kind: 'notice', name: 'progress', level: 'info', message: 'read', facts: { records: 3 } });
    return 0;
  });
  expect((await call(LIST, { commands, env })).stderr.split('\n')).toEqual([
    '{"level":"warn","time":"2026-11-22T23:41:07.000Z","event":"setting-doubtful","msg":"WARMSTATE_FOO in the environment is not a setting"}',
    '{"level":"info","time":"2026-11-22T23:41:07.000Z","event":"progress","records":3,"msg":"read"}',
    '',
  ]);
  expect((await call(`${LIST} --log-level warn --log-format text`, { commands, env })).stderr).toBe(
    '23:41:07 warn  WARMSTATE_FOO in the environment is not a setting\n',
  );
});

test('beside a run nobody waits: what moves bytes for long says so every five minutes, elsewhere every ten seconds', async () => {
  const clock = new ManualClock();
  const work = async (emit: Emit): Promise<number> => {
    for (let second = 0; second <= 300; second += 10) {
      emit({ kind: 'work-done', work: 'upload', bytes: 1 });
      await clock.advance(10_000);
    }
    return 0;
  };
  const commands: Commands = {
    ...list((_settings, { emit }) => work(emit)),
    run: { run: (_settings, { emit }) => work(emit) },
  };
  const linesOf = async (line: string) => (await call(line, { commands, clock })).stderr.split('\n').length - 1;
  const run = 'run --application-id orders --destination file:///r --lineage prod --processing-guarantee auto';
  expect([await linesOf(LIST), await linesOf(run)]).toEqual([30, 1]);
});

test('on a terminal the bar is gone when the command ends, however it ends', async () => {
  const commands = list(async (_settings, { emit }) => {
    emit({ kind: 'work-announced', work: 'verify', bytes: 10 });
    throw new Failure('missing', 'no snapshot a/1');
  });
  expect((await call(LIST, { commands, isTerminal: true })).stderr).toBe(
    `\r\u001B[Kverifying ${'░'.repeat(40)} 0 B of 10 B (0 %)\r\u001B[Kwarmstate: no snapshot a/1\n`,
  );
});

test('a command that was told to end says by what', async () => {
  const controller = new AbortController();
  const commands = list(async (_settings, { signal }) => {
    controller.abort(new Error('ended by SIGTERM'));
    signal.throwIfAborted();
    return 0;
  });
  expect((await call(LIST, { commands, signal: controller.signal })).stderr).toBe('warmstate: ended by SIGTERM\n');
});

test('config shows everything, and then what is wrong', async () => {
  const { code, stdout, stderr } = await call('config --max-age soon --lineage prod --concurrency 4', {
    env: { WARMSTATE_PORT: 'tcp://10.0.0.1', WARMSTATE_DESTINATION: 's3://key:secret@bucket' },
  });
  expect([code, stderr]).toEqual([
    2,
    [
      'warmstate: cannot use WARMSTATE_DESTINATION=s3://***@bucket: it holds credentials: they come from the environment',
      'warmstate: cannot use --max-age soon: it is not a duration above zero such as 30s, 5m or 6h',
      'warmstate: WARMSTATE_PORT in the environment is not a setting',
      'try: enableServiceLinks: false in the pod, or another name for that Service',
      '',
    ].join('\n'),
  ]);
  expect(
    stdout
      .split('\n')
      .map((row) => row.replaceAll(/ {2,}/g, '|'))
      .filter((row) => !row.startsWith('--s3-'))
      .slice(0, 8),
  ).toEqual([
    'SETTING|VALUE|FROM',
    '--state-dir|/var/lib/kafka-streams|default',
    '--application-id|-|not set',
    '--processing-guarantee|-|not set',
    '--transactional-stores|false|default',
    '--destination|s3://***@bucket|WARMSTATE_DESTINATION',
    '--instance|orders-0|default, the host name',
    '--lineage|prod|command line',
  ]);
  expect(stdout.split('\n').at(-2)).toBe('buffers: 6 B at most (4 objects in flight × 1 B + 2 B for compression)');
});

test('config without a fault exits 0, in json too, and warns where a default is dangerous', async () => {
  const { code, stdout, stderr } = await call('config --output json');
  expect([code, JSON.parse(stdout).settings.length, stderr]).toEqual([
    0,
    settingsOf('config').length,
    'warmstate: warning: no lineage is set: histories of several clusters would mix\n',
  ]);
});
