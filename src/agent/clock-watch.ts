import type { Clock } from '../base/clock.ts';

/** A wall clock that lags this far behind the steady one was set back; less is how clocks are slewed. */
const STEP_MS = 100;

/** Compares the wall clock with the steady one, to notice when it was set back (Q5). */
export class ClockWatch {
  /** By the steady clock: what happened before was not seen. */
  readonly startedMs: number;
  readonly #clock: Pick<Clock, 'nowMs' | 'monotonicMs'>;
  #aheadMs: number;
  #steppedAtMs: number | undefined;

  constructor(clock: Pick<Clock, 'nowMs' | 'monotonicMs'>) {
    this.#clock = clock;
    this.startedMs = clock.monotonicMs();
    this.#aheadMs = clock.nowMs() - clock.monotonicMs();
  }

  /** Looks at both clocks; the more often, the smaller the steps back that cannot hide behind a step ahead. */
  sample(): void {
    const aheadMs = this.#clock.nowMs() - this.#clock.monotonicMs();
    if (aheadMs < this.#aheadMs - STEP_MS) {
      this.#steppedAtMs = this.#clock.monotonicMs();
      this.#aheadMs = aheadMs;
    } else this.#aheadMs = Math.max(this.#aheadMs, aheadMs);
  }

  /** Whether a step back was noticed at this moment of the steady clock or later. */
  steppedBackSince(sinceMs: number): boolean {
    this.sample();
    return this.#steppedAtMs !== undefined && this.#steppedAtMs >= sinceMs;
  }
}
