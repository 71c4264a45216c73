import { constants, type FSWatcher, watch } from 'node:fs';
import { access, open, readFile, realpath, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure, isFailure, systemErrorCode } from '../base/failure.ts';
import type { FileAccess } from '../base/file-access.ts';
import { loadNative } from '../base/native.ts';
import { type ApplicationState, askApplicationLock } from '../streams/app-lock.ts';
import { listApplications, listTasks } from '../streams/state-directory.ts';
import {
  type ApplicationFacts,
  chosenApplication,
  type LockFacts,
  type Owner,
  type SpaceFacts,
  type StateDirFacts,
  type UserFacts,
  type WatchFacts,
} from './doctor-pod.ts';
import { findMount, type Mount } from './mount-table.ts';

// What a pod shows from inside. Nothing here writes, and nothing takes a lock.

export async function findStateDirFacts(path: string): Promise<StateDirFacts> {
  const stats = await orGone(stat(path));
  const kind = stats === undefined ? 'absent' : stats.isDirectory() ? 'directory' : 'other';
  return {
    path,
    kind,
    isReadable: await mayAccess(path, constants.R_OK | constants.X_OK),
    isWritable: await mayAccess(path, constants.W_OK | constants.X_OK),
    mount: kind === 'absent' ? undefined : await findMountOf(path),
  };
}

async function mayAccess(path: string, mode: number): Promise<boolean> {
  return access(path, mode).then(
    () => true,
    () => false,
  );
}

const MOUNT_TABLE = '/proc/self/mountinfo';

async function findMountOf(path: string): Promise<Mount | undefined> {
  const table = await orGone(readFile(MOUNT_TABLE, 'utf8')); // Linux only.
  return table === undefined ? undefined : findMount(table, await realpath(path));
}

export async function findSpaceFacts(
  path: string,
  options: { readonly files: FileAccess; readonly limitBytes: number | undefined },
): Promise<SpaceFacts> {
  const { blocks, bavail, bsize } = await orTold(statfs(path));
  const usedBytes = await countBytes(path, options.files);
  return { totalBytes: blocks * bsize, freeBytes: bavail * bsize, usedBytes, limitBytes: options.limitBytes };
}

/** Files of a state directory that are counted at most; a large one has some ten thousand. */
const FILES_MAX = 1_000_000;

async function countBytes(root: string, files: FileAccess): Promise<number> {
  const waiting = [root];
  let [bytes, seen] = [0, 0];
  for (let directory = waiting.pop(); directory !== undefined && seen < FILES_MAX; directory = waiting.pop()) {
    for (const name of (await listReadable(directory, files)) ?? []) {
      const path = join(directory, name);
      const facts = await files.stat(path);
      seen += 1;
      if (facts?.kind === 'directory') waiting.push(path);
      else bytes += facts?.sizeBytes ?? 0;
    }
  }
  return bytes;
}

/** What may not be read is another check's to tell. */
async function listReadable(path: string, files: FileAccess): Promise<readonly string[] | undefined> {
  return files.list(path).catch((error: unknown) => {
    if (isFailure(error, 'unavailable')) return undefined;
    throw error;
  });
}

/** Undefined where the platform has no user ids. */
export async function findUserFacts(stateDir: string, application: string | undefined): Promise<UserFacts | undefined> {
  const [uid, gid, groups] = [process.getuid?.(), process.getgid?.(), process.getgroups?.()];
  const owner = await findOwner(stateDir);
  if (uid === undefined || gid === undefined || owner === undefined) return undefined;
  const path = application === undefined ? undefined : join(stateDir, application);
  const ofApplication = path === undefined ? undefined : await findOwner(path);
  return {
    uid,
    gid,
    groups: groups ?? [],
    stateDir: owner,
    application: path === undefined || ofApplication === undefined ? undefined : { path, ...ofApplication },
  };
}

async function findOwner(path: string): Promise<Owner | undefined> {
  const stats = await orGone(stat(path));
  return stats === undefined ? undefined : { uid: stats.uid, gid: stats.gid, mode: stats.mode & 0o7777 };
}

export async function findApplicationFacts(
  stateDir: string,
  wanted: string | undefined,
  files: FileAccess,
): Promise<ApplicationFacts> {
  const found = await listApplications(files, stateDir);
  const application = chosenApplication({ wanted, found });
  const tasks = application === undefined ? [] : await listTasks(files, join(stateDir, application));
  return { stateDir, wanted, found, tasks };
}

export async function findLockFacts(stateDir: string, application: string | undefined): Promise<LockFacts> {
  const isBound = (await loadNative()) !== undefined;
  const onFileSystem = await askFileSystem(stateDir);
  const answer = application === undefined ? onFileSystem : await askApplicationLock(join(stateDir, application));
  return { application, isBound, answer: onFileSystem === 'unknown' ? onFileSystem : answer };
}

/** Whether F_GETLK is answered where the lock will be: the directory itself is asked, which nobody locks. */
async function askFileSystem(stateDir: string): Promise<ApplicationState> {
  await using handle = await orTold(open(stateDir, constants.O_RDONLY | constants.O_DIRECTORY));
  return (await loadNative())?.isLocked(handle.fd) === undefined ? 'unknown' : 'stopped';
}

/** So many directories are tried at most: what a large application has. */
const WATCHES_MAX = 1000;

/** Tries the watches that `run` would take, and lets them go. */
export function findWatchFacts(directories: readonly string[]): WatchFacts {
  const tried = directories.slice(0, WATCHES_MAX);
  const watchers: FSWatcher[] = [];
  try {
    for (const directory of tried) {
      const watcher = watch(directory, { persistent: false });
      watcher.on('error', () => {}); // One that goes away meanwhile has been had.
      watchers.push(watcher);
    }
    return { wanted: tried.length, had: watchers.length, refusal: undefined };
  } catch (error) {
    const refusal = systemErrorCode(error);
    if (refusal === undefined) throw error;
    return { wanted: tried.length, had: watchers.length, refusal };
  } finally {
    for (const watcher of watchers) watcher.close();
  }
}

/** Undefined where it is not there. */
async function orGone<T>(work: Promise<T>): Promise<T | undefined> {
  return orTold(
    work.catch((error: unknown) => {
      if (['ENOENT', 'ENOTDIR'].includes(systemErrorCode(error) ?? '')) return undefined;
      throw error;
    }),
  );
}

async function orTold<T>(work: Promise<T>): Promise<T> {
  return work.catch((cause: unknown) => {
    const code = systemErrorCode(cause);
    if (code === undefined) throw cause;
    throw new Failure('unavailable', `cannot look at the state directory: ${code}`, { cause });
  });
}
