import type { Clock, Random } from '../../src/base/clock.ts';
import { Failure } from '../../src/base/failure.ts';
import { announcedChunks, untilAborted } from '../../src/storage/body.ts';
import { objectKeySegments, objectPrefixParts } from '../../src/storage/object-key.ts';
import {
  assertByteRange,
  type ByteRange,
  type ObjectBody,
  type ObjectFacts,
  type ObjectPage,
  type ObjectStore,
  type OpenObject,
  type StoreOptions,
} from '../../src/storage/object-store.ts';
import { ManualClock } from './manual-clock.ts';
import { seededRandom } from './seeded-random.ts';

export type StoreOperation = 'put' | 'get' | 'head' | 'list' | 'delete';

/** What goes wrong, at which requests. The first script that matches a request and has a turn left applies. */
export type FaultScript = FaultScope & Fault;

interface FaultScope {
  /** Every one, if left out. */
  readonly operation?: StoreOperation;
  /** Tried on the key, for a list on the prefix. Every one, if left out. */
  readonly key?: RegExp;
  /** This many requests that match go well first; 0 if left out. */
  readonly skip?: number;
  /** And this many then fail; 1 if left out, `Infinity` for all to come. */
  readonly times?: number;
  /** Each of them only with this chance, drawn from the seed; 1 if left out. */
  readonly probability?: number;
}

export type Fault =
  /** Nothing is done. */
  | { readonly kind: 'fail-before'; readonly failure?: Failure }
  /** All is done, but the reply is lost. A get fails once its body was read. */
  | { readonly kind: 'fail-after'; readonly failure?: Failure }
  /** `ms` on the clock of the store go by first. */
  | { readonly kind: 'delay'; readonly ms: number }
  /** Get: the body ends after so many bytes, in the Failure `corrupt` that the port promises. */
  | { readonly kind: 'truncate'; readonly keptBytes: number }
  /** Get: after so many bytes no more come, until the caller gives up. */
  | { readonly kind: 'stall'; readonly keptBytes: number }
  /** Get: one bit of the body is wrong. */
  | { readonly kind: 'flip' }
  /** List: as it was so long ago. No server that we support does this; what must be safe even then is tested with it. */
  | { readonly kind: 'stale'; readonly ageMs: number };

interface Stored {
  readonly key: string;
  readonly bytes: Uint8Array;
  readonly storedAtMs: number;
}

type Change = Stored | { readonly key: string; readonly bytes: undefined; readonly storedAtMs: number };

interface Options {
  /** Default: a manual clock whose sleeps pass at once. */
  readonly clock?: Clock;
  /** Decides the order of listings, the size of pages, and what a fault leaves to chance. */
  readonly seed?: number;
  /** Some servers know `modifiedMs` to the second only. */
  readonly wholeSeconds?: boolean;
}

/** The port in memory, with faults that a test scripts, and a log of what was done in which order. */
export class SimulatedStore implements ObjectStore {
  readonly clock: Clock;
  /** `put a/b`, `list a/`: each request when it took effect, whatever became of its reply. */
  readonly log: string[] = [];
  readonly #random: Random;
  readonly #resolutionMs: number;
  readonly #objects = new Map<string, Stored>();
  /** Every change, for listings that are stale. */
  readonly #history: Change[] = [];
  readonly #faults: { readonly script: FaultScript; matches: number; failures: number }[] = [];

  constructor(options: Options = {}) {
    this.clock = options.clock ?? new ManualClock({ sleepsPass: true });
    this.#random = seededRandom(options.seed ?? 1);
    this.#resolutionMs = options.wholeSeconds === true ? 1000 : 1;
  }

  /** Adds a script of faults to those that are in force. */
  script(fault: FaultScript): void {
    this.#faults.push({ script: fault, matches: 0, failures: 0 });
  }

  /** From now on nothing goes wrong. */
  heal(): void {
    this.#faults.length = 0;
  }

  /** Every key, sorted. */
  keys(): readonly string[] {
    return [...this.#objects.keys()].sort();
  }

  bytesOf(key: string): Uint8Array {
    return this.#existing(key).bytes.slice();
  }

  /** Changes an object where it lies, as rot or an intruder does: its time stays. */
  tamper(key: string, change: (bytes: Uint8Array) => Uint8Array): void {
    const { bytes, storedAtMs } = this.#existing(key);
    this.#apply({ key, bytes: change(Uint8Array.from(bytes)), storedAtMs });
  }

  async put(key: string, body: ObjectBody, { signal }: StoreOptions): Promise<ObjectFacts> {
    objectKeySegments(key);
    const fault = await this.#begin('put', key, signal);
    const chunks: Uint8Array[] = [];
    for await (const chunk of announcedChunks(key, body, signal)) chunks.push(Uint8Array.from(chunk));
    signal.throwIfAborted();
    this.#record('put', key, { key, bytes: Uint8Array.from(Buffer.concat(chunks)), storedAtMs: this.clock.nowMs() });
    this.#end('put', key, fault);
    return this.#factsOf(this.#existing(key));
  }

  async get(key: string, { signal, range }: StoreOptions & { readonly range?: ByteRange }): Promise<OpenObject> {
    objectKeySegments(key);
    if (range !== undefined) assertByteRange(range);
    const fault = await this.#begin('get', key, signal);
    this.#record('get', key);
    const object = this.#existing(key);
    const { start, length } = range ?? { start: 0, length: object.bytes.byteLength };
    const bytes = object.bytes.subarray(start, start + length);
    if (bytes.byteLength < length) throw this.#cutShort(key, bytes.byteLength, length);
    const body = untilAborted(this.#chunksOf(key, bytes, fault), signal);
    return { ...this.#factsOf(object), body, [Symbol.asyncDispose]: async () => void (await body.return(undefined)) };
  }

  async head(key: string, { signal }: StoreOptions): Promise<ObjectFacts> {
    objectKeySegments(key);
    const fault = await this.#begin('head', key, signal);
    this.#record('head', key);
    const object = this.#existing(key);
    this.#end('head', key, fault);
    return this.#factsOf(object);
  }

  async *list(prefix: string, { signal }: StoreOptions): AsyncGenerator<ObjectPage> {
    objectPrefixParts(prefix);
    const fault = await this.#begin('list', prefix, signal);
    this.#record('list', prefix);
    const seen = fault?.kind === 'stale' ? this.#objectsAsOf(this.clock.nowMs() - fault.ageMs) : this.#objects;
    const found = [...seen.values()].filter(({ key }) => key.startsWith(prefix));
    const objects = this.#shuffled(found).map((object) => this.#listed(object));
    do {
      const length = 1 + Math.floor(this.#random.fraction() ** 4 * 1000); // Mostly small: pages must meet their readers.
      yield { storeTimeMs: this.clock.nowMs(), objects: objects.splice(0, length) };
      signal.throwIfAborted();
    } while (objects.length > 0);
    this.#end('list', prefix, fault);
  }

  async delete(key: string, { signal }: StoreOptions): Promise<void> {
    objectKeySegments(key);
    const fault = await this.#begin('delete', key, signal);
    this.#record('delete', key, { key, bytes: undefined, storedAtMs: this.clock.nowMs() });
    this.#end('delete', key, fault);
  }

  async #begin(operation: StoreOperation, key: string, signal: AbortSignal): Promise<Fault | undefined> {
    signal.throwIfAborted();
    const fault = this.#nextFault(operation, key);
    if (fault?.kind === 'delay') await this.clock.sleep(fault.ms, signal);
    signal.throwIfAborted();
    if (fault?.kind === 'fail-before') throw fault.failure ?? unavailable(operation, key, 'the connection was refused');
    return fault;
  }

  #end(operation: StoreOperation, key: string, fault: Fault | undefined): void {
    if (fault?.kind === 'fail-after') throw fault.failure ?? unavailable(operation, key, 'the reply was lost');
  }

  #nextFault(operation: StoreOperation, key: string): Fault | undefined {
    for (const entry of this.#faults) {
      const { script } = entry;
      if ((script.operation ?? operation) !== operation || script.key?.test(key) === false) continue;
      entry.matches++;
      if (entry.matches <= (script.skip ?? 0) || entry.failures >= (script.times ?? 1)) continue;
      if (script.probability !== undefined && this.#random.fraction() >= script.probability) continue;
      entry.failures++;
      return script;
    }
    return undefined;
  }

  #record(operation: StoreOperation, key: string, change?: Change): void {
    this.log.push(`${operation} ${key}`);
    if (change !== undefined) this.#apply(change);
  }

  #apply(change: Change): void {
    this.#history.push(change);
    applyTo(this.#objects, change);
  }

  /** One buffer for all chunks, spoiled as soon as the next one is asked for: who keeps a chunk finds rubbish in it. */
  async *#chunksOf(key: string, bytes: Uint8Array, fault: Fault | undefined): AsyncGenerator<Uint8Array> {
    const flippedAt = fault?.kind === 'flip' ? Math.floor(this.#random.fraction() * bytes.byteLength) : -1;
    const isCut = fault?.kind === 'truncate' || fault?.kind === 'stall';
    const end = isCut ? Math.min(fault.keptBytes, bytes.byteLength) : bytes.byteLength;
    const length = 1 + Math.floor(this.#random.fraction() * 64 * 1024);
    const buffer = new Uint8Array(Math.max(1, Math.min(length, end)));
    for (let position = 0; position < end; position += buffer.byteLength) {
      const chunk = buffer.subarray(0, Math.min(buffer.byteLength, end - position));
      chunk.set(bytes.subarray(position, position + chunk.byteLength));
      if (position <= flippedAt && flippedAt < position + chunk.byteLength) flipBit(chunk, flippedAt - position);
      yield chunk;
      buffer.fill(0xdb);
    }
    if (fault?.kind === 'stall') await new Promise(() => undefined);
    if (end < bytes.byteLength) throw this.#cutShort(key, end, bytes.byteLength);
    this.#end('get', key, fault);
  }

  #cutShort(key: string, givenBytes: number, wantedBytes: number): Failure {
    return new Failure('corrupt', `cannot read ${key}: ${givenBytes} bytes came instead of ${wantedBytes}`);
  }

  #objectsAsOf(timeMs: number): ReadonlyMap<string, Stored> {
    const objects = new Map<string, Stored>();
    for (const change of this.#history) if (change.storedAtMs <= timeMs) applyTo(objects, change);
    return objects;
  }

  #existing(key: string): Stored {
    const object = this.#objects.get(key);
    if (object === undefined) throw new Failure('missing', `no object ${key}`);
    return object;
  }

  #factsOf(object: Stored): ObjectFacts {
    return { ...this.#listed(object), storeTimeMs: this.clock.nowMs() };
  }

  #listed({ key, bytes, storedAtMs }: Stored): ObjectPage['objects'][number] {
    const modifiedMs = Math.floor(storedAtMs / this.#resolutionMs) * this.#resolutionMs;
    return { key, sizeBytes: bytes.byteLength, modifiedMs };
  }

  #shuffled<T>(items: readonly T[]): T[] {
    const drawn = items.map((item) => ({ item, place: this.#random.fraction() }));
    return drawn.sort((a, b) => a.place - b.place).map(({ item }) => item);
  }
}

function applyTo(objects: Map<string, Stored>, change: Change): void {
  if (change.bytes === undefined) objects.delete(change.key);
  else objects.set(change.key, change);
}

function flipBit(bytes: Uint8Array, at: number): void {
  bytes[at] = (bytes[at] ?? 0) ^ 1;
}

function unavailable(operation: StoreOperation, key: string, why: string): Failure {
  return new Failure('unavailable', `cannot ${operation} ${key}: ${why}`);
}
