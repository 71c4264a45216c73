import { createHash } from 'node:crypto';
import type { Random } from '../base/clock.ts';
import { Failure } from '../base/failure.ts';

/**
 * Every key of a repository:
 *
 *   <application>/<lineage>/repository.json
 *   <application>/<lineage>/records/<epoch>.json
 *   <application>/<lineage>/snapshots/<epoch>/<n>.json.zst
 *   <application>/<lineage>/data/<epoch>/<n>-<i>
 *   <application>/<lineage>/data/<epoch>/<n>-<i>.tar.zst
 *   <application>/<lineage>/fences/<ms>-<token>.json
 *   <application>/<lineage>/damaged/<epoch>.json
 *   <application>/<lineage>/doctor/<token>    there for a moment, to see what the store does; nobody reads it
 *
 *   epoch := ms "-" instance "-" token     13 digits, at most 63 characters, 4 of a-z0-9
 *   n     := 8 digits, i := 6 digits       equal widths: keys sort as their numbers do
 *   fence := ms "-" token                  13 digits, 8 of a-z0-9
 *
 * Names that users choose are percent-encoded (UTF-8, capital hex digits) where a key allows less than they do, so
 * that two names never meet in one key. No key is a folder of another key: some stores are directories.
 */
export interface RepositoryKeys extends RepositoryLocation {
  readonly repository: string;
  readonly recordsPrefix: string;
  readonly snapshotsPrefix: string;
  readonly dataPrefix: string;
  readonly fencesPrefix: string;
  readonly damagedPrefix: string;
  record(epoch: string): string;
  snapshot(name: SnapshotName): string;
  /** The place of one stretch of a table; `i` counts data and archives of a snapshot together. */
  data(name: SnapshotName, i: number): string;
  archive(name: SnapshotName, i: number): string;
  fence(name: FenceName): string;
  damaged(epoch: string): string;
  probe(token: string): string;
}

/** One history of one application. */
export interface RepositoryLocation {
  readonly application: string;
  readonly lineage: string;
}

/** What one epoch published with its n-th attempt; n counts from 1. */
export interface SnapshotName {
  readonly epoch: string;
  readonly n: number;
}

/** When a fence was put up, by the store's clock, and what tells it from others of that moment. */
export interface FenceName {
  readonly timeMs: number;
  readonly token: string;
}

export type RepositoryKey = RepositoryLocation &
  (
    | { readonly kind: 'repository' }
    | { readonly kind: 'record' | 'damaged'; readonly epoch: string }
    | { readonly kind: 'fence'; readonly name: FenceName }
    | { readonly kind: 'snapshot'; readonly name: SnapshotName }
    | { readonly kind: 'data' | 'archive'; readonly name: SnapshotName; readonly i: number }
  );

const SEGMENT_BYTES_MAX = 200; // What the object store allows.
const INSTANCE_BYTES_MAX = 63;
const INSTANCE_HASH_DIGITS = 16;
const EPOCH_DIGITS = 13;
const EPOCH_TOKEN_LENGTH = 4;
const FENCE_TOKEN_LENGTH = 8;
const N_DIGITS = 8; // One a second for three years.
const I_DIGITS = 6;

const EPOCH = new RegExp(
  `^(\\d{${EPOCH_DIGITS}})-([A-Za-z0-9._%-]{1,${INSTANCE_BYTES_MAX}})-([a-z0-9]{${EPOCH_TOKEN_LENGTH}})$`,
);
const RECORD_FILE = /^(.+)\.json$/;
const FENCE_FILE = new RegExp(`^(\\d{${EPOCH_DIGITS}})-([a-z0-9]{${FENCE_TOKEN_LENGTH}})\\.json$`);
const SNAPSHOT_FILE = new RegExp(`^(\\d{${N_DIGITS}})\\.json\\.zst$`);
const DATA_FILE = new RegExp(`^(\\d{${N_DIGITS}})-(\\d{${I_DIGITS}})(\\.tar\\.zst)?$`);
const SNAPSHOT_NAME = new RegExp(`^([^/]+)/(\\d{1,${N_DIGITS}})$`);

/** Failure `invalid` where application or lineage cannot be a part of a key. */
export function repositoryKeys({ application, lineage }: RepositoryLocation): RepositoryKeys {
  const root = `${encodeSegment('application.id', application)}/${encodeSegment('lineage', lineage)}`;
  return {
    application,
    lineage,
    repository: `${root}/repository.json`,
    recordsPrefix: `${root}/records/`,
    snapshotsPrefix: `${root}/snapshots/`,
    dataPrefix: `${root}/data/`,
    fencesPrefix: `${root}/fences/`,
    damagedPrefix: `${root}/damaged/`,
    record: (epoch) => `${root}/records/${epoch}.json`,
    snapshot: (name) => `${root}/snapshots/${numbered(name)}.json.zst`,
    data: (name, i) => `${root}/data/${numbered(name)}-${padded('i', i, I_DIGITS)}`,
    archive: (name, i) => `${root}/data/${numbered(name)}-${padded('i', i, I_DIGITS)}.tar.zst`,
    fence: ({ timeMs, token }) => `${root}/fences/${padded('time of a fence', timeMs, EPOCH_DIGITS)}-${token}.json`,
    damaged: (epoch) => `${root}/damaged/${epoch}.json`,
    probe: (token) => `${root}/doctor/${token}`,
  };
}

/** What a key stands for, or undefined where it is none that this program writes. */
export function parseKey(key: string): RepositoryKey | undefined {
  const [first, second, folder, third, fourth, ...more] = key.split('/');
  const application = decodeSegment(first ?? '');
  const lineage = decodeSegment(second ?? '');
  if (application === undefined || lineage === undefined || folder === undefined || more.length > 0) return undefined;
  const location = { application, lineage };
  if (folder === 'repository.json' && third === undefined) return { kind: 'repository', ...location };
  if (third === undefined) return undefined;
  if ((folder === 'records' || folder === 'damaged') && fourth === undefined) {
    const epoch = RECORD_FILE.exec(third)?.[1];
    if (epoch === undefined || parseEpoch(epoch) === undefined) return undefined;
    return { kind: folder === 'records' ? 'record' : 'damaged', ...location, epoch };
  }
  if (folder === 'fences' && fourth === undefined) {
    const [, timeMs, token] = FENCE_FILE.exec(third) ?? [];
    if (timeMs === undefined || token === undefined) return undefined;
    return { kind: 'fence', ...location, name: { timeMs: Number(timeMs), token } };
  }
  if (fourth === undefined || parseEpoch(third) === undefined) return undefined;
  if (folder === 'snapshots') {
    const n = Number(SNAPSHOT_FILE.exec(fourth)?.[1] ?? 0);
    return n === 0 ? undefined : { kind: 'snapshot', ...location, name: { epoch: third, n } };
  }
  if (folder === 'data') {
    const [, n = '0', i = '', isArchive] = DATA_FILE.exec(fourth) ?? [];
    if (Number(n) === 0) return undefined;
    const kind = isArchive === undefined ? 'data' : 'archive';
    return { kind, ...location, name: { epoch: third, n: Number(n) }, i: Number(i) };
  }
  return undefined;
}

/**
 * A new epoch: unique by chance, and later than every epoch in `after` of the same instance, whatever the clocks
 * say: by the store's clock, or one millisecond after the newest of them.
 */
export function createEpoch(of: {
  readonly storeTimeMs: number;
  readonly instance: string;
  readonly random: Random;
  readonly after: Iterable<string>;
}): string {
  const newestMs = [...of.after]
    .filter((epoch) => isEpochOf(epoch, of.instance))
    .reduce((newest, epoch) => Math.max(newest, parseEpoch(epoch)?.timeMs ?? 0), -1);
  const timeMs = Math.max(Math.floor(of.storeTimeMs), newestMs + 1);
  const token = of.random.token(EPOCH_TOKEN_LENGTH);
  return `${padded('time of an epoch', timeMs, EPOCH_DIGITS)}-${encodeInstance(of.instance)}-${token}`;
}

/** A new name of a fence, by the store's clock. */
export function createFenceName(storeTimeMs: number, random: Random): FenceName {
  return { timeMs: Math.floor(storeTimeMs), token: random.token(FENCE_TOKEN_LENGTH) };
}

/** The parts of an epoch; `instance` stays encoded, and is shortened where the name is long. */
export function parseEpoch(
  epoch: string,
): { readonly timeMs: number; readonly instance: string; readonly token: string } | undefined {
  const [, time = '', instance = '', token = ''] = EPOCH.exec(epoch) ?? [];
  return token === '' ? undefined : { timeMs: Number(time), instance, token };
}

export function isEpochOf(epoch: string, instance: string): boolean {
  return epochsOf(instance)(epoch);
}

/** Tells the epochs of one instance from those of others, for whoever has many to ask about. */
export function epochsOf(instance: string): (epoch: string) => boolean {
  const encoded = encodeInstance(instance);
  return (epoch) => parseEpoch(epoch)?.instance === encoded;
}

/** `<epoch>/<n>`, as `list` prints it. */
export function formatSnapshotName(name: SnapshotName): string {
  return `${name.epoch}/${name.n}`;
}

/** Failure `invalid` for anything that is no name of a snapshot. */
export function parseSnapshotName(text: string): SnapshotName {
  const [, epoch = '', n = '0'] = SNAPSHOT_NAME.exec(text) ?? [];
  if (parseEpoch(epoch) === undefined || Number(n) === 0) {
    throw new Failure('invalid', `not a snapshot: ${shown(text)}`, {
      hint: 'warmstate list prints the names of snapshots',
    });
  }
  return { epoch, n: Number(n) };
}

/** Oldest first. */
export function compareSnapshotNames(left: SnapshotName, right: SnapshotName): number {
  return compareEpochs(left.epoch, right.epoch) || left.n - right.n;
}

/** Oldest first: their digits have equal width. */
export function compareEpochs(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}

function encodeInstance(instance: string): string {
  const encoded = percentEncode('instance', instance);
  if (encoded.length <= INSTANCE_BYTES_MAX) return encoded;
  const hash = createHash('sha256').update(instance).digest('hex').slice(0, INSTANCE_HASH_DIGITS);
  return `${encoded.slice(0, INSTANCE_BYTES_MAX - INSTANCE_HASH_DIGITS - 1)}-${hash}`;
}

function encodeSegment(what: string, name: string): string {
  const encoded = percentEncode(what, name);
  if (encoded.length <= SEGMENT_BYTES_MAX) return encoded;
  throw new Failure(
    'invalid',
    `cannot use ${what} ${shown(name)}: it takes ${encoded.length} bytes, ${SEGMENT_BYTES_MAX} are allowed`,
  );
}

/** Everything but `A-Za-z0-9_-` and a dot that is not the first character becomes `%XX` per byte of UTF-8. */
function percentEncode(what: string, name: string): string {
  if (name === '') throw new Failure('invalid', `cannot use an empty ${what}`);
  if (!name.isWellFormed()) throw new Failure('invalid', `cannot use ${what} ${shown(name)}: it is no Unicode text`);
  return name.replaceAll(/^\.|[^A-Za-z0-9._-]+/g, (plain) =>
    [...Buffer.from(plain)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join(''),
  );
}

/** The inverse of `encodeSegment`; undefined for a spelling that it would not have chosen. */
function decodeSegment(segment: string): string | undefined {
  if (segment.length > SEGMENT_BYTES_MAX) return undefined;
  if (/^[A-Za-z0-9_-][A-Za-z0-9._-]*$/.test(segment)) return segment; // Documents name keys by the ten thousand.
  if (!/^(?:[A-Za-z0-9._-]|%[0-9A-F]{2})+$/.test(segment)) return undefined;
  const bytes = segment.replaceAll(/%(..)/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  const name = Buffer.from(bytes, 'latin1').toString();
  return percentEncode('name', name) === segment ? name : undefined;
}

function numbered({ epoch, n }: SnapshotName): string {
  return `${epoch}/${padded('n', n, N_DIGITS)}`;
}

function padded(what: string, value: number, digits: number): string {
  const text = String(value);
  if (Number.isSafeInteger(value) && value >= 0 && text.length <= digits) return text.padStart(digits, '0');
  throw new Failure('invalid', `cannot write a key: ${what} ${value} has no ${digits} digits`);
}

function shown(text: string): string {
  return JSON.stringify(text.length > 120 ? `${text.slice(0, 120)}…` : text);
}
