import { constants } from 'node:fs';
import { copyFile, mkdir, open, readdir, rename, rm, utimes } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Failure, messageOf, systemErrorCode } from '../base/failure.ts';
import type { FileAccess } from '../base/file-access.ts';
import { type CaptureTools, captureTask } from '../capture/capture.ts';
import { type Entry, filesOfEntry, type StoredFile } from '../repository/document.ts';
import type { InstalledFile, InstalledTask } from '../repository/restore-result.ts';
import { judge } from '../streams/quality.ts';
import { CHECKPOINT_FILE, WARMSTATE_DIRECTORY } from '../streams/state-directory.ts';
import { hashSource } from '../transfer/source-file.ts';

const STAGING_PREFIX = 'restore-';
/** Kafka Streams' own mode for the directory of an application. */
const APPLICATION_DIRECTORY_MODE = 0o750;

/**
 * The place where tasks are put together: beside the application's directory, on the same file system, under a name
 * that Kafka Streams does not look at. What others left there is removed at the start, our own at the end.
 */
export class Staging implements AsyncDisposable {
  readonly #root: string;

  private constructor(root: string) {
    this.#root = root;
  }

  static async open(stateDir: string, name: string): Promise<Staging> {
    const ours = join(stateDir, WARMSTATE_DIRECTORY);
    return onDisk(`make ${ours}`, async () => {
      await mkdir(ours, { recursive: true });
      for (const left of await readdir(ours)) {
        if (left.startsWith(STAGING_PREFIX)) await rm(join(ours, left), { recursive: true, force: true });
      }
      const root = join(ours, `${STAGING_PREFIX}${name}`);
      await mkdir(root);
      return new Staging(root);
    });
  }

  get tasksDirectory(): string {
    return join(this.#root, 'tasks');
  }

  /** Where a directory that is replaced waits for its removal. */
  get replacedDirectory(): string {
    return join(this.#root, 'replaced');
  }

  taskDirectory(task: string): string {
    return join(this.tasksDirectory, task);
  }

  /** Every directory that the files of an entry lie in, empty stores included. */
  async makeTask(entry: Entry): Promise<void> {
    const task = this.taskDirectory(entry.task);
    await onDisk(`make ${task}`, async () => {
      await rm(task, { recursive: true, force: true });
      for (const directory of directoriesOf(entry)) await mkdir(join(task, directory), { recursive: true });
    });
  }

  async removeTask(task: string): Promise<void> {
    await onDisk(`remove ${task}`, () => rm(this.taskDirectory(task), { recursive: true, force: true }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await onDisk(`remove ${this.#root}`, () => rm(this.#root, { recursive: true, force: true }));
  }
}

export interface InstallTools extends CaptureTools {
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
  const staged = staging.taskDirectory(entry.task);
  const target = join(tools.applicationDirectory, entry.task);
  const stampSeconds = stampOf(tools.toWallMs(entry.stateTimeMs));
  await onDisk(`finish ${staged}`, () => stampAndSync(staged, entry, stampSeconds));
  await assertInstallable(staging, entry, tools);
  tools.signal.throwIfAborted();
  await onDisk(`install ${target}`, async () => {
    await mkdir(tools.applicationDirectory, { recursive: true, mode: APPLICATION_DIRECTORY_MODE });
    await mkdir(staging.replacedDirectory, { recursive: true });
    // A crash between the two renames leaves the task cold, never mixed.
    await rename(target, join(staging.replacedDirectory, entry.task)).catch((error: unknown) => {
      if (systemErrorCode(error) !== 'ENOENT') throw error;
    });
    await rename(staged, target);
    await utimes(target, stampSeconds, stampSeconds);
    await syncDirectory(tools.applicationDirectory);
  });
  return describeInstalled(target, { entry, snapshot }, tools.files);
}

/** Copies tables that lie on the volume already into the staged task; returns what is still to be fetched. */
export async function reuseLocalFiles(
  entry: Entry,
  where: { readonly local: string; readonly staged: string },
  tools: Pick<CaptureTools, 'files' | 'signal'>,
): Promise<readonly StoredFile[]> {
  const missing: StoredFile[] = [];
  for (const file of filesOfEntry(entry)) {
    tools.signal.throwIfAborted();
    const source = join(where.local, file.path);
    const facts = file.path.endsWith('.sst') ? await tools.files.stat(source) : undefined;
    const isCandidate = facts?.kind === 'file' && facts.sizeBytes === file.sizeBytes;
    if (!isCandidate || !(await copyIfSame(file, source, { target: join(where.staged, file.path), ...tools })))
      missing.push(file);
  }
  return missing;
}

async function copyIfSame(
  file: StoredFile,
  source: string,
  to: { readonly target: string } & Pick<CaptureTools, 'files' | 'signal'>,
): Promise<boolean> {
  return onDisk(`copy ${source}`, async () => {
    // A new file, born now: a restored table must never look older than the checkpoint it came with.
    await copyFile(source, to.target, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL);
    await using copied = await to.files.hold(to.target);
    if (copied === undefined) return false;
    const content = {
      path: file.path,
      sizeBytes: file.sizeBytes,
      read: (buffer: Uint8Array, position: number) => copied.read(buffer, position),
      assertUnchanged: async () => {},
    };
    if ((await hashSource(content, to.signal)) === file.sha256) {
      await using handle = await open(to.target, 'r');
      await handle.sync();
      return true;
    }
    await rm(to.target);
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
  const offsets = sight.checkpoint?.content.offsets ?? new Map<string, bigint>();
  if (!hasSameItems([...offsets].map(String), [...entry.offsets].map(String)))
    throw refusal(entry, 'its offsets are not those of its .checkpoint');
  const databases = new Set(filesOfEntry(entry).flatMap(({ path }) => (path.includes('/') ? [dirname(path)] : [])));
  if (
    !hasSameItems(
      sight.databases.map(({ path }) => path),
      [...databases],
    )
  )
    throw refusal(entry, 'its databases are not those of its document');
  const live = capture.stores.flatMap((store) => store.tables.map(({ path }) => path));
  const named = filesOfEntry(entry).filter(({ path }) => /\.(?:sst|blob)$/.test(path));
  if (
    !hasSameItems(
      live,
      named.map(({ path }) => path),
    )
  )
    throw refusal(entry, 'its tables are not those of its manifests');
  const { atLeastOnce } = judge(sight, {
    applicationId: tools.applicationId,
    nowMs: tools.clock.nowMs(),
    isRunning: false,
    clockSteppedBack: false,
    memory: undefined,
    installedQuality: entry.quality,
  });
  if (atLeastOnce.kind === 'refused') throw refusal(entry, atLeastOnce.why.message);
}

function hasSameItems(left: readonly string[], right: readonly string[]): boolean {
  return left.length === right.length && new Set(left).symmetricDifference(new Set(right)).size === 0;
}

function refusal(entry: Entry, why: string): Failure {
  return new Failure('corrupt', `cannot install ${entry.task}: ${why}`);
}

/** Every directory of an entry below its task directory, parents first; '' is the task directory itself. */
function directoriesOf(entry: Entry): readonly string[] {
  const directories = new Set(['']);
  for (const { name, kind } of entry.stores) directories.add(kind === 'rocksdb' ? `rocksdb/${name}` : name);
  for (const { path } of filesOfEntry(entry)) directories.add(dirname(path) === '.' ? '' : dirname(path));
  for (const directory of directories) {
    for (let parent = dirname(directory); parent !== '.'; parent = dirname(parent)) directories.add(parent);
  }
  return [...directories].sort();
}

/**
 * The checkpoint and all directories get the age of the state (A3): Kafka Streams deletes what is too old by the age of
 * the directory, and nothing that Kafka writes later is older. Tables keep the stamps of their birth, which is now.
 */
async function stampAndSync(staged: string, entry: Entry, stampSeconds: number): Promise<void> {
  if (entry.layout === 'file') await utimes(join(staged, CHECKPOINT_FILE), stampSeconds, stampSeconds);
  for (const directory of directoriesOf(entry).toReversed()) {
    const path = join(staged, directory);
    await utimes(path, stampSeconds, stampSeconds);
    await syncDirectory(path);
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
  const { task, capturedBy, quality, layout, stateTimeMs, capturedAtMs, offsets } = entry;
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
    files: installed,
  };
}

export async function syncDirectory(path: string): Promise<void> {
  await using handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  await handle.sync();
}

/** Runs what writes to the state directory; `what` is what could not be done, for the message. */
export async function onDisk<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    const code = systemErrorCode(cause);
    if (code === undefined) throw cause;
    if (code === 'ENOSPC' || code === 'EDQUOT') {
      throw new Failure('unavailable', `cannot ${what}: no space`, {
        cause,
        detail: 'no_space',
        hint: 'make room on the volume',
      });
    }
    if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') {
      const hint = 'run as the user or group of the application, with the state directory mounted writable';
      throw new Failure('unavailable', `cannot ${what}: permission denied`, { cause, detail: 'denied', hint });
    }
    throw new Failure('unavailable', `cannot ${what}: ${messageOf(cause)}`, { cause });
  }
}
