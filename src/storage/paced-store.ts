import type { Clock } from '../base/clock.ts';
import type { ObjectStore } from './object-store.ts';

const PIECES_PER_SECOND = 8;
const PIECE_BYTES_MIN = 4096;

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

  /** Bytes that may be asked for at once: who sends slowly sends little at a time, so that nobody takes it for a stall. */
  get pieceBytes(): number {
    return Math.max(PIECE_BYTES_MIN, this.#bytesPerSecond / PIECES_PER_SECOND);
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
          for (let start = 0; start < chunk.byteLength; ) {
            const piece = chunk.subarray(start, start + pace.pieceBytes);
            await pace.admit(piece.byteLength, options.signal);
            yield piece;
            start += piece.byteLength;
          }
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
