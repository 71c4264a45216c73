import { Failure } from '../../../src/base/failure.ts';
import { parseKey } from '../../../src/repository/keys.ts';
import { announcedChunks } from '../../../src/storage/body.ts';
import { objectKeySegments } from '../../../src/storage/object-key.ts';
import type {
  ByteRange,
  ObjectBody,
  ObjectFacts,
  ObjectPage,
  ObjectStore,
  OpenObject,
  StoreOptions,
} from '../../../src/storage/object-store.ts';
import type { Chance } from './chance.ts';
import type { SimulatedProcess } from './process.ts';
import type { WorldClock } from './world-clock.ts';

interface Stored {
  readonly bytes: Uint8Array;
  readonly storedMs: number;
}

/** Told of every change when it takes effect; `undefined` is nobody of ours: a lifecycle rule. */
export interface BucketWatch {
  got(key: string, by: SimulatedProcess): void;
  /** Asked for, and not there. */
  missed(key: string, by: SimulatedProcess): void;
  put(key: string, bytes: Uint8Array, by: SimulatedProcess): void;
  deleted(key: string, by: SimulatedProcess | undefined): void;
}

/** How likely each trouble is, for one request. */
export interface Weather {
  /** Nothing happens. */
  readonly refused: number;
  /** It happens, and the answer is lost. */
  readonly lost: number;
  /** It is reported to have failed, and happens later. */
  readonly late: number;
  readonly slow: number;
  /** A body ends too early. */
  readonly cut: number;
}

export const FAIR_WEATHER: Weather = { refused: 0, lost: 0, late: 0, slow: 0, cut: 0 };

/** A request that gives no answer for so long is given up, as by the program's own stall timeout. */
const PATIENCE_MS = 60_000;
const SLOW_MS_MAX = 4 * 60_000;
/** Of a line that is slow. */
const BODY_MS_MAX = 15_000;
const LATE_MS_MAX = 5 * 3_600_000;
const PAGE_OBJECTS = 1000;

/** Object storage that many processes share, with troubles of its own and a promise that it keeps: see ObjectStore. */
export class Bucket {
  readonly #clock: WorldClock;
  readonly #chance: Chance;
  readonly #watch: BucketWatch;
  readonly #objects = new Map<string, Stored>();
  readonly #resolutionMs: number;
  weather: Weather = FAIR_WEATHER;
  /** Nobody reaches it. */
  isAway = false;

  constructor(clock: WorldClock, chance: Chance, watch: BucketWatch) {
    this.#clock = clock;
    this.#chance = chance;
    this.#watch = watch;
    this.#resolutionMs = chance.happens(0.5) ? 1000 : 1;
  }

  keys(): readonly string[] {
    return [...this.#objects.keys()];
  }

  bytesOf(key: string): Uint8Array | undefined {
    return this.#objects.get(key)?.bytes;
  }

  ageMsOf(key: string): number {
    return this.#clock.nowMs - (this.#objects.get(key)?.storedMs ?? Number.NEGATIVE_INFINITY);
  }

  /** As a lifecycle rule does it. */
  expire(key: string): void {
    if (this.#objects.delete(key)) this.#watch.deleted(key, undefined);
  }

  viewOf(process: SimulatedProcess, line: { readonly isSlow: boolean } = { isSlow: false }): ObjectStore {
    const get: ObjectStore['get'] = async (key, options) => {
      if (line.isSlow) await process.clock.sleep(this.#chance.durationMs(100, BODY_MS_MAX), options.signal);
      return process.request(() => this.#get(process, key, options));
    };
    return {
      get,
      put: (key, body, options) => {
        const isCommit = parseKey(key)?.kind === 'snapshot';
        return process.request(() => this.#put(process, key, { body, ...options }), { isCommit });
      },
      head: (key, options) =>
        process.request(() => this.#request(process, { ...options, what: `head ${key}` }, () => this.#factsOf(key))),
      list: (prefix, options) => process.each(this.#list(process, prefix, options)),
      delete: (key, options) =>
        process.request(() =>
          this.#request(process, { ...options, what: `delete ${key}`, mayBeLate: true }, () => {
            if (this.#objects.delete(key)) this.#watch.deleted(key, process);
          }),
        ),
    };
  }

  async #put(
    process: SimulatedProcess,
    key: string,
    { body, signal }: StoreOptions & { readonly body: ObjectBody },
  ): Promise<{ readonly storeTimeMs: number }> {
    objectKeySegments(key);
    const chunks: Uint8Array[] = [];
    for await (const chunk of announcedChunks(key, body, signal)) chunks.push(new Uint8Array(chunk));
    const bytes = chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks);
    return this.#request(process, { signal, what: `put ${key}`, mayBeLate: true }, () => {
      this.#objects.set(key, { bytes, storedMs: this.#clock.nowMs });
      this.#watch.put(key, bytes, process);
      return { storeTimeMs: this.#storeTimeMs() };
    });
  }

  async #get(
    process: SimulatedProcess,
    key: string,
    { signal, range }: StoreOptions & { readonly range?: ByteRange },
  ): Promise<OpenObject> {
    const what = `get ${key}`;
    return this.#request(process, { signal, what }, () => {
      if (!this.#objects.has(key)) this.#watch.missed(key, process);
      const facts = this.#factsOf(key);
      this.#watch.got(key, process);
      const whole = this.#objects.get(key)?.bytes ?? new Uint8Array();
      const { start, length } = range ?? { start: 0, length: whole.byteLength };
      const bytes = whole.subarray(start, start + length);
      const isCut = this.#chance.happens(this.weather.cut);
      const body = async function* (): AsyncGenerator<Uint8Array> {
        if (bytes.byteLength < length) throw cutShort(what);
        yield isCut ? bytes.slice(0, bytes.byteLength >> 1) : bytes.slice();
        signal.throwIfAborted();
        if (isCut) throw unavailable(what, 'its body ended early');
      };
      return { ...facts, body: process.each(body()), [Symbol.asyncDispose]: async () => {} };
    });
  }

  /** Later pages know nothing of what came after the first was asked for, and may name what is gone by then. */
  async *#list(process: SimulatedProcess, prefix: string, { signal }: StoreOptions): AsyncGenerator<ObjectPage> {
    const found = await this.#request(process, { signal, what: `list ${prefix}` }, () =>
      [...this.#objects].filter(([key]) => key.startsWith(prefix)).map(([key, stored]) => this.#listed(key, stored)),
    );
    if (this.#chance.happens(0.5)) found.reverse();
    found.push(...found.splice(0, this.#chance.below(found.length + 1)));
    const pageObjects = this.#chance.happens(0.2) ? 1 + this.#chance.below(4) : PAGE_OBJECTS;
    for (let from = 0; from === 0 || from < found.length; from += pageObjects) {
      if (from > 0 && this.#chance.happens(this.weather.slow)) await this.#dawdle(process, signal);
      yield { storeTimeMs: this.#storeTimeMs(), objects: found.slice(from, from + pageObjects) };
      signal.throwIfAborted();
    }
  }

  /** What becomes of one request, by the weather. */
  async #request<T>(
    process: SimulatedProcess,
    { what, signal, mayBeLate = false }: StoreOptions & { readonly what: string; readonly mayBeLate?: boolean },
    work: () => T,
  ): Promise<T> {
    signal.throwIfAborted();
    const { weather } = this;
    if (weather === FAIR_WEATHER && !this.isAway) return work();
    if (this.isAway || this.#chance.happens(weather.refused)) throw unavailable(what, 'the connection was refused');
    if (this.#chance.happens(weather.slow)) await this.#dawdle(process, signal);
    if (mayBeLate && this.#chance.happens(weather.late)) {
      this.#clock.wakeAfter(this.#chance.durationMs(10, LATE_MS_MAX), () => void work());
      throw unavailable(what, 'no answer came in time');
    }
    const result = work();
    if (this.#chance.happens(weather.lost)) throw unavailable(what, 'the reply was lost');
    return result;
  }

  async #dawdle(process: SimulatedProcess, signal: AbortSignal): Promise<void> {
    const ms = this.#chance.durationMs(5, SLOW_MS_MAX);
    await process.clock.sleep(Math.min(ms, PATIENCE_MS), signal);
    signal.throwIfAborted();
    if (ms > PATIENCE_MS) throw new Failure('deadline', `no byte moved for ${PATIENCE_MS} ms`);
  }

  #factsOf(key: string): ObjectFacts {
    const stored = this.#objects.get(key);
    if (stored === undefined) throw new Failure('missing', `no object ${key}`);
    return { ...this.#listed(key, stored), storeTimeMs: this.#storeTimeMs() };
  }

  #listed(key: string, { bytes, storedMs }: Stored): ObjectPage['objects'][number] {
    return { key, sizeBytes: bytes.byteLength, modifiedMs: this.#rounded(storedMs) };
  }

  #storeTimeMs(): number {
    return this.#rounded(this.#clock.nowMs);
  }

  #rounded(ms: number): number {
    return Math.floor(ms / this.#resolutionMs) * this.#resolutionMs;
  }
}

function unavailable(what: string, why: string): Failure {
  return new Failure('unavailable', `cannot ${what}: ${why}`);
}

function cutShort(what: string): Failure {
  return new Failure('corrupt', `cannot ${what}: fewer bytes came than were announced`);
}
