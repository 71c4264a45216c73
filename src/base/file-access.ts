import { type BigIntStats, constants } from 'node:fs';
import { type FileHandle, lstat, open, readdir } from 'node:fs/promises';
import { Failure, systemErrorCode } from './failure.ts';

/**
 * Reading a directory tree that somebody else is changing. There is no verb that writes: who holds only this
 * cannot touch what it looks at. Links are never followed. What is gone is `undefined`, so that callers say what
 * it means; everything else that goes wrong is a Failure.
 */
export interface FileAccess {
  /** The names in a directory, in no particular order. */
  list(path: string): Promise<readonly string[] | undefined>;
  stat(path: string): Promise<FileFacts | undefined>;
  /** Holds a file or directory: its inode stays ours whatever happens to the name. */
  hold(path: string): Promise<HeldPath | undefined>;
}

/** What a stat says; stamps in nanoseconds since 1970, birth time 0 where the file system has none. */
export interface FileFacts {
  readonly kind: 'file' | 'directory' | 'other';
  readonly device: bigint;
  readonly inode: bigint;
  readonly sizeBytes: number;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly birthtimeNs: bigint;
}

/**
 * Whether both are of one directory, looked at in different lives of its volume: mounted anew, on another node or on
 * the same, it may have another device number. Birth time tells a reused inode number apart; where the file system has
 * none, the device must be the same.
 */
export function isSameDirectory(left: DirectoryIdentity, right: DirectoryIdentity): boolean {
  const isAlike = left.inode === right.inode && left.birthtimeNs === right.birthtimeNs;
  return isAlike && (left.birthtimeNs !== 0n || left.device === right.device);
}

export type DirectoryIdentity = Pick<FileFacts, 'device' | 'inode' | 'birthtimeNs'>;

/** An open descriptor. */
export interface HeldPath extends AsyncDisposable {
  /** As of when it was opened. */
  readonly facts: FileFacts;
  /** As of now. */
  stat(): Promise<FileFacts>;
  /** Reads up to `buffer.byteLength` bytes at `position`; 0 at the end of the file. */
  read(buffer: Uint8Array, position: number): Promise<number>;
}

export const realFiles: FileAccess = {
  list: (path) => unlessGone('list', path, () => readdir(path)),
  stat: (path) => unlessGone('look at', path, async () => factsOf(await lstat(path, { bigint: true }))),
  hold: (path) =>
    unlessGone('open', path, async () => {
      // O_NONBLOCK: a pipe under this name must not make us wait for a writer.
      const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
      try {
        return heldPath(path, handle, factsOf(await handle.stat({ bigint: true })));
      } catch (error) {
        await handle.close();
        throw error;
      }
    }),
};

/** Reads a whole file that is at most `bytesMax` long, with the facts of the very inode that was read. */
export async function readWhole(
  files: FileAccess,
  path: string,
  bytesMax: number,
): Promise<{ readonly bytes: Uint8Array; readonly facts: FileFacts } | undefined> {
  await using held = await files.hold(path);
  if (held === undefined) return undefined;
  if (held.facts.kind !== 'file') throw new Failure('invalid', `cannot read ${path}: it is no regular file`);
  const bytes = await readHeld(held, 0, bytesMax + 1);
  if (bytes.byteLength > bytesMax)
    throw new Failure('invalid', `cannot read ${path}: it is longer than ${bytesMax} bytes`);
  return { bytes, facts: held.facts };
}

/** Reads `length` bytes from `start`, or fewer at the end of the file, which may grow meanwhile. */
export async function readHeld(held: HeldPath, start: number, length: number): Promise<Uint8Array> {
  let buffer = new Uint8Array(Math.min(length, Math.max(0, held.facts.sizeBytes - start) + 1));
  let filled = 0;
  for (;;) {
    const count = await held.read(buffer.subarray(filled), start + filled);
    filled += count;
    if (count === 0 || filled === length) break;
    if (filled === buffer.byteLength) {
      const larger = new Uint8Array(Math.min(length, buffer.byteLength * 2));
      larger.set(buffer);
      buffer = larger;
    }
  }
  return buffer.subarray(0, filled);
}

function heldPath(path: string, handle: FileHandle, facts: FileFacts): HeldPath {
  return {
    facts,
    stat: () => translated('look at', path, async () => factsOf(await handle.stat({ bigint: true }))),
    read: (buffer, position) =>
      translated('read', path, async () => (await handle.read(buffer, 0, buffer.byteLength, position)).bytesRead),
    [Symbol.asyncDispose]: () => handle.close(),
  };
}

function factsOf(stats: BigIntStats): FileFacts {
  return {
    kind: stats.isFile() ? 'file' : stats.isDirectory() ? 'directory' : 'other',
    device: stats.dev,
    inode: stats.ino,
    sizeBytes: Number(stats.size),
    mtimeNs: stats.mtimeNs,
    ctimeNs: stats.ctimeNs,
    birthtimeNs: stats.birthtimeNs,
  };
}

/** Gone, or its parent is: ESTALE is how a network file system says it, ENOTDIR how a replaced parent shows. */
const GONE = new Set(['ENOENT', 'ENOTDIR', 'ESTALE']);

async function unlessGone<T>(verb: string, path: string, work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (GONE.has(systemErrorCode(error) ?? '')) return undefined;
    throw translate(verb, path, error);
  }
}

async function translated<T>(verb: string, path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw translate(verb, path, error);
  }
}

function translate(verb: string, path: string, cause: unknown): unknown {
  const code = systemErrorCode(cause);
  if (code === undefined) return cause;
  if (code === 'EACCES' || code === 'EPERM') {
    return new Failure('unavailable', `cannot ${verb} ${path}: permission denied`, {
      cause,
      hint: 'run as the user or group of the application that owns the state directory',
    });
  }
  if (code === 'EMFILE' || code === 'ENFILE') {
    return new Failure('unavailable', `cannot ${verb} ${path}: too many open files`, {
      cause,
      hint: 'raise the limit of open files (ulimit -n)',
    });
  }
  if (code === 'ELOOP') return new Failure('invalid', `cannot ${verb} ${path}: it is a symbolic link`, { cause });
  return new Failure('unavailable', `cannot ${verb} ${path}: ${code}`, { cause });
}
