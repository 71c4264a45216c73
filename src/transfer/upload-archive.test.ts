import { createHash, randomFillSync } from 'node:crypto';
import { zstdDecompressSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { SimulatedStore } from '../../test/support/simulated-store.ts';
import { Budget } from '../base/concurrency.ts';
import { Failure } from '../base/failure.ts';
import type { Event } from '../events/event.ts';
import { ARCHIVE_ENTRIES_MAX, readArchive } from './archive.ts';
import { bytesSource } from './source-file.ts';
import { uploadArchives } from './upload-archive.ts';

const MIB = 1024 * 1024;

test('small files travel in one archive, each with its own hash', async () => {
  const { target, store, events } = targetOf();
  const uploaded = await uploadArchives([small('0_0/.checkpoint', 'one'), small('0_0/CURRENT', 'two!')], target);
  const storedBytes = store.bytesOf('data/e/1.tar.zst').byteLength;
  const place = { kind: 'archived', key: 'data/e/1.tar.zst', storedBytes, contentBytes: 7 } as const;
  expect(uploaded).toEqual(
    new Map([
      ['0_0/.checkpoint', { sha256: sha256('one'), objects: [{ ...place, entry: '0_0/.checkpoint' }] }],
      ['0_0/CURRENT', { sha256: sha256('two!'), objects: [{ ...place, entry: '0_0/CURRENT' }] }],
    ]),
  );
  expect(await contentOf(store, 'data/e/1.tar.zst', { '0_0/.checkpoint': 3, '0_0/CURRENT': 4 })).toEqual({
    '0_0/.checkpoint': 'one',
    '0_0/CURRENT': 'two!',
  });
  expect(events).toEqual([
    { kind: 'work-done', work: 'upload', bytes: 3 },
    { kind: 'work-done', work: 'upload', bytes: 4 },
    { kind: 'object-uploaded', key: 'data/e/1.tar.zst', storedBytes },
  ]);
});

test('an archive holds at most 16 MiB', async () => {
  const { target, store } = targetOf();
  const noise = randomFillSync(Buffer.alloc(5 * MIB));
  const files = [1, 2, 3, 4].map((n) => ({ entry: `${n}`, source: bytesSource(`${n}`, noise) }));
  const uploaded = await uploadArchives(files, target);
  expect(keysOf(uploaded)).toEqual(['data/e/1.tar.zst', 'data/e/1.tar.zst', 'data/e/1.tar.zst', 'data/e/2.tar.zst']);
  expect(store.keys()).toEqual(['data/e/1.tar.zst', 'data/e/2.tar.zst']);
});

test('an archive holds no more files than its reader takes', async () => {
  const { target } = targetOf();
  const files = Array.from({ length: ARCHIVE_ENTRIES_MAX + 1 }, (_, index) => small(`${index}`, ''));
  const keys = keysOf(await uploadArchives(files, target));
  expect(new Set(keys.slice(0, -1))).toEqual(new Set(['data/e/1.tar.zst']));
  expect(keys.at(-1)).toBe('data/e/2.tar.zst');
});

test('without files there is no archive', async () => {
  const { target, store } = targetOf();
  expect(await uploadArchives([], target)).toEqual(new Map());
  expect(store.log).toEqual([]);
});

test('a small file that moved spoils the call, and nothing is stored', async () => {
  const { target, store } = targetOf();
  const moved = new Failure('moved', 'it was replaced');
  const source = { ...bytesSource('b', Buffer.from('b')), assertUnchanged: () => Promise.reject(moved) };
  await expect(uploadArchives([small('a', 'a'), { entry: 'b', source }], target)).rejects.toBe(moved);
  expect(store.keys()).toEqual([]);
});

test('what is no small file is refused', async () => {
  const source = { ...bytesSource('huge', Buffer.alloc(0)), sizeBytes: 16 * MIB + 1 };
  await expect(uploadArchives([{ entry: 'huge', source }], targetOf().target)).rejects.toMatchObject({
    kind: 'invalid',
    message: 'cannot archive huge: 16777217 bytes are more than an archive holds',
  });
});

test('two files under one name are refused', async () => {
  await expect(uploadArchives([small('a', 'x'), small('a', 'y')], targetOf().target)).rejects.toMatchObject({
    kind: 'invalid',
    message: 'cannot archive a: the name is given twice',
  });
});

function small(entry: string, content: string) {
  return { entry, source: bytesSource(entry, Buffer.from(content)) };
}

function targetOf() {
  const store = new SimulatedStore();
  const events: Event[] = [];
  let keys = 0;
  const target = {
    store,
    nextKey: () => `data/e/${++keys}.tar.zst`,
    memory: new Budget(32 * MIB),
    emit: (event: Event) => events.push(event),
    signal: new AbortController().signal,
  };
  return { store, events, target };
}

function keysOf(uploaded: Awaited<ReturnType<typeof uploadArchives>>): readonly (string | undefined)[] {
  return [...uploaded.values()].map(({ objects }) => objects[0]?.key);
}

async function contentOf(store: SimulatedStore, key: string, sizes: Readonly<Record<string, number>>) {
  const unpacked = async function* () {
    yield zstdDecompressSync(store.bytesOf(key));
  };
  const found: Record<string, string> = {};
  for await (const { name, bytes } of readArchive(unpacked(), new Map(Object.entries(sizes)), key)) {
    found[name] = Buffer.from(bytes).toString();
  }
  return found;
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
