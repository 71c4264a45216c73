import { dirname, join } from 'node:path';
import { systemErrorCode } from '../base/failure.ts';
import { type Entry, filesOfEntry } from '../repository/document.ts';
import { WARMSTATE_DIRECTORY } from '../streams/state-directory.ts';
import { type DiskOperations, onDisk } from './disk.ts';

const STAGING_PREFIX = 'restore-';

/**
 * The place where tasks are put together: beside the application's directory, on the same file system, under a name
 * that Kafka Streams does not look at. Removed when it is disposed.
 */
export class Staging implements AsyncDisposable {
  readonly #root: string;
  readonly #disk: DiskOperations;

  private constructor(root: string, disk: DiskOperations) {
    this.#root = root;
    this.#disk = disk;
  }

  static async open(stateDir: string, name: string, disk: DiskOperations): Promise<Staging> {
    const root = join(stateDir, WARMSTATE_DIRECTORY, `${STAGING_PREFIX}${name}`);
    await onDisk(`make ${root}`, () => disk.makeDirectory(root));
    return new Staging(root, disk);
  }

  get tasksDirectory(): string {
    return join(this.#root, 'tasks');
  }

  /** Where a directory that is replaced waits for its removal. */
  get replacedDirectory(): string {
    return join(this.#root, 'replaced');
  }

  taskDirectory(task: string): string {
    return join(this.tasksDirectory, task);
  }

  /** Every directory that the files of an entry lie in, empty stores included. */
  async makeTask(entry: Entry): Promise<void> {
    const task = this.taskDirectory(entry.task);
    await onDisk(`make ${task}`, async () => {
      await this.#disk.remove(task);
      for (const directory of directoriesOf(entry)) await this.#disk.makeDirectory(join(task, directory));
    });
  }

  /** Moves the directory of a task out of the application's sight, if it is there. */
  async takeAway(directory: string, task: string): Promise<void> {
    await onDisk(`take ${directory} away`, async () => {
      await this.#disk.makeDirectory(this.replacedDirectory);
      await unlessAbsent(this.#disk.rename(directory, join(this.replacedDirectory, task)), undefined);
    });
  }

  async removeTask(task: string): Promise<void> {
    await onDisk(`remove ${task}`, () => this.#disk.remove(this.taskDirectory(task)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await onDisk(`remove ${this.#root}`, () => this.#disk.remove(this.#root));
  }
}

/**
 * Removes what restores that were killed left in a state directory. Each is renamed first: should its restore be alive
 * after all, it finds nothing under its paths any more, and so cannot install what is half removed.
 */
export async function removeLeftStaging(
  stateDir: string,
  { disk, random }: { readonly disk: DiskOperations; readonly random: { token(length: number): string } },
): Promise<void> {
  const ours = join(stateDir, WARMSTATE_DIRECTORY);
  await onDisk(`remove what earlier restores left in ${ours}`, async () => {
    for (const left of await unlessAbsent(disk.list(ours), [])) {
      if (!left.startsWith(STAGING_PREFIX)) continue;
      const doomed = join(ours, `${STAGING_PREFIX}${random.token(8)}`);
      await unlessAbsent(disk.rename(join(ours, left), doomed), undefined);
      await disk.remove(doomed);
    }
  });
}

/** Every directory of an entry below its task directory, parents first; '' is the task directory itself. */
export function directoriesOf(entry: Entry): readonly string[] {
  const directories = new Set(['']);
  for (const { name, kind } of entry.stores) directories.add(kind === 'rocksdb' ? `rocksdb/${name}` : name);
  for (const { path } of filesOfEntry(entry)) directories.add(dirname(path) === '.' ? '' : dirname(path));
  for (const directory of directories) {
    for (let parent = dirname(directory); parent !== '.'; parent = dirname(parent)) directories.add(parent);
  }
  return [...directories].sort();
}

async function unlessAbsent<T>(work: Promise<T>, otherwise: T): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOENT') throw error;
    return otherwise;
  }
}
