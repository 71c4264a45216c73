import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { layOut } from '../support/recorded.ts';
import { S3Server } from '../support/s3-server/server.ts';
import { listFiles } from '../support/scenario.ts';
import { openTempDirectory } from '../support/temp-directory.ts';
import { type Ended, warmstate } from '../support/warmstate.ts';

const RECORDING = '4.2.2-eos-closed';

test('a state directory goes to a bucket and comes back, byte for byte, by the AWS variables alone', async () => {
  const { server, run, directory } = await open();
  const stateDir = join(directory, 'state');
  const { applicationId } = await layOut(RECORDING, stateDir);
  const common = ['--application-id', applicationId, '--lineage', 'test', '--instance', 'orders-0'];
  const guarantee = ['--processing-guarantee', 'exactly_once_v2'];
  expect(await run('list')).toMatchObject({ code: 0, stdout: 'nothing stored yet\n' });

  const taken = await run('snapshot', ...common, ...guarantee, '--state-dir', stateDir, '--output', 'json');
  expect([taken.code, taken.stderr]).toEqual([0, expect.any(String)]);
  const snapshot = JSON.parse(taken.stdout);
  expect(snapshot.tasks).toHaveLength(5);
  expect(new Set(snapshot.tasks.map(({ outcome }: { outcome: string }) => outcome))).toEqual(new Set(['captured']));
  expect(server.keys().every((key) => key.startsWith('team/orders/'))).toBe(true);
  expect(server.log.filter(({ operation }) => operation === 'PutObject')).toHaveLength(server.keys().length + 1); // The record twice.

  expect(await run('verify', '--lineage', 'test')).toMatchObject({ code: 0 });
  const restored = await run(
    'restore',
    ...common,
    ...guarantee,
    '--to',
    join(directory, 'restored'),
    '--output',
    'json',
  );
  expect(restored.code).toBe(0);
  await expectSameTables(stateDir, join(directory, 'restored'));
  expect(JSON.parse(restored.stdout).tasks.map(({ decision }: { decision: string }) => decision)).toEqual(
    Array.from({ length: 5 }, () => 'warm'),
  );
});

test('a missing bucket, refused credentials and no credentials end in exit code 6, each in words of its own', async () => {
  const { run } = await open();
  const calls = [
    run('list', '--destination', 's3://nowhere/team'),
    run('list', '--s3-region', 'eu-west-1'),
    run({ AWS_SECRET_ACCESS_KEY: 'wrong' }, 'list'),
    run({ AWS_ACCESS_KEY_ID: '' }, 'list'),
  ];
  const ended = await Promise.all(calls);
  expect(ended.map(({ code }) => code)).toEqual([6, 6, 6, 6]);
  expect(ended.map(({ stderr }) => stderr.split('\n')[0])).toEqual([
    expect.stringContaining('in bucket nowhere: the bucket does not exist'),
    expect.stringContaining('in bucket bucket: the bucket lies in the region us-east-1, not eu-west-1'),
    expect.stringContaining('in bucket bucket: the store rejects the signature'),
    expect.stringContaining('in bucket bucket: no credentials were found'),
  ]);
  for (const { stderr } of ended) expect(stderr).toMatch(/\ntry: /);
});

async function expectSameTables(left: string, right: string): Promise<void> {
  const tables = (await listFiles(left)).filter((path) => path.endsWith('.sst'));
  expect(tables.length).toBeGreaterThan(0);
  for (const path of tables) expect(await readFile(join(right, path))).toEqual(await readFile(join(left, path)));
}

type Run = (...args: readonly (string | Readonly<Record<string, string>>)[]) => Promise<Ended>;

async function open(): Promise<{ readonly server: S3Server; readonly run: Run; readonly directory: string }> {
  const directory = await openTempDirectory();
  onTestFinished(() => directory[Symbol.asyncDispose]());
  const server = await S3Server.open();
  onTestFinished(() => server[Symbol.asyncDispose]());
  const variables = {
    WARMSTATE_DESTINATION: `s3://${server.bucket}/team`,
    AWS_ENDPOINT_URL_S3: server.endpoint,
    AWS_ACCESS_KEY_ID: server.identity.accessKeyId,
    AWS_SECRET_ACCESS_KEY: server.identity.secretAccessKey,
    AWS_EC2_METADATA_DISABLED: 'true',
    AWS_CONFIG_FILE: '/nonexistent',
    AWS_SHARED_CREDENTIALS_FILE: '/nonexistent',
  };
  const run: Run = (...args) => {
    const environment = Object.assign({}, variables, ...args.filter((arg) => typeof arg !== 'string'));
    return warmstate(
      args.filter((arg) => typeof arg === 'string'),
      { env: environment },
    );
  };
  return { server, run, directory: directory.path };
}
