import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

interface Outcome {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program of Node as a user would; only what a test says is in the environment. */
async function run(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Outcome> {
  const child = spawn(process.execPath, args, {
    env: { PATH: process.env['PATH'] ?? '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return outcomeOf(child);
}

async function outcomeOf(child: ChildProcess): Promise<Outcome> {
  const text = { stdout: '', stderr: '' };
  child.stdout?.on('data', (chunk: Buffer) => (text.stdout += chunk.toString()));
  child.stderr?.on('data', (chunk: Buffer) => (text.stderr += chunk.toString()));
  await once(child, 'close');
  return { code: child.exitCode, signal: child.signalCode, ...text };
}

async function warmstate(line: string, env?: Readonly<Record<string, string>>): Promise<Outcome> {
  return run([MAIN, ...line.split(' ').filter((word) => word !== '')], env);
}

let scratch = '';
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'warmstate-cli-'));
});
afterAll(async () => {
  await rm(scratch, { recursive: true });
});

test('help and version go to standard output and exit 0', async () => {
  const help = await warmstate('--help');
  expect([help.code, help.stderr, help.stdout.split('\n')[0]]).toEqual([0, '', 'Usage: warmstate [options] [command]']);
  expect(await warmstate('--version')).toEqual({
    code: 0,
    signal: null,
    stdout: expect.stringMatching(/^warmstate \d+\.\d+\.\d+\n$/),
    stderr: '',
  });
});

test.each([
  ['', 'warmstate: no command was given\ntry: warmstate --help\n'],
  ['frobnicate', "warmstate: cannot read the command line: unknown command 'frobnicate'\ntry: warmstate --help\n"],
  ['config --max-agr 5m', "warmstate: cannot read the command line: unknown flag '--max-agr'\ntry: --max-age\n"],
])('the command line %j exits 2 with an error on standard error', async (line, stderr) => {
  expect(await warmstate(line)).toEqual({ code: 2, signal: null, stdout: '', stderr });
});

const CONFIG = `\
SETTING                 VALUE                   FROM
--state-dir             /state                  FILE
--application-id        orders                  WARMSTATE_APPLICATION_ID
--processing-guarantee  exactly_once            command line
--transactional-stores    false                   default
--destination           file:///repository      FILE
--s3-endpoint           -                       not set
--s3-region             -                       not set
--s3-path-style         -                       not set
--s3-ca-file            -                       not set
--s3-sse                -                       not set
--s3-kms-key-id         -                       not set
--s3-storage-class      -                       not set
--instance              HOST                    default, the host name
--lineage               prod                    FILE
--app-version           -                       not set
--interval              5m                      default
--compression           zstd                    default
--concurrency           4                       command line
--bandwidth             50MiB/s                 default
--tasks                 0_0,global              FILE
--replicas              -                       not set
--state-dir-limit       -                       not set
--max-bytes             -                       not set
--max-age               23h                     default
--max-layout            column-family           default
--wait-for-final        30s                     default
--deadline              5m                      default
--stall-timeout         60s                     default
--on-failure            continue                default
--keep-within           6h                      default
--prune                 auto                    default
--termination-grace-period  -                   not set
--listen                :10464                  default
--bootstrap-servers     -                       not set
--command-config        -                       not set
--output                text                    default
--config                FILE                    WARMSTATE_CONFIG
--log-level             info                    default
--log-format            auto                    default

buffers: SIZE at most (4 objects in flight × SIZE + SIZE for compression)
`;

test('config prints every setting with its value and origin', async () => {
  const file = join(scratch, 'warmstate.yaml');
  await writeFile(file, 'stateDir: /state\ndestination: file:///repository\nlineage: prod\ntasks: [0_0, global]\n');
  const env = { WARMSTATE_CONFIG: file, WARMSTATE_APPLICATION_ID: 'orders' };
  const printed = await warmstate('config --processing-guarantee exactly_once --concurrency 4', env);
  const withoutSizes = printed.stdout.replaceAll(/[\d.]+ MiB/g, 'SIZE');
  const narrow = (text: string) =>
    text.replaceAll(file, 'FILE').replaceAll(hostname(), 'HOST').replaceAll(/ {2,}/g, '  ');
  expect({ ...printed, stdout: narrow(withoutSizes) }).toEqual({
    code: 0,
    signal: null,
    stdout: narrow(CONFIG),
    stderr: '',
  });
});

test('config exits 2 for a bad value and an unknown variable, and prints the rest', async () => {
  const { code, stdout, stderr } = await warmstate('config --lineage prod', {
    WARMSTATE_DEADLINE: '5',
    WARMSTATE_DEADLIN: '5m',
  });
  expect([code, stdout.split('\n').length, stderr]).toEqual([
    2,
    CONFIG.split('\n').length,
    [
      'warmstate: cannot use WARMSTATE_DEADLINE=5: it is not a duration above zero such as 30s, 5m or 6h',
      'warmstate: WARMSTATE_DEADLIN in the environment is not a setting',
      'try: unset WARMSTATE_DEADLIN',
      '',
    ].join('\n'),
  ]);
});

test('a reader that goes away ends the program in peace', async () => {
  const child = spawn(process.execPath, [MAIN, 'config', '--lineage', 'prod'], { stdio: ['ignore', 'pipe', 'pipe'] });
  child.stdout.destroy();
  const { code, stderr } = await outcomeOf(child);
  expect([code, stderr]).toEqual([0, '']);
});

test.each([
  ['SIGTERM', 143],
  ['SIGINT', 130],
] as const)('%s makes the exit code %d', async (signal, code) => {
  const pipe = join(scratch, signal);
  execFileSync('mkfifo', [pipe]);
  const child = spawn(process.execPath, [MAIN, 'config', '--lineage', 'prod', '--config', pipe], { stdio: 'pipe' });
  const ended = outcomeOf(child);
  await using settings = await open(pipe, 'w'); // Waits for the program, which then waits for its settings.
  child.kill(signal);
  await delay(200);
  await settings.close();
  expect(await ended).toMatchObject({ code, signal: null, stderr: '' });
});

/** A program that sets an outer deadline and then hangs in a way of its own. */
async function hang(how: string): Promise<Outcome> {
  const module = JSON.stringify(new URL('../../src/base/outer-deadline.ts', import.meta.url).href);
  const program = `const { setOuterDeadline } = await import(${module}); await setOuterDeadline(500); ${how}`;
  return run(['--input-type=module', '-e', program]);
}

test.each([
  ['in JavaScript', 'for (;;);'],
  ['in its exit', "process.on('exit', () => { for (;;); });"],
  ['waiting', 'setInterval(() => undefined, 1000);'],
])('the outer deadline ends a process that hangs %s', async (_where, how) => {
  expect(await hang(how)).toEqual({ code: 14, signal: null, stdout: '', stderr: '' });
});

test('the outer deadline keeps no process from ending before it', async () => {
  expect(await hang('')).toEqual({ code: 0, signal: null, stdout: '', stderr: '' });
});

test('loads no web client that nothing uses, for a bucket neither', async () => {
  const modules = ['main', 'storage/s3-store'].map((name) => new URL(`../../src/${name}.ts`, import.meta.url).href);
  const print = 'console.log(process.moduleLoadList.join("\\n"))';
  const program = [...modules.map((module) => `await import('${module}');`), print].join('\n');
  const { stdout } = await run(['--input-type=module', '--eval', program]);
  expect(stdout).toContain('NativeModule http\n');
  expect(stdout).not.toContain('undici');
});
