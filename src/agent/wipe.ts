import type { Explanation } from '../streams/reason.ts';
import { GLOBAL_TASK } from '../streams/state-directory.ts';

/** From the end of a restore to the start of its application. */
const FRESH_RESTORE_MS = 10 * 60_000;

/** What a restore of this start put there; long after it tasks may have moved to other instances. */
export function freshlyInstalled(
  report: { readonly timeMs: number; readonly installed: readonly { readonly task: string }[] } | undefined,
  nowMs: number,
): readonly string[] {
  const isFresh = report !== undefined && nowMs - report.timeMs <= FRESH_RESTORE_MS;
  return isFresh ? report.installed.map(({ task }) => task) : [];
}

/** Tasks that are there, each with what tells its directory from any other of its name; undefined where nobody looked. */
export type TaskDirectories = ReadonlyMap<string, string | undefined>;

/** What the loop saw of an application's directory. */
export interface WipeSight {
  /** Tasks that were there before it began to clean up, or that a restore had installed. */
  readonly before: TaskDirectories;
  readonly now: TaskDirectories;
  /** Since when the application holds its lock, by the steady clock; undefined while it does not, or nobody can tell. */
  readonly heldSinceMs: number | undefined;
  readonly nowMs: number;
}

/** An application cleans up before it begins to work, which takes it seconds. Its cleaner for tasks that moved away waits for minutes. */
const START_MS = 60_000;

/**
 * The tasks that an application deleted all at once: `KafkaStreams.cleanUp()`, which may be called before the start and
 * after the end. While it runs, single tasks go, for they have moved to another instance. An application that starts right
 * after its cleaning has new directories before anybody looks: that shows by the global task, for the others may be
 * thrown away by Kafka Streams itself after a crash, and by all that were there.
 */
export function findWiped({ before, now, heldSinceMs, nowMs }: WipeSight): ReadonlySet<string> {
  const isNew = (task: string): boolean => {
    const [old, current] = [before.get(task), now.get(task)];
    return old !== undefined && current !== undefined && old !== current;
  };
  const tasks = [...before.keys()];
  const isAllGone =
    tasks.length > 0 &&
    (now.size === 0 || (isNew(GLOBAL_TASK) && tasks.every((task) => isNew(task) || !now.has(task))));
  return new Set(isAllGone && !isAtWork(heldSinceMs, nowMs) ? tasks : []);
}

/** What was there before, for the next look: of what is being deleted a look may see the half. */
export function recallTasks({ before, now, heldSinceMs, nowMs }: WipeSight): TaskDirectories {
  return isAtWork(heldSinceMs, nowMs) ? now : new Map([...before, ...now]);
}

function isAtWork(heldSinceMs: number | undefined, nowMs: number): boolean {
  return heldSinceMs !== undefined && nowMs - heldSinceMs > START_MS;
}

export const WIPED: Explanation = {
  reason: 'wiped_by_application',
  message:
    'the application emptied its state directory by itself: set spring.kafka.streams.cleanup.on-startup and on-shutdown to false, or remove its calls of KafkaStreams.cleanUp()',
};
