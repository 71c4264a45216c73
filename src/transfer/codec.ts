import {
  constants,
  createZstdCompress,
  createZstdDecompress,
  type ZstdCompress,
  type ZstdDecompress,
  zstdCompressSync,
} from 'node:zlib';
import { Failure, messageOf } from '../base/failure.ts';
import { SMALL_BYTES_MAX, unpackSmall } from '../base/zstd.ts';

/** Bytes read from disk at a time, by each file that is sent. Twice as many cost more memory than they save time. */
export const CHUNK_BYTES = 512 * 1024;

/** Compressed bytes in memory, in order. */
export interface Packed {
  readonly chunks: readonly Uint8Array[];
  readonly sizeBytes: number;
  /** Gives the memory back at once. Only when nobody reads the chunks any more. */
  free(): void;
}

/** Compresses all of `source` into one zstd frame in memory. */
export async function compress(source: AsyncIterable<Uint8Array>): Promise<Packed> {
  const { bytes, rest } = await takeBeginning(source);
  if (rest === undefined) {
    const packed = zstdCompressSync(bytes, { params: LEVEL });
    return { chunks: [packed], sizeBytes: packed.byteLength, free: () => {} };
  }
  const engine = createZstdCompress({ chunkSize: PACKED_CHUNK_BYTES, params: LEVEL });
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of through(engine, rest, 'what was read')) {
    chunks.push(chunk);
    sizeBytes += chunk.byteLength;
  }
  return { chunks, sizeBytes, free: () => chunks.forEach(freeMemory) };
}

/** The most memory that `compress` takes for `sizeBytes`: zstd's own bound, and its last chunk not full. */
export function packedBytesMax(sizeBytes: number): number {
  return sizeBytes + Math.ceil(sizeBytes / 256) + 2 * PACKED_CHUNK_BYTES;
}

/**
 * Unpacks one zstd frame, never more than some chunks ahead of its reader. Anything but one whole frame is a
 * Failure `corrupt` that names `what`. A chunk is valid until the next one is asked for.
 */
export async function* decompress(source: AsyncIterable<Uint8Array>, what: string): AsyncGenerator<Buffer> {
  const { bytes, rest } = await takeBeginning(source);
  const here = rest === undefined ? unpackHere(bytes, what) : undefined;
  if (here !== undefined) {
    for (let position = 0; position < here.byteLength; position += UNPACKED_CHUNK_BYTES)
      yield here.subarray(position, position + UNPACKED_CHUNK_BYTES);
    return;
  }
  const engine = createZstdDecompress({ chunkSize: UNPACKED_CHUNK_BYTES, params: WINDOW_LIMIT });
  let last: Buffer | undefined;
  for await (const chunk of through(engine, rest ?? only(bytes), what)) {
    yield chunk;
    if (endsItsMemory(chunk)) freeMemory(chunk);
    last = chunk;
  }
  if (last !== undefined) freeMemory(last);
}

/** Whether a table is worth compressing, judged by its first bytes: less than 5 % gain does not pay for the work. */
export async function shrinks(probe: Uint8Array): Promise<boolean> {
  const source = async function* (): AsyncGenerator<Uint8Array> {
    yield probe;
  };
  const packed = await compress(source());
  packed.free();
  return packed.sizeBytes < probe.byteLength * 0.95;
}

/**
 * Gives back at once the memory under `bytes`, which must be theirs alone and used by nobody any more. Left to
 * the garbage collector, which sees only small objects here, some 60 MB of used buffers lie about.
 */
export function freeMemory({ buffer }: Uint8Array): void {
  if (buffer instanceof ArrayBuffer && !buffer.detached) buffer.transfer(0);
}

/** Level 3 gains nothing over level 1 on tables and costs 1.8 times the work. */
const LEVEL = { [constants.ZSTD_c_compressionLevel]: 1 };

/** 8 MiB: what the format asks every reader to support. Without a limit a frame may ask for 128 MiB. */
const WINDOW_LIMIT = { [constants.ZSTD_d_windowLogMax]: 23 };

const PACKED_CHUNK_BYTES = 256 * 1024;
/** No divisor of a stretch: a frame that ends with a full chunk leaves zlib with new memory that nobody can free. */
const UNPACKED_CHUNK_BYTES = 240 * 1024;

/**
 * Whether a chunk reaches to the end of the memory that zlib allotted to it: then zlib has taken new memory
 * for what comes next, and nobody but the holder of its chunks has this one.
 */
function endsItsMemory(chunk: Buffer): boolean {
  return chunk.byteOffset + chunk.byteLength === chunk.buffer.byteLength;
}

/** All of a source that is short, or what to read instead of it. */
async function takeBeginning(
  source: AsyncIterable<Uint8Array>,
): Promise<{ readonly bytes: Buffer; readonly rest: AsyncIterable<Uint8Array> | undefined }> {
  const chunks = source[Symbol.asyncIterator]();
  const taken: Uint8Array[] = [];
  let sizeBytes = 0;
  for (let next = await chunks.next(); next.done !== true; next = await chunks.next()) {
    sizeBytes += next.value.byteLength;
    if (sizeBytes > SMALL_BYTES_MAX) return { bytes: Buffer.alloc(0), rest: resumed(taken, next.value, chunks) };
    taken.push(Uint8Array.from(next.value)); // The source may use its memory again.
  }
  return { bytes: Buffer.concat(taken), rest: undefined };
}

/** The chunks that were copied, given back when the reader asks for more, then those of the source. */
async function* resumed(
  taken: readonly Uint8Array[],
  current: Uint8Array,
  left: AsyncIterator<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  try {
    for (const copy of taken) {
      yield copy;
      freeMemory(copy);
    }
    yield current;
    for (let next = await left.next(); next.done !== true; next = await left.next()) yield next.value;
  } finally {
    await left.return?.();
  }
}

async function* only(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** What small frames unpack to may lie in memory as a whole. */
const UNPACKED_HERE_BYTES_MAX = 4 * UNPACKED_CHUNK_BYTES;

/** Undefined where it unpacks to more than that, as a bomb does. */
function unpackHere(bytes: Buffer, what: string): Buffer | undefined {
  try {
    const unpacked = unpackSmall(bytes, { maxOutputLength: UNPACKED_HERE_BYTES_MAX, params: WINDOW_LIMIT });
    if (unpacked !== undefined && unpacked.packedBytes < bytes.byteLength) throw new Error('bytes follow its end');
    return unpacked?.content;
  } catch (error) {
    throw new Failure('corrupt', `cannot unpack ${what}: ${messageOf(error)}`, { cause: error });
  }
}

/** What comes out of `engine` while `source` goes in. Both are closed when the generator ends, however it ends. */
async function* through(engine: Engine, source: AsyncIterable<Uint8Array>, what: string): AsyncGenerator<Buffer> {
  const feeding = feed(engine, source);
  let failure: Failure | undefined;
  try {
    yield* engine;
  } catch (error) {
    failure = new Failure('corrupt', `cannot unpack ${what}: ${messageOf(error)}`, { cause: error });
  } finally {
    engine.destroy();
    await feeding;
  }
  const fed = await feeding;
  if (fed.kind === 'failed') throw fed.error;
  if (failure !== undefined) throw failure;
  if (fed.kind === 'refused' || engine.bytesWritten < fed.bytes) {
    throw new Failure('corrupt', `cannot unpack ${what}: bytes follow its end`);
  }
}

type Engine = ZstdCompress | ZstdDecompress;

type Fed =
  | { readonly kind: 'taken'; readonly bytes: number }
  | { readonly kind: 'refused' }
  | { readonly kind: 'failed'; readonly error: unknown };

/** Never rejects: whoever reads the engine learns of a failed source from the engine, and asks here which it was. */
async function feed(engine: Engine, source: AsyncIterable<Uint8Array>): Promise<Fed> {
  let bytes = 0;
  try {
    for await (const chunk of source) {
      bytes += chunk.byteLength;
      if (!(await take(engine, chunk))) return { kind: 'refused' };
    }
    engine.end();
    return { kind: 'taken', bytes };
  } catch (error) {
    engine.destroy(error instanceof Error ? error : new Error(messageOf(error)));
    return { kind: 'failed', error };
  }
}

/** Resolves to true once `engine` needs the chunk no more, so that it may be overwritten; to false when it closes. */
function take(engine: Engine, chunk: Uint8Array): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const refuse = (): void => resolve(false);
  if (engine.destroyed) refuse();
  engine.once('close', refuse);
  engine.write(chunk, (error) => {
    engine.off('close', refuse);
    resolve(error === null || error === undefined);
  });
  return promise;
}
