import { setImmediate as turn } from 'node:timers/promises';
import type { Clock } from '../../src/base/clock.ts';
import { type Sleeper, Sleepers } from './sleepers.ts';

/** A clock that stands still until a test moves it. */
export class ManualClock implements Clock {
  #wallMs: number;
  #monotonicMs = 0;
  readonly #sleepers = new Sleepers();
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

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    return this.#sleep(ms, signal, this);
  }

  /** The same time for one process. Disposed of, it is killed: whoever sleeps on it sleeps for ever, and is forgotten. */
  forProcess(): Clock & Disposable {
    const process = {
      nowMs: () => this.nowMs(),
      monotonicMs: () => this.monotonicMs(),
      sleep: (ms: number, signal: AbortSignal) => this.#sleep(ms, signal, process),
      [Symbol.dispose]: () => this.#sleepers.forget(process),
    };
    return process;
  }

  /** Moves both clocks; wakes the sleepers on the way in their order, and lets each go on before the next. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#monotonicMs + ms;
    await turn(); // Whoever is about to sleep does so first.
    for (let next = this.#sleepers.first; next !== undefined && next.wakeAtMs <= endMs; next = this.#sleepers.first) {
      this.#pass(next.wakeAtMs - this.#monotonicMs);
      this.#sleepers.wake(next);
      await turn();
    }
    this.#pass(endMs - this.#monotonicMs);
  }

  /** Moves both clocks to the next sleeper that there is, if any, and lets it go on. */
  async advanceToNext(): Promise<void> {
    await turn();
    const next = this.#sleepers.first;
    if (next !== undefined) await this.advance(next.wakeAtMs - this.#monotonicMs);
  }

  /** Moves the wall clock alone, as an operator or a time server does. */
  jump(ms: number): void {
    this.#wallMs += ms;
  }

  async #sleep(ms: number, signal: AbortSignal, process: object): Promise<void> {
    if (signal.aborted) return;
    if (this.#sleepsPass) return this.#pass(ms);
    const { promise, resolve } = Promise.withResolvers<void>();
    const sleeper: Sleeper = { wakeAtMs: this.#monotonicMs + Math.max(0, ms), signal, process, goOn: resolve };
    this.#sleepers.add(sleeper);
    await promise;
  }

  #pass(ms: number): void {
    const passedMs = Math.max(0, ms);
    this.#wallMs += passedMs;
    this.#monotonicMs += passedMs;
  }
}
