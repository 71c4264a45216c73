import type { Trial } from '../repository/record.ts';
import { LOSSES_MIN } from '../repository/trial.ts';

/** One look at an application that was given what a restore installed. */
export interface TrialSight {
  readonly monotonicMs: number;
  /** It holds its lock. */
  readonly isHeld: boolean;
  /** It opened an installed task: a database of it has a new manifest. */
  readonly hasOpened: boolean;
  /** It laid hands on what was installed, so that its end may be the fault of that. */
  readonly hasTried: boolean;
  /** It did so since the last look, or tried to. */
  readonly hasTriedAnew: boolean;
}

/** What was seen so far. Confirmation is final; a failed trial may still be confirmed. */
export interface TrialWatch extends Omit<Trial, 'atMs'> {
  readonly lookedMs: number;
  /** While it holds its lock, since when it was seen to without a break, and since when with an installed task open. */
  readonly held: { readonly sinceMs: number; readonly openedMs: number | undefined } | undefined;
  /** How it was seen to have lost its lock, until it is clear whether that was the end of the pod. */
  readonly lost: { readonly atMs: number; readonly mayBlame: boolean } | undefined;
}

/** So long it must hold its lock with an installed task open. */
const OPENED_MS_MIN = 60_000;
/** So long whatever it opened: it is healthy, and need not have been assigned what was installed. */
const HELD_MS_MIN = 5 * 60_000;
/** An application that is restarted in place may be back within seconds: what lies between two looks further apart is not known. */
const TRIAL_LOOK_MS_MAX = 10_000;
/** When a pod ends, its application loses the lock first; somebody who looks on for so long outlived it. */
const LOSS_SETTLES_MS = 10_000;

export const NOTHING_SEEN: TrialWatch = {
  state: 'undecided',
  lockTaken: 0,
  lockLost: 0,
  lookedMs: Number.NEGATIVE_INFINITY,
  held: undefined,
  lost: undefined,
};

/** What is known after one more look. Looks at a pod that is being ended are not to be given. */
export function watchTrial(before: TrialWatch, sight: TrialSight): TrialWatch {
  if (before.state === 'confirmed') return before;
  const seen = sight.isHeld ? seeHeld(before, sight) : seeFree(before, sight);
  const after = { ...before, ...seen, lookedMs: sight.monotonicMs };
  return { ...after, state: decide(after) };
}

type Seen = Pick<TrialWatch, 'lockTaken' | 'lockLost' | 'held' | 'lost'>;

function seeHeld(before: TrialWatch, sight: TrialSight): Seen {
  const { monotonicMs: nowMs } = sight;
  const isUnbroken = nowMs - before.lookedMs <= TRIAL_LOOK_MS_MAX;
  const held = isUnbroken ? before.held : undefined;
  const openedMs = sight.hasOpened ? (held?.openedMs ?? nowMs) : undefined;
  return {
    lockTaken: before.held === undefined ? before.lockTaken + 1 : before.lockTaken,
    lockLost: countLoss(before),
    held: { sinceMs: held?.sinceMs ?? nowMs, openedMs },
    lost: undefined,
  };
}

function seeFree(before: TrialWatch, sight: TrialSight): Seen {
  const { monotonicMs: nowMs } = sight;
  // What cannot start may be gone before anybody has seen it hold the lock.
  const hasPassed = before.held === undefined && sight.hasTriedAnew;
  const isLost = before.held !== undefined || hasPassed;
  const lost = isLost ? { atMs: nowMs, mayBlame: sight.hasTried } : before.lost;
  const isSettled = lost !== undefined && nowMs - lost.atMs >= LOSS_SETTLES_MS;
  return {
    lockTaken: hasPassed ? before.lockTaken + 1 : before.lockTaken,
    lockLost: isLost || isSettled ? countLoss(before) : before.lockLost,
    held: undefined,
    lost: isSettled ? undefined : lost,
  };
}

function countLoss({ lost, lockLost }: Pick<TrialWatch, 'lost' | 'lockLost'>): number {
  return lost?.mayBlame === true ? lockLost + 1 : lockLost;
}

function decide({ state, held, lockLost, lookedMs }: TrialWatch): TrialWatch['state'] {
  const heldMs = held === undefined ? 0 : lookedMs - held.sinceMs;
  const openedMs = held?.openedMs === undefined ? 0 : lookedMs - held.openedMs;
  if (heldMs >= HELD_MS_MIN || openedMs >= OPENED_MS_MIN) return 'confirmed';
  return lockLost >= LOSSES_MIN ? 'failed' : state;
}
