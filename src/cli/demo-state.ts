import { createHash } from 'node:crypto';
import { open, readdir, readFile, rm, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { parseFileName } from '../rocksdb/file-name.ts';
import { unpackShipped } from '../transfer/archive.ts';

/** A recorded state directory at one moment; demo/state/README.md says how it was made. */
export interface RecordedState {
  readonly version: string;
  readonly applicationId: string;
  /** Records that the application had processed. */
  readonly records: number;
}

interface Recording extends RecordedState {
  readonly entries: readonly { readonly path: string; readonly kind: 'file' | 'directory'; readonly mtimeNs: string }[];
}

/**
 * Lays a recorded moment out over what is in `stateDir`: removes what is gone, replaces what changed, and sets all
 * modification times, as if the application had been closed at `closedMs`.
 */
export async function layOutState(
  recordings: string,
  name: 'first' | 'second',
  to: { readonly stateDir: string; readonly closedMs: number },
): Promise<RecordedState> {
  // oxlint-disable-next-line no-unsafe-type-assertion -- Shipped with the program, written by its maker.
  const recording = JSON.parse(await readFile(join(recordings, `${name}.json`), 'utf8')) as Recording;
  const named = new Set(recording.entries.map(({ path }) => path));
  for (const path of await listFiles(to.stateDir)) if (!named.has(path)) await rm(join(to.stateDir, path));
  await unpackShipped(join(recordings, `${name}.tar.gz`), to.stateDir);

  const newestNs = recording.entries.map(({ mtimeNs }) => BigInt(mtimeNs)).reduce((a, b) => (a > b ? a : b), 0n);
  const shiftNs = BigInt(to.closedMs) * 1_000_000n - newestNs;
  for (const { path, mtimeNs } of recording.entries.toReversed()) {
    const seconds = Number(BigInt(mtimeNs) + shiftNs) / 1e9;
    await utimes(join(to.stateDir, path), seconds, seconds);
  }
  return recording;
}

/** sha256 of every file that a snapshot takes along, by path. */
export async function hashState(directory: string): Promise<ReadonlyMap<string, string>> {
  const hashes = new Map<string, string>();
  for (const path of await listFiles(directory)) {
    const name = path.split('/').at(-1) ?? '';
    if (!isTaken(name)) continue;
    hashes.set(
      path,
      createHash('sha256')
        .update(await readFile(join(directory, path)))
        .digest('hex'),
    );
  }
  return hashes;
}

/** Flips one bit in the middle of a file. */
export async function flipBit(path: string): Promise<void> {
  await using handle = await open(path, 'r+');
  const position = Math.floor((await handle.stat()).size / 2);
  const byte = new Uint8Array(1);
  await handle.read(byte, 0, 1, position);
  await handle.write(Uint8Array.of((byte[0] ?? 0) ^ 1), 0, 1, position);
}

async function listFiles(directory: string): Promise<readonly string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  return files.map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1)).sort();
}

function isTaken(name: string): boolean {
  if (name === '.checkpoint' || name.endsWith('.position')) return true;
  const kind = parseFileName(name)?.kind;
  return kind === 'table' || kind === 'blob' || kind === 'manifest' || kind === 'current' || kind === 'options';
}
