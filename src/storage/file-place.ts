import type { Stats } from 'node:fs';
import { join } from 'node:path';
import type { Clock, Random } from '../base/clock.ts';
import { Failure } from '../base/failure.ts';
import { type FileOperations, translated, unless } from './file-operations.ts';
import { objectKeySegments } from './object-key.ts';
import type { ObjectFacts } from './object-store.ts';

/** Where a file store lies and what it works with. */
export interface FilePlace {
  readonly root: string;
  readonly files: FileOperations;
  readonly clock: Clock;
  readonly random: Random;
}

/** The folders of a key from the top down, as keys themselves: `a/b/c` lies in `a` and `a/b`. */
export function foldersOf(key: string): readonly string[] {
  const segments = objectKeySegments(key);
  return segments.slice(1).map((_, index) => segments.slice(0, index + 1).join('/'));
}

export function pathOf(place: FilePlace, key: string): string {
  return join(place.root, key);
}

/** The stats of the file of an object, or undefined where there is none; a link anywhere on its way is `invalid`. */
export async function findObject(place: FilePlace, key: string): Promise<Stats | undefined> {
  for (const folder of foldersOf(key)) {
    const stats = await lookAt(place, folder);
    if (stats?.isDirectory() !== true) return undefined;
  }
  const stats = await lookAt(place, key);
  return stats?.isFile() === true ? stats : undefined;
}

/** What lies under a key or a folder of one; undefined if nothing does, `invalid` if it is a link. */
export async function lookAt(place: FilePlace, key: string): Promise<Stats | undefined> {
  const path = pathOf(place, key);
  const stats = await translated(`look at ${path}`, unless(place.files.lstat(path), 'ENOENT', 'ENOTDIR'));
  if (stats?.isSymbolicLink() === true) throw isALink(path);
  return stats;
}

/**
 * Makes what was linked and unlinked below the root on the way to a key durable. Every folder, each time: that one
 * is there does not say that its own name is durable, and to sync one that did not change costs next to nothing.
 * One that is gone was emptied by a delete.
 */
export async function syncFolders({ files, root }: FilePlace, folders: readonly string[]): Promise<void> {
  for (const folder of ['', ...folders].toReversed()) {
    await unless(syncFolder(files, join(root, folder)), 'ENOENT', 'ENOTDIR');
  }
}

/** Some mounted volumes cannot sync a directory; there a rename is as durable as the volume makes it. */
export async function syncFolder(files: FileOperations, path: string): Promise<void> {
  await unless(files.syncDirectory(path), 'EINVAL', 'ENOTSUP', 'EOPNOTSUPP');
}

export function isALink(path: string): Failure {
  return new Failure('invalid', `cannot use ${path}: it is a symbolic link inside the destination`, {
    hint: 'put the directory itself in its place, or mount it there',
  });
}

export function missingObject(place: FilePlace, key: string): Failure {
  return new Failure('missing', `no object ${key} in ${place.root}`);
}

export function factsOf(key: string, stats: Stats): Omit<ObjectFacts, 'storeTimeMs'> {
  return { key, sizeBytes: stats.size, modifiedMs: Math.round(stats.mtimeMs) };
}
