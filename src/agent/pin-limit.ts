import type { DiskSpace } from '../base/disk-space.ts';

/** Space that the application wants back is not to be held for longer than an upload of so much takes. */
const PINNED_BYTES_MAX = 1024 ** 3;
const PINNED_SHARE = 0.02;
/** Kubernetes evicts pods when a node has about so little left: then only what an archive takes may be held. */
const SHORT_SHARE = 0.1;
const PINNED_BYTES_MIN = 16 * 1024 * 1024;

/** How many bytes may be held open at a time: what the application unlinks meanwhile goes on taking its space. */
export function pinnedBytesMax(space: DiskSpace | undefined): number {
  if (space === undefined) return PINNED_BYTES_MIN;
  if (space.freeBytes < space.sizeBytes * SHORT_SHARE) return PINNED_BYTES_MIN;
  return Math.max(PINNED_BYTES_MIN, Math.min(PINNED_BYTES_MAX, space.freeBytes * PINNED_SHARE));
}

/** Counts what one capture pins, each file once. */
export class Pins {
  readonly #bytesMax: number;
  readonly #sizes = new Map<string, number>();
  #bytes = 0;
  #isExceeded = false;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Whether one was refused. */
  get isExceeded(): boolean {
    return this.#isExceeded;
  }

  /** Whether this file may be held as well. */
  take({ path, sizeBytes }: { readonly path: string; readonly sizeBytes: number }): boolean {
    const addedBytes = this.#sizes.has(path) ? 0 : sizeBytes;
    if (this.#bytes + addedBytes > this.#bytesMax) {
      this.#isExceeded = true;
      return false;
    }
    this.#sizes.set(path, sizeBytes);
    this.#bytes += addedBytes;
    return true;
  }
}
