import {
  copyFileSync,
  type Dirent,
  linkSync,
  mkdirSync,
  opendirSync,
  readdirSync,
  rmdirSync,
  type Stats,
  statSync,
  unlinkSync,
  utimesSync,
} from 'node:fs';
import { join } from 'node:path';

/** As the file system lists, which Kafka follows; or as another one might: oldest segment first, .checkpoint last. */
type DeletionOrder = 'listed' | 'oldest-first';

/** Deletes as Kafka's Utils.delete, depth first; yields what it removed after each step. */
export function* deleteInDirectoryOrder(directory: string, order: DeletionOrder = 'listed'): Generator<string, void> {
  for (const entry of entriesOf(directory, order)) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) {
      yield* deleteInDirectoryOrder(path, order);
      continue;
    }
    unlinkSync(path);
    yield path;
  }
  rmdirSync(directory);
  yield directory;
}

function entriesOf(directory: string, order: DeletionOrder): readonly Dirent[] {
  if (order === 'oldest-first') {
    const names = readdirSync(directory, { withFileTypes: true }); // Sorted by name, which opendir does not.
    return [
      ...names.filter(({ name }) => name !== '.checkpoint'),
      ...names.filter(({ name }) => name === '.checkpoint'),
    ];
  }
  const listing = opendirSync(directory);
  try {
    const entries: Dirent[] = [];
    for (let entry = listing.readSync(); entry !== null; entry = listing.readSync()) entries.push(entry);
    return entries;
  } finally {
    listing.closeSync();
  }
}

/**
 * Lays a task directory out again beside `template`, on the same volume: its tables are links, so that they keep their
 * births and stamps; `.checkpoint` is a file of its own; the directories are as old as it is, since nothing came or
 * went after it was written. Without one they are as old as those of the template.
 */
export function layOutAgain(template: string, target: string): void {
  const checkpoint = statSync(join(template, '.checkpoint'), { throwIfNoEntry: false });
  copyTree(template, target, checkpoint);
}

function copyTree(source: string, target: string, checkpoint: Stats | undefined): void {
  const mtimeSeconds = (checkpoint ?? statSync(source)).mtimeMs / 1000;
  mkdirSync(target);
  for (const entry of entriesOf(source, 'listed')) {
    const [from, to] = [join(source, entry.name), join(target, entry.name)];
    if (entry.isDirectory()) {
      copyTree(from, to, checkpoint);
    } else if (entry.name === '.checkpoint') {
      copyFileSync(from, to);
      utimesSync(to, mtimeSeconds, mtimeSeconds);
    } else {
      linkSync(from, to);
    }
  }
  utimesSync(target, mtimeSeconds, mtimeSeconds);
}
