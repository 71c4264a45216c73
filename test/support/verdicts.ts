import { systemClock } from '../../src/base/clock.ts';
import { realFiles } from '../../src/base/file-access.ts';
import { captureTask } from '../../src/capture/capture.ts';
import { ManifestTails } from '../../src/capture/manifest-tail.ts';
import { judge, type TaskMemory, type TaskSight, type Verdict } from '../../src/streams/quality.ts';
import type { Explanation } from '../../src/streams/reason.ts';

export type Sighting =
  | { readonly kind: 'seen'; readonly sight: TaskSight }
  | { readonly kind: 'refused'; readonly why: Explanation };

/** One look at a task directory, as if it were the first of a process; holds nothing afterwards. */
export async function lookAtTask(applicationDirectory: string, task: string): Promise<Sighting> {
  await using manifests = new ManifestTails(realFiles);
  const { signal } = new AbortController();
  const tools = { files: realFiles, manifests, clock: systemClock, emit: () => {}, signal };
  const options = { isKnown: () => false, triesMax: 2 };
  const outcome = await captureTask({ applicationDirectory, task }, tools, options);
  if (outcome.kind === 'gone') return { kind: 'refused', why: { reason: 'being_deleted', message: `${task} is gone` } };
  if (outcome.kind === 'refused') return outcome;
  await using capture = outcome.capture;
  return { kind: 'seen', sight: capture.sight };
}

export interface Judged {
  /** Quality, or the reason there is none, under at-least-once and under exactly-once. */
  readonly verdicts: readonly string[];
  readonly memory: TaskMemory;
}

/** Judges a look of just now, or as it would be judged `laterMs` later, at an application that does not run. */
export function judgeSight(
  sight: TaskSight,
  context: { readonly applicationId: string; readonly memory?: TaskMemory | undefined; readonly laterMs?: number },
): Judged {
  const { atLeastOnce, exactlyOnce, memory } = judge(sight, {
    applicationId: context.applicationId,
    nowMs: systemClock.nowMs() + (context.laterMs ?? 0),
    isRunning: false,
    clockWasSet: false,
    memory: context.memory,
    installedQuality: undefined,
    transactionalStores: false,
  });
  return { verdicts: [atLeastOnce, exactlyOnce].map(wordOf), memory };
}

function wordOf(verdict: Verdict): string {
  return verdict.kind === 'valid' ? verdict.quality : verdict.why.reason;
}
