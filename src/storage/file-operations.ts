import { constants, type Dirent, type Stats } from 'node:fs';
import { type FileHandle, lstat, mkdir, open, readdir, rename, rmdir, stat, unlink } from 'node:fs/promises';
import { Failure, type FailureDetail, type FailureKind, systemErrorCode } from '../base/failure.ts';

/**
 * The file operations that the file store is made of, flat in one table: what can fail, or be the last thing
 * before a kill, is a call of one of these. They fail with the system's own errors.
 */
export interface FileOperations {
  /** Makes a new file and opens it for writing; EEXIST if there is one. */
  createFile(path: string): Promise<FileHandle>;
  /** Opens for reading; ELOOP if the path itself is a symbolic link. */
  openFile(path: string): Promise<FileHandle>;
  /** Writes the whole chunk at the handle's position. */
  write(handle: FileHandle, chunk: Uint8Array): Promise<void>;
  /** Fills `buffer` from `position` on; gives how many bytes there were, 0 at the end of the file. */
  read(handle: FileHandle, buffer: Uint8Array, position: number): Promise<number>;
  setModified(handle: FileHandle, timeMs: number): Promise<void>;
  statFile(handle: FileHandle): Promise<Stats>;
  syncFile(handle: FileHandle): Promise<void>;
  closeFile(handle: FileHandle): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  unlink(path: string): Promise<void>;
  makeDirectory(path: string): Promise<void>;
  removeDirectory(path: string): Promise<void>;
  readDirectory(path: string): Promise<Dirent[]>;
  /** Makes what was linked and unlinked in the directory durable. */
  syncDirectory(path: string): Promise<void>;
  /** Follows a symbolic link. */
  stat(path: string): Promise<Stats>;
  /** Does not follow a symbolic link. */
  lstat(path: string): Promise<Stats>;
}

export const nodeFileOperations: FileOperations = {
  createFile: (path) => open(path, 'wx'),
  openFile: (path) => open(path, constants.O_RDONLY | constants.O_NOFOLLOW),
  write: async (handle, chunk) => {
    for (let written = 0; written < chunk.byteLength; ) {
      written += (await handle.write(chunk, written, chunk.byteLength - written)).bytesWritten;
    }
  },
  read: async (handle, buffer, position) => (await handle.read(buffer, 0, buffer.byteLength, position)).bytesRead,
  setModified: (handle, timeMs) => handle.utimes(timeMs / 1000, timeMs / 1000),
  statFile: (handle) => handle.stat(),
  syncFile: (handle) => handle.sync(),
  closeFile: (handle) => handle.close(),
  rename,
  unlink,
  makeDirectory: async (path) => {
    await mkdir(path);
  },
  removeDirectory: rmdir,
  readDirectory: (path) => readdir(path, { withFileTypes: true }),
  syncDirectory,
  stat: (path) => stat(path),
  lstat: (path) => lstat(path),
};

async function syncDirectory(path: string): Promise<void> {
  await using handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  await handle.sync();
}

/** What `work` gives, or undefined if it fails with one of the error codes. */
export async function unless<T>(work: Promise<T>, ...failing: readonly string[]): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (failing.includes(systemErrorCode(error) ?? '')) return undefined;
    throw error;
  }
}

/** True once `work` is done, false if it fails with one of the error codes. */
export async function succeeds(work: Promise<void>, ...failing: readonly string[]): Promise<boolean> {
  const done = work.then(() => true);
  return (await unless(done, ...failing)) ?? false;
}

/** What `work` gives; its error as a Failure that says `cannot <what>`. */
export async function translated<T>(what: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (cause) {
    const code = systemErrorCode(cause);
    if (code === undefined) throw cause;
    const meaning = MEANINGS[code];
    if (meaning === undefined) throw new Failure('unavailable', `cannot ${what}: ${code}`, { cause });
    throw new Failure(meaning.kind ?? 'unavailable', `cannot ${what}: ${meaning.words}`, { cause, ...meaning.options });
  }
}

interface Meaning {
  readonly kind?: FailureKind;
  readonly words: string;
  readonly options?: { readonly hint?: string; readonly detail?: FailureDetail };
}

const PERMISSION = 'give the user that warmstate runs as the right to read and write the destination directory';
const SPACE = 'free some space in the destination, or enlarge its volume or quota';
const BOTH: Meaning = { kind: 'invalid', words: 'it would be an object and a folder at once' };

const MEANINGS: Readonly<Record<string, Meaning>> = {
  EACCES: { words: 'permission denied', options: { hint: PERMISSION, detail: 'denied' } },
  EPERM: { words: 'permission denied', options: { hint: PERMISSION, detail: 'denied' } },
  EROFS: {
    words: 'the file system is mounted read-only',
    options: { hint: 'mount the destination writable', detail: 'denied' },
  },
  ENOENT: { words: 'a directory on its way was removed meanwhile' },
  ENOSPC: { words: 'no space left on the volume', options: { hint: SPACE, detail: 'no_space' } },
  EDQUOT: { words: 'no space left in the quota', options: { hint: SPACE, detail: 'no_space' } },
  EMFILE: { words: 'too many open files', options: { hint: 'raise the limit of open files (ulimit -n)' } },
  ELOOP: { kind: 'invalid', words: 'it is a symbolic link' },
  EISDIR: BOTH,
  ENOTDIR: BOTH,
  ENOTEMPTY: BOTH,
};
