import { layoutOf, offsetsOf } from './offsets.ts';
import type { TaskMemory, TaskSight } from './quality.ts';

/** When its offsets were written, by the clock of this machine; undefined where there are none. */
export function offsetsWrittenMs(sight: TaskSight): number | undefined {
  const { writtenNs } = offsetsOf(sight);
  return writtenNs === undefined ? undefined : Number(writtenNs / 1_000_000n);
}

/**
 * A1: the moment at which these offsets were first on disk, by the clock of this machine; undefined where there are none. What is
 * seen for the first time may have been rewritten without progress: the newest table tells of the last.
 */
export function stateTimeMs(sight: TaskSight, memory: Pick<TaskMemory, 'offsetsSince'>): number | undefined {
  const writtenMs = offsetsWrittenMs(sight);
  if (writtenMs === undefined || layoutOf(sight) === 'column-family' || memory.offsetsSince !== undefined)
    return writtenMs;
  return Math.min(writtenMs, newestTableMs(sight) ?? writtenMs);
}

/** Undefined where there is none, and so nothing that could come back. What was copied was born later than it was written. */
function newestTableMs({ databases }: TaskSight): number | undefined {
  const tables = databases.flatMap((database) => database.tables);
  const stamps = tables.map(({ mtimeNs, birthtimeNs }) => {
    return Number((0n < birthtimeNs && birthtimeNs < mtimeNs ? birthtimeNs : mtimeNs) / 1_000_000n);
  });
  return stamps.length === 0 ? undefined : Math.max(...stamps);
}
