import { execFile } from 'node:child_process';
import { chmod, readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { extract } from 'tar';
import { beforeAll, expect, onTestFinished, test } from 'vitest';
import { layOut } from '../support/recorded.ts';
import { S3Server } from '../support/s3-server/server.ts';
import { Sidecar } from '../support/sidecar.ts';
import { openTempDirectory, type TempDirectory } from '../support/temp-directory.ts';
import { warmstate } from '../support/warmstate.ts';

// What `npm pack` makes, unpacked where no other package is: users have nothing else.

const ROOT = resolve(import.meta.dirname, '../..');
const PACK_MS_MAX = 240_000;

let directory: TempDirectory;
let main: string;

beforeAll(async () => {
  directory = await openTempDirectory();
  const { stdout } = await promisify(execFile)('npm', ['pack', '--json', '--pack-destination', directory.path], {
    cwd: ROOT,
  });
  const file = /"filename": "([^"]+)"/.exec(stdout)?.[1] ?? '';
  await extract({ file: join(directory.path, file), cwd: directory.path });
  main = join(directory.path, 'package/dist/main.js');
  return () => directory[Symbol.asyncDispose]();
}, PACK_MS_MAX);

test('the package takes a state to a bucket and back, and tells its story', async () => {
  const { destination, env } = await openBucket();
  const stateDir = join(directory.path, 'state');
  const { applicationId } = await layOut('4.2.2-eos-closed', stateDir);
  const common = ['--application-id', applicationId, '--lineage', 'test', '--instance', 'a', ...destination];
  const guarantee = ['--processing-guarantee', 'exactly_once_v2', '--output', 'json'];

  const taken = await warmstate(['snapshot', ...common, ...guarantee, '--state-dir', stateDir], { main, env });
  expect(taken).toMatchObject({ code: 0 });
  const restored = await warmstate(['restore', ...common, ...guarantee, '--to', join(directory.path, 'restored')], {
    main,
    env,
  });
  expect(restored).toMatchObject({ code: 0 });
  expect(JSON.parse(restored.stdout).tasks.map(({ decision }: { decision: string }) => decision)).toEqual(
    Array.from({ length: 5 }, () => 'warm'),
  );
  expect(await warmstate(['demo'], { main })).toMatchObject({ code: 0, stderr: '' });
});

test('the package runs beside an application', async () => {
  const { destination, env } = await openBucket();
  const stateDir = join(directory.path, 'live');
  const { applicationId } = await layOut('4.2.2-eos-closed', stateDir);
  const common = ['--application-id', applicationId, '--lineage', 'test', '--instance', 'a', ...destination];
  const flags = [...common, '--processing-guarantee', 'exactly_once_v2', '--state-dir', stateDir];
  await using sidecar = Sidecar.start(flags, { main, env });
  await sidecar.logged('snapshot-finished');
  expect(await sidecar.get('/livez')).toMatchObject({ code: 200 });
  expect(await sidecar.metric('warmstate_tasks{state="restorable"}')).toBe(5);
});

test('the package starts by its first line', async () => {
  await chmod(main, 0o755); // As npm does.
  const { stdout } = await promisify(execFile)(main, ['--version']);
  expect(stdout).toMatch(/^warmstate \d/);
});

test('the package holds the licences of what is in it, and no source of tests', async () => {
  const files = await readdir(join(directory.path, 'package/dist'));
  expect(files).toEqual(expect.arrayContaining(['LICENSES.txt', 'main.js', 'run.js', 's3-store.js']));
  expect(files.filter((name) => name.includes('test'))).toEqual([]);
});

async function openBucket(): Promise<{
  readonly destination: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}> {
  const server = await S3Server.open();
  onTestFinished(() => server[Symbol.asyncDispose]());
  return {
    destination: ['--destination', `s3://${server.bucket}/team`, '--s3-endpoint', server.endpoint],
    env: {
      AWS_ACCESS_KEY_ID: server.identity.accessKeyId,
      AWS_SECRET_ACCESS_KEY: server.identity.secretAccessKey,
      AWS_EC2_METADATA_DISABLED: 'true',
    },
  };
}
