import type { Explanation } from './reason.ts';
import { type ParentDirectory, segmentStart } from './state-directory.ts';

/** A directory of stores or segments at an earlier look; children as in ParentDirectory. */
export interface ParentMemory {
  readonly mtimeNs: bigint;
  readonly children: readonly string[];
}

/**
 * D2 and D4: whether a directory is missing that was here, or may be. Kafka's cleaner deletes in directory order
 * under a checkpoint that is still there, and whatever it has not reached yet looks like a smaller task.
 */
export function findMissing(
  parents: ReadonlyMap<string, ParentDirectory>,
  before: ReadonlyMap<string, ParentMemory> | undefined,
  times: {
    /** Of the offsets; undefined where there are none, which is refused for want of them anyhow. */
    readonly stateTimeNs: bigint | undefined;
    readonly nowMs: number;
    /** Whether stamps tell what came after what (Q5). */
    readonly isDated: boolean;
  },
): Explanation | undefined {
  for (const path of before?.keys() ?? []) {
    if (!parents.has(path)) return { reason: 'being_deleted', message: `${path} is gone` };
  }
  for (const [path, parent] of parents) {
    const known = before?.get(path);
    const lost = known === undefined ? undefined : findLost(parent, known.children);
    if (lost !== undefined) return { reason: 'being_deleted', message: `${path}/${lost} is gone` };
    if (times.stateTimeNs === undefined || (times.isDated && parent.facts.mtimeNs <= times.stateTimeNs)) continue;
    if (known?.mtimeNs === parent.facts.mtimeNs) continue;
    const unexplained = explainChange(path, parent, { known, nowMs: times.nowMs });
    if (unexplained !== undefined) return unexplained;
  }
  return undefined;
}

/** D4: stores never go, segments only from the oldest on. */
function findLost(parent: ParentDirectory, before: readonly string[]): string | undefined {
  const present = new Set(parent.children);
  const firstKept = parent.kind === 'segments' ? before.findIndex((child) => present.has(child)) : 0;
  // All segments gone at once is no expiry unless newer ones came.
  if (firstKept < 0) return parent.children.length > 0 ? undefined : before[0];
  return before.slice(firstKept).find((child) => !present.has(child));
}

/** A deletion takes some milliseconds; whatever changed this long ago is no deletion under way. */
const SETTLED_MS = 10_000;

/** D2: undefined where a change after the state time is one that a running task makes, and has settled. */
function explainChange(
  path: string,
  parent: ParentDirectory,
  context: { readonly known: ParentMemory | undefined; readonly nowMs: number },
): Explanation | undefined {
  const { known, nowMs } = context;
  const isExpiryOrGrowth =
    known !== undefined && parent.kind === 'segments' && addsOnlyNewer(path, parent.children, known.children);
  if (!isExpiryOrGrowth) {
    return {
      reason: 'changing',
      message: `${path} changed after the offsets were written; waits until they are written again`,
    };
  }
  const settledNs = parent.facts.mtimeNs + BigInt(SETTLED_MS) * 1_000_000n;
  if (BigInt(Math.floor(nowMs)) * 1_000_000n >= settledNs) return undefined;
  return { reason: 'changing', message: `${path} changed less than ${SETTLED_MS / 1000} s ago` };
}

function addsOnlyNewer(store: string, children: readonly string[], before: readonly string[]): boolean {
  const newestBefore = segmentStart(store, before.at(-1) ?? '');
  if (newestBefore === undefined) return true;
  return children.every((child) => before.includes(child) || (segmentStart(store, child) ?? 0n) > newestBefore);
}
