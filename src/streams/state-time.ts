import { layoutOf, offsetsOf } from './offsets.ts';
import type { TaskMemory, TaskSight } from './quality.ts';

/** When its offsets were written, by the clock of this machine; undefined where there are none. */
export function offsetsWrittenMs(sight: TaskSight): number | undefined {
  const { writtenNs } = offsetsOf(sight);
  return writtenNs === undefined ? undefined : Number(writtenNs / 1_000_000n);
}

/** All stores are flushed right before their offsets are written: where a directory is known, what is this close is of one moment. */
const FLUSHED_MS = 5 * 60_000;

/**
 * A1: the moment at which these offsets were first on disk, by the clock of this machine; undefined where there are none. They may
 * have been rewritten without progress while nobody looked: the newest table tells of the last, at first sight to the moment.
 */
export function stateTimeMs(sight: TaskSight, memory: Pick<TaskMemory, 'offsetsSince'>): number | undefined {
  const writtenMs = offsetsWrittenMs(sight);
  if (writtenMs === undefined || layoutOf(sight) === 'column-family') return writtenMs;
  const progressMs = newestTableMs(sight) ?? writtenMs;
  const apartMs = memory.offsetsSince === undefined ? 0 : FLUSHED_MS;
  return writtenMs - progressMs > apartMs ? progressMs : writtenMs;
}

/** Undefined where there is none, and so nothing that could come back. What was copied was born later than it was written. */
function newestTableMs({ databases }: TaskSight): number | undefined {
  const tables = databases.flatMap((database) => database.tables);
  const stamps = tables.map(({ mtimeNs, birthtimeNs }) => {
    return Number((0n < birthtimeNs && birthtimeNs < mtimeNs ? birthtimeNs : mtimeNs) / 1_000_000n);
  });
  return stamps.length === 0 ? undefined : Math.max(...stamps);
}
