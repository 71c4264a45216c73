import { spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { openTempDirectory } from '../support/temp-directory.ts';
import { warmstate } from '../support/warmstate.ts';

const DEPLOYMENT = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: orders
spec:
  template:
    spec:
      containers:
      - name: app
        image: orders:1
        env:
        - name: APPLICATION_ID
          value: orders
`;

async function writeManifest(directory: string, text: string): Promise<string> {
  const file = join(directory, 'orders.yaml');
  await writeFile(file, text);
  return file;
}

test('inject prints manifests with warmstate in them, and what it found on standard error', async () => {
  await using directory = await openTempDirectory();
  const file = await writeManifest(directory.path, DEPLOYMENT);
  const flags = ['--image', 'warmstate:test', '--destination', 's3://bucket/streams', '--log-format', 'json'];
  const { code, stdout, stderr } = await warmstate(['inject', '-f', file, ...flags]);
  expect([code, stdout.match(/image: .*/g)]).toEqual([
    0,
    ['image: warmstate:test', 'image: warmstate:test', 'image: orders:1'],
  ]);
  expect(stdout).toContain('value: s3://bucket/streams');
  const lines = stderr
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(lines[0]).toMatchObject({
    event: 'manifest-understood',
    msg: 'Deployment orders: application id orders (environment variable APPLICATION_ID)',
  });

  const ready = await writeManifest(directory.path, stdout);
  expect(await warmstate(['inject', '-f', ready, '--check', ...flags])).toMatchObject({ code: 0, stdout: '' });
  const other = await warmstate(['inject', '-f', ready, '--check', '--image', 'warmstate:2']);
  expect([other.code, other.stdout]).toEqual([2, '']);
  expect(other.stderr).toContain('warmstate: Deployment orders is not as inject makes it');
  const present = await warmstate(['inject', '-f', ready, '--check', '--remove']);
  expect([present.code, present.stderr]).toEqual([2, expect.stringContaining('Deployment orders holds warmstate')]);
  expect(await warmstate(['inject', '-f', ready, '--remove'])).toMatchObject({ code: 0, stdout: DEPLOYMENT });
});

test('inject reads standard input, and knows clusters without native sidecars', () => {
  const main = resolve(import.meta.dirname, '../../src/main.ts');
  const args = ['inject', '-f', '-', '--image', 'warmstate:test', '--kubernetes-version', 'v1.28.9-eks'];
  const { status, stdout } = spawnSync(process.execPath, [main, ...args], { input: DEPLOYMENT, encoding: 'utf8' });
  expect([status, stdout.includes('restartPolicy'), stdout.match(/- name: (?:app|warmstate.*)/g)]).toEqual([
    0,
    false,
    [
      '- name: warmstate-restore',
      '- name: warmstate-state',
      '- name: app',
      '- name: warmstate-state',
      '- name: warmstate',
      '- name: warmstate',
      '- name: warmstate-state',
      '- name: warmstate-state',
    ],
  ]);
});

test('inject refuses what it is not told', async () => {
  await using directory = await openTempDirectory();
  const file = await writeManifest(directory.path, DEPLOYMENT.replace('APPLICATION_ID', 'ID'));
  const refused = async (...args: string[]): Promise<readonly unknown[]> => {
    const { code, stdout, stderr } = await warmstate(['inject', ...args]);
    return [code, stdout, stderr.split('\n')[0]];
  };
  expect(await refused('--image', 'w')).toEqual([2, '', 'warmstate: cannot inject: --file is not set']);
  expect(await refused('-f', file)).toEqual([2, '', 'warmstate: cannot inject: --image is not set']);
  expect(await refused('-f', `${file}.not`, '--image', 'w')).toEqual([
    3,
    '',
    `warmstate: cannot read the manifests ${file}.not: it does not exist`,
  ]);
  expect(await refused('-f', file, '--image', 'w')).toEqual([
    2,
    '',
    'warmstate: cannot inject into Deployment orders: its application.id is not in the manifest',
  ]);
});
