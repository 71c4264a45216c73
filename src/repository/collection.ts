import type { Random } from '../base/clock.ts';
import { mapBounded } from '../base/concurrency.ts';
import { Failure, isFailure, messageOf } from '../base/failure.ts';
import { bytesBody, type ObjectPage, type StoreOptions } from '../storage/object-store.ts';
import type { DamagedEntry, DamageReport } from './damaged.ts';
import { filesOfEntry, type SnapshotDocument } from './document.ts';
import { formatSnapshotName, parseKey, parseSnapshotName, type SnapshotName } from './keys.ts';
import { ObjectSet } from './object-set.ts';
import { decodeRecord } from './record.ts';
import {
  exists,
  type ListedDocument,
  listAll,
  loadDocument,
  RECORD_BYTES_MAX,
  type Repository,
  readObject,
} from './repository.ts';
import { isPastUse, type KeepReason, type ListedRecord, planRetention, type RetentionPlan } from './retention.ts';
import { loadWithdrawals, tellDamage, type Withdrawals } from './withdrawals.ts';

/** What one collection came to, or would come to. */
export interface Collection {
  readonly documents: number;
  readonly objects: number;
  /** Of everything that goes. */
  readonly bytes: number;
  /** Keys that roots refer to and the store has not. */
  readonly missing: readonly string[];
  readonly kept: ReadonlyMap<KeepReason, number>;
  /** What lies in the repository afterwards. */
  readonly repositoryBytes: number;
}

export interface CollectOptions extends StoreOptions {
  readonly maxAgeMs: number;
  readonly keepWithinMs: number;
  /** Says what would go, and writes nothing. */
  readonly isDryRun: boolean;
  /** Under which epoch missing objects are told. */
  readonly epoch: string;
  readonly program: string;
  readonly random: Random;
}

const DOCUMENTS_AT_ONCE = 2;
const REQUESTS_AT_ONCE = 16;
/** A store's `LastModified` and `Date` are of the same clock, but for rounding and the time that a request takes. */
const CLOCK_DIFFERENCE_MS_MAX = 60_000;

/**
 * One step, no marks, no locks (G3 to G6): first the documents that are no roots, then the objects to which no root
 * refers, then records. Nothing goes on a listing that failed, that lacks what is there, or on ages that cannot be
 * believed; what leans on something that cannot be read stays. Stopped at any point it leaves nothing that refers to
 * what is gone.
 */
export async function collect(repository: Repository, options: CollectOptions): Promise<Collection> {
  const { signal, isDryRun } = options;
  const { store, keys } = repository;
  if (!isDryRun) await checkClock(repository, options);
  const withdrawals = await loadWithdrawals(repository, { signal });
  const records = await listRecords(repository, { signal });
  const snapshots = await listAll(store, keys.snapshotsPrefix, { signal });
  assertBelievable(snapshots);
  await assertComplete(repository, records, snapshots, options);
  const plan = planRetention({ ...options, ...snapshots, documents: documentsIn(snapshots), records });
  const needed = await readRoots(repository, rootsOf(plan), { signal });
  const sorted = await sortObjects(repository, { needed, plan }, { signal });
  const missing = await findMissing(repository, { needed, present: sorted.present }, { signal });
  if (isDryRun) return describe({ plan, sorted, missing, records, snapshots });

  const isOfUse = ({ objects }: DamageReport): boolean =>
    plan.isBlind || needed.isUnknown || objects.some(({ key }) => needed.objects.has(key));
  const snapshotKeys = plan.leaving.map(({ name }) => keys.snapshot(name));
  await removeAll(repository, snapshotKeys, { signal });
  const spared = await readNewcomers(repository, snapshots, { signal });
  const leaving = sorted.leaving.filter(({ key }) => spared !== undefined && !spared.has(key));
  const recordKeys = plan.leavingRecords.map(({ epoch }) => keys.record(epoch));
  const damageKeys = withdrawals.damage.filter((report) => !isOfUse(report)).map(({ epoch }) => keys.damaged(epoch));
  await removeAll(
    repository,
    leaving.map(({ key }) => key),
    { signal },
  );
  await removeAll(repository, [...recordKeys, ...damageKeys], { signal });
  await tellMissing(repository, missing, { ...options, withdrawals, plan });
  return describe({ plan, sorted: { ...sorted, leaving }, missing, records, snapshots });
}

function documentsIn({ objects }: ObjectPage): readonly ListedDocument[] {
  return objects.flatMap(({ key, modifiedMs, sizeBytes: storedBytes }) => {
    const parsed = parseKey(key);
    return parsed?.kind === 'snapshot' ? [{ name: parsed.name, modifiedMs, storedBytes }] : [];
  });
}

function rootsOf({ roots }: RetentionPlan): readonly SnapshotName[] {
  return [...roots.keys()].map(parseSnapshotName);
}

function describe(of: {
  readonly plan: RetentionPlan;
  readonly sorted: SortedObjects;
  readonly missing: readonly string[];
  readonly records: readonly ListedRecord[];
  readonly snapshots: ObjectPage;
}): Collection {
  const { plan, sorted, missing, records, snapshots } = of;
  const keptRecords = Array.from({ length: records.length - plan.leavingRecords.length }, () => 'record' as const);
  const kept = new Map<KeepReason, number>();
  for (const why of [...plan.roots.values(), ...sorted.kept, ...keptRecords]) kept.set(why, (kept.get(why) ?? 0) + 1);
  const bytes = sum([
    ...plan.leaving.map((one) => one.storedBytes),
    ...sizesOf(sorted.leaving),
    ...sizesOf(plan.leavingRecords),
  ]);
  const allBytes = sum([sorted.bytes, ...sizesOf(snapshots.objects), ...sizesOf(records)]);
  return {
    documents: plan.leaving.length,
    objects: sorted.leaving.length,
    bytes,
    missing,
    kept,
    repositoryBytes: allBytes - bytes,
  };
}

function sizesOf(objects: readonly { readonly sizeBytes: number }[]): readonly number[] {
  return objects.map(({ sizeBytes }) => sizeBytes);
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}

/** Ages are made of two times of the store: one object of our own tells whether they are of one clock (G5). */
async function checkClock({ store, keys }: Repository, { random, signal }: CollectOptions): Promise<void> {
  const key = keys.probe(random.token(16));
  try {
    await store.put(key, bytesBody(Buffer.from(key)), { signal });
    const { modifiedMs, storeTimeMs } = await store.head(key, { signal });
    if (Math.abs(storeTimeMs - modifiedMs) > CLOCK_DIFFERENCE_MS_MAX) throw disagreeing(key, modifiedMs, storeTimeMs);
  } finally {
    await store.delete(key, { signal });
  }
}

function assertBelievable({ objects, storeTimeMs }: ObjectPage): void {
  const late = objects.find(({ modifiedMs }) => modifiedMs > storeTimeMs + CLOCK_DIFFERENCE_MS_MAX);
  if (late !== undefined) throw disagreeing(late.key, late.modifiedMs, storeTimeMs);
}

function disagreeing(key: string, modifiedMs: number, storeTimeMs: number): Failure {
  const times = `${new Date(modifiedMs).toISOString()} by ${new Date(storeTimeMs).toISOString()}`;
  return new Failure('unavailable', `cannot tell ages in the store: ${key} was stored at ${times} of its clock`, {
    hint: 'correct the clock of the storage server',
  });
}

/** Also those that cannot be read: somebody may be at work there. */
async function listRecords(
  { store, keys, notice }: Repository,
  { signal }: StoreOptions,
): Promise<readonly ListedRecord[]> {
  const listed = await listAll(store, keys.recordsPrefix, { signal });
  assertBelievable(listed);
  const read = await mapBounded(listed.objects, { limit: REQUESTS_AT_ONCE, signal }, async (facts, scope) => {
    const { key, sizeBytes } = facts;
    const parsed = parseKey(key);
    if (parsed?.kind !== 'record') return [];
    const found = await readObject(store, key, { bytesMax: RECORD_BYTES_MAX, signal: scope }).catch(
      (error: unknown) => {
        if (!isFailure(error, 'corrupt')) throw error;
        return { bytes: new Uint8Array(), facts };
      },
    );
    if (found === undefined) return [];
    const { modifiedMs } = found.facts;
    const entry = { epoch: parsed.epoch, modifiedMs, sizeBytes };
    try {
      return [{ ...entry, record: decodeRecord(found.bytes, key) }];
    } catch (error) {
      if (!isFailure(error, 'corrupt', 'invalid')) throw error;
      notice('record-unreadable', 'nothing that may lean on a record that cannot be read is removed', {
        problem: messageOf(error),
      });
      return [{ ...entry, record: undefined }];
    }
  });
  return read.flat();
}

/** A writer says which document is its newest: a listing without one that is there is not all there is. */
async function assertComplete(
  { store, keys }: Repository,
  records: readonly ListedRecord[],
  snapshots: ObjectPage,
  { keepWithinMs, signal }: CollectOptions,
): Promise<void> {
  const listed = new Set(snapshots.objects.map(({ key }) => key));
  const claimed = records
    .filter(({ modifiedMs }) => !isPastUse({ modifiedMs }, { storeTimeMs: snapshots.storeTimeMs, keepWithinMs }))
    .flatMap(({ record, epoch }) => (record?.newest === undefined ? [] : [keys.snapshot({ epoch, n: record.newest })]))
    .filter((key) => !listed.has(key));
  await mapBounded(claimed, { limit: REQUESTS_AT_ONCE, signal }, async (key, scope) => {
    if (await exists(store, key, { signal: scope })) throw incomplete(key);
  });
}

function incomplete(key: string): Failure {
  return new Failure('unavailable', `cannot trust the store's listing: it lacks ${key}, which is there`);
}

/** What roots refer to. */
interface Needed {
  readonly objects: ObjectSet;
  /** A root cannot be read: it may need anything. */
  readonly isUnknown: boolean;
}

/** One after another, nearly: a document may take a hundred megabytes while it is read. */
async function readRoots(
  repository: Repository,
  names: readonly SnapshotName[],
  { signal }: StoreOptions,
): Promise<Needed> {
  const objects = new ObjectSet();
  let isUnknown = false;
  await mapBounded(names, { limit: DOCUMENTS_AT_ONCE, signal }, async (name, scope) => {
    try {
      for (const key of objectsOf(await loadDocument(repository, name, { signal: scope }))) objects.add(key);
    } catch (error) {
      if (isFailure(error, 'missing')) return; // Withdrawn by its writer since.
      if (!isFailure(error, 'corrupt', 'invalid')) throw error;
      isUnknown = true;
      repository.notice('snapshot-unreadable', 'nothing is removed that a snapshot may need that cannot be read', {
        snapshot: formatSnapshotName(name),
        problem: messageOf(error),
      });
    }
  });
  return { objects, isUnknown };
}

function objectsOf({ entries, ahead }: SnapshotDocument): readonly string[] {
  return [...entries.flatMap(filesOfEntry), ...ahead].flatMap(({ objects }) => objects.map(({ key }) => key));
}

interface SortedObjects {
  readonly leaving: readonly { readonly key: string; readonly sizeBytes: number }[];
  /** Of those that are needed. */
  readonly present: ObjectSet;
  readonly kept: readonly KeepReason[];
  readonly bytes: number;
}

/** Page by page: what stays is only counted. */
async function sortObjects(
  { store, keys }: Repository,
  { needed, plan }: { readonly needed: Needed; readonly plan: RetentionPlan },
  { signal }: StoreOptions,
): Promise<SortedObjects> {
  const leaving: { readonly key: string; readonly sizeBytes: number }[] = [];
  const present = new ObjectSet();
  const kept: KeepReason[] = [];
  let bytes = 0;
  for await (const page of store.list(keys.dataPrefix, { signal })) {
    assertBelievable(page);
    const at = { storeTimeMs: page.storeTimeMs, keepWithinMs: plan.keepWithinMs };
    for (const { key, sizeBytes, modifiedMs } of page.objects) {
      bytes += sizeBytes;
      const isNeeded = needed.objects.has(key);
      if (isNeeded) present.add(key);
      const why = whyObjectKept({ key, isNeeded, isPastUse: isPastUse({ modifiedMs }, at) }, plan, needed);
      if (why === undefined) leaving.push({ key, sizeBytes });
      else kept.push(why);
    }
  }
  return { leaving, present, kept, bytes };
}

function whyObjectKept(
  object: { readonly key: string; readonly isNeeded: boolean; readonly isPastUse: boolean },
  { isBlind }: RetentionPlan,
  { isUnknown }: Needed,
): KeepReason | undefined {
  if (object.isNeeded) return 'referenced';
  const kind = parseKey(object.key)?.kind;
  if (kind !== 'data' && kind !== 'archive') return 'foreign';
  if (!object.isPastUse) return 'young';
  return isBlind || isUnknown ? 'unreadable' : undefined;
}

/** Keys that are needed and not listed: gone, unless the listing lacks them. */
async function findMissing(
  { store, keys }: Repository,
  { needed, present }: { readonly needed: Needed; readonly present: ObjectSet },
  { signal }: StoreOptions,
): Promise<readonly string[]> {
  const missing = [...needed.objects.without(present, keys)].sort();
  await mapBounded(missing, { limit: REQUESTS_AT_ONCE, signal }, async (key, scope) => {
    if (await exists(store, key, { signal: scope })) throw incomplete(key);
  });
  return missing;
}

/**
 * What documents need that appeared since the roots were listed, while their writers could still lean on what is gone
 * by now; undefined where one cannot be read, or is older than that, so that the first listing was not all there was.
 */
async function readNewcomers(
  repository: Repository,
  before: ObjectPage,
  { signal }: StoreOptions,
): Promise<ObjectSet | undefined> {
  const known = new Set(before.objects.map(({ key }) => key));
  const now = await listAll(repository.store, repository.keys.snapshotsPrefix, { signal });
  const newcomers = now.objects.filter(({ key }) => !known.has(key));
  const overlooked = newcomers.find(({ modifiedMs }) => before.storeTimeMs - modifiedMs > CLOCK_DIFFERENCE_MS_MAX);
  if (overlooked !== undefined) throw incomplete(overlooked.key);
  const names = newcomers.flatMap(({ key }) => {
    const parsed = parseKey(key);
    return parsed?.kind === 'snapshot' ? [parsed.name] : [];
  });
  const { objects, isUnknown } = await readRoots(repository, names, { signal });
  return isUnknown ? undefined : objects;
}

async function removeAll({ store }: Repository, keys: readonly string[], { signal }: StoreOptions): Promise<void> {
  await mapBounded(keys, { limit: REQUESTS_AT_ONCE, signal }, (key, scope) => store.delete(key, { signal: scope }));
}

/** Tells everybody what is missing that a document still needs, unless it was told already (G6). */
async function tellMissing(
  repository: Repository,
  missing: readonly string[],
  how: CollectOptions & { readonly withdrawals: Withdrawals; readonly plan: RetentionPlan },
): Promise<void> {
  const { withdrawals, plan, signal } = how;
  const news = new Set(missing.filter((key) => !withdrawals.damagedObjects.has(key)));
  if (news.size === 0) return;
  const objects = new Set<string>();
  const entries = new Map<string, DamagedEntry>();
  // Read again: a document that is gone by now needs nothing any more.
  for (const name of rootsOf(plan)) {
    const document = await loadDocument(repository, name, { signal }).catch((error: unknown) => {
      if (!isFailure(error, 'missing', 'corrupt', 'invalid')) throw error;
      return undefined;
    });
    for (const key of document === undefined ? [] : objectsOf(document)) if (news.has(key)) objects.add(key);
    for (const entry of document?.entries ?? []) {
      const isDamaged = filesOfEntry(entry).some((file) => file.objects.some(({ key }) => news.has(key)));
      const { task, capturedBy } = entry;
      if (isDamaged) entries.set(`${task} ${capturedBy}`, { task, capturedBy });
    }
  }
  const found = [...objects].sort().map((key) => ({ key, problem: 'missing' as const }));
  await tellDamage(repository, { objects: found, entries: [...entries.values()] }, how);
}
