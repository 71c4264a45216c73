import { compareEpochs, epochsOf } from '../repository/keys.ts';
import type { Claim } from '../repository/record.ts';
import type { Explanation } from '../streams/reason.ts';
import { GLOBAL_TASK } from '../streams/state-directory.ts';
import { type Claimant, instanceOf, isFirm, type Scene, unionOf, type View, viewOf } from './scene.ts';
import { fairShare } from './share.ts';
import { isAnnounced, Table } from './table.ts';

/** Whoever chooses. */
export interface Chooser {
  /** Of its restore. */
  readonly epoch: string;
  readonly instance: string;
  readonly appVersion: string | undefined;
  /** As its record has them by now. */
  readonly claims: readonly Claim[];
  /** Epochs of which it could restore nothing. */
  readonly futile: readonly string[];
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
 */
export function chooseNext(scene: Scene, me: Chooser): Choice | undefined {
  const view = viewOf(scene, me.instance);
  const own = me.claims.length === 0 ? findOwn(view, me.instance) : undefined;
  return own ?? chooseOfOthers(view, me);
}

/**
 * R2. What is in place is taken. What was announced is kept, by the smaller epoch where two announced it: others have looked
 * elsewhere for its sake, so it is never let go of for less. Whoever lost what it announced, and has nothing, chooses anew in
 * the order of epochs: those who see the same choose differently.
 */
function chooseOfOthers(view: View, me: Chooser): Choice | undefined {
  const table = new Table(view);
  const share = fairShare(view.scene, me.replicas);
  const pending = view.claimants.filter(({ isPending }) => isPending);
  const before = pending.filter(({ epoch }) => compareEpochs(epoch, me.epoch) < 0);
  for (const other of view.claimants) for (const claim of other.claims.filter(isFirm)) table.take(claim, other);
  for (const claim of me.claims.filter(isFirm)) table.take(claim);
  table.note(pending.flatMap(({ claims }) => claims));

  const losers = before.filter((other) => {
    const kept = table.findAnnounced(other);
    if (kept !== undefined) table.takeAll(kept);
    return kept === undefined && !other.claims.some(isFirm);
  });
  const kept = table.findAnnounced(me);
  if (kept !== undefined) return kept;
  // Whoever has something is about to end: it leaves nothing to others that they did not announce.
  for (const loser of me.claims.some(isFirm) ? [] : losers) {
    const choice = table.findOrphans(loser, ANY_SIZE) ?? table.findCopy(loser, HOWEVER_OFTEN);
    if (choice !== undefined) table.takeAll(choice);
  }

  table.remove(me.present);
  const has = standingOf(view, me);
  const adopted = has.size < share ? table.findOrphans(me, roomFor(me, share - has.size)) : undefined;
  if (adopted !== undefined) return adopted;
  if (has.size === 0 && !me.claims.some(isFirm)) return table.findCopy(me, HOWEVER_OFTEN);
  return has.size === 0 && hasCopiedInVain(view, me) ? table.findCopy(me, NEVER_YET) : undefined;
}

const ANY_SIZE = { roomMax: Number.POSITIVE_INFINITY };
const HOWEVER_OFTEN = { copiesMax: Number.POSITIVE_INFINITY };
const NEVER_YET = { copiesMax: 0 };

/** The last one may go beyond the share, or some would be left over; unless its neighbours come back to what they had as well. */
function roomFor({ present, claims }: Chooser, room: number): { readonly roomMax: number } {
  const comesBack = present.length > 0 || claims.some(({ kind }) => kind === 'own');
  return comesBack ? { roomMax: room } : ANY_SIZE;
}

/** Of what a pod has, the tasks that count for its share: what nobody else has, or had a better claim to. */
function standingOf({ held, tasksOf, claimants }: View, me: Chooser): ReadonlySet<string> {
  const beaten = new Set(held.keys());
  for (const other of claimants.filter(({ isPending }) => isPending)) {
    const better = other.claims.filter(({ kind }) => kind === 'own' || (kind === 'adopted' && wasFirst(other, me)));
    for (const { epoch } of better) for (const task of tasksOf.get(epoch) ?? []) beaten.add(task);
  }
  const standing = me.claims.filter(isFirm).flatMap(({ kind, epoch }) => {
    const tasks = kind === 'copied' ? [] : (tasksOf.get(epoch) ?? []);
    return kind === 'own' ? tasks : tasks.filter((task) => !beaten.has(task));
  });
  const has = new Set([...me.present, ...standing]);
  has.delete(GLOBAL_TASK);
  return has;
}

/** Somebody else was first with all that it copied: what nobody has copied is worth a second one. */
function hasCopiedInVain({ claimants }: View, me: Chooser): boolean {
  return me.claims
    .filter(isFirm)
    .every(
      ({ kind, epoch }) =>
        kind === 'copied' &&
        claimants.some((other) => wasFirst(other, me) && isAnnounced({ kind, epochs: [epoch] }, other.claims)),
    );
}

/** Who has ended does not choose again: whoever has the same and still can must. */
function wasFirst({ epoch, hasEnded }: Claimant, me: Chooser): boolean {
  return hasEnded || compareEpochs(epoch, me.epoch) < 0;
}

/** What an instance goes on with under its own name; also what its restore before had claimed and did not get to publish. */
function findOwn(view: View, instance: string): Choice | undefined {
  const isOwn = epochsOf(instance);
  for (const { epoch, claims } of view.scene.lives.filter((life) => isOwn(life.epoch)).toReversed()) {
    const epochs = [epoch, ...claims.map((claim) => claim.epoch)].filter((one) => unionOf([one], view).length > 0);
    if (epochs.length > 0) return { kind: 'own', epochs, tasks: unionOf(epochs, view), isFinishing: false };
  }
  return undefined;
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
