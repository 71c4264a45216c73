import { jitteredMs, type Situation } from './schedule.ts';

type RhythmSituation = Pick<
  Situation,
  'changedMs' | 'roundMs' | 'fleetingMs' | 'fleetingRoundMs' | 'intervalMs' | 'isUnfinished'
>;

/** When rounds were, and since when something waits for the next one. Times are of the steady clock. */
export class Rhythm {
  readonly #settings: { readonly intervalMs: number };
  readonly #fraction: () => number;
  #changedMs: number | undefined;
  #roundMs: number | undefined;
  #fleetingMs: number | undefined;
  #fleetingRoundMs: number | undefined;
  #intervalMs: number;
  #isUnfinished = false;

  /** `fraction` is chance in [0, 1). */
  constructor(settings: { readonly intervalMs: number }, fraction: () => number) {
    this.#settings = settings;
    this.#fraction = fraction;
    this.#intervalMs = this.#draw();
  }

  /** Whether anything has changed since the last round, or can be captured that will not last, as of now. */
  see(nowMs: number, { hasChanged, isFleeting }: { readonly hasChanged: boolean; readonly isFleeting: boolean }): void {
    this.#changedMs = hasChanged ? (this.#changedMs ?? nowMs) : undefined;
    this.#fleetingMs = isFleeting ? (this.#fleetingMs ?? nowMs) : undefined;
  }

  get situation(): RhythmSituation {
    return {
      changedMs: this.#changedMs,
      roundMs: this.#roundMs,
      fleetingMs: this.#fleetingMs,
      fleetingRoundMs: this.#fleetingRoundMs,
      intervalMs: this.#intervalMs,
      isUnfinished: this.#isUnfinished,
    };
  }

  /** A round begins; what is returned tells how it ended, where it did well. */
  begin(nowMs: number): (result: { readonly isUnfinished: boolean }) => void {
    const isFleeting = this.#fleetingMs !== undefined;
    return ({ isUnfinished }) => {
      this.#roundMs = nowMs;
      if (isFleeting) this.#fleetingRoundMs = nowMs;
      this.#intervalMs = this.#draw();
      this.#changedMs = undefined;
      this.#isUnfinished = isUnfinished;
    };
  }

  #draw(): number {
    return jitteredMs(this.#settings.intervalMs, this.#fraction());
  }
}
