import { isFailure, messageOf } from '../base/failure.ts';
import type { FileAccess } from '../base/file-access.ts';
import type { Emit } from '../events/event.ts';
import { best, type Terms } from '../repository/best.ts';
import { type Entry, filesOfEntry, type SnapshotDocument } from '../repository/document.ts';
import { parseSnapshotName } from '../repository/keys.ts';
import { findPreviousLife, type Recollection, readRestoreReport, recallTask } from '../repository/recall.ts';
import type { EpochRecord } from '../repository/record.ts';
import {
  loadBase,
  loadDocument,
  loadRecord,
  type Repository,
  type RepositoryListing,
} from '../repository/repository.ts';
import { findInstalledTask, type RestoreReport } from '../repository/restore-result.ts';
import type { TaskSight } from '../streams/quality.ts';
import type { Explanation } from '../streams/reason.ts';
import type { KnownTables } from './known-tables.ts';

/** What earlier epochs left to a writer: the documents and the restore that it may go on from and lean on. */
export interface Legacy extends Recollection {
  readonly report: RestoreReport | undefined;
  /** Of this instance. It has the memories of the newest document, also where only an older one may be leaned on. */
  readonly base: SnapshotDocument | undefined;
  /** The documents that the volume was filled from and that may be leaned on, by name. */
  readonly restored: ReadonlyMap<string, SnapshotDocument>;
  /** The record of the life of this instance before. */
  readonly previousLife: EpochRecord | undefined;
}

export async function loadLegacy(
  repository: Repository,
  listing: RepositoryListing,
  where: {
    readonly instance: string;
    readonly stateDir: string;
    readonly files: FileAccess;
    readonly emit: Emit;
    readonly signal: AbortSignal;
  },
): Promise<Legacy> {
  const { signal, instance } = where;
  const { application, lineage } = repository.keys;
  const left = await readRestoreReport(where.stateDir, where.files, repository.notice);
  // Several applications may share a state directory; what a restore left for another says nothing of this one.
  const report = left?.application === application ? left : undefined;
  // Snapshots of another history tell what lies here, but are none to go on from.
  const names = report?.lineage === lineage ? report.installed.map(({ snapshot }) => snapshot) : [];
  const previousLife = await findPreviousLife(repository, listing, { instance, signal });
  const newestConfirmed = confirmedBy(repository, previousLife, signal);
  const restored = new Map<string, SnapshotDocument>();
  for (const name of new Set(names)) {
    const document = await unlessUnusable(`the snapshot ${name} that was restored`, where.emit, () =>
      loadDocument(repository, parseSnapshotName(name), { signal }),
    );
    if (document !== undefined && document.n <= (await newestConfirmed(document.epoch))) restored.set(name, document);
  }
  const base = await loadConfirmedBase(repository, listing, { instance, newestConfirmed, signal });
  return { base, report, restored, previousLife, taints: previousLife?.taints };
}

/** The newest document of an epoch by which its writer stands, 0 where there is none. */
type NewestConfirmed = (epoch: string) => Promise<number>;

/**
 * A writer says in its record up to where it had looked around after its puts (G2). One that was killed before that may have
 * named what was gone by then, and no look at the document itself tells. Every record is read once.
 */
function confirmedBy(repository: Repository, known: EpochRecord | undefined, signal: AbortSignal): NewestConfirmed {
  const read = new Map(known === undefined ? [] : [[known.epoch, known.newest ?? 0]]);
  return async (epoch) => {
    const newest = read.get(epoch) ?? (await loadRecord(repository, epoch, { signal }))?.newest ?? 0;
    read.set(epoch, newest);
    return newest;
  };
}

/** What is remembered of directories is of this instance's own disk, and leans on nothing. */
async function loadConfirmedBase(
  repository: Repository,
  listing: RepositoryListing,
  where: { readonly instance: string; readonly newestConfirmed: NewestConfirmed; readonly signal: AbortSignal },
): Promise<SnapshotDocument | undefined> {
  const last = await loadBase(repository, listing, where);
  if (last === undefined) return undefined;
  let { documents } = listing;
  for (let base: SnapshotDocument | undefined = last; base !== undefined; ) {
    const { epoch, n } = base;
    const newest = await where.newestConfirmed(epoch);
    if (n <= newest) return { ...base, seen: last.seen };
    documents = documents.filter(({ name }) => name.epoch !== epoch || name.n <= newest);
    base = await loadBase(repository, { ...listing, documents }, where);
  }
  return { ...last, entries: [], ahead: [] };
}

/** Per task the entry to go on from: of this instance's last document, or of the snapshot that it was restored from. */
export function findPreviousEntries(
  { base, restored, report }: Legacy,
  {
    whyWithdrawn,
    ...terms
  }: Omit<Terms, 'objection'> & { readonly whyWithdrawn: (entry: Entry) => Explanation | undefined },
): ReadonlyMap<string, Entry> {
  const ofBase = (base?.entries ?? []).map((entry) => ({ entry, from: base }));
  const ofRestore = (report?.installed ?? []).map(({ task, snapshot }) => {
    const from = restored.get(snapshot);
    return { entry: from?.entries.find((one) => one.task === task), from };
  });
  const offers = [...ofBase, ...ofRestore].flatMap(({ entry, from }) =>
    entry === undefined || from === undefined ? [] : [{ ...entry, entry, epoch: from.epoch, n: from.n, lives: true }],
  );
  const previous = [...Map.groupBy(offers, ({ task }) => task)].flatMap(([task, ofTask]) => {
    const chosen = best(ofTask, { ...terms, objection: ({ entry }) => whyWithdrawn(entry) });
    return chosen === undefined ? [] : [[task, chosen.entry] as const];
  });
  return new Map(previous);
}

/**
 * How far this very directory is known to have stood: as it was captured, where the entry is of it and no older, or as it
 * was installed.
 */
export function findStanding(
  { base, report }: Pick<Legacy, 'base' | 'report'>,
  sight: TaskSight,
  toStoreTimeMs: (wallMs: number) => number,
): ReadonlyMap<string, bigint> {
  const entry = base?.entries.find(({ task }) => task === sight.task);
  if (entry !== undefined && recallTask({ base, report: undefined }, sight) !== undefined) {
    const bornMs = toStoreTimeMs(Number(sight.facts.birthtimeNs / 1_000_000n));
    if (entry.capturedAtMs >= bornMs) return entry.offsets;
  }
  return (report === undefined ? undefined : findInstalledTask(report, sight))?.offsets ?? new Map();
}

/** Teaches what tables the repository has, as far as this writer may refer to them. */
export function teachTables({ base, restored, report }: Legacy, known: KnownTables): void {
  for (const document of [...restored.values(), ...(base === undefined ? [] : [base])]) {
    for (const file of [...document.entries.flatMap(filesOfEntry), ...document.ahead]) known.learn(file);
  }
  // Only what a document of this repository names is known to lie in it.
  for (const { device, files, snapshot } of report?.installed ?? []) {
    if (restored.has(snapshot)) for (const file of files) known.learnAt({ ...file, device }, file);
  }
}

async function unlessUnusable<T>(what: string, emit: Emit, read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (!isFailure(error, 'missing', 'corrupt', 'invalid')) throw error;
    emit({
      kind: 'notice',
      name: 'history-unreadable',
      level: 'warn',
      message: `cannot go on from ${what}: ${messageOf(error)}`,
    });
    return undefined;
  }
}
