import type { FileHandle } from 'node:fs/promises';
import { Failure } from '../base/failure.ts';
import { untilAborted } from './body.ts';
import { translated, unless } from './file-operations.ts';
import { type FilePlace, factsOf, findObject, missingObject, pathOf } from './file-place.ts';
import { assertByteRange, type ByteRange, type OpenObject } from './object-store.ts';

/** Of one read: large enough that the calls cost nothing beside the copying, small enough for many gets at once. */
const CHUNK_BYTES = 256 * 1024;

/** As many as gets usually run side by side; a spare one saves an allocation per get. */
const SPARE_BUFFERS_MAX = 16;

/** Read buffers of `CHUNK_BYTES`, handed from one get to the next. */
export class ReadBuffers {
  readonly #spare: Uint8Array[] = [];

  take(): Uint8Array {
    return this.#spare.pop() ?? new Uint8Array(CHUNK_BYTES);
  }

  giveBack(buffer: Uint8Array): void {
    if (this.#spare.length < SPARE_BUFFERS_MAX) this.#spare.push(buffer);
  }
}

export async function getFile(
  place: FilePlace,
  key: string,
  options: { readonly range?: ByteRange; readonly signal: AbortSignal; readonly buffers: ReadBuffers },
): Promise<OpenObject> {
  const { range, signal, buffers } = options;
  if (range !== undefined) assertByteRange(range);
  if ((await findObject(place, key)) === undefined) throw missingObject(place, key);
  signal.throwIfAborted();
  const path = pathOf(place, key);
  const handle = await translated(`read ${path}`, unless(place.files.openFile(path), 'ENOENT', 'ENOTDIR'));
  if (handle === undefined) throw missingObject(place, key);
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => (closing ??= translated(`close ${path}`, place.files.closeFile(handle)));
  try {
    const facts = factsOf(key, await translated(`read ${path}`, place.files.statFile(handle)));
    const stretch = range ?? { start: 0, length: facts.sizeBytes };
    if (stretch.start + stretch.length > facts.sizeBytes) throw notWithin(path, stretch, facts.sizeBytes);
    const chunks = fileChunks(place, { path, handle, stretch, buffers, close });
    const storeTimeMs = place.clock.nowMs();
    return { ...facts, storeTimeMs, body: untilAborted(chunks, signal), [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

interface OpenStretch {
  readonly path: string;
  readonly handle: FileHandle;
  readonly stretch: ByteRange;
  readonly buffers: ReadBuffers;
  readonly close: () => Promise<void>;
}

async function* fileChunks(place: FilePlace, open: OpenStretch): AsyncGenerator<Uint8Array> {
  const { path, handle, stretch, buffers } = open;
  const end = stretch.start + stretch.length;
  const buffer = buffers.take();
  try {
    for (let position = stretch.start; position < end; ) {
      const wanted = buffer.subarray(0, Math.min(buffer.byteLength, end - position));
      const count = await translated(`read ${path}`, place.files.read(handle, wanted, position));
      if (count === 0) throw notWithin(path, stretch, position);
      position += count;
      yield wanted.subarray(0, count);
    }
  } finally {
    buffers.giveBack(buffer);
    await open.close();
  }
}

function notWithin(path: string, { start, length }: ByteRange, sizeBytes: number): Failure {
  return new Failure('corrupt', `cannot read ${length} bytes from ${start} of ${path}: it has ${sizeBytes} bytes`);
}
