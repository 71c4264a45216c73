import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { installPackages } from '../debian-packages.ts';
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

/** What the Dockerfile takes; .dockerignore lets nothing else in. */
const SOURCES = [
  'Dockerfile',
  '.dockerignore',
  'LICENSE',
  'package.json',
  'package-lock.json',
  'rolldown.config.ts',
  'tsconfig.json',
  'tsconfig.build.json',
  'src',
  'demo',
];

/** The image as an archive under a name, built where its sources have changed since. */
export async function exportImage(name: string): Promise<string> {
  const archive = join(CACHE_DIRECTORY, `${await fingerprint(name)}.tar`);
  if (existsSync(archive)) return archive;
  await buildImage();
  const unfinished = `${archive}.${process.pid}`;
  await buildah(['push', '--quiet', IMAGE, `docker-archive:${unfinished}:${name}`]);
  const archives = (await readdir(CACHE_DIRECTORY)).filter((each) => each.endsWith('.tar'));
  await rename(unfinished, archive);
  // Another run may have made the same meanwhile.
  for (const each of archives) if (!archive.endsWith(each)) await rm(join(CACHE_DIRECTORY, each), { force: true });
  return archive;
}

async function fingerprint(name: string): Promise<string> {
  const hash = createHash('sha256').update(name);
  for (const source of SOURCES) {
    const path = join(PROJECT, source);
    const below = (await stat(path)).isDirectory() ? await readdir(path, { recursive: true, withFileTypes: true }) : [];
    const files = below.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
    for (const file of below.length === 0 ? [path] : files.filter((each) => !each.endsWith('.test.ts')).sort()) {
      hash.update(file.slice(PROJECT.length)).update(await readFile(file));
    }
  }
  return hash.digest('hex').slice(0, 16);
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
  await installPackages(['buildah', 'busybox-static']);
}
