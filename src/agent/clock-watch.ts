import type { Clock } from '../base/clock.ts';

/** A wall clock that lags this far behind the steady one was set back; less is how clocks are slewed. */
const STEP_MS = 100;

/** Compares the wall clock with the steady one, to notice when it was set back (Q5). */
export class ClockWatch {
  readonly #clock: Pick<Clock, 'nowMs' | 'monotonicMs'>;
  #aheadMs: number;
  #steppedAtMs: number | undefined;
  #setBackMs = 0;

  constructor(clock: Pick<Clock, 'nowMs' | 'monotonicMs'>) {
    this.#clock = clock;
    this.#aheadMs = clock.nowMs() - clock.monotonicMs();
  }

  /** Looks at both clocks; the more often, the smaller the steps back that cannot hide behind a step ahead. */
  sample(): void {
    const aheadMs = this.#clock.nowMs() - this.#clock.monotonicMs();
    if (aheadMs < this.#aheadMs - STEP_MS) {
      this.#steppedAtMs = this.#clock.monotonicMs();
      this.#setBackMs += this.#aheadMs - aheadMs;
      this.#aheadMs = aheadMs;
    } else this.#aheadMs = Math.max(this.#aheadMs, aheadMs);
  }

  /** By how much it was seen to be set back, all in all. */
  get setBackMs(): number {
    this.sample();
    return this.#setBackMs;
  }

  /** Whether a step back was noticed at this moment of the steady clock or later. */
  steppedBackSince(sinceMs: number): boolean {
    this.sample();
    return this.#steppedAtMs !== undefined && this.#steppedAtMs >= sinceMs;
  }
}
