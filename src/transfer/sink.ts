import { Failure, messageOf, systemErrorCode } from '../base/failure.ts';
import type { StoredFile } from '../repository/document.ts';

/** Where the bytes of files go that are read from the store. Its failures, but for `reject`, end the download. */
export interface FileSink<F> {
  /** Whether a file is still worth its bytes; asked before each of its objects. */
  isWanted(item: F): boolean;
  /** Begins a file, once, before its first byte. */
  open(item: F): Promise<FileWriter>;
  /** Every byte of the file was written and had the right hash. Its writer is closed. */
  finish(item: F): Promise<void>;
  /** An object of the file is missing or wrong: what was written of it is not to be used. Never after `finish`. */
  reject(item: F, damage: Damage): void;
}

/** Takes the bytes of one file, from several objects at once. Disposed when none is left to come. */
export interface FileWriter extends AsyncDisposable {
  /** `bytes` are the caller's again when the promise resolves. */
  write(bytes: Uint8Array, position: number): Promise<void>;
}

/** Why a stored file cannot be used. */
export interface Damage {
  /** The object that is missing or wrong; undefined where what the document says of the file cannot be. */
  readonly key: string | undefined;
  /** `missing`, `corrupt`, or `invalid` where the document names no possible key. */
  readonly failure: Failure;
}

/** A file with its place on disk. The directory is there, the file is not. */
export interface PlacedFile {
  readonly file: StoredFile;
  /** Absolute. */
  readonly target: string;
}

/** The disk that files are written to. It fails with the system's own errors. */
export interface SinkDisk {
  /** Makes a file that is not there yet; never through a link. */
  create(path: string): Promise<FileWriter>;
  /** Makes a file durable. */
  sync(path: string): Promise<void>;
}

/** Writes files to their places, and syncs each when it is finished; directories are the caller's to sync. */
export function diskSink(disk: SinkDisk): Pick<FileSink<PlacedFile>, 'open' | 'finish'> {
  return {
    open: async ({ target }) => {
      const writer = await onDisk(target, () => disk.create(target));
      return {
        write: (bytes, position) => onDisk(target, () => writer.write(bytes, position)),
        [Symbol.asyncDispose]: () => onDisk(target, async () => writer[Symbol.asyncDispose]()),
      };
    },
    finish: ({ target }) => onDisk(target, () => disk.sync(target)),
  };
}

/** Takes all bytes and keeps none: for reading back what lies in the store. */
export const emptySink: Pick<FileSink<unknown>, 'open' | 'finish'> = {
  open: async () => ({ write: async () => {}, [Symbol.asyncDispose]: async () => {} }),
  finish: async () => {},
};

async function onDisk<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw diskFailure(path, error);
  }
}

function diskFailure(path: string, cause: unknown): Failure {
  switch (systemErrorCode(cause)) {
    case 'ENOSPC':
    case 'EDQUOT':
      return new Failure('unavailable', `cannot write ${path}: no space`, {
        cause,
        hint: 'make room on the volume or raise its limit',
        detail: 'no_space',
      });
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new Failure('unavailable', `cannot write ${path}: no permission`, {
        cause,
        hint: 'the volume must be writable for the user that restores',
        detail: 'denied',
      });
    case undefined:
    default:
      return new Failure('unavailable', `cannot write ${path}: ${messageOf(cause)}`, { cause });
  }
}
