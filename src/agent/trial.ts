import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { isFailure } from '../base/failure.ts';
import { type FileAccess, readWhole } from '../base/file-access.ts';
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
  /** What the restore of this pod left on the volume. */
  readonly report: RestoreReport;
  /** What processes before this one saw after the same restore. */
  readonly earlier: Trial | undefined;
  readonly files: FileAccess;
  readonly askLock: (applicationDirectory: string) => Promise<ApplicationState>;
  readonly clock: Clock;
  readonly emit: Emit;
  /** Told what is known by now, whenever it changed. */
  readonly onChange: (trial: TrialFinding) => void;
}

/** What is known of a trial in this process, and what stands in the way. */
export interface TrialFinding {
  readonly trial: Trial;
  readonly problem: AgentProblem | undefined;
}

/** An application that dies over its state lives for seconds; a look costs a few calls of the file system. */
const LOOK_INTERVAL_MS = 1_000;
/** What a CURRENT file may hold. */
const CURRENT_BYTES_MAX = 1024;

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
  const later = [...listing.recorded].filter((epoch) => isEpochOf(epoch, instance) && epoch > restoreEpoch);
  const loaded = await loadRecords(repository, { ...listing, recorded: new Set(later) }, { signal: of.signal });
  return judgeTrial(
    loaded.map(({ record }) => record),
    restoreEpoch,
  );
}

/**
 * Looks at the application until it is known to live with what was restored, or `signal` aborts: at the latest when the
 * pod is told to end, for what is lost then is nobody's fault. Where nothing is on trial it returns at once.
 */
export async function followTrial(parts: TrialParts, signal: AbortSignal): Promise<void> {
  const { applicationDirectory, report, earlier, clock } = parts;
  if (report.epoch === undefined || report.installed.length === 0 || earlier?.state === 'confirmed') return;
  const traces = new Traces(report, parts);
  let watch = NOTHING_SEEN;
  while (!signal.aborted && watch.state !== 'confirmed') {
    const state = await unlessUnavailable(() => parts.askLock(applicationDirectory));
    if (state === 'unknown') return; // This platform cannot tell: nothing is confirmed, nothing condemned.
    if (state !== undefined && !signal.aborted) {
      const isHeld = state === 'running';
      if (isHeld) await traces.look();
      const before = watch;
      const { hasOpened, hasTried } = traces;
      watch = watchTrial(before, { monotonicMs: clock.monotonicMs(), isHeld, hasOpened, hasTried });
      if (hasChanged(before, watch)) tell(watch, before, parts);
    }
    await clock.sleep(LOOK_INTERVAL_MS, signal);
  }
}

function hasChanged(before: TrialWatch, after: TrialWatch): boolean {
  return before.state !== after.state || before.lockTaken !== after.lockTaken || before.lockLost !== after.lockLost;
}

function tell({ state, lockTaken, lockLost }: TrialWatch, before: TrialWatch, parts: TrialParts): void {
  const trial = { state, atMs: parts.clock.nowMs(), lockTaken, lockLost };
  const problem = state === 'failed' ? describeFailure(trial, parts.report) : undefined;
  if (state !== before.state && problem !== undefined) {
    parts.emit({ kind: 'notice', name: 'trial-failed', level: 'error', message: problem.message });
  }
  if (state === 'confirmed') {
    const message = 'the application lives with what was restored';
    parts.emit({ kind: 'notice', name: 'trial-confirmed', level: 'info', message });
  }
  parts.onChange({ trial, problem });
}

function describeFailure({ lockLost, atMs }: Trial, { installed, appVersion }: RestoreReport): AgentProblem {
  const tasks = installed.map(({ task }) => task).join(', ');
  const who = appVersion === undefined ? 'the application' : `version ${appVersion} of the application`;
  return {
    area: 'trial',
    message: `${who} ended ${lockLost} times after ${tasks} had been restored, and was not seen to live with it`,
    hint: 'read its log; replace the pod: when the next one ends like this too, these tasks start cold from then on',
    sinceMs: atMs,
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

  async look(): Promise<void> {
    for (const task of this.#tasks) {
      if (this.#hasOpened) return;
      await unlessUnavailable(() => this.#lookAt(task));
    }
  }

  async #lookAt(installed: InstalledTask): Promise<void> {
    const { files, applicationDirectory } = this.#parts;
    const directory = join(applicationDirectory, installed.task);
    const { device, inode, birthtimeNs } = (await files.stat(directory)) ?? {};
    const isSame = device === installed.device && inode === installed.inode && birthtimeNs === installed.birthtimeNs;
    if (!isSame) return;
    const paths = new Set(installed.files.map(({ path }) => path));
    for (const path of paths) {
      if (!path.endsWith('/CURRENT')) continue;
      const database = path.slice(0, -'/CURRENT'.length);
      // RocksDB leaves it at every attempt to open, and it is never captured.
      if ((await files.stat(join(directory, database, 'LOCK'))) === undefined) continue;
      this.#hasTried = true;
      const current = await readWhole(files, join(directory, path), CURRENT_BYTES_MAX);
      const isOpened = current !== undefined && !paths.has(`${database}/${parseCurrent(current.bytes)}`);
      this.#hasOpened ||= isOpened && this.#warm.has(installed.task);
      if (this.#hasOpened) return;
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
