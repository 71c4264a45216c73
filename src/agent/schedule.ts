import type { SnapshotTrigger } from '../events/event.ts';

/** What the loop knows when it asks what is due. Times are of the steady clock. */
export interface Situation {
  readonly nowMs: number;
  /** The epoch has begun. */
  readonly isOpen: boolean;
  /** A round is under way, or the epoch is being opened. */
  readonly isBusy: boolean;
  /** Since when something lies on disk that no round has seen. */
  readonly changedMs: number | undefined;
  /** When the last round that was due by itself began. */
  readonly roundMs: number | undefined;
  /** Since when something can be captured that the next write of the application may spoil. */
  readonly fleetingMs: number | undefined;
  /** When the last round for such began. */
  readonly fleetingRoundMs: number | undefined;
  /** At most one in so long, this time: the setting with its jitter. */
  readonly intervalMs: number;
  /** The last round left tables for the next one. */
  readonly isUnfinished: boolean;
  /** The application let go of its directory, and no round has looked since. */
  readonly hasEnded: boolean;
  /** Somebody asks for a snapshot now. */
  readonly request: 'request' | 'pre_stop' | undefined;
  /** After a failure: not before. */
  readonly retryMs: number | undefined;
  /** When the record was last written, or tried to. */
  readonly renewedMs: number;
}

export interface Due {
  readonly open: boolean;
  readonly renew: boolean;
  readonly round: Exclude<SnapshotTrigger, 'final'> | undefined;
  /** When to ask again at the latest. */
  readonly wakeMs: number;
  /** When the next round is due by itself, as far as that is known. */
  readonly roundDueMs: number | undefined;
}

/** The lock of the application is asked for, and its tasks are listed, this often. */
export const TURN_MS = 1000;
/** Checkpoints are written task by task: the first one is given so long for the others to follow. */
const SETTLE_MS = 1000;
/** An epoch that is silent for three of these counts as dead. */
export const RENEWAL_MS = 60_000;

/** Decides what is due now. */
export function schedule(situation: Situation): Due {
  const { nowMs, isOpen, isBusy, request, retryMs = nowMs } = situation;
  const isPatient = request === undefined && nowMs < retryMs;
  const roundDueMs = dueOf(situation);
  const isRoundDue = request !== undefined || (roundDueMs !== undefined && roundDueMs <= nowMs);
  const renewalMs = situation.renewedMs + RENEWAL_MS;
  const due: Omit<Due, 'wakeMs'> = {
    open: !isOpen && !isBusy && !isPatient,
    round: isOpen && !isBusy && !isPatient && isRoundDue ? (request ?? 'interval') : undefined,
    renew: isOpen && renewalMs <= nowMs,
    roundDueMs: roundDueMs === undefined ? undefined : Math.max(roundDueMs, retryMs),
  };
  const ahead = [nowMs + TURN_MS, renewalMs, roundDueMs ?? Infinity, retryMs].filter((ms) => ms > nowMs);
  return { ...due, wakeMs: Math.min(...ahead) };
}

/** Unchanged state is never due. */
function dueOf(situation: Situation): number | undefined {
  const { changedMs, roundMs, fleetingMs, fleetingRoundMs, intervalMs, isUnfinished, hasEnded, nowMs } = situation;
  if (hasEnded || isUnfinished) return nowMs;
  const after = (sinceMs: number | undefined, beforeMs: number | undefined): number =>
    sinceMs === undefined
      ? Infinity
      : Math.max(sinceMs + SETTLE_MS, beforeMs === undefined ? sinceMs : beforeMs + intervalMs);
  // A round that found nothing to capture must not make one wait that would.
  const dueMs = Math.min(after(changedMs, roundMs), after(fleetingMs, fleetingRoundMs));
  return dueMs === Infinity ? undefined : dueMs;
}

const BACK_OFF_MS_MIN = 1000;
const BACK_OFF_MS_MAX = 60_000;

/** How long to wait after so many failures in a row, one at least; `fraction` is chance in [0, 1). */
export function backOffMs(failures: number, fraction: number): number {
  const ceilingMs = Math.min(BACK_OFF_MS_MAX, BACK_OFF_MS_MIN * 2 ** (failures - 1));
  return ceilingMs * (0.5 + fraction / 2);
}

/** The interval with a jitter of ten per cent, so that many pods do not keep step. */
export function jitteredMs(intervalMs: number, fraction: number): number {
  return intervalMs * (0.9 + 0.2 * fraction);
}
