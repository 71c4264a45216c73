import { Failure } from '../base/failure.ts';

/**
 * The port to object storage: five verbs, no idea what a snapshot is.
 *
 * What every implementation promises, and `test/support/store-contract.ts` checks:
 * - A key is `/`-separated segments of `[A-Za-z0-9._%-]`, none empty, none beginning with a dot (those names are
 *   the store's own); at most 900 bytes in all and 200 in a segment. A prefix is the beginning of a key, or empty.
 *   Anything else is a Failure `invalid`. No key is a folder of another key: who writes keys sees to that.
 * - An object is there whole or not at all: no reader ever sees a part of a put, whatever happens to the writer.
 * - After a put has resolved the object is durable, and every later get, head and list sees it.
 * - A put replaces what is there; a body that was opened before still gives the bytes of before, or fails. After a
 *   put was rejected the object may be there or not (a lost reply): the caller never uses that key again. But a put
 *   whose body gave more or fewer bytes than it announced, or failed by itself, has stored nothing.
 * - Deleting what is not there is no error. What was deleted stays deleted, also across a power cut: what is
 *   deleted later never goes before it.
 * - When a signal aborts, the call, or the body it gave, rejects soon with the signal's reason, whatever it waits
 *   for, and leaves nothing half done.
 * - Errors are Failures: `missing` (get and head of what is not there), `unavailable` (worth another try; also no
 *   permission, `detail: 'denied'`, and no space, `detail: 'no_space'`, each with a hint), `corrupt` (fewer or more
 *   bytes came than announced, or get was asked for a range that does not lie within the object), `invalid` (the
 *   request, or a store laid out as none of ours ever is). What a body throws while it is stored is passed on.
 * - The store retries by itself what may be repeated safely; what it throws has been tried often enough.
 */
export interface ObjectStore {
  /** Stores `body` under `key`. `body.open()` is called again for every try. */
  put(key: string, body: ObjectBody, options: StoreOptions): Promise<StoreTime>;
  /** Opens an object, or a stretch of it. The body is read to its end or disposed. */
  get(key: string, options: StoreOptions & { readonly range?: ByteRange }): Promise<OpenObject>;
  /** What is known about an object without reading it. */
  head(key: string, options: StoreOptions): Promise<ObjectFacts>;
  /**
   * Every object whose key begins with `prefix`, in no promised order, in pages of at most 1000. There is always
   * a first page, empty if need be: it tells the store's time.
   */
  list(prefix: string, options: StoreOptions): AsyncIterable<ObjectPage>;
  /** Removes one object. */
  delete(key: string, options: StoreOptions): Promise<void>;
}

export interface StoreOptions {
  readonly signal: AbortSignal;
}

/** A stretch of an object, in bytes; `length` is at least 1. */
export interface ByteRange {
  readonly start: number;
  readonly length: number;
}

/** Bytes with a known length that can be opened as often as a try needs them. */
export interface ObjectBody {
  readonly sizeBytes: number;
  /** A chunk may be overwritten once the next one is asked for. */
  open(): AsyncIterable<Uint8Array>;
  /**
   * The sha256 of what `open` gives, hex, for a store that must say it before the first byte. Takes a reading of its
   * own; a store that does not need it does not ask.
   */
  sha256?(): Promise<string>;
}

export interface StoreTime {
  /** What the store's clock said with this answer: epochs and ages are counted by it. */
  readonly storeTimeMs: number;
}

export interface ObjectFacts extends StoreTime {
  readonly key: string;
  readonly sizeBytes: number;
  /** When the object was stored, by the store's clock; some stores know whole seconds only. */
  readonly modifiedMs: number;
}

export interface OpenObject extends ObjectFacts, AsyncDisposable {
  /**
   * The object, or the range of it that was asked for; `sizeBytes` is the whole object's in both cases. Read once.
   * A chunk is valid until the next one is asked for.
   */
  readonly body: AsyncIterable<Uint8Array>;
}

export interface ObjectPage extends StoreTime {
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

export function assertByteRange(range: ByteRange): void {
  const { start, length } = range;
  if (Number.isSafeInteger(start) && Number.isSafeInteger(length) && start >= 0 && length >= 1) return;
  throw new Failure('invalid', `not a byte range: ${length} bytes from ${start}`);
}
