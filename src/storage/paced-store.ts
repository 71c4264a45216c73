import type { Clock } from '../base/clock.ts';
import type { ObjectStore } from './object-store.ts';

/** How fast bytes may be sent; one for all puts together. */
export class Pace {
  readonly #clock: Clock;
  #bytesPerSecond: number;
  #freeAtMs = Number.NEGATIVE_INFINITY;

  constructor(bytesPerSecond: number, clock: Clock) {
    this.#bytesPerSecond = bytesPerSecond;
    this.#clock = clock;
  }

  /** From now on; Infinity for no limit. */
  set(bytesPerSecond: number): void {
    this.#bytesPerSecond = bytesPerSecond;
  }

  /** Resolves when so many bytes may go; they count as sent then. */
  async admit(bytes: number, signal: AbortSignal): Promise<void> {
    if (this.#bytesPerSecond === Number.POSITIVE_INFINITY) return;
    const nowMs = this.#clock.monotonicMs();
    const startMs = Math.max(nowMs, this.#freeAtMs);
    this.#freeAtMs = startMs + (bytes / this.#bytesPerSecond) * 1000;
    if (startMs > nowMs) await this.#clock.sleep(startMs - nowMs, signal);
    signal.throwIfAborted();
  }
}

/** The same port around a port: bodies of puts go out no faster than `pace` allows. */
export function paceStore(store: ObjectStore, pace: Pace): ObjectStore {
  return {
    put: (key, body, options) => {
      const paced = async function* (): AsyncGenerator<Uint8Array> {
        for await (const chunk of body.open()) {
          await pace.admit(chunk.byteLength, options.signal);
          yield chunk;
        }
      };
      return store.put(key, { ...body, open: paced }, options);
    },
    get: (key, options) => store.get(key, options),
    head: (key, options) => store.head(key, options),
    list: (prefix, options) => store.list(prefix, options),
    delete: (key, options) => store.delete(key, options),
  };
}
