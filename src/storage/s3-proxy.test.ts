import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server, request as send } from 'node:http';
import { connect } from 'node:net';
import { afterEach, beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import { makeAuthority } from '../../test/support/s3-server/certificate.ts';
import { S3Server } from '../../test/support/s3-server/server.ts';
import { systemClock, systemRandom } from '../base/clock.ts';
import { bytesBody } from './object-store.ts';
import { isProxied, type ProxyVariables } from './s3-proxy.ts';
import { openS3Store } from './s3-store.ts';

const signal = AbortSignal.timeout(60_000);

beforeEach(() => {
  vi.stubEnv('AWS_ACCESS_KEY_ID', 'test');
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'testtest');
});
afterEach(() => void vi.unstubAllEnvs());

const rows: readonly (readonly [ProxyVariables, 'http' | 'https', string, boolean])[] = [
  [{}, 'https', 's3.eu-west-1.amazonaws.com', false],
  [{ HTTPS_PROXY: '' }, 'https', 's3.eu-west-1.amazonaws.com', false],
  [{ HTTPS_PROXY: 'http://proxy:3128' }, 'https', 's3.eu-west-1.amazonaws.com', true],
  [{ https_proxy: 'http://proxy:3128' }, 'https', 's3.eu-west-1.amazonaws.com', true],
  [{ HTTPS_PROXY: 'http://proxy:3128' }, 'http', 'minio', false],
  [{ HTTP_PROXY: 'http://proxy:3128' }, 'http', 'minio', true],
  [{ HTTPS_PROXY: 'http://proxy:3128', NO_PROXY: '*' }, 'https', 'minio', false],
  [{ HTTPS_PROXY: 'http://proxy:3128', NO_PROXY: 'localhost, MinIO' }, 'https', 'minio', false],
  [{ HTTPS_PROXY: 'http://proxy:3128', no_proxy: '.svc.cluster.local' }, 'https', 'minio.ns.svc.cluster.local', false],
  [{ HTTPS_PROXY: 'http://proxy:3128', NO_PROXY: '.local' }, 'https', 'minio.storage', true],
  [{ HTTPS_PROXY: 'http://proxy:3128', NO_PROXY: '10.0.0.0/8' }, 'https', '10.0.0.1', true], // Node's agent decides.
];
for (const [proxies, scheme, host, expected] of rows) {
  test(`${scheme}://${host} under ${JSON.stringify(proxies)} ${expected ? 'may go' : 'never goes'} through a proxy`, () => {
    expect(isProxied({ isSecure: scheme === 'https', host }, proxies)).toBe(expected);
  });
}

for (const scheme of ['http', 'https'] as const) {
  test(`every request to ${scheme}:// goes through the proxy that is named, and none where the host is spared`, async () => {
    const authority = makeAuthority();
    const tls = scheme === 'https' ? authority.issue(['127.0.0.1']) : undefined;
    const server = await S3Server.open(tls === undefined ? {} : { tls });
    onTestFinished(() => server[Symbol.asyncDispose]());
    const proxy = await openProxy();
    const name = scheme === 'https' ? 'HTTPS_PROXY' : 'HTTP_PROXY';
    const through = { [name]: proxy.url };
    await storeAndRead(server, through, authority.cert);
    const seen = proxy.seen.length;
    expect(seen).toBeGreaterThanOrEqual(scheme === 'https' ? 1 : 4); // A tunnel carries many requests.
    await storeAndRead(server, { ...through, NO_PROXY: '127.0.0.1' }, authority.cert);
    expect(proxy.seen).toHaveLength(seen);
  });
}

async function storeAndRead(server: S3Server, proxies: ProxyVariables, ca: string): Promise<void> {
  const unset = {
    region: undefined,
    pathStyle: undefined,
    sse: undefined,
    kmsKeyId: undefined,
    storageClass: undefined,
  };
  const world = { clock: systemClock, random: systemRandom, ca: [ca], proxies };
  const store = openS3Store({ bucket: server.bucket, prefix: 'p' }, { endpoint: server.endpoint, ...unset }, world);
  const bytes = randomBytes(3_000_000);
  await store.put('k', bytesBody(bytes), { signal });
  await store.head('k', { signal });
  for await (const _ of store.list('', { signal }));
  await using opened = await store.get('k', { signal });
  const chunks: Uint8Array[] = [];
  for await (const chunk of opened.body) chunks.push(Uint8Array.from(chunk));
  expect(Buffer.concat(chunks).equals(bytes)).toBe(true);
}

/** A proxy that passes on whole requests, and tunnels. */
async function openProxy(): Promise<{ readonly url: string; readonly seen: readonly string[] }> {
  const seen: string[] = [];
  const proxy: Server = createServer((incoming, outgoing) => {
    const { method = '', url = '', headers } = incoming;
    seen.push(`${method} ${url}`);
    const passed = send(url, { method, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 0, answer.headers);
      answer.pipe(outgoing);
    });
    incoming.pipe(passed);
  });
  proxy.on('connect', ({ url = '' }, client) => {
    seen.push(`CONNECT ${url}`);
    const [host, port] = url.split(':');
    const target = connect(Number(port), host, () => {
      client.write('HTTP/1.1 200 Connection Established\r\n\r\n');
      target.pipe(client).pipe(target);
    });
    target.on('error', () => client.destroy());
    client.on('error', () => target.destroy());
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  onTestFinished(() => {
    proxy.closeAllConnections();
    proxy.close();
  });
  const address = proxy.address();
  return { url: `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`, seen };
}
