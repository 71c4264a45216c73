import type { Random } from '../base/clock.ts';
import { mapBounded } from '../base/concurrency.ts';
import { isFailure, messageOf } from '../base/failure.ts';
import { bytesBody, type StoreOptions } from '../storage/object-store.ts';
import type { Explanation } from '../streams/reason.ts';
import type { Offer } from './best.ts';
import { type DamageReport, decodeDamageReport, encodeDamageReport } from './damaged.ts';
import { type Entry, filesOfEntry } from './document.ts';
import {
  covers,
  decodeFence,
  encodeFence,
  type Fence,
  type FenceReason,
  type FenceScope,
  stemsFrom,
  whyFenced,
  widestFence,
} from './fence.ts';
import { createFenceName, parseKey } from './keys.ts';
import { listAll, type Repository, readObject } from './repository.ts';

/** What a repository holds and does not offer any more: fenced, or found damaged. */
export interface Withdrawals {
  /** By the store's clock, as of this look. */
  readonly storeTimeMs: number;
  readonly fences: readonly Fence[];
  readonly damage: readonly DamageReport[];
  /** Keys of the objects that are missing or wrong. */
  readonly damagedObjects: ReadonlySet<string>;
  /** What was read, so that the next look reads only what is new. */
  readonly read: ReadonlyMap<string, ReadWithdrawal>;
}

interface ReadWithdrawal {
  /** Reports are rewritten by their epoch: another one has another time or size. */
  readonly modifiedMs: number;
  readonly sizeBytes: number;
  readonly content: { readonly fence: Fence } | { readonly damage: DamageReport } | undefined;
}

export const NOTHING_WITHDRAWN: Withdrawals = {
  storeTimeMs: 0,
  fences: [],
  damage: [],
  damagedObjects: new Set(),
  read: new Map(),
};

const LOADS_AT_ONCE = 16;
const FENCE_BYTES_MAX = 1024 * 1024;
/** A hundred thousand objects, and as many entries. */
const DAMAGE_BYTES_MAX = 64 * 1024 * 1024;

/**
 * One look at fences and damage. A fence that cannot be read counts as the widest one of its time, a report of damage
 * that cannot be read as none: what it names is found out by whoever reads it.
 */
export async function loadWithdrawals(
  repository: Repository,
  { signal, known = NOTHING_WITHDRAWN }: StoreOptions & { readonly known?: Withdrawals },
): Promise<Withdrawals> {
  const { store, keys } = repository;
  const fences = await listAll(store, keys.fencesPrefix, { signal });
  const damaged = await listAll(store, keys.damagedPrefix, { signal });
  const objects = [...fences.objects, ...damaged.objects].sort((left, right) => (left.key < right.key ? -1 : 1));
  const read = await mapBounded(objects, { limit: LOADS_AT_ONCE, signal }, async (facts, scope) => {
    const { key, modifiedMs, sizeBytes } = facts;
    const before = known.read.get(key);
    if (before?.modifiedMs === modifiedMs && before.sizeBytes === sizeBytes) return [key, before] as const;
    return [key, { modifiedMs, sizeBytes, content: await readWithdrawal(repository, key, scope) }] as const;
  });
  const contents = read.flatMap(([, { content }]) => content ?? []);
  const damage = contents.flatMap((content) => ('damage' in content ? [content.damage] : []));
  return {
    storeTimeMs: damaged.storeTimeMs,
    fences: contents.flatMap((content) => ('fence' in content ? [content.fence] : [])),
    damage,
    damagedObjects: new Set(damage.flatMap((report) => report.objects.map(({ key }) => key))),
    read: new Map(read),
  };
}

/** An entry as a document or a record offers it. */
type Offered = Offer & { readonly task: string; readonly capturedBy: string };

/**
 * Why an entry is not offered: the one answer for carrying, selecting and showing. Of damage it knows the entries that
 * whoever found it has seen; others that need the same objects are known by their files, see `findDamaged`.
 */
export function whyWithdrawn(
  { fences, damage }: Withdrawals,
  offer: Omit<Offered, 'lives' | 'n' | 'offsets'>,
): Explanation | undefined {
  const fenced = whyFenced(fences, { ...offer, isOf: (instance) => stemsFrom(offer, instance) });
  if (fenced !== undefined) return fenced;
  const report = damage.find(({ entries }) =>
    entries.some(({ task, capturedBy }) => task === offer.task && capturedBy === offer.capturedBy),
  );
  if (report === undefined) return undefined;
  return { reason: 'damaged', message: `${report.epoch} found that bytes of it are missing or wrong` };
}

/** Why an entry of a document of this epoch is not offered any more, by its files as well. */
export function whyNotOffered(withdrawals: Withdrawals, entry: Entry, epoch: string): Explanation | undefined {
  const damaged = findDamaged(withdrawals, entry);
  if (damaged === undefined) return whyWithdrawn(withdrawals, { ...entry, epoch });
  return { reason: 'damaged', message: `${damaged.path} needs ${damaged.key}, which is missing or wrong` };
}

/** The first file of an entry that needs an object known to be damaged, with the key of that. */
export function findDamaged(
  { damagedObjects }: Pick<Withdrawals, 'damagedObjects'>,
  entry: Entry,
): { readonly path: string; readonly key: string } | undefined {
  if (damagedObjects.size === 0) return undefined;
  for (const { path, objects } of filesOfEntry(entry)) {
    const damaged = objects.find(({ key }) => damagedObjects.has(key));
    if (damaged !== undefined) return { path, key: damaged.key };
  }
  return undefined;
}

/** Puts up a fence, unless one that stands covers it. Resolves with the one that stands then. */
export async function writeFence(
  repository: Repository,
  fence: FenceScope & { readonly reason: FenceReason },
  how: StoreOptions & { readonly random: Random; readonly program: string; readonly withdrawals: Withdrawals },
): Promise<Fence> {
  const { store, keys } = repository;
  const standing = how.withdrawals.fences.find((one) => covers(one, fence));
  if (standing !== undefined) return standing;
  const { application, lineage } = keys;
  const name = createFenceName(how.withdrawals.storeTimeMs, how.random);
  const put: Fence = { application, lineage, ...name, writer: how.program, ...fence };
  await store.put(keys.fence(name), bytesBody(encodeFence(put)), how);
  return put;
}

/**
 * Says what one epoch found damaged, in addition to what it said before; nothing where all of it was told already,
 * by whomever.
 */
export async function tellDamage(
  { store, keys }: Repository,
  found: Pick<DamageReport, 'objects' | 'entries'>,
  how: StoreOptions & { readonly epoch: string; readonly program: string; readonly withdrawals: Withdrawals },
): Promise<void> {
  const { withdrawals, epoch, program: writer, signal } = how;
  const news = found.objects.filter(({ key }) => !withdrawals.damagedObjects.has(key));
  if (news.length === 0) return;
  const before = withdrawals.damage.find((report) => report.epoch === epoch);
  const { application, lineage } = keys;
  const report: DamageReport = {
    application,
    lineage,
    epoch,
    writer,
    timeMs: withdrawals.storeTimeMs,
    objects: [...(before?.objects ?? []), ...news],
    entries: [...(before?.entries ?? []), ...found.entries],
  };
  await store.put(keys.damaged(epoch), bytesBody(encodeDamageReport(report)), { signal });
}

async function readWithdrawal(
  { store, keys, notice }: Repository,
  key: string,
  signal: AbortSignal,
): Promise<ReadWithdrawal['content']> {
  const parsed = parseKey(key);
  if (parsed?.kind !== 'fence' && parsed?.kind !== 'damaged') return undefined;
  const bytesMax = parsed.kind === 'fence' ? FENCE_BYTES_MAX : DAMAGE_BYTES_MAX;
  try {
    const found = await readObject(store, key, { bytesMax, signal });
    if (found === undefined) return undefined; // Taken away since: nothing that it names is needed any more.
    return parsed.kind === 'fence'
      ? { fence: decodeFence(found.bytes, key) }
      : { damage: decodeDamageReport(found.bytes, key) };
  } catch (error) {
    if (!isFailure(error, 'corrupt', 'invalid')) throw error;
    notice('withdrawal-unreadable', 'a fence or a report of damage cannot be read', { problem: messageOf(error) });
    return parsed.kind === 'fence' ? { fence: widestFence(keys, parsed.name) } : undefined;
  }
}
