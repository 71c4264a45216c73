/**
 * What Node has no function for, of the C library. Bound through an optional dependency: undefined where
 * that has no build for this platform.
 */
export interface Native {
  /** Whether some process holds a lock that keeps others from writing to an open file; takes nothing. */
  isLocked(descriptor: number): boolean | undefined;
  /** Lets the kernel end this process, with exit code 14, after so many seconds, whatever the runtime does then. */
  endAfter(seconds: number): void;
}

/** struct flock and its numbers, of <fcntl.h> on 64-bit machines. */
interface Platform {
  readonly getLock: number;
  readonly writeLock: number;
  readonly unlocked: number;
  readonly flock: Readonly<Record<string, string>>;
}

const PLATFORMS: Readonly<Record<string, Platform>> = {
  linux: {
    getLock: 5,
    writeLock: 1,
    unlocked: 2,
    flock: { l_type: 'int16', l_whence: 'int16', l_start: 'int64', l_len: 'int64', l_pid: 'int32' },
  },
  darwin: {
    getLock: 7,
    writeLock: 3,
    unlocked: 2,
    flock: { l_start: 'int64', l_len: 'int64', l_pid: 'int32', l_type: 'int16', l_whence: 'int16' },
  },
};

/** signal.h of Linux and macOS. */
const SIGALRM = 14;

let loaded: Promise<Native | undefined> | undefined;

export function loadNative(): Promise<Native | undefined> {
  loaded ??= bind().catch(() => undefined);
  return loaded;
}

async function bind(): Promise<Native | undefined> {
  const platform = PLATFORMS[process.platform];
  if (platform === undefined || !['x64', 'arm64'].includes(process.arch)) return undefined;
  const { default: koffi } = await import('koffi');
  const library = koffi.load(null);
  const flock = koffi.struct(platform.flock);
  // fcntl is variadic; on arm64 macOS variadic arguments are passed differently, so it is declared as such.
  const fcntl = library.func('fcntl', 'int', ['int', 'int', '...']);
  const alarm = library.func('alarm', 'uint', ['uint']);
  const setHandler = library.func('signal', 'void *', ['int', 'void *']);
  return {
    isLocked: (descriptor) => {
      const query = { l_type: platform.writeLock, l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 };
      const result: unknown = fcntl(descriptor, platform.getLock, koffi.inout(koffi.pointer(flock)), query);
      return result === 0 ? query.l_type !== platform.unlocked : undefined;
    },
    // `_exit` as the handler: a process 1 is spared from every signal of its own namespace that it does not handle.
    endAfter: (seconds) => {
      setHandler(SIGALRM, library.symbol('_exit'));
      alarm(seconds);
    },
  };
}
