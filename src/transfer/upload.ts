import { createHash, type Hash } from 'node:crypto';
import type { Budget } from '../base/concurrency.ts';
import { Failure } from '../base/failure.ts';
import type { Emit } from '../events/event.ts';
import type { ArchivedFile, StoredStretch } from '../repository/document.ts';
import type { ObjectBody, ObjectStore } from '../storage/object-store.ts';
import { CHUNK_BYTES, compress, freeMemory, type Packed, packedBytesMax, shrinks } from './codec.ts';
import { readRange, type SourceFile } from './source-file.ts';

/** Where files go, and with what means. */
export interface UploadTarget {
  readonly store: ObjectStore;
  /** A key that was never given out before. */
  readonly nextKey: () => string;
  /** Bytes for compressed objects until they are sent; one supply for all uploads, `COMPRESSION_MEMORY_BYTES` of it. */
  readonly memory: Budget;
  readonly emit: Emit;
  readonly signal: AbortSignal;
}

/** A file as it lies in the store now. */
export interface Uploaded<O extends StoredStretch | ArchivedFile> {
  /** Of the whole file, hex. */
  readonly sha256: string;
  readonly objects: readonly O[];
}

/**
 * Sends one table as stretches, each hashed and compressed by itself. A table that is not what it was when
 * it was opened is a Failure `moved`: what was sent of it is not to be used.
 */
export async function uploadTable(
  source: SourceFile,
  target: UploadTarget & { readonly compression: 'zstd' | 'none' },
): Promise<Uploaded<StoredStretch>> {
  const isPacked = target.compression === 'zstd' && (await isWorthPacking(source));
  const stretchBytes = isPacked ? PACKED_STRETCH_BYTES : RAW_STRETCH_BYTES;
  const send = isPacked ? sendPacked : sendRaw;
  const report = reportOnce(target.emit);
  const objects: StoredStretch[] = [];
  let whole = source.sizeBytes > stretchBytes ? createHash('sha256') : undefined;
  for (let start = 0; start === 0 || start < source.sizeBytes; start += stretchBytes) {
    const length = Math.min(stretchBytes, source.sizeBytes - start);
    const sent = await send({ source, start, length, whole, report }, target);
    objects.push(sent.object);
    whole = sent.whole;
  }
  await source.assertUnchanged();
  // A single stretch is the file: its hash is the file's.
  return { sha256: whole?.digest('hex') ?? objects.map((object) => object.sha256).join(), objects };
}

/** Sent from the descriptor as it is read: bounds what one failed put sends again. */
const RAW_STRETCH_BYTES = 64 * 1024 * 1024;
/** The size of an object must be known before it is sent, so a compressed stretch is held in memory. */
const PACKED_STRETCH_BYTES = 16 * 1024 * 1024;

interface Stretch {
  readonly source: SourceFile;
  readonly start: number;
  readonly length: number;
  /** The state of the whole file's hash before this stretch; undefined where the stretch is the file. */
  readonly whole: Hash | undefined;
  /** Told the position up to which the file was read. */
  readonly report: (position: number) => void;
}

interface SentStretch {
  readonly object: StoredStretch;
  /** The state of the whole file's hash behind this stretch. */
  readonly whole: Hash | undefined;
}

async function isWorthPacking(source: SourceFile): Promise<boolean> {
  const probe = Buffer.allocUnsafeSlow(Math.min(CHUNK_BYTES, source.sizeBytes));
  const length = await source.read(probe, 0);
  const isWorth = await shrinks(probe.subarray(0, length));
  freeMemory(probe);
  return isWorth;
}

async function sendPacked(stretch: Stretch, target: UploadTarget): Promise<SentStretch> {
  using memory = await target.memory.acquire(packedBytesMax(stretch.length), target.signal);
  const reading = new HashedReading(stretch, target.signal);
  const packed = await compress(reading.chunks());
  memory.shrinkTo(packedBytesMax(packed.sizeBytes));
  const key = await putPacked(packed, target);
  return reading.sentAs({ key, storedBytes: packed.sizeBytes, encoding: 'zstd' });
}

async function sendRaw(stretch: Stretch, target: UploadTarget): Promise<SentStretch> {
  const { source, start, length } = stretch;
  let reading = new HashedReading(stretch, target.signal);
  let isHashed = false;
  const readHashed = (): AsyncIterable<Uint8Array> => {
    reading = new HashedReading(stretch, target.signal); // Each try of the store reads and hashes anew.
    return reading.chunks();
  };
  const open = (): AsyncIterable<Uint8Array> =>
    isHashed ? readRange(source, { start, length }, target.signal) : readHashed();
  const sha256 = async (): Promise<string> => {
    for await (const _ of readHashed());
    isHashed = true;
    return reading.sha256();
  };
  const key = await put({ sizeBytes: length, open, sha256 }, target);
  return reading.sentAs({ key, storedBytes: length, encoding: 'none' });
}

/** Sends what was compressed, under a key of its own. */
export async function putPacked(packed: Packed, target: UploadTarget): Promise<string> {
  const open = async function* (): AsyncGenerator<Uint8Array> {
    yield* packed.chunks;
  };
  const key = await put({ sizeBytes: packed.sizeBytes, open }, target);
  packed.free(); // Not after a put that failed: it may still hold a chunk.
  return key;
}

async function put(body: ObjectBody, target: UploadTarget): Promise<string> {
  const key = target.nextKey();
  await target.store.put(key, body, { signal: target.signal });
  target.emit({ kind: 'object-uploaded', key, storedBytes: body.sizeBytes });
  return key;
}

/** One reading of a stretch from its first byte to its last, hashed on the way. */
class HashedReading {
  readonly #stretch: Stretch;
  readonly #signal: AbortSignal;
  readonly #hash = createHash('sha256');
  #sha256: string | undefined;
  readonly #whole: Hash | undefined;
  #readBytes = 0;

  constructor(stretch: Stretch, signal: AbortSignal) {
    this.#stretch = stretch;
    this.#signal = signal;
    this.#whole = stretch.whole?.copy();
  }

  async *chunks(): AsyncGenerator<Uint8Array> {
    const { source, start, length, report } = this.#stretch;
    for await (const chunk of readRange(source, { start, length }, this.#signal)) {
      this.#hash.update(chunk);
      this.#whole?.update(chunk);
      this.#readBytes += chunk.byteLength;
      report(start + this.#readBytes);
      yield chunk;
    }
  }

  /** Hex; of a reading that has ended. */
  sha256(): string {
    return (this.#sha256 ??= this.#hash.digest('hex'));
  }

  sentAs(object: Pick<StoredStretch, 'key' | 'storedBytes' | 'encoding'>): SentStretch {
    const { source, length } = this.#stretch;
    if (this.#readBytes !== length) {
      throw new Failure(
        'unavailable',
        `cannot send ${source.path}: the store took ${this.#readBytes} of ${length} bytes`,
      );
    }
    return {
      object: { kind: 'stretch', ...object, sizeBytes: length, sha256: this.sha256() },
      whole: this.#whole,
    };
  }
}

/** Reports bytes done as the reading goes on, those that are read again only once. */
function reportOnce(emit: Emit): (position: number) => void {
  let reported = 0;
  return (position) => {
    if (position <= reported) return;
    emit({ kind: 'work-done', work: 'upload', bytes: position - reported });
    reported = position;
  };
}
