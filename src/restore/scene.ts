import { isFurther } from '../repository/best.ts';
import { epochsOf, parseEpoch } from '../repository/keys.ts';
import { type Claim, EPOCH_SILENCE_MS_MAX, type EpochRecord, type TaskSummary } from '../repository/record.ts';
import { GLOBAL_TASK } from '../streams/state-directory.ts';
import type { OfferedEntry } from './plan.ts';

/** What can be seen of one epoch. */
export interface Life {
  readonly epoch: string;
  /** Undefined where it has no record that can be read. */
  readonly role: EpochRecord['role'] | undefined;
  /** `finishing`: at work, but its application is being closed, or is. */
  readonly state: 'alive' | 'finishing' | 'gone';
  /** Since its last sign. */
  readonly silentMs: number;
  readonly after: string | undefined;
  readonly appVersion: string | undefined;
  readonly claims: readonly Claim[];
  /** Of its newest document. */
  readonly tasks: readonly Pick<TaskSummary, 'task' | 'offsets'>[];
}

/** What a pod that starts can see of all others. */
export interface Scene {
  /** By the store's clock. */
  readonly nowMs: number;
  /** Oldest first, the one that chooses left out. */
  readonly lives: readonly Life[];
  /** Of every task that may be restored now, the entry that would be. */
  readonly bestOf: ReadonlyMap<string, Pick<OfferedEntry, 'epoch' | 'offsets'>>;
}

/** A restore of another pod, while that pod still stands for what it claimed. */
export interface Claimant extends Pick<Life, 'epoch' | 'appVersion' | 'claims'> {
  /** What it claimed is nowhere else to be seen yet. */
  readonly isPending: boolean;
  /** It does not choose again. */
  readonly hasEnded: boolean;
}

/** A scene as one instance sees it. */
export interface View {
  readonly scene: Scene;
  /** Of others alone: whoever had the name of this one is gone. */
  readonly others: readonly Life[];
  /** By epoch, what its newest document holds that may be restored; the global stores are nobody's. */
  readonly tasksOf: ReadonlyMap<string, readonly string[]>;
  /** The tasks that somebody has who is there to stay, as far as the best entry of each, with who that is. */
  readonly held: ReadonlyMap<string, string>;
  readonly claimants: readonly Claimant[];
}

export function viewOf(scene: Scene, instance: string): View {
  const isOwn = epochsOf(instance);
  const others = scene.lives.filter(({ epoch }) => !isOwn(epoch));
  const living = others.filter(({ state }) => state === 'alive');
  const held = new Map(living.flatMap((life) => heldBy(scene, life).map((task) => [task, life.epoch])));
  return { scene, others, tasksOf: indexTasks(scene), held, claimants: findClaimants(scene, others) };
}

/** Nobody takes it from whoever claims it. */
export function isFirm({ kind, isSettled }: Claim): boolean {
  return kind === 'own' || isSettled;
}

/** All that these epochs held. */
export function unionOf(epochs: readonly string[], { tasksOf }: Pick<View, 'tasksOf'>): readonly string[] {
  return [...new Set(epochs.flatMap((epoch) => tasksOf.get(epoch) ?? []))];
}

export function instanceOf(epoch: string): string {
  return parseEpoch(epoch)?.instance ?? epoch;
}

/** R1: how long a claim counts. */
function findClaimants(scene: Scene, others: readonly Life[]): readonly Claimant[] {
  const followers = Map.groupBy(scene.lives, ({ after }) => after);
  return others.flatMap(({ epoch, role, state, appVersion, claims, silentMs }) => {
    const runs = followers.get(epoch) ?? [];
    const hasEnded = state === 'gone';
    // What it announced and did not get to it lets go of.
    const standing = hasEnded ? claims.filter(isFirm) : claims;
    if (role !== 'restore' || standing.length === 0) return [];
    const isRunning = runs.some((run) => run.state !== 'gone');
    const isFresh = runs.length === 0 && silentMs <= EPOCH_SILENCE_MS_MAX;
    const hasPublished = runs.some(({ tasks }) => tasks.length > 0);
    const isPending = isFresh || (isRunning && !hasPublished);
    return isPending || isRunning ? [{ epoch, appVersion, claims: standing, isPending, hasEnded }] : [];
  });
}

/** The tasks that a life has as far as the best entry of each: while it lives nothing of them is lost. */
function heldBy({ bestOf }: Scene, { tasks }: Life): readonly string[] {
  const held = tasks.filter((summary) => {
    const best = bestOf.get(summary.task);
    return best !== undefined && !isFurther(best, summary);
  });
  return held.map(({ task }) => task);
}

function indexTasks({ lives, bestOf }: Scene): ReadonlyMap<string, readonly string[]> {
  return new Map(
    lives.map(({ epoch, tasks }) => [
      epoch,
      tasks.map(({ task }) => task).filter((task) => task !== GLOBAL_TASK && bestOf.has(task)),
    ]),
  );
}
