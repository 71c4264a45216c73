import { setImmediate as turn } from 'node:timers/promises';
import type { Clock } from '../../src/base/clock.ts';

interface Sleeper {
  readonly wakeAtMs: number;
  readonly wake: () => void;
}

/** A clock that stands still until a test moves it. */
export class ManualClock implements Clock {
  #wallMs: number;
  #monotonicMs = 0;
  #sleepers: readonly Sleeper[] = [];
  readonly #sleepsPass: boolean;

  /** With `sleepsPass`, who sleeps moves the clock and goes on at once; not for who sleeps to watch others. */
  constructor(options: { readonly startMs?: number; readonly sleepsPass?: boolean } = {}) {
    this.#wallMs = options.startMs ?? 1_750_000_000_000;
    this.#sleepsPass = options.sleepsPass ?? false;
  }

  nowMs(): number {
    return this.#wallMs;
  }

  monotonicMs(): number {
    return this.#monotonicMs;
  }

  async sleep(ms: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    if (this.#sleepsPass) return this.#pass(ms);
    const { promise, resolve } = Promise.withResolvers<void>();
    const sleeper: Sleeper = { wakeAtMs: this.#monotonicMs + ms, wake: resolve };
    this.#sleepers = [...this.#sleepers, sleeper];
    signal.addEventListener('abort', () => resolve(), { once: true });
    await promise;
    this.#sleepers = this.#sleepers.filter((other) => other !== sleeper);
  }

  /** Moves both clocks; wakes the sleepers on the way in their order, and lets each go on before the next. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#monotonicMs + ms;
    await turn(); // Whoever is about to sleep does so first.
    for (;;) {
      const next = this.#sleepers.toSorted((a, b) => a.wakeAtMs - b.wakeAtMs)[0];
      if (next === undefined || next.wakeAtMs > endMs) break;
      this.#pass(next.wakeAtMs - this.#monotonicMs);
      next.wake();
      await turn();
    }
    this.#pass(endMs - this.#monotonicMs);
  }

  /** Moves both clocks to the next sleeper that there is, if any, and lets it go on. */
  async advanceToNext(): Promise<void> {
    await turn();
    const wakeAtMs = Math.min(...this.#sleepers.map((sleeper) => sleeper.wakeAtMs));
    if (Number.isFinite(wakeAtMs)) await this.advance(wakeAtMs - this.#monotonicMs);
  }

  /** Moves the wall clock alone, as an operator or a time server does. */
  jump(ms: number): void {
    this.#wallMs += ms;
  }

  #pass(ms: number): void {
    this.#wallMs += ms;
    this.#monotonicMs += ms;
  }
}
