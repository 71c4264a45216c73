import { mapBounded } from '../base/concurrency.ts';
import { Failure, isFailure, messageOf } from '../base/failure.ts';
import { object } from '../base/json-codec.ts';
import {
  bytesBody,
  type ObjectFacts,
  type ObjectPage,
  type ObjectStore,
  type StoreOptions,
} from '../storage/object-store.ts';
import { decodeDocument, type SnapshotDocument, STORED_DOCUMENT_BYTES_MAX } from './document.ts';
import { decodeText, encodeText } from './format.ts';
import {
  compareEpochs,
  compareSnapshotNames,
  formatSnapshotName,
  isEpochOf,
  parseKey,
  type RepositoryKeys,
  type RepositoryLocation,
  repositoryKeys,
  type SnapshotName,
} from './keys.ts';
import { decodeRecord, type EpochRecord, isAlive, summarise, type TaskSummary } from './record.ts';

/** One history of one application in a store. Open does not mean written: a repository that nobody wrote is empty. */
export interface Repository {
  readonly store: ObjectStore;
  readonly keys: RepositoryKeys;
  readonly notice: Notice;
  /** Whether it said its format when it was opened. */
  readonly isMarked: boolean;
}

/** Told what is odd and was passed over. */
export type Notice = (name: NoticeName, message: string, facts: Readonly<Record<string, string | number>>) => void;

/** What log lines are searched by: stays the same whatever the message says. */
type NoticeName =
  | 'foreign-objects'
  | 'record-unreadable'
  | 'record-not-written'
  | 'snapshot-unreadable'
  | 'snapshot-withdrawn'
  | 'restore-report-unreadable'
  | 'withdrawal-unreadable';

/** What lies in a repository, as of one look. */
export interface RepositoryListing {
  readonly storeTimeMs: number;
  /** Every epoch that has a record or a document, oldest first. */
  readonly epochs: readonly string[];
  /** Of every epoch that has a record, when it was last written. */
  readonly recorded: ReadonlyMap<string, number>;
  /** Oldest first. */
  readonly documents: readonly ListedDocument[];
}

export interface ListedDocument {
  readonly name: SnapshotName;
  readonly modifiedMs: number;
  readonly storedBytes: number;
}

export interface LoadedRecord {
  readonly record: EpochRecord;
  /** When the epoch last gave a sign, and the moment of the look, by the store's clock. */
  readonly modifiedMs: number;
  readonly storeTimeMs: number;
}

/** The newest document of one epoch, in short. */
export interface NewestSnapshot {
  readonly name: SnapshotName;
  /** Undefined where the epoch has none that can be read. */
  readonly record: EpochRecord | undefined;
  readonly lives: boolean;
  readonly tasks: readonly TaskSummary[];
}

/** Small objects: what counts is how long a request takes. */
const LOADS_AT_ONCE = 32;
const REPOSITORY_BYTES_MAX = 64 * 1024;
/** A hundred thousand tasks take less. */
export const RECORD_BYTES_MAX = 64 * 1024 * 1024;
/** So many rotten documents of one writer are passed over before its older ones are given up. */
const UNREADABLE_DOCUMENTS_MAX = 8;

/** Failure `invalid` where a newer program laid the repository out in a format that this one does not know. */
export async function openRepository(
  store: ObjectStore,
  options: StoreOptions & RepositoryLocation & { readonly notice: Notice },
): Promise<Repository> {
  const keys = repositoryKeys(options);
  const found = await readObject(store, keys.repository, { bytesMax: REPOSITORY_BYTES_MAX, signal: options.signal });
  if (found !== undefined) decodeText(found.bytes, REPOSITORY_FORMAT, keys.repository);
  return { store, keys, notice: options.notice, isMarked: found !== undefined };
}

/** Says of which format the repository is, where nobody did yet. Every writer writes the same bytes. */
export async function markRepository({ store, keys, isMarked }: Repository, { signal }: StoreOptions): Promise<void> {
  if (isMarked || (await exists(store, keys.repository, { signal }))) return;
  await store.put(keys.repository, bytesBody(encodeText({}, REPOSITORY_FORMAT, keys.repository)), { signal });
}

/** Whether there is such an object. */
export async function exists(store: ObjectStore, key: string, { signal }: StoreOptions): Promise<boolean> {
  try {
    await store.head(key, { signal });
    return true;
  } catch (error) {
    if (isFailure(error, 'missing')) return false;
    throw error;
  }
}

/** Every application and lineage that the store holds. */
export async function listApplications(
  store: ObjectStore,
  { signal }: StoreOptions,
): Promise<readonly RepositoryLocation[]> {
  const { objects } = await listAll(store, '', { signal });
  return objects
    .map(({ key }) => parseKey(key))
    .filter((key) => key?.kind === 'repository')
    .map(({ application, lineage }) => ({ application, lineage }))
    .sort(
      (left, right) => compareEpochs(left.application, right.application) || compareEpochs(left.lineage, right.lineage),
    );
}

/** One look at the names of all records and documents. */
export async function listRepository(
  { store, keys, notice }: Repository,
  { signal }: StoreOptions,
): Promise<RepositoryListing> {
  const records = await listAll(store, keys.recordsPrefix, { signal });
  const snapshots = await listAll(store, keys.snapshotsPrefix, { signal });
  const found = [...records.objects, ...snapshots.objects].map((facts) => ({ facts, key: parseKey(facts.key) }));
  const foreign = found.filter(({ key }) => key?.kind !== 'record' && key?.kind !== 'snapshot');
  if (foreign[0] !== undefined) {
    notice('foreign-objects', 'ignored objects that are not of a repository', {
      objects: foreign.length,
      first: foreign[0].facts.key,
    });
  }

  const recorded = recordedIn(records);
  const documents = found
    .flatMap(({ facts, key }) =>
      key?.kind === 'snapshot' ? [{ name: key.name, modifiedMs: facts.modifiedMs, storedBytes: facts.sizeBytes }] : [],
    )
    .sort((left, right) => compareSnapshotNames(left.name, right.name));
  const epochs = [...new Set([...recorded.keys(), ...documents.map(({ name }) => name.epoch)])].sort(compareEpochs);
  return { storeTimeMs: snapshots.storeTimeMs, epochs, recorded, documents };
}

/** One look at the names of all records: what epochs there are, and when each last gave a sign. */
export async function listRecords(
  { store, keys }: Repository,
  { signal }: StoreOptions,
): Promise<Pick<RepositoryListing, 'storeTimeMs' | 'recorded'>> {
  const records = await listAll(store, keys.recordsPrefix, { signal });
  return { storeTimeMs: records.storeTimeMs, recorded: recordedIn(records) };
}

function recordedIn({ objects }: ObjectPage): ReadonlyMap<string, number> {
  const found = objects.map(({ key, modifiedMs }) => ({ key: parseKey(key), modifiedMs }));
  return new Map(found.flatMap(({ key, modifiedMs }) => (key?.kind === 'record' ? [[key.epoch, modifiedMs]] : [])));
}

/**
 * A listing without the epochs that have not given a sign for so long: their state is older still. `isKept` says which of
 * them stay all the same.
 */
export function recentOf(
  listing: RepositoryListing,
  { sinceMs, isKept }: { readonly sinceMs: number; readonly isKept: (epoch: string) => boolean },
): RepositoryListing {
  const signs = new Map(listing.recorded);
  for (const { name, modifiedMs } of listing.documents) {
    signs.set(name.epoch, Math.max(modifiedMs, signs.get(name.epoch) ?? modifiedMs));
  }
  const isRecent = (epoch: string): boolean => (signs.get(epoch) ?? 0) >= sinceMs || isKept(epoch);
  return {
    storeTimeMs: listing.storeTimeMs,
    epochs: listing.epochs.filter(isRecent),
    recorded: new Map([...listing.recorded].filter(([epoch]) => isRecent(epoch))),
    documents: listing.documents.filter(({ name }) => isRecent(name.epoch)),
  };
}

/** The record of one epoch; undefined where `loadRecords` leaves it out. */
export async function loadRecord(
  repository: Repository,
  epoch: string,
  { signal }: StoreOptions,
): Promise<EpochRecord | undefined> {
  const [loaded] = await loadRecords(repository, { recorded: new Map([[epoch, 0]]) }, { signal });
  return loaded?.record;
}

/** The records of a listing, oldest epoch first. Those that are gone by now, rotten or of another format are left out. */
export async function loadRecords(
  repository: Repository,
  listing: Pick<RepositoryListing, 'recorded'>,
  { signal }: StoreOptions,
): Promise<readonly LoadedRecord[]> {
  const { store, keys, notice } = repository;
  const epochs = [...listing.recorded.keys()].sort(compareEpochs);
  const loaded = await mapBounded(epochs, { limit: LOADS_AT_ONCE, signal }, async (epoch, scope) => {
    const key = keys.record(epoch);
    const found = await readObject(store, key, { bytesMax: RECORD_BYTES_MAX, signal: scope });
    if (found === undefined) return [];
    const record = unlessUnreadable(notice, () => decodeRecord(found.bytes, key));
    return record === undefined
      ? []
      : [{ record, modifiedMs: found.facts.modifiedMs, storeTimeMs: found.facts.storeTimeMs }];
  });
  return loaded.flat();
}

/**
 * The newest readable document of every epoch, oldest epoch first. Documents are what counts: a record that lags
 * behind, or is gone, only means that the document itself is read. `records` spares loading those of the listing again.
 */
export async function newestSnapshots(
  repository: Repository,
  listing: RepositoryListing,
  { signal, records: known }: StoreOptions & { readonly records?: readonly LoadedRecord[] },
): Promise<readonly NewestSnapshot[]> {
  const records = known ?? (await loadRecords(repository, listing, { signal }));
  const recordOf = new Map(records.map((loaded) => [loaded.record.epoch, loaded]));
  const living = findLiving(records);
  const documents = Map.groupBy(listing.documents.map(({ name }) => name).toReversed(), ({ epoch }) => epoch);
  const newest = await mapBounded(listing.epochs, { limit: LOADS_AT_ONCE, signal }, async (epoch, scope) => {
    const names = documents.get(epoch) ?? [];
    const loaded = recordOf.get(epoch);
    const [name] = names;
    const known = { record: loaded?.record, lives: living.has(epoch) };
    if (name !== undefined && name.n === loaded?.record.newest) return [{ name, ...known, tasks: loaded.record.tasks }];
    const document = await firstReadable(repository, names, { signal: scope });
    if (document === undefined) return [];
    return [{ name: { epoch, n: document.n }, ...known, tasks: document.entries.map(summarise) }];
  });
  return newest.flat();
}

/** The epochs that are at work. */
export function findLiving(records: readonly LoadedRecord[]): ReadonlySet<string> {
  const latest = latestLives(records);
  const living = records.filter(({ record, ...seen }) => isAlive(record, seen) && !isFollowed(record, latest));
  return new Set(living.map(({ record }) => record.epoch));
}

/** By instance, the newest epoch of its container; a `snapshot` may be taken beside a living `run`. */
function latestLives(records: readonly LoadedRecord[]): ReadonlyMap<string, string> {
  const lives = records.map(({ record }) => record).filter(({ role }) => role !== 'snapshot');
  return new Map(lives.map(({ instance, epoch }) => [instance, epoch]));
}

/** One that was killed has no time to say so, but then the next of its instance is at work. */
function isFollowed({ instance, epoch }: EpochRecord, latest: ReadonlyMap<string, string>): boolean {
  const follower = latest.get(instance);
  return follower !== undefined && compareEpochs(follower, epoch) > 0;
}

/** The names of an epoch's documents, newest first. */
export function documentsOf(listing: RepositoryListing, epoch: string): readonly SnapshotName[] {
  return listing.documents
    .filter(({ name }) => name.epoch === epoch)
    .map(({ name }) => name)
    .toReversed();
}

/** What the next writer of this instance goes on from: the newest readable document of the newest epoch that has one. */
export async function loadBase(
  repository: Repository,
  listing: RepositoryListing,
  { instance, signal }: StoreOptions & { readonly instance: string },
): Promise<SnapshotDocument | undefined> {
  const names = listing.documents.map(({ name }) => name).filter((name) => isEpochOf(name.epoch, instance));
  return firstReadable(repository, names.toReversed(), { signal });
}

/** Failure `missing` where there is no such snapshot, `corrupt` or `invalid` where it cannot be read. */
export async function loadDocument(
  { store, keys }: Repository,
  name: SnapshotName,
  { signal }: StoreOptions,
): Promise<SnapshotDocument> {
  const key = keys.snapshot(name);
  const found = await readObject(store, key, { bytesMax: STORED_DOCUMENT_BYTES_MAX, signal });
  if (found !== undefined) return decodeDocument(found.bytes, key);
  throw new Failure('missing', `there is no snapshot ${formatSnapshotName(name)}`, {
    hint: 'warmstate list prints the names of snapshots',
  });
}

const REPOSITORY_FORMAT = { number: 1, shape: object<Readonly<Record<string, never>>>({}) };

async function firstReadable(
  repository: Repository,
  names: readonly SnapshotName[],
  { signal }: StoreOptions,
): Promise<SnapshotDocument | undefined> {
  for (const name of names.slice(0, UNREADABLE_DOCUMENTS_MAX)) {
    try {
      return await loadDocument(repository, name, { signal });
    } catch (error) {
      if (!isFailure(error, 'missing', 'corrupt', 'invalid')) throw error;
      repository.notice('snapshot-unreadable', 'passed over a snapshot that cannot be read', {
        snapshot: formatSnapshotName(name),
        problem: messageOf(error),
      });
    }
  }
  return undefined;
}

function unlessUnreadable(notice: Notice, decode: () => EpochRecord): EpochRecord | undefined {
  try {
    return decode();
  } catch (error) {
    if (!isFailure(error, 'corrupt', 'invalid')) throw error;
    notice('record-unreadable', 'passed over a record that cannot be read', { problem: messageOf(error) });
    return undefined;
  }
}

/** A whole object in memory, or undefined where there is none. */
export async function readObject(
  store: ObjectStore,
  key: string,
  { bytesMax, signal }: StoreOptions & { readonly bytesMax: number },
): Promise<{ readonly bytes: Uint8Array; readonly facts: ObjectFacts } | undefined> {
  try {
    await using opened = await store.get(key, { signal });
    const { sizeBytes, modifiedMs, storeTimeMs } = opened;
    if (sizeBytes > bytesMax)
      throw new Failure('corrupt', `cannot read ${key}: it has ${sizeBytes} bytes, ${bytesMax} are allowed`);
    const bytes = Buffer.allocUnsafe(sizeBytes);
    let filled = 0;
    for await (const chunk of opened.body) {
      bytes.set(chunk, filled);
      filled += chunk.byteLength;
    }
    return { bytes: bytes.subarray(0, filled), facts: { key, sizeBytes, modifiedMs, storeTimeMs } };
  } catch (error) {
    if (isFailure(error, 'missing')) return undefined;
    throw error;
  }
}

/** Everything below a prefix; complete, or a Failure. */
export async function listAll(store: ObjectStore, prefix: string, { signal }: StoreOptions): Promise<ObjectPage> {
  const objects: ObjectPage['objects'][number][] = [];
  let storeTimeMs: number | undefined;
  for await (const page of store.list(prefix, { signal })) {
    storeTimeMs = page.storeTimeMs;
    objects.push(...page.objects);
  }
  if (storeTimeMs === undefined) throw new Failure('unavailable', `cannot list ${prefix}: no answer came`);
  return { storeTimeMs, objects };
}
