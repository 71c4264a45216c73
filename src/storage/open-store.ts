import { readFile } from 'node:fs/promises';
import { posix } from 'node:path';
import { getCACertificates } from 'node:tls';
import type { Clock, Random } from '../base/clock.ts';
import { Failure, messageOf } from '../base/failure.ts';
import { openFileStore } from './file-store.ts';
import { isKeySegment } from './object-key.ts';
import type { ObjectStore } from './object-store.ts';
import type { S3Location, S3Options } from './s3-location.ts';
import type { ProxyVariables } from './s3-proxy.ts';
import type { S3Store } from './s3-store.ts';

/** Where objects are kept. */
export type Destination =
  | {
      readonly kind: 'file';
      /** Absolute. */
      readonly directory: string;
    }
  | ({ readonly kind: 's3' } & S3Location);

export interface StoreWorld {
  readonly clock: Clock;
  readonly random: Random;
  readonly proxies: ProxyVariables;
}

/** What is set for a bucket beside its name, as the settings have it. */
export interface S3Settings {
  readonly s3Endpoint?: string | undefined;
  readonly s3Region?: string | undefined;
  readonly s3PathStyle?: boolean | undefined;
  readonly s3CaFile?: string | undefined;
  readonly s3Sse?: S3Options['sse'];
  readonly s3KmsKeyId?: string | undefined;
  readonly s3StorageClass?: S3Options['storageClass'];
}

/** Opens the store of a destination. A bucket is asked nothing yet. */
export async function openStore(
  settings: S3Settings & { readonly destination: Destination },
  world: StoreWorld,
): Promise<ObjectStore> {
  const { destination } = settings;
  if (destination.kind === 'file') return await openFileStore(destination.directory, world);
  return await openBucket(destination, settings, world);
}

/** Opens the store of a bucket, with what there is to know of it beside the port. */
export async function openBucket(location: S3Location, settings: S3Settings, world: StoreWorld): Promise<S3Store> {
  const options: S3Options = {
    endpoint: settings.s3Endpoint,
    region: settings.s3Region,
    pathStyle: settings.s3PathStyle,
    sse: settings.s3Sse,
    kmsKeyId: settings.s3KmsKeyId,
    storageClass: settings.s3StorageClass,
  };
  const ca = settings.s3CaFile === undefined ? undefined : await trustedWith(settings.s3CaFile);
  const { openS3Store } = await import('./s3-store.ts'); // The SDK takes a quarter of a second and 30 MB.
  return openS3Store(location, options, { ...world, ca });
}

async function trustedWith(path: string): Promise<readonly string[]> {
  try {
    return [...getCACertificates('default'), await readFile(path, 'utf8')];
  } catch (cause) {
    throw new Failure('invalid', `cannot read the certificates ${path}: ${messageOf(cause)}`, {
      cause,
      hint: 'correct --s3-ca-file or AWS_CA_BUNDLE',
    });
  }
}

/** `s3://<bucket>/<prefix>` or `file:///<directory>`. Anything else is `invalid` and says what to write. */
export function parseDestination(text: string): Destination {
  const [, scheme, rest] = /^([A-Za-z][A-Za-z0-9+.-]*):(.*)$/s.exec(text) ?? [];
  if (scheme === undefined || rest === undefined) throw notADestination(text, 'it has no scheme');
  switch (scheme.toLowerCase()) {
    case 's3':
      return { kind: 's3', ...locationOf(text, rest) };
    case 'file':
      return { kind: 'file', directory: directoryOf(text, rest) };
    default:
      throw notADestination(text, `it has the unknown scheme ${scheme}`);
  }
}

/** Text that parses to exactly this. */
export function formatDestination(destination: Destination): string {
  if (destination.kind === 'file')
    return `file://${destination.directory.split('/').map(encodeURIComponent).join('/')}`;
  return `s3://${destination.bucket}${destination.prefix === '' ? '' : `/${destination.prefix}`}`;
}

/** Of all that S3 and its likes allow; they refuse themselves what is too much for them. */
const BUCKET = /^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$/;
/** A key of S3 has 1024 bytes, and one of ours at most 900. */
const PREFIX_BYTES_MAX = 120;

function locationOf(text: string, rest: string): S3Location {
  const [, bucket, path = ''] = /^\/\/([^/]*)(\/.*)?$/s.exec(rest) ?? [];
  if (bucket === undefined || bucket === '') throw notADestination(text, 'it names no bucket');
  if (!BUCKET.test(bucket)) throw notADestination(text, `no bucket can be called ${bucket}`);
  const prefix = path.replace(/^\//, '').replace(/\/$/, '');
  if (prefix.length > PREFIX_BYTES_MAX) {
    throw notADestination(text, `its prefix is longer than ${PREFIX_BYTES_MAX} characters`);
  }
  if (prefix !== '' && !prefix.split('/').every(isKeySegment)) {
    throw notADestination(text, 'a prefix has segments of letters, digits, . _ - that do not begin with a dot');
  }
  return { bucket, prefix };
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
  const example = text.startsWith('/') ? `file://${encodeURI(text)}` : 's3://bucket/prefix or file:///directory';
  return new Failure('invalid', `not a destination such as ${example}: ${why}`, { cause });
}
