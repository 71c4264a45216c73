import { compareEpochs, isEpochOf } from '../repository/keys.ts';
import {
  findLiving,
  type LoadedRecord,
  listRecords,
  loadRecords,
  type NewestSnapshot,
  newestSnapshots,
  type Repository,
  type RepositoryListing,
  recentOf,
} from '../repository/repository.ts';
import type { Life } from './scene.ts';

/** What a restore knows of a repository: everybody who gave a sign within the maximum age. */
export interface Survey {
  readonly storeTimeMs: number;
  /** Every epoch that has a record, also those that were not read. */
  readonly recorded: ReadonlyMap<string, number>;
  /** Oldest epoch first. */
  readonly records: readonly LoadedRecord[];
  readonly newest: readonly NewestSnapshot[];
  /** By epoch, what its record in `records` was read from. */
  readonly readings: ReadonlyMap<string, Reading>;
}

interface Reading {
  /** For the choice that is under way. */
  readonly times: number;
  readonly modifiedMs: number;
  readonly storeTimeMs: number;
}

/** Some servers know the time of an object to the second only. */
const RESOLUTION_MS = 1000;
/**
 * For one choice: when first seen, and before it is carried out. Hundreds of pods that start together do not read each other
 * round after round; what is overlooked that way is only waste.
 */
const READS_MAX = 2;

/**
 * The records of a listing that may still matter, each read once. Older ones hold nothing that may be restored; of this
 * instance, and where there is nothing else, they say why.
 */
export async function takeSurvey(
  repository: Repository,
  listing: RepositoryListing,
  how: {
    readonly instance: string;
    readonly maxAgeMs: number;
    /** Of the restore before on this volume. */
    readonly restoreEpoch: string | undefined;
    readonly signal: AbortSignal;
  },
): Promise<Survey> {
  const { instance, restoreEpoch, signal } = how;
  const newest = listing.documents.at(-1)?.name.epoch;
  const recent = recentOf(listing, {
    sinceMs: listing.storeTimeMs - how.maxAgeMs - RESOLUTION_MS,
    isKept: (epoch) => epoch === newest || epoch === restoreEpoch || isEpochOf(epoch, instance),
  });
  const records = await loadRecords(repository, recent, { signal });
  const snapshots = await newestSnapshots(repository, recent, { records, signal });
  const { storeTimeMs, recorded } = listing;
  return { storeTimeMs, recorded, records, newest: snapshots, readings: readingsOf(records) };
}

/** The same for whoever has something and chooses once more: everything may be read as often again. */
export function forNextPlan(survey: Survey): Survey {
  const readings = [...survey.readings].map(([epoch, reading]) => [epoch, { ...reading, times: 0 }] as const);
  return { ...survey, readings: new Map(readings) };
}

/**
 * The same a moment later. Read are the records of those who are new, of `watched` where they were rewritten, and with
 * `changed` also of restores that are under way and were: of all others it is enough to know when they last gave a sign.
 */
export async function surveyAgain(
  repository: Repository,
  before: Survey,
  how: { readonly at: 'new' | 'changed'; readonly watched: readonly string[]; readonly signal: AbortSignal },
): Promise<Survey> {
  const { at, watched, signal } = how;
  const { storeTimeMs, recorded } = await listRecords(repository, { signal });
  const known = new Map(before.records.map((loaded) => [loaded.record.epoch, loaded]));
  const isToBeRead = (epoch: string, modifiedMs: number): boolean => {
    const reading = before.readings.get(epoch);
    if (reading === undefined) return !before.recorded.has(epoch);
    const loaded = known.get(epoch);
    if (loaded === undefined) return reading.times < READS_MAX; // A list that was behind had lost it.
    const mayMatter = at === 'changed' && isUndecided(loaded.record) && reading.times < READS_MAX;
    if (!mayMatter && !watched.includes(epoch)) return false;
    return modifiedMs !== reading.modifiedMs || modifiedMs > reading.storeTimeMs - RESOLUTION_MS;
  };
  const toBeRead = new Map([...recorded].filter(([epoch, modifiedMs]) => isToBeRead(epoch, modifiedMs)));
  const read = await loadRecords(repository, { recorded: toBeRead }, { signal });
  for (const loaded of read) known.set(loaded.record.epoch, loaded);
  const records = [...known.values()].flatMap((loaded) => {
    const modifiedMs = recorded.get(loaded.record.epoch);
    return modifiedMs === undefined ? [] : [{ record: loaded.record, modifiedMs, storeTimeMs }];
  });
  records.sort((left, right) => compareEpochs(left.record.epoch, right.record.epoch));
  const readings = new Map([...before.readings, ...readingsOf(read, before.readings)]);
  return { storeTimeMs, recorded, records, newest: newestNow(before.newest, records), readings };
}

/** Of all others it is known what they hold, or soon will be by their documents. */
function isUndecided({ role, state }: LoadedRecord['record']): boolean {
  return role === 'restore' && state !== 'sealed';
}

function readingsOf(
  read: readonly LoadedRecord[],
  before: Survey['readings'] = new Map(),
): ReadonlyMap<string, Reading> {
  return new Map(
    read.map(({ record: { epoch }, modifiedMs, storeTimeMs }) => {
      const times = (before.get(epoch)?.times ?? 0) + 1;
      return [epoch, { times, modifiedMs, storeTimeMs }];
    }),
  );
}

/** A record is written after the document that it speaks of. The same list where nothing changed. */
function newestNow(before: readonly NewestSnapshot[], records: readonly LoadedRecord[]): readonly NewestSnapshot[] {
  const living = findLiving(records);
  const newest = new Map(before.map((snapshot) => [snapshot.name.epoch, snapshot]));
  let isAsBefore = before.every(({ name, lives }) => lives === living.has(name.epoch));
  for (const { record } of records) {
    const { epoch, newest: n, tasks } = record;
    if (n !== undefined && n > (newest.get(epoch)?.name.n ?? 0)) {
      newest.set(epoch, { name: { epoch, n }, record, lives: false, tasks });
      isAsBefore = false;
    }
  }
  if (isAsBefore) return before;
  return [...newest.values()]
    .map((snapshot) => ({ ...snapshot, lives: living.has(snapshot.name.epoch) }))
    .sort((left, right) => compareEpochs(left.name.epoch, right.name.epoch));
}

/** What choosing goes by. */
export function livesIn({ storeTimeMs, records, newest }: Survey): readonly Life[] {
  const living = findLiving(records);
  const tasks = new Map(newest.map((snapshot) => [snapshot.name.epoch, snapshot.tasks]));
  const recorded = new Map(records.map((loaded) => [loaded.record.epoch, loaded]));
  const epochs = [...new Set([...recorded.keys(), ...tasks.keys()])].sort(compareEpochs);
  return epochs.map((epoch) => {
    const { record, modifiedMs = 0 } = recorded.get(epoch) ?? {};
    const isFinishing = record?.state === 'finishing' || record?.state === 'released';
    return {
      epoch,
      role: record?.role,
      state: !living.has(epoch) ? 'gone' : isFinishing ? 'finishing' : 'alive',
      silentMs: storeTimeMs - modifiedMs,
      after: record?.after,
      appVersion: record?.appVersion,
      claims: record?.claims ?? [],
      tasks: tasks.get(epoch) ?? [],
    };
  });
}
