import type { Clock } from '../base/clock.ts';
import { SERVER_AHEAD_MS } from '../streams/checkpoint-cover.ts';

/** A wall clock that lags this far behind the steady one was set back; less is how clocks are slewed. */
const STEP_MS = 100;
/** One that is this far ahead of it was set ahead, or the machine was suspended; time servers make smaller steps at a start. */
const AHEAD_MS = 1000;

/**
 * Compares the wall clock with the steady one, to notice when it was set (Q5): back, which makes what is stamped after it look older;
 * or ahead, which shows that it had been behind, perhaps set back before anybody looked, or in the same moment.
 */
export class ClockWatch {
  readonly #clock: Pick<Clock, 'nowMs' | 'monotonicMs'>;
  #aheadMs: number;
  #setAtMs: number | undefined;
  #setBackMs = 0;
  /** What the wall clock has shown at most when it was set: what is stamped later is of after that. */
  #shownMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Pick<Clock, 'nowMs' | 'monotonicMs'>) {
    this.#clock = clock;
    this.#aheadMs = clock.nowMs() - clock.monotonicMs();
  }

  /** Looks at both clocks; the more often, the smaller the steps back that cannot hide behind a small step ahead. */
  sample(): void {
    const aheadMs = this.#clock.nowMs() - this.#clock.monotonicMs();
    const byMs = aheadMs - this.#aheadMs;
    if (byMs < -STEP_MS) this.#setBackMs -= byMs;
    if (byMs < -STEP_MS || byMs > AHEAD_MS) {
      this.#setAtMs = this.#clock.monotonicMs();
      this.#shownMs = Math.max(this.#shownMs, this.#setAtMs + Math.max(this.#aheadMs, aheadMs));
    }
    this.#aheadMs = byMs < -STEP_MS ? aheadMs : Math.max(this.#aheadMs, aheadMs);
  }

  /** By how much it was seen to be set back, all in all. */
  get setBackMs(): number {
    this.sample();
    return this.#setBackMs;
  }

  /** Whether a step was noticed at this moment of the steady clock or later, and what has this stamp may be of before it. */
  wasSetSince(sinceMs: number, wallMs = Number.NEGATIVE_INFINITY): boolean {
    this.sample();
    return this.#setAtMs !== undefined && this.#setAtMs >= sinceMs && wallMs <= this.#shownMs + SERVER_AHEAD_MS;
  }
}
