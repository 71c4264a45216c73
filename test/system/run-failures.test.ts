import { once } from 'node:events';
import { chmod, mkdir, rename, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { documentedTable } from '../support/documentation.ts';
import { FAILURES, NODE_EVENTS, type TestOf } from '../support/documented-failures.ts';
import { S3Server } from '../support/s3-server/server.ts';
import { Scenario } from '../support/scenario.ts';
import { Sidecar } from '../support/sidecar.ts';
import { warmstate } from '../support/warmstate.ts';

const CLOSED = '3.9.2-alos-closed';
const NOBODY = 65_534;
const NEVER = ['--interval', '1h'];

/** The flags of run: without those that belong to one command only. */
function flagsOf(scenario: Scenario): readonly string[] {
  return [...scenario.flags, '--interval', '1s'];
}

async function statusOf(sidecar: Sidecar): Promise<{
  readonly warm: number;
  readonly problems: readonly { readonly area: string; readonly message: string }[];
}> {
  return JSON.parse((await sidecar.get('/api/v1/status')).body);
}

/** It serves, has said in status and log what is wrong, and ends with `code` when it is told to. */
async function expectAlive(sidecar: Sidecar, area: string, message: RegExp, code = 0): Promise<void> {
  const line = await sidecar.logged('problem-appeared', (one) => one['area'] === area);
  expect(line.msg).toMatch(message);
  expect(line.level).toMatch(/^(warn|error)$/);
  const { problems } = await statusOf(sidecar);
  expect(problems.map((problem) => problem.area)).toContain(area);
  expect((await sidecar.get('/livez')).code).toBe(200);
  expect((await sidecar.get('/readyz')).code).toBe(503);
  expect((await sidecar.get('/metrics')).body).toContain('warmstate_build_info');
  expect(sidecar.other).toEqual([]);
  expect(await sidecar.end()).toBe(code);
}

function s3Flags(server: S3Server): readonly string[] {
  return [
    '--destination',
    `s3://${server.bucket}/state`,
    '--s3-endpoint',
    server.endpoint,
    '--s3-region',
    server.region,
  ];
}

function s3Environment({ identity }: S3Server): Readonly<Record<string, string>> {
  return { AWS_ACCESS_KEY_ID: identity.accessKeyId, AWS_SECRET_ACCESS_KEY: identity.secretAccessKey };
}

/** Waits until everything that the recording holds is stored. */
async function warmTasks(sidecar: Sidecar, count: number): Promise<void> {
  await sidecar.until(`${count} tasks are warm`, async () =>
    (await statusOf(sidecar)).warm === count ? true : undefined,
  );
}

const TESTS: TestOf<(typeof FAILURES)[number]> = {
  'settings that cannot be used': async () => {
    await using scenario = await Scenario.open(CLOSED);
    await using sidecar = Sidecar.start([
      ...scenario.flags,
      '--processing-guarantee',
      'sometimes',
      '--max-age',
      'soon',
    ]);
    expect(await sidecar.metric('warmstate_config_valid')).toBe(0);
    await expectAlive(sidecar, 'settings', /--processing-guarantee sometimes.*--max-age soon/, 2);
  },

  'the port is taken': async () => {
    await using scenario = await Scenario.open(CLOSED);
    const taker = createServer().listen(0, '127.0.0.1');
    await once(taker, 'listening');
    const address = taker.address();
    const port = typeof address === 'object' ? address?.port : undefined;
    await using sidecar = Sidecar.start(flagsOf(scenario), { listen: `127.0.0.1:${port}` });
    const line = await sidecar.logged('problem-appeared');
    expect([line.level, line['area'], line.msg]).toEqual([
      'warn',
      'listen',
      `cannot listen on 127.0.0.1:${port}: another process has it`,
    ]);
    await sidecar.logged('snapshot-finished', ({ result }) => result === 'published');
    expect(await sidecar.end()).toBe(0);
    taker.close();
  },

  'storage does not answer': async () => {
    await using scenario = await Scenario.open(CLOSED);
    await using server = await S3Server.open();
    server.script({ kind: 'reset', at: 'before', times: Infinity });
    await using sidecar = Sidecar.start([...flagsOf(scenario), ...s3Flags(server)], { env: s3Environment(server) });
    const said = await sidecar.logged('problem-appeared', ({ area }) => area === 'storage');
    expect([said.level, (await sidecar.get('/readyz')).code, (await sidecar.get('/livez')).code]).toEqual([
      'warn',
      503,
      200,
    ]);
    server.heal();
    await warmTasks(sidecar, 5);
    await sidecar.logged('problem-solved', ({ area }) => area === 'storage');
    expect((await sidecar.get('/readyz')).code).toBe(200);
    const lines = sidecar.log.filter(({ event }) => event.startsWith('problem-'));
    expect(lines.map(({ event }) => event)).toEqual(['problem-appeared', 'problem-solved']);
    expect(await sidecar.end()).toBe(0);
  },

  'storage refuses': async () => {
    await using scenario = await Scenario.open(CLOSED);
    await using server = await S3Server.open();
    const env = { ...s3Environment(server), AWS_SECRET_ACCESS_KEY: 'another' };
    const flags = [...flagsOf(scenario), ...s3Flags(server), '--termination-grace-period', '4s'];
    await using sidecar = Sidecar.start(flags, { env });
    await expectAlive(sidecar, 'storage', /the store rejects the signature/);
  },

  'the state directory is missing': async () => {
    await using scenario = await Scenario.open(CLOSED);
    await rename(scenario.stateDir, `${scenario.stateDir}.later`);
    await using sidecar = Sidecar.start(flagsOf(scenario));
    expect(await sidecar.metric('warmstate_application_found')).toBe(0);
    expect((await sidecar.get('/livez')).code).toBe(200);
    await rename(`${scenario.stateDir}.later`, scenario.stateDir);
    await warmTasks(sidecar, 5);
    expect(await sidecar.metric('warmstate_application_found')).toBe(1);
    expect(await sidecar.end()).toBe(0);
  },

  'the state directory cannot be read': async () => {
    await using scenario = await Scenario.open(CLOSED);
    await mkdir(scenario.repositoryDir, { recursive: true });
    await chmod(scenario.path, 0o755);
    await chmod(scenario.repositoryDir, 0o777);
    await chmod(scenario.stateDir, 0o700);
    const isRoot = process.geteuid?.() === 0;
    if (!isRoot) await chmod(scenario.stateDir, 0o000);
    try {
      await using sidecar = Sidecar.start(flagsOf(scenario), isRoot ? { uid: NOBODY } : {});
      await expectAlive(sidecar, 'state-dir', /permission denied/);
    } finally {
      await chmod(scenario.stateDir, 0o755);
    }
  },

  "the application's directory is missing": async () => {
    await using scenario = await Scenario.open();
    await mkdir(scenario.stateDir);
    await using sidecar = Sidecar.start(flagsOf(scenario));
    await sidecar.logged('phase-changed', ({ phase }) => phase === 'watching');
    expect(await sidecar.metric('warmstate_application_found')).toBe(0);
    expect((await sidecar.get('/livez')).code).toBe(200);
    expect(await sidecar.end()).toBe(0);
  },

  'one task cannot be captured': async () => {
    await using scenario = await Scenario.open(CLOSED);
    await rm(join(scenario.applicationDirectory, '0_1', '.checkpoint'));
    await using sidecar = Sidecar.start(flagsOf(scenario));
    await warmTasks(sidecar, 4);
    expect(await sidecar.metric('warmstate_task_uncapturable{task="0_1",reason="no_offset"}')).toBe(1);
    expect(await sidecar.metric('warmstate_tasks{state="uncapturable"}')).toBe(1);
    expect(await sidecar.end()).toBe(0);
  },

  'warmstate is killed': async () => {
    await using scenario = await Scenario.open(CLOSED);
    await using first = Sidecar.start([...scenario.flags, ...NEVER]);
    await warmTasks(first, 5);
    await first[Symbol.asyncDispose]();
    await using second = Sidecar.start([...scenario.flags, ...NEVER]);
    await warmTasks(second, 5);
    expect(await second.metric('warmstate_previous_shutdown_info{result="killed"}')).toBe(1);
    expect(await second.metric('warmstate_uploaded_bytes_total')).toBe(0);
    expect(await second.end()).toBe(0);
  },

  'the last snapshot does not get done in time': async () => {
    await using scenario = await Scenario.open(CLOSED);
    await using server = await S3Server.open();
    const flags = [...scenario.flags, ...NEVER, ...s3Flags(server)];
    const env = s3Environment(server);
    await using first = Sidecar.start([...flags, '--termination-grace-period', '3s'], { env });
    await warmTasks(first, 5);
    await scenario.moveOffsets('0_0', 10);
    server.script({ kind: 'silence', at: 'before', operation: 'PutObject', key: /snapshots|data/, times: Infinity });
    expect(await first.end()).toBe(0);
    server.heal();
    await using second = Sidecar.start(flags, { env });
    await warmTasks(second, 5);
    expect(await second.metric('warmstate_previous_shutdown_info{result="partial"}')).toBe(1);
  },

  '`restore` has trouble': async () => {
    await using scenario = await Scenario.open(CLOSED);
    await using server = await S3Server.open();
    server.script({ kind: 'answer', status: 403, code: 'AccessDenied', times: Infinity });
    const flags = [...scenario.flags, ...s3Flags(server)];
    await scenario.loseDisk();
    const restored = await warmstate(['restore', ...flags], { env: s3Environment(server) });
    expect([restored.code, JSON.parse(restored.stdout).outcome]).toEqual([0, 'failed']);
    expect(restored.stderr).toMatch(/^warmstate: cannot /);
  },
};

// The compiler sees to it that each has a test here, and one in a pod: test/cluster/failures.test.ts.
test.each([
  ['What each failure does to your pod', FAILURES],
  ['What a node does to your pod', NODE_EVENTS],
])('the rows of the document under "%s" are those that have tests', (heading, rows) => {
  expect(documentedTable('operations.md', heading).map(([row]) => row)).toEqual(rows);
});

test.each(Object.entries(TESTS))('%s', (_failure, happens) => happens());
