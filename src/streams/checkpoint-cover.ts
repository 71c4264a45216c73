import type { DatabaseSight, JudgeContext, TaskMemory, TaskSight } from './quality.ts';

/** Whether the checkpoint covers everything that is on disk: Q1 with Q4 and Q5, or Q2. */
export function isCovered(sight: TaskSight, memory: TaskMemory | undefined, context: JudgeContext): boolean {
  if (sight.checkpoint === undefined) return false;
  // Q8: an installed directory that was not opened since is worth what it was worth when it was captured.
  if (context.installedQuality !== undefined) return context.installedQuality === 'clean';
  const { mtimeNs } = sight.checkpoint;
  const isDated = !context.clockWasSet && hasNoFutureStamp(sight, mtimeNs, context.nowMs);
  const isVisible = sight.databases.every((database) => !database.newestDropped || isOlder(database, sight, memory));
  const isOpen = !isSeenExceeded(sight, memory);
  return (isDated && isVisible && isOpen && coversByStamps(sight, mtimeNs)) || coversByMemory(sight, memory);
}

/** The clock of a file server may be so much ahead of ours; one that was set back is a matter of more. */
export const SERVER_AHEAD_MS = 1000;

/**
 * Whether a checkpoint that does not cover what is on disk is known never to (Q2). Only where a stamp lies a moment ahead
 * another look decides.
 */
export function isExceeded(sight: TaskSight, memory: TaskMemory | undefined, context: JudgeContext): boolean {
  if (sight.checkpoint === undefined || context.installedQuality !== undefined) return false;
  if (isSeenExceeded(sight, memory)) return true;
  const { mtimeNs } = sight.checkpoint;
  const isAhead = (byMs: number): boolean => !hasNoFutureStamp(sight, mtimeNs, context.nowMs + byMs);
  return !isAhead(0) || isAhead(SERVER_AHEAD_MS);
}

/** Q5: a clock that jumped makes later writes look older. */
function hasNoFutureStamp(sight: TaskSight, checkpointNs: bigint, nowMs: number): boolean {
  const tables = sight.databases.flatMap((database) => database.tables);
  const stamps = [checkpointNs, ...tables.flatMap(({ mtimeNs, birthtimeNs }) => [mtimeNs, birthtimeNs])];
  return !stamps.some((stamp) => isFuture(stamp, nowMs));
}

function isFuture(stampNs: bigint, nowMs: number): boolean {
  return stampNs > BigInt(Math.floor(nowMs) + 1) * 1_000_000n;
}

/**
 * Q4: what was dropped has no stamp any more, so it may have been written after the checkpoint; not where the
 * database held all of it already when the checkpoint was still another one.
 */
function isOlder(database: DatabaseSight, sight: TaskSight, memory: TaskMemory | undefined): boolean {
  if (memory === undefined || isSameCheckpoint(sight, memory)) return false;
  const before = memory.databases.get(database.path);
  return before?.manifest === database.manifest && before.greatestSequence === database.greatestSequence;
}

/** A write buffer cannot fill and be flushed within a kernel's tick; coarser stamps show themselves by round numbers. */
const COARSE_NS = 10_000_000n;

/** Q1: no live table is newer than the checkpoint. */
function coversByStamps(sight: TaskSight, checkpointNs: bigint): boolean {
  const isCoarse = checkpointNs % COARSE_NS === 0n;
  const isAfter = (stamp: bigint): boolean => (isCoarse ? stamp >= checkpointNs : stamp > checkpointNs);
  const tables = sight.databases.flatMap((database) => database.tables);
  // A compaction that runs across the checkpoint ends after it and holds nothing newer: its table was born before.
  return !tables.some((table) => isAfter(table.mtimeNs) && (table.birthtimeNs === 0n || isAfter(table.birthtimeNs)));
}

/** Q2: the same checkpoint covered everything before, and since then no edit added anything newer. */
function coversByMemory(sight: TaskSight, memory: TaskMemory | undefined): boolean {
  if (memory === undefined || !memory.passed || !isSameCheckpoint(sight, memory)) return false;
  return sight.databases.every((database) => {
    const before = memory.databases.get(database.path);
    if (before === undefined) return database.greatestSequence === 0n && database.tables.length === 0;
    // A new manifest starts from a summary in which compaction may have hidden what was added since.
    return before.manifest === database.manifest && database.greatestSequence <= before.greatestSequence;
  });
}

/**
 * Q2: an earlier look found the same checkpoint exceeded, or less on disk: all that came since was written after it, whatever
 * is stamped on it.
 */
function isSeenExceeded(sight: TaskSight, memory: TaskMemory | undefined): boolean {
  if (memory === undefined || !isSameCheckpoint(sight, memory)) return false;
  if (memory.exceeded === true) return true;
  return sight.databases.some(({ path, greatestSequence }) => {
    return greatestSequence > (memory.databases.get(path)?.greatestSequence ?? 0n);
  });
}

export function isSameCheckpoint(sight: TaskSight, memory: TaskMemory): boolean {
  return (
    sight.checkpoint?.inode === memory.checkpoint?.inode && sight.checkpoint?.mtimeNs === memory.checkpoint?.mtimeNs
  );
}

/**
 * Q5: whether the time of the offsets may be compared with other stamps (D2): not where the clock was set since, or has yet to
 * come up with it, nor once it has.
 */
export function isDated(writtenNs: bigint | undefined, memory: TaskMemory | undefined, context: JudgeContext): boolean {
  // Q8: what is as it was installed is whole, whatever its stamps say.
  if (context.installedQuality !== undefined || writtenNs === undefined) return true;
  const isAhead = isFuture(writtenNs, context.nowMs + SERVER_AHEAD_MS);
  return memory?.undatedNs !== writtenNs && !context.clockWasSet && !isAhead;
}
