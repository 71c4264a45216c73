import { chmod, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import packageJson from '../../package.json' with { type: 'json' };
import { buildah, buildImage, IMAGE } from '../support/image/image.ts';
import { hashesOf, Scenario } from '../support/scenario.ts';

const NOBODY = '65532:65532';

beforeAll(buildImage);

/** A container of the image, not of this machine's processes: its root file system, and what runs in it. */
class Container implements AsyncDisposable {
  readonly #name: string;
  readonly root: string;

  private constructor(name: string, root: string) {
    this.#name = name;
    this.root = root;
  }

  static async open(): Promise<Container> {
    const name = (await buildah(['from', '--pull=never', IMAGE])).trim();
    return new Container(name, (await buildah(['mount', name])).trim());
  }

  /** Runs the program of the image as the image's user, with a directory of this machine at the same place. */
  warmstate(args: readonly string[], { volume, env = {} }: { volume?: string; env?: Record<string, string> } = {}) {
    const variables = Object.entries(env).map(([name, value]) => `--env=${name}=${value}`);
    const volumes = volume === undefined ? [] : [`--volume=${volume}:${volume}`];
    return buildah(['run', `--user=${NOBODY}`, ...variables, ...volumes, this.#name, '--', 'warmstate', ...args]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await buildah(['rm', this.#name]);
  }
}

test('the image says what it is, runs as nobody in particular and needs no shell to start', async () => {
  const { OCIv1 } = JSON.parse(await buildah(['inspect', '--type', 'image', IMAGE]));
  expect(OCIv1.config).toMatchObject({
    User: NOBODY,
    Entrypoint: ['/usr/local/bin/warmstate'],
    StopSignal: 'SIGTERM',
    WorkingDir: '/',
    Env: expect.arrayContaining(['MALLOC_ARENA_MAX=1']),
    Labels: {
      'org.opencontainers.image.title': 'warmstate',
      'org.opencontainers.image.licenses': packageJson.license,
      'org.opencontainers.image.version': packageJson.version,
    },
  });
});

test('it holds the program and nothing that only its making needs', async () => {
  await using container = await Container.open();
  expect((await readdir(join(container.root, 'opt/warmstate'))).sort()).toEqual([
    'LICENSE',
    'demo',
    'dist',
    'node_modules',
    'package.json',
  ]);
  const packages = await readdir(join(container.root, 'opt/warmstate/node_modules'));
  expect(packages.filter((name) => !name.startsWith('.')).sort()).toEqual(['@koromix', 'koffi']);
  expect((await readdir(join(container.root, 'opt/warmstate/dist'))).filter((name) => name.includes('test'))).toEqual(
    [],
  );
});

test('it adds little to the Node of its base', async () => {
  await using container = await Container.open();
  const entries = await readdir(join(container.root, 'opt/warmstate'), { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const sizes = await Promise.all(files.map(async (path) => (await stat(path)).size));
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThan(12_000_000);
});

test('its program is started by the Node of the base, with as little memory as it can do with', async () => {
  await using container = await Container.open();
  const program = await readFile(join(container.root, 'opt/warmstate/dist/main.js'), 'utf8');
  expect(program.split('\n')[0]).toBe('#!/usr/local/bin/node --max-semi-space-size=2');
});

test('it does the main job as its own user, and writes nothing but the state and the repository', async () => {
  await using scenario = await Scenario.open('3.9.2-alos-closed');
  await using container = await Container.open();
  await container.warmstate(['--version']); // After that, what a runtime itself puts into every container is there.
  const before = await filesOf(container.root);
  await openToAll(scenario.path);
  const written = await scenario.hashes();
  const options = { volume: scenario.path, env: scenario.environment };

  const snapshot = JSON.parse(await container.warmstate(['snapshot'], options));
  expect(snapshot.tasks.map(({ outcome }: { outcome: string }) => outcome)).toEqual(
    snapshot.tasks.map(() => 'captured'),
  );
  await scenario.loseDisk();
  const restored = JSON.parse(await container.warmstate(['restore'], options));
  expect(restored.outcome).toBe('restored');
  expect(await hashesOf(scenario.stateDir)).toEqual(written);
  const verified = JSON.parse(await container.warmstate(['verify'], options));
  expect(verified).toMatchObject({ snapshots: 1, problems: [] });

  expect(await filesOf(container.root)).toEqual(before);
});

test('its program knows its version, and the lock of an application can be asked for', async () => {
  await using scenario = await Scenario.open('3.9.2-alos-closed');
  await using container = await Container.open();
  await openToAll(scenario.path);
  expect((await container.warmstate(['--version'])).trim()).toContain(packageJson.version);
  const inspected = JSON.parse(
    await container.warmstate(['inspect'], { volume: scenario.path, env: scenario.environment }),
  );
  expect(inspected).toMatchObject({ application: 'orders', running: false });
});

/** The image's user is nobody to this machine. */
async function openToAll(directory: string): Promise<void> {
  await chmod(directory, 0o777);
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    await chmod(join(entry.parentPath, entry.name), entry.isDirectory() ? 0o777 : 0o666);
  }
}

async function filesOf(root: string): Promise<readonly string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  return entries.map((entry) => join(entry.parentPath, entry.name)).sort();
}
