import { constants } from 'node:fs';
import { copyFile, type FileHandle, mkdir, open, readdir, rename, rm, utimes, writeFile } from 'node:fs/promises';
import { Failure, messageOf, systemErrorCode } from '../base/failure.ts';
import type { SinkDisk } from '../transfer/sink.ts';

/**
 * All that a restore does to a state directory, flat in one table: what can fail, or be the last thing before a kill, is
 * a call of one of these, or a write to a file that was created. They fail with the system's own errors.
 */
export interface DiskOperations extends SinkDisk {
  /** With its parents; nothing happens where it is there. */
  makeDirectory(path: string, mode?: number): Promise<void>;
  list(path: string): Promise<readonly string[]>;
  /** Whatever lies there, with all below it; links are not followed. */
  remove(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** Makes a new file of the same bytes, born now; shares blocks where the file system can. */
  copy(from: string, to: string): Promise<void>;
  /** Writes a whole file and syncs it. */
  write(path: string, bytes: Uint8Array): Promise<void>;
  /** Sets the modification time. */
  stamp(path: string, seconds: number): Promise<void>;
  /** Makes a file, or what was linked and unlinked in a directory, durable with its stamps. */
  sync(path: string): Promise<void>;
}

export const nodeDisk: DiskOperations = {
  makeDirectory: async (path, mode) => {
    await mkdir(path, { recursive: true, ...(mode === undefined ? {} : { mode }) });
  },
  list: (path) => readdir(path),
  remove: (path) => rm(path, { recursive: true, force: true }),
  rename,
  copy: (from, to) => copyFile(from, to, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL),
  create: async (path) => {
    const handle = await open(path, NEW_FILE);
    return {
      write: (bytes, position) => writeFully(handle, bytes, position),
      [Symbol.asyncDispose]: () => handle.close(),
    };
  },
  write: (path, bytes) => writeFile(path, bytes, { flush: true }),
  stamp: (path, seconds) => utimes(path, seconds, seconds),
  sync: async (path) => {
    await using handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    await handle.sync();
  },
};

/** Never through a link, never over a file that is there. */
const NEW_FILE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

async function writeFully(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let written = 0; written < bytes.byteLength; ) {
    const { bytesWritten } = await handle.write(bytes, written, bytes.byteLength - written, position + written);
    written += bytesWritten;
  }
}

/** Runs what writes to the state directory; `what` is what could not be done, for the message. */
export async function onDisk<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    const code = systemErrorCode(cause);
    if (code === undefined) throw cause;
    if (code === 'ENOSPC' || code === 'EDQUOT') {
      throw new Failure('unavailable', `cannot ${what}: no space`, {
        cause,
        detail: 'no_space',
        hint: 'make room on the volume',
      });
    }
    if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') {
      const hint = 'run as the user or group of the application, with the state directory mounted writable';
      throw new Failure('unavailable', `cannot ${what}: permission denied`, { cause, detail: 'denied', hint });
    }
    throw new Failure('unavailable', `cannot ${what}: ${messageOf(cause)}`, { cause });
  }
}
