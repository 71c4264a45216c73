import { copyFileSync, linkSync, mkdirSync, opendirSync, rmdirSync, statSync, unlinkSync, utimesSync } from 'node:fs';
import { join } from 'node:path';

/** Deletes as Kafka's Utils.delete: depth first, in the order in which the file system lists; yields after each step. */
export function* deleteInDirectoryOrder(directory: string): Generator<string, void> {
  const listing = opendirSync(directory);
  try {
    for (let entry = listing.readSync(); entry !== null; entry = listing.readSync()) {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) {
        yield* deleteInDirectoryOrder(path);
        continue;
      }
      unlinkSync(path);
      yield path;
    }
  } finally {
    listing.closeSync();
  }
  rmdirSync(directory);
  yield directory;
}

/**
 * Lays a task directory out again beside `template`, on the same volume: its tables are links, so that they keep their
 * births and stamps; `.checkpoint` is a file of its own; the directories are as old as it is, since nothing came or
 * went after it was written.
 */
export function layOutAgain(template: string, target: string): void {
  const { mtimeMs } = statSync(join(template, '.checkpoint'));
  copyTree(template, target, mtimeMs / 1000);
}

function copyTree(source: string, target: string, mtimeSeconds: number): void {
  mkdirSync(target);
  const listing = opendirSync(source);
  try {
    for (let entry = listing.readSync(); entry !== null; entry = listing.readSync()) {
      const [from, to] = [join(source, entry.name), join(target, entry.name)];
      if (entry.isDirectory()) {
        copyTree(from, to, mtimeSeconds);
      } else if (entry.name === '.checkpoint') {
        copyFileSync(from, to);
        utimesSync(to, mtimeSeconds, mtimeSeconds);
      } else {
        linkSync(from, to);
      }
    }
  } finally {
    listing.closeSync();
  }
  utimesSync(target, mtimeSeconds, mtimeSeconds);
}
