import { posix } from 'node:path';
import type { Clock, Random } from '../base/clock.ts';
import { Failure } from '../base/failure.ts';
import { openFileStore } from './file-store.ts';
import type { ObjectStore } from './object-store.ts';

/** Where objects are kept. */
export interface Destination {
  readonly kind: 'file';
  /** Absolute. */
  readonly directory: string;
}

/** Opens the store of a destination such as `file:///var/backups/orders`. */
export async function openStore(
  destination: Destination,
  world: { readonly clock: Clock; readonly random: Random },
): Promise<ObjectStore> {
  return await openFileStore(destination.directory, world);
}

/** `file:///<directory>`: absolute, percent-encoded, no host. Anything else is `invalid` and says what to write. */
export function parseDestination(text: string): Destination {
  const [, scheme, rest] = /^([A-Za-z][A-Za-z0-9+.-]*):(.*)$/s.exec(text) ?? [];
  if (scheme === undefined || rest === undefined) throw notADestination(text, 'it has no scheme');
  if (scheme.toLowerCase() === 's3') throw notADestination(text, 'this build has no S3 store yet');
  if (scheme.toLowerCase() !== 'file') throw notADestination(text, `it has the unknown scheme ${scheme}`);
  return { kind: 'file', directory: directoryOf(text, rest) };
}

function directoryOf(text: string, rest: string): string {
  const [, host, path] = /^\/\/([^/?#]*)(\/[^?#]*)$/s.exec(rest) ?? [];
  if (host === undefined || path === undefined) {
    throw notADestination(text, 'a directory is given by its whole path, with ? and # written as %3F and %23');
  }
  if (host !== '' && host !== 'localhost')
    throw notADestination(text, `it names the host ${host}, not a directory here`);
  const directory = posix.normalize(decoded(text, path)).replace(/(?<=.)\/$/, '');
  if (directory === '/') throw notADestination(text, 'it is the root directory');
  if (directory.includes('\0')) throw notADestination(text, 'a path has no zero byte');
  return directory;
}

function decoded(text: string, path: string): string {
  try {
    return decodeURIComponent(path);
  } catch (cause) {
    throw notADestination(text, 'a % is written as %25', cause);
  }
}

function notADestination(text: string, why: string, cause?: unknown): Failure {
  const hint = text.startsWith('/') ? `file://${encodeURI(text)}` : 'file:///directory';
  return new Failure('invalid', `not a destination: ${JSON.stringify(text)}: ${why}`, { cause, hint });
}
