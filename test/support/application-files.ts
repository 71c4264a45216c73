import {
  appendFileSync,
  type Dirent,
  mkdirSync,
  opendirSync,
  readdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';

/**
 * What an application does to its state directory, each verb at once and whole: what looks on from outside sees it before
 * or after. They fail as the verbs of node:fs do.
 */
export interface ApplicationFiles {
  /** With its parents; nothing happens where it is there. */
  makeDirectory(path: string): void;
  /** Makes a file or overwrites it in its place. */
  write(path: string, content: Uint8Array | string): void;
  append(path: string, content: Uint8Array | string): void;
  rename(from: string, to: string): void;
  unlink(path: string): void;
  /** An empty one. */
  removeDirectory(path: string): void;
  /** Whatever lies there, with all below it. */
  removeTree(path: string): void;
  /** What lies in a directory: as its file system lists it, which Kafka follows, or sorted as another might. */
  entries(path: string, order: 'listed' | 'sorted'): readonly ApplicationEntry[];
  /** Of the last change; undefined where nothing lies. */
  mtimeNs(path: string): bigint | undefined;
  /** Sets the modification time. */
  stamp(path: string, seconds: number): void;
}

export interface ApplicationEntry {
  readonly name: string;
  readonly isDirectory: boolean;
}

export const nodeApplicationFiles: ApplicationFiles = {
  makeDirectory: (path) => void mkdirSync(path, { recursive: true }),
  write: writeFileSync,
  append: appendFileSync,
  rename: renameSync,
  unlink: unlinkSync,
  removeDirectory: rmdirSync,
  removeTree: (path) => rmSync(path, { recursive: true, force: true }),
  entries: (path, order) => {
    // Node sorts what it reads at once.
    const entries = order === 'sorted' ? readdirSync(path, { withFileTypes: true }) : listed(path);
    return entries.map((entry) => ({ name: entry.name, isDirectory: entry.isDirectory() }));
  },
  mtimeNs: (path) => statSync(path, { bigint: true, throwIfNoEntry: false })?.mtimeNs,
  stamp: (path, seconds) => utimesSync(path, seconds, seconds),
};

function listed(directory: string): readonly Dirent[] {
  const listing = opendirSync(directory);
  try {
    const entries: Dirent[] = [];
    for (let entry = listing.readSync(); entry !== null; entry = listing.readSync()) entries.push(entry);
    return entries;
  } finally {
    listing.closeSync();
  }
}
