import { statfs } from 'node:fs/promises';

/** Free and whole size of the volume that a path lies on; undefined where it cannot be told. */
export async function askDiskSpace(
  path: string,
): Promise<{ readonly freeBytes: number; readonly sizeBytes: number } | undefined> {
  const space = await statfs(path).catch(() => undefined);
  if (space === undefined) return undefined;
  return { freeBytes: space.bavail * space.bsize, sizeBytes: space.blocks * space.bsize };
}
