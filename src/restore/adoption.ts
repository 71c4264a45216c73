import type { Clock } from '../base/clock.ts';
import { isFailure } from '../base/failure.ts';
import { formatDuration } from '../base/quantity.ts';
import type { Emit } from '../events/event.ts';
import { ranked } from '../repository/best.ts';
import type { Claim } from '../repository/record.ts';
import type { Repository } from '../repository/repository.ts';
import type { Explanation } from '../streams/reason.ts';
import { type Choice, type Chooser, chooseNext, explainLeft } from './choice.ts';
import type { OwnRecord } from './own-record.ts';
import type { OfferedEntry, PlanTerms } from './plan.ts';
import type { Scene } from './scene.ts';
import { forNextPlan, livesIn, type Survey, surveyAgain } from './survey.ts';
import { isAnnounced } from './table.ts';

export interface AdoptionParts {
  readonly repository: Repository;
  readonly survey: Survey;
  readonly offersOf: (survey: Survey) => readonly OfferedEntry[];
  readonly terms: PlanTerms;
  readonly settings: Pick<Chooser, 'instance' | 'appVersion' | 'replicas'> & {
    readonly waitForFinalMs: number;
    /** Then nothing is announced, and nobody waited for. */
    readonly isDryRun: boolean;
  };
  /** Tasks that lie on the volume. */
  readonly present: readonly string[];
  readonly own: OwnRecord;
  readonly clock: Clock;
  readonly emit: Emit;
  readonly signal: AbortSignal;
  /** Told of what could not be done. */
  readonly onFailure: (what: string, error: unknown) => void;
}

/** So often it is chosen again; restoring what somebody else restores as well is better than waiting longer. */
const ROUNDS_MAX = 16;
const FINAL_POLL_MS = 1000;

/** A restore on its way to the tasks with which its pod goes on: one choice after another, each announced before it is carried out. */
export class Adoption {
  readonly #parts: AdoptionParts;
  #survey: Survey;
  #offers: readonly OfferedEntry[];
  #scene: Scene;
  #claims: readonly Claim[] = [];
  #futile: readonly string[] = [];
  /** The choice that claims which are not settled speak of. */
  #announced: Choice | undefined;

  constructor(parts: AdoptionParts) {
    this.#parts = parts;
    this.#survey = parts.survey;
    this.#offers = parts.offersOf(parts.survey);
    this.#scene = this.#look(parts.survey, this.#findBest());
  }

  /** Of all tasks, as of the last look. */
  get offers(): readonly OfferedEntry[] {
    return this.#offers;
  }

  get claims(): readonly Claim[] {
    return this.#claims;
  }

  /**
   * With what to go on, or undefined where that was all. Failures of the store are told, and end the choosing: what was
   * announced by then is carried out, for others look elsewhere for its sake.
   */
  async next(): Promise<Choice | undefined> {
    this.#announced = undefined;
    try {
      if (this.#claims.length > 0) this.#survey = forNextPlan(this.#survey);
      // Others may have come first in the meantime; its own tasks nobody takes from an instance.
      if (this.#claims.some(({ kind }) => kind !== 'own')) await this.#lookAgain('changed');
      const choice = await this.#settleOn();
      return choice?.isFinishing === true ? await this.#afterItsEnd(choice) : choice;
    } catch (error) {
      if (!isFailure(error)) throw error;
      this.#parts.onFailure('choose more tasks', error);
      return this.#announced;
    }
  }

  /** Tells others what became of a choice: what led to nothing is theirs again, and not chosen once more. */
  async settle({ kind, epochs }: Choice, hasLedTo: boolean): Promise<void> {
    if (!hasLedTo) this.#futile = [...this.#futile, ...epochs];
    this.#claims = this.#claims.flatMap((claim) => {
      if (claim.kind !== kind || !epochs.includes(claim.epoch)) return [claim];
      return hasLedTo || kind === 'own' ? [{ ...claim, isSettled: hasLedTo }] : [];
    });
    if (kind !== 'own') await this.#announce();
  }

  /** Why tasks are left to others that could be restored. */
  explainLeft(): ReadonlyMap<string, Explanation> {
    return explainLeft(this.#scene, this.#me);
  }

  get #me(): Chooser {
    const { settings, own, present } = this.#parts;
    return { ...settings, epoch: own.epoch, claims: this.#claims, futile: this.#futile, present };
  }

  /**
   * Announces what it chooses until that stands. Others rewrite their records round after round, so these are read once more
   * only when a choice is about to be carried out: whoever came first by then is seen before the download, not after it.
   */
  async #settleOn(): Promise<Choice | undefined> {
    for (let round = 1, isSure = false; round <= ROUNDS_MAX; round++) {
      const choice = chooseNext(this.#scene, this.#me);
      const open = this.#claims.filter(({ kind, isSettled }) => kind !== 'own' && !isSettled);
      if (choice === undefined && open.length === 0) return undefined;
      if (choice !== undefined && open.length > 0 && isAnnounced(choice, open)) {
        if (isSure) return choice;
        isSure = true;
        await this.#lookAgain('changed');
        continue;
      }
      const kept = this.#claims.filter((claim) => !open.includes(claim));
      const chosen = (choice?.epochs ?? []).map((epoch) => ({ epoch, kind: choice?.kind ?? 'own', isSettled: false }));
      this.#claims = [...kept, ...chosen];
      this.#announced = choice;
      if (choice?.kind === 'own') return choice;
      const isHeard = await this.#announce();
      if (choice === undefined || !isHeard) return choice;
      isSure = false;
      await this.#lookAgain('new');
    }
    return this.#announced;
  }

  async #announce(): Promise<boolean> {
    if (this.#parts.settings.isDryRun) return false;
    return this.#parts.own.claim('say in the repository what is adopted', this.#claims);
  }

  async #lookAgain(at: 'new' | 'changed', watched: readonly string[] = []): Promise<void> {
    if (this.#parts.settings.isDryRun) return;
    const { repository, offersOf, signal } = this.#parts;
    const before = this.#survey;
    this.#survey = await surveyAgain(repository, before, { at, watched, signal });
    const isAsBefore = this.#survey.newest === before.newest;
    if (!isAsBefore) this.#offers = offersOf(this.#survey);
    this.#scene = this.#look(this.#survey, isAsBefore ? this.#scene.bestOf : this.#findBest());
  }

  #look(survey: Survey, bestOf: Scene['bestOf']): Scene {
    const lives = livesIn(survey).filter(({ epoch }) => epoch !== this.#parts.own.epoch);
    return { nowMs: survey.storeTimeMs, lives, bestOf };
  }

  #findBest(): Scene['bestOf'] {
    const offersOf = Map.groupBy(this.#offers, ({ task }) => task);
    const best = [...offersOf].map(([task, offers]) => [task, ranked(offers, this.#parts.terms).next().value] as const);
    return new Map(best.flatMap(([task, offer]) => (offer === undefined ? [] : [[task, offer]])));
  }

  /** The same choice once its last snapshot is there, which is worth most: nothing was written since. */
  async #afterItsEnd(choice: Choice): Promise<Choice> {
    const { epochs } = choice;
    const { clock, settings, own, signal, emit } = this.#parts;
    if (settings.isDryRun) return choice;
    const untilMs = clock.monotonicMs() + settings.waitForFinalMs;
    const isFinishing = (): boolean =>
      this.#scene.lives.some(({ epoch, state }) => epochs.includes(epoch) && state === 'finishing');
    const message = `waiting up to ${formatDuration(settings.waitForFinalMs)} for the last snapshot of ${epochs.join(', ')}`;
    emit({ kind: 'notice', name: 'final-awaited', level: 'info', message });
    await own.whileAtWork(async () => {
      while (isFinishing() && clock.monotonicMs() < untilMs) {
        await clock.sleep(Math.min(FINAL_POLL_MS, untilMs - clock.monotonicMs()), signal);
        signal.throwIfAborted();
        await this.#lookAgain('new', epochs);
      }
    });
    const again = chooseNext(this.#scene, this.#me);
    return again !== undefined && isAnnounced(choice, this.#claims) && isAnnounced(again, this.#claims)
      ? again
      : choice;
  }
}
