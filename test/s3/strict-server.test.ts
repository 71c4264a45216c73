import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type PutObjectCommandInput,
  S3Client,
  type S3ClientConfig,
} from '@aws-sdk/client-s3';
import { describe, expect, onTestFinished, test } from 'vitest';
import { systemErrorCode } from '../../src/base/failure.ts';
import { makeAuthority } from '../support/s3-server/certificate.ts';
import type { S3Fault } from '../support/s3-server/faults.ts';
import { S3Server, type S3ServerOptions } from '../support/s3-server/server.ts';

const IDENTITY = { accessKeyId: 'test', secretAccessKey: 'testtest' };
const MINUTE_MS = 60_000;

describe('the strict server takes', () => {
  test('what the SDK sends: put, head, get of a stretch, list by pages, delete', async () => {
    const { server, client } = await openBoth({ server: { pageKeysMax: 2 } });
    const keys = ['a/1 x', 'a/2+', 'a/ä', 'b'];
    for (const key of keys) await client.send(putOf(key));
    const { Body } = await client.send(new GetObjectCommand({ ...at('a/2+'), Range: 'bytes=1-2' }));
    expect(await Body?.transformToString()).toBe('el');
    expect(await client.send(new HeadObjectCommand(at('a/ä')))).toMatchObject({ ContentLength: 5 });
    const first = await client.send(new ListObjectsV2Command({ Bucket: 'bucket', Prefix: 'a/' }));
    const token = first.NextContinuationToken;
    const second = await client.send(
      new ListObjectsV2Command({ Bucket: 'bucket', Prefix: 'a/', ContinuationToken: token }),
    );
    expect([first.Contents, second.Contents].map((page) => page?.map(({ Key }) => Key))).toEqual([
      ['a/1 x', 'a/2+'],
      ['a/ä'],
    ]);
    await client.send(new DeleteObjectCommand(at('a/2+')));
    expect(server.keys()).toEqual(['a/1 x', 'a/ä', 'b']);
    expect(new Set(server.log.map(({ connection }) => connection))).toEqual(new Set([1]));
  });

  test('one put under If-None-Match, and the right one under If-Match', async () => {
    const { client } = await openBoth();
    const { ETag } = await client.send(putOf('k', { IfNoneMatch: '*' }));
    await client.send(putOf('k', ETag === undefined ? {} : { IfMatch: ETag }));
    await expect(client.send(putOf('k', { IfNoneMatch: '*' }))).rejects.toMatchObject({ name: 'PreconditionFailed' });
    await expect(client.send(putOf('k', { IfMatch: '"x"' }))).rejects.toMatchObject({ name: 'PreconditionFailed' });
  });
});

describe('the strict server refuses', () => {
  const clients: readonly (readonly [string, Partial<S3ClientConfig>, string])[] = [
    ['another secret', { credentials: { ...IDENTITY, secretAccessKey: 'x' } }, 'SignatureDoesNotMatch'],
    ['an unknown key', { credentials: { ...IDENTITY, accessKeyId: 'x' } }, 'InvalidAccessKeyId'],
    ['a token that it did not give', { credentials: { ...IDENTITY, sessionToken: 'x' } }, 'InvalidToken'],
    ['another region', { region: 'eu-west-1' }, 'AuthorizationHeaderMalformed'],
    ['a clock that is 16 minutes ahead', { systemClockOffset: 16 * MINUTE_MS }, 'RequestTimeTooSkewed'],
    ['a clock that is 16 minutes behind', { systemClockOffset: -16 * MINUTE_MS }, 'RequestTimeTooSkewed'],
  ];
  for (const [what, config, name] of clients) {
    test(`${what}: ${name}`, async () => {
      const { server, client } = await openBoth({ client: config });
      await expect(client.send(putOf('k'))).rejects.toMatchObject({ name });
      expect(server.keys()).toEqual([]);
    });
  }

  const puts: readonly (readonly [string, Partial<PutObjectCommandInput>, string])[] = [
    ['a wrong MD5', { ContentMD5: 'XUFAKrxLKna5cZ2REBfFkg==' }, 'BadDigest'],
    ['a wrong checksum', { ChecksumSHA256: 'LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCU=' }, 'BadDigest'],
    ['a bucket that is not there', { Bucket: 'other' }, 'NoSuchBucket'],
    ['a storage class that is none', { StorageClass: 'SNOW' }, 'InvalidStorageClass'],
    ['a key that is too long', { Key: 'k'.repeat(1025) }, 'KeyTooLongError'],
  ];
  for (const [what, input, name] of puts) {
    test(`${what}: ${name}`, async () => {
      const { server, client } = await openBoth();
      await expect(client.send(putOf('k', { Body: Buffer.from('other'), ...input }))).rejects.toMatchObject({ name });
      expect(server.keys()).toEqual([]);
    });
  }

  test('a header that was changed on the way, or came unsigned', async () => {
    const { client } = await openBoth();
    const tamper = (headers: Readonly<Record<string, string>>): void =>
      client.middlewareStack.add(
        (next) => async (args) => {
          Object.assign(headersOf(args.request), headers);
          return next(args);
        },
        { step: 'finalizeRequest', priority: 'low', name: 'tamper', override: true },
      );
    tamper({ 'x-amz-acl': 'public-read' });
    await expect(client.send(putOf('k'))).rejects.toMatchObject({ name: 'AccessDenied' });
    tamper({ 'x-amz-content-sha256': '0'.repeat(64) });
    await expect(client.send(putOf('k'))).rejects.toMatchObject({ name: 'SignatureDoesNotMatch' });
  });
});

describe('the strict server', () => {
  test('speaks TLS under an authority of its own, which a client must be told of', async () => {
    const authority = makeAuthority();
    const tls = authority.issue(['127.0.0.1', 'localhost']);
    const { client } = await openBoth({ server: { tls }, client: { maxAttempts: 1 } });
    await expect(client.send(putOf('k'))).rejects.toThrow(/certificate/);
    const requestHandler = { httpsAgent: { ca: authority.cert } };
    const { server, client: trusting } = await openBoth({ server: { tls }, client: { requestHandler } });
    await trusting.send(putOf('k'));
    expect(server.keys()).toEqual(['k']);
  });

  const faults: readonly (readonly [S3Fault, string])[] = [
    [{ kind: 'answer', status: 503, code: 'SlowDown', headers: { 'retry-after': '7' } }, 'SlowDown'],
    [{ kind: 'answer', status: 500, code: 'InternalError', after: true }, 'InternalError'],
    [{ kind: 'reset', at: 'before' }, 'ECONNRESET'],
    [{ kind: 'reset', at: 'after' }, 'ECONNRESET'],
    [{ kind: 'redirect', region: 'eu-west-1' }, 'PermanentRedirect'],
  ];
  for (const [fault, name] of faults) {
    test(`does ${JSON.stringify(fault)} once, as scripted`, async () => {
      const { server, client } = await openBoth({ client: { maxAttempts: 1 } });
      server.script({ ...fault, operation: 'PutObject' });
      const failed = await client.send(putOf('k')).catch(nameOf);
      expect(failed).toBe(name);
      expect(server.keys()).toEqual(('at' in fault && fault.at === 'after') || 'after' in fault ? ['k'] : []);
      await client.send(putOf('k'));
      expect(server.keys()).toEqual(['k']);
    });
  }

  test('cuts, flips and loses the length of bodies, as scripted', async () => {
    const { server, client } = await openBoth({ client: { responseChecksumValidation: 'WHEN_REQUIRED' } });
    await client.send(putOf('k'));
    const read = async (fault: S3Fault): Promise<string> => {
      server.script(fault);
      const { Body, ContentLength } = await client.send(new GetObjectCommand(at('k')));
      const text = await Body?.transformToString().catch((error: unknown) => String(error));
      return `${ContentLength} ${text}`;
    };
    expect(await read({ kind: 'truncate', keptBytes: 2 })).toMatch(/^5 Error/);
    expect(await read({ kind: 'flip' })).toBe('5 hemlo');
    expect(await read({ kind: 'chunked' })).toBe('undefined hello');
    expect(await read({ kind: 'slow', pieceBytes: 1, everyMs: 1 })).toBe('5 hello');
  });

  test('lists as it was before, as scripted', async () => {
    const { server, client } = await openBoth();
    for (const key of ['a', 'b', 'c']) await client.send(putOf(key));
    server.script({ kind: 'stale', changesAgo: 2 });
    const list = async () => (await client.send(new ListObjectsV2Command({ Bucket: 'bucket' }))).Contents?.length;
    expect([await list(), await list()]).toEqual([1, 3]);
  });
});

async function openBoth(
  options: { readonly server?: S3ServerOptions; readonly client?: Partial<S3ClientConfig> } = {},
): Promise<{ readonly server: S3Server; readonly client: S3Client }> {
  const server = await S3Server.open({ identity: IDENTITY, ...options.server });
  onTestFinished(() => server[Symbol.asyncDispose]());
  const client = new S3Client({
    endpoint: server.endpoint,
    region: server.region,
    forcePathStyle: true,
    credentials: IDENTITY,
    ...options.client,
  });
  onTestFinished(() => client.destroy());
  return { server, client };
}

function at(key: string): { readonly Bucket: string; readonly Key: string } {
  return { Bucket: 'bucket', Key: key };
}

function putOf(key: string, more: Partial<PutObjectCommandInput> = {}): PutObjectCommand {
  return new PutObjectCommand({ ...at(key), Body: Buffer.from('hello'), ...more });
}

function nameOf(error: unknown): string {
  return systemErrorCode(error) ?? (error instanceof Error ? error.name : String(error));
}

function headersOf(request: unknown): object {
  const isRequest = typeof request === 'object' && request !== null && 'headers' in request;
  if (!isRequest || typeof request.headers !== 'object' || request.headers === null) throw new Error('no request');
  return request.headers;
}
