import { mkdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { list } from 'tar';
import type { Load } from './model.ts';

/**
 * Recorded state directories of real applications (test/fixtures/streams): the tree as an archive, and beside it what an
 * archive loses, the stamps of every file and directory on the disk where the application lived.
 */
export interface Recording {
  readonly version: string;
  readonly guarantee: 'at_least_once' | 'exactly_once_v2';
  /** How the application ended: closed cleanly, killed with nothing flushed since its start, killed after flushes. */
  readonly kind: 'closed' | 'killed' | 'flushed';
  readonly applicationId: string;
  readonly topics: string;
  readonly partitions: number;
  /** The application had processed and committed the records 0 to `records` - 1 of `load` (see model.ts). */
  readonly load: Load;
  readonly records: number;
  /** The next offset of each partition of each topic of the broker when the application had ended. */
  readonly endOffsets: Readonly<Record<string, string>>;
  /** Sorted by path. */
  readonly entries: readonly RecordedEntry[];
}

/** Stamps in nanoseconds since 1970 and inode numbers, as digits. */
export interface RecordedEntry {
  /** Below the state directory; the first segment is the application id. */
  readonly path: string;
  readonly kind: 'file' | 'directory';
  readonly sizeBytes: number;
  readonly inode: string;
  readonly mtimeNs: string;
  readonly ctimeNs: string;
  readonly birthtimeNs: string;
}

export const RECORDINGS = resolve(import.meta.dirname, '../fixtures/streams');
export const ARCHIVE_NAME = 'state.tar.gz';
export const STAMPS_NAME = 'stamps.json';

/** The stamps of the file systems that we meet advance at least this often. */
const TICK_MS = 12;
const STEP_US = 10;

export async function readRecording(name: string): Promise<Recording> {
  return JSON.parse(await readFile(join(RECORDINGS, name, STAMPS_NAME), 'utf8'));
}

/**
 * Lays a recorded tree out in `stateDir` (made if absent) as if it had been written just now, in the recorded order.
 *
 * Kept: contents; the order of all modification times, equal ones equal; whether a birth lies before or after the
 * modification time of any `.checkpoint`; the order of births and of inode numbers as far as the file system allows.
 * Not kept: the distances between stamps, the order of births and modification times of other files, change times,
 * owners and modes. Takes some 0.1 s.
 */
export async function layOut(name: string, stateDir: string): Promise<Recording> {
  const recording = await readRecording(name);
  const contents = await readArchive(join(RECORDINGS, name, ARCHIVE_NAME));
  const pathOf = (entry: RecordedEntry): string => join(stateDir, entry.path);
  await mkdir(stateDir, { recursive: true });

  const stampsUs = new Map<RecordedEntry, number>();
  let stampUs = 0;
  let checkpointUs = 0;
  for (const moment of momentsOf(recording.entries)) {
    if (moment.born.length > 0) {
      await waitUntilPast(checkpointUs);
      for (const entry of moment.born) {
        if (entry.kind === 'directory') await mkdir(pathOf(entry));
        else await writeFile(pathOf(entry), contents.get(entry.path) ?? missing(name, entry), { flag: 'wx' });
      }
    }
    stampUs = oddFrom(Math.max(stampUs + STEP_US, (Date.now() + 1) * 1000));
    for (const entry of moment.modified) {
      stampsUs.set(entry, stampUs);
      if (entry.path.endsWith('/.checkpoint')) checkpointUs = stampUs;
    }
  }
  await waitUntilPast(stampUs); // No stamp lies in the future.
  for (const entry of recording.entries) {
    const seconds = (stampsUs.get(entry) ?? stampUs) / 1e6;
    await utimes(pathOf(entry), seconds, seconds);
  }
  return recording;
}

interface Moment {
  readonly born: readonly RecordedEntry[];
  readonly modified: readonly RecordedEntry[];
}

/** Every recorded moment, in order, with what was born and what was last modified then. */
function momentsOf(entries: readonly RecordedEntry[]): readonly Moment[] {
  const birthOf = (entry: RecordedEntry): bigint => BigInt(entry.birthtimeNs);
  const modificationOf = (entry: RecordedEntry): bigint => BigInt(entry.mtimeNs);
  const times = new Set(entries.flatMap((entry) => [birthOf(entry), modificationOf(entry)]));
  const born = Map.groupBy(entries, birthOf);
  const modified = Map.groupBy(entries, modificationOf);
  return [...times]
    .sort((a, b) => (a < b ? -1 : 1))
    .map((time) => ({ born: born.get(time) ?? [], modified: modified.get(time) ?? [] }));
}

async function readArchive(file: string): Promise<ReadonlyMap<string, Buffer>> {
  const contents: Promise<readonly [string, Buffer]>[] = [];
  await list({
    file,
    onReadEntry: (entry) => {
      if (entry.type === 'File') contents.push(entry.concat().then((bytes) => [entry.path, bytes] as const));
    },
  });
  return new Map(await Promise.all(contents));
}

/** Returns once everything that is born from now on gets a stamp after `us`. */
async function waitUntilPast(us: number): Promise<void> {
  while (Date.now() * 1000 <= us + TICK_MS * 1000) await delay(1);
}

/** Odd microseconds never look like the stamps of a clock of whole milliseconds. */
function oddFrom(us: number): number {
  return us % 2 === 0 ? us + 1 : us;
}

function missing(name: string, entry: RecordedEntry): never {
  throw new Error(`recording ${name} has no contents of ${entry.path}`);
}
