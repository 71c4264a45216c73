import { parseEpoch } from '../repository/keys.ts';
import { GLOBAL_TASK } from '../streams/state-directory.ts';
import type { Scene } from './scene.ts';

/** As many tasks as everybody has who has no more than others, rounded up. */
export function fairShare(scene: Scene, replicas: number | undefined): number {
  const tasks = [...scene.bestOf.keys()].filter((task) => task !== GLOBAL_TASK).length;
  return Math.max(1, Math.ceil(tasks / (replicas ?? mostAliveTogether(scene))));
}

/** The largest number of instances whose lives overlap; at least one. */
function mostAliveTogether({ lives, nowMs }: Scene): number {
  const spans = new Map<string, { readonly fromMs: number; readonly untilMs: number }[]>();
  for (const { epoch, role, state, silentMs } of lives) {
    const parts = parseEpoch(epoch);
    if (parts === undefined || (role !== 'run' && role !== 'restore')) continue;
    const ofInstance = spans.get(parts.instance) ?? [];
    spans.set(parts.instance, [
      ...ofInstance,
      { fromMs: parts.timeMs, untilMs: state === 'gone' ? nowMs - silentMs : nowMs },
    ]);
  }
  const changes = [...spans.values()].flatMap(withoutOverlaps).flatMap(({ fromMs, untilMs }) => [
    { atMs: fromMs, by: 1 },
    { atMs: Math.max(fromMs, untilMs), by: -1 },
  ]);
  let [alive, most] = [0, 1];
  for (const { by } of changes.sort((left, right) => left.atMs - right.atMs || left.by - right.by)) {
    alive += by;
    most = Math.max(most, alive);
  }
  return most;
}

/** A container may be restarted before its last life is known to be over: that is one instance all the same. */
function withoutOverlaps(
  spans: readonly { readonly fromMs: number; readonly untilMs: number }[],
): readonly { readonly fromMs: number; readonly untilMs: number }[] {
  const merged: { readonly fromMs: number; readonly untilMs: number }[] = [];
  for (const span of spans.toSorted((left, right) => left.fromMs - right.fromMs)) {
    const last = merged.at(-1);
    if (last === undefined || span.fromMs > last.untilMs) merged.push(span);
    else merged[merged.length - 1] = { fromMs: last.fromMs, untilMs: Math.max(last.untilMs, span.untilMs) };
  }
  return merged;
}
