import { createHash } from 'node:crypto';
import { loadNative, type NativeSha256 } from './native.ts';

/** A sha256 that is fed piece by piece. */
export interface Sha256 extends Disposable {
  /** One piece at a time. `bytes` are the caller's again when the promise resolves. */
  update(bytes: Uint8Array): Promise<void>;
  /** Hex, of all pieces. Nothing may follow. */
  digest(): string;
}

/**
 * Large pieces are hashed by a thread of Node's pool, where that can be had: a GiB keeps this one busy for half a
 * second to a second otherwise, while the network waits for it. A worker would do the same for 18 MB of memory.
 */
export async function openSha256(): Promise<Sha256> {
  return sha256By((await loadNative())?.sha256);
}

/** Where nothing is bound, all is hashed in this thread. */
export function sha256By(native: NativeSha256 | undefined): Sha256 {
  return native === undefined ? hereSha256() : asideSha256(native);
}

/** Below this, handing a piece to another thread takes longer than hashing it. */
const ASIDE_BYTES_MIN = 32 * 1024;

function asideSha256(native: NativeSha256): Sha256 {
  const context = native.begin();
  return {
    update: async (bytes) => {
      if (bytes.byteLength < ASIDE_BYTES_MIN) native.update(context, bytes);
      else await native.updateAside(context, bytes);
    },
    digest: () => Buffer.from(native.end(context)).toString('hex'),
    [Symbol.dispose]: () => native.free(context),
  };
}

function hereSha256(): Sha256 {
  const hash = createHash('sha256');
  return {
    update: async (bytes) => void hash.update(bytes),
    digest: () => hash.digest('hex'),
    [Symbol.dispose]: () => {},
  };
}
