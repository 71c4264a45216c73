import { jitteredMs, type Situation } from './schedule.ts';

/** When rounds were, and since when something waits for the next one. Times are of the steady clock. */
export class Rhythm {
  readonly #settings: { readonly intervalMs: number };
  readonly #fraction: () => number;
  #changedMs: number | undefined;
  #roundMs: number | undefined;
  #intervalMs: number;
  #isUnfinished = false;

  /** `fraction` is chance in [0, 1). */
  constructor(settings: { readonly intervalMs: number }, fraction: () => number) {
    this.#settings = settings;
    this.#fraction = fraction;
    this.#intervalMs = this.#draw();
  }

  /** Whether anything has changed since the last round, as of now. */
  see(nowMs: number, { hasChanged }: { readonly hasChanged: boolean }): void {
    this.#changedMs = hasChanged ? (this.#changedMs ?? nowMs) : undefined;
  }

  get situation(): Pick<Situation, 'changedMs' | 'roundMs' | 'intervalMs' | 'isUnfinished'> {
    return {
      changedMs: this.#changedMs,
      roundMs: this.#roundMs,
      intervalMs: this.#intervalMs,
      isUnfinished: this.#isUnfinished,
    };
  }

  /** A round begins; what is returned tells how it ended, where it did well. */
  begin(nowMs: number): (result: { readonly isUnfinished: boolean }) => void {
    return ({ isUnfinished }) => {
      this.#roundMs = nowMs;
      this.#intervalMs = this.#draw();
      this.#changedMs = undefined;
      this.#isUnfinished = isUnfinished;
    };
  }

  #draw(): number {
    return jitteredMs(this.#settings.intervalMs, this.#fraction());
  }
}
