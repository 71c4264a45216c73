import { type ZstdOptions, zstdDecompressSync } from 'node:zlib';
import { systemErrorCode } from './failure.ts';

/** Up to here a thread of Node's pool is not worth its way there and back: half a millisecond's work. */
export const SMALL_BYTES_MAX = 256 * 1024;

export interface Unpacked {
  readonly content: Buffer;
  /** Of the frame: what is left of the packed bytes follows its end. */
  readonly packedBytes: number;
}

/**
 * Unpacks a frame that is small in this thread; undefined for one that is not, or becomes longer than `maxOutputLength`, as
 * a bomb does. Throws zlib's own errors.
 */
export function unpackSmall(
  packed: Uint8Array,
  options: ZstdOptions & { readonly maxOutputLength: number },
): Unpacked | undefined {
  if (packed.byteLength > SMALL_BYTES_MAX) return undefined;
  try {
    const told: unknown = zstdDecompressSync(packed, Object.assign({ info: true }, options));
    if (!isTold(told)) throw new TypeError('zlib does not tell how much it read');
    return { content: told.buffer, packedBytes: told.engine.bytesWritten };
  } catch (error) {
    if (systemErrorCode(error) === 'ERR_BUFFER_TOO_LARGE') return undefined;
    throw error;
  }
}

/** What zlib gives under `info`, of which its types know nothing. */
function isTold(
  told: unknown,
): told is { readonly buffer: Buffer; readonly engine: { readonly bytesWritten: number } } {
  return typeof told === 'object' && told !== null && 'buffer' in told && 'engine' in told;
}
