import { describe, expect, test } from 'vitest';
import type { Entry, StoredFile } from '../repository/document.ts';
import { archivesToLeave, measureArchives } from './repacking.ts';

function archived(
  archive: string,
  entry: string,
  sizes: { readonly sizeBytes: number; readonly contentBytes: number },
): StoredFile {
  const object = { kind: 'archived', key: archive, storedBytes: 10, contentBytes: sizes.contentBytes, entry } as const;
  return { path: entry, sizeBytes: sizes.sizeBytes, sha256: '', uid: undefined, objects: [object] };
}

function entryOf(files: readonly StoredFile[]): Entry {
  const facts = {
    task: '0_0',
    quality: 'clean',
    layout: 'file',
    stateTimeMs: 0,
    capturedAtMs: 0,
    capturedBy: '',
  } as const;
  return { ...facts, offsets: new Map(), files, stores: [] };
}

describe('small files', () => {
  test('stay in an archive that is used for half or more', () => {
    const files = [archived('a', 'x', { sizeBytes: 50, contentBytes: 100 })];
    expect(archivesToLeave(files, measureArchives([entryOf(files)]))).toEqual(new Set());
  });

  test('leave an archive that is used for less than half, by all tasks together', () => {
    const files = [archived('a', 'x', { sizeBytes: 20, contentBytes: 100 })];
    const others = [archived('a', 'y', { sizeBytes: 29, contentBytes: 100 })];
    expect(archivesToLeave(files, measureArchives([entryOf(files), entryOf(others)]))).toEqual(new Set(['a']));
    const more = [archived('a', 'z', { sizeBytes: 1, contentBytes: 100 })];
    expect(archivesToLeave(files, measureArchives([entryOf(files), entryOf([...others, ...more])]))).toEqual(new Set());
  });

  test('that two entries share are counted once', () => {
    const files = [archived('a', 'x', { sizeBytes: 30, contentBytes: 100 })];
    expect(measureArchives([entryOf(files), entryOf(files)])).toEqual(new Map([['a', 30]]));
  });

  test('leave all archives where they lie in more than eight', () => {
    const files = Array.from({ length: 9 }, (_, index) =>
      archived(`a${index}`, 'x', { sizeBytes: 100, contentBytes: 100 }),
    );
    const used = measureArchives([entryOf(files)]);
    expect(archivesToLeave(files.slice(0, 8), used)).toEqual(new Set());
    expect(archivesToLeave(files, used).size).toBe(9);
  });
});
