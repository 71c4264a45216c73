import { join } from 'node:path';
import { isFailure, messageOf } from '../base/failure.ts';
import { type FileAccess, readWhole } from '../base/file-access.ts';
import type { Emit } from '../events/event.ts';
import { best, type Terms } from '../repository/best.ts';
import { type Entry, filesOfEntry, type SnapshotDocument } from '../repository/document.ts';
import { parseSnapshotName } from '../repository/keys.ts';
import { loadBase, loadDocument, type Repository, type RepositoryListing } from '../repository/repository.ts';
import {
  decodeRestoreReport,
  findInstalledTask,
  type InstalledTask,
  isUnopened,
  type RestoreReport,
} from '../repository/restore-result.ts';
import type { Quality, TaskMemory, TaskSight } from '../streams/quality.ts';
import { CHECKPOINT_FILE, WARMSTATE_DIRECTORY } from '../streams/state-directory.ts';
import type { KnownTables } from './known-tables.ts';

/** What earlier epochs left to a writer: the documents and the restore that it may go on from and lean on. */
export interface Legacy {
  /** The newest document of this instance. */
  readonly base: SnapshotDocument | undefined;
  /** What the restore of this pod left on the volume. */
  readonly report: RestoreReport | undefined;
  /** The documents that the volume was filled from, by name. */
  readonly restored: ReadonlyMap<string, SnapshotDocument>;
}

/** A report for every task of a large instance, file by file. */
const REPORT_BYTES_MAX = 256 * 1024 * 1024;

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
  const report = await readRestoreReport(where.stateDir, where.files, where.emit);
  const restored = new Map<string, SnapshotDocument>();
  for (const name of new Set((report?.installed ?? []).map(({ snapshot }) => snapshot))) {
    const document = await unlessUnusable(`the snapshot ${name} that was restored`, where.emit, () =>
      loadDocument(repository, parseSnapshotName(name), { signal }),
    );
    if (document !== undefined) restored.set(name, document);
  }
  return { base: await loadBase(repository, listing, { instance, signal }), report, restored };
}

/** restore.json of a state directory; one that cannot be read is as good as none. */
export async function readRestoreReport(
  stateDir: string,
  files: FileAccess,
  emit: Emit,
): Promise<RestoreReport | undefined> {
  const path = join(stateDir, WARMSTATE_DIRECTORY, 'restore.json');
  return unlessUnusable(path, emit, async () => {
    const found = await readWhole(files, path, REPORT_BYTES_MAX);
    return found === undefined ? undefined : decodeRestoreReport(found.bytes, path);
  });
}

/** Per task the entry to go on from: of this instance's last document, or of the snapshot that it was restored from. */
export function findPreviousEntries(
  { base, restored, report }: Legacy,
  terms: Omit<Terms, 'objection'>,
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
    const chosen = best(ofTask, { ...terms, objection: () => undefined });
    return chosen === undefined ? [] : [[task, chosen.entry] as const];
  });
  return new Map(previous);
}

/** Teaches what tables the repository has, as far as this writer may refer to them. */
export function teachTables({ base, restored, report }: Legacy, known: KnownTables): void {
  for (const document of [...restored.values(), ...(base === undefined ? [] : [base])]) {
    for (const file of [...document.entries.flatMap(filesOfEntry), ...document.ahead]) known.learn(file);
  }
  for (const { device, files } of report?.installed ?? []) {
    for (const file of files) known.learnAt({ ...file, device }, file);
  }
}

/** What is remembered of this very directory: of the last snapshot, or of its install. */
export function recallTask({ base, report }: Legacy, sight: TaskSight): TaskMemory | undefined {
  const remembered = base?.seen.get(sight.task);
  if (remembered !== undefined && isAbout(remembered, sight)) return remembered;
  const installed = report === undefined ? undefined : findInstalledTask(report, sight);
  return installed === undefined ? undefined : memoryOfInstalled(installed);
}

/** The quality with which this directory was installed, while nobody has opened it since (Q8). */
export function findInstalledQuality(report: RestoreReport | undefined, sight: TaskSight): Quality | undefined {
  const installed = report === undefined ? undefined : findInstalledTask(report, sight);
  return installed !== undefined && isUnopened(installed, sight) ? installed.quality : undefined;
}

function isAbout(memory: TaskMemory, { facts }: TaskSight): boolean {
  return memory.device === facts.device && memory.inode === facts.inode && memory.birthtimeNs === facts.birthtimeNs;
}

/** Where the rules for directories that are opened anew begin (Q6). */
function memoryOfInstalled(installed: InstalledTask): TaskMemory {
  const checkpoint = installed.files.find((file) => file.path === CHECKPOINT_FILE);
  const manifests = installed.files.flatMap(({ path }) => {
    const [, database, manifest] = /^(.+)\/(MANIFEST-\d+)$/.exec(path) ?? [];
    return database === undefined || manifest === undefined
      ? []
      : [[database, { manifest, greatestSequence: 0n }] as const];
  });
  return {
    device: installed.device,
    inode: installed.inode,
    birthtimeNs: installed.birthtimeNs,
    checkpoint: checkpoint === undefined ? undefined : { inode: checkpoint.inode, mtimeNs: checkpoint.mtimeNs },
    passed: installed.quality === 'clean',
    tainted: false,
    databases: new Map(manifests),
    parents: new Map(),
    watch: { sinceMs: installed.stateTimeMs, writes: 0n, looksExactlyOnce: false },
  };
}

async function unlessUnusable<T>(what: string, emit: Emit, read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (!isFailure(error, 'missing', 'corrupt', 'invalid')) throw error;
    emit({ kind: 'notice', level: 'warn', message: `cannot go on from ${what}: ${messageOf(error)}` });
    return undefined;
  }
}
