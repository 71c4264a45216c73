import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { SimulatedStore } from '../../test/support/simulated-store.ts';
import { openTempDirectory } from '../../test/support/temp-directory.ts';
import type { StoredFile } from '../repository/document.ts';
import { nodeDisk } from '../restore/disk.ts';
import { bytesBody } from '../storage/object-store.ts';
import { downloadFiles } from './download.ts';
import { diskSink, emptySink, type FileSink, type PlacedFile } from './sink.ts';

const { signal } = new AbortController();

describe('on disk', () => {
  test('a file is made of its stretches, in its place', async () => {
    await using directory = await openTempDirectory();
    const { store, file } = await stored(['one, ', 'two, ', 'three']);
    const target = join(directory.path, '000012.sst');
    const before = openDescriptors();
    await downloadFiles([{ file, target }], from(store), onDisk);
    expect(await readFile(target, 'utf8')).toBe('one, two, three');
    expect(openDescriptors()).toBe(before);
  });

  test('an empty file is made, too', async () => {
    await using directory = await openTempDirectory();
    const { store, file } = await stored(['']);
    const target = join(directory.path, 'orders.position');
    await downloadFiles([{ file, target }], from(store), onDisk);
    expect(await readFile(target, 'utf8')).toBe('');
  });

  test('no file that is there is written over, and no link is followed', async () => {
    await using directory = await openTempDirectory();
    const { store, file } = await stored(['new']);
    const there = join(directory.path, 'there');
    await writeFile(there, 'old');
    await symlink(there, join(directory.path, 'link'));
    await symlink(join(directory.path, 'nowhere'), join(directory.path, 'dangling'));
    for (const name of ['there', 'link', 'dangling']) {
      const target = join(directory.path, name);
      await expect(downloadFiles([{ file, target }], from(store), onDisk)).rejects.toMatchObject({
        kind: 'unavailable',
        message: expect.stringContaining(`cannot write ${target}: EEXIST`),
      });
    }
    expect(await readFile(there, 'utf8')).toBe('old');
    expect(readdirSync(directory.path).sort()).toEqual(['dangling', 'link', 'there']);
  });

  test('a directory that is gone makes the disk unavailable, not the object missing', async () => {
    await using directory = await openTempDirectory();
    const { store, file } = await stored(['new']);
    const target = join(directory.path, 'gone', '000012.sst');
    await expect(downloadFiles([{ file, target }], from(store), onDisk)).rejects.toMatchObject({ kind: 'unavailable' });
  });

  test('a download that is cut short leaves no descriptor open', async () => {
    await using directory = await openTempDirectory();
    const { store, file } = await stored(['one, ', 'two, ', 'three']);
    store.script({ kind: 'fail-before', operation: 'get', key: /2$/ });
    const before = openDescriptors();
    const target = join(directory.path, '000012.sst');
    await expect(downloadFiles([{ file, target }], from(store), onDisk)).rejects.toMatchObject({ kind: 'unavailable' });
    expect(openDescriptors()).toBe(before);
  });
});

test('the empty sink reads and checks everything, and keeps nothing', async () => {
  const { store, file } = await stored(['one, ', 'two']);
  const first = { ...file, path: 'first', sizeBytes: 5, sha256: sha256('one, '), objects: file.objects.slice(0, 1) };
  const log: string[] = [];
  await store.put('data/e/1', bytesBody(Buffer.from('TWO')), { signal });
  await downloadFiles([{ file }, { file: first }], from(store), {
    ...emptySink,
    isWanted: () => true,
    finish: async (item) => void log.push(`finished ${item.file.path}`),
    reject: (item, { failure }) => void log.push(`${failure.kind} ${item.file.path}`),
  });
  expect(log.sort()).toEqual(['corrupt x', 'finished first']);
});

const onDisk: FileSink<PlacedFile> = {
  ...diskSink(nodeDisk),
  isWanted: () => true,
  reject: (_, { failure }) => {
    throw failure;
  },
};

async function stored(parts: readonly string[]): Promise<{ store: SimulatedStore; file: StoredFile }> {
  const store = new SimulatedStore();
  const objects: StoredFile['objects'][number][] = [];
  for (const [index, part] of parts.entries()) {
    const [key, sizeBytes] = [`data/e/${index}`, Buffer.byteLength(part)];
    await store.put(key, bytesBody(Buffer.from(part)), { signal });
    objects.push({ kind: 'stretch', key, sizeBytes, storedBytes: sizeBytes, sha256: sha256(part), encoding: 'none' });
  }
  const whole = parts.join('');
  return { store, file: { path: 'x', sizeBytes: whole.length, sha256: sha256(whole), uid: undefined, objects } };
}

function from(store: SimulatedStore) {
  return { store, concurrency: 2, work: 'download', emit: () => {}, signal } as const;
}

function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
