import { join } from 'node:path';
import { isFailure, messageOf } from '../base/failure.ts';
import { type DirectoryIdentity, type FileAccess, isSameDirectory, readWhole } from '../base/file-access.ts';
import type { Quality, TaskMemory, TaskSight } from '../streams/quality.ts';
import { CHECKPOINT_FILE, WARMSTATE_DIRECTORY } from '../streams/state-directory.ts';
import type { SnapshotDocument } from './document.ts';
import { isEpochOf } from './keys.ts';
import type { EpochRecord, Taint } from './record.ts';
import { loadRecord, type Notice, type Repository, type RepositoryListing } from './repository.ts';
import {
  decodeRestoreReport,
  findInstalledTask,
  type InstalledTask,
  isUnopened,
  type RestoreReport,
} from './restore-result.ts';

/** What earlier processes left about the directories of this volume. */
export interface Recollection {
  /** The newest document of this instance. */
  readonly base: Pick<SnapshotDocument, 'seen'> | undefined;
  /** What the restore of this pod left on the volume. */
  readonly report: Pick<RestoreReport, 'timeMs' | 'installed' | 'taints'> | undefined;
  /** What the record of the life of this instance before says (Q6): it may have seen more than it could publish. */
  readonly taints?: readonly Taint[] | undefined;
}

/** Below the state directory. */
export const RESTORE_REPORT_PATH = `${WARMSTATE_DIRECTORY}/restore.json`;
/** A report for every task of a large instance, file by file. */
const REPORT_BYTES_MAX = 256 * 1024 * 1024;

/** restore.json of a state directory; one that cannot be read is as good as none. */
export async function readRestoreReport(
  stateDir: string,
  files: FileAccess,
  notice: Notice,
): Promise<RestoreReport | undefined> {
  const path = join(stateDir, RESTORE_REPORT_PATH);
  try {
    const found = await readWhole(files, path, REPORT_BYTES_MAX);
    return found === undefined ? undefined : decodeRestoreReport(found.bytes, path);
  } catch (error) {
    if (!isFailure(error, 'corrupt', 'invalid')) throw error;
    notice('restore-report-unreadable', 'passed over a restore.json that cannot be read', {
      problem: messageOf(error),
    });
    return undefined;
  }
}

/** So many records of restores are passed over: a pod that starts again and again leaves one each time. */
const RESTORES_MAX = 16;

/** The record of the newest life of this instance that published, or could have. */
export async function findPreviousLife(
  repository: Repository,
  listing: RepositoryListing,
  { instance, signal }: { readonly instance: string; readonly signal: AbortSignal },
): Promise<EpochRecord | undefined> {
  const epochs = listing.epochs.filter((epoch) => listing.recorded.has(epoch) && isEpochOf(epoch, instance));
  for (const epoch of epochs.toReversed().slice(0, RESTORES_MAX)) {
    const record = await loadRecord(repository, epoch, { signal });
    if (record !== undefined && isLifeOf(record, instance)) return record;
  }
  return undefined;
}

/** Whether a record is of a life of this instance that published, or could have. */
export function isLifeOf({ epoch, role }: Pick<EpochRecord, 'epoch' | 'role'>, instance: string): boolean {
  return isEpochOf(epoch, instance) && role !== 'restore';
}

/** What is remembered of this very directory: of the last snapshot, or of its install. */
export function recallTask(recollection: Recollection, sight: TaskSight): TaskMemory | undefined {
  const remembered = recallSeen(recollection, sight.task);
  if (remembered !== undefined && isAbout(remembered, sight)) return remembered;
  const { report } = recollection;
  const tainted = isTainted(recollection, sight.task, sight.facts);
  const installed = report === undefined ? undefined : findInstalledTask(report, sight);
  if (report !== undefined && installed !== undefined)
    return { ...memoryOfInstalled(installed, report.timeMs), tainted };
  return tainted ? memoryOfTainted(sight) : undefined;
}

/** What is remembered of a task that cannot be looked at now; whether it is about the directory that is there is open. */
export function recallSeen(recollection: Recollection, task: string): TaskMemory | undefined {
  const remembered = recollection.base?.seen.get(task);
  if (remembered === undefined) return undefined;
  // Others may have seen it after the snapshot did: killed, with writes that no checkpoint covers.
  return isTainted(recollection, task, remembered) ? { ...remembered, tainted: true } : remembered;
}

/** The quality with which this directory was installed, while nobody has opened it since (Q8). */
export function findInstalledQuality(report: Recollection['report'], sight: TaskSight): Quality | undefined {
  const installed = report === undefined ? undefined : findInstalledTask(report, sight);
  return installed !== undefined && isUnopened(installed, sight) ? installed.quality : undefined;
}

/** Whether a memory is of this very directory. */
export function isAbout(memory: TaskMemory, { facts }: TaskSight): boolean {
  return isSameDirectory(memory, facts);
}

/** The report lies on the volume that it is about; what an earlier life noted may have been about another one. */
function isTainted({ report, taints = [] }: Recollection, task: string, of: DirectoryIdentity): boolean {
  const isNoted = taints.some((one) => one.task === task && isOf(one, of));
  return (
    isNoted || (report?.taints.some((one) => one.task === task && isOf({ ...one, device: of.device }, of)) ?? false)
  );
}

function isOf({ device, inode, birthtimeNs }: Taint, directory: DirectoryIdentity): boolean {
  return isSameDirectory({ device, inode, birthtimeNs: birthtimeNs ?? directory.birthtimeNs }, directory);
}

/** Nothing is known of the directory but that it is tainted: its checkpoint counts as one that was not seen before. */
function memoryOfTainted({ facts }: TaskSight): TaskMemory {
  return {
    device: facts.device,
    inode: facts.inode,
    birthtimeNs: facts.birthtimeNs,
    checkpoint: { inode: 0n, mtimeNs: 0n },
    passed: false,
    tainted: true,
    databases: new Map(),
    parents: new Map(),
    watch: { sinceMs: 0, writes: 0n, looksExactlyOnce: false },
  };
}

/** Where the rules for directories that are opened anew begin (Q6). Its checkpoint is watched from the install on. */
function memoryOfInstalled(installed: InstalledTask, restoredMs: number): TaskMemory {
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
    passed: installed.quality === 'clean' || installed.layout === 'column-family',
    tainted: false,
    databases: new Map(manifests),
    parents: new Map(),
    watch: { sinceMs: restoredMs, writes: 0n, looksExactlyOnce: false },
    topicIds: installed.topicIds,
  };
}
