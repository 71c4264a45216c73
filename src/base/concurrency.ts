import type { Clock, Random } from './clock.ts';

/**
 * Runs `work` on every item, at most `limit` at a time, results in the order of the items. The first
 * failure stops the others through their signal and is thrown once every worker has ended.
 */
export async function mapBounded<T, R>(
  items: Iterable<T>,
  options: { readonly limit: number; readonly signal: AbortSignal },
  work: (item: T, signal: AbortSignal) => Promise<R>,
): Promise<R[]> {
  if (options.limit < 1) throw new Error(`nothing can be done under a limit of ${options.limit}`);
  const ending = new AbortController();
  const scope = ending.signal;
  // By hand: a signal made of others costs more than most of the work that is done under it.
  const end = (): void => ending.abort(options.signal.reason);
  options.signal.addEventListener('abort', end, { once: true });
  if (options.signal.aborted) end();
  const all = [...items];
  const queue = all.entries(); // Shared: each worker takes the next item.
  const results: R[] = [];
  let first: { readonly error: unknown } | undefined;
  const worker = async (): Promise<void> => {
    try {
      for (const [index, item] of queue) {
        scope.throwIfAborted();
        results[index] = await work(item, scope);
      }
    } catch (error) {
      first ??= { error };
      ending.abort(error);
    }
  };
  await Promise.all(Array.from({ length: Math.min(options.limit, all.length) }, worker));
  options.signal.removeEventListener('abort', end);
  if (first !== undefined) throw first.error;
  options.signal.throwIfAborted();
  return results;
}

/** Waits for all of them, also where one fails; then throws the first failure in their order. */
export async function allDone(works: readonly Promise<void>[]): Promise<void> {
  for (const outcome of await Promise.allSettled(works)) {
    if (outcome.status === 'rejected') throw outcome.reason;
  }
}

export interface RetryPolicy {
  /** Tries in all, the first one included. */
  readonly triesMax: number;
  readonly firstDelayMs: number;
  readonly delayMsMax: number;
}

/** Repeats `work` while `isTransient` says so, with doubling delays and full jitter. Throws the last error. */
export async function retry<T>(
  work: (attempt: number) => Promise<T>,
  policy: RetryPolicy,
  world: {
    readonly clock: Clock;
    readonly random: Random;
    readonly signal: AbortSignal;
    readonly isTransient: (error: unknown) => boolean;
  },
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work(attempt);
    } catch (error) {
      if (attempt >= policy.triesMax || world.signal.aborted || !world.isTransient(error)) throw error;
      const ceilingMs = Math.min(policy.delayMsMax, policy.firstDelayMs * 2 ** (attempt - 1));
      await world.clock.sleep(ceilingMs * world.random.fraction(), world.signal);
      world.signal.throwIfAborted();
    }
  }
}

/**
 * A bounded supply of some unit (bytes of memory, say). `acquire` waits in order of arrival until the
 * amount is free; what it returns gives back on dispose, or earlier and in part by `shrinkTo`.
 */
export class Budget {
  readonly #capacity: number;
  #free: number;
  readonly #waiting: { readonly amount: number; readonly admit: () => void }[] = [];

  constructor(capacity: number) {
    this.#capacity = capacity;
    this.#free = capacity;
  }

  async acquire(amount: number, signal: AbortSignal): Promise<Reservation> {
    signal.throwIfAborted();
    const needed = Math.min(amount, this.#capacity); // What is larger than all there is takes all there is.
    if (this.#waiting.length === 0 && needed <= this.#free) {
      this.#free -= needed;
    } else {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const entry = { amount: needed, admit: resolve };
      const giveUp = (): void => {
        const index = this.#waiting.indexOf(entry);
        if (index >= 0) this.#waiting.splice(index, 1);
        this.#admitWaiting();
        reject(signal.reason);
      };
      this.#waiting.push(entry);
      signal.addEventListener('abort', giveUp, { once: true });
      await promise.finally(() => signal.removeEventListener('abort', giveUp));
    }
    return this.#reservation(needed);
  }

  #reservation(granted: number): Reservation {
    let held = granted;
    const shrinkTo = (amount: number): void => {
      if (amount >= held) return;
      this.#free += held - amount;
      held = amount;
      this.#admitWaiting();
    };
    return { shrinkTo, [Symbol.dispose]: () => shrinkTo(0) };
  }

  #admitWaiting(): void {
    for (let next = this.#waiting[0]; next !== undefined && next.amount <= this.#free; next = this.#waiting[0]) {
      this.#waiting.shift();
      this.#free -= next.amount;
      next.admit();
    }
  }
}

export interface Reservation extends Disposable {
  /** Gives back what is above `amount`. */
  shrinkTo(amount: number): void;
}
