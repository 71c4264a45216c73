import { lstat, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { create } from 'tar';
import { ARCHIVE_NAME, type RecordedEntry, STAMPS_NAME } from './recorded.ts';

/** Every file and directory below `directory` with its stamps, sorted by path. Nobody may be writing there. */
export async function stampsOf(directory: string): Promise<readonly RecordedEntry[]> {
  const found = await readdir(directory, { recursive: true, withFileTypes: true });
  const paths = found.map((entry) => relative(directory, join(entry.parentPath, entry.name)));
  return Promise.all(
    paths.sort().map(async (path): Promise<RecordedEntry> => {
      const stat = await lstat(join(directory, path), { bigint: true });
      return {
        path,
        kind: stat.isDirectory() ? 'directory' : 'file',
        sizeBytes: stat.isDirectory() ? 0 : Number(stat.size),
        inode: String(stat.ino),
        mtimeNs: String(stat.mtimeNs),
        ctimeNs: String(stat.ctimeNs),
        birthtimeNs: String(stat.birthtimeNs),
      };
    }),
  );
}

/** Writes a recording of `stateDir` into `target`: the archive of `entries`, and `facts` with them as stamps. */
export async function writeRecording(
  stateDir: string,
  target: string,
  recording: { readonly entries: readonly RecordedEntry[]; readonly [fact: string]: unknown },
): Promise<void> {
  await mkdir(target, { recursive: true });
  const paths = recording.entries.map((entry) => entry.path);
  await archive(stateDir, join(target, ARCHIVE_NAME), paths);
  await writeFile(join(target, STAMPS_NAME), stampsText(recording));
}

/** The same bytes for the same contents: no owners, no times. */
export async function archive(stateDir: string, file: string, paths: readonly string[]): Promise<void> {
  const reproducible = { portable: true, noMtime: true, noDirRecurse: true };
  await create({ ...reproducible, gzip: { level: 9 }, cwd: stateDir, file }, [...paths]);
}

/** JSON with one line per entry: readable, and small in a diff. */
export function stampsText(recording: {
  readonly entries: readonly RecordedEntry[];
  readonly [fact: string]: unknown;
}): string {
  const { entries, ...facts } = recording;
  const head = JSON.stringify(facts, undefined, 2).slice(0, -2);
  return `${head},\n  "entries": [\n${entries.map((entry) => `    ${JSON.stringify(entry)}`).join(',\n')}\n  ]\n}\n`;
}
