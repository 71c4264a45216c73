import { formatDuration } from '../base/quantity.ts';
import type { Guarantee, Quality } from '../streams/quality.ts';
import type { Explanation } from '../streams/reason.ts';
import type { Entry, Layout } from './document.ts';
import { compareSnapshotNames } from './keys.ts';

/** An entry as one document offers it. `TaskSummary` and `Entry` have what is not about that document. */
export interface Offer {
  readonly quality: Quality;
  readonly layout: Layout;
  readonly stateTimeMs: number;
  readonly offsets: ReadonlyMap<string, bigint>;
  /** The document that offers it. */
  readonly epoch: string;
  readonly n: number;
  /** Whether that epoch is still at work. */
  readonly lives: boolean;
}

/** Under which terms offers are compared. */
export interface Terms<T extends Offer = Offer> {
  /** By the store's clock. */
  readonly nowMs: number;
  readonly maxAgeMs: number;
  /** What whoever wants the state says of the application. */
  readonly guarantee: Guarantee;
  readonly layoutMax: Layout;
  /** Where brokers say that nothing was written since: it has no age. */
  readonly isCurrent?: (offer: T) => boolean;
  /** Whatever else speaks against an offer: damage that was found, say. */
  readonly objection: (offer: T) => Explanation | undefined;
}

/** An owner that was fenced off may go on writing for about so long: the default of `max.poll.interval.ms`. */
const ZOMBIE_MS_MAX = 5 * 60_000;

/** What is closed together is closed within so long. */
const ABOUT_MS = 5 * 60_000;

const QUALITY_RANK: Readonly<Record<Quality, number>> = { clean: 0, transactional: 1, live: 2 };
const LAYOUT_RANK: Readonly<Record<Layout, number>> = { file: 0, 'column-family': 1 };

/**
 * The best of several offers of one task; carrying, selecting and keeping all ask here. Of those that may be
 * restored now, or of all if none may:
 * - unless exactly-once fences producers, one of a dead epoch steps back behind one of a living epoch with the same
 *   changelogs that is at most five minutes older: an owner that lost its task may be ahead and still lack records;
 * - one is dropped that another with the same changelogs is at least as far as everywhere and further somewhere;
 *   offsets of different topics are never added up;
 * - and one that another with all its changelogs and more is nowhere behind, if that is at most five minutes older: a standby that has
 *   not begun one of its stores;
 * - of the rest the younger state time wins, then `clean` before `transactional` before `live`, then the newer document.
 */
export function best<T extends Offer>(offers: readonly T[], terms: Terms<T>): T | undefined {
  const admissible = offers.filter((offer) => whyNot(offer, terms) === undefined);
  const candidates = admissible.length > 0 ? admissible : offers;
  const standing = terms.guarantee === 'exactly_once_v2' ? candidates : withoutZombies(candidates);
  const inOrder = [...standing].sort(compareStanding);
  return inOrder.find((offer) => !standing.some((other) => isFurther(other, offer) || isFuller(other, offer)));
}

/** The offers that may be restored now, best first: each next one is the best without those before it. */
export function* ranked<T extends Offer>(offers: readonly T[], terms: Terms<T>): Generator<T, void> {
  let left = offers.filter((offer) => whyNot(offer, terms) === undefined);
  for (let next = best(left, terms); next !== undefined; next = best(left, terms)) {
    yield next;
    const taken = next;
    left = left.filter((offer) => offer !== taken);
  }
}

/** Why an offer may not be restored now, or undefined when it may. */
export function whyNot<T extends Offer>(offer: T, terms: Terms<T>): Explanation | undefined {
  const objection = terms.objection(offer);
  if (objection !== undefined) return objection;
  const ageMs = terms.nowMs - offer.stateTimeMs;
  if (ageMs > terms.maxAgeMs && terms.isCurrent?.(offer) !== true) {
    return {
      reason: 'too_old',
      message: `its state is ${inSeconds(ageMs)} old, at most ${inSeconds(terms.maxAgeMs)} is allowed`,
    };
  }
  if (offer.quality === 'live' && terms.guarantee !== 'at_least_once') {
    return {
      reason: 'guarantee_unknown',
      message: `it was captured live, which is allowed under at_least_once alone, not under ${terms.guarantee}`,
    };
  }
  if (LAYOUT_RANK[offer.layout] > LAYOUT_RANK[terms.layoutMax]) {
    return {
      reason: 'layout_too_new',
      message: `its layout is ${offer.layout}, at most ${terms.layoutMax} is allowed`,
    };
  }
  return undefined;
}

/**
 * What a document says of a task that was captured again, while `previous` is what the document before says: the
 * better one. Equal offsets never replace the files of an entry of the same or better quality, and never make it
 * younger. A changed set of stores is another topology: what was captured last is then the truth.
 */
export function chooseCarried(previous: Entry, captured: Entry, terms: Omit<Terms, 'objection'>): Entry {
  if (!hasSameStores(previous, captured)) return captured;
  if (hasEqualOffsets(previous, captured)) {
    const isBetter = QUALITY_RANK[captured.quality] < QUALITY_RANK[previous.quality];
    return isBetter ? keepStateTime(captured, previous) : previous;
  }
  // Both are of this instance: age alone tells them apart from here.
  const offers = [previous, captured].map((entry, n) => ({ ...entry, entry, epoch: '', n, lives: true }));
  return best(offers, { ...terms, objection: () => undefined })?.entry ?? captured;
}

/**
 * `captured` with the state time of what it made no progress over: starts, clean closes and 4.3's opening of every
 * directory rewrite files without any (A2).
 */
export function keepStateTime<T extends Pick<Offer, 'offsets' | 'stateTimeMs'>>(
  captured: T,
  over: Pick<Offer, 'offsets' | 'stateTimeMs'>,
): T {
  if (hasProgressed(captured, over) || over.stateTimeMs >= captured.stateTimeMs) return captured;
  return { ...captured, stateTimeMs: over.stateTimeMs };
}

/** Whether any changelog stands elsewhere than it stood. That some are gone, as with another set of stores, is no progress. */
export function hasProgressed(one: Pick<Offer, 'offsets'>, over: Pick<Offer, 'offsets'>): boolean {
  return one.offsets.entries().some(([changelog, offset]) => over.offsets.get(changelog) !== offset);
}

export function hasEqualOffsets(left: Pick<Offer, 'offsets'>, right: Pick<Offer, 'offsets'>): boolean {
  return isAtLeastAsFar(left, right) && isAtLeastAsFar(right, left);
}

/** The same changelogs, nowhere behind, somewhere ahead. */
export function isFurther(one: Pick<Offer, 'offsets'>, other: Pick<Offer, 'offsets'>): boolean {
  return isAtLeastAsFar(one, other) && !isAtLeastAsFar(other, one);
}

/**
 * All its changelogs and more, nowhere behind, of about its time, and no zombie beside it. One that is much younger may be of a
 * topology with fewer stores.
 */
function isFuller(one: Offer, other: Offer): boolean {
  return (
    one.offsets.size > other.offsets.size &&
    isNowhereBehind(one, other) &&
    other.stateTimeMs - one.stateTimeMs <= ABOUT_MS &&
    (one.lives || !other.lives)
  );
}

function isAtLeastAsFar(one: Pick<Offer, 'offsets'>, other: Pick<Offer, 'offsets'>): boolean {
  return one.offsets.size === other.offsets.size && isNowhereBehind(one, other);
}

/** Has all changelogs of the other one, and perhaps more. */
function isNowhereBehind(one: Pick<Offer, 'offsets'>, other: Pick<Offer, 'offsets'>): boolean {
  return other.offsets.entries().every(([changelog, offset]) => (one.offsets.get(changelog) ?? offset - 1n) >= offset);
}

function withoutZombies<T extends Offer>(offers: readonly T[]): readonly T[] {
  const youngestAlive = new Map<string, number>();
  for (const offer of offers.filter((each) => each.lives)) {
    const set = changelogsOf(offer);
    youngestAlive.set(set, Math.max(offer.stateTimeMs, youngestAlive.get(set) ?? offer.stateTimeMs));
  }
  return offers.filter((offer) => {
    const aliveMs = youngestAlive.get(changelogsOf(offer));
    return offer.lives || aliveMs === undefined || offer.stateTimeMs - aliveMs > ZOMBIE_MS_MAX;
  });
}

function changelogsOf(offer: Offer): string {
  return [...offer.offsets.keys()].sort().join(' ');
}

function compareStanding(left: Offer, right: Offer): number {
  return (
    right.stateTimeMs - left.stateTimeMs ||
    QUALITY_RANK[left.quality] - QUALITY_RANK[right.quality] ||
    compareSnapshotNames(right, left)
  );
}

function hasSameStores(left: Entry, right: Entry): boolean {
  const names = new Set(left.stores.map((store) => store.name));
  return names.size === right.stores.length && right.stores.every((store) => names.has(store.name));
}

function inSeconds(ms: number): string {
  return formatDuration(Math.round(ms / 1000) * 1000);
}
