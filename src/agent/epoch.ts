import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { SnapshotDocument } from '../repository/document.ts';
import { type Entry, filesOfEntry } from '../repository/document.ts';
import { formatSnapshotName } from '../repository/keys.ts';
import type { EpochRecord, Taint, Trial } from '../repository/record.ts';
import { listRepository, type Notice, openRepository } from '../repository/repository.ts';
import type { RestoreReport } from '../repository/restore-result.ts';
import { openWriter, type RecordChange, type RepositoryWriter } from '../repository/writer.ts';
import { KnownTables } from './known-tables.ts';
import { findPreviousEntries, findStanding, type Legacy, loadLegacy, teachTables } from './legacy.ts';
import { Looks } from './looks.ts';
import { createMeter } from './meter.ts';
import { type PreviousShutdown, shutdownOf } from './previous-life.ts';
import { Round, type RoundOrder, type TaskFinding } from './round.ts';
import type { SnapshotResult } from './snapshot-result.ts';
import type { SnapshotSettings, SnapshotWorld } from './snapshot-world.ts';
import { recallTrial } from './trial.ts';

/** As a round is ordered by whoever decides that one is due. */
export type EpochOrder = Omit<RoundOrder, 'lateAtMs'>;

export interface EpochResult extends SnapshotResult {
  /** Some tables wait for the next round. */
  readonly isUnfinished: boolean;
}

interface Parts {
  readonly writer: RepositoryWriter;
  readonly legacy: Legacy;
  readonly earlierTrial: Trial | undefined;
}

/** One life of one process that writes snapshots: what it knows from round to round, and its place in the repository. */
export class Epoch implements AsyncDisposable {
  readonly looks: Looks;
  readonly known = new KnownTables();
  /** How the life of this instance before this one ended. */
  readonly previousShutdown: PreviousShutdown;
  /** What processes before this one saw of the application since the restore of this pod. */
  readonly earlierTrial: Trial | undefined;
  readonly #settings: SnapshotSettings & { readonly applicationDirectory: string };
  readonly #world: SnapshotWorld;
  readonly #writer: RepositoryWriter;
  #legacy: Legacy;
  /** The newest document of this epoch. */
  #newest: SnapshotDocument | undefined;
  #entries: ReadonlyMap<string, Entry>;
  #findings: ReadonlyMap<string, TaskFinding> = new Map();
  /** What is known and no document names was sent after this, by the steady clock. */
  #unnamedSinceMs: number;

  private constructor(settings: SnapshotSettings, world: SnapshotWorld, parts: Parts) {
    const { applicationId, processingGuarantee: guarantee, transactionalStores } = settings;
    const applicationDirectory = join(settings.stateDir, applicationId);
    this.#settings = { ...settings, applicationDirectory };
    this.#world = world;
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
      },
    );
    this.#unnamedSinceMs = world.clock.monotonicMs();
    this.#entries = findPreviousEntries(parts.legacy, {
      nowMs: parts.writer.toStoreTimeMs(world.clock.nowMs()),
      maxAgeMs: settings.maxAgeMs,
      guarantee,
      layoutMax: 'column-family',
    });
    teachTables(parts.legacy, this.known);
  }

  /** Begins an epoch, and shows it to others by its record. Failures are the store's. */
  static async open(settings: SnapshotSettings, world: SnapshotWorld, role: EpochRecord['role']): Promise<Epoch> {
    const { signal, store, emit } = world;
    const { applicationId: application, lineage, instance } = settings;
    const notice: Notice = (name, message, facts) => emit({ kind: 'notice', name, level: 'warn', message, facts });
    const repository = await openRepository(store, { application, lineage, notice, signal });
    const listing = await listRepository(repository, { signal });
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
      after: legacy.report?.epoch,
      taints: legacy.taints,
      clock: world.clock,
      random: world.random,
      signal,
    });
    return new Epoch(settings, world, { writer, legacy, earlierTrial });
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

  /** What the last round found. */
  get findings(): ReadonlyMap<string, TaskFinding> {
    return this.#findings;
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
    if (startedMs - this.#unnamedSinceMs > keepWithinMs / 2) this.#forgetUnnamed();
    const round = new Round(
      {
        settings: this.#settings,
        world: { ...this.#world, emit: meter.emit, signal },
        writer: this.#writer,
        looks: this.looks,
        known: this.known,
        legacy: this.#legacy,
        newest: this.#newest,
        before: this.#findings,
      },
      { ...order, lateAtMs: startedMs + keepWithinMs / 4 },
    );
    const { document, findings, result, isUnfinished } = await round.publish();
    this.#findings = findings;
    if (document !== undefined) this.#goOnFrom(document);
    return {
      ...result,
      ...meter.counts(),
      requests: traffic().requests - requestsBefore,
      durationMs: clock.monotonicMs() - startedMs,
      isUnfinished,
    };
  }

  /** Rewrites the record: a sign of life, with what changed. */
  async renew(change: RecordChange, signal: AbortSignal): Promise<void> {
    await this.#writer.amendRecord(change, { signal });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.looks[Symbol.asyncDispose]();
  }

  #goOnFrom(document: SnapshotDocument): void {
    this.#newest = document;
    this.#legacy = { ...this.#legacy, base: document, restored: new Map() };
    this.#entries = new Map(document.entries.map((entry) => [entry.task, entry]));
    teachTables(this.#legacy, this.known);
    this.#forgetUnnamed();
  }

  /** What no document names may be collected once it is old: it is sent again. */
  #forgetUnnamed(): void {
    const { base, restored } = this.#legacy;
    const documents = [...restored.values(), ...(base === undefined ? [] : [base])];
    this.#unnamedSinceMs = this.#world.clock.monotonicMs();
    this.known.keepOnly(documents.flatMap(({ entries, ahead }) => [...entries.flatMap(filesOfEntry), ...ahead]));
  }
}
