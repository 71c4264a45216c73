import { expect, test } from 'vitest';
import { S3Server, type S3ServerOptions } from '../../test/support/s3-server/server.ts';
import { systemClock, systemRandom } from '../base/clock.ts';
import type { S3Options } from '../storage/s3-location.ts';
import { openS3Store } from '../storage/s3-store.ts';
import { diagnoseBucket } from './doctor.ts';
import type { Check } from './doctor-check.ts';

const AWS = { AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'testtest' };

interface Circumstances {
  readonly sse?: S3Options['sse'];
  readonly prefix?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** What doctor says of a bucket on this server, with credentials from the environment. */
async function diagnose(
  server: S3Server,
  { sse, prefix = 'warm', env = AWS }: Circumstances = {},
): Promise<readonly Check[]> {
  const before = { ...process.env };
  Object.assign(process.env, { AWS_EC2_METADATA_DISABLED: 'true', AWS_CONFIG_FILE: '/dev/null' }, env);
  try {
    const world = { clock: systemClock, random: systemRandom };
    const options = {
      endpoint: server.endpoint,
      region: undefined,
      pathStyle: undefined,
      sse,
      kmsKeyId: undefined,
      storageClass: undefined,
    };
    return await diagnoseBucket(
      {
        name: 'the bucket',
        open: async () => openS3Store({ bucket: 'bucket', prefix }, options, world),
        location: { application: 'orders', lineage: 'prod' },
        encryption: sse,
      },
      { ...world, signal: new AbortController().signal },
    );
  } finally {
    for (const name of Object.keys(process.env)) if (!(name in before)) delete process.env[name];
    Object.assign(process.env, before);
  }
}

function messageOf(checks: readonly Check[], name: Check['check']): string {
  return checks
    .filter(({ check }) => check === name)
    .map(({ outcome, message }) => `${outcome}: ${message}`)
    .join('; ');
}

test('a bucket is used, looked at, and left as it was', async () => {
  await using server = await S3Server.open();
  const checks = await diagnose(server);
  expect(checks.map(({ check, outcome }) => [check, outcome])).toEqual(
    // biome-ignore format: a table
    [
      ['store', 'ok'], ['credentials', 'ok'], ['put', 'ok'], ['get', 'ok'], ['range', 'ok'], ['list', 'ok'],
      ['delete', 'ok'], ['clock', 'ok'], ['encryption', 'ok'], ['conditions', 'ok'], ['lifecycle', 'ok'],
    ],
  );
  expect(messageOf(checks, 'credentials')).toBe('ok: the environment (AWS_ACCESS_KEY_ID)');
  expect(messageOf(checks, 'conditions')).toContain('are respected');
  expect(messageOf(checks, 'lifecycle')).toBe('ok: the bucket has no rules');
  expect(server.keys()).toEqual([]);
  const keys = server.log.filter(({ operation }) => operation === 'PutObject').map(({ key }) => key);
  expect(keys.filter((key) => !key.startsWith('warm/orders/prod/doctor/'))).toEqual([]);
});

test.each<[S3ServerOptions['encryption'], S3Options['sse'], readonly string[]]>([
  ['echoed', undefined, ['ok: not asked for; AES256 would be done, and told']],
  ['ignored', undefined, ['ok: not asked for; AES256 would be ignored by this server, and every put fail']],
  ['refused', undefined, ['ok: not asked for; AES256 would be refused (501)']],
  ['echoed', 'AES256', ['ok: AES256, as --s3-sse asks for']],
])('a server where encryption is %s, asked for as %s', async (encryption, sse, expected) => {
  await using server = await S3Server.open({ encryption: encryption ?? 'echoed' });
  expect([messageOf(await diagnose(server, { sse }), 'encryption')]).toEqual(expected);
});

test('encryption that is asked for and ignored is a failed put', async () => {
  await using server = await S3Server.open({ encryption: 'ignored' });
  const checks = await diagnose(server, { sse: 'AES256' });
  expect(checks.find(({ check }) => check === 'put')?.outcome).toBe('failed');
  expect(server.keys()).toEqual([]);
});

test('a server that ignores conditions is told to do so, and that nothing relies on them', async () => {
  await using server = await S3Server.open({ conditions: 'ignored' });
  expect(messageOf(await diagnose(server), 'conditions')).toBe(
    'ok: not respected (If-None-Match answers 200, If-Match 200); warmstate does not rely on them',
  );
});

const RULE = (prefix: string): string =>
  `<Rule><ID>old</ID><Filter><Prefix>${prefix}</Prefix></Filter><Status>Enabled</Status><Expiration><Days>30</Days></Expiration></Rule>`;

test.each([
  ['warm/', 'warn: the rule old removes objects 30 days after they were stored: snapshots need tables that are older'],
  ['logs/', 'ok: no rule takes away what is stored here'],
])('a rule about %s', async (prefix, message) => {
  await using server = await S3Server.open({ lifecycle: RULE(prefix) });
  expect(messageOf(await diagnose(server), 'lifecycle')).toBe(message);
});

test.each([
  [403, 'AccessDenied', 'ok: nobody may look at the rules with these rights'],
  [501, 'NotImplemented', 'ok: the server tells no rules (501)'],
])('rules that the server does not tell: %i %s', async (status, code, message) => {
  await using server = await S3Server.open();
  server.script({ kind: 'answer', operation: 'GetBucketLifecycleConfiguration', status, code });
  expect(messageOf(await diagnose(server), 'lifecycle')).toBe(message);
});

test('a clock that is five minutes off is told', async () => {
  await using server = await S3Server.open({ clockAheadMs: 5 * 60_000 });
  expect(messageOf(await diagnose(server), 'clock')).toMatch(/^warn: (?:4 min 59|5 min 0\d) s behind the store's$/);
});

test('wrong credentials fail the requests, none at all come first', async () => {
  await using server = await S3Server.open();
  const wrong = await diagnose(server, { env: { ...AWS, AWS_SECRET_ACCESS_KEY: 'x' } });
  expect(wrong.map(({ check, outcome }) => [check, outcome])).toEqual([
    ['store', 'ok'],
    ['credentials', 'ok'],
    ['put', 'failed'],
    ['list', 'failed'],
  ]);
  const none = await diagnose(server, { env: { HOME: '/nonexistent', AWS_SHARED_CREDENTIALS_FILE: '/dev/null' } });
  expect(none.map(({ check, outcome }) => [check, outcome])).toEqual([
    ['store', 'ok'],
    ['credentials', 'failed'],
  ]);
});
