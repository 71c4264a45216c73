import type { Clock, Random } from '../base/clock.ts';
import { Budget } from '../base/concurrency.ts';
import { Failure, isFailure, messageOf } from '../base/failure.ts';
import { bytesBody, type StoreOptions } from '../storage/object-store.ts';
import type { Guarantee } from '../streams/quality.ts';
import { type ClockSample, type ClockSighting, mayBeOlderByMs, noteClock, sampleClock } from './clocks.ts';
import { encodeDocument, type SnapshotDocument } from './document.ts';
import { createEpoch, formatSnapshotName, type SnapshotName } from './keys.ts';
import { type EpochRecord, encodeRecord, summarise } from './record.ts';
import { exists, markRepository, type Repository, type RepositoryListing } from './repository.ts';

export interface WriterOptions {
  readonly instance: string;
  readonly role: EpochRecord['role'];
  /** The program and its version, `warmstate 0.1.0`. */
  readonly program: string;
  readonly guarantee: Guarantee;
  readonly maxAgeMs: number;
  readonly keepWithinMs?: number | undefined;
  /** Of a `run`: false where it may not delete, so that another one collects. */
  readonly collects?: boolean | undefined;
  /** The epoch of the restore that filled the state directory. */
  readonly after?: string | undefined;
  /** What the life of this instance before knew of its directories, until this one has looked (Q6). */
  readonly taints?: EpochRecord['taints'] | undefined;
  /** What is known of the clock that stamps the volume (A5). */
  readonly clocks?: readonly ClockSighting[] | undefined;
  /** Of the clock as it is now, where an answer was prompt. */
  readonly clockSample?: ClockSample | undefined;
  /** Of the application, where the epoch is one of a restore. */
  readonly appVersion?: string | undefined;
  /** Where it had to be known before; else one is made. */
  readonly epochName?: string | undefined;
  /** Of a restore that says before it begins with what its pod goes on. */
  readonly claims?: EpochRecord['claims'] | undefined;
  readonly clock: Clock;
  readonly random: Random;
}

/** One try at a snapshot. Its number is spent, and so is every key that it gave out, whatever becomes of it. */
export interface Attempt {
  readonly name: SnapshotName;
  /** A key for one stretch of a table; never the same twice. */
  nextDataKey(): string;
  /** A key for an archive of small files; never the same twice. */
  nextArchiveKey(): string;
}

/** What a new document leans on that others may have removed meanwhile (G2). */
export interface Leaning {
  /** Documents of other epochs whose objects it may name. */
  readonly documents: readonly SnapshotName[];
  /** Since when objects may have been sent that no document names yet, by the store's clock. */
  readonly sentSinceMs: number;
}

export type SnapshotContents = Pick<SnapshotDocument, 'entries' | 'ahead' | 'seen'>;

export type RecordChange = Partial<Pick<EpochRecord, 'state' | 'taints' | 'claims' | 'installed' | 'trial'>>;

/**
 * Begins an epoch that sorts after every one of this instance in `listing`, and shows it to others by its record.
 * Failures are the store's.
 */
export async function openWriter(
  repository: Repository,
  listing: RepositoryListing,
  options: WriterOptions & StoreOptions,
): Promise<RepositoryWriter> {
  const { instance } = options;
  const epoch = options.epochName ?? createEpochAfter(listing, options);
  const { application, lineage } = repository.keys;
  const writer = new RepositoryWriter(repository, options.clock, {
    application,
    lineage,
    instance,
    epoch,
    writer: options.program,
    role: options.role,
    state: 'alive',
    renewedAtMs: listing.storeTimeMs,
    guarantee: options.guarantee,
    maxAgeMs: options.maxAgeMs,
    keepWithinMs: options.keepWithinMs,
    collects: options.collects,
    after: options.after,
    trial: undefined,
    newest: undefined,
    tasks: [],
    taints: options.taints ?? [],
    clocks: options.clocks,
    claims: options.claims ?? [],
    installed: [],
    appVersion: options.appVersion,
  });
  if (options.clockSample !== undefined) writer.noteClock(options.clockSample);
  await markRepository(repository, options);
  await writer.amendRecord({}, options);
  return writer;
}

/** A new epoch that sorts after every one of this instance in `listing`. */
export function createEpochAfter(
  { storeTimeMs, epochs }: RepositoryListing,
  { instance, random }: Pick<WriterOptions, 'instance' | 'random'>,
): string {
  return createEpoch({ storeTimeMs, instance, random, after: epochs });
}

/** A wall clock that came so far apart from the steady one was set, or the machine was suspended. */
const SET_MS = 1000;

/** The one writer of the keys of one epoch. */
export class RepositoryWriter {
  readonly #repository: Repository;
  readonly #clock: Clock;
  /** Two puts of the record at once could end in the older one. */
  readonly #recordTurn = new Budget(1);
  #record: EpochRecord;
  #attempts = 0;
  #current: Attempt | undefined;
  /** When a document of this epoch was last put, by the store's clock. */
  #putMs: number | undefined;
  /** The newest one, since when it is known to be there. */
  #held: { readonly name: SnapshotName; readonly sinceMs: number } | undefined;
  #gone: ReadonlySet<string> | undefined;
  /** What to add to our clock for the store's. */
  #storeAheadMs = 0;
  /** The same of the steady one, which nobody sets. */
  #storeAheadOfSteadyMs = 0;
  /** The first sample of our clock, or of what it was set to since, how far it was ahead of the steady one, and when by that. */
  #clockRead: (ClockSample & { readonly aheadMs: number; readonly atMs: number }) | undefined;

  constructor(repository: Repository, clock: Clock, record: EpochRecord) {
    this.#repository = repository;
    this.#clock = clock;
    this.#record = record;
    this.#setStoreTime(record.renewedAtMs);
  }

  /** As it was last written, or tried to. */
  get record(): EpochRecord {
    return this.#record;
  }

  /**
   * Where the last attempt was withdrawn (G2): the documents that it leaned on and that are gone, by name. None is where what
   * was sent for it was not named in time.
   */
  get gone(): ReadonlySet<string> | undefined {
    return this.#gone;
  }

  /** When a document of this epoch was last put, by the store's clock. */
  get putMs(): number | undefined {
    return this.#putMs;
  }

  /** A moment of our wall clock by the store's, as well as its last answer tells (to the second). */
  toStoreTimeMs(wallMs: number): number {
    return wallMs + this.#storeAheadMs;
  }

  /** What it is by the store's clock, as its last answer and the steady clock tell: not later, also where our wall clock was set since. */
  storeTimeMs(): number {
    return this.#clock.monotonicMs() + this.#storeAheadOfSteadyMs;
  }

  /**
   * By how much a stamp on the volume may be older than `toStoreTimeMs` says, for a faster clock may have given it (A5): not where
   * it came, by the steady clock, after the clock of today was first seen.
   */
  mayBeOlderByMs(wallMs: number, sinceMs: number): number {
    if (this.#clockRead !== undefined && sinceMs > this.#clockRead.atMs) return 0;
    const now = { storeTimeMs: this.toStoreTimeMs(this.#clock.nowMs()), storeAheadMs: this.#storeAheadMs };
    return mayBeOlderByMs(wallMs, this.#record.clocks ?? [], { ...now, ...this.#clockRead });
  }

  /** One that differs though nobody has set our clock is of a store whose servers disagree, and tells nothing of ours. */
  noteClock(sample: ClockSample): void {
    const atMs = this.#clock.monotonicMs();
    const aheadMs = this.#clock.nowMs() - atMs;
    const isKnown = this.#clockRead !== undefined && Math.abs(aheadMs - this.#clockRead.aheadMs) <= SET_MS;
    if (isKnown) return;
    this.#clockRead = { ...sample, aheadMs, atMs };
    this.#record = { ...this.#record, clocks: noteClock(this.#record.clocks ?? [], sample) };
  }

  /** An answer of the store has come that tells its time; one that took long tells too little. */
  noteStoreTime(told: { readonly askedAtMs: number; readonly storeTimeMs: number }): void {
    const sample = sampleClock(this.#clock, told);
    if (sample === undefined) return;
    this.#setStoreTime(told.storeTimeMs);
    this.noteClock(sample);
  }

  #setStoreTime(storeTimeMs: number): void {
    this.#storeAheadMs = storeTimeMs - this.#clock.nowMs();
    this.#storeAheadOfSteadyMs = storeTimeMs - this.#clock.monotonicMs();
  }

  /** The next try; the one before it can no longer be published. */
  nextAttempt(): Attempt {
    const { keys } = this.#repository;
    this.#gone = undefined;
    const name = { epoch: this.#record.epoch, n: ++this.#attempts };
    let given = 0;
    this.#current = {
      name,
      nextDataKey: () => keys.data(name, given++),
      nextArchiveKey: () => keys.archive(name, given++),
    };
    return this.#current;
  }

  /**
   * Makes a snapshot of what `attempt` sent and of what is carried forward: everything that `contents` names lies in
   * the store by now. The document is the commit point; when its put is rejected nothing counts as published and the
   * attempt is spent, though the document may yet appear, whole. A record that cannot be written after it
   * is only noticed: readers go by documents, and the next renewal brings it.
   *
   * Where so much time went by that what it leans on may have been removed, it looks, and withdraws the document if that
   * is so: Failure `moved`. Then only what documents name that are not `gone` may be leaned on any more.
   */
  async publish(
    attempt: Attempt,
    contents: SnapshotContents,
    { signal, record = {}, leaning }: StoreOptions & { readonly record?: RecordChange; readonly leaning?: Leaning },
  ): Promise<SnapshotDocument> {
    if (attempt !== this.#current) throw new Error(`bug: attempt ${formatSnapshotName(attempt.name)} is spent`);
    this.#current = undefined;
    const { application, lineage, instance, writer, guarantee } = this.#record;
    const document: SnapshotDocument = {
      application,
      lineage,
      instance,
      ...attempt.name,
      timeMs: this.toStoreTimeMs(this.#clock.nowMs()),
      writer,
      guarantee,
      ...contents,
    };
    const { store, keys, notice } = this.#repository;
    const bytes = await encodeDocument(document);
    const { storeTimeMs } = await store.put(keys.snapshot(attempt.name), bytesBody(bytes), { signal });
    this.#putMs = storeTimeMs;
    if (leaning !== undefined) await this.#assertHeld(attempt.name, { ...leaning, storeTimeMs, signal });
    this.#held = { name: attempt.name, sinceMs: storeTimeMs };
    this.#record = { ...this.#record, newest: document.n, tasks: document.entries.map(summarise) };
    await this.amendRecord(record, { signal }).catch((error: unknown) => {
      if (!isFailure(error)) throw error;
      notice('record-not-written', 'the record of a published snapshot could not be written yet', {
        snapshot: formatSnapshotName(attempt.name),
        problem: messageOf(error),
      });
    });
    return document;
  }

  /** G2: whether what a document leans on was there all the while; it is withdrawn where it may not have been. */
  async #assertHeld(
    name: SnapshotName,
    { documents, sentSinceMs, storeTimeMs, signal }: Leaning & StoreOptions & { readonly storeTimeMs: number },
  ): Promise<void> {
    const { keepWithinMs = Number.POSITIVE_INFINITY } = this.#record;
    const { store, keys, notice } = this.#repository;
    const held = this.#held;
    const own = held !== undefined && storeTimeMs - held.sinceMs > keepWithinMs / 2 ? [held.name] : [];
    const gone = await findMissing(this.#repository, [...documents, ...own], signal);
    const isTooLate = storeTimeMs - sentSinceMs > keepWithinMs;
    const [first] = gone;
    if (first === undefined && !isTooLate) return;
    this.#gone = new Set(gone.map(formatSnapshotName));
    if (held !== undefined && this.#gone.has(formatSnapshotName(held.name))) this.#held = undefined;
    const why =
      first === undefined
        ? 'what was sent for it was not named for longer than --keep-within'
        : `${keys.snapshot(first)} is gone`;
    const facts = { snapshot: formatSnapshotName(name), problem: why };
    notice(
      'snapshot-withdrawn',
      'a snapshot is withdrawn and taken again: what it leans on may have been removed',
      facts,
    );
    // Without the right to delete it stands until the next one supersedes it.
    await store.delete(keys.snapshot(name), { signal }).catch((error: unknown) => {
      if (!isFailure(error)) throw error;
    });
    throw new Failure('moved', `cannot publish ${formatSnapshotName(name)}: ${why}`);
  }

  /** Rewrites the record: with a change, or as a sign of life. */
  async amendRecord(change: RecordChange, { signal }: StoreOptions): Promise<void> {
    // oxlint-disable-next-line no-underscore-dangle -- TypeScript's mark for what is only held
    using _turn = await this.#recordTurn.acquire(1, signal);
    this.#record = { ...this.#record, ...change, renewedAtMs: this.toStoreTimeMs(this.#clock.nowMs()) };
    const { store, keys } = this.#repository;
    const body = bytesBody(encodeRecord(this.#record));
    const askedAtMs = this.#clock.nowMs();
    const { storeTimeMs } = await store.put(keys.record(this.#record.epoch), body, { signal });
    this.#setStoreTime(storeTimeMs);
    this.noteStoreTime({ askedAtMs, storeTimeMs });
  }
}

async function findMissing(
  { store, keys }: Repository,
  names: readonly SnapshotName[],
  signal: AbortSignal,
): Promise<readonly SnapshotName[]> {
  const missing: SnapshotName[] = [];
  for (const name of names) if (!(await exists(store, keys.snapshot(name), { signal }))) missing.push(name);
  return missing;
}
