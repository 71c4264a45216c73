import { createHash } from 'node:crypto';
import type { ObjectBody } from '../../src/storage/object-store.ts';

const CHUNK_BYTES = 30_011;

/** A body that begins with the hash of its rest; the rest says its key and is as long as wanted. */
export function selfDescribing(key: string, fillBytes: number): ObjectBody {
  const rest = Buffer.from(`${key}\n${'.'.repeat(fillBytes)}`);
  const bytes = Buffer.concat([createHash('sha256').update(rest).digest(), rest]);
  return {
    sizeBytes: bytes.length,
    open: async function* () {
      for (let start = 0; start < bytes.length; start += CHUNK_BYTES) yield bytes.subarray(start, start + CHUNK_BYTES);
    },
  };
}

/** True if the bytes are a whole body of this key. */
export function describesItself(key: string, bytes: Uint8Array): boolean {
  const rest = bytes.subarray(32);
  const isWhole = createHash('sha256').update(rest).digest().equals(bytes.subarray(0, 32));
  return isWhole && Buffer.from(rest).toString('utf8').startsWith(`${key}\n`);
}
