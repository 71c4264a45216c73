import { join } from 'node:path';
import { type Failure, isFailure } from '../base/failure.ts';
import type { CaptureTools } from '../capture/capture.ts';
import type { Entry, SnapshotDocument } from '../repository/document.ts';
import { formatSnapshotName, type SnapshotName } from '../repository/keys.ts';
import { summarise } from '../repository/record.ts';
import { documentsOf, loadDocument, type Repository, type RepositoryListing } from '../repository/repository.ts';
import type { InstalledTask, RestoredTask } from '../repository/restore-result.ts';
import type { ObjectStore } from '../storage/object-store.ts';
import type { Explanation } from '../streams/reason.ts';
import { compareTasks } from '../streams/state-directory.ts';
import { downloadFiles } from '../transfer/download.ts';
import { diskSink, type PlacedFile } from '../transfer/sink.ts';
import { type InstallTools, installTask, reuseLocalFiles, Staging } from './install.ts';
import { type LocalTask, type OfferedEntry, type PlanTerms, planRestore, type TaskPlan } from './plan.ts';

export interface FillParts {
  readonly repository: Repository;
  readonly listing: RepositoryListing;
  readonly offers: readonly OfferedEntry[];
  readonly locals: readonly LocalTask[];
  readonly terms: Omit<PlanTerms, 'objection'>;
  /** What to add to our clock for the store's. */
  readonly storeAheadMs: number;
  readonly place: { readonly applicationDirectory: string };
  readonly settings: { readonly stateDir: string; readonly applicationId: string; readonly concurrency: number };
  readonly tools: CaptureTools & { readonly store: ObjectStore; readonly random: { token(length: number): string } };
}

export interface Filled {
  readonly tasks: readonly RestoredTask[];
  readonly installed: readonly InstalledTask[];
}

/** Documents before the newest that are looked through when a newer entry turns out to be damaged. */
const PREDECESSORS_MAX = 8;

/**
 * Carries out a plan. A task whose objects are missing or wrong gets its next best entry, then a cold start; a store or
 * a disk that is unavailable, or the deadline, ends the work: what is installed by then stays, the rest starts cold.
 */
export async function fill(plans: readonly TaskPlan[], parts: FillParts): Promise<Filled> {
  const work = new Work(parts);
  const warm = work.settle(plans);
  if (warm.length > 0) {
    await using staging = await Staging.open(parts.settings.stateDir, parts.tools.random.token(8));
    await work.run(warm, staging);
  }
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
  readonly #documents = new Map<string, Promise<SnapshotDocument>>();
  /** Per task what was found damaged: the snapshots that took the bytes, or the documents that cannot be read. */
  readonly #damaged = new Map<string, Map<string, Explanation>>();
  #offers: readonly OfferedEntry[];
  #hasPredecessors = false;

  constructor(parts: FillParts) {
    this.#parts = parts;
    this.#offers = parts.offers;
  }

  /** Notes what needs no work, and returns what does. */
  settle(plans: readonly TaskPlan[]): readonly WarmPlan[] {
    for (const plan of plans) if (plan.kind !== 'warm') this.#results.set(plan.task, describePlan(plan));
    return plans.filter((plan) => plan.kind === 'warm');
  }

  async run(warm: readonly WarmPlan[], staging: Staging): Promise<void> {
    let left = warm;
    try {
      while (left.length > 0) {
        const failed = await this.#attempt(left, staging);
        left = failed.length === 0 ? [] : await this.#planAgain(failed);
      }
    } catch (error) {
      const why = reasonFor(error);
      if (why === undefined) throw error;
      this.#parts.tools.emit({ kind: 'notice', level: 'error', message: why.message });
      for (const plan of warm) {
        if (!this.#results.has(plan.task))
          this.#results.set(plan.task, describePlan({ kind: 'cold', task: plan.task, why }));
      }
    }
  }

  filled(): Filled {
    const tasks = [...this.#results.values()].sort((left, right) => compareTasks(left.task, right.task));
    return { tasks, installed: this.#installed };
  }

  /** Downloads and installs what it can; returns the tasks of which something is damaged. */
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
        open: diskSink.open,
        isWanted: ({ task }) => !isDamaged(task),
        finish: async (item) => {
          await diskSink.finish(item);
          const files = (left.get(item.task) ?? 0) - 1;
          left.set(item.task, files);
          if (files === 0) await finishTask(item.task);
        },
        reject: ({ task }, { failure }) => {
          const plan = chosen.get(task)?.plan;
          if (plan !== undefined) this.#noteDamage(task, plan.offer.capturedBy, failure);
        },
      },
    );
    const failed = plans.map(({ task }) => task).filter((task) => !this.#results.has(task));
    for (const task of failed) await staging.removeTask(task);
    return failed;
  }

  async #install({ plan, entry }: ChosenTask, staging: Staging): Promise<void> {
    const { place, settings, storeAheadMs, tools } = this.#parts;
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
      if (entry !== undefined) return entry;
      this.#noteDamage(plan.task, name, {
        message: `the snapshot ${name} has no entry of ${plan.task}, though its record says so`,
      });
    } catch (error) {
      if (!isFailure(error, 'missing', 'corrupt', 'invalid')) throw error;
      this.#noteDamage(plan.task, name, error);
    }
    return undefined;
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
    await this.#addPredecessors();
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
        objection: (offer) => this.#objection(offer),
      },
    );
    return this.settle(plans);
  }

  async #addPredecessors(): Promise<void> {
    if (this.#hasPredecessors) return;
    this.#hasPredecessors = true;
    const { listing } = this.#parts;
    const known = new Set(this.#offers.map((offer) => formatSnapshotName(offer)));
    const older = listing.epochs
      .flatMap((epoch) => documentsOf(listing, epoch).slice(1))
      .filter((name) => !known.has(formatSnapshotName(name)));
    const youngest = older.sort((left, right) =>
      left.epoch < right.epoch ? 1 : left.epoch > right.epoch ? -1 : right.n - left.n,
    );
    for (const name of youngest.slice(0, PREDECESSORS_MAX)) {
      const document = await this.#loadDocument(name).catch((error: unknown) => {
        if (!isFailure(error, 'missing', 'corrupt', 'invalid')) throw error;
        return undefined; // Nothing is lost that was offered.
      });
      this.#offers = [
        ...this.#offers,
        ...(document?.entries ?? []).map((entry) => ({ ...summarise(entry), ...name, lives: false })),
      ];
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

/** Why the tasks that are left start cold, or undefined for what is no Failure. */
function reasonFor(error: unknown): Explanation | undefined {
  if (!isFailure(error)) return undefined;
  const reason = error.kind === 'deadline' ? 'deadline' : (error.detail ?? 'storage');
  return { reason, message: error.message };
}
