import { describeBytes } from '../base/quantity.ts';
import { best, hasEqualOffsets, type Offer, ranked, type Terms, whyNot } from '../repository/best.ts';
import type { Layout } from '../repository/document.ts';
import type { Taint } from '../repository/record.ts';
import type { InstalledTask } from '../repository/restore-result.ts';
import type { Verdict } from '../streams/quality.ts';
import type { Explanation } from '../streams/reason.ts';
import { compareTasks } from '../streams/state-directory.ts';

/** An entry of a task as a snapshot offers it. */
export interface OfferedEntry extends Offer {
  readonly task: string;
  readonly capturedAtMs: number;
  /** The snapshot that took its bytes: entries that were carried forward from it share them. */
  readonly capturedBy: string;
  /** Of the topics that it is of, as far as they were known. */
  readonly topicIds?: ReadonlyMap<string, string> | undefined;
  /** Of its files, unpacked. */
  readonly sizeBytes: number;
}

/** A task directory that lies on the volume already. */
export interface LocalTask {
  readonly task: string;
  /** What it is worth for this application; refused where nobody should go on from it. */
  readonly verdict: Verdict;
  readonly offsets: ReadonlyMap<string, bigint>;
  /** Of the topics that it is known to be of, by an entry of this very directory. */
  readonly topicIds?: ReadonlyMap<string, string> | undefined;
  /** Changelog partitions that its checkpoint names without an offset: these stores are still being filled. */
  readonly unfilled: ReadonlySet<string>;
  /** By the store's clock. */
  readonly stateTimeMs: number | undefined;
  readonly sizeBytes: number;
  /** Of this directory, where an exactly-once application that is started over it would go on with aborted writes (Q6). */
  readonly taint: Taint | undefined;
  /** What an earlier restore installed here, while the application was not yet seen to live with it. */
  readonly onTrial: InstalledTask | undefined;
  /** Why it must not stay: the application cannot open it or failed on it, a fence withdrew it, or it is of other topics. */
  readonly quarantine: Explanation | undefined;
  /** In which layout an application left it; undefined where none has opened it since it was installed, or nobody can tell. */
  readonly leftIn: Layout | undefined;
}

export interface PlanTerms extends Terms<OfferedEntry> {
  readonly selection: { readonly kind: 'all' | 'none' } | { readonly kind: 'list'; readonly tasks: readonly string[] };
  /** What all tasks that are installed may take together. */
  readonly bytesMax: number;
}

/** What is to be done with one task, and why not something better. */
export type TaskPlan =
  | {
      readonly kind: 'warm';
      readonly task: string;
      readonly offer: OfferedEntry;
      readonly why: Explanation | undefined;
    }
  | { readonly kind: 'local'; readonly task: string; readonly local: LocalTask; readonly why: Explanation | undefined }
  | { readonly kind: 'cold'; readonly task: string; readonly why: Explanation };

/**
 * Versions go forward only: Kafka Streams 4.3 and later migrate every task at their start, so whatever left a task in the
 * file layout is older, and does not open what they wrote.
 */
export function objectToNewerLayout(locals: readonly LocalTask[]): PlanTerms['objection'] {
  const old = locals.find(({ leftIn }) => leftIn === 'file');
  return ({ layout }) => {
    if (old === undefined || layout === 'file') return undefined;
    const message =
      `its layout is ${layout}, and ${old.task} lies on the volume as Kafka Streams up to 4.2 leaves it: ` +
      'that application could not open it';
    return { reason: 'layout_too_new', message };
  };
}

/** What becomes of a task that cannot be made warm: what lies on the volume stays if it is worth something. */
export function withoutOffer(task: string, local: LocalTask | undefined, why: Explanation): TaskPlan {
  return local !== undefined && mayStay(local) ? { kind: 'local', task, local, why } : { kind: 'cold', task, why };
}

/** Decides for every task that is offered, named or on the volume; in the order of the tasks. */
export function planRestore(
  offers: readonly OfferedEntry[],
  locals: readonly LocalTask[],
  terms: PlanTerms,
): readonly TaskPlan[] {
  const offersOf = Map.groupBy(offers, ({ task }) => task);
  const localOf = new Map(locals.map((local) => [local.task, local]));
  const named = terms.selection.kind === 'list' ? terms.selection.tasks : [];
  const tasks = [...new Set([...offersOf.keys(), ...localOf.keys(), ...named])].sort(compareTasks);
  const plans = tasks.map((task) =>
    planTask(task, { offers: offersOf.get(task) ?? [], local: localOf.get(task), terms }),
  );
  return withinSpace(plans, localOf, terms.bytesMax);
}

function planTask(
  task: string,
  given: { readonly offers: readonly OfferedEntry[]; readonly local: LocalTask | undefined; readonly terms: PlanTerms },
): TaskPlan {
  const { offers, local, terms } = given;
  if (!isSelected(task, terms.selection)) {
    const why: Explanation = { reason: 'not_selected', message: 'it is not among --tasks' };
    if (local?.quarantine?.reason === 'forgotten') return { kind: 'cold', task, why: local.quarantine };
    return local === undefined ? { kind: 'cold', task, why } : { kind: 'local', task, local, why };
  }
  const offer = firstOf(ranked(offers, terms));
  if (local !== undefined && mayStay(local) && isBetterLocally(local, offer, terms))
    return { kind: 'local', task, local, why: undefined };
  if (offer !== undefined) return { kind: 'warm', task, offer, why: passedOver(offers, offer, terms) };
  const isOnlyHere = local?.verdict.kind === 'refused' && offers.length === 0;
  return { kind: 'cold', task, why: local?.quarantine ?? (isOnlyHere ? local.verdict.why : whyNothing(offers, terms)) };
}

function mayStay({ verdict, quarantine }: LocalTask): boolean {
  return verdict.kind === 'valid' && quarantine === undefined;
}

function isSelected(task: string, selection: PlanTerms['selection']): boolean {
  if (selection.kind === 'list') return selection.tasks.includes(task);
  return selection.kind !== 'none';
}

/** What lies on the volume costs nothing; it stays unless an offer is better. */
function isBetterLocally(local: LocalTask, offer: OfferedEntry | undefined, terms: PlanTerms): boolean {
  if (offer === undefined || hasEqualOffsets(local, offer)) return true;
  if (local.verdict.kind === 'refused') return false;
  // Half filled from its changelogs, it has another set of them only for now.
  if ([...offer.offsets.keys()].some((changelog) => local.unfilled.has(changelog))) return false;
  const standing = { quality: local.verdict.quality, offsets: local.offsets, stateTimeMs: local.stateTimeMs ?? 0 };
  // Of a process that is gone; no name of an epoch sorts after it.
  const here = { ...offer, ...standing, epoch: '~', n: 0, lives: false };
  return best([offer, here], { ...terms, objection: () => undefined }) === here;
}

/** The newest offer that was passed over for this one, if any was. */
function passedOver(offers: readonly OfferedEntry[], chosen: OfferedEntry, terms: PlanTerms): Explanation | undefined {
  const [newest] = offers.filter((offer) => offer.stateTimeMs > chosen.stateTimeMs).sort(youngestFirst);
  return newest === undefined ? undefined : whyNot(newest, terms);
}

function whyNothing(offers: readonly OfferedEntry[], terms: PlanTerms): Explanation {
  const [newest] = [...offers].sort(youngestFirst);
  const why = newest === undefined ? undefined : whyNot(newest, terms);
  return why ?? { reason: 'nothing_stored', message: 'the repository has nothing of it' };
}

function youngestFirst(left: OfferedEntry, right: OfferedEntry): number {
  return right.stateTimeMs - left.stateTimeMs;
}

/** Tasks that no longer fit are left as they are; smaller ones after them may still fit. */
function withinSpace(
  plans: readonly TaskPlan[],
  localOf: ReadonlyMap<string, LocalTask>,
  bytesMax: number,
): readonly TaskPlan[] {
  let leftBytes = bytesMax;
  return plans.map((plan) => {
    if (plan.kind !== 'warm') return plan;
    const { sizeBytes } = plan.offer;
    if (sizeBytes <= leftBytes) {
      leftBytes -= sizeBytes;
      return plan;
    }
    const message = `it has ${describeBytes(sizeBytes)}, and ${describeBytes(leftBytes)} are left of what may be restored (--max-bytes, --state-dir-limit, free space)`;
    return withoutOffer(plan.task, localOf.get(plan.task), { reason: 'no_space', message });
  });
}

function firstOf<T>(items: Iterable<T>): T | undefined {
  for (const item of items) return item;
  return undefined;
}
