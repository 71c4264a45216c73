import { mkdir, open, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Capture } from '../../src/capture/capture.ts';
import type { PinnedSource } from '../../src/capture/pinned-database.ts';

const READ_BYTES = 256 * 1024;

/**
 * Writes what a capture holds into a fresh directory, as a restore of it would: every file of these stores, read through
 * its descriptor. Failure `moved` where a table was changed in place meanwhile.
 */
export async function writeImage(capture: Capture, stores: ReadonlySet<string>, directory: string): Promise<void> {
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory, { recursive: true });
  const chosen = capture.stores.filter((store) => stores.has(store.name));
  for (const { path, bytes } of [...capture.files, ...chosen.flatMap((store) => store.files)]) {
    await mkdir(dirname(join(directory, path)), { recursive: true });
    await writeFile(join(directory, path), bytes);
  }
  for (const { path, source } of chosen.flatMap((store) => store.tables)) {
    if (source !== undefined) await copyOut(source, join(directory, path));
  }
}

async function copyOut(source: PinnedSource, path: string): Promise<void> {
  await using file = await open(path, 'w');
  const buffer = new Uint8Array(READ_BYTES);
  for (let position = 0; position < source.sizeBytes; ) {
    const count = await source.read(buffer, position);
    if (count === 0) throw new Error(`${source.path} ended at ${position} of ${source.sizeBytes} bytes`);
    await file.write(buffer, 0, count, position);
    position += count;
  }
  await source.assertUnchanged();
}
