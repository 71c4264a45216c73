import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { Failure, isFailure } from '../base/failure.ts';
import type { CaptureTools } from '../capture/capture.ts';
import type { Entry, SnapshotDocument } from '../repository/document.ts';
import { formatSnapshotName, type SnapshotName } from '../repository/keys.ts';
import { summarise } from '../repository/record.ts';
import { documentsOf, loadDocument, type Repository, type RepositoryListing } from '../repository/repository.ts';
import type { InstalledTask, RestoredTask } from '../repository/restore-result.ts';
import { findDamaged, type Withdrawals } from '../repository/withdrawals.ts';
import type { ObjectStore } from '../storage/object-store.ts';
import type { ApplicationState } from '../streams/app-lock.ts';
import type { Explanation, Reason } from '../streams/reason.ts';
import { compareTasks } from '../streams/state-directory.ts';
import { downloadFiles } from '../transfer/download.ts';
import { diskSink, type PlacedFile } from '../transfer/sink.ts';
import type { Doubts } from './damage.ts';
import { type DiskOperations, onDisk } from './disk.ts';
import { type InstallTools, installTask, reuseLocalFiles } from './install.ts';
import { type LocalTask, type OfferedEntry, type PlanTerms, planRestore, type TaskPlan, withoutOffer } from './plan.ts';
import { Staging } from './staging.ts';

export interface FillParts {
  readonly repository: Repository;
  readonly listing: RepositoryListing;
  readonly offers: readonly OfferedEntry[];
  readonly locals: readonly LocalTask[];
  /** Tasks whose directory must not stay, where it is not what is said of `locals`. */
  readonly doomed?: readonly string[];
  readonly terms: PlanTerms;
  readonly withdrawals: Withdrawals;
  /** Takes every object that seems missing or wrong. */
  readonly doubts: Doubts;
  /** What to add to our clock for the store's. */
  readonly storeAheadMs: number;
  readonly place: { readonly applicationDirectory: string };
  readonly settings: {
    readonly stateDir: string;
    readonly applicationId: string;
    readonly concurrency: number;
    /** The one snapshot that was asked for: no other serves in its place. */
    readonly snapshot: string | undefined;
  };
  readonly tools: CaptureTools & {
    readonly store: ObjectStore;
    readonly disk: DiskOperations;
    readonly askLock: (applicationDirectory: string) => Promise<ApplicationState>;
    readonly random: { token(length: number): string };
  };
}

export interface Filled {
  readonly tasks: readonly RestoredTask[];
  readonly installed: readonly InstalledTask[];
  /** What was on the volume and was taken away. */
  readonly cleared: readonly string[];
}

/** Documents of an epoch before the offered one that are looked through when that one's entry turns out to be damaged. */
const PREDECESSORS_MAX = 8;

/**
 * Carries out a plan. A task whose objects are missing or wrong gets its next best entry, then a cold start; a store or
 * a disk that is unavailable, or the deadline, ends the work: what is installed by then stays, the rest starts cold.
 */
export async function fill(plans: readonly TaskPlan[], parts: FillParts): Promise<Filled> {
  const work = new Work(parts);
  const warm = work.settle(plans);
  const doomed = parts.doomed ?? work.findDoomed(plans);
  if (warm.length > 0 || doomed.length > 0) await work.run(warm, doomed);
  parts.tools.emit({ kind: 'work-finished', work: 'download' });
  return work.filled();
}

type WarmPlan = Extract<TaskPlan, { kind: 'warm' }>;

/** A file on its way into the staged directory of a task. */
interface StagedFile extends PlacedFile {
  readonly task: string;
}

interface ChosenTask {
  readonly plan: WarmPlan;
  readonly entry: Entry;
}

class Work {
  readonly #parts: FillParts;
  readonly #results = new Map<string, RestoredTask>();
  readonly #installed: InstalledTask[] = [];
  readonly #cleared: string[] = [];
  readonly #documents = new Map<string, Promise<SnapshotDocument>>();
  /** Per task what was found damaged: the snapshots that took the bytes, or the documents that cannot be read. */
  readonly #damaged = new Map<string, Map<string, Explanation>>();
  #offers: readonly OfferedEntry[];
  /** Epochs whose documents before the offered one are among the offers by now. */
  readonly #searched = new Set<string>();

  constructor(parts: FillParts) {
    this.#parts = parts;
    this.#offers = parts.offers;
  }

  /** Notes what needs no work, and returns what does. */
  settle(plans: readonly TaskPlan[]): readonly WarmPlan[] {
    for (const plan of plans) if (plan.kind !== 'warm') this.#results.set(plan.task, describePlan(plan));
    return plans.filter((plan) => plan.kind === 'warm');
  }

  /** Tasks whose directory must not stay, whatever comes in its place. */
  findDoomed(plans: readonly TaskPlan[]): readonly string[] {
    const leaving = plans.filter(({ task, kind }) => kind !== 'local' && this.#localOf(task)?.quarantine !== undefined);
    return leaving.map(({ task }) => task);
  }

  async run(warm: readonly WarmPlan[], doomed: readonly string[]): Promise<void> {
    const { settings, tools } = this.#parts;
    try {
      await using staging = await Staging.open(settings.stateDir, tools.random.token(8), tools.disk);
      for (const task of doomed) await this.#clear(task, staging);
      let left = warm;
      while (left.length > 0) {
        const failed = await this.#attempt(left, staging);
        left = failed.length === 0 ? [] : await this.#planAgain(failed);
      }
    } catch (error) {
      const why = reasonFor(error);
      if (why === undefined) throw error;
      tools.emit({ kind: 'notice', name: 'filling-stopped', level: 'error', message: why.message });
      const left = warm.filter(({ task }) => !this.#results.has(task));
      this.settle(left.map(({ task }) => withoutOffer(task, this.#localOf(task), why)));
    }
  }

  filled(): Filled {
    const tasks = [...this.#results.values()].sort((left, right) => compareTasks(left.task, right.task));
    return { tasks, installed: this.#installed, cleared: this.#cleared };
  }

  #localOf(task: string): LocalTask | undefined {
    return this.#parts.locals.find((local) => local.task === task);
  }

  /** Downloads and installs what it can; returns the tasks that are to be planned again. */
  async #attempt(plans: readonly WarmPlan[], staging: Staging): Promise<readonly string[]> {
    const { settings, tools } = this.#parts;
    const chosen = new Map<string, ChosenTask>();
    for (const plan of plans) {
      const entry = await this.#loadEntry(plan);
      if (entry !== undefined) chosen.set(plan.task, { plan, entry });
    }
    const missing: StagedFile[] = [];
    const left = new Map<string, number>();
    for (const [task, { entry }] of chosen) {
      await staging.makeTask(entry);
      const staged = staging.taskDirectory(task);
      const local = join(this.#parts.place.applicationDirectory, task);
      const files = await reuseLocalFiles(entry, { local, staged }, tools);
      left.set(task, files.length);
      missing.push(...files.map((file) => ({ file, task, target: join(staged, file.path) })));
    }
    tools.emit({
      kind: 'work-announced',
      work: 'download',
      bytes: missing.reduce((sum, { file }) => sum + file.sizeBytes, 0),
    });

    const isDamaged = (task: string): boolean => {
      const { plan } = chosen.get(task) ?? {};
      return plan !== undefined && this.#objection(plan.offer) !== undefined;
    };
    const finishTask = async (task: string): Promise<void> => {
      const of = chosen.get(task);
      if (of !== undefined && !isDamaged(task)) await this.#install(of, staging);
    };
    for (const [task, files] of left) if (files === 0) await finishTask(task);
    const sink = diskSink(tools.disk);
    await downloadFiles<StagedFile>(
      missing,
      {
        store: tools.store,
        concurrency: settings.concurrency,
        work: 'download',
        emit: tools.emit,
        signal: tools.signal,
      },
      {
        open: sink.open,
        isWanted: ({ task }) => !isDamaged(task),
        finish: async (item) => {
          await sink.finish(item);
          const files = (left.get(item.task) ?? 0) - 1;
          left.set(item.task, files);
          if (files === 0) await finishTask(item.task);
        },
        reject: ({ task, file }, { key, failure }) => {
          const plan = chosen.get(task)?.plan;
          if (plan === undefined) return;
          const { capturedBy } = plan.offer;
          if (key !== undefined) this.#parts.doubts.add(key, { file, task, capturedBy });
          this.#noteDamage(task, capturedBy, failure);
        },
      },
    );
    const failed = plans.map(({ task }) => task).filter((task) => !this.#results.has(task));
    for (const task of failed) await staging.removeTask(task);
    return failed;
  }

  /** A directory is gone with one rename, or stays as it is. */
  async #clear(task: string, staging: Staging): Promise<void> {
    const { place, tools } = this.#parts;
    await this.#assertFree(`take ${task} away`);
    await staging.takeAway(join(place.applicationDirectory, task), task);
    await onDisk(`sync ${place.applicationDirectory}`, () => tools.disk.sync(place.applicationDirectory));
    this.#cleared.push(task);
  }

  /** The download took its time. */
  async #assertFree(what: string): Promise<void> {
    const { place, tools } = this.#parts;
    if ((await tools.askLock(place.applicationDirectory)) !== 'running') return;
    throw new Failure('conflict', `cannot ${what}: an application holds ${place.applicationDirectory} by now`);
  }

  async #install({ plan, entry }: ChosenTask, staging: Staging): Promise<void> {
    const { place, settings, storeAheadMs, tools } = this.#parts;
    await this.#assertFree(`install ${plan.task}`);
    const install: InstallTools = {
      ...tools,
      applicationDirectory: place.applicationDirectory,
      applicationId: settings.applicationId,
      toWallMs: (storeTimeMs) => storeTimeMs - storeAheadMs,
    };
    try {
      this.#installed.push(await installTask(staging, { entry, snapshot: formatSnapshotName(plan.offer) }, install));
      const why = this.#firstDamage(plan.task) ?? plan.why;
      this.#results.set(plan.task, describePlan({ ...plan, why }));
    } catch (error) {
      if (!isFailure(error, 'corrupt')) throw error;
      this.#noteDamage(plan.task, plan.offer.capturedBy, error);
    }
  }

  async #loadEntry(plan: WarmPlan): Promise<Entry | undefined> {
    const name = formatSnapshotName(plan.offer);
    try {
      const document = await this.#loadDocument(plan.offer);
      const entry = document.entries.find(({ task }) => task === plan.task);
      if (entry === undefined) {
        const message = `the snapshot ${name} has no entry of ${plan.task}, though its record says so`;
        this.#noteDamage(plan.task, name, { message });
      } else if (!isAsOffered(entry, plan.offer)) this.#correctOffer(plan.offer, entry);
      else {
        // Others found it damaged, and could not know of every entry that needs it.
        const damaged = findDamaged(this.#parts.withdrawals, entry);
        if (damaged === undefined) return entry;
        const message = `${damaged.path} needs ${damaged.key}, which is missing or wrong`;
        this.#noteDamage(plan.task, plan.offer.capturedBy, { message });
      }
    } catch (error) {
      if (!isFailure(error, 'missing', 'corrupt', 'invalid')) throw error;
      this.#noteDamage(plan.task, name, error);
    }
    return undefined;
  }

  /** The record said something else of this entry: what counts is the document, and the task is planned again by it. */
  #correctOffer(offer: OfferedEntry, entry: Entry): void {
    const message = `the record of ${offer.epoch} does not say of ${offer.task} what the snapshot ${formatSnapshotName(offer)} says`;
    this.#parts.tools.emit({ kind: 'notice', name: 'record-contradicted', level: 'warn', message });
    this.#offers = this.#offers.map((one) => (one === offer ? { ...one, ...summarise(entry) } : one));
  }

  #loadDocument(name: SnapshotName): Promise<SnapshotDocument> {
    const text = formatSnapshotName(name);
    const loading =
      this.#documents.get(text) ?? loadDocument(this.#parts.repository, name, { signal: this.#parts.tools.signal });
    this.#documents.set(text, loading);
    return loading;
  }

  #noteDamage(task: string, source: string, failure: Pick<Failure, 'message'>): void {
    const why: Explanation = { reason: 'damaged', message: failure.message };
    const ofTask = this.#damaged.get(task) ?? new Map<string, Explanation>();
    if (!ofTask.has(source)) {
      this.#parts.tools.emit({
        kind: 'notice',
        name: 'task-damaged',
        level: 'error',
        message: `${task} from ${source} is damaged: ${failure.message}`,
      });
    }
    this.#damaged.set(task, ofTask.set(source, why));
  }

  #firstDamage(task: string): Explanation | undefined {
    return this.#damaged.get(task)?.values().next().value;
  }

  #objection(offer: OfferedEntry): Explanation | undefined {
    const ofTask = this.#damaged.get(offer.task);
    return ofTask?.get(offer.capturedBy) ?? ofTask?.get(formatSnapshotName(offer));
  }

  /** The next best of what is not damaged, the predecessors of the newest documents included. */
  async #planAgain(tasks: readonly string[]): Promise<readonly WarmPlan[]> {
    if (this.#parts.settings.snapshot === undefined) await this.#addPredecessors(tasks);
    const { locals, terms } = this.#parts;
    const usedBytes = [...this.#results.values()].reduce(
      (sum, { decision, sizeBytes }) => sum + (decision === 'warm' ? sizeBytes : 0),
      0,
    );
    const of = new Set(tasks);
    const plans = planRestore(
      this.#offers.filter(({ task }) => of.has(task)),
      locals.filter(({ task }) => of.has(task)),
      {
        ...terms,
        selection: { kind: 'list', tasks },
        bytesMax: terms.bytesMax - usedBytes,
        objection: (offer) => this.#objection(offer) ?? terms.objection(offer),
      },
    );
    return this.settle(plans);
  }

  /** Offers what the epochs whose entries of these tasks are damaged had published before. */
  async #addPredecessors(tasks: readonly string[]): Promise<void> {
    const damaged = this.#offers.filter((offer) => tasks.includes(offer.task) && this.#objection(offer) !== undefined);
    for (const { epoch, n } of damaged) {
      if (this.#searched.has(epoch)) continue;
      this.#searched.add(epoch);
      const older = documentsOf(this.#parts.listing, epoch).filter((name) => name.n < n);
      for (const name of older.slice(0, PREDECESSORS_MAX)) {
        const document = await this.#loadDocument(name).catch((error: unknown) => {
          if (!isFailure(error, 'missing', 'corrupt', 'invalid')) throw error;
          return undefined; // Nothing is lost that was offered.
        });
        const entries = document?.entries ?? [];
        this.#offers = [...this.#offers, ...entries.map((entry) => ({ ...summarise(entry), ...name, lives: false }))];
      }
    }
  }
}

/** What a task is that was planned, or was carried out as planned. */
export function describePlan(plan: TaskPlan): RestoredTask {
  const { task, why } = plan;
  const nothing = {
    snapshot: undefined,
    quality: undefined,
    stateTimeMs: undefined,
    capturedAtMs: undefined,
    offsets: new Map<string, bigint>(),
    sizeBytes: 0,
  };
  switch (plan.kind) {
    case 'cold':
      return { ...nothing, task, decision: 'cold', why };
    case 'local': {
      const { verdict, offsets, stateTimeMs, sizeBytes } = plan.local;
      const quality = verdict.kind === 'valid' ? verdict.quality : undefined;
      return { ...nothing, task, decision: 'local', why, quality, offsets, stateTimeMs, sizeBytes };
    }
    case 'warm': {
      const { quality, stateTimeMs, capturedAtMs, offsets, sizeBytes } = plan.offer;
      return {
        task,
        decision: 'warm',
        why,
        snapshot: formatSnapshotName(plan.offer),
        quality,
        stateTimeMs,
        capturedAtMs,
        offsets,
        sizeBytes,
      };
    }
  }
}

function isAsOffered(entry: Entry, offer: OfferedEntry): boolean {
  return isDeepStrictEqual({ ...offer, ...summarise(entry) }, offer);
}

/** Why the tasks that are left are not made warm, or undefined for what is no Failure. */
function reasonFor(error: unknown): Explanation | undefined {
  // The staging directory could not be removed either; why is in what came first.
  const first: unknown = error instanceof SuppressedError ? error.suppressed : error;
  if (!isFailure(first)) return undefined;
  return { reason: reasonOf(first), message: first.message };
}

function reasonOf({ kind, detail }: Failure): Reason {
  if (kind === 'deadline') return 'deadline';
  return kind === 'conflict' ? 'application_running' : (detail ?? 'storage');
}
