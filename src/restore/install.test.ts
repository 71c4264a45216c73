import { createHash } from 'node:crypto';
import {
  copyFile,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  unlink,
  writeFile,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ModelDatabase } from '../../test/support/model-database.ts';
import { Killed, mortalDisk } from '../../test/support/mortal-disk.ts';
import { listFiles } from '../../test/support/scenario.ts';
import { openTempDirectory, type TempDirectory } from '../../test/support/temp-directory.ts';
import { systemClock, systemRandom } from '../base/clock.ts';
import { Failure, systemErrorCode } from '../base/failure.ts';
import { realFiles } from '../base/file-access.ts';
import { ManifestTails } from '../capture/manifest-tail.ts';
import type { Entry, StoredFile } from '../repository/document.ts';
import type { InstalledTask } from '../repository/restore-result.ts';
import { type DiskOperations, nodeDisk } from './disk.ts';
import { installTask, reuseLocalFiles } from './install.ts';
import { directoriesOf, removeLeftStaging, Staging } from './staging.ts';

const STATE_TIME_MS = 1_700_000_000_123;
const SNAPSHOT = '1700000000500-a-aaaa/1';
const TARGET = 'orders/0_0';

/** A task as the repository has it, on a volume where it is to be installed. */
interface Case extends AsyncDisposable {
  readonly root: string;
  readonly entry: Entry;
  /** By path below the task directory. */
  readonly contents: Readonly<Record<string, string>>;
}

async function openCase(): Promise<Case> {
  const directory: TempDirectory = await openTempDirectory();
  const source = join(directory.path, 'source');
  const agg = new ModelDatabase(join(source, 'rocksdb/agg'));
  agg.change({ add: [{ number: 7 }, { number: 8, sizeBytes: 3000 }] });
  new ModelDatabase(join(source, 'win/win.1700000000000')).change({ add: [{ number: 9 }] });
  await writeFile(join(source, '.checkpoint'), '0\n2\norders-agg-changelog 0 100\norders-win-changelog 0 50\n');
  await mkdir(join(directory.path, 'orders'));

  const contents = await contentsOf(source);
  const files = Object.keys(contents).map((path): StoredFile => {
    const bytes = Buffer.from(contents[path] ?? '', 'latin1');
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    return { path, sizeBytes: bytes.byteLength, sha256, uid: undefined, objects: [] };
  });
  const storeOf = (name: string, kind: 'rocksdb' | 'segmented', prefix: string) => {
    const ofStore = files.filter(({ path }) => path.startsWith(prefix));
    return { name, kind, rocksdbVersion: undefined, columnFamilies: ['default'], files: ofStore };
  };
  const entry: Entry = {
    task: '0_0',
    quality: 'clean',
    layout: 'file',
    stateTimeMs: STATE_TIME_MS,
    capturedAtMs: STATE_TIME_MS + 1000,
    capturedBy: SNAPSHOT,
    offsets: new Map([
      ['orders-agg-changelog-0', 100n],
      ['orders-win-changelog-0', 50n],
    ]),
    files: files.filter(({ path }) => !path.includes('/')),
    stores: [storeOf('agg', 'rocksdb', 'rocksdb/'), storeOf('win', 'segmented', 'win/')],
  };
  return { root: directory.path, entry, contents, [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose]() };
}

/** Stages the task as a download does, and installs it. */
async function restoreOnce(
  { root, entry }: Case,
  disk: DiskOperations,
  spoil: (staged: string) => Promise<void> = async () => {},
): Promise<InstalledTask> {
  await removeLeftStaging(root, { disk, random: systemRandom });
  await using staging = await Staging.open(root, 'test', disk);
  await staging.makeTask(entry);
  const staged = staging.taskDirectory(entry.task);
  for (const path of await listFiles(join(root, 'source')))
    await copyFile(join(root, 'source', path), join(staged, path));
  await spoil(staged);
  await using manifests = new ManifestTails(realFiles);
  return await installTask(
    staging,
    { entry, snapshot: SNAPSHOT },
    {
      disk,
      files: realFiles,
      manifests,
      clock: systemClock,
      emit: () => {},
      signal: new AbortController().signal,
      applicationDirectory: join(root, 'orders'),
      applicationId: 'orders',
      toWallMs: (storeTimeMs) => storeTimeMs,
    },
  );
}

async function contentsOf(directory: string): Promise<Readonly<Record<string, string>>> {
  const paths = await listFiles(directory);
  return Object.fromEntries(
    await Promise.all(paths.map(async (path) => [path, await readFile(join(directory, path), 'latin1')] as const)),
  );
}

/** Undefined where there is no such directory. */
async function contentsIfThere(directory: string): Promise<unknown> {
  return contentsOf(directory).catch((error: unknown) => {
    if (systemErrorCode(error) !== 'ENOENT') throw error;
    return undefined;
  });
}

/** What stands in the way of the task: the same one, further back, with a table of its own. */
async function plantOld({ root }: Case): Promise<unknown> {
  const old = new ModelDatabase(join(root, TARGET, 'rocksdb/agg'));
  old.change({ add: [{ number: 3 }] });
  await writeFile(join(root, TARGET, '.checkpoint'), '0\n1\norders-agg-changelog 0 10\n');
  return contentsOf(join(root, TARGET));
}

describe('an install that is killed', () => {
  test.each([
    ['where nothing was', async (): Promise<unknown> => undefined],
    ['over an older directory', plantOld],
  ])(
    'after any step leaves what was there, nothing, or all of it, and the next one ends well (%s)',
    async (_, plant) => {
      const seen = new Set<string>();
      for (let steps = 0; ; steps++) {
        await using task = await openCase();
        const before = await plant(task);
        const disk = mortalDisk(task.root, steps);
        await restoreOnce(task, disk).catch((error: unknown) => {
          if (!(error instanceof Killed || (error instanceof SuppressedError && error.error instanceof Killed)))
            throw error;
        });
        const left = await contentsIfThere(join(task.root, TARGET));
        const isOneOf = [before, undefined, task.contents].findIndex((one) => same(one, left));
        expect(isOneOf, `after ${disk.trace.at(-1)}`).toBeGreaterThanOrEqual(0);
        seen.add(['before', 'cold', 'whole'][isOneOf] ?? '');

        await restoreOnce(task, nodeDisk);
        expect(await contentsOf(join(task.root, TARGET))).toEqual(task.contents);
        expect(await readdir(join(task.root, '.warmstate'))).toEqual([]);
        if (!disk.isDead()) break;
      }
      expect(seen).toEqual(new Set(plant === plantOld ? ['before', 'cold', 'whole'] : ['before', 'whole']));
    },
  );

  function same(one: unknown, other: unknown): boolean {
    return JSON.stringify(one) === JSON.stringify(other);
  }
});

test('everything is stamped and synced before the rename that shows it, the task directory last', async () => {
  await using task = await openCase();
  await plantOld(task);
  const disk = mortalDisk(task.root, Infinity);
  await restoreOnce(task, disk);
  const staged = '.warmstate/restore-test/tasks/0_0';
  const places = ['.checkpoint', 'win/win.1700000000000', 'win', 'rocksdb/agg', 'rocksdb', ''];
  const from = disk.trace.findIndex((operation) => operation.startsWith('stamp '));
  expect(disk.trace.slice(from)).toEqual([
    ...places
      .map((place) => join(staged, place))
      .flatMap((path) => [`stamp ${path}`, `sync ${path}`])
      .map(withoutSlash),
    'make ' + join(task.root, 'orders').slice(task.root.length + 1),
    'make .warmstate/restore-test/replaced',
    `rename ${TARGET} -> .warmstate/restore-test/replaced/0_0`,
    `rename ${staged} -> ${TARGET}`,
    `stamp ${TARGET}`,
    `sync ${TARGET}`,
    'sync orders',
    'remove .warmstate/restore-test',
  ]);
});

function withoutSlash(text: string): string {
  return text.replace(/\/$/, '');
}

test('A3: the checkpoint and every directory are as old as the state, the tables were born now', async () => {
  await using task = await openCase();
  const startedMs = Date.now() - 20; // Kernels stamp by ticks.
  await restoreOnce(task, nodeDisk);
  const directory = join(task.root, TARGET);
  for (const path of ['.checkpoint', ...directoriesOf(task.entry)]) {
    expect([path, Math.floor((await stat(join(directory, path))).mtimeMs)]).toEqual([path, STATE_TIME_MS]);
  }
  for (const path of Object.keys(task.contents).filter((one) => one.endsWith('.sst'))) {
    const { mtimeMs, birthtimeMs } = await stat(join(directory, path));
    expect(Math.min(mtimeMs, birthtimeMs === 0 ? mtimeMs : birthtimeMs), path).toBeGreaterThan(startedMs);
  }
});

test('what was installed is described as it lies there', async () => {
  await using task = await openCase();
  const installed = await restoreOnce(task, nodeDisk);
  const { ino, dev } = await stat(join(task.root, TARGET), { bigint: true });
  expect(installed).toMatchObject({ task: '0_0', device: dev, inode: ino, snapshot: SNAPSHOT, quality: 'clean' });
  for (const file of installed.files) {
    const facts = await stat(join(task.root, TARGET, file.path), { bigint: true });
    expect([file.inode, file.mtimeNs, file.ctimeNs]).toEqual([facts.ino, facts.mtimeNs, facts.ctimeNs]);
  }
});

test('an old directory comes back where the new one cannot take its place', async () => {
  await using task = await openCase();
  const before = await plantOld(task);
  const isInstall = (to: string): boolean => to === join(task.root, TARGET);
  let refusals = 1;
  const disk: DiskOperations = {
    ...nodeDisk,
    rename: async (from, to) => {
      if (isInstall(to) && refusals-- > 0) throw Object.assign(new Error('EIO: i/o error, rename'), { code: 'EIO' });
      await nodeDisk.rename(from, to);
    },
  };
  await expect(restoreOnce(task, disk)).rejects.toMatchObject({ kind: 'unavailable' });
  expect(await contentsOf(join(task.root, TARGET))).toEqual(before);
});

describe('a staged task is not installed', () => {
  const agg = 'rocksdb/agg';
  test.each<readonly [string, (staged: string) => Promise<unknown>, string]>([
    ['without a table of its manifest', (at) => unlink(join(at, agg, '000007.sst')), 'rocksdb/agg/000007.sst is gone'],
    ['with a table cut short', (at) => truncate(join(at, agg, '000007.sst'), 50), 'has 50 bytes'],
    ['with a link for a table', (at) => relink(join(at, agg, '000007.sst')), 'has 11 bytes'],
    ['without CURRENT', (at) => unlink(join(at, agg, 'CURRENT')), 'rocksdb/agg has no CURRENT'],
    ['with an empty checkpoint', (at) => truncate(join(at, '.checkpoint')), 'cannot read .checkpoint'],
    ['with a damaged manifest', (at) => flip(join(at, agg, 'MANIFEST-000004')), 'did not hold still'],
    [
      'with other offsets than its entry says',
      (at) => writeFile(join(at, '.checkpoint'), '0\n2\norders-agg-changelog 0 101\norders-win-changelog 0 50\n'),
      'its offsets are not those',
    ],
    [
      'with a store that its entry does not name',
      async (at) => void new ModelDatabase(join(at, 'rocksdb/more')),
      'its databases are not those',
    ],
    [
      'with a manifest of fewer tables than its entry names',
      async (at) => {
        await rm(join(at, agg), { recursive: true });
        new ModelDatabase(join(at, agg)).change({ add: [{ number: 7 }] });
      },
      'its tables are not those',
    ],
    ['with a store of a kind of its own', (at) => plantForeign(join(at, 'lucene')), 'lucene is no RocksDB store'],
  ])('%s', async (_how, spoil, message) => {
    await using task = await openCase();
    const before = await plantOld(task);
    const error = await restoreOnce(task, nodeDisk, async (staged) => void (await spoil(staged))).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    if (!(error instanceof Failure)) throw new Error('was installed', { cause: error });
    expect([error.kind, error.message]).toEqual(['corrupt', expect.stringContaining(message)]);
    expect(await contentsOf(join(task.root, TARGET))).toEqual(before);
    expect(await readdir(join(task.root, '.warmstate'))).toEqual([]);
  });

  async function relink(path: string): Promise<void> {
    await unlink(path);
    await symlink('/etc/passwd', path);
  }

  async function flip(path: string): Promise<void> {
    const bytes = await readFile(path);
    bytes[10] = (bytes[10] ?? 0) ^ 1;
    await writeFile(path, bytes);
  }

  async function plantForeign(path: string): Promise<void> {
    await mkdir(path);
    await writeFile(join(path, 'segments_1'), '');
  }
});

describe('tables that lie on the volume already', () => {
  async function reuse(task: Case, disk: DiskOperations = nodeDisk): Promise<readonly string[]> {
    const [local, staged] = [join(task.root, 'source'), join(task.root, 'staged')];
    for (const directory of directoriesOf(task.entry)) await mkdir(join(staged, directory), { recursive: true });
    const tools = { disk, files: realFiles, signal: new AbortController().signal };
    return (await reuseLocalFiles(task.entry, { local, staged }, tools)).map(({ path }) => path);
  }

  test('are copied where they are the same, never linked; the rest is to be fetched', async () => {
    await using task = await openCase();
    await writeFile(join(task.root, 'source/rocksdb/agg/000007.sst'), Buffer.alloc(100, 1));
    const missing = await reuse(task);
    expect(missing.filter((path) => path.endsWith('.sst'))).toEqual(['rocksdb/agg/000007.sst']);
    expect(await listFiles(join(task.root, 'staged'))).toEqual([
      'rocksdb/agg/000008.sst',
      'win/win.1700000000000/000009.sst',
    ]);
    const [there, here] = await Promise.all(
      ['source', 'staged'].map((place) => stat(join(task.root, place, 'rocksdb/agg/000008.sst'))),
    );
    expect([there?.nlink, here?.ino === there?.ino]).toEqual([1, false]);
  });

  test('are fetched where they cannot be read', async () => {
    await using task = await openCase();
    const failing: DiskOperations = {
      ...nodeDisk,
      copy: async (from, to) => {
        await nodeDisk.copy(from, to);
        if (from.endsWith('000008.sst')) throw Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' });
      },
    };
    expect((await reuse(task, failing)).filter((path) => path.endsWith('.sst'))).toEqual(['rocksdb/agg/000008.sst']);
    expect(await listFiles(join(task.root, 'staged'))).not.toContain('rocksdb/agg/000008.sst');
  });

  test('end the work where their copies find no space', async () => {
    await using task = await openCase();
    const full: DiskOperations = {
      ...nodeDisk,
      copy: async () => {
        throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
      },
    };
    await expect(reuse(task, full)).rejects.toMatchObject({ kind: 'unavailable', detail: 'no_space' });
  });
});

test('a restore that is overtaken by another can install nothing half removed', async () => {
  await using task = await openCase();
  const before = await plantOld(task);
  const overtaken = restoreOnce(task, nodeDisk, async (staged) => {
    // The other one begins to remove what it takes for left over, and has got no further than its first step.
    await rename(dirname(dirname(staged)), join(task.root, '.warmstate/restore-doomed'));
  });
  await expect(overtaken).rejects.toBeInstanceOf(Failure);
  expect(await contentsOf(join(task.root, TARGET))).toEqual(before);
});

test('what a killed restore left is out of the way by one rename before anything of it is removed', async () => {
  await using task = await openCase();
  for (const left of ['restore-one/tasks/0_0', 'restore-two/replaced/0_0', 'kept']) {
    await mkdir(join(task.root, '.warmstate', left), { recursive: true });
  }
  const disk = mortalDisk(task.root, Infinity);
  let drawn = 0;
  await removeLeftStaging(task.root, { disk, random: { token: () => `doomed${(drawn += 1)}` } });
  const [list, ...steps] = disk.trace;
  expect([list, steps.length, steps.filter((_, index) => index % 2 === 1)]).toEqual([
    'list .warmstate',
    4,
    ['remove .warmstate/restore-doomed1', 'remove .warmstate/restore-doomed2'],
  ]);
  expect(steps.filter((_, index) => index % 2 === 0).sort()).toEqual([
    expect.stringMatching(/^rename \.warmstate\/restore-one -> \.warmstate\/restore-doomed[12]$/),
    expect.stringMatching(/^rename \.warmstate\/restore-two -> \.warmstate\/restore-doomed[12]$/),
  ]);
  expect(await readdir(join(task.root, '.warmstate'))).toEqual(['kept']);
});
