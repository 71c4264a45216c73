import type { Transform } from 'node:stream';
import { promisify } from 'node:util';
import { constants, createZstdCompress, createZstdDecompress, zstdCompress } from 'node:zlib';
import { Failure, messageOf } from '../base/failure.ts';

/** Bytes read from disk at a time: a system call per MiB is nothing, and several of them fit every budget. */
export const CHUNK_BYTES = 1024 * 1024;

/** Compressed bytes in memory, in order. */
export interface Packed {
  readonly chunks: readonly Uint8Array[];
  readonly sizeBytes: number;
  /** The memory that the chunks keep: the last one lies in a buffer that it does not fill. */
  readonly heldBytes: number;
}

/** Compresses all of `source` into one zstd frame in memory: `packedBytesMax` of it at most. */
export async function compress(source: AsyncIterable<Uint8Array>): Promise<Packed> {
  const engine = createZstdCompress({ chunkSize: PACKED_CHUNK_BYTES, params: LEVEL });
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of through(engine, source, 'what was read')) {
    chunks.push(chunk);
    sizeBytes += chunk.byteLength;
  }
  return { chunks, sizeBytes, heldBytes: Math.ceil(sizeBytes / PACKED_CHUNK_BYTES) * PACKED_CHUNK_BYTES };
}

/** The most memory that `compress` needs for its result: zstd's own bound, and its last chunk not full. */
export function packedBytesMax(sizeBytes: number): number {
  return sizeBytes + Math.ceil(sizeBytes / 256) + PACKED_CHUNK_BYTES;
}

/**
 * Unpacks one zstd frame, chunk by chunk, never more than a chunk ahead of its reader. Anything but one
 * whole frame is a Failure `corrupt` that names `what`. Chunks stay valid.
 */
export async function* decompress(source: AsyncIterable<Uint8Array>, what: string): AsyncGenerator<Buffer> {
  const engine = createZstdDecompress({ chunkSize: UNPACKED_CHUNK_BYTES, params: WINDOW_LIMIT });
  yield* through(engine, source, what);
}

/** Whether a table is worth compressing, judged by its first bytes: less than 5 % gain does not pay for the work. */
export async function shrinks(probe: Uint8Array): Promise<boolean> {
  const packed = await compressAtOnce(probe, { params: LEVEL });
  return packed.byteLength < probe.byteLength * 0.95;
}

const compressAtOnce = promisify(zstdCompress);

/** Level 3 gains nothing over level 1 on tables and costs 1.8 times the work. */
const LEVEL = { [constants.ZSTD_c_compressionLevel]: 1 };

/** 8 MiB: what the format asks every reader to support. Without a limit a frame may ask for 128 MiB. */
const WINDOW_LIMIT = { [constants.ZSTD_d_windowLogMax]: 23 };

const PACKED_CHUNK_BYTES = 1024 * 1024;
const UNPACKED_CHUNK_BYTES = 256 * 1024;

/** What comes out of `engine` while `source` goes in. Both are closed when the generator ends, however it ends. */
async function* through(engine: Transform, source: AsyncIterable<Uint8Array>, what: string): AsyncGenerator<Buffer> {
  const feeding = feed(engine, source);
  try {
    yield* engine;
  } catch (error) {
    const fed = await feeding;
    if (fed.kind === 'failed') throw fed.error;
    throw new Failure('corrupt', `cannot unpack ${what}: ${messageOf(error)}`, { cause: error });
  } finally {
    engine.destroy();
    await feeding;
  }
  const fed = await feeding;
  if (fed.kind === 'refused') throw new Failure('corrupt', `cannot unpack ${what}: bytes follow its end`);
}

type Fed =
  | { readonly kind: 'taken' }
  | { readonly kind: 'refused' }
  | { readonly kind: 'failed'; readonly error: unknown };

/** Never rejects: whoever reads the engine learns of a failed source from the engine, and asks here which it was. */
async function feed(engine: Transform, source: AsyncIterable<Uint8Array>): Promise<Fed> {
  try {
    for await (const chunk of source) if (!(await take(engine, chunk))) return { kind: 'refused' };
    engine.end();
    return { kind: 'taken' };
  } catch (error) {
    engine.destroy(error instanceof Error ? error : new Error(messageOf(error)));
    return { kind: 'failed', error };
  }
}

/**
 * Resolves to true once `engine` has taken the whole chunk, so that it may be overwritten. A decompressor
 * that has seen the end of its frame never calls back for what is left: its closing counts as refusal.
 */
function take(engine: Transform, chunk: Uint8Array): Promise<boolean> {
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
