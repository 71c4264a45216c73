import type { Explanation } from '../streams/reason.ts';

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

/** What the loop saw of an application's directory. */
export interface WipeSight {
  /** Tasks that were there the last time, or that a restore had installed. */
  readonly before: ReadonlySet<string>;
  readonly now: ReadonlySet<string>;
  /** Since when the application holds its lock, by the steady clock; undefined while it does not, or nobody can tell. */
  readonly heldSinceMs: number | undefined;
  readonly nowMs: number;
}

/** An application cleans up before it begins to work, which takes it seconds. Its cleaner for tasks that moved away waits for minutes. */
const START_MS = 60_000;

/**
 * The tasks that an application deleted all at once: `KafkaStreams.cleanUp()`, which may be called before the start and
 * after the end. While it runs, single tasks go, for they have moved to another instance.
 */
export function findWiped({ before, now, heldSinceMs, nowMs }: WipeSight): ReadonlySet<string> {
  const isAllGone = before.size > 0 && before.isDisjointFrom(now) && now.size === 0;
  const isAtWork = heldSinceMs !== undefined && nowMs - heldSinceMs > START_MS;
  return isAllGone && !isAtWork ? before : new Set();
}

export const WIPED: Explanation = {
  reason: 'wiped_by_application',
  message:
    'the application emptied its state directory by itself: set spring.kafka.streams.cleanup.on-startup and on-shutdown to false, or remove its calls of KafkaStreams.cleanUp()',
};
