import { expect, test } from 'vitest';
import { failureOf, isTransient, saysMissing, type Trouble, troubleOf, waitMsOf } from './s3-failure.ts';

const PLACE = { bucket: 'orders', endpoint: 'https://minio:9000', region: 'us-east-1' };

function trouble(status: number | undefined, code: string, rest: Partial<Trouble> = {}): Trouble {
  return { status, code, message: '', headers: {}, cause: undefined, ...rest };
}

test.each([
  [500, 'InternalError', true],
  [502, 'Error', true],
  [503, 'SlowDown', true],
  [503, 'ServiceUnavailable', true],
  [501, 'NotImplemented', false],
  [429, 'TooManyRequests', true],
  [408, 'RequestTimeout', true],
  [400, 'RequestTimeout', true],
  [400, 'BadDigest', true],
  [400, 'ExpiredToken', true],
  [403, 'RequestTimeTooSkewed', true],
  [409, 'OperationAborted', true],
  [409, 'ConditionalRequestConflict', true],
  [412, 'PreconditionFailed', false],
  [400, 'InvalidArgument', false],
  [403, 'AccessDenied', false],
  [403, 'SignatureDoesNotMatch', false],
  [404, 'NoSuchBucket', false],
  [301, 'PermanentRedirect', false],
  [undefined, 'ECONNRESET', true],
  [undefined, 'ENOTFOUND', true],
  [undefined, 'TimeoutError', true],
  [undefined, 'CredentialsProviderError', false],
  [undefined, 'DEPTH_ZERO_SELF_SIGNED_CERT', false],
  [undefined, 'TypeError', false],
])('%s %s may go well a little later: %s', (status, code, expected) => {
  expect(isTransient(trouble(status, code))).toBe(expected);
});

test.each([
  ['1', 1000],
  ['0', 0],
  ['3600', 20_000],
  ['Wed, 21 Oct 2026 07:28:00 GMT', undefined],
  ['-1', undefined],
  [undefined, undefined],
])('retry-after %j is a wait of %s ms', (value, expected) => {
  const headers: Record<string, string> = value === undefined ? {} : { 'retry-after': value };
  expect(waitMsOf(trouble(503, 'SlowDown', { headers }))).toBe(expected);
});

test('only an object is missing, never its bucket', () => {
  expect(['NoSuchKey', 'NotFound', 'NoSuchBucket'].map((code) => saysMissing(trouble(404, code)))).toEqual([
    true,
    true,
    false,
  ]);
});

const told: readonly (readonly [Trouble, string, Partial<Record<'hint' | 'detail', unknown>>])[] = [
  [
    trouble(404, 'NoSuchBucket'),
    'the bucket does not exist at https://minio:9000',
    { hint: 'create the bucket orders, or correct --destination or --s3-endpoint' },
  ],
  [trouble(403, 'InvalidAccessKeyId'), 'the store does not know the access key', { detail: 'denied' }],
  [trouble(403, 'SignatureDoesNotMatch'), 'the store rejects the signature', { detail: 'denied' }],
  [trouble(400, 'ExpiredToken'), 'the credentials have expired', { detail: 'denied' }],
  [
    trouble(403, 'AccessDenied', { message: 'no s3:PutObject' }),
    'access denied (no s3:PutObject)',
    { detail: 'denied', hint: expect.stringContaining('s3:PutObject') },
  ],
  [trouble(403, 'UnknownError', { message: 'UnknownError' }), 'access denied', { detail: 'denied' }],
  [
    trouble(400, 'AuthorizationHeaderMalformed', {
      message: "the region 'us-east-1' is wrong; expecting 'eu-central-1'",
    }),
    'the bucket lies in the region eu-central-1, not us-east-1',
    { hint: '--s3-region eu-central-1' },
  ],
  [
    trouble(301, 'UnknownError', { headers: { 'x-amz-bucket-region': 'eu-west-1' } }),
    'the bucket lies in the region eu-west-1, not us-east-1',
    { hint: '--s3-region eu-west-1' },
  ],
  [
    trouble(307, 'TemporaryRedirect'),
    'the server sends requests for the bucket elsewhere',
    { hint: 'check --s3-region and --s3-endpoint' },
  ],
  [
    trouble(403, 'InvalidObjectState'),
    'the object has been archived',
    { hint: expect.stringContaining('lifecycle rule') },
  ],
  [trouble(507, 'InsufficientStorage', { message: 'full' }), 'the store is full: full', { detail: 'no_space' }],
  [
    trouble(undefined, 'ECONNREFUSED', { message: 'connect ECONNREFUSED 10.0.0.1:9000' }),
    'connect ECONNREFUSED 10.0.0.1:9000',
    { hint: 'check that https://minio:9000 listens and may be reached from here' },
  ],
  [
    trouble(undefined, 'SELF_SIGNED_CERT_IN_CHAIN', { message: 'self-signed certificate' }),
    'self-signed certificate (SELF_SIGNED_CERT_IN_CHAIN)',
    { hint: expect.stringContaining('--s3-ca-file') },
  ],
  [trouble(400, 'InvalidArgument', { message: 'bad' }), 'the server answered 400 InvalidArgument: bad', {}],
];
for (const [what, words, options] of told) {
  test(`${what.status ?? 'no answer'} ${what.code}: ${words}`, () => {
    expect(failureOf(what, 'store k', PLACE)).toMatchObject({
      kind: 'unavailable',
      message: `cannot store k in bucket orders: ${words}`,
      ...options,
    });
  });
}

test('several addresses that fail together are told by the code of the first', () => {
  const refused = Object.assign(new Error('connect ECONNREFUSED ::1:9000'), { code: 'ECONNREFUSED' });
  expect(troubleOf(new AggregateError([refused]), undefined).code).toBe('ECONNREFUSED');
});

test('what the server answered counts more than what the SDK made of it', () => {
  const head = { statusCode: 502, headers: {} };
  const cause = Object.assign(new SyntaxError('no XML'), { code: 'ECONNRESET' });
  expect(troubleOf(cause, head)).toMatchObject({ status: 502, code: 'SyntaxError' });
});
