import type { Clock, Random } from '../base/clock.ts';
import type { Budget } from '../base/concurrency.ts';
import type { FileAccess } from '../base/file-access.ts';
import type { Capture } from '../capture/capture.ts';
import { ManifestTails } from '../capture/manifest-tail.ts';
import type { Emit } from '../events/event.ts';
import { chooseCarried, hasEqualOffsets, keepStateTime, type Terms } from '../repository/best.ts';
import { type Entry, filesOfEntry, type StoredFile } from '../repository/document.ts';
import { formatSnapshotName } from '../repository/keys.ts';
import { findInstalledQuality, recallTask } from '../repository/recall.ts';
import type { Taint } from '../repository/record.ts';
import { findInstalledTask } from '../repository/restore-result.ts';
import type { Attempt, RepositoryWriter } from '../repository/writer.ts';
import type { ObjectStore } from '../storage/object-store.ts';
import type { Traffic } from '../storage/observed-store.ts';
import type { ApplicationState } from '../streams/app-lock.ts';
import type { Guarantee, JudgeContext, TaskMemory } from '../streams/quality.ts';
import type { Explanation } from '../streams/reason.ts';
import { compareTasks } from '../streams/state-directory.ts';
import { ARCHIVE_BYTES_MAX } from '../transfer/archive.ts';
import { uploadArchives } from '../transfer/upload-archive.ts';
import { type EntryOrigin, makeEntry, offsetsOf, sketchEntry } from './entry.ts';
import { KnownTables } from './known-tables.ts';
import { findPreviousEntries, type Legacy, teachTables } from './legacy.ts';
import { measureArchives } from './repacking.ts';
import type { SnapshotResult, SnapshotTask } from './snapshot-result.ts';
import { type LookedAt, type TakenTask, type TaskOutcome, takeTask } from './task-snapshot.ts';

export interface SnapshotSettings {
  readonly stateDir: string;
  readonly applicationId: string;
  readonly processingGuarantee: Guarantee;
  readonly instance: string;
  readonly lineage: string;
  readonly compression: 'zstd' | 'none';
  readonly concurrency: number;
  readonly maxAgeMs: number;
  /** `warmstate 0.1.0` */
  readonly program: string;
}

export interface SnapshotWorld {
  readonly store: ObjectStore;
  /** Until now. */
  readonly traffic: () => Traffic;
  readonly files: FileAccess;
  readonly askLock: (applicationDirectory: string) => Promise<ApplicationState>;
  readonly clock: Clock;
  readonly random: Random;
  /** For compressed stretches that wait to be sent. */
  readonly memory: Budget;
  readonly emit: Emit;
  readonly signal: AbortSignal;
}

export interface RoundParts {
  readonly settings: SnapshotSettings & { readonly applicationDirectory: string };
  readonly world: SnapshotWorld;
  readonly writer: RepositoryWriter;
  readonly legacy: Legacy;
}

/** A wall clock that lags this far behind the steady one was set back; less is how clocks are slewed. */
const CLOCK_STEP_MS = 100;

/** One round over all tasks: what it learns of each, until it publishes. */
export class Round {
  readonly #parts: RoundParts;
  readonly #attempt: Attempt;
  readonly #origin: EntryOrigin;
  readonly #previous: ReadonlyMap<string, Entry>;
  readonly #archiveUse: ReadonlyMap<string, number>;
  readonly #known = new KnownTables();
  readonly #started: { readonly wallMs: number; readonly monotonicMs: number };
  readonly #memories = new Map<string, TaskMemory>();
  readonly #entries = new Map<string, Entry>();
  readonly #results = new Map<string, SnapshotTask>();
  readonly #ahead: StoredFile[] = [];
  #taken: TakenTask[] = [];
  #reusedBytes = 0;

  constructor(parts: RoundParts) {
    const { legacy, world, writer } = parts;
    this.#parts = parts;
    this.#attempt = writer.nextAttempt();
    this.#origin = {
      capturedBy: formatSnapshotName(this.#attempt.name),
      toStoreTimeMs: (wallMs) => writer.toStoreTimeMs(wallMs),
    };
    this.#started = { wallMs: world.clock.nowMs(), monotonicMs: world.clock.monotonicMs() };
    this.#previous = findPreviousEntries(legacy, this.#terms());
    this.#archiveUse = measureArchives([...this.#previous.values()]);
    teachTables(legacy, this.#known);
  }

  async publish(tasks: readonly string[]): Promise<Pick<SnapshotResult, 'snapshot' | 'tasks' | 'bytesReused'>> {
    const { writer, world, settings } = this.#parts;
    await using manifests = new ManifestTails(world.files);
    const isRunning = (await world.askLock(settings.applicationDirectory)) !== 'stopped';
    try {
      for (const task of tasks) this.#note(task, await this.#take(task, { isRunning, manifests }));
      await this.#sendSmallFiles();
    } finally {
      await this.#release();
    }
    world.emit({ kind: 'work-finished', work: 'upload' });
    this.#carryForward();

    const contents = { entries: inOrder(this.#entries), ahead: this.#ahead, seen: this.#memories };
    const record = { state: 'sealed', taints: this.#taints() } as const;
    await writer.publish(this.#attempt, contents, { signal: world.signal, record });
    return { snapshot: this.#origin.capturedBy, tasks: inOrder(this.#results), bytesReused: this.#reusedBytes };
  }

  async #take(
    task: string,
    now: { readonly isRunning: boolean; readonly manifests: ManifestTails },
  ): Promise<TaskOutcome> {
    const { settings, world } = this.#parts;
    const previous = this.#previous.get(task);
    // One archive for all tasks, as long as their small files fit into it.
    if (smallBytes(this.#taken) >= ARCHIVE_BYTES_MAX) await this.#sendSmallFiles();
    const terms = {
      applicationDirectory: settings.applicationDirectory,
      guarantee: settings.processingGuarantee,
      contextOf: (capture: Capture) => this.#contextOf(capture, now.isRunning),
      isProgress: (look: LookedAt) =>
        previous === undefined ||
        (findUnfilled(previous, look) === undefined &&
          this.#choose(previous, sketchEntry(look, this.#origin)) !== previous),
      previous,
      archiveUse: this.#archiveUse,
    };
    return takeTask(task, terms, {
      ...world,
      manifests: now.manifests,
      known: this.#known,
      nextDataKey: () => this.#attempt.nextDataKey(),
      compression: settings.compression,
      concurrency: settings.concurrency,
    });
  }

  #note(task: string, outcome: TaskOutcome): void {
    switch (outcome.kind) {
      case 'taken':
        this.#memories.set(task, outcome.taken.judgement.memory);
        this.#taken.push(outcome.taken);
        return;
      case 'no-progress':
        this.#memories.set(task, outcome.look.judgement.memory);
        this.#noteNoProgress(task, outcome.look);
        return;
      case 'refused':
        this.#noteRefused(task, outcome.judgement?.memory ?? this.#parts.legacy.base?.seen.get(task));
        this.#ahead.push(...outcome.ahead);
        this.#setResult(task, 'uncapturable', { why: outcome.why });
        return;
      case 'gone':
        return;
    }
  }

  /** What was seen of a task that would not hold still now stays known: a taint must not be forgotten over it. */
  #noteRefused(task: string, memory: TaskMemory | undefined): void {
    if (memory !== undefined) this.#memories.set(task, memory);
  }

  /** Equal offsets are what is stored already; lesser ones, in a directory that was further, were thrown back by Kafka. */
  #noteNoProgress(task: string, look: LookedAt): void {
    const { capture } = look;
    const previous = this.#previous.get(task);
    if (previous === undefined) throw new Error(`bug: ${task} made no progress over nothing`);
    this.#entries.set(task, previous);
    const offsets = offsetsOf(capture);
    if (hasEqualOffsets(previous, { offsets })) {
      this.#reusedBytes += filesOfEntry(previous).reduce((sum, file) => sum + file.sizeBytes, 0);
      this.#setResult(task, 'unchanged', { entry: previous });
      return;
    }
    const unfilled = findUnfilled(previous, look);
    if (unfilled !== undefined) {
      const message = `${unfilled} has no offset yet: its store is still being filled`;
      this.#setResult(task, 'carried', { entry: previous, why: { reason: 'no_offset', message } });
      return;
    }
    const why = findRegression(this.#offsetsSeenIn(capture, previous), offsets);
    if (why !== undefined) {
      this.#parts.world.emit({
        kind: 'notice',
        name: 'task-regressed',
        level: 'error',
        message: `${task} was thrown back: ${why.message}`,
      });
    }
    this.#setResult(task, 'carried', { entry: previous, why });
  }

  /** What this very directory is known to have reached: as it was installed, and as it was captured since. */
  #offsetsSeenIn({ sight }: Capture, previous: Entry): ReadonlyMap<string, bigint> {
    const { report, base } = this.#parts.legacy;
    if (recallTask({ base, report: undefined }, sight) !== undefined) {
      const bornMs = this.#origin.toStoreTimeMs(Number(sight.facts.birthtimeNs / 1_000_000n));
      if (previous.capturedAtMs >= bornMs) return previous.offsets;
    }
    return (report === undefined ? undefined : findInstalledTask(report, sight))?.offsets ?? new Map();
  }

  /** Sends what is small of the tasks taken until now, and makes their entries. */
  async #sendSmallFiles(): Promise<void> {
    const { world } = this.#parts;
    const small = this.#taken.flatMap((task) => task.small);
    const uploaded = await uploadArchives(small, { ...world, nextKey: () => this.#attempt.nextArchiveKey() });
    for (const taken of this.#taken) {
      const { task } = taken.capture;
      const contents = new Map(taken.stored);
      for (const { path, entry, uid, source } of taken.small) {
        const sent = uploaded.get(entry);
        if (sent === undefined) throw new Error(`bug: ${entry} was not sent`);
        contents.set(path, { sizeBytes: source.sizeBytes, uid, ...sent });
      }
      const previous = this.#previous.get(task);
      const installed = this.#parts.legacy.report?.installed.find((one) => one.task === task);
      const made = makeEntry(taken, contents, this.#origin);
      // A2: also where the document that was installed from is gone by now.
      const captured = installed === undefined ? made : keepStateTime(made, installed);
      const entry = previous === undefined ? captured : this.#choose(previous, captured);
      this.#entries.set(task, entry);
      for (const content of taken.stored.values())
        if (!this.#wasSentNow(content)) this.#reusedBytes += content.sizeBytes;
      this.#setResult(task, 'captured', { entry, why: leftOut(taken) });
    }
    await this.#release();
  }

  /** Sent ahead in this very round, rather than found in the repository. */
  #wasSentNow({ objects }: Pick<StoredFile, 'objects'>): boolean {
    return objects.some(({ key }) => key.includes(`/data/${this.#attempt.name.epoch}/`));
  }

  async #release(): Promise<void> {
    const taken = this.#taken;
    this.#taken = [];
    for (const task of taken) await task[Symbol.asyncDispose]();
  }

  /** What was not captured goes on as it was, with its own state time, until that is too old. */
  #carryForward(): void {
    const { settings } = this.#parts;
    const oldestMs = this.#terms().nowMs - settings.maxAgeMs;
    for (const [task, previous] of this.#previous) if (!this.#entries.has(task)) this.#entries.set(task, previous);
    for (const [task, entry] of this.#entries) {
      const result = this.#results.get(task);
      if (entry.stateTimeMs < oldestMs) {
        this.#entries.delete(task);
        const why: Explanation = {
          reason: 'too_old',
          message: 'its offsets have stood still for longer than --max-age',
        };
        if (result !== undefined) this.#setResult(task, 'uncapturable', { why: result.why ?? why });
      } else if (result === undefined || result.outcome === 'uncapturable') {
        this.#setResult(task, 'carried', { entry, why: result?.why });
      }
    }
  }

  #contextOf({ task, sight }: Capture, isRunning: boolean): Omit<JudgeContext, 'nowMs'> {
    const { settings, legacy, world } = this.#parts;
    const passedMs = world.clock.monotonicMs() - this.#started.monotonicMs;
    return {
      applicationId: settings.applicationId,
      isRunning,
      clockSteppedBack: world.clock.nowMs() - this.#started.wallMs < passedMs - CLOCK_STEP_MS,
      memory: this.#memories.get(task) ?? recallTask(legacy, sight),
      installedQuality: findInstalledQuality(legacy.report, sight),
    };
  }

  #choose(previous: Entry, captured: Entry): Entry {
    return chooseCarried(previous, captured, this.#terms());
  }

  #terms(): Omit<Terms, 'objection'> {
    const { settings, world } = this.#parts;
    return {
      nowMs: this.#origin.toStoreTimeMs(world.clock.nowMs()),
      maxAgeMs: settings.maxAgeMs,
      guarantee: settings.processingGuarantee,
      layoutMax: 'column-family',
    };
  }

  #setResult(
    task: string,
    outcome: SnapshotTask['outcome'],
    { entry, why }: { readonly entry?: Entry | undefined; readonly why?: Explanation | undefined },
  ): void {
    const { quality, stateTimeMs, offsets = new Map() } = entry ?? {};
    this.#results.set(task, { task, outcome, quality, stateTimeMs, offsets, why });
  }

  #taints(): readonly Taint[] {
    return [...this.#memories].flatMap(([task, { tainted, device, inode }]) =>
      tainted ? [{ task, device, inode }] : [],
    );
  }
}

/** A changelog that the stored entry has and this look has not yet: a directory that is being filled again is no new topology. */
function findUnfilled(previous: Entry, { capture }: LookedAt): string | undefined {
  const unknown = capture.sight.checkpoint?.content.unknown;
  return [...previous.offsets.keys()].find((changelog) => unknown?.has(changelog));
}

function findRegression(
  before: ReadonlyMap<string, bigint>,
  now: ReadonlyMap<string, bigint>,
): Explanation | undefined {
  const [changelog, offset] = [...before].find(([key, value]) => (now.get(key) ?? value) < value) ?? [];
  if (changelog === undefined) return undefined;
  const message = `${changelog} stood at ${offset} in this directory and stands at ${now.get(changelog)} now: its topic was recreated or cut`;
  return { reason: 'regressed', message };
}

/** C3: stores that have tables but no offset stay at home. */
function leftOut({ judgement }: TakenTask): Explanation | undefined {
  if (judgement.leftOut.length === 0) return undefined;
  return { reason: 'no_offset', message: `without an offset, so left out: ${judgement.leftOut.join(', ')}` };
}

function smallBytes(tasks: readonly TakenTask[]): number {
  return tasks.flatMap((task) => task.small).reduce((sum, file) => sum + file.source.sizeBytes, 0);
}

function inOrder<T extends { readonly task: string }>(tasks: ReadonlyMap<string, T>): readonly T[] {
  return [...tasks.values()].sort((left, right) => compareTasks(left.task, right.task));
}
