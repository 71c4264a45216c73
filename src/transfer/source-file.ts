import { createHash } from 'node:crypto';
import { Failure } from '../base/failure.ts';
import type { ByteRange } from '../storage/object-store.ts';
import { CHUNK_BYTES, freeMemory } from './codec.ts';

/** A file to send, held open by whoever captured it. */
export interface SourceFile {
  /** For messages. */
  readonly path: string;
  readonly sizeBytes: number;
  /** Reads into `buffer` from `position` of the file; resolves to the bytes read, 0 at its end. */
  read(buffer: Uint8Array, position: number): Promise<number>;
  /** Throws a Failure `moved` when the file is no longer what it was when it was opened. */
  assertUnchanged(): Promise<void>;
}

/** A file that is in memory. */
export function bytesSource(path: string, bytes: Uint8Array): SourceFile {
  return {
    path,
    sizeBytes: bytes.byteLength,
    read: async (buffer, position) => {
      const part = bytes.subarray(position, position + buffer.byteLength);
      buffer.set(part);
      return part.byteLength;
    },
    assertUnchanged: async () => {},
  };
}

/** The sha256 of a file that is not sent, hex: recognises a table that carries no unique id. */
export async function hashSource(source: SourceFile, signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of readRange(source, { start: 0, length: source.sizeBytes }, signal)) hash.update(chunk);
  await source.assertUnchanged();
  return hash.digest('hex');
}

/** A small file in memory, checked that it did not change meanwhile. */
export async function readWhole(source: SourceFile, signal: AbortSignal): Promise<Uint8Array> {
  const bytes = new Uint8Array(source.sizeBytes);
  let position = 0;
  for await (const chunk of readRange(source, { start: 0, length: source.sizeBytes }, signal)) {
    bytes.set(chunk, position);
    position += chunk.byteLength;
  }
  await source.assertUnchanged();
  return bytes;
}

/** The bytes of a range of a file, in chunks of up to `CHUNK_BYTES`, each valid until the next one is asked for. */
export async function* readRange(
  source: SourceFile,
  range: ByteRange,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const buffer = Buffer.allocUnsafeSlow(Math.min(CHUNK_BYTES, range.length));
  const end = range.start + range.length;
  for (let position = range.start; position < end; ) {
    signal.throwIfAborted();
    const length = await source.read(buffer.subarray(0, end - position), position);
    if (length === 0) {
      throw new Failure('moved', `cannot read ${source.path}: it ends at ${position}, its size is ${source.sizeBytes}`);
    }
    position += length;
    yield buffer.subarray(0, length);
  }
  freeMemory(buffer); // Not when the reader stops early: it may still hold the last chunk.
}
