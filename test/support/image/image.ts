import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { openTempDirectory } from '../temp-directory.ts';
import { makeBaseDirectories } from './base-images.ts';
import { run } from './run.ts';

const PROJECT = resolve(import.meta.dirname, '../../..');
const CACHE_DIRECTORY = join(PROJECT, '.cache/image');
export const IMAGE = 'localhost/warmstate:test';

/** Builds the image of the Dockerfile with buildah: no daemon, no registry of images, but npm. */
export async function buildImage(): Promise<void> {
  await installBuildah();
  await importBase();
  await buildah([
    'build',
    '--isolation=chroot',
    '--network=host',
    '--pull=never',
    '--build-arg=BUILD_IMAGE=localhost/warmstate-build',
    '--build-arg=BASE_IMAGE=localhost/warmstate-base',
    '--volume=/etc/resolv.conf:/etc/resolv.conf:ro',
    '--tag',
    IMAGE,
    PROJECT,
  ]);
}

/** Stand-ins of the images that the Dockerfile names, made once. */
async function importBase(): Promise<void> {
  const known = await buildah(['images', '--format', '{{.Name}}']);
  if (known.includes('localhost/warmstate-build')) return;
  await using directory = await openTempDirectory();
  const { base, build } = await makeBaseDirectories(directory.path);
  const environment = { base: '', build: 'ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt HOME=/root\n' };
  for (const [name, root] of [
    ['base', base],
    ['build', build],
  ] as const) {
    const file = join(directory.path, `${name}.containerfile`);
    await writeFile(file, `FROM scratch\nCOPY . /\nENV PATH=/usr/local/bin:/usr/bin:/bin\n${environment[name]}`);
    await buildah(['build', '--file', file, '--tag', `localhost/warmstate-${name}`, root]);
  }
}

/** buildah on a store of its own. */
export function buildah(args: readonly string[]): Promise<string> {
  const [command = '', ...rest] = args;
  const where = ['--root', join(CACHE_DIRECTORY, 'storage'), '--runroot', join(CACHE_DIRECTORY, 'run')];
  return run('buildah', [...where, '--storage-driver', 'vfs', command, ...rest], {
    env: { BUILDAH_ISOLATION: 'chroot' },
  });
}

async function installBuildah(): Promise<void> {
  if (existsSync('/usr/bin/buildah') && existsSync('/usr/bin/busybox')) return;
  const env = { DEBIAN_FRONTEND: 'noninteractive' };
  await run('apt-get', ['update', '-qq'], { env });
  await run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', 'buildah', 'busybox-static'], { env });
}
