/**
 * The port to object storage: five verbs, no idea what a snapshot is.
 *
 * What every implementation promises, and `test/support/store-contract.ts` checks:
 * - A key is `/`-separated segments of `[A-Za-z0-9._%-]`, none empty, none `.` or `..`; at most 900 bytes in all
 *   and 200 in a segment. Anything else is a Failure `invalid`. No key is a folder of another key: who writes
 *   keys sees to that.
 * - An object is there whole or not at all: no reader ever sees a part of a put, whatever happens to the writer.
 * - After a put has resolved the object is durable, and every later get, head and list sees it.
 * - A put replaces what is there. After a put was rejected the object may be there or not (a lost reply): the
 *   caller never uses that key again.
 * - Deleting what is not there is no error.
 * - When a signal aborts, the call rejects soon with the signal's reason and leaves nothing half done.
 * - Errors are Failures: `missing` (get and head of what is not there), `unavailable` (worth another try; also no
 *   permission and no space, with a hint), `corrupt` (fewer or more bytes came than announced), `invalid`.
 * - The store retries by itself what may be repeated safely; what it throws has been tried often enough.
 */
export interface ObjectStore {
  /** Stores `body` under `key`. `body.open()` is called again for every try. */
  put(key: string, body: ObjectBody, options: StoreOptions): Promise<ObjectFacts>;
  /** Opens an object, or `range.length` bytes of it from `range.start`. The body is read to its end or disposed. */
  get(key: string, options: StoreOptions & { readonly range?: ByteRange }): Promise<OpenObject>;
  /** What is known about an object without reading it. */
  head(key: string, options: StoreOptions): Promise<ObjectFacts>;
  /** Every object whose key begins with `prefix`, in pages, in no promised order. */
  list(prefix: string, options: StoreOptions): AsyncIterable<ObjectPage>;
  /** Removes one object. */
  delete(key: string, options: StoreOptions): Promise<void>;
}

export interface StoreOptions {
  readonly signal: AbortSignal;
}

export interface ByteRange {
  readonly start: number;
  readonly length: number;
}

/** Bytes with a known length that can be opened as often as a try needs them. */
export interface ObjectBody {
  readonly sizeBytes: number;
  /** A chunk may be overwritten once the next one is asked for. */
  open(): AsyncIterable<Uint8Array>;
}

export interface ObjectFacts {
  readonly key: string;
  readonly sizeBytes: number;
  /** When the object was stored, by the store's clock; some stores know whole seconds only. */
  readonly modifiedMs: number;
  /** What the store's clock said with this answer: epochs and ages are counted by it. */
  readonly storeTimeMs: number;
}

export interface OpenObject extends ObjectFacts, AsyncDisposable {
  /** `sizeBytes` of the object, or of the range that was asked for. A chunk is valid until the next one is asked for. */
  readonly body: AsyncIterable<Uint8Array>;
}

export interface ObjectPage {
  readonly storeTimeMs: number;
  readonly objects: readonly Omit<ObjectFacts, 'storeTimeMs'>[];
}

/** A body of bytes that are in memory. */
export function bytesBody(bytes: Uint8Array): ObjectBody {
  return {
    sizeBytes: bytes.byteLength,
    open: async function* () {
      yield bytes;
    },
  };
}
