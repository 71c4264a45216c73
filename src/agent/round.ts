import { chooseCarried, hasEqualOffsets, hasProgressed, keepStateTime, type Terms } from '../repository/best.ts';
import { type Entry, filesOfEntry, type StoredFile } from '../repository/document.ts';
import { formatSnapshotName, parseKey } from '../repository/keys.ts';
import { findInstalledTask } from '../repository/restore-result.ts';
import { whyNotOffered } from '../repository/withdrawals.ts';
import type { Attempt } from '../repository/writer.ts';
import { offsetsOf } from '../streams/offsets.ts';
import type { Explanation } from '../streams/reason.ts';
import { compareTasks } from '../streams/state-directory.ts';
import { ARCHIVE_BYTES_MAX } from '../transfer/archive.ts';
import { uploadArchives } from '../transfer/upload-archive.ts';
import { type EntryOrigin, makeEntry, sketchEntry } from './entry.ts';
import { findPreviousEntries } from './legacy.ts';
import type { LookedAt } from './looks.ts';
import { pinnedBytesMax } from './pin-limit.ts';
import { findUnfilled, saysSomething, saysTheSame } from './progress.ts';
import { measureArchives } from './repacking.ts';
import { RoundBrokers } from './round-brokers.ts';
import { type RoundOrder, type RoundOutcome, type RoundParts, SPARED_MS, type TaskFinding } from './round-parts.ts';
import type { SnapshotTask } from './snapshot-result.ts';
import { type TakenTask, type TaskOutcome, takeTask } from './task-snapshot.ts';
import { WIPED } from './wipe.ts';

/** One round over all tasks: what it learns of each, until it publishes. */
export class Round {
  readonly #parts: RoundParts;
  readonly #order: RoundOrder;
  readonly #attempt: Attempt;
  readonly #origin: EntryOrigin;
  #previous: ReadonlyMap<string, Entry>;
  readonly #brokers: RoundBrokers;
  readonly #archiveUse: ReadonlyMap<string, number>;
  readonly #entries = new Map<string, Entry>();
  readonly #results = new Map<string, SnapshotTask>();
  readonly #ahead = new Map<string, readonly StoredFile[]>();
  readonly #sentKeys = new Set<string>();
  readonly #distrusted: string[] = [];
  #taken: TakenTask[] = [];
  #reusedBytes = 0;

  constructor(parts: RoundParts, order: RoundOrder) {
    const { legacy, writer, brokers, looks, world } = parts;
    this.#parts = parts;
    this.#order = order;
    this.#attempt = writer.nextAttempt();
    this.#brokers = new RoundBrokers(brokers, looks, world.signal);
    this.#origin = {
      capturedBy: formatSnapshotName(this.#attempt.name),
      toStoreTimeMs: (wallMs) => writer.toStoreTimeMs(wallMs),
      storeTimeMs: () => writer.storeTimeMs(),
    };
    this.#previous = findPreviousEntries(legacy, {
      ...this.#terms(),
      whyWithdrawn: (entry) => this.#whyWithdrawn(entry),
    });
    this.#archiveUse = measureArchives([...this.#previous.values()]);
  }

  async publish(): Promise<RoundOutcome> {
    const { writer, world, newest, looks } = this.#parts;
    const { tasks, changed, isForced, record } = this.#order;
    this.#previous = await this.#brokers.sift(this.#previous);
    try {
      for (const task of tasks) {
        const finding = changed.has(task) || this.#isWithdrawn(task) ? undefined : this.#parts.before.get(task);
        const foreign = this.#brokers.whyForeign(task);
        if (foreign !== undefined) this.#setResult(task, 'uncapturable', { why: foreign });
        else if (finding === undefined) this.#note(task, await this.#take(task));
        else this.#noteUntouched(finding);
      }
      await this.#sendSmallFiles();
    } finally {
      await this.#release();
    }
    world.emit({ kind: 'work-finished', work: 'upload' });
    this.#carryForward();

    const contents = {
      entries: inOrder(this.#entries),
      ahead: [...this.#ahead.values()].flat(),
      seen: new Map(looks.memories),
    };
    const isNews = isForced || (newest === undefined ? saysSomething(contents) : !saysTheSame(contents, newest));
    const document = isNews
      ? await writer.publish(this.#attempt, contents, {
          signal: world.signal,
          record: { ...record, taints: this.#parts.looks.taints },
          leaning: this.#parts.leaning,
        })
      : undefined;
    const results = inOrder(this.#results);
    return {
      document,
      findings: new Map(
        results.map((result) => [result.task, { result, ahead: this.#ahead.get(result.task) ?? [] }] as const),
      ),
      result: {
        snapshot: document === undefined ? undefined : this.#origin.capturedBy,
        tasks: results,
        bytesReused: this.#reusedBytes,
      },
      isUnfinished: this.#isLate(),
      current: this.#brokers.current,
      distrusted: this.#distrusted,
    };
  }

  #isLate(): boolean {
    return this.#parts.world.clock.monotonicMs() >= this.#order.lateAtMs;
  }

  async #take(task: string): Promise<TaskOutcome> {
    const { settings, world, looks, known } = this.#parts;
    const previous = this.#previous.get(task);
    // One archive for all tasks, as long as their small files fit into it.
    if (smallBytes(this.#taken) >= ARCHIVE_BYTES_MAX) await this.#sendSmallFiles();
    const terms = {
      applicationDirectory: settings.applicationDirectory,
      isProgress: (look: LookedAt) => {
        const next = this.#next(task, look);
        return next !== this.#previousOf(task) && this.#whyWithdrawn(next) === undefined;
      },
      previous,
      archiveUse: this.#archiveUse,
      damaged: this.#parts.withdrawals.damagedObjects,
    };
    return takeTask(task, terms, {
      ...world,
      known,
      look: (options) => looks.look(task, options),
      pinnedBytesMax: async () => pinnedBytesMax(await world.askSpace(settings.stateDir)),
      isLate: () => this.#isLate(),
      nextDataKey: () => this.#nextDataKey(),
      compression: settings.compression,
      concurrency: settings.concurrency,
    });
  }

  /** Nothing about it has changed since the last round. */
  #noteUntouched({ result, ahead }: TaskFinding): void {
    const previous = this.#previous.get(result.task);
    this.#ahead.set(result.task, ahead);
    if (previous !== undefined) this.#reusedBytes += sizeOf(previous);
    this.#results.set(result.task, {
      ...result,
      outcome: result.outcome === 'captured' ? 'unchanged' : result.outcome,
    });
  }

  #note(task: string, outcome: TaskOutcome): void {
    switch (outcome.kind) {
      case 'taken':
        this.#taken.push(outcome.taken);
        return;
      case 'no-progress':
        this.#noteNoProgress(task, outcome.look);
        return;
      case 'refused':
        this.#ahead.set(task, outcome.ahead);
        this.#setResult(task, 'uncapturable', { why: outcome.why });
        return;
      case 'gone':
        return;
    }
  }

  /** Equal offsets are what is stored already; lesser ones are another's, or are being filled again. */
  #noteNoProgress(task: string, look: LookedAt): void {
    // A look beside this round may have found a regression since: that is the next round's.
    const previous = this.#previous.get(task);
    const withdrawn = this.#whyWithdrawn(this.#next(task, look));
    if (withdrawn !== undefined) {
      this.#setResult(task, 'uncapturable', { why: withdrawn });
      return;
    }
    if (previous === undefined) throw new Error(`bug: ${task} made no progress over nothing`);
    this.#entries.set(task, previous);
    const { offsets } = offsetsOf(look.capture.sight);
    if (hasEqualOffsets(previous, { offsets })) {
      this.#reusedBytes += sizeOf(previous);
      this.#setResult(task, 'unchanged', { entry: previous });
      return;
    }
    const unfilled = findUnfilled(previous, look);
    if (unfilled !== undefined) {
      const message = `${unfilled} has no offset yet: its store is still being filled`;
      this.#setResult(task, 'carried', { entry: previous, why: { reason: 'no_offset', message } });
      return;
    }
    this.#setResult(task, 'carried', { entry: previous });
  }

  /** What would be stored of a task after this look, without its files where that is news. */
  #next(task: string, look: LookedAt): Entry {
    const previous = this.#previousOf(task);
    const sketch = this.#keepSince(task, sketchEntry(look, this.#origin));
    this.#parts.looks.noteOffsetsSince(task, sketch);
    return previous === undefined ? sketch : this.#choose(previous, sketch, look);
  }

  #keepSince(task: string, captured: Entry): Entry {
    const known = this.#parts.looks.memories.get(task)?.offsetsSince;
    return known === undefined ? captured : keepStateTime(captured, known);
  }

  /**
   * What was stored of it; not where that is of another history than what stands there now. What was thrown back itself stays,
   * though its time is translated once more each time.
   */
  #previousOf(task: string): Entry | undefined {
    const previous = this.#previous.get(task);
    const regression = this.#parts.looks.regressions.get(task);
    if (previous === undefined || regression === undefined) return previous;
    const olderByMs = this.#origin.toStoreTimeMs(regression.stateTimeMs) - previous.stateTimeMs;
    const isThis = olderByMs <= SPARED_MS && !hasProgressed(previous, regression);
    return olderByMs > 0 && !isThis ? undefined : previous;
  }

  /** Sends what is small of the tasks taken until now, and makes their entries. */
  async #sendSmallFiles(): Promise<void> {
    const { world } = this.#parts;
    await this.#brokers.hear(this.#taken.map(({ capture }) => capture));
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
      const foreign = this.#brokers.whyForeign(task);
      if (foreign !== undefined) {
        this.#setResult(task, 'uncapturable', { why: foreign });
        continue;
      }
      const previous = this.#previousOf(task);
      const { report } = this.#parts.legacy;
      const installed = report === undefined ? undefined : findInstalledTask(report, taken.capture.sight);
      const made = { ...makeEntry(taken, contents, this.#origin), topicIds: this.#brokers.topicIdsOf(task) };
      // A2: also where the document that was installed from is gone by now, or the entry that was too old. Another directory
      // owes nothing to what was installed, though it may come to the same offsets.
      const captured = this.#keepSince(task, installed === undefined ? made : keepStateTime(made, installed));
      const entry = previous === undefined ? captured : this.#choose(previous, captured, taken);
      // Seen before the upload it was progress; what was captured after it may be none any more.
      if (entry === previous) {
        this.#noteNoProgress(task, taken);
        continue;
      }
      this.#entries.set(task, entry);
      for (const content of taken.stored.values())
        if (!this.#wasSentNow(content)) this.#reusedBytes += content.sizeBytes;
      this.#setResult(task, 'captured', { entry, why: leftOut(taken) });
    }
    await this.#release();
  }

  #nextDataKey(): string {
    const key = this.#attempt.nextDataKey();
    this.#sentKeys.add(key);
    return key;
  }

  /** Sent ahead in this very round, rather than found in the repository: an epoch finds what its earlier rounds sent. */
  #wasSentNow({ objects }: Pick<StoredFile, 'objects'>): boolean {
    const { epoch, n } = this.#attempt.name;
    return objects.some(({ key }) => {
      const parsed = parseKey(key);
      return parsed?.kind === 'data' && parsed.name.epoch === epoch && parsed.name.n === n;
    });
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
    for (const task of this.#previous.keys()) {
      const previous = this.#previousOf(task);
      if (previous !== undefined && !this.#entries.has(task)) this.#entries.set(task, previous);
    }
    for (const [task, entry] of this.#entries) {
      const result = this.#results.get(task);
      const withdrawn = this.#whyWithdrawn(entry);
      const mended = withdrawn === undefined ? undefined : this.#mend(entry);
      if (mended !== undefined) {
        this.#entries.set(task, mended);
        this.#setResult(task, 'carried', { entry: mended, why: result?.why });
      } else if (withdrawn !== undefined) {
        this.#entries.delete(task);
        if (result !== undefined) this.#setResult(task, 'uncapturable', { why: result.why ?? withdrawn });
      } else if (entry.quality === 'live' && result?.why?.reason === 'looks_exactly_once') {
        this.#entries.delete(task); // Captured before the setting was seen to lie (Q7): it may hold aborted writes.
        this.#distrusted.push(task);
      } else if (entry.stateTimeMs < oldestMs && !this.#brokers.current.has(task)) {
        this.#entries.delete(task);
        const why: Explanation = {
          reason: 'too_old',
          message: 'its offsets have stood still for longer than --max-age',
        };
        if (result !== undefined) this.#setResult(task, 'uncapturable', { why: result.why ?? why });
      } else if (result === undefined || result.outcome === 'uncapturable') {
        const why = this.#order.wiped.has(task) ? WIPED : undefined;
        this.#setResult(task, 'carried', { entry, why: result?.why ?? why });
      }
    }
  }

  #isWithdrawn(task: string): boolean {
    const previous = this.#previous.get(task);
    return previous !== undefined && this.#whyWithdrawn(previous) !== undefined;
  }

  /** Why an entry is not to be offered any more. */
  #whyWithdrawn(entry: Entry): Explanation | undefined {
    return whyNotOffered(this.#parts.withdrawals, entry, this.#attempt.name.epoch);
  }

  /** A damaged entry of a task that cannot be captured now, where all that it lacks was sent again with the tables of today. */
  #mend(entry: Entry): Entry | undefined {
    const { damagedObjects } = this.#parts.withdrawals;
    const isLost = ({ objects }: StoredFile): boolean => objects.some(({ key }) => damagedObjects.has(key));
    const mend = (file: StoredFile): StoredFile => {
      const again = isLost(file) ? this.#parts.known.findByHash(file.sha256, file.sizeBytes) : undefined;
      return again === undefined ? file : { ...file, objects: again.objects };
    };
    const stores = entry.stores.map((store) => ({ ...store, files: store.files.map(mend) }));
    const mended = { ...entry, capturedBy: this.#origin.capturedBy, files: entry.files.map(mend), stores };
    return filesOfEntry(entry).some(isLost) && this.#whyWithdrawn(mended) === undefined ? mended : undefined;
  }

  #choose(previous: Entry, captured: Entry, look: LookedAt): Entry {
    // Offsets that stand where they stood are as old as they were, whatever became of what was stored.
    if (this.#whyWithdrawn(previous) !== undefined) return keepStateTime(captured, previous);
    if (findUnfilled(previous, look) !== undefined) return previous;
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
    const regressed = this.#parts.looks.regressions.get(task)?.why;
    this.#results.set(task, { task, outcome, quality, stateTimeMs, offsets, why: why ?? regressed });
  }
}

function sizeOf(entry: Entry): number {
  return filesOfEntry(entry).reduce((sum, file) => sum + file.sizeBytes, 0);
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
