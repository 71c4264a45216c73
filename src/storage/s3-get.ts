import { Failure } from '../base/failure.ts';
import { untilAborted } from './body.ts';
import { assertByteRange, type ByteRange, type ObjectFacts, type OpenObject } from './object-store.ts';
import type { ObjectHead, Tried } from './s3-client.ts';
import type { IncomingContent } from './s3-exchange.ts';
import { type Trouble, troubleOf } from './s3-failure.ts';
import { type S3Place, wholeSecondsMs } from './s3-place.ts';

/** A try of a body that has given this much is a success: the tries begin anew. */
const PROGRESS_BYTES = 1024 * 1024;

/** Opens an object; a body that breaks off is taken up again where it broke. */
export async function getObject(
  place: S3Place,
  key: string,
  { range, signal }: { readonly range?: ByteRange; readonly signal: AbortSignal },
): Promise<OpenObject> {
  if (range !== undefined) assertByteRange(range);
  const { answer: first } = await place.repeat(`read ${key}`, signal, () =>
    openStretch(place, { key, range, etag: undefined, signal }),
  );
  const stretch = range ?? { start: 0, length: first.facts.sizeBytes };
  const reading = new Reading(place, { key, stretch, signal, first });
  return {
    ...first.facts,
    body: untilAborted(reading.chunks(), signal),
    [Symbol.asyncDispose]: async () => reading.close(),
  };
}

interface OpenStretch {
  readonly facts: ObjectFacts;
  readonly etag: string | undefined;
  readonly content: IncomingContent;
}

interface Wanted {
  readonly key: string;
  readonly range: ByteRange | undefined;
  readonly etag: string | undefined;
  readonly signal: AbortSignal;
}

/** One body from its first byte to its last, over as many connections as it takes. */
class Reading {
  readonly #place: S3Place;
  readonly #key: string;
  readonly #signal: AbortSignal;
  readonly #etag: string | undefined;
  readonly #end: number;
  #position: number;
  #open: OpenStretch;
  #isClosed = false;

  constructor(
    place: S3Place,
    from: {
      readonly key: string;
      readonly stretch: ByteRange;
      readonly signal: AbortSignal;
      readonly first: OpenStretch;
    },
  ) {
    this.#place = place;
    this.#key = from.key;
    this.#signal = from.signal;
    this.#etag = from.first.etag;
    this.#position = from.stretch.start;
    this.#end = from.stretch.start + from.stretch.length;
    this.#open = from.first;
  }

  close(): void {
    this.#isClosed = true;
    this.#open.content.close();
  }

  async *chunks(): AsyncGenerator<Uint8Array> {
    try {
      for (let tries = 1; ; tries++) {
        const begin = this.#position;
        const trouble = yield* this.#read();
        if (this.#position === this.#end) return;
        this.#signal.throwIfAborted();
        if (this.#isClosed) throw new Failure('unavailable', `cannot read ${this.#key}: it was closed`);
        if (this.#position - begin >= PROGRESS_BYTES) tries = 1;
        await this.#place.pause(`read ${this.#key}`, this.#signal, { trouble, tries });
        this.#open = await this.#reopen();
      }
    } finally {
      this.#open.content.close();
    }
  }

  /** Gives what comes, and how it ended too early if it did. */
  async *#read(): AsyncGenerator<Uint8Array, Trouble> {
    const chunks = this.#open.content.chunks[Symbol.asyncIterator]();
    try {
      for (;;) {
        const next = await advanced(chunks);
        if (next instanceof Error) return troubleOf(next, undefined);
        if (next.done === true) return troubleOf(endedEarly(), undefined);
        this.#position += next.value.byteLength;
        yield next.value;
      }
    } finally {
      await chunks.return?.();
    }
  }

  async #reopen(): Promise<OpenStretch> {
    const { start, length } = { start: this.#position, length: this.#end - this.#position };
    const wanted = { key: this.#key, range: { start, length }, etag: this.#etag, signal: this.#signal };
    const { answer: open } = await this.#place.repeat(`read ${this.#key}`, this.#signal, () =>
      openStretch(this.#place, wanted),
    );
    if (open.etag === this.#etag) return open;
    open.content.close();
    throw replaced(this.#key);
  }
}

async function advanced(chunks: AsyncIterator<Uint8Array>): Promise<IteratorResult<Uint8Array> | Error> {
  try {
    return await chunks.next();
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

function endedEarly(): Error {
  return Object.assign(new Error('the body ended early'), { code: 'ECONNRESET' });
}

async function openStretch(place: S3Place, wanted: Wanted): Promise<Tried<OpenStretch>> {
  const { key, range, etag, signal } = wanted;
  const header = range === undefined ? undefined : `bytes=${range.start}-${range.start + range.length - 1}`;
  const tried = await place.assertNotMissing(
    await place.client.get(place.fullKey(key), { range: header, etag, signal }),
    key,
    signal,
  );
  if (tried.kind === 'trouble') {
    if (range !== undefined && tried.trouble.status === 416) throw notWithin(key, range);
    if (tried.trouble.status === 412) throw replaced(key);
    return tried;
  }
  const { answer, exchange } = tried;
  const { content, head } = exchange;
  try {
    const sizeBytes = sizeOf(answer, { key, range });
    if (content === undefined) throw new Failure('unavailable', `cannot read ${key}: the answer has no body`);
    const facts = { key, sizeBytes, modifiedMs: wholeSecondsMs(answer.LastModified), storeTimeMs: place.timeOf(head) };
    return { ...tried, answer: { facts, etag: answer.ETag, content } };
  } catch (error) {
    content?.close();
    throw error;
  }
}

/** Of the whole object, once it is sure that just the range is coming. */
function sizeOf(
  { ContentLength: length, ContentRange: contentRange }: ObjectHead,
  { key, range }: { readonly key: string; readonly range: ByteRange | undefined },
): number {
  if (length === undefined) throw new Failure('unavailable', `cannot read ${key}: the server does not tell its size`);
  if (range === undefined) return length;
  const [, first, last, total] = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(contentRange ?? '') ?? [];
  if (total === undefined) {
    if (range.start === 0 && length === range.length) return length;
    throw new Failure('unavailable', `cannot read a range of ${key}: the server gives the whole object`);
  }
  const isAll = Number(first) === range.start && Number(last) === range.start + range.length - 1;
  if (!isAll) throw notWithin(key, range, Number(total));
  return Number(total);
}

function notWithin(key: string, { start, length }: ByteRange, sizeBytes?: number): Failure {
  const size = sizeBytes === undefined ? 'it is shorter' : `it has ${sizeBytes} bytes`;
  return new Failure('corrupt', `cannot read ${length} bytes from ${start} of ${key}: ${size}`);
}

function replaced(key: string): Failure {
  return new Failure('unavailable', `cannot read ${key}: it was replaced while it was read`);
}
