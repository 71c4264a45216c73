import { createHash } from 'node:crypto';
import { isFurther } from '../repository/best.ts';
import { compareEpochs, epochsOf, parseEpoch } from '../repository/keys.ts';
import { type Claim, EPOCH_SILENCE_MS_MAX, type EpochRecord, type TaskSummary } from '../repository/record.ts';
import type { Explanation } from '../streams/reason.ts';
import { GLOBAL_TASK } from '../streams/state-directory.ts';
import type { OfferedEntry } from './plan.ts';
import { fairShare } from './share.ts';

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

/** Whoever chooses. */
export interface Chooser {
  /** Of its restore. */
  readonly epoch: string;
  readonly instance: string;
  readonly appVersion: string | undefined;
  /** As its record has them by now. */
  readonly claims: readonly Claim[];
  /** Tasks that lie on its volume. */
  readonly present: readonly string[];
  /** How many instances share the tasks; undefined for as many as were alive together. */
  readonly replicas: number | undefined;
}

/** With what a pod goes on: all that these epochs held. */
export interface Choice {
  readonly kind: Claim['kind'];
  readonly epochs: readonly string[];
  readonly tasks: readonly string[];
  /** Something better is about to be published. */
  readonly isFinishing: boolean;
}

/**
 * What to restore next, or undefined where that was all: what the newest epoch of the same instance held; else, one epoch
 * after another up to the fair share, what nobody who lives has and nobody claims; where there is nothing of the kind, what
 * one of the living has.
 *
 * What was announced and stands is chosen again. Whoever loses what it announced chooses as if every smaller epoch that has
 * nothing yet had chosen before it: those who see the same choose differently.
 */
export function chooseNext(scene: Scene, me: Chooser): Choice | undefined {
  const view = viewOf(scene, me.instance);
  const { tasksOf, claimants: others } = view;
  const own = me.claims.length === 0 ? findOwn(scene, me.instance, tasksOf) : undefined;
  if (own !== undefined) return own;
  const table = new Table(view);
  // Who has ended does not choose again: whoever has the same and still can must.
  const wasFirst = ({ epoch, hasEnded }: Claimant): boolean => hasEnded || compareEpochs(epoch, me.epoch) < 0;
  /** What others have, or had a better claim to: it does not count for the share. */
  const beaten = new Set(view.held.keys());
  for (const other of others) {
    for (const claim of other.claims.filter(isFirm)) table.take(claim, other);
    for (const claim of other.isPending ? other.claims : []) {
      if (claim.kind !== 'own' && !(claim.kind === 'adopted' && wasFirst(other))) continue;
      for (const task of tasksOf.get(claim.epoch) ?? []) beaten.add(task);
    }
  }
  const share = fairShare(scene, me.replicas);
  table.note(others.filter(({ isPending }) => isPending).flatMap(({ claims }) => claims));
  for (const other of others.filter(({ isPending, epoch }) => isPending && compareEpochs(epoch, me.epoch) < 0)) {
    const wants = other.claims.filter((claim) => !isFirm(claim));
    if (wants.length === 0) continue;
    const hasSome = wants.length < other.claims.length;
    const choice = table.choose(other, { wants, share, have: 0, hasSome, mayCopyMore: false, mayOverfill: true });
    if (choice !== undefined && !hasSome) table.takeAll(choice);
    else if (choice !== undefined && isAnnounced(choice, wants)) table.takeAll(choice);
  }

  const mine = me.claims.filter(isFirm);
  const standing = mine.flatMap(({ kind, epoch }) => {
    const tasks = kind === 'copied' ? [] : (tasksOf.get(epoch) ?? []);
    return kind === 'own' ? tasks : tasks.filter((task) => !beaten.has(task));
  });
  const isBeatenCopy = ({ kind, epoch }: Claim): boolean =>
    kind === 'copied' &&
    others.some((other) => wasFirst(other) && isAnnounced({ kind, epochs: [epoch] }, other.claims));
  const have = new Set([...me.present, ...standing]);
  have.delete(GLOBAL_TASK);
  for (const { epoch } of mine) table.remove(tasksOf.get(epoch) ?? []);
  table.remove(me.present);
  return table.choose(me, {
    wants: me.claims,
    share,
    have: have.size,
    hasSome: have.size > 0 || mine.length > 0,
    mayCopyMore: have.size === 0 && mine.length > 0 && mine.every(isBeatenCopy),
    mayOverfill: me.present.length === 0 && !mine.some(({ kind }) => kind === 'own'),
  });
}

/** Whether a choice is what these claims say. */
export function isAnnounced({ kind, epochs }: Pick<Choice, 'kind' | 'epochs'>, claims: readonly Claim[]): boolean {
  return epochs.every((epoch) => claims.some((claim) => claim.kind === kind && claim.epoch === epoch));
}

/** Why a task that may be restored was left to others, for every task that may. */
export function explainLeft(scene: Scene, me: Chooser): ReadonlyMap<string, Explanation> {
  const { tasksOf, held, claimants } = viewOf(scene, me.instance);
  const share = fairShare(scene, me.replicas);
  const message = `it is left to others: the fair share is ${share} of ${scene.bestOf.size} tasks, see --replicas`;
  const reasons = new Map<string, Explanation>();
  for (const task of scene.bestOf.keys()) reasons.set(task, { reason: 'not_selected', message });
  for (const [task, epoch] of held) {
    reasons.set(task, { reason: 'not_selected', message: `${instanceOf(epoch)} has it, and lives` });
  }
  for (const { epoch, claims } of claimants.filter(({ isPending }) => isPending)) {
    const taken = `${instanceOf(epoch)} restores it, or did a moment ago`;
    const claimed = claims.flatMap((claim) => tasksOf.get(claim.epoch) ?? []);
    for (const task of claimed) reasons.set(task, { reason: 'claimed_elsewhere', message: taken });
  }
  return reasons;
}

/** A restore of another pod, and whether that pod still stands for what it claimed. */
interface Claimant extends Pick<Chooser, 'epoch' | 'appVersion' | 'claims'> {
  /** What it claimed is nowhere else to be seen yet. */
  readonly isPending: boolean;
  readonly hasEnded: boolean;
}

/** A scene as one instance sees it. */
interface View {
  readonly scene: Scene;
  /** Of others alone: whoever had the name of this one is gone. */
  readonly others: readonly Life[];
  readonly tasksOf: ReadonlyMap<string, readonly string[]>;
  /** The tasks that somebody has who is there to stay, as far as the best entry of each, with who that is. */
  readonly held: ReadonlyMap<string, string>;
  readonly claimants: readonly Claimant[];
}

function viewOf(scene: Scene, instance: string): View {
  const isOwn = epochsOf(instance);
  const others = scene.lives.filter(({ epoch }) => !isOwn(epoch));
  const living = others.filter(({ state }) => state === 'alive');
  const held = new Map(living.flatMap((life) => heldBy(scene, life).map((task) => [task, life.epoch])));
  return { scene, others, tasksOf: indexTasks(scene), held, claimants: findClaimants(scene, others) };
}

function findClaimants(scene: Scene, others: readonly Life[]): readonly Claimant[] {
  const followers = Map.groupBy(scene.lives, ({ after }) => after);
  return others.flatMap(({ epoch, role, state, appVersion, claims, silentMs }) => {
    if (role !== 'restore' || claims.length === 0) return [];
    const runs = followers.get(epoch) ?? [];
    const isRunning = runs.some(({ state }) => state !== 'gone');
    const isFresh = runs.length === 0 && silentMs <= EPOCH_SILENCE_MS_MAX;
    const hasPublished = runs.some(({ tasks }) => tasks.length > 0);
    const isPending = isFresh || (isRunning && !hasPublished);
    return isPending || isRunning ? [{ epoch, appVersion, claims, isPending, hasEnded: state === 'gone' }] : [];
  });
}

/** Who is about to choose, as far as choosing goes by it. */
interface Wish {
  /** What it announced, and others may take from it. */
  readonly wants: readonly Claim[];
  readonly share: number;
  readonly have: number;
  readonly hasSome: boolean;
  /** Somebody else was first with all that it copied: what nobody has copied is worth a second one. */
  readonly mayCopyMore: boolean;
  /** Whether the last epoch that it takes may go beyond the share: otherwise some would be left over. */
  readonly mayOverfill: boolean;
}

/** What is there to be had. */
class Table {
  readonly #view: View;
  readonly #bestOf: Scene['bestOf'];
  readonly #tasksOf: ReadonlyMap<string, readonly string[]>;
  /** Tasks that nobody who lives has, and nobody claims, by the epoch with the best entry of each. */
  readonly #orphans: ReadonlyMap<string, Set<string>>;
  readonly #finishing: ReadonlySet<string>;
  readonly #announced = new Set<string>();
  /** By epoch, how many who live have copied what it held. */
  readonly #copies = new Map<string, number>();
  #originals: readonly Original[] | undefined;

  constructor(view: View) {
    const { scene, tasksOf, held } = view;
    this.#view = view;
    this.#bestOf = scene.bestOf;
    this.#tasksOf = tasksOf;
    const tasks = [...scene.bestOf.keys()].filter((task) => task !== GLOBAL_TASK && !held.has(task));
    const byEpoch = Map.groupBy(tasks, (task) => scene.bestOf.get(task)?.epoch ?? '');
    this.#orphans = new Map([...byEpoch].map(([epoch, ofEpoch]) => [epoch, new Set(ofEpoch)]));
    this.#finishing = new Set(scene.lives.flatMap(({ epoch, state }) => (state === 'finishing' ? [epoch] : [])));
  }

  remove(tasks: Iterable<string>): void {
    for (const task of tasks) this.#orphans.get(this.#bestOf.get(task)?.epoch ?? '')?.delete(task);
  }

  /** What somebody announced is left to them while there is something else. */
  note(claims: readonly Claim[]): void {
    for (const { epoch } of claims) this.#announced.add(epoch);
  }

  take({ kind, epoch }: Claim, { isPending }: Pick<Claimant, 'isPending'>): void {
    if (isPending) this.remove(this.#tasksOf.get(epoch) ?? []);
    if (kind === 'copied') this.#copies.set(epoch, (this.#copies.get(epoch) ?? 0) + 1);
  }

  takeAll({ kind, epochs }: Choice): void {
    for (const epoch of epochs) this.take({ kind, epoch, isSettled: false }, { isPending: true });
  }

  choose(who: Pick<Chooser, 'epoch' | 'appVersion'>, wish: Wish): Choice | undefined {
    const adopted = wish.have < wish.share ? this.#chooseOrphans(who.epoch, wish) : undefined;
    return adopted ?? (wish.hasSome && !wish.mayCopyMore ? undefined : this.#chooseCopy(who, wish));
  }

  #chooseOrphans(chooser: string, { wants, share, have, mayOverfill }: Wish): Choice | undefined {
    const fitting = [...this.#orphans].flatMap(([epoch, { size }]) =>
      size > 0 && (mayOverfill || have + size <= share) ? [epoch] : [],
    );
    // What was announced stays chosen: hashes are for those who have still to choose.
    const wanted = fitting.find((epoch) => wants.some((claim) => claim.kind === 'adopted' && claim.epoch === epoch));
    const [first] = (wanted === undefined ? fitting : [])
      .map((epoch) => ({
        epoch,
        isAnnounced: this.#announced.has(epoch),
        isFinishing: this.#finishing.has(epoch),
        place: placeOf(epoch, chooser),
      }))
      .sort(
        (left, right) =>
          Number(left.isAnnounced) - Number(right.isAnnounced) ||
          Number(left.isFinishing) - Number(right.isFinishing) ||
          compareEpochs(left.place, right.place),
      );
    const epoch = wanted ?? first?.epoch;
    if (epoch === undefined) return undefined;
    const tasks = this.#tasksOf.get(epoch) ?? [];
    return { kind: 'adopted', epochs: [epoch], tasks, isFinishing: this.#finishing.has(epoch) };
  }

  #chooseCopy(who: Pick<Chooser, 'epoch' | 'appVersion'>, { wants, mayCopyMore }: Wish): Choice | undefined {
    const isOfAnother = ({ appVersion }: Original): boolean =>
      appVersion === undefined || appVersion !== who.appVersion;
    this.#originals ??= findOriginals(this.#view);
    const candidates = this.#originals
      .filter(({ epoch }) => epoch !== who.epoch)
      .map((original) => ({ ...original, copies: this.#copiesOf(original), isAboutToGo: isOfAnother(original) }));
    const fewest = Math.min(...candidates.map(({ copies }) => copies));
    if (mayCopyMore && fewest > 0) return undefined;
    const asGood = candidates.filter(({ copies }) => copies === fewest);
    const wanted = asGood.filter(({ epochs }) => wants.length > 0 && isAnnounced({ kind: 'copied', epochs }, wants));
    // What somebody announced a moment ago is no copy yet, but will be.
    const free = asGood.filter(({ epochs }) => !epochs.some((epoch) => this.#announced.has(epoch)));
    // Where they all begin with the same one, those who lose it must not meet again at the next.
    const places = new Map(wants.length === 0 ? [] : asGood.map(({ epoch }) => [epoch, placeOf(epoch, who.epoch)]));
    const first = firstOf(
      [wanted, free, asGood].find((some) => some.length > 0) ?? [],
      (left, right) =>
        Number(right.isAboutToGo) - Number(left.isAboutToGo) ||
        compareEpochs(places.get(left.epoch) ?? '', places.get(right.epoch) ?? '') ||
        right.silentMs - left.silentMs ||
        right.tasks.length - left.tasks.length ||
        compareEpochs(left.epoch, right.epoch),
    );
    return first && { kind: 'copied', epochs: first.epochs, tasks: first.tasks, isFinishing: false };
  }

  #copiesOf({ likes }: Original): number {
    return Math.max(...likes.map((epoch) => this.#copies.get(epoch) ?? 0));
  }
}

/** Who lives, and may be copied. */
interface Original extends Pick<Life, 'epoch' | 'appVersion' | 'silentMs'> {
  /** What it has is what these held. */
  readonly epochs: readonly string[];
  readonly tasks: readonly string[];
  /** Copies of these are copies of it: who has copied one who lives is as often there as that one. */
  readonly likes: readonly string[];
}

function findOriginals({ scene, others, tasksOf, claimants }: View): readonly Original[] {
  const lives = new Map(scene.lives.map((life) => [life.epoch, life]));
  const isCopyOfLiving = ({ kind, epoch }: Claim): boolean => kind === 'copied' && lives.get(epoch)?.state === 'alive';
  const likesOf = (epoch: string): readonly string[] => {
    const claims = lives.get(lives.get(epoch)?.after ?? '')?.claims ?? [];
    return [epoch, ...claims.filter(isCopyOfLiving).map((claim) => claim.epoch)];
  };
  const runs = others
    .filter(({ role, state }) => role === 'run' && state === 'alive')
    .map(({ epoch, after, silentMs }) => {
      const { appVersion } = lives.get(after ?? '') ?? {};
      return { epoch, appVersion, silentMs, epochs: [epoch] };
    });
  const restores = claimants
    .filter(({ isPending }) => isPending)
    .map(({ epoch, appVersion, claims }) => {
      const epochs = claims.filter(({ kind }) => kind !== 'copied').map((claim) => claim.epoch);
      return { epoch, appVersion, silentMs: 0, epochs };
    });
  return [...runs, ...restores]
    .map((one) => ({ ...one, tasks: unionOf(one.epochs, tasksOf), likes: one.epochs.flatMap(likesOf) }))
    .filter(({ tasks }) => tasks.length > 0);
}

function firstOf<T>(items: readonly T[], compare: (left: T, right: T) => number): T | undefined {
  const [first, ...others] = items;
  return first === undefined
    ? undefined
    : others.reduce((best, item) => (compare(item, best) < 0 ? item : best), first);
}

/** What an instance goes on with under its own name; also what its restore before had claimed and did not get to publish. */
function findOwn(
  { lives }: Scene,
  instance: string,
  tasksOf: ReadonlyMap<string, readonly string[]>,
): Choice | undefined {
  const isOwn = epochsOf(instance);
  for (const { epoch, claims } of lives.filter((life) => isOwn(life.epoch)).toReversed()) {
    const epochs = [epoch, ...claims.map((claim) => claim.epoch)].filter((one) => (tasksOf.get(one) ?? []).length > 0);
    if (epochs.length > 0) return { kind: 'own', epochs, tasks: unionOf(epochs, tasksOf), isFinishing: false };
  }
  return undefined;
}

/** The tasks that a life has as far as the best entry of each: while it lives nothing of them is lost. */
function heldBy({ bestOf }: Scene, { tasks }: Life): readonly string[] {
  const held = tasks.filter((summary) => {
    const best = bestOf.get(summary.task);
    return best !== undefined && !isFurther(best, summary);
  });
  return held.map(({ task }) => task);
}

/** By epoch, what its newest document holds that may be restored; the global stores are nobody's. */
function indexTasks({ lives, bestOf }: Scene): ReadonlyMap<string, readonly string[]> {
  return new Map(
    lives.map(({ epoch, tasks }) => [
      epoch,
      tasks.map(({ task }) => task).filter((task) => task !== GLOBAL_TASK && bestOf.has(task)),
    ]),
  );
}

function unionOf(epochs: readonly string[], tasksOf: ReadonlyMap<string, readonly string[]>): readonly string[] {
  return [...new Set(epochs.flatMap((epoch) => tasksOf.get(epoch) ?? []))];
}

/** Nobody takes it from whoever claims it. */
function isFirm({ kind, isSettled }: Claim): boolean {
  return kind === 'own' || isSettled;
}

/** Pods that start together begin in different places. */
function placeOf(epoch: string, chooser: string): string {
  return (
    createHash('sha256')
      .update(`${instanceOf(epoch)} ${chooser}`)
      .digest('hex') + epoch
  );
}

function instanceOf(epoch: string): string {
  return parseEpoch(epoch)?.instance ?? epoch;
}
