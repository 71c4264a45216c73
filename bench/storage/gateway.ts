import { spawn } from 'node:child_process';
import { createHash, createHmac } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { installVersitygw } from '../../test/support/s3-server/installed.ts';

/** versitygw on loopback, a directory behind it, and its own log of what it was asked. */
export interface Gateway extends AsyncDisposable {
  readonly endpoint: string;
  /** What every client is told: credentials and region. */
  readonly env: Readonly<Record<string, string>>;
  /** Requests that were answered since the last call. */
  takeRequests(): Promise<number>;
  makeBucket(name: string): Promise<void>;
  /** Where the objects of a bucket lie as files. */
  directoryOf(bucket: string): string;
  removeBucket(name: string): Promise<void>;
  /** A URL that anybody may use for an hour: for clients that cannot sign. */
  sign(method: 'GET' | 'PUT', bucket: string, key: string): string;
}

export const VERSITYGW = 'v1.8.0';
const [ACCESS, SECRET, REGION] = ['test', 'testtest', 'us-east-1'];
const START_MS_MAX = 30_000;
/** The log is written behind the answer. */
const LOG_MS = 300;

export async function openGateway(directory: string): Promise<Gateway> {
  const program = await installVersitygw(VERSITYGW);
  const [objects, log] = [join(directory, 'objects'), join(directory, 'access.log')];
  await mkdir(objects, { recursive: true });
  const port = await freePort();
  const args = ['--access', ACCESS, '--secret', SECRET, '--port', `127.0.0.1:${port}`, '--keep-alive', '--quiet'];
  const child = spawn(program, [...args, '--access-log', log, 'posix', objects], { stdio: 'ignore' });
  const ended = once(child, 'exit');
  const host = `127.0.0.1:${port}`;
  await untilAnswered(`http://${host}/`);
  let seen = 0;
  return {
    endpoint: `http://${host}`,
    env: { AWS_ACCESS_KEY_ID: ACCESS, AWS_SECRET_ACCESS_KEY: SECRET, AWS_REGION: REGION, AWS_DEFAULT_REGION: REGION },
    takeRequests: async () => {
      await delay(LOG_MS);
      const lines = (await readFile(log, 'utf8')).split('\n').length - 1;
      const count = lines - seen;
      seen = lines;
      return count;
    },
    makeBucket: async (name) => {
      const response = await fetch(presign({ method: 'PUT', host, path: `/${name}` }), { method: 'PUT' });
      if (!response.ok) throw new Error(`cannot make the bucket ${name}: ${response.status} ${await response.text()}`);
    },
    directoryOf: (bucket) => join(objects, bucket),
    removeBucket: (name) => rm(join(objects, name), { recursive: true }),
    sign: (method, bucket, key) => presign({ method, host, path: `/${bucket}/${key}` }),
    [Symbol.asyncDispose]: async () => {
      child.kill();
      await ended;
    },
  };
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' ? (address?.port ?? 0) : 0;
}

async function untilAnswered(url: string): Promise<void> {
  const startedMs = performance.now();
  for (;;) {
    try {
      await fetch(url);
      return;
    } catch (error) {
      if (performance.now() - startedMs > START_MS_MAX) throw error;
      await delay(50);
    }
  }
}

/** Signature version 4 in the query (docs.aws.amazon.com, "Authenticating Requests: Using Query Parameters"). */
function presign({ method, host, path }: { readonly method: string; readonly host: string; readonly path: string }) {
  const stamp = new Date().toISOString().replaceAll(/[-:]|\.\d+/g, '');
  const scope = `${stamp.slice(0, 8)}/${REGION}/s3/aws4_request`;
  const query = new URLSearchParams({
    'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
    'X-Amz-Credential': `${ACCESS}/${scope}`,
    'X-Amz-Date': stamp,
    'X-Amz-Expires': '3600',
    'X-Amz-SignedHeaders': 'host',
  }).toString();
  const escaped = path.split('/').map(encodeURIComponent).join('/');
  const canonical = [method, escaped, query, `host:${host}\n`, 'host', 'UNSIGNED-PAYLOAD'].join('\n');
  const digest = createHash('sha256').update(canonical).digest('hex');
  const key = scope.split('/').reduce<string | Buffer>((secret, part) => hmac(secret, part), `AWS4${SECRET}`);
  const signature = hmac(key, `AWS4-HMAC-SHA256\n${stamp}\n${scope}\n${digest}`).toString('hex');
  return `http://${host}${escaped}?${query}&X-Amz-Signature=${signature}`;
}

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}
