import { existsSync, renameSync, symlinkSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, onTestFinished, test } from 'vitest';
import { ManualClock } from '../../test/support/manual-clock.ts';
import { type FileStep, RecordedFiles } from '../../test/support/recorded-files.ts';
import { describeStoreContract } from '../../test/support/store-contract.ts';
import { systemClock, systemRandom } from '../base/clock.ts';
import { Failure } from '../base/failure.ts';
import { openFileStore } from './file-store.ts';
import { bytesBody, type ObjectBody, type ObjectStore } from './object-store.ts';

const { signal } = new AbortController();
const world = { clock: systemClock, random: systemRandom };
const DAY_MS = 24 * 60 * 60 * 1000;

describeStoreContract('the file store', async (scope) => {
  const folder = await mkdtemp(join(tmpdir(), 'warmstate-contract-'));
  scope.defer(() => rm(folder, { recursive: true }));
  return await openFileStore(join(folder, 'root'), world);
});

describe('the order of file operations', () => {
  test('a put writes beside, syncs, renames, and syncs every folder bottom up', async () => {
    const { store, files } = await recordedStore();
    await store.put('a/b/first', body('xy'), { signal });
    expect(changesOf(files)).toEqual([
      'createFile .warmstate-tmp/1',
      'makeDirectory .warmstate-tmp',
      'makeDirectory .',
      'syncDirectory ..',
      'makeDirectory .warmstate-tmp',
      'syncDirectory .',
      'createFile .warmstate-tmp/1',
      'write .warmstate-tmp/1',
      'setModified .warmstate-tmp/1',
      'syncFile .warmstate-tmp/1',
      'closeFile .warmstate-tmp/1',
      'makeDirectory a',
      'makeDirectory a/b',
      'rename .warmstate-tmp/1 → a/b/first',
      'syncDirectory a/b',
      'syncDirectory a',
      'syncDirectory .',
    ]);
    files.steps.length = 0;
    await store.put('a/b/second', body('xy'), { signal });
    expect(changesOf(files)).toEqual([
      'createFile .warmstate-tmp/2',
      'write .warmstate-tmp/2',
      'setModified .warmstate-tmp/2',
      'syncFile .warmstate-tmp/2',
      'closeFile .warmstate-tmp/2',
      'rename .warmstate-tmp/2 → a/b/second',
      'syncDirectory a/b',
      'syncDirectory a',
      'syncDirectory .',
    ]);
  });

  test('a delete unlinks, syncs, and removes the folders that became empty, but never the root', async () => {
    const { store, files, root } = await recordedStore();
    for (const key of ['a/b/1', 'a/b/2']) await store.put(key, body('x'), { signal });
    files.steps.length = 0;
    await store.delete('a/b/1', { signal });
    await store.delete('a/b/2', { signal });
    const synced = ['syncDirectory a/b', 'syncDirectory a', 'syncDirectory .'];
    const first = ['unlink a/b/1', ...synced, 'removeDirectory a/b'];
    expect(changesOf(files)).toEqual([...first, 'unlink a/b/2', ...synced, 'removeDirectory a/b', 'removeDirectory a']);
    expect(await readdir(root)).toEqual(['.warmstate-tmp']);
  });
});

describe('what is held open', () => {
  test('a body that was read to its end has closed its file by itself', async () => {
    const { store, files } = await recordedStore();
    await store.put('k', body('x'), { signal });
    const opened = await store.get('k', { signal });
    for await (const _ of opened.body);
    expect(files.steps.at(-1)).toEqual({ operation: 'closeFile', path: 'k', to: undefined });
  });

  test('a get that is refused, and a put whose bytes cannot be written, have closed theirs', async () => {
    const { store, files } = await recordedStore();
    await store.put('k', body('x'), { signal });
    await expect(store.get('k', { signal, range: { start: 0, length: 9 } })).rejects.toMatchObject({ kind: 'corrupt' });
    expect(files.steps.at(-1)).toMatchObject({ operation: 'closeFile', path: 'k' });
    files.failing = ({ operation }) => (operation === 'write' ? 'ENOSPC' : undefined);
    await expect(store.put('k', body('y'), { signal })).rejects.toMatchObject({ detail: 'no_space' });
    expect(files.steps.slice(-2).map(({ operation }) => operation)).toEqual(['closeFile', 'unlink']);
  });
});

test('a put that is aborted while its bytes are synced stores nothing', async () => {
  const { store, files, root } = await recordedStore();
  const controller = new AbortController();
  const reason = new Error('enough');
  files.onDone = ({ operation }) => (operation === 'syncFile' ? controller.abort(reason) : undefined);
  await expect(store.put('a/k', body('x'), { signal: controller.signal })).rejects.toBe(reason);
  expect(await readdir(root)).toEqual(['.warmstate-tmp']);
  expect(await readdir(join(root, '.warmstate-tmp'))).toEqual([]);
});

describe('killed after any step', () => {
  const text = 'new '.repeat(1000);
  const before = { 'old/k': 'old' };
  const acts = [
    {
      name: 'a first put',
      act: (store: ObjectStore) => store.put('new/folder/k', body(text), { signal }),
      after: { 'new/folder/k': text, 'old/k': 'old' },
    },
    {
      name: 'a put that replaces',
      act: (store: ObjectStore) => store.put('old/k', body(text), { signal }),
      after: { 'old/k': text },
    },
    { name: 'a delete', act: (store: ObjectStore) => store.delete('old/k', { signal }), after: {} },
  ];
  for (const { name, act, after } of acts) {
    test(`${name} leaves all as before or as after, and a store that works`, async () => {
      const outcomes = new Set<string>();
      let isOver = false;
      for (let stepsMax = 0; !isOver; stepsMax++) {
        const { store, files, root } = await recordedStore();
        await store.put('old/k', body('old'), { signal });
        files.stepsMax = files.steps.length + stepsMax;
        isOver = await act(store).then(
          () => files.steps.length < files.stepsMax,
          () => false,
        );
        outcomes.add(JSON.stringify(await textsOf(await openFileStore(root, world))));
        const clock = new ManualClock({ startMs: Date.now() + 2 * DAY_MS });
        const later = await openFileStore(root, { ...world, clock });
        expect(await readdir(join(root, '.warmstate-tmp'))).toEqual([]);
        await act(later);
        expect(await textsOf(later)).toEqual(after);
      }
      expect([...outcomes]).toEqual([before, after].map((texts) => JSON.stringify(texts)));
    });
  }
});

describe('a power cut', () => {
  test('at the end of any put or delete, also beside others, all that it needs is synced', async () => {
    const act = fc.constantFrom('put', 'delete');
    const lives = fc.array(fc.array(act, { minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 4 });
    const law = fc.asyncProperty(lives, async (acts) => {
      const { store, files } = await recordedStore();
      const unsynced = watchUnsynced(files);
      const live = async (key: string, ofKey: readonly string[]): Promise<void> => {
        for (const what of ofKey) {
          if (what === 'put') await store.put(key, body('x'), { signal });
          else await store.delete(key, { signal });
          const needed = what === 'put' ? [key, 'a/b', 'a', '.'] : [key];
          expect(needed.filter((path) => unsynced.names.has(path))).toEqual([]);
        }
      };
      await Promise.all(acts.map((ofKey, index) => live(`a/b/${index}`, ofKey)));
      expect(unsynced.renamed).toEqual([]);
    });
    await fc.assert(law, { numRuns: 40 });
  });
});

describe('what others left or laid there', () => {
  test('temporary files are removed when older than a day, younger ones and strangers stay', async () => {
    const root = await makeFolder();
    const folder = join(root, '.warmstate-tmp');
    const names = { old: 'a'.repeat(16), young: 'b'.repeat(16), strange: 'notes.txt' };
    await mkdir(folder);
    for (const name of Object.values(names)) await writeFile(join(folder, name), 'x');
    const clock = new ManualClock();
    for (const [name, ageMs] of [
      [names.old, DAY_MS + 1000],
      [names.young, DAY_MS - 1000],
      [names.strange, 9 * DAY_MS],
    ] as const) {
      await utimes(join(folder, name), 0, (clock.nowMs() - ageMs) / 1000);
    }
    await openFileStore(root, { ...world, clock });
    expect((await readdir(folder)).sort()).toEqual([names.young, names.strange]);
  });

  test('names that are no keys, and what is neither file nor folder, are not listed', async () => {
    const root = await makeFolder();
    const store = await openFileStore(root, world);
    await store.put('a/k', body('x'), { signal });
    for (const name of ['.nfs000001', 'a b', 'lost+found']) await writeFile(join(root, 'a', name), 'x');
    await mkdir(join(root, 'a', 'folder'));
    expect(await textsOf(store)).toEqual({ 'a/k': 'x' });
  });

  test('a symbolic link is never followed, neither in the middle of a key nor at its end', async () => {
    const outside = await makeFolder();
    await writeFile(join(outside, 'k'), 'outside');
    const root = await makeFolder();
    await symlink(outside, join(root, 'folder'));
    await symlink(join(outside, 'k'), join(root, 'file'));
    const store = await openFileStore(root, world);
    for (const key of ['folder/k', 'file']) {
      const refused = { kind: 'invalid', message: expect.stringContaining('symbolic link') };
      await expect(store.get(key, { signal })).rejects.toMatchObject(refused);
      await expect(store.head(key, { signal })).rejects.toMatchObject(refused);
      await expect(store.delete(key, { signal })).rejects.toMatchObject(refused);
      await expect(textsOf(store, key)).rejects.toMatchObject(refused);
    }
    await expect(store.put('folder/new', body('x'), { signal })).rejects.toMatchObject({ kind: 'invalid' });
    await store.put('file', body('inside'), { signal });
    expect([await readdir(outside), await readFile(join(outside, 'k'), 'utf8')]).toEqual([['k'], 'outside']);
    expect(await readFile(join(root, 'file'), 'utf8')).toBe('inside');
  });

  test('an object that becomes a link between the look and the open is not followed', async () => {
    const { store, files, root } = await recordedStore();
    await store.put('k', body('inside'), { signal });
    files.onDone = ({ operation, path }) => {
      if (operation !== 'lstat' || path !== 'k') return;
      renameSync(join(root, 'k'), join(root, 'moved'));
      symlinkSync('moved', join(root, 'k'));
    };
    await expect(store.get('k', { signal })).rejects.toMatchObject({
      kind: 'invalid',
      message: `cannot read ${root}/k: it is a symbolic link`,
    });
  });

  test('a temporary folder that is a link is refused', async () => {
    const root = await makeFolder();
    await symlink(await makeFolder(), join(root, '.warmstate-tmp'));
    await expect(openFileStore(root, world)).rejects.toMatchObject({ kind: 'invalid' });
  });

  test('a root that is a link to a directory is used', async () => {
    const folder = await makeFolder();
    const link = join(await makeFolder(), 'link');
    await symlink(folder, link);
    await (await openFileStore(link, world)).put('k', body('x'), { signal });
    expect(await readFile(join(folder, 'k'), 'utf8')).toBe('x');
  });

  test('a root that is a file is refused', async () => {
    const path = join(await makeFolder(), 'file');
    await writeFile(path, 'x');
    await expect(openFileStore(path, world)).rejects.toMatchObject({
      kind: 'invalid',
      message: `cannot open ${path}: it is not a directory`,
    });
  });

  test('an absent root is empty and is not made by looking at it', async () => {
    const root = join(await makeFolder(), 'absent');
    const store = await openFileStore(root, world);
    expect(await textsOf(store)).toEqual({});
    await expect(store.head('k', { signal })).rejects.toMatchObject({ kind: 'missing' });
    await store.delete('k', { signal });
    expect(existsSync(root)).toBe(false);
  });

  test('a key that is a folder of another key is invalid to store, and nothing is lost', async () => {
    const { store, root } = await recordedStore();
    await store.put('a/b', body('x'), { signal });
    await expect(store.put('a', body('y'), { signal })).rejects.toMatchObject({ kind: 'invalid' });
    await expect(store.put('a/b/c', body('y'), { signal })).rejects.toMatchObject({ kind: 'invalid' });
    expect(await textsOf(store)).toEqual({ 'a/b': 'x' });
    expect(await readdir(join(root, '.warmstate-tmp'))).toEqual([]);
  });

  test('a file that became shorter while it was read is corrupt', async () => {
    const { store, root } = await recordedStore();
    await store.put('k', body('x'.repeat(600_000)), { signal });
    await using opened = await store.get('k', { signal });
    const read = async (): Promise<void> => {
      for await (const _ of opened.body) await writeFile(join(root, 'k'), 'short');
    };
    await expect(read()).rejects.toMatchObject({ kind: 'corrupt' });
  });
});

describe('errors of the file system', () => {
  const cases = [
    ['write', 'ENOSPC', 'unavailable', 'no_space'],
    ['write', 'EDQUOT', 'unavailable', 'no_space'],
    ['syncFile', 'EIO', 'unavailable', undefined],
    ['createFile', 'EACCES', 'unavailable', 'denied'],
    ['createFile', 'EROFS', 'unavailable', 'denied'],
    ['makeDirectory', 'EPERM', 'unavailable', 'denied'],
    ['rename', 'EXDEV', 'unavailable', undefined],
    ['closeFile', 'EDQUOT', 'unavailable', 'no_space'],
    ['lstat', 'EIO', 'unavailable', undefined],
    ['createFile', 'EMFILE', 'unavailable', undefined],
    ['syncDirectory', 'EIO', 'unavailable', undefined],
  ] as const;
  for (const [operation, code, kind, detail] of cases) {
    test(`${code} of ${operation} fails a put as ${kind}${detail === undefined ? '' : `, ${detail}`}`, async () => {
      const { store, files, root } = await recordedStore();
      await store.put('old', body('old'), { signal });
      files.failing = (step) => (step.operation === operation ? code : undefined);
      const failure: unknown = await store.put('a/k', body('x'), { signal }).catch((error: unknown) => error);
      expect(failure).toMatchObject({ name: 'Failure', kind, detail, cause: { code } });
      expect(failure instanceof Failure && failure.message).toMatch(
        new RegExp(`^cannot (store|look at|make) ${root}/a`),
      );
      if (detail !== undefined) expect(failure instanceof Failure && failure.hint).toMatch(/\w/);
      files.failing = () => undefined;
      expect(await readdir(join(root, '.warmstate-tmp'))).toEqual([]);
      if (operation !== 'syncDirectory') expect(await textsOf(store)).toEqual({ old: 'old' });
    });
  }

  const reads = { get: 'openFile', head: 'lstat', list: 'readDirectory', delete: 'unlink' } as const;
  for (const [verb, operation] of Object.entries(reads)) {
    test(`a ${verb} without permission is unavailable and denied`, async () => {
      const { store, files } = await recordedStore();
      await store.put('a/k', body('x'), { signal });
      files.failing = (step) => (step.operation === operation ? 'EACCES' : undefined);
      const calls: Readonly<Record<string, () => Promise<unknown>>> = {
        get: () => store.get('a/k', { signal }),
        head: () => store.head('a/k', { signal }),
        list: () => textsOf(store),
        delete: () => store.delete('a/k', { signal }),
      };
      await expect(calls[verb]?.()).rejects.toMatchObject({ kind: 'unavailable', detail: 'denied' });
    });
  }

  test('a destination that may not be cleaned can still be read', async () => {
    const { store, files, root } = await recordedStore();
    await store.put('k', body('x'), { signal });
    await writeFile(join(root, '.warmstate-tmp', 'a'.repeat(16)), 'x');
    const clock = new ManualClock({ startMs: Date.now() + 2 * DAY_MS });
    files.failing = ({ operation }) => (operation === 'unlink' ? 'EROFS' : undefined);
    const later = await openFileStore(root, { ...world, clock, files: files.operations });
    expect(await textsOf(later)).toEqual({ k: 'x' });
  });

  test('a volume that cannot sync directories is used all the same', async () => {
    const { store, files } = await recordedStore();
    files.failing = ({ operation }) => (operation === 'syncDirectory' ? 'EINVAL' : undefined);
    await store.put('a/k', body('x'), { signal });
    expect(await textsOf(store)).toEqual({ 'a/k': 'x' });
  });

  test('a folder that cannot be removed stays, and the object is deleted', async () => {
    const { store, files, root } = await recordedStore();
    files.failing = ({ operation }) => (operation === 'removeDirectory' ? 'EBUSY' : undefined);
    await store.put('a/k', body('x'), { signal });
    await store.delete('a/k', { signal });
    expect([await textsOf(store), (await readdir(root)).sort()]).toEqual([{}, ['.warmstate-tmp', 'a']]);
  });

  test('a folder that others remove again and again fails the put after a bounded number of tries', async () => {
    const { store, files, root } = await recordedStore();
    await store.put('k', body('x'), { signal });
    files.failing = ({ operation }) => (operation === 'rename' ? 'ENOENT' : undefined);
    await expect(store.put('a/k', body('x'), { signal })).rejects.toMatchObject({
      kind: 'unavailable',
      message: `cannot store ${root}/a/k: its folder was removed 100 times meanwhile`,
    });
  });
});

function changesOf(files: RecordedFiles): readonly string[] {
  return files.changes().map((change) => change.replace(/0{10,}/, ''));
}

/** A store on files that are recorded, in a directory that its first put makes; temporary names count up. */
async function recordedStore(): Promise<{ store: ObjectStore; files: RecordedFiles; root: string }> {
  const root = join(await makeFolder(), 'root');
  const files = new RecordedFiles(root);
  onTestFinished(() => files[Symbol.asyncDispose]());
  let count = 0;
  const random = { fraction: () => 0.5, token: (length: number) => String(++count).padStart(length, '0') };
  const store = await openFileStore(root, { clock: systemClock, random, files: files.operations });
  return { store, files, root };
}

async function makeFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'warmstate-file-store-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/**
 * The names that a power cut could take back or bring back at this moment, and the files that were given their
 * name before their bytes were safe. A change is safe once a sync of its folder that began after it has ended;
 * a folder that was removed takes what changed in it along.
 */
function watchUnsynced(files: RecordedFiles): {
  readonly names: ReadonlyMap<string, unknown>;
  readonly renamed: readonly string[];
} {
  const names = new Map<string, Set<string>>();
  const dirty = new Set<string>();
  const renamed: string[] = [];
  const startedSyncs = new Map<FileStep, readonly (readonly [string, Set<string>])[]>();
  files.onStart = (step) => {
    if (step.operation === 'syncDirectory') startedSyncs.set(step, [...names]);
  };
  files.onDone = (step) => {
    const { operation, path, to } = step;
    if (operation === 'write') dirty.add(path);
    if (operation === 'syncFile') dirty.delete(path);
    if (operation === 'rename' && dirty.has(path)) renamed.push(path);
    const changed =
      operation === 'rename' ? to : /^(makeDirectory|removeDirectory|unlink)$/.test(operation) ? path : undefined;
    if (operation === 'removeDirectory') {
      for (const folders of names.values()) if (folders.has(path)) folders.add(dirname(path));
    }
    if (changed !== undefined) names.set(changed, new Set([dirname(changed)]));
    for (const [name, folders] of startedSyncs.get(step) ?? []) {
      if (folders.has(path) && names.get(name) === folders) names.delete(name);
    }
  };
  return { names, renamed };
}

async function textsOf(store: ObjectStore, prefix = ''): Promise<Readonly<Record<string, string>>> {
  const texts: Record<string, string> = {};
  for await (const page of store.list(prefix, { signal })) {
    for (const { key } of page.objects) {
      await using opened = await store.get(key, { signal });
      const chunks: Uint8Array[] = [];
      for await (const chunk of opened.body) chunks.push(Uint8Array.from(chunk));
      texts[key] = String(Buffer.concat(chunks));
    }
  }
  return texts;
}

function body(text: string): ObjectBody {
  return bytesBody(Buffer.from(text));
}
