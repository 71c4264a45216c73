import { glob, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { decodeCheckpoint } from '../../../src/streams/checkpoint-file.ts';

/**
 * Where an application that starts on this directory (file layout) has to begin restoring, by changelog partition: after
 * the last applied offset that a task's checkpoint names, and at the next offset that the global one names.
 */
export async function startingOffsetsOf(applicationDirectory: string): Promise<ReadonlyMap<string, bigint>> {
  const starts = new Map<string, bigint>();
  for await (const checkpoint of glob('*/.checkpoint', { cwd: applicationDirectory })) {
    const { offsets } = decodeCheckpoint(await readFile(join(applicationDirectory, checkpoint)));
    const isGlobal = checkpoint.startsWith('global/');
    for (const [changelog, offset] of offsets) starts.set(changelog, isGlobal ? offset : offset + 1n);
  }
  return starts;
}
