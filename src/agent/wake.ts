import type { Clock } from '../base/clock.ts';

/** Lets a loop rest until some time, or until somebody has a reason to wake it. */
export class Wake {
  #called = new AbortController();

  /** Ends the rest, or the next one before it begins. With a reason: without one Node makes an exception and its stack. */
  readonly call = (): void => this.#called.abort('called');

  async rest(ms: number, clock: Clock): Promise<void> {
    await clock.sleep(Math.max(0, ms), this.#called.signal);
    if (this.#called.signal.aborted) this.#called = new AbortController();
  }
}

/** A signal that aborts with its disposal. */
export function aborting(): Disposable & { readonly signal: AbortSignal } {
  const controller = new AbortController();
  return { signal: controller.signal, [Symbol.dispose]: () => controller.abort() };
}
