import { dirname, join } from 'node:path';
import { Failure, isFailure, systemErrorCode } from '../base/failure.ts';
import type { FileAccess } from '../base/file-access.ts';
import { type CaptureTools, captureTask } from '../capture/capture.ts';
import { type Entry, filesOfEntry, type StoredFile } from '../repository/document.ts';
import type { InstalledFile, InstalledTask } from '../repository/restore-result.ts';
import { offsetsOf } from '../streams/offsets.ts';
import { judge } from '../streams/quality.ts';
import { CHECKPOINT_FILE } from '../streams/state-directory.ts';
import { hashSource } from '../transfer/source-file.ts';
import { type DiskOperations, onDisk } from './disk.ts';
import { directoriesOf, type Staging } from './staging.ts';

/** Kafka Streams' own mode for the directory of an application. */
const APPLICATION_DIRECTORY_MODE = 0o750;

export interface InstallTools extends CaptureTools {
  readonly disk: DiskOperations;
  readonly applicationDirectory: string;
  readonly applicationId: string;
  /** A moment of the store's clock by this machine's. */
  readonly toWallMs: (storeTimeMs: number) => number;
}

/**
 * Makes a staged task visible to Kafka Streams, by one rename, after it was looked at as a capture looks at a live one.
 * Failure `corrupt` where it is not what its entry says: then nothing is installed.
 */
export async function installTask(
  staging: Staging,
  { entry, snapshot }: { readonly entry: Entry; readonly snapshot: string },
  tools: InstallTools,
): Promise<InstalledTask> {
  const { disk } = tools;
  const staged = staging.taskDirectory(entry.task);
  const target = join(tools.applicationDirectory, entry.task);
  const stampSeconds = stampOf(tools.toWallMs(entry.stateTimeMs));
  await onDisk(`finish ${staged}`, () => stampAndSync(staged, entry, { stampSeconds, disk }));
  await assertInstallable(staging, entry, tools);
  tools.signal.throwIfAborted();
  await onDisk(`install ${target}`, async () => {
    await disk.makeDirectory(tools.applicationDirectory, APPLICATION_DIRECTORY_MODE);
    await disk.makeDirectory(staging.replacedDirectory);
    const replaced = join(staging.replacedDirectory, entry.task);
    // A crash between the two renames leaves the task cold, never mixed.
    await disk.rename(target, replaced).catch((error: unknown) => {
      if (systemErrorCode(error) !== 'ENOENT') throw error;
    });
    await disk.rename(staged, target).catch(async (error: unknown) => {
      await disk.rename(replaced, target).catch(() => undefined); // Back, if it was there and still can.
      throw error;
    });
    await disk.stamp(target, stampSeconds);
    await disk.sync(target);
    await disk.sync(tools.applicationDirectory);
  });
  return describeInstalled(target, { entry, snapshot }, tools.files);
}

/**
 * Copies tables that lie on the volume already into the staged task; returns what is still to be fetched: also a table
 * that cannot be read here. Failure `unavailable` where there is no space for copies.
 */
export async function reuseLocalFiles(
  entry: Entry,
  where: { readonly local: string; readonly staged: string },
  tools: ReuseTools,
): Promise<readonly StoredFile[]> {
  const missing: StoredFile[] = [];
  for (const file of filesOfEntry(entry)) {
    tools.signal.throwIfAborted();
    const source = join(where.local, file.path);
    const facts = file.path.endsWith('.sst') ? await tools.files.stat(source) : undefined;
    const isCandidate = facts?.kind === 'file' && facts.sizeBytes === file.sizeBytes;
    const target = join(where.staged, file.path);
    if (!isCandidate || !(await copyIfReadable(file, source, { target, ...tools }))) missing.push(file);
  }
  return missing;
}

type ReuseTools = Pick<InstallTools, 'files' | 'signal' | 'disk'>;

/** A copy only saves a download: what stands in its way, but for a full disk, is no reason to give the task up. */
async function copyIfReadable(
  file: StoredFile,
  source: string,
  to: ReuseTools & { readonly target: string },
): Promise<boolean> {
  try {
    return await copyIfSame(file, source, to);
  } catch (error) {
    if (!isFailure(error, 'unavailable', 'invalid', 'moved') || error.detail === 'no_space') throw error;
    await onDisk(`remove ${to.target}`, () => to.disk.remove(to.target));
    return false;
  }
}

async function copyIfSame(
  file: StoredFile,
  source: string,
  { target, files, disk, signal }: ReuseTools & { readonly target: string },
): Promise<boolean> {
  return onDisk(`copy ${source}`, async () => {
    // A new file, born now: a restored table must never look older than the checkpoint it came with.
    await disk.copy(source, target);
    await using copied = await files.hold(target);
    if (copied === undefined) return false;
    const content = {
      path: file.path,
      sizeBytes: file.sizeBytes,
      read: (buffer: Uint8Array, position: number) => copied.read(buffer, position),
      assertUnchanged: async () => {},
    };
    if ((await hashSource(content, signal)) === file.sha256) {
      await disk.sync(target);
      return true;
    }
    await disk.remove(target);
    return false;
  });
}

/** The staged directory must read like one that Kafka Streams left: every rule but that of age is asked again. */
async function assertInstallable(staging: Staging, entry: Entry, tools: InstallTools): Promise<void> {
  const where = { applicationDirectory: staging.tasksDirectory, task: entry.task };
  const outcome = await captureTask(where, tools, { isKnown: () => true, triesMax: 1 });
  if (outcome.kind !== 'captured') {
    throw refusal(entry, outcome.kind === 'refused' ? outcome.why.message : 'it is gone from the staging directory');
  }
  await using capture = outcome.capture;
  const { sight } = capture;
  const { offsets } = offsetsOf(sight);
  if (!hasSameItems([...offsets].map(String), [...entry.offsets].map(String)))
    throw refusal(entry, 'its offsets are not those on disk');
  const databases = new Set(filesOfEntry(entry).flatMap(({ path }) => (path.includes('/') ? [dirname(path)] : [])));
  if (
    !hasSameItems(
      sight.databases.map(({ path }) => path),
      [...databases],
    )
  )
    throw refusal(entry, 'its databases are not those of its document');
  const live = capture.stores.flatMap((store) => store.tables.map(({ path }) => path));
  if (!hasSameItems(live, tablesOf(entry))) throw refusal(entry, 'its tables are not those of its manifests');
  const { atLeastOnce } = judge(sight, {
    applicationId: tools.applicationId,
    nowMs: tools.clock.nowMs(),
    isRunning: false,
    clockWasSet: false,
    memory: undefined,
    installedQuality: entry.quality,
    transactionalStores: false,
  });
  if (atLeastOnce.kind === 'refused') throw refusal(entry, atLeastOnce.why.message);
}

function tablesOf(entry: Entry): readonly string[] {
  return filesOfEntry(entry).flatMap(({ path }) => (/\.(?:sst|blob)$/.test(path) ? [path] : []));
}

function hasSameItems(left: readonly string[], right: readonly string[]): boolean {
  return left.length === right.length && new Set(left).symmetricDifference(new Set(right)).size === 0;
}

function refusal(entry: Entry, why: string): Failure {
  return new Failure('corrupt', `cannot install ${entry.task}: ${why}`);
}

/**
 * What tells the age of the state, and all directories, get it (A3): Kafka Streams deletes what is too old by the age of
 * the directory, and nothing that Kafka writes later is older. In the file layout that is the checkpoint, and tables keep the
 * stamps of their birth, which is now; where offsets lie inside RocksDB, it is the tables.
 */
async function stampAndSync(
  staged: string,
  entry: Entry,
  { stampSeconds, disk }: { readonly stampSeconds: number; readonly disk: DiskOperations },
): Promise<void> {
  const dated = entry.layout === 'file' ? [CHECKPOINT_FILE] : tablesOf(entry);
  for (const path of [...dated, ...directoriesOf(entry).toReversed()]) {
    await disk.stamp(join(staged, path), stampSeconds);
    await disk.sync(join(staged, path));
  }
}

/** In seconds; a third of a millisecond above, so that binary fractions do not round below it. */
function stampOf(wallMs: number): number {
  return (Math.floor(wallMs) + 0.3) / 1000;
}

async function describeInstalled(
  target: string,
  { entry, snapshot }: { readonly entry: Entry; readonly snapshot: string },
  files: FileAccess,
): Promise<InstalledTask> {
  const directory = await files.stat(target);
  if (directory === undefined) throw new Failure('moved', `cannot describe ${target}: it is gone after its install`);
  const installed: InstalledFile[] = [];
  for (const file of filesOfEntry(entry)) {
    const facts = await files.stat(join(target, file.path));
    if (facts === undefined)
      throw new Failure('moved', `cannot describe ${target}: ${file.path} is gone after its install`);
    installed.push({ ...file, inode: facts.inode, mtimeNs: facts.mtimeNs, ctimeNs: facts.ctimeNs });
  }
  const { device, inode, birthtimeNs } = directory;
  const { task, capturedBy, quality, layout, stateTimeMs, capturedAtMs, offsets, topicIds } = entry;
  return {
    task,
    device,
    inode,
    birthtimeNs,
    snapshot,
    capturedBy,
    quality,
    layout,
    stateTimeMs,
    capturedAtMs,
    offsets,
    topicIds,
    files: installed,
  };
}
