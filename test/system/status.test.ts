import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { S3Server } from '../support/s3-server/server.ts';
import { Scenario } from '../support/scenario.ts';
import { Sidecar } from '../support/sidecar.ts';
import { warmstate } from '../support/warmstate.ts';

const CLOSED = '3.9.2-alos-closed';
const TASKS = ['0_0', '0_1', '1_0', '1_1', 'global'];

/** A run that has published once and then waits for an hour. */
async function startRun(scenario: Scenario): Promise<{ readonly sidecar: Sidecar; readonly listen: string }> {
  const sidecar = Sidecar.start([...scenario.flags, '--interval', '1h']);
  await sidecar.logged('snapshot-finished', ({ result }) => result === 'published');
  return { sidecar, listen: `127.0.0.1:${await sidecar.port()}` };
}

async function documents(scenario: Scenario): Promise<number> {
  return (await scenario.objects('snapshots')).length;
}

describe('status', () => {
  test('says first what would be warm, and of the rest what changes it', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await rm(join(scenario.applicationDirectory, '0_1', '.checkpoint'));
    const { listen, ...started } = await startRun(scenario);
    await using sidecar = started.sidecar;
    const { code, stdout } = await warmstate(['status', '--listen', listen]);
    const lines = stdout.split('\n');
    expect([code, lines[0]]).toEqual([0, 'if this pod died now: 4 warm, 1 cold']);
    expect(
      lines.filter((line) => /^(?:\d_\d|global) /.test(line)).map((line) => line.split(/\s+/).slice(0, 2)),
    ).toEqual(TASKS.map((task) => [task, task === '0_1' ? 'cold' : 'warm']));
    expect(stdout).toMatch(/not captured\n {2}no_offset \(0_1\)\n {4}.+\n {4}try: /);
    const json = await warmstate(['status', '--listen', listen, '--output', 'json']);
    expect(JSON.parse(json.stdout)).toEqual({
      ...JSON.parse((await sidecar.get('/api/v1/status')).body),
      turnedAt: expect.any(String),
    });
  });

  test('of no run exits 3 and says where to ask', async () => {
    expect(await warmstate(['status', '--listen', '127.0.0.1:1'])).toEqual({
      code: 3,
      stdout: '',
      stderr:
        'warmstate: cannot ask for the status: no run listens on port 1 of this machine\n' +
        'try: kubectl exec POD -c warmstate -- warmstate status, or --listen as run has it\n',
    });
  });

  test('of a run whose settings cannot be used names them', async () => {
    await using sidecar = Sidecar.start(['--application-id', 'orders']);
    const { stdout } = await warmstate(['status', '--listen', `127.0.0.1:${await sidecar.port()}`]);
    expect(stdout).toContain('cannot run: --destination is not set');
    expect(stdout).toMatch(/try: .*--/);
  });
});

describe('snapshot', () => {
  test('lets the run of the same pod do the work', async () => {
    await using scenario = await Scenario.open(CLOSED);
    const { listen, ...started } = await startRun(scenario);
    await using sidecar = started.sidecar;
    await scenario.moveOffsets('0_0', 10);
    const { code, stdout, stderr } = await warmstate(['snapshot', ...scenario.flags, '--listen', listen]);
    const { snapshot, tasks } = JSON.parse(stdout);
    const own = sidecar.log.find(({ result }) => result === 'published')?.['snapshot'];
    expect([code, String(snapshot).split('/')[0]]).toEqual([0, String(own).split('/')[0]]);
    expect(tasks.map((one: { task: string; outcome: string }) => [one.task, one.outcome])).toEqual(
      TASKS.map((task) => [task, task === '0_0' ? 'captured' : 'unchanged']),
    );
    expect(JSON.parse(stderr.split('\n')[0] ?? '')).toMatchObject({ level: 'info', event: 'snapshot-delegated' });
    expect(await sidecar.metric('warmstate_snapshots_total{trigger="request",result="published"}')).toBe(1);
  });

  test('does it itself where the run serves another repository', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await using elsewhere = await Scenario.open();
    const { listen, ...started } = await startRun(scenario);
    // oxlint-disable-next-line no-underscore-dangle -- TypeScript's mark for what is only held
    await using _sidecar = started.sidecar;
    const before = await documents(scenario);
    const destination = ['--destination', `file://${elsewhere.repositoryDir}`];
    const { code } = await warmstate(['snapshot', ...scenario.flags, ...destination, '--listen', listen]);
    expect([code, await documents(scenario), await documents(elsewhere)]).toEqual([0, before, 1]);
  });

  test('fails as the run fails', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await using server = await S3Server.open();
    const { bucket, endpoint, region, identity } = server;
    const s3 = ['--destination', `s3://${bucket}/state`, '--s3-endpoint', endpoint, '--s3-region', region];
    const env = { AWS_ACCESS_KEY_ID: identity.accessKeyId, AWS_SECRET_ACCESS_KEY: identity.secretAccessKey };
    await using sidecar = Sidecar.start([...scenario.flags, ...s3, '--interval', '1h'], { env });
    await sidecar.logged('snapshot-finished', ({ result }) => result === 'published');
    await scenario.moveOffsets('0_0', 10);
    server.script({ kind: 'answer', status: 403, code: 'AccessDenied', operation: 'PutObject', times: Infinity });
    const listen = `127.0.0.1:${await sidecar.port()}`;
    const { code, stderr } = await warmstate(['snapshot', ...scenario.flags, ...s3, '--listen', listen]);
    expect([code, stderr]).toEqual([6, expect.stringMatching(/snapshot-delegated.*\nwarmstate: cannot .*data/)]);
  });
});

describe('pre-stop', () => {
  test('publishes what came since, at once', async () => {
    await using scenario = await Scenario.open(CLOSED);
    const started = await startRun(scenario);
    await using sidecar = started.sidecar;
    await scenario.moveOffsets('0_0', 10);
    expect(await sidecar.get('/-/pre-stop')).toEqual({ code: 202, body: 'a snapshot has begun\n' });
    const line = await sidecar.logged('snapshot-finished', ({ trigger }) => trigger === 'pre_stop');
    expect([line['result'], await documents(scenario)]).toEqual(['published', 2]);
  });
});

describe('the log', () => {
  test('of a healthy life is a few lines of JSON, each with a name', async () => {
    await using scenario = await Scenario.open(CLOSED);
    const { sidecar } = await startRun(scenario);
    await sidecar.get('/livez');
    await sidecar.get('/metrics');
    expect(await sidecar.end()).toBe(0);
    expect(sidecar.other).toEqual([]);
    const names = sidecar.log.map(({ event, phase, trigger, result }) =>
      [event, phase, trigger, result].filter((fact) => typeof fact === 'string').join(' '),
    );
    expect(names.toSorted()).toEqual([
      'listening',
      'phase-changed finishing',
      'phase-changed starting',
      'phase-changed watching',
      'snapshot-finished final unchanged',
      'snapshot-finished interval published',
    ]);
  });
});
