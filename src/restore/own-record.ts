import type { Clock, Random } from '../base/clock.ts';
import { isFailure } from '../base/failure.ts';
import { type Claim, EPOCH_SILENCE_MS_MAX } from '../repository/record.ts';
import type { Repository, RepositoryListing } from '../repository/repository.ts';
import { createEpochAfter, openWriter, type RecordChange, type RepositoryWriter } from '../repository/writer.ts';
import type { Guarantee } from '../streams/quality.ts';

export interface OwnRecordParts {
  readonly repository: Repository;
  readonly listing: RepositoryListing;
  readonly settings: {
    readonly instance: string;
    readonly program: string;
    readonly processingGuarantee: Guarantee;
    readonly maxAgeMs: number;
    readonly appVersion: string | undefined;
  };
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
  /** Told of what could not be said. */
  readonly onFailure: (what: string, error: unknown) => void;
}

/** As every epoch does. */
const SIGN_MS = EPOCH_SILENCE_MS_MAX / 3;

/**
 * What a restore says of itself to others. It is there once something is said; a store that cannot be written to is no reason
 * to start cold, and is not asked again.
 */
export class OwnRecord {
  readonly epoch: string;
  readonly #parts: OwnRecordParts;
  #writer: RepositoryWriter | undefined;
  #isLost = false;

  constructor(parts: OwnRecordParts) {
    this.#parts = parts;
    this.epoch = createEpochAfter(parts.listing, { instance: parts.settings.instance, random: parts.random });
  }

  get isShown(): boolean {
    return this.#writer !== undefined;
  }

  /** Says with what its pod goes on, whether or not anything was said before. Returns whether it got through. */
  async claim(what: string, claims: readonly Claim[]): Promise<boolean> {
    if (this.#writer !== undefined) return this.say(what, { claims });
    return !this.#isLost && this.#attempt(what, () => this.#open(claims));
  }

  /** Adds to what was said; returns whether it got through. */
  async say(what: string, change: RecordChange): Promise<boolean> {
    const writer = this.#writer;
    if (writer === undefined) return false;
    return this.#attempt(what, () => writer.amendRecord(change, { signal: this.#parts.signal }));
  }

  /** Gives a sign of life every minute while something takes its time: what it claims lapses without. */
  async whileAtWork<T>(work: () => Promise<T>): Promise<T> {
    const over = new AbortController();
    const signs = this.#giveSigns(AbortSignal.any([this.#parts.signal, over.signal]));
    try {
      return await work();
    } finally {
      over.abort();
      await signs;
    }
  }

  async #giveSigns(over: AbortSignal): Promise<void> {
    for (;;) {
      await this.#parts.clock.sleep(SIGN_MS, over);
      if (over.aborted) return;
      await this.say('give a sign of life', {});
    }
  }

  /** Where the signal has aborted nothing is tried. */
  async #attempt(what: string, work: () => Promise<void>): Promise<boolean> {
    if (this.#parts.signal.aborted) return false;
    try {
      await work();
      return true;
    } catch (error) {
      if (!isFailure(error)) throw error;
      this.#isLost = this.#writer === undefined;
      this.#parts.onFailure(what, error);
      return false;
    }
  }

  async #open(claims: readonly Claim[]): Promise<void> {
    const { repository, listing, settings, clock, random, signal } = this.#parts;
    this.#writer = await openWriter(repository, listing, {
      instance: settings.instance,
      role: 'restore',
      program: settings.program,
      guarantee: settings.processingGuarantee,
      maxAgeMs: settings.maxAgeMs,
      appVersion: settings.appVersion,
      epochName: this.epoch,
      claims,
      clock,
      random,
      signal,
    });
  }
}
