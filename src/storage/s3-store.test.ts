import { hash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { createServer, type Server } from 'node:net';
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { ManualClock } from '../../test/support/manual-clock.ts';
import { makeAuthority } from '../../test/support/s3-server/certificate.ts';
import type { S3Fault } from '../../test/support/s3-server/faults.ts';
import { S3Server, type S3ServerOptions } from '../../test/support/s3-server/server.ts';
import { seededRandom } from '../../test/support/seeded-random.ts';
import { mapBounded } from '../base/concurrency.ts';
import { Failure } from '../base/failure.ts';
import { bytesBody, type ObjectBody, type ObjectStore } from './object-store.ts';
import type { Timeouts } from './s3-exchange.ts';
import type { S3Options } from './s3-location.ts';
import { openS3Store, type S3Store } from './s3-store.ts';

const signal = AbortSignal.timeout(5 * 60_000);
const MIB = 1024 * 1024;

beforeEach(() => {
  for (const name of Object.keys(process.env)) if (name.startsWith('AWS_')) vi.stubEnv(name, undefined);
  vi.stubEnv('AWS_ACCESS_KEY_ID', 'test');
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'testtest');
  vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true');
  vi.stubEnv('AWS_SHARED_CREDENTIALS_FILE', '/nonexistent');
  vi.stubEnv('AWS_CONFIG_FILE', '/nonexistent');
});
afterEach(() => void vi.unstubAllEnvs());

describe('connections', () => {
  test('are reused, whatever goes over them, and no request expects a continue', async () => {
    const { server, store } = await open();
    for (let round = 0; round < 5; round++) {
      await store.put(`k${round}`, bytesBody(randomBytes(3 * MIB)), { signal });
      await read(store, `k${round}`);
      await store.head(`k${round}`, { signal });
      for await (const _ of store.list('', { signal }));
      await store.delete(`k${round}`, { signal });
    }
    expect(server.connectionCount).toBeLessThanOrEqual(2); // One of node:http and one that reads into our buffers.
    expect(server.log.filter(({ headers }) => 'expect' in headers)).toEqual([]);
  });

  test('that the server has ended meanwhile are replaced without a word', async () => {
    const { server, store } = await open();
    await store.put('k', bytesBody(Buffer.from('x')), { signal });
    for (let round = 0; round < 3; round++) {
      await read(store, 'k');
      server.endIdleConnections();
      expect(String(await read(store, 'k'))).toBe('x');
      server.endIdleConnections();
      await store.put('k', bytesBody(Buffer.from('x')), { signal });
    }
  });

  test('that end just when the next request goes out are replaced at once', async () => {
    const { server, store, clock } = await open();
    await store.put('k', bytesBody(Buffer.from('x')), { signal });
    await read(store, 'k');
    server.script({ kind: 'reset', at: 'before', operation: 'GetObject' });
    expect(String(await read(store, 'k'))).toBe('x');
    expect(clock.monotonicMs()).toBe(0);
  });

  test('of bodies that nobody reads are given up', async () => {
    const { server, store } = await open();
    await store.put('k', bytesBody(randomBytes(4 * MIB)), { signal });
    for (let round = 0; round < 20; round++) {
      const opened = await store.get('k', { signal });
      if (round % 2 === 0) for await (const _ of opened.body) break;
      await opened[Symbol.asyncDispose]();
    }
    await vi.waitFor(() => expect(server.openConnectionCount).toBeLessThanOrEqual(2), 10_000);
  });

  test('are as many as objects are read at once, and no more', async () => {
    const { server, store } = await open();
    await store.put('k', bytesBody(randomBytes(MIB)), { signal });
    await mapBounded(Array.from({ length: 40 }), { limit: 4, signal }, () => read(store, 'k'));
    expect(server.connectionCount).toBeLessThanOrEqual(5);
  });
});

describe('what is sent', () => {
  test('is one PutObject, without checksums that some servers refuse, and signed', async () => {
    const { server, store } = await open();
    const [small, large] = [randomBytes(1000), randomBytes(2 * MIB)];
    await store.put('small', bytesBody(small), { signal });
    await store.put('large', bytesBody(large), { signal });
    expect(server.log.map(({ operation, key }) => [operation, key])).toEqual([
      ['PutObject', 'p/small'],
      ['PutObject', 'p/large'],
    ]);
    const headers = server.log.map((request) => request.headers);
    expect(headers.map((sent) => sent['x-amz-content-sha256'])).toEqual([sha256(small), sha256(large)]);
    expect(headers.flatMap(Object.keys).filter((name) => /checksum|trailer|transfer-encoding|md5/.test(name))).toEqual(
      [],
    );
  });

  test('of a body that tells its hash, over plain HTTP, is read for it once', async () => {
    const { server, store } = await open();
    const bytes = randomBytes(2 * MIB);
    let openings = 0;
    const body: ObjectBody = {
      sizeBytes: bytes.length,
      sha256: async () => sha256(bytes),
      open: async function* () {
        openings += 1;
        yield bytes;
      },
    };
    await store.put('k', body, { signal });
    expect([openings, server.log[0]?.headers['x-amz-content-sha256']]).toEqual([1, sha256(bytes)]);
  });

  test('over TLS is covered by the signature when it is small, and by TLS when it is large', async () => {
    const { server, store } = await openSecure();
    const [small, large] = [randomBytes(1000), randomBytes(2 * MIB)];
    await store.put('small', bytesBody(small), { signal });
    await store.put('large', bytesBody(large), { signal });
    const hashes = server.log.map((request) => request.headers['x-amz-content-sha256']);
    expect(hashes).toEqual([sha256(small), 'UNSIGNED-PAYLOAD']);
    expect(sha256(await read(store, 'large'))).toBe(sha256(large));
  });

  test('is encrypted and stored as it was asked for', async () => {
    const options = { sse: 'aws:kms', kmsKeyId: 'key-1', storageClass: 'STANDARD_IA' } as const;
    const { server, store } = await open({ options });
    await store.put('k', bytesBody(Buffer.from('x')), { signal });
    expect(server.log[0]?.headers).toMatchObject({
      'x-amz-server-side-encryption': 'aws:kms',
      'x-amz-server-side-encryption-aws-kms-key-id': 'key-1',
      'x-amz-storage-class': 'STANDARD_IA',
    });
  });

  test('fails where the server says yes and stores it plain', async () => {
    const { server, store } = await open({ options: { sse: 'AES256' } });
    server.script({ kind: 'store-plain', times: Number.POSITIVE_INFINITY });
    await expect(store.put('k', bytesBody(Buffer.from('x')), { signal })).rejects.toMatchObject({
      kind: 'unavailable',
      message: 'cannot store k encrypted: the server answered nothing to AES256',
      hint: expect.stringContaining('--s3-sse'),
    });
    expect(server.log.filter(({ operation }) => operation === 'PutObject')).toHaveLength(1);
  });
});

describe('a request is repeated', () => {
  const passing: readonly (readonly [string, S3Fault])[] = [
    ['500', { kind: 'answer', status: 500, code: 'InternalError' }],
    ['503 SlowDown', { kind: 'answer', status: 503, code: 'SlowDown' }],
    ['429', { kind: 'answer', status: 429, code: 'TooManyRequests' }],
    ['409, somebody was faster', { kind: 'answer', status: 409, code: 'OperationAborted' }],
    ['a reset before anything was done', { kind: 'reset', at: 'before' }],
    ['a reset when all was done', { kind: 'reset', at: 'after' }],
    ['silence before anything was done', { kind: 'silence', at: 'before' }],
    ['silence when all was done', { kind: 'silence', at: 'after' }],
    ['500 when all was done', { kind: 'answer', status: 500, code: 'InternalError', after: true }],
  ];
  for (const [what, fault] of passing) {
    test(`after ${what}, by every verb`, async () => {
      const { server, store } = await open({ timeouts: IMPATIENT });
      const bytes = randomBytes(2 * MIB);
      for (const operation of ['PutObject', 'GetObject', 'HeadObject', 'ListObjectsV2', 'DeleteObject'] as const) {
        server.script({ ...fault, operation, times: 2 });
      }
      await store.put('k', bytesBody(bytes), { signal });
      expect(sha256(await read(store, 'k'))).toBe(sha256(bytes));
      expect((await store.head('k', { signal })).sizeBytes).toBe(bytes.length);
      expect(await keysOf(store)).toEqual(['k']);
      await store.delete('k', { signal });
      expect(server.keys()).toEqual([]);
    });
  }

  test('after a reset in the middle of its body, with the body opened anew', async () => {
    const { server, store } = await open();
    const bytes = randomBytes(3 * MIB);
    let openings = 0;
    const body: ObjectBody = {
      sizeBytes: bytes.length,
      sha256: async () => sha256(bytes),
      open: async function* () {
        openings += 1;
        for (let at = 0; at < bytes.length; at += 100_000) yield bytes.subarray(at, at + 100_000);
      },
    };
    server.script({ kind: 'reset', at: { receivedBytes: 1_000_000 }, times: 2 });
    await store.put('k', body, { signal });
    expect([openings, sha256(server.bytesOf('p/k'))]).toEqual([3, sha256(bytes)]);
  });

  test('no sooner than retry-after says, nor much later', async () => {
    const { server, store, clock } = await open();
    server.script({ kind: 'answer', status: 429, code: 'TooManyRequests', headers: { 'retry-after': '7' } });
    await store.head('k', { signal }).catch(() => undefined);
    expect(clock.monotonicMs()).toBeGreaterThanOrEqual(7000);
    expect(clock.monotonicMs()).toBeLessThan(7500);
    server.script({ kind: 'answer', status: 503, code: 'SlowDown', headers: { 'retry-after': '3600' } });
    await store.head('k', { signal }).catch(() => undefined);
    expect(clock.monotonicMs()).toBeLessThan(60_000);
  });

  test('with pauses that grow and differ, and not for ever', async () => {
    const { server, store, clock } = await open();
    server.script({ kind: 'answer', status: 503, code: 'SlowDown', times: Number.POSITIVE_INFINITY });
    await expect(store.head('k', { signal })).rejects.toMatchObject({ kind: 'unavailable' });
    expect(server.log).toHaveLength(8);
    expect(clock.monotonicMs()).toBeGreaterThan(2000);
  });

  test('with new credentials when the old ones have expired', async () => {
    const source = await openCredentialSource(['old', 'test']);
    vi.stubEnv('AWS_ACCESS_KEY_ID', undefined);
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', undefined);
    vi.stubEnv('AWS_CONTAINER_CREDENTIALS_FULL_URI', source);
    const identity = { accessKeyId: 'test', secretAccessKey: 'testtest', sessionToken: 'session' };
    const { server, store } = await open({ server: { identity } });
    server.script({ kind: 'answer', status: 400, code: 'ExpiredToken' });
    await store.put('k', bytesBody(Buffer.from('x')), { signal });
    const names = server.log.map(({ headers }) => /Credential=(\w+)/.exec(headers['authorization'] ?? '')?.[1]);
    expect(names).toEqual(['old', 'test']);
    expect(await store.credentialSource()).toBe('the container (AWS_CONTAINER_CREDENTIALS_FULL_URI)');
  });

  test('and not when a condition of the caller failed: 412', async () => {
    const { server, store } = await open();
    server.script({ kind: 'answer', status: 412, code: 'PreconditionFailed', times: Number.POSITIVE_INFINITY });
    await expect(store.put('k', bytesBody(Buffer.from('x')), { signal })).rejects.toMatchObject({
      kind: 'unavailable',
    });
    expect(server.log).toHaveLength(1);
  });
});

describe('a body that is read', () => {
  const broken: readonly (readonly [string, S3Fault])[] = [
    ['breaks off', { kind: 'truncate', keptBytes: 1_200_000 }],
    ['breaks off at its first byte', { kind: 'truncate', keptBytes: 0 }],
    ['comes no further', { kind: 'stall', keptBytes: 700_000 }],
  ];
  for (const [what, fault] of broken) {
    test(`and ${what} is taken up where it broke`, async () => {
      const { server, store } = await open({ timeouts: IMPATIENT });
      const bytes = randomBytes(4 * MIB);
      await store.put('k', bytesBody(bytes), { signal });
      server.script({ ...fault, operation: 'GetObject', times: 2 });
      expect(sha256(await read(store, 'k'))).toBe(sha256(bytes));
      const again = server.log.filter(({ operation }) => operation === 'GetObject').slice(1);
      expect(again.map(({ headers }) => headers['if-match'] !== undefined)).toEqual(again.map(() => true));
      expect(again.map(({ headers }) => headers['range'])).not.toContain(undefined);
    });
  }

  test('and breaks off again and again without giving more is given up as unavailable, not as damaged', async () => {
    const { server, store } = await open();
    await store.put('k', bytesBody(randomBytes(4 * MIB)), { signal });
    server.script({ kind: 'truncate', keptBytes: 10, operation: 'GetObject', times: Number.POSITIVE_INFINITY });
    await expect(read(store, 'k')).rejects.toMatchObject({ kind: 'unavailable' });
  });

  test.each(['aws', 'ignored'] as const)(
    'and breaks off, its object replaced meanwhile, fails (conditions: %s)',
    async (conditions) => {
      const { server, store } = await open({ server: { conditions } });
      await store.put('k', bytesBody(randomBytes(2 * MIB)), { signal });
      server.script({ kind: 'truncate', keptBytes: 1_000_000, operation: 'GetObject' });
      await using opened = await store.get('k', { signal });
      await store.put('k', bytesBody(randomBytes(2 * MIB)), { signal });
      await expect(collect(opened.body)).rejects.toMatchObject({
        kind: 'unavailable',
        message: 'cannot read k: it was replaced while it was read',
      });
    },
  );

  test('slowly by its reader does not time out', async () => {
    const { store } = await open({ timeouts: IMPATIENT });
    const bytes = randomBytes(2 * MIB);
    await store.put('k', bytesBody(bytes), { signal });
    await using opened = await store.get('k', { signal });
    const chunks: Uint8Array[] = [];
    for await (const chunk of opened.body) {
      chunks.push(Uint8Array.from(chunk));
      await new Promise((resolve) => setTimeout(resolve, 2 * IMPATIENT.idleMs));
    }
    expect(sha256(Buffer.concat(chunks))).toBe(sha256(bytes));
  });

  for (const open of [openPlain, openSecure]) {
    test(`in any pieces arrives whole, ${open === openSecure ? 'over TLS' : 'in the plain'}`, async () => {
      const { server, store } = await open();
      for (const sizeBytes of [0, 1, 16_384, 262_143, 262_144, 262_145, 700_001, 5 * MIB + 3]) {
        const bytes = randomBytes(sizeBytes);
        await store.put('k', bytesBody(bytes), { signal });
        for (const pieceBytes of [7, 16_384, 65_536].filter((piece) => sizeBytes / piece < 300)) {
          server.script({ kind: 'slow', pieceBytes, everyMs: 0 });
          expect(sha256(await read(store, 'k'))).toBe(sha256(bytes));
        }
        expect(sha256(await read(store, 'k'))).toBe(sha256(bytes));
      }
    });
  }

  test('without announced length comes the usual way, then and afterwards', async () => {
    const { server, store } = await open();
    const bytes = randomBytes(2 * MIB);
    await store.put('k', bytesBody(bytes), { signal });
    server.script({ kind: 'chunked', operation: 'GetObject' });
    expect(sha256(await read(store, 'k'))).toBe(sha256(bytes));
    const connections = server.connectionCount;
    for (let round = 0; round < 3; round++) expect(sha256(await read(store, 'k'))).toBe(sha256(bytes));
    expect(server.connectionCount).toBe(connections);
  });

  test('the usual way breaks off, stalls and goes on like any other', async () => {
    const { server, store } = await open({ timeouts: IMPATIENT });
    const bytes = randomBytes(4 * MIB);
    await store.put('k', bytesBody(bytes), { signal });
    server.script({ kind: 'chunked', operation: 'GetObject' });
    await read(store, 'k');
    server.script({ kind: 'truncate', keptBytes: 1_200_000, operation: 'GetObject' });
    server.script({ kind: 'stall', keptBytes: 1_200_000, operation: 'GetObject' });
    expect(sha256(await read(store, 'k'))).toBe(sha256(bytes));
    const opened = await store.get('k', { signal });
    for await (const _ of opened.body) break;
    await opened[Symbol.asyncDispose]();
    await vi.waitFor(() => expect(server.openConnectionCount).toBeLessThanOrEqual(2), 10_000);
  });

  test('on a connection that ends after it is followed by one on a new connection', async () => {
    const { server, store } = await open();
    await store.put('k', bytesBody(Buffer.from('x')), { signal });
    server.script({ kind: 'close', operation: 'GetObject', times: 3 });
    for (let round = 0; round < 5; round++) expect(String(await read(store, 'k'))).toBe('x');
  });
});

describe('the answer is another', () => {
  test('of an empty store, a missing bucket and refused credentials', async () => {
    const { server, store } = await open();
    expect(await keysOf(store)).toEqual([]);
    expect(await failure(store.get('k', { signal }))).toMatchObject({ kind: 'missing' });

    const nowhere = openOn(server, { bucket: 'nowhere' }).store;
    for (const call of verbsOf(nowhere)) {
      expect(await failure(call())).toMatchObject({
        kind: 'unavailable',
        message: expect.stringContaining('in bucket nowhere: the bucket does not exist at http://127.0.0.1'),
        hint: expect.stringContaining('create the bucket nowhere'),
      });
    }

    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'wrong');
    const refused = openOn(server).store;
    for (const call of verbsOf(refused)) {
      expect(await failure(call())).toMatchObject({ kind: 'unavailable', detail: 'denied', hint: expect.any(String) });
    }
  });

  test('of a denied verb: permission, with what to allow', async () => {
    const { server, store } = await open();
    server.script({ kind: 'answer', status: 403, code: 'AccessDenied', times: Number.POSITIVE_INFINITY });
    for (const call of verbsOf(store)) {
      expect(await failure(call())).toMatchObject({
        kind: 'unavailable',
        detail: 'denied',
        hint: expect.stringContaining('s3:GetObject'),
      });
    }
    expect(server.log).toHaveLength(4); // Never repeated.
  });

  test('of a bucket in another region: that region', async () => {
    const { server, store } = await open();
    server.script({ kind: 'redirect', region: 'eu-west-3', times: Number.POSITIVE_INFINITY });
    for (const call of verbsOf(store)) {
      expect(await failure(call())).toMatchObject({
        kind: 'unavailable',
        message: expect.stringContaining('the bucket lies in the region eu-west-3, not us-east-1'),
        hint: '--s3-region eu-west-3',
      });
    }
  });

  test('without credentials: where to get them', async () => {
    vi.stubEnv('AWS_ACCESS_KEY_ID', undefined);
    const { store } = await open();
    for (const call of [() => keysOf(store), () => store.credentialSource()]) {
      expect(await failure(call())).toMatchObject({
        kind: 'unavailable',
        detail: 'denied',
        message: expect.stringContaining('no credentials were found'),
      });
    }
  });

  test('of a server with an unknown certificate: the setting, and with it no failure', async () => {
    const { server } = await openSecure();
    const { store } = openOn(server);
    for (const call of verbsOf(store)) {
      expect(await failure(call())).toMatchObject({
        kind: 'unavailable',
        hint: expect.stringContaining('--s3-ca-file'),
      });
    }
  });
});

test('a clock that is wrong by 20 minutes is put right by the answers, and told when that does not help', async () => {
  const { server, store } = await open({ server: { clockAheadMs: 20 * 60_000 } });
  await store.put('k', bytesBody(Buffer.from('x')), { signal });
  expect(String(await read(store, 'k'))).toBe('x');
  expect((await store.head('k', { signal })).storeTimeMs - Date.now()).toBeGreaterThan(19 * 60_000);
  server.script({ kind: 'answer', status: 403, code: 'RequestTimeTooSkewed', times: Number.POSITIVE_INFINITY });
  expect(await failure(keysOf(store))).toMatchObject({
    kind: 'unavailable',
    message: expect.stringMatching(/clock differs too much from the store's, which says .* GMT/),
    hint: expect.stringContaining('clock'),
  });
});

test('the source of the credentials is told', async () => {
  const { store } = await open();
  expect(await store.credentialSource()).toBe('the environment (AWS_ACCESS_KEY_ID)');
});

test('what is no key of ours is left out of lists', async () => {
  const { server, store } = await open();
  for (const prefix of ['p', 'p/.trash', 'p2', '']) {
    await openOn(server, { prefix }).store.put('k', bytesBody(Buffer.from('x')), { signal });
  }
  expect(server.keys()).toEqual(['k', 'p/.trash/k', 'p/k', 'p2/k']);
  expect(await keysOf(store)).toEqual(['k']);
});

test('a list over several pages is told to its end', async () => {
  const { store } = await open({ server: { pageKeysMax: 3 } });
  const keys = Array.from({ length: 10 }, (_, index) => `k${index}`);
  for (const key of keys) await store.put(key, bytesBody(Buffer.from('x')), { signal });
  expect(await keysOf(store)).toEqual(keys);
});

test('a list that does not say how it goes on is no list', async () => {
  const page =
    '<ListBucketResult><IsTruncated>true</IsTruncated><Contents><Key>p/k</Key></Contents></ListBucketResult>';
  const careless = createHttpServer((_, response) => response.end(page)).listen(0, '127.0.0.1');
  onTestFinished(() => void careless.close());
  await once(careless, 'listening');
  const { store } = openAt(`http://127.0.0.1:${portOf(careless)}`, {});
  expect(await failure(keysOf(store))).toMatchObject({
    kind: 'unavailable',
    message: expect.stringContaining('to its end'),
  });
});

test('without an endpoint and a region nobody knows where to ask', async () => {
  const { store } = openAt(undefined, {});
  expect(await failure(keysOf(store))).toMatchObject({
    message: 'cannot list objects in bucket bucket: no region is set',
    hint: '--s3-region, or AWS_REGION',
  });
});

test('a server that takes connections and says nothing is given up', async () => {
  const silent = createServer(() => undefined).listen(0, '127.0.0.1');
  onTestFinished(() => void silent.close());
  await once(silent, 'listening');
  for (const scheme of ['http', 'https']) {
    const { store } = openAt(`${scheme}://127.0.0.1:${portOf(silent)}`, {
      timeouts: { connectMs: 100, answerMs: 100, idleMs: 100 },
    });
    for (const call of verbsOf(store)) {
      expect(await failure(call())).toMatchObject({ kind: 'unavailable' });
    }
  }
});

const IMPATIENT: Timeouts = { connectMs: 5000, answerMs: 1000, idleMs: 250 };

interface Given {
  readonly server?: S3ServerOptions;
  readonly bucket?: string;
  readonly prefix?: string;
  readonly options?: Partial<S3Options>;
  readonly timeouts?: Timeouts;
  readonly ca?: readonly string[];
}

interface Opened {
  readonly store: S3Store;
  /** Whose sleeps pass at once. */
  readonly clock: ManualClock;
}

async function open(given: Given = {}): Promise<Opened & { readonly server: S3Server }> {
  const server = await S3Server.open(given.server);
  onTestFinished(() => server[Symbol.asyncDispose]());
  return { server, ...openOn(server, given) };
}

const openPlain = (): Promise<Opened & { readonly server: S3Server }> => open();

async function openSecure(): Promise<Opened & { readonly server: S3Server }> {
  const authority = makeAuthority();
  return await open({ server: { tls: authority.issue(['127.0.0.1']) }, ca: [authority.cert] });
}

function openOn(server: S3Server, given: Given = {}): Opened {
  return openAt(server.endpoint, { bucket: server.bucket, ...given });
}

function openAt(endpoint: string | undefined, given: Given): Opened {
  const clock = new ManualClock({ sleepsPass: true });
  const { bucket = 'bucket', prefix = 'p', timeouts, ca } = given;
  const unset = {
    region: undefined,
    pathStyle: undefined,
    sse: undefined,
    kmsKeyId: undefined,
    storageClass: undefined,
  };
  const world = { clock, random: seededRandom(1), ca, ...(timeouts === undefined ? {} : { timeouts }) };
  return { store: openS3Store({ bucket, prefix }, { endpoint, ...unset, ...given.options }, world), clock };
}

/** Gives out credentials as a container's agent does, each time those of the next name; all with the right secret. */
async function openCredentialSource(names: readonly string[]): Promise<string> {
  let asked = 0;
  const source = createHttpServer((_, response) => {
    const AccessKeyId = names[Math.min(asked++, names.length - 1)];
    const Expiration = new Date(Date.now() + 3_600_000).toISOString();
    response.end(JSON.stringify({ AccessKeyId, SecretAccessKey: 'testtest', Token: 'session', Expiration }));
  });
  source.listen(0, '127.0.0.1');
  onTestFinished(() => void source.close());
  await once(source, 'listening');
  return `http://127.0.0.1:${portOf(source)}/`;
}

function portOf(server: Server): number {
  const address = server.address();
  return address === null || typeof address === 'string' ? 0 : address.port;
}

/** Each verb on its own, delete left out. */
function verbsOf(store: ObjectStore): readonly (() => Promise<unknown>)[] {
  return [() => keysOf(store), () => store.get('k', { signal }), () => store.head('k', { signal }), () => put(store)];
}

async function put(store: ObjectStore): Promise<unknown> {
  return await store.put('k', bytesBody(randomBytes(2 * MIB)), { signal });
}

async function read(store: ObjectStore, key: string): Promise<Uint8Array> {
  await using opened = await store.get(key, { signal });
  return await collect(opened.body);
}

async function collect(body: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of body) chunks.push(Uint8Array.from(chunk));
  return Buffer.concat(chunks);
}

async function keysOf(store: ObjectStore): Promise<readonly string[]> {
  const keys: string[] = [];
  for await (const page of store.list('', { signal })) keys.push(...page.objects.map(({ key }) => key));
  return keys.sort();
}

async function failure(call: Promise<unknown>): Promise<unknown> {
  const error = await call.then(
    () => 'it went well',
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(Failure);
  return error;
}

function sha256(bytes: Uint8Array): string {
  return hash('sha256', bytes);
}
