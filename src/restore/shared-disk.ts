import { chmod, mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type DiskOperations, nodeDisk } from './disk.ts';

/** Whom a volume lets write besides its owner. */
const GROUP_WRITES = 0o020;
const OTHERS_WRITE = 0o002;
const SPECIAL_BITS = 0o7000;
/** As /tmp has it: open to all, but not shared by them. */
const STICKY = 0o1000;

/**
 * The disk of a state directory, on which whoever may write that may write what is made in it. In a pod the application can
 * be another user, and shares the volume by its group or because it is open to all (an emptyDir is): a directory that
 * only its maker could write would keep it from starting.
 */
export async function openSharedDisk(stateDir: string): Promise<DiskOperations> {
  const mode = await modeAbove(stateDir);
  const isShared = (mode & STICKY) === 0;
  const group = isShared && (mode & GROUP_WRITES) !== 0 ? 0o070 : 0;
  const others = isShared && (mode & OTHERS_WRITE) !== 0 ? 0o007 : 0;
  const wanted = group | others;
  if (wanted === 0) return nodeDisk;
  return {
    ...nodeDisk,
    makeDirectory: async (path, ownMode) => {
      const first = await mkdir(path, { recursive: true, ...(ownMode === undefined ? {} : { mode: ownMode }) });
      if (first === undefined) return;
      for (let made = path; made.length >= first.length; made = dirname(made)) {
        const has = await modeOf(made); // With the set-group bit that it inherits.
        await chmod(made, (has & SPECIAL_BITS) | (has & 0o777) | wanted);
      }
    },
  };
}

async function modeOf(path: string): Promise<number> {
  return (await stat(path)).mode;
}

/** Of the directory, or of the nearest one above it that is there: a volume is often mounted above the state directory. */
async function modeAbove(path: string): Promise<number> {
  return await modeOf(path).catch(() => (dirname(path) === path ? 0 : modeAbove(dirname(path))));
}
