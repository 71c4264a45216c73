import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { stampsOf } from '../support/record.ts';
import { layOut, RECORDINGS, type RecordedEntry } from '../support/recorded.ts';

const names = (await readdir(RECORDINGS, { withFileTypes: true })).filter((entry) => entry.isDirectory());

test.for(names.map((entry) => entry.name))(
  '%s is laid out with its contents and the order of its stamps',
  async (name) => {
    const stateDir = await mkdtemp(join(tmpdir(), 'warmstate-recorded-'));
    try {
      const recording = await layOut(name, stateDir);
      const laid = await stampsOf(stateDir);
      expect(laid.map(shapeOf)).toEqual(recording.entries.map(shapeOf));
      expect(ranksOf(laid, (entry) => entry.mtimeNs)).toEqual(ranksOf(recording.entries, (entry) => entry.mtimeNs));
      expect(bornAfterCheckpoints(laid)).toEqual(bornAfterCheckpoints(recording.entries));
      const nowNs = BigInt(Date.now()) * 1_000_000n;
      expect(laid.filter((entry) => BigInt(entry.mtimeNs) > nowNs)).toEqual([]);
    } finally {
      await rm(stateDir, { recursive: true, force: true });
    }
  },
);

function shapeOf(entry: RecordedEntry): Pick<RecordedEntry, 'path' | 'kind' | 'sizeBytes'> {
  return { path: entry.path, kind: entry.kind, sizeBytes: entry.sizeBytes };
}

/** Each path with the place of its stamp among all different ones. */
function ranksOf(entries: readonly RecordedEntry[], stamp: (entry: RecordedEntry) => string): Record<string, number> {
  const stamps = [...new Set(entries.map(stamp))].sort((a, b) => (BigInt(a) < BigInt(b) ? -1 : 1));
  return Object.fromEntries(entries.map((entry) => [entry.path, stamps.indexOf(stamp(entry))]));
}

/** Which paths were born after the modification time of which checkpoint. */
function bornAfterCheckpoints(entries: readonly RecordedEntry[]): readonly string[] {
  const checkpoints = entries.filter((entry) => entry.path.endsWith('/.checkpoint'));
  return entries.flatMap((entry) =>
    checkpoints
      .filter((checkpoint) => BigInt(entry.birthtimeNs) > BigInt(checkpoint.mtimeNs))
      .map((checkpoint) => `${entry.path} after ${checkpoint.path}`),
  );
}
