import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { isFailure } from '../base/failure.ts';
import { type FileAccess, isSameDirectory, readWhole } from '../base/file-access.ts';
import type { AgentProblem } from '../events/agent-status.ts';
import type { Emit } from '../events/event.ts';
import { isEpochOf } from '../repository/keys.ts';
import type { Trial } from '../repository/record.ts';
import { loadRecords, type Repository, type RepositoryListing } from '../repository/repository.ts';
import type { InstalledTask, RestoreReport } from '../repository/restore-result.ts';
import { judgeTrial } from '../repository/trial.ts';
import { parseCurrent } from '../rocksdb/file-name.ts';
import type { ApplicationState } from '../streams/app-lock.ts';
import { NOTHING_SEEN, type TrialWatch, watchTrial } from './trial-watch.ts';

export interface TrialParts {
  readonly applicationDirectory: string;
  /** What the restore of this pod left on the volume; undefined where it left nothing. */
  readonly report: RestoreReport | undefined;
  readonly files: FileAccess;
  readonly clock: Pick<Clock, 'nowMs' | 'monotonicMs'>;
  readonly emit: Emit;
}

/** What changed with a look: for the record, by our clock, and for people. */
export interface TrialFinding {
  readonly trial: Trial;
  readonly problem: Pick<AgentProblem, 'message' | 'hint'> | undefined;
}

/** What a CURRENT file may hold. */
const CURRENT_BYTES_MAX = 1024;
/** So often traces are looked for while nobody holds the lock: they stay. */
const FREE_TRACES_MS = 5000;

/**
 * What was seen of the application since the restore with this epoch, by the processes of this instance before this
 * one: a sidecar may be restarted over and over while the trial goes on.
 */
export async function recallTrial(
  repository: Repository,
  listing: RepositoryListing,
  of: { readonly instance: string; readonly restoreEpoch: string | undefined; readonly signal: AbortSignal },
): Promise<Trial | undefined> {
  const { instance, restoreEpoch } = of;
  if (restoreEpoch === undefined) return undefined;
  const later = [...listing.recorded].filter(([epoch]) => isEpochOf(epoch, instance) && epoch > restoreEpoch);
  const loaded = await loadRecords(repository, { recorded: new Map(later) }, { signal: of.signal });
  return judgeTrial(
    loaded.map(({ record }) => record),
    restoreEpoch,
  );
}

/** An application that was given what a restore installed, until it is known to live with it. */
export class ApplicationTrial {
  readonly #parts: TrialParts;
  readonly #traces: Traces | undefined;
  #tracedMs = Number.NEGATIVE_INFINITY;
  #watch = NOTHING_SEEN;

  constructor(parts: TrialParts) {
    const { report } = parts;
    const isOnTrial = report?.epoch !== undefined && report.installed.length > 0;
    this.#parts = parts;
    this.#traces = isOnTrial ? new Traces(report, parts) : undefined;
  }

  /**
   * One look; to be taken every second or so, and not any more once the pod is told to end: what is lost then is nobody's
   * fault. Returns what there is to be told where that changed. It costs some calls of the file system for every
   * database while something is on trial, and nothing after. `earlier` is what processes before this one saw since the same restore.
   */
  async look(
    state: ApplicationState | undefined,
    earlier: Pick<Trial, 'state'> | undefined,
  ): Promise<TrialFinding | undefined> {
    const before = this.#watch;
    const isOver = before.state === 'confirmed' || earlier?.state === 'confirmed';
    // Where nobody can tell nothing is confirmed, and nothing condemned.
    if (this.#traces === undefined || isOver || state === undefined || state === 'unknown') return undefined;
    const isHeld = state === 'running';
    const monotonicMs = this.#parts.clock.monotonicMs();
    // Also right after: it may have tried at the last moment.
    const isLeft = before.held !== undefined || monotonicMs - this.#tracedMs >= FREE_TRACES_MS;
    const isDue = isHeld ? !this.#traces.hasOpened : isLeft;
    if (isDue) this.#tracedMs = monotonicMs;
    const hasTriedAnew = isDue && (await this.#traces.look());
    const { hasOpened, hasTried } = this.#traces;
    this.#watch = watchTrial(before, { monotonicMs, isHeld, hasOpened, hasTried, hasTriedAnew });
    return hasChanged(before, this.#watch) ? this.#tell() : undefined;
  }

  #tell(): TrialFinding {
    const { report, clock, emit } = this.#parts;
    const { state, lockTaken, lockLost } = this.#watch;
    const trial = { state, atMs: clock.nowMs(), lockTaken, lockLost };
    if (state === 'confirmed') {
      const message = 'the application lives with what was restored';
      emit({ kind: 'notice', name: 'trial-confirmed', level: 'info', message });
    }
    return { trial, problem: state === 'failed' && report !== undefined ? describeFailure(trial, report) : undefined };
  }
}

function hasChanged(before: TrialWatch, after: TrialWatch): boolean {
  return before.state !== after.state || before.lockTaken !== after.lockTaken || before.lockLost !== after.lockLost;
}

function describeFailure(
  { lockLost }: Trial,
  { installed, appVersion }: RestoreReport,
): Pick<AgentProblem, 'message' | 'hint'> {
  const tasks = installed.map(({ task }) => task).join(', ');
  const who = appVersion === undefined ? 'the application' : `version ${appVersion} of the application`;
  return {
    message: `${who} ended ${lockLost} times after ${tasks} had been restored, and was not seen to live with it`,
    hint: 'read its log; replace the pod: when the next one ends like this too, these tasks start cold from then on',
  };
}

/** What an application leaves behind in the directories that were installed. */
class Traces {
  readonly #parts: Pick<TrialParts, 'applicationDirectory' | 'files'>;
  readonly #tasks: readonly InstalledTask[];
  /** Opened before this restore, what it left in place tells nothing. */
  readonly #warm: ReadonlySet<string>;
  #hasOpened = false;
  #hasTried: boolean;
  /** The number of its LOG, by the database; undefined until the first look, which cannot tell when that began. */
  #attempts: ReadonlyMap<string, bigint> | undefined;

  constructor({ installed, result }: RestoreReport, parts: Pick<TrialParts, 'applicationDirectory' | 'files'>) {
    this.#parts = parts;
    this.#tasks = installed;
    this.#warm = new Set(result.tasks.filter(({ decision }) => decision === 'warm').map(({ task }) => task));
    // Kafka Streams 4.3 refuses a directory that it does not know before it opens anything.
    this.#hasTried = installed.some(({ layout }) => layout === 'column-family');
  }

  get hasOpened(): boolean {
    return this.#hasOpened;
  }

  get hasTried(): boolean {
    return this.#hasTried;
  }

  /** Returns whether a database was opened since the last time, or tried to be. */
  async look(): Promise<boolean> {
    const before = this.#attempts;
    const attempts = new Map(before);
    for (const task of this.#tasks) await unlessUnavailable(() => this.#lookAt(task, attempts));
    this.#attempts = attempts;
    return before !== undefined && [...attempts].some(([database, attempt]) => before.get(database) !== attempt);
  }

  async #lookAt(installed: InstalledTask, attempts: Map<string, bigint>): Promise<void> {
    const { files, applicationDirectory } = this.#parts;
    const directory = join(applicationDirectory, installed.task);
    const facts = await files.stat(directory);
    if (facts === undefined || !isSameDirectory(installed, facts)) return;
    const paths = new Set(installed.files.map(({ path }) => path));
    for (const path of paths) {
      if (!path.endsWith('/CURRENT')) continue;
      const database = path.slice(0, -'/CURRENT'.length);
      // RocksDB leaves LOCK, and begins another LOG, at every attempt to open; neither is ever captured.
      const attempt = await files.stat(join(directory, database, 'LOG'));
      if (attempt !== undefined) attempts.set(join(directory, database), attempt.inode);
      if (this.#hasOpened || (await files.stat(join(directory, database, 'LOCK'))) === undefined) continue;
      this.#hasTried = true;
      const current = await readWhole(files, join(directory, path), CURRENT_BYTES_MAX);
      const isOpened = current !== undefined && !paths.has(`${database}/${parseCurrent(current.bytes)}`);
      this.#hasOpened ||= isOpened && this.#warm.has(installed.task);
    }
  }
}

/** A look that fails is no look: the next one may not. */
async function unlessUnavailable<T>(look: () => Promise<T>): Promise<T | undefined> {
  try {
    return await look();
  } catch (error) {
    if (!isFailure(error)) throw error;
    return undefined;
  }
}
