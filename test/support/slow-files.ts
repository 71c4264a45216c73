import { setTimeout as delay } from 'node:timers/promises';
import { type FileAccess, realFiles } from '../../src/base/file-access.ts';

/** One access in so many has to wait. */
const ACCESSES_PER_STALL = 20;

/** The real file system, as a process without CPU sees it: between any two accesses some time may pass. */
export function slowFiles(stallMsMax: number): FileAccess {
  const stall = async (): Promise<void> => {
    if (Math.random() * ACCESSES_PER_STALL < 1) await delay(Math.random() * stallMsMax);
  };
  return {
    list: async (path) => {
      await stall();
      return realFiles.list(path);
    },
    stat: async (path) => {
      await stall();
      return realFiles.stat(path);
    },
    hold: async (path) => {
      await stall();
      return realFiles.hold(path);
    },
  };
}
