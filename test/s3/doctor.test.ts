import { expect, test } from 'vitest';
import { openPlainClient } from '../support/s3-server/plain-client.ts';
import { type ServerName, startServer } from '../support/s3-server/real-servers.ts';
import { openTempDirectory } from '../support/temp-directory.ts';
import { warmstate } from '../support/warmstate.ts';

interface Said {
  readonly check: string;
  readonly outcome: string;
  readonly message: string;
}

test.each<[ServerName, string, string]>([
  [
    'versitygw',
    'not asked for; AES256 would be ignored by this server, and every put fail',
    'If-None-Match and If-Match are respected; warmstate relies on neither',
  ],
  [
    'rclone serve s3',
    'not asked for; AES256 would be ignored by this server, and every put fail',
    'not respected (If-None-Match answers 200, If-Match 200); warmstate does not rely on them',
  ],
])('doctor finds %s as it is, and leaves nothing there', async (name, encryption, conditions) => {
  await using server = await startServer(name);
  await using root = await openTempDirectory();
  const { accessKeyId, secretAccessKey } = server.identity;
  const settings = ['--state-dir', root.path, '--application-id', 'orders', '--lineage', 'test', '--listen', ':0'];
  const store = ['--destination', `s3://${server.bucket}/warm`, '--s3-endpoint', server.endpoint];
  const { code, stdout } = await warmstate(['doctor', '--output', 'json', ...settings, ...store], {
    env: { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey },
  });
  const { checks }: { readonly checks: readonly Said[] } = JSON.parse(stdout);
  const ofStore = checks.slice(checks.findIndex(({ check }) => check === 'store'));
  expect(ofStore.map(({ check, outcome }) => `${check}: ${outcome}`)).toEqual(
    [
      'store',
      'credentials',
      'put',
      'get',
      'range',
      'list',
      'delete',
      'clock',
      'encryption',
      'conditions',
      'lifecycle',
    ].map((check) => `${check}: ok`),
  );
  const messageOf = (name: string): string | undefined => checks.find(({ check }) => check === name)?.message;
  expect([messageOf('encryption'), messageOf('conditions')]).toEqual([encryption, conditions]);
  expect(code).toBe(0);

  using client = openPlainClient(server);
  const listing = await client.ask({ method: 'GET', query: { 'list-type': '2' } }, AbortSignal.timeout(60_000));
  expect(Buffer.from(listing.body).toString()).not.toContain('<Key>');
});
