import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure, systemErrorCode } from '../base/failure.ts';
import { loadNative } from '../base/native.ts';

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
  const isLocked = (await loadNative())?.isLocked(file.fd);
  if (isLocked === undefined) return 'unknown';
  return isLocked ? 'running' : 'stopped';
}
