import { type IncomingHttpHeaders, request } from 'node:http';
import { connect } from 'node:net';
import { networkInterfaces } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { Failure } from '../../src/base/failure.ts';
import { askRun } from '../../src/http/client.ts';
import type { ListenAddress } from '../../src/http/listen-address.ts';
import { openServer, type Served } from '../../src/http/server.ts';
import { ManualClock } from '../support/manual-clock.ts';

const ANYWHERE: ListenAddress = { host: undefined, port: 0 };
const HEALTHY = [{ name: 'loop', complaint: undefined }];
const signal = new AbortController().signal;

interface Answer {
  readonly code: number;
  readonly body: string;
  readonly headers: IncomingHttpHeaders;
}

interface Call {
  readonly method?: string;
  readonly host?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** A server on a free port, what it was asked to do, and a way to call it. */
async function open(given: Partial<Served> = {}) {
  const clock = new ManualClock();
  const done: string[] = [];
  const served: Served = {
    metrics: async () => ({ contentType: 'text/plain; version=0.0.4', text: 'up 1\n' }),
    liveness: () => HEALTHY,
    readiness: () => HEALTHY,
    status: () => ({ warm: 1 }),
    snapshot: async () => {
      done.push('snapshot');
      return { snapshot: 'e/1' };
    },
    preStop: () => void done.push('pre-stop'),
    identity: 'mine',
    report: (error) => void done.push(`bug: ${String(error)}`),
    ...given,
  };
  const server = await openServer(ANYWHERE, served, { clock });
  const call = async (path: string, options: Call = {}): Promise<Answer> => send(server.port, path, options);
  return { clock, done, call, served, port: server.port, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

async function send(
  port: number,
  path: string,
  { method = 'GET', host = '127.0.0.1', headers, body }: Call,
): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const outgoing = request({ host, port, path, method, agent: false, ...(headers && { headers }) }, (response) => {
    let text = '';
    response.on('data', (chunk: Buffer) => (text += chunk.toString()));
    response.on('end', () => resolve({ code: response.statusCode ?? 0, body: text, headers: response.headers }));
  });
  outgoing.on('error', reject).end(body);
  return promise;
}

/** An address of this machine that others would use; without a network, one that is none of those that count as here. */
function ownAddress(): string {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return all.find(({ internal, family }) => !internal && family === 'IPv4')?.address ?? '127.0.0.2';
}

describe('the server', () => {
  test('answers on both families of addresses', async () => {
    await using server = await open();
    const answers = [await server.call('/metrics'), await server.call('/metrics', { host: '::1' })];
    expect(answers.map(({ code, body, headers }) => [code, body, headers['content-type']])).toEqual([
      [200, 'up 1\n', 'text/plain; version=0.0.4'],
      [200, 'up 1\n', 'text/plain; version=0.0.4'],
    ]);
  });

  test('a port that is taken is a Failure that says so', async () => {
    await using server = await open();
    const again = openServer({ host: undefined, port: server.port }, server.served, { clock: new ManualClock() });
    await expect(again).rejects.toMatchObject({
      kind: 'unavailable',
      message: `cannot listen on :${server.port}: another process has it`,
    });
  });

  test('what is not served is not found, by any method', async () => {
    await using server = await open();
    const calls = [
      ['/', 'GET'],
      ['/-/snapshot', 'GET'],
      ['/api/v1/status', 'POST'],
      ['/-/pre-stop', 'HEAD'],
    ] as const;
    const codes = await Promise.all(calls.map(async ([path, method]) => (await server.call(path, { method })).code));
    expect([codes, server.done]).toEqual([[404, 404, 404, 404], []]);
  });

  test('health is told as Kubernetes tells it', async () => {
    const checks = [
      { name: 'settings', complaint: undefined },
      { name: 'storage', complaint: 'cannot list /secret/path' },
    ];
    await using server = await open({ readiness: () => checks });
    const healthy = await server.call('/livez');
    const verbose = await server.call('/livez?verbose');
    const ill = await server.call('/readyz');
    expect([healthy, verbose, ill].map(({ code, body }) => [code, body])).toEqual([
      [200, 'ok\n'],
      [200, '[+]loop ok\nok\n'],
      [503, '[+]settings ok\n[-]storage failed: cannot list /secret/path\nreadyz check failed\n'],
    ]);
    const elsewhere = await server.call('/readyz?verbose', { headers: { host: 'orders-0.orders' } });
    expect(elsewhere.body).toBe('[+]settings ok\n[-]storage failed: reason withheld\nreadyz check failed\n');
  });

  test('pre-stop returns at once, may be called by GET and POST, and begins one snapshot a minute', async () => {
    await using server = await open();
    const bodies = [
      (await server.call('/-/pre-stop')).body,
      (await server.call('/-/pre-stop', { method: 'POST' })).body,
    ];
    expect(bodies).toEqual(['a snapshot has begun\n', 'a snapshot was begun already\n']);
    await server.clock.advance(59_999);
    await server.call('/-/pre-stop');
    expect(server.done).toEqual(['pre-stop']);
    await server.clock.advance(1);
    await server.call('/-/pre-stop', { headers: { host: '10.1.2.3:10464' } });
    expect(server.done).toEqual(['pre-stop', 'pre-stop']);
  });

  const forged: readonly Readonly<Record<string, string>>[] = [
    { host: 'orders-0.orders:10464' },
    { host: 'localhost', 'x-forwarded-for': '127.0.0.1' },
    { host: 'localhost', origin: 'http://localhost:8080' },
  ];

  test.each(forged)('what acts or reveals is refused with %j', async (headers) => {
    await using server = await open();
    const status = await server.call('/api/v1/status', { headers });
    const snapshot = await server.call('/-/snapshot', { method: 'POST', headers });
    expect([status.code, snapshot.code, server.done]).toEqual([403, 403, []]);
    expect(status.body).toMatch(/^cannot answer GET \/api\/v1\/status: /);
  });

  test('what acts or reveals is refused over the address of the pod, also with a forged Host', async () => {
    const host = ownAddress();
    await using server = await open();
    for (const headers of [{}, { host: 'localhost' }, { host: '127.0.0.1', 'x-forwarded-for': '127.0.0.1' }]) {
      const status = await server.call('/api/v1/status', { host, headers });
      const snapshot = await server.call('/-/snapshot', { host, method: 'POST', headers });
      expect([status.code, snapshot.code]).toEqual([403, 403]);
    }
    expect([(await server.call('/metrics', { host })).code, server.done]).toEqual([200, []]);
  });

  test('a small body is left alone, a large one is refused', async () => {
    await using server = await open();
    const post = (body: string, type: string): Promise<Answer> =>
      server.call('/-/snapshot', { method: 'POST', body, headers: { 'content-type': type } });
    expect((await post('a=1', 'application/x-www-form-urlencoded')).code).toBe(200);
    expect((await post('{not json', 'application/json')).code).toBe(200);
    expect((await post('x'.repeat(2000), 'text/plain')).code).toBe(413);
    expect((await server.call('/metrics', { headers: { 'x-long': 'x'.repeat(20_000) } })).code).toBe(431);
    expect(server.done).toEqual(['snapshot', 'snapshot']);
  });

  test('a bug of ours is reported, and tells nothing to who asked', async () => {
    await using server = await open({
      status: () => {
        throw new TypeError('no such property');
      },
    });
    const { code, body } = await server.call('/api/v1/status');
    expect([code, body, server.done]).toEqual([
      500,
      'this is a bug: its stack is in the log\n',
      ['bug: TypeError: no such property'],
    ]);
  });

  test('ends although connections are open', async () => {
    const server = await open();
    const idle = connect({ port: server.port, host: '127.0.0.1' });
    idle.on('error', () => undefined);
    await delay(50);
    await server[Symbol.asyncDispose]();
    await expect(send(server.port, '/livez', {})).rejects.toThrow('ECONNREFUSED');
    idle.destroy();
  });
});

describe('who asks a run', () => {
  const GET = { method: 'GET', path: '/api/v1/status', timeoutMs: 2000 } as const;

  test('gets its answer', async () => {
    await using server = await open();
    const address = { host: undefined, port: server.port };
    expect(await askRun(address, GET, { signal })).toEqual({ warm: 1 });
    expect(await askRun(address, { ...GET, path: '/api/v1/status?for=mine' }, { signal })).toEqual({ warm: 1 });
    const snapshot = { method: 'POST', path: '/-/snapshot?for=mine', timeoutMs: undefined } as const;
    expect(await askRun({ host: '::1', port: server.port }, snapshot, { signal })).toEqual({ snapshot: 'e/1' });
  });

  test('gets nothing where none listens', async () => {
    const server = await open();
    await server[Symbol.asyncDispose]();
    expect(await askRun({ host: undefined, port: server.port }, GET, { signal })).toBeUndefined();
  });

  test('gets the Failure of the run as it was', async () => {
    const failure = new Failure('unavailable', 'cannot put data/1: refused', { hint: 'look at the bucket' });
    await using server = await open({ snapshot: () => Promise.reject(failure) });
    const asked = askRun(
      { host: undefined, port: server.port },
      { ...GET, method: 'POST', path: '/-/snapshot' },
      { signal },
    );
    await expect(asked).rejects.toMatchObject({ kind: 'unavailable', message: failure.message, hint: failure.hint });
  });

  test('gets a conflict from a run for somebody else, and from who is no run', async () => {
    await using server = await open();
    const address = { host: undefined, port: server.port };
    const other = askRun(address, { ...GET, path: '/api/v1/status?for=other' }, { signal });
    await expect(other).rejects.toMatchObject({
      kind: 'conflict',
      message: expect.stringContaining('another application'),
    });
    const strange = askRun(address, { ...GET, path: '/metrics' }, { signal });
    await expect(strange).rejects.toMatchObject({ kind: 'conflict', message: expect.stringContaining('no JSON') });
  });

  test('waits no longer than it was told', async () => {
    await using server = await open({ snapshot: () => new Promise(() => undefined) });
    const question = { method: 'POST', path: '/-/snapshot', timeoutMs: 100 } as const;
    const asked = askRun({ host: undefined, port: server.port }, question, { signal });
    await expect(asked).rejects.toMatchObject({
      kind: 'unavailable',
      message: expect.stringContaining('within 100 ms'),
    });
  });
});
