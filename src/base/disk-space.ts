import { statfs } from 'node:fs/promises';

/** Of the volume that a path lies on. */
export interface DiskSpace {
  /** For whoever is not root. */
  readonly freeBytes: number;
  readonly sizeBytes: number;
}

/** Undefined where it cannot be told. */
export async function askDiskSpace(path: string): Promise<DiskSpace | undefined> {
  const space = await statfs(path).catch(() => undefined);
  if (space === undefined) return undefined;
  return { freeBytes: space.bavail * space.bsize, sizeBytes: space.blocks * space.bsize };
}
