interface Sleeper {
  /** When it wants to be woken; it may be later. */
  readonly dueMs: number;
  readonly wakeAtMs: number;
  readonly wake: () => void;
}

/** Who wants to sleep for a second wakes up within half an hour, whatever the grain: a request that is slow is no night. */
const SLOTH = 2000;

/** Whoever is awake goes on until all wait for the clock, or for somebody who does: everything is in memory. */
function settle(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/**
 * The time of the simulated world. It stands still while anybody works, so that what happens is a function of the seed. Who
 * sleeps may oversleep, up to the grain: machines are slow, and hours must not cost thousands of turns.
 */
export class WorldClock {
  /** When the world began, by clocks that are right. */
  static readonly BEGIN_MS = 1_790_000_000_000;
  #steadyMs = 0;
  #grainMs = 1;
  #sloth = SLOTH;
  /** By the time of waking, then as they lay down. */
  #sleepers: Sleeper[] = [];

  get steadyMs(): number {
    return this.#steadyMs;
  }

  /** As a clock says that is right. */
  get nowMs(): number {
    return WorldClock.BEGIN_MS + this.#steadyMs;
  }

  /** Calls `wake` after `ms` or somewhat later; returns what takes it back. */
  wakeAfter(ms: number, wake: () => void): () => void {
    const grainMs = Math.min(this.#grainMs, Math.max(1, ms * this.#sloth));
    const wakeAtMs = Math.ceil((this.#steadyMs + Math.max(0, ms)) / grainMs) * grainMs;
    const dueMs = this.#steadyMs + Math.max(0, ms);
    const sleeper: Sleeper = { dueMs, wakeAtMs, wake };
    const after = this.#sleepers.findIndex((other) => other.wakeAtMs > wakeAtMs);
    if (after < 0) this.#sleepers.push(sleeper);
    else this.#sleepers.splice(after, 0, sleeper);
    return () => {
      const at = this.#sleepers.indexOf(sleeper);
      if (at >= 0) this.#sleepers.splice(at, 1);
    };
  }

  /** From now on nobody who sleeps already oversleeps. */
  wakeInTime(): void {
    const inTime = this.#sleepers.map((one) => Object.assign(one, { wakeAtMs: Math.max(one.dueMs, this.#steadyMs) }));
    this.#sleepers = inTime.sort((left, right) => left.wakeAtMs - right.wakeAtMs);
  }

  /** Lets time go by; each sleeper on the way goes on before the next one does, and oversleeps by so many times its sleep at most. */
  async advance(ms: number, grainMs = 1, sloth = SLOTH): Promise<void> {
    const endMs = this.#steadyMs + ms;
    this.#grainMs = Math.max(1, grainMs);
    this.#sloth = sloth;
    await settle();
    for (let next = this.#sleepers[0]; next !== undefined && next.wakeAtMs <= endMs; next = this.#sleepers[0]) {
      this.#sleepers.shift();
      this.#steadyMs = Math.max(this.#steadyMs, next.wakeAtMs);
      next.wake();
      await settle();
    }
    this.#steadyMs = endMs;
    this.#grainMs = 1;
    this.#sloth = SLOTH;
  }
}
