import { join } from 'node:path';
import type { Clock, Random } from '../base/clock.ts';
import { Failure } from '../base/failure.ts';
import { getFile, ReadBuffers } from './file-get.ts';
import { listFiles } from './file-list.ts';
import { type FileOperations, nodeFileOperations, succeeds, translated, unless } from './file-operations.ts';
import {
  type FilePlace,
  factsOf,
  findObject,
  foldersOf,
  isALink,
  missingObject,
  pathOf,
  syncFolders,
} from './file-place.ts';
import { putFile, TEMPORARY_FOLDER, TEMPORARY_NAME } from './file-put.ts';
import type { ObjectFacts, ObjectStore } from './object-store.ts';

/** No put lives so long without writing a byte: what is older was left by a writer that was killed. */
const TEMPORARY_AGE_MS_MAX = 24 * 60 * 60 * 1000;

/**
 * A directory as object store: a local disk, NFS or another mounted volume. It is made by the first put if need
 * be. The store's clock is this machine's; several machines share one time as far as their clocks agree.
 *
 * Keys are paths below `root`; a symbolic link among them is a Failure `invalid`. Relied on: rename is atomic
 * within the volume, and a directory that is read shows the names that are only replaced meanwhile. A file system
 * that hangs, as a lost NFS server makes it, hangs the call.
 */
export async function openFileStore(
  root: string,
  world: { readonly clock: Clock; readonly random: Random; readonly files?: FileOperations },
): Promise<ObjectStore> {
  const place: FilePlace = { root, clock: world.clock, random: world.random, files: world.files ?? nodeFileOperations };
  await assertDirectoryOrAbsent(place);
  await removeLeftTemporaries(place);
  const buffers = new ReadBuffers();
  return {
    put: (key, body, { signal }) => putFile(place, key, { body, signal }),
    get: (key, options) => getFile(place, key, { ...options, buffers }),
    head: (key, { signal }) => headFile(place, key, signal),
    list: (prefix, { signal }) => listFiles(place, prefix, signal),
    delete: (key, { signal }) => deleteFile(place, key, signal),
  };
}

async function assertDirectoryOrAbsent({ root, files }: FilePlace): Promise<void> {
  const stats = await translated(`open ${root}`, unless(files.stat(root), 'ENOENT'));
  if (stats?.isDirectory() === false) throw new Failure('invalid', `cannot open ${root}: it is not a directory`);
}

/** Only housekeeping: where nothing may be removed, nothing is. */
async function removeLeftTemporaries(place: FilePlace): Promise<void> {
  const { root, files, clock } = place;
  const folder = join(root, TEMPORARY_FOLDER);
  const stats = await translated(`look at ${folder}`, unless(files.lstat(folder), 'ENOENT'));
  if (stats === undefined) return;
  if (stats.isSymbolicLink()) throw isALink(folder);
  const entries = await translated(`list ${folder}`, unless(files.readDirectory(folder), 'ENOENT', 'EACCES'));
  for (const entry of entries ?? []) {
    if (!TEMPORARY_NAME.test(entry.name)) continue;
    const path = join(folder, entry.name);
    const left = await translated(`look at ${path}`, unless(files.lstat(path), 'ENOENT', 'EACCES'));
    if (left === undefined || clock.nowMs() - left.mtimeMs <= TEMPORARY_AGE_MS_MAX) continue;
    await translated(`remove ${path}`, succeeds(files.unlink(path), 'ENOENT', 'EACCES', 'EPERM', 'EROFS'));
  }
}

async function headFile(place: FilePlace, key: string, signal: AbortSignal): Promise<ObjectFacts> {
  const stats = await findObject(place, key);
  signal.throwIfAborted();
  if (stats === undefined) throw missingObject(place, key);
  return { ...factsOf(key, stats), storeTimeMs: place.clock.nowMs() };
}

async function deleteFile(place: FilePlace, key: string, signal: AbortSignal): Promise<void> {
  const isThere = (await findObject(place, key)) !== undefined;
  signal.throwIfAborted();
  const path = pathOf(place, key);
  const folders = foldersOf(key);
  if (isThere) await translated(`delete ${path}`, succeeds(place.files.unlink(path), 'ENOENT'));
  await translated(`delete ${path}`, syncFolders(place, folders)); // Also after a delete that got no further.
  if (isThere) await translated(`delete ${path}`, removeEmpty(place, folders));
}

/** Removes the folders that hold nothing any more, the lowest first; one that must stay harms nobody. */
async function removeEmpty(place: FilePlace, folders: readonly string[]): Promise<void> {
  const staying = ['ENOTEMPTY', 'EEXIST', 'ENOENT', 'EBUSY', 'EACCES', 'EPERM'];
  for (const folder of folders.toReversed()) {
    if (!(await succeeds(place.files.removeDirectory(pathOf(place, folder)), ...staying))) return;
  }
}
