import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { openTempDirectory } from '../support/temp-directory.ts';

const KIT = resolve(import.meta.dirname, 'kit');

test('what is not built is built, and then found', async () => {
  await using cache = await openTempDirectory();
  const goCache = (await promisify(execFile)('go', ['env', 'GOCACHE'])).stdout.trim();
  const options = { env: { ...process.env, XDG_CACHE_HOME: cache.path, GOCACHE: goCache } };
  const build = async (): Promise<string> =>
    (await promisify(execFile)(join(KIT, 'build.sh'), ['cni'], options)).stdout;
  expect(await build()).toContain('building cni');
  const [directory = ''] = await readdir(join(cache.path, 'warmstate/cluster'));
  expect((await readdir(join(cache.path, 'warmstate/cluster', directory))).sort()).toEqual([
    'bridge',
    'host-local',
    'loopback',
  ]);
  expect(await build()).toBe('');
});

test('a cluster that is not built says so', async () => {
  await using place = await openTempDirectory();
  const env = { ...process.env, XDG_CACHE_HOME: place.path };
  await expect(promisify(execFile)(join(KIT, 'run.sh'), [join(place.path, 'node')], { env })).rejects.toThrow(
    'run test/cluster/kit/build.sh',
  );
});

test('a cluster that is given up while it starts leaves nothing behind', async () => {
  await using place = await openTempDirectory();
  const directory = join(place.path, 'node');
  const holder = spawn(join(KIT, 'run.sh'), [directory], { stdio: ['pipe', 'ignore', 'pipe'] });
  const ended = once(holder, 'close');
  const said = text(holder.stderr);
  while (!(await readdir(directory).catch((): string[] => [])).includes('etcd')) {
    if (holder.exitCode !== null) throw new Error(`it ended before: ${await said}`);
    await delay(50);
  }
  holder.stdin.end();
  await ended;
  expect(await readdir(place.path)).toEqual([]);
  const { stdout: processes } = await promisify(execFile)('ps', ['-eo', 'args']);
  expect(processes).not.toContain(directory);
});
