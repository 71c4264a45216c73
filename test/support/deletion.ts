import { copyFileSync, linkSync, mkdirSync, type Stats, statSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { type ApplicationEntry, type ApplicationFiles, nodeApplicationFiles } from './application-files.ts';

interface Options {
  /** As the file system lists, which Kafka follows; or as another one might: oldest segment first, .checkpoint last. */
  readonly order?: 'listed' | 'oldest-first';
  /** Default: the real ones. */
  readonly files?: ApplicationFiles;
}

/** Deletes as Kafka's Utils.delete, depth first; yields what it removed after each step. */
export function* deleteInDirectoryOrder(directory: string, options: Options = {}): Generator<string, void> {
  const files = options.files ?? nodeApplicationFiles;
  for (const { name, isDirectory } of entriesOf(directory, options)) {
    const path = join(directory, name);
    if (isDirectory) {
      yield* deleteInDirectoryOrder(path, options);
      continue;
    }
    files.unlink(path);
    yield path;
  }
  files.removeDirectory(directory);
  yield directory;
}

function entriesOf(
  directory: string,
  { order = 'listed', files = nodeApplicationFiles }: Options,
): readonly ApplicationEntry[] {
  if (order === 'listed') return files.entries(directory, 'listed');
  const entries = files.entries(directory, 'sorted');
  return [
    ...entries.filter(({ name }) => name !== '.checkpoint'),
    ...entries.filter(({ name }) => name === '.checkpoint'),
  ];
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
  for (const { name, isDirectory } of nodeApplicationFiles.entries(source, 'listed')) {
    const [from, to] = [join(source, name), join(target, name)];
    if (isDirectory) {
      copyTree(from, to, checkpoint);
    } else if (name === '.checkpoint') {
      copyFileSync(from, to);
      utimesSync(to, mtimeSeconds, mtimeSeconds);
    } else {
      linkSync(from, to);
    }
  }
  utimesSync(target, mtimeSeconds, mtimeSeconds);
}
