import type { Stats } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Failure } from '../base/failure.ts';
import { announcedChunks } from './body.ts';
import { type FileOperations, succeeds, translated, unless } from './file-operations.ts';
import { type FilePlace, factsOf, foldersOf, lookAt, pathOf, syncFolder, syncFolders } from './file-place.ts';
import type { ObjectBody, ObjectFacts } from './object-store.ts';

/** Where puts write before they rename; the dot keeps it apart from every key. */
export const TEMPORARY_FOLDER = '.warmstate-tmp';
const TEMPORARY_NAME_LENGTH = 16;
export const TEMPORARY_NAME = /^[a-z0-9]{16}$/;

/** Each loss takes a delete that empties the folder in the instant between our mkdir and our rename. */
const RENAME_TRIES_MAX = 100;

/** Writes the object beside the keys, makes it durable, and only then gives it its name. */
export async function putFile(
  place: FilePlace,
  key: string,
  { body, signal }: { readonly body: ObjectBody; readonly signal: AbortSignal },
): Promise<ObjectFacts> {
  const folders = foldersOf(key);
  signal.throwIfAborted();
  const temporary = join(place.root, TEMPORARY_FOLDER, place.random.token(TEMPORARY_NAME_LENGTH));
  const handle = await translated(`store ${pathOf(place, key)}`, createTemporary(place, temporary));
  try {
    const stats = await writeAndClose(place, handle, { key, body, signal });
    signal.throwIfAborted();
    await renameInto(place, temporary, { key, folders });
    await translated(`store ${pathOf(place, key)}`, syncFolders(place, folders));
    return { ...factsOf(key, stats), storeTimeMs: place.clock.nowMs() };
  } catch (error) {
    await place.files.unlink(temporary).catch(() => undefined); // What stays is removed by a later open.
    throw error;
  }
}

async function createTemporary({ files }: FilePlace, path: string): Promise<FileHandle> {
  const handle = await unless(files.createFile(path), 'ENOENT');
  if (handle !== undefined) return handle;
  await makeFolderDurably(files, dirname(path));
  return await files.createFile(path);
}

async function makeFolderDurably(files: FileOperations, path: string): Promise<void> {
  const make = (): Promise<boolean> => succeeds(files.makeDirectory(path), 'EEXIST');
  if ((await unless(make(), 'ENOENT')) === undefined) {
    await makeFolderDurably(files, dirname(path));
    await make();
  }
  await syncFolder(files, dirname(path));
}

async function writeAndClose(
  { files, clock, root }: FilePlace,
  handle: FileHandle,
  { key, body, signal }: { readonly key: string; readonly body: ObjectBody; readonly signal: AbortSignal },
): Promise<Stats> {
  const doing = `store ${join(root, key)}`;
  const finish = async (): Promise<Stats> => {
    await files.setModified(handle, clock.nowMs());
    await files.syncFile(handle);
    return await files.statFile(handle);
  };
  try {
    for await (const chunk of announcedChunks(key, body, signal)) await translated(doing, files.write(handle, chunk));
    return await translated(doing, finish());
  } finally {
    await translated(doing, files.closeFile(handle));
  }
}

/** A delete beside us may remove a folder that we have just made, until the rename has put something into it. */
async function renameInto(
  place: FilePlace,
  temporary: string,
  { key, folders }: { readonly key: string; readonly folders: readonly string[] },
): Promise<void> {
  const path = pathOf(place, key);
  for (let tries = 0; tries < RENAME_TRIES_MAX; tries++) {
    const isReady = await makeFolders(place, folders);
    if (isReady && (await translated(`store ${path}`, succeeds(place.files.rename(temporary, path), 'ENOENT')))) return;
  }
  throw new Failure('unavailable', `cannot store ${path}: its folder was removed ${RENAME_TRIES_MAX} times meanwhile`);
}

/** False if one that was there is gone again. */
async function makeFolders(place: FilePlace, folders: readonly string[]): Promise<boolean> {
  for (const folder of folders) {
    if ((await lookAt(place, folder)) !== undefined) continue;
    const path = pathOf(place, folder);
    const make = succeeds(place.files.makeDirectory(path), 'EEXIST');
    if ((await translated(`make ${path}`, unless(make, 'ENOENT'))) === undefined) return false;
  }
  return true;
}
