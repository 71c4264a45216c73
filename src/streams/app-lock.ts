import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure, systemErrorCode } from '../base/failure.ts';

/**
 * Whether an application holds its directory. Kafka Streams keeps a POSIX lock (fcntl) on `<application.id>/.lock`
 * from its start until everything else is closed (StateDirectory, 2.6 to 4.4).
 */
export type ApplicationState =
  | 'running'
  | 'stopped'
  /** This platform cannot ask: no fcntl to be had. */
  | 'unknown';

const LOCK_FILE = '.lock';

/**
 * Asks with F_GETLK, which takes nothing and so cannot take the lock from anybody; it sees holders in other
 * containers and other PID namespaces, also over a read-only mount.
 */
export async function askApplicationLock(applicationDirectory: string): Promise<ApplicationState> {
  const path = join(applicationDirectory, LOCK_FILE);
  const handle = await open(path, 'r').catch((cause: unknown) => {
    if (['ENOENT', 'ENOTDIR'].includes(systemErrorCode(cause) ?? '')) return undefined;
    throw new Failure('unavailable', `cannot ask for the lock ${path}: ${systemErrorCode(cause) ?? 'unknown error'}`, {
      cause,
      hint: 'run as the user or group of the application that owns the state directory',
    });
  });
  if (handle === undefined) return 'stopped';
  await using file = handle;
  const ask = await loadLockQuery();
  return ask === undefined ? 'unknown' : ask(file.fd);
}

type LockQuery = (descriptor: number) => ApplicationState;

// struct flock and the command numbers of Linux on 64-bit machines (fcntl.h), and of macOS (sys/fcntl.h).
const PLATFORMS: Readonly<
  Record<
    string,
    {
      readonly getLock: number;
      readonly writeLock: number;
      readonly unlocked: number;
      readonly fields: readonly (readonly [string, string])[];
    }
  >
> = {
  linux: {
    getLock: 5,
    writeLock: 1,
    unlocked: 2,
    fields: [
      ['l_type', 'int16'],
      ['l_whence', 'int16'],
      ['l_start', 'int64'],
      ['l_len', 'int64'],
      ['l_pid', 'int32'],
    ],
  },
  darwin: {
    getLock: 7,
    writeLock: 3,
    unlocked: 2,
    fields: [
      ['l_start', 'int64'],
      ['l_len', 'int64'],
      ['l_pid', 'int32'],
      ['l_type', 'int16'],
      ['l_whence', 'int16'],
    ],
  },
};

let loaded: Promise<LockQuery | undefined> | undefined;

async function loadLockQuery(): Promise<LockQuery | undefined> {
  loaded ??= bindFcntl().catch(() => undefined); // An optional dependency without a build for this platform.
  return loaded;
}

async function bindFcntl(): Promise<LockQuery | undefined> {
  const platform = PLATFORMS[process.platform];
  if (platform === undefined || !['x64', 'arm64'].includes(process.arch)) return undefined;
  const { default: koffi } = await import('koffi');
  const flock = koffi.struct(Object.fromEntries(platform.fields));
  // fcntl is variadic; on arm64 macOS variadic arguments are passed differently, so it is declared as such.
  const fcntl = koffi.load(null).func('fcntl', 'int', ['int', 'int', '...']);
  return (descriptor) => {
    const query = { l_type: platform.writeLock, l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 };
    const result: unknown = fcntl(descriptor, platform.getLock, koffi.inout(koffi.pointer(flock)), query);
    if (result !== 0) return 'unknown';
    return query.l_type === platform.unlocked ? 'stopped' : 'running';
  };
}
