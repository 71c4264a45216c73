import type { Clock } from '../base/clock.ts';
import { Failure, type FailureKind, isFailure } from '../base/failure.ts';
import type { ObjectStore, OpenObject, StoreOptions } from './object-store.ts';

/** One call of the port, told when it is over; a get is over with its body, a list with its last page. */
export interface StoreRequest {
  readonly operation: 'put' | 'get' | 'head' | 'list' | 'delete';
  /** Of a list the prefix. */
  readonly key: string;
  /** Without the time in which the caller held a chunk or page. */
  readonly durationMs: number;
  /** Bytes of bodies that moved, those of repeated tries included. */
  readonly sizeBytes: number;
  /** Undefined if it went well; `aborted` for what is no Failure. */
  readonly failure: FailureKind | 'aborted' | undefined;
}

/** What went over a store until now. */
export interface Traffic {
  readonly requests: number;
  /** Of bodies that came back. */
  readonly receivedBytes: number;
}

interface Options {
  readonly clock: Clock;
  /** A request that moves no byte and gives no answer for so long ends as Failure `deadline`. */
  readonly stallTimeoutMs: number;
  readonly onRequest: (request: StoreRequest) => void;
}

/** The same port around a port: reports every request, and ends those that stall. */
export function observeStore(store: ObjectStore, options: Options): ObjectStore {
  const begin = (operation: StoreRequest['operation'], key: string, { signal }: StoreOptions): Observation =>
    new Observation(options, { operation, key, signal });
  return {
    put: async (key, body, storeOptions) => {
      const request = begin('put', key, storeOptions);
      const watched = { ...body, open: () => request.sent(body.open()) };
      return await request.whole(store.put(key, watched, { signal: request.signal }));
    },
    get: async (key, storeOptions) => {
      const request = begin('get', key, storeOptions);
      return await request.opened(store.get(key, { ...storeOptions, signal: request.signal }));
    },
    head: async (key, storeOptions) => {
      const request = begin('head', key, storeOptions);
      return await request.whole(store.head(key, { signal: request.signal }));
    },
    list: async function* (prefix, storeOptions) {
      const request = begin('list', prefix, storeOptions);
      yield* request.handedOut(store.list(prefix, { signal: request.signal }), () => 0);
    },
    delete: async (key, storeOptions) => {
      const request = begin('delete', key, storeOptions);
      return await request.whole(store.delete(key, { signal: request.signal }));
    },
  };
}

/** One request from its begin to its report; until then it watches for a stall. */
class Observation {
  /** Aborts with the caller's signal, or when the request stalls. */
  readonly signal: AbortSignal;
  readonly #options: Options;
  readonly #request: Pick<StoreRequest, 'operation' | 'key'>;
  readonly #stalled = new AbortController();
  readonly #over = new AbortController();
  readonly #watching: Promise<void>;
  readonly #startedMs: number;
  #movedMs: number;
  #sizeBytes = 0;
  /** How long the caller has held what it was given, without what it holds now. */
  #heldMs = 0;
  #heldSinceMs: number | undefined;

  constructor(options: Options, request: Pick<StoreRequest, 'operation' | 'key'> & StoreOptions) {
    this.#options = options;
    this.#request = { operation: request.operation, key: request.key };
    this.#startedMs = options.clock.monotonicMs();
    this.#movedMs = this.#startedMs;
    this.signal = AbortSignal.any([request.signal, this.#stalled.signal]);
    this.#watching = this.#watch();
  }

  async whole<T>(work: Promise<T>): Promise<T> {
    const result = await this.#orFailed(work);
    await this.#end(undefined);
    return result;
  }

  async opened(work: Promise<OpenObject>): Promise<OpenObject> {
    const object = await this.#orFailed(work);
    const dispose = async (): Promise<void> => {
      await object[Symbol.asyncDispose]();
      await this.#end(undefined);
    };
    const body = this.handedOut(object.body, (chunk) => chunk.byteLength);
    return { ...object, body, [Symbol.asyncDispose]: dispose };
  }

  async *sent(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of body) {
      this.#moved(chunk.byteLength);
      yield chunk;
    }
  }

  /** Ends the request with its last item, or when the caller wants no more. */
  async *handedOut<T>(items: AsyncIterable<T>, sizeOf: (item: T) => number): AsyncGenerator<T> {
    try {
      for await (const item of items) {
        this.#moved(sizeOf(item));
        this.#heldSinceMs = this.#movedMs;
        yield item;
        this.#takeBack();
      }
    } catch (error) {
      throw await this.#failed(error);
    } finally {
      await this.#end(undefined);
    }
  }

  #moved(sizeBytes: number): void {
    this.#sizeBytes += sizeBytes;
    this.#movedMs = this.#options.clock.monotonicMs();
  }

  #takeBack(): void {
    this.#moved(0);
    this.#heldMs += this.#movedMs - (this.#heldSinceMs ?? this.#movedMs);
    this.#heldSinceMs = undefined;
  }

  async #watch(): Promise<void> {
    const { clock, stallTimeoutMs } = this.#options;
    const { operation, key } = this.#request;
    while (!this.#over.signal.aborted) {
      const stillMs = this.#heldSinceMs === undefined ? clock.monotonicMs() - this.#movedMs : 0;
      if (stillMs >= stallTimeoutMs) {
        const failure = new Failure('deadline', `cannot ${operation} ${key}: no byte moved for ${stallTimeoutMs} ms`);
        return this.#stalled.abort(failure);
      }
      await clock.sleep(stallTimeoutMs - stillMs, this.#over.signal);
    }
  }

  async #orFailed<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      throw await this.#failed(error);
    }
  }

  async #failed(error: unknown): Promise<unknown> {
    const cause: unknown = this.#stalled.signal.aborted ? this.#stalled.signal.reason : error;
    await this.#end(isFailure(cause) ? cause.kind : 'aborted');
    return cause;
  }

  async #end(failure: StoreRequest['failure']): Promise<void> {
    if (this.#over.signal.aborted) return;
    this.#over.abort('over'); // Without a reason Node makes an exception with its stack, at every request.
    await this.#watching;
    this.#takeBack();
    const durationMs = this.#movedMs - this.#startedMs - this.#heldMs;
    this.#options.onRequest({ ...this.#request, durationMs, sizeBytes: this.#sizeBytes, failure });
  }
}
