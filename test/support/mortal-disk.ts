import { type DiskOperations, nodeDisk } from '../../src/restore/disk.ts';

export interface MortalDisk extends DiskOperations {
  /** What was done, in order, with paths below `root`: `rename a -> b`. */
  readonly trace: readonly string[];
  /** Whether the process would have died by now. */
  readonly isDead: () => boolean;
}

/** What a killed process looks like from inside: no Failure, and nobody tidies up after it. */
export class Killed extends Error {}

/** A disk whose process is killed after `steps` operations: from then on nothing happens any more. */
export function mortalDisk(root: string, steps: number): MortalDisk {
  const trace: string[] = [];
  let isDead = false;
  const step = async <T>(operation: string, work: () => Promise<T>): Promise<T> => {
    if (trace.length >= steps) isDead = true;
    if (isDead) throw new Killed();
    trace.push(operation.replaceAll(`${root}/`, ''));
    return work();
  };
  return {
    trace,
    isDead: () => isDead,
    makeDirectory: (path, mode) => step(`make ${path}`, () => nodeDisk.makeDirectory(path, mode)),
    list: (path) => step(`list ${path}`, () => nodeDisk.list(path)),
    remove: (path) => step(`remove ${path}`, () => nodeDisk.remove(path)),
    rename: (from, to) => step(`rename ${from} -> ${to}`, () => nodeDisk.rename(from, to)),
    copy: (from, to) => step(`copy ${from} -> ${to}`, () => nodeDisk.copy(from, to)),
    create: async (path) => {
      const writer = await step(`create ${path}`, () => nodeDisk.create(path));
      return {
        write: (bytes, position) => step(`fill ${path}`, () => writer.write(bytes, position)),
        [Symbol.asyncDispose]: () => writer[Symbol.asyncDispose](), // The system closes what a killed process held.
      };
    },
    write: (path, bytes) => step(`write ${path}`, () => nodeDisk.write(path, bytes)),
    stamp: (path, seconds) => step(`stamp ${path}`, () => nodeDisk.stamp(path, seconds)),
    sync: (path) => step(`sync ${path}`, () => nodeDisk.sync(path)),
  };
}
