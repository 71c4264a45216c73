import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { type ClockSample, type ClockSighting, mergeClocks, sampleClock } from '../repository/clocks.ts';
import type { SnapshotDocument } from '../repository/document.ts';
import { type Entry, filesOfEntry } from '../repository/document.ts';
import { type FenceReason, type FenceScope, NOW_LASTS_MS } from '../repository/fence.ts';
import { formatSnapshotName } from '../repository/keys.ts';
import type { EpochRecord, Taint, Trial } from '../repository/record.ts';
import { listRepository, type Notice, openRepository, type Repository } from '../repository/repository.ts';
import type { RestoreReport } from '../repository/restore-result.ts';
import { loadWithdrawals, type Withdrawals, whyNotOffered, writeFence } from '../repository/withdrawals.ts';
import { openWriter, type RecordChange, type RepositoryWriter } from '../repository/writer.ts';
import type { Explanation } from '../streams/reason.ts';
import { BrokerView } from './broker-view.ts';
import { KnownTables } from './known-tables.ts';
import { findPreviousEntries, findStanding, type Legacy, loadLegacy, teachTables } from './legacy.ts';
import { Looks, type Regression } from './looks.ts';
import { createMeter } from './meter.ts';
import { type PreviousShutdown, shutdownOf } from './previous-life.ts';
import { Round } from './round.ts';
import { type RoundOrder, type RoundOutcome, SPARED_MS, type TaskFinding } from './round-parts.ts';
import type { SnapshotResult } from './snapshot-result.ts';
import type { SnapshotSettings, SnapshotWorld } from './snapshot-world.ts';
import { recallTrial } from './trial.ts';

/** As a round is ordered by whoever decides that one is due. */
export type EpochOrder = Omit<RoundOrder, 'lateAtMs'>;

export interface EpochResult extends SnapshotResult {
  /** Some tables wait for the next round. */
  readonly isUnfinished: boolean;
}

/** One for what was sent too long ago, one for a document that went meanwhile, and one more. */
const TRIES_MAX = 3;

interface Parts {
  readonly writer: RepositoryWriter;
  readonly legacy: Legacy;
  readonly earlierTrial: Trial | undefined;
  readonly repository: Repository;
  readonly withdrawals: Withdrawals;
}

/** One life of one process that writes snapshots: what it knows from round to round, and its place in the repository. */
export class Epoch implements AsyncDisposable {
  readonly looks: Looks;
  readonly known = new KnownTables();
  readonly #brokers: BrokerView;
  /** How the life of this instance before this one ended. */
  readonly previousShutdown: PreviousShutdown;
  /** What processes before this one saw of the application since the restore of this pod. */
  readonly earlierTrial: Trial | undefined;
  readonly #settings: SnapshotSettings & { readonly applicationDirectory: string };
  readonly #world: SnapshotWorld;
  readonly #writer: RepositoryWriter;
  readonly repository: Repository;
  #legacy: Legacy;
  /** The newest document of this epoch. */
  #newest: SnapshotDocument | undefined;
  #entries: ReadonlyMap<string, Entry>;
  #findings: ReadonlyMap<string, TaskFinding> = new Map();
  #current: ReadonlySet<string> = new Set();
  #withdrawals: Withdrawals;
  #hasWithdrawn = false;
  /** What is to be fenced and is not yet. */
  readonly #fencesDue: (FenceScope & { readonly reason: FenceReason })[] = [];
  readonly #fencedRegressions = new WeakSet<Regression>();
  /** What is known and no document names was sent after this, by the store's clock. */
  #unnamedSinceMs: number;

  private constructor(settings: SnapshotSettings, world: SnapshotWorld, parts: Parts) {
    const { applicationId, processingGuarantee: guarantee, transactionalStores } = settings;
    const applicationDirectory = join(settings.stateDir, applicationId);
    this.#settings = { ...settings, applicationDirectory };
    this.#world = world;
    this.#brokers = new BrokerView(world.consultBrokers, world.clock);
    this.#writer = parts.writer;
    this.#legacy = parts.legacy;
    this.previousShutdown = shutdownOf(parts.legacy.previousLife);
    this.earlierTrial = parts.earlierTrial;
    const passesOverUnreadable = parts.writer.record.role === 'run';
    this.looks = new Looks(
      { applicationDirectory, applicationId, guarantee, transactionalStores, passesOverUnreadable },
      world,
      {
        ...parts.legacy,
        standingOf: (sight) => findStanding(parts.legacy, sight, (wallMs) => this.toStoreTimeMs(wallMs)),
        mayBeOlderByMs: (wallMs, sinceMs) => parts.writer.mayBeOlderByMs(wallMs, sinceMs),
      },
    );
    this.repository = parts.repository;
    this.#withdrawals = parts.withdrawals;
    this.#unnamedSinceMs = parts.withdrawals.storeTimeMs;
    const previous = findPreviousEntries(parts.legacy, {
      nowMs: parts.writer.toStoreTimeMs(world.clock.nowMs()),
      maxAgeMs: settings.maxAgeMs,
      guarantee,
      layoutMax: 'column-family',
      whyWithdrawn: (entry) => this.#whyWithdrawn(entry),
    });
    this.#entries = new Map([...previous].filter(([, entry]) => this.#whyWithdrawn(entry) === undefined));
    this.#learn();
  }

  /** Begins an epoch, and shows it to others by its record. Failures are the store's. */
  static async open(
    settings: SnapshotSettings & { readonly prunes?: boolean },
    world: SnapshotWorld,
    role: EpochRecord['role'],
  ): Promise<Epoch> {
    const { signal, store, emit } = world;
    const { applicationId: application, lineage, instance } = settings;
    const notice: Notice = (name, message, facts) => emit({ kind: 'notice', name, level: 'warn', message, facts });
    const repository = await openRepository(store, { application, lineage, notice, signal });
    const askedAtMs = world.clock.nowMs();
    const listing = await listRepository(repository, { signal });
    const sample = sampleClock(world.clock, { askedAtMs, storeTimeMs: listing.storeTimeMs });
    const legacy = await loadLegacy(repository, listing, { ...world, instance, stateDir: settings.stateDir });
    const restoreEpoch = role === 'run' ? legacy.report?.epoch : undefined;
    const earlierTrial = await recallTrial(repository, listing, { instance, restoreEpoch, signal });
    const writer = await openWriter(repository, listing, {
      instance,
      role,
      program: settings.program,
      guarantee: settings.processingGuarantee,
      maxAgeMs: settings.maxAgeMs,
      keepWithinMs: settings.keepWithinMs,
      collects: settings.prunes === false ? false : undefined,
      after: legacy.report?.epoch,
      taints: legacy.taints,
      clocks: recallClocks(legacy, world, sample),
      clockSample: sample,
      clock: world.clock,
      random: world.random,
      signal,
    });
    const withdrawals = await loadWithdrawals(repository, { signal });
    return new Epoch(settings, world, { writer, legacy, earlierTrial, repository, withdrawals });
  }

  get name(): string {
    return this.#writer.record.epoch;
  }

  /** What looks know of directories and the record does not say yet (Q6). */
  get newTaints(): readonly Taint[] | undefined {
    const { taints } = this.looks;
    return isDeepStrictEqual(taints, this.#writer.record.taints) ? undefined : taints;
  }

  /** Name of the newest document of this epoch. */
  get snapshot(): string | undefined {
    return this.#newest === undefined ? undefined : formatSnapshotName(this.#newest);
  }

  /** What would be offered of each task if this process ended now. */
  get entries(): ReadonlyMap<string, Entry> {
    return this.#entries;
  }

  /** As of the last look around. */
  get storeTimeMs(): number {
    return this.#withdrawals.storeTimeMs;
  }

  /** What the last round found. */
  get findings(): ReadonlyMap<string, TaskFinding> {
    return this.#findings;
  }

  /** Tasks whose entries have no age, as brokers said in the last round. */
  get current(): ReadonlySet<string> {
    return this.#current;
  }

  /** What the restore of this pod left on the volume. */
  get report(): RestoreReport | undefined {
    return this.#legacy.report;
  }

  toStoreTimeMs(wallMs: number): number {
    return this.#writer.toStoreTimeMs(wallMs);
  }

  /**
   * Looks at the changed tasks, sends what the repository lacks, and publishes what came of it, where it says anything
   * new. What was sent before a failure serves the next round.
   */
  async takeRound(order: EpochOrder, signal: AbortSignal): Promise<EpochResult> {
    const { clock, traffic, emit } = this.#world;
    const { keepWithinMs } = this.#settings;
    const startedMs = clock.monotonicMs();
    const requestsBefore = traffic().requests;
    const meter = createMeter(emit);
    // The one round of a single snapshot comes right after its epoch looked.
    if (this.#writer.record.role === 'run') await this.lookAround(signal);
    if (this.#withdrawals.storeTimeMs - this.#unnamedSinceMs > keepWithinMs / 2) this.#forgetUnnamed();
    const world = { ...this.#world, emit: meter.emit, signal };
    const { document, findings, result, isUnfinished, distrusted, current } = await this.#publish(order, world);
    this.#findings = findings;
    this.#current = current;
    if (document !== undefined) this.#goOnFrom(document);
    else this.#letGoOfWithdrawn();
    await this.#fence(distrusted, signal);
    return {
      ...result,
      ...meter.counts(),
      requests: traffic().requests - requestsBefore,
      durationMs: clock.monotonicMs() - startedMs,
      isUnfinished,
    };
  }

  /** Learns what others withdrew or found damaged meanwhile. */
  async lookAround(signal: AbortSignal): Promise<void> {
    const askedAtMs = this.#world.clock.nowMs();
    this.#withdrawals = await loadWithdrawals(this.repository, { signal, known: this.#withdrawals });
    this.#writer.noteStoreTime({ askedAtMs, storeTimeMs: this.#withdrawals.storeTimeMs });
    this.known.forgetObjects(this.#withdrawals.damagedObjects);
    this.#hasWithdrawn = this.#entries.values().some((entry) => this.#whyWithdrawn(entry) !== undefined);
  }

  /** Whether something that this epoch offers is withdrawn: the next round goes on without it, or sends it again. */
  get hasWithdrawn(): boolean {
    return this.#hasWithdrawn;
  }

  /** Rewrites the record: a sign of life, with what changed. */
  async renew(change: RecordChange, signal: AbortSignal): Promise<void> {
    await this.#writer.amendRecord(change, { signal });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.looks[Symbol.asyncDispose]();
  }

  async #publish(order: EpochOrder, world: SnapshotWorld): Promise<RoundOutcome> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.#round(order, world).publish();
      } catch (error) {
        const { gone } = this.#writer;
        if (gone === undefined) throw error;
        this.#letGoOf(gone);
        if (tries === TRIES_MAX) throw error;
        // Others may have withdrawn things for hours.
        await this.lookAround(world.signal);
      }
    }
  }

  /** G2: what no document names that still stands may have been removed. It is looked at and sent again. */
  #letGoOf(gone: ReadonlySet<string>): void {
    const { base, restored } = this.#legacy;
    const stands = (document: SnapshotDocument): boolean => !gone.has(formatSnapshotName(document));
    this.#legacy = {
      ...this.#legacy,
      base: base !== undefined && stands(base) ? base : undefined,
      restored: new Map([...restored].filter(([, document]) => stands(document))),
    };
    // The one that was withdrawn may be there still: the next one takes its place, also where it says what `base` says.
    this.#newest = undefined;
    this.#findings = new Map();
    this.#forgetUnnamed();
  }

  #round(order: EpochOrder, world: SnapshotWorld): Round {
    const { base, restored } = this.#legacy;
    const others = [...restored.values(), ...(base === undefined ? [] : [base])].filter(
      ({ epoch }) => epoch !== this.name,
    );
    return new Round(
      {
        settings: this.#settings,
        world,
        writer: this.#writer,
        looks: this.looks,
        known: this.known,
        legacy: this.#legacy,
        brokers: this.#brokers,
        newest: this.#newest,
        before: this.#findings,
        withdrawals: this.#withdrawals,
        leaning: { documents: others, sentSinceMs: this.#unnamedSinceMs },
      },
      { ...order, lateAtMs: this.#world.clock.monotonicMs() + this.#settings.keepWithinMs / 4 },
    );
  }

  /** Withdraws for everybody what this process has reason not to trust any more; what fails is tried in the next round. */
  async #fence(distrusted: readonly string[], signal: AbortSignal): Promise<void> {
    const all = { instance: undefined, layout: undefined };
    for (const task of distrusted) {
      const beforeMs = this.toStoreTimeMs(this.#world.clock.nowMs()) + NOW_LASTS_MS;
      this.#fencesDue.push({ ...all, tasks: [task], quality: 'live', beforeMs, reason: 'looks_exactly_once' });
    }
    for (const [task, regression] of this.looks.regressions) {
      if (this.#fencedRegressions.has(regression)) continue;
      this.#fencedRegressions.add(regression);
      // What was thrown back is itself spared, however its time is rounded.
      const beforeMs = Math.floor(this.toStoreTimeMs(regression.stateTimeMs)) - SPARED_MS;
      this.#fencesDue.push({ ...all, tasks: [task], quality: undefined, beforeMs, reason: 'regressed' });
    }
    const { random } = this.#world;
    const { program } = this.#settings;
    for (let [due] = this.#fencesDue; due !== undefined; [due] = this.#fencesDue) {
      await writeFence(this.repository, due, { random, program, withdrawals: this.#withdrawals, signal });
      this.#fencesDue.shift();
    }
  }

  #whyWithdrawn(entry: Entry): Explanation | undefined {
    return whyNotOffered(this.#withdrawals, entry, this.name);
  }

  #learn(): void {
    teachTables(this.#legacy, this.known);
    this.known.forgetObjects(this.#withdrawals.damagedObjects);
  }

  /** What was withdrawn and left nothing to say is offered no more: another round would come to the same. */
  #letGoOfWithdrawn(): void {
    this.#entries = new Map([...this.#entries].filter(([, entry]) => this.#whyWithdrawn(entry) === undefined));
    this.#hasWithdrawn = false;
  }

  #goOnFrom(document: SnapshotDocument): void {
    this.#newest = document;
    this.#legacy = { ...this.#legacy, base: document, restored: new Map() };
    this.#entries = new Map(document.entries.map((entry) => [entry.task, entry]));
    this.#hasWithdrawn = false;
    this.#learn();
    this.#forgetUnnamed();
  }

  /** What no document names may be collected once it is old: it is sent again. */
  #forgetUnnamed(): void {
    const { base, restored } = this.#legacy;
    const documents = [...restored.values(), ...(base === undefined ? [] : [base])];
    this.#unnamedSinceMs = Math.max(this.#withdrawals.storeTimeMs, this.#writer.putMs ?? 0);
    this.known.keepOnly(documents.flatMap(({ entries, ahead }) => [...entries.flatMap(filesOfEntry), ...ahead]));
  }
}

/** What earlier lives knew of the clock that stamps this volume, and what this process saw of it before the store answered. */
function recallClocks(
  { report, previousLife }: Legacy,
  { clockWatch }: SnapshotWorld,
  sample: ClockSample | undefined,
): readonly ClockSighting[] {
  const setBackMs = clockWatch?.setBackMs ?? 0;
  const seen =
    sample === undefined || setBackMs === 0
      ? []
      : [{ storeAheadMs: sample.storeAheadMs - Math.ceil(setBackMs), untilMs: sample.storeTimeMs }];
  return mergeClocks(report?.clocks, previousLife?.clocks, seen);
}
