import { compareEpochs, formatSnapshotName } from './keys.ts';
import type { EpochRecord } from './record.ts';
import type { ListedDocument } from './repository.ts';

/** What retention decides from: names and ages in a repository, all by the store's clock. */
export interface RetentionView {
  readonly storeTimeMs: number;
  readonly documents: readonly ListedDocument[];
  readonly records: readonly ListedRecord[];
  /** What records say may be more, never less. */
  readonly maxAgeMs: number;
  readonly keepWithinMs: number;
}

export interface ListedRecord {
  readonly epoch: string;
  readonly modifiedMs: number;
  readonly sizeBytes: number;
  /** Undefined where it is rotten or of a newer format. */
  readonly record: EpochRecord | undefined;
}

/** Why something stays. */
export type KeepReason =
  /** The newest document of an epoch that lives. */
  | 'newest_alive'
  /** The newest of one that is dead, but not for so long that nothing of it could be restored or read. */
  | 'newest_young'
  /** Its successor is young: somebody may still read it. */
  | 'superseded_lately'
  /** A root refers to it. */
  | 'referenced'
  /** It may be part of a document that is still to come. */
  | 'young'
  /** Of an epoch that is not gone, or that such a one came after. */
  | 'record'
  /** Nobody knows what leans on it: something beside it cannot be read. */
  | 'unreadable'
  /** None of ours. */
  | 'foreign';

export interface RetentionPlan {
  /** Documents that somebody may restore from, read or lean on, by name. */
  readonly roots: ReadonlyMap<string, KeepReason>;
  readonly leaving: readonly ListedDocument[];
  /** Epochs whose records go, once their documents are gone. */
  readonly leavingRecords: readonly ListedRecord[];
  /** In force: the largest of all. */
  readonly maxAgeMs: number;
  readonly keepWithinMs: number;
  /** A record that cannot be read may be of somebody at work: nothing goes. */
  readonly isBlind: boolean;
}

/** Some stores know whole seconds only, and round the two times that an age is made of differently. */
const ROUNDING_MS = 2000;

/**
 * G3 and G4 for documents and records. A record that cannot be read may be of a process with longer settings, or that
 * leans on what nobody knows: as long as it may be in force nothing goes at all.
 */
export function planRetention(view: RetentionView): RetentionPlan {
  const known = view.records.flatMap(({ record }) => record ?? []);
  const maxAgeMs = Math.max(view.maxAgeMs, ...known.map((record) => record.maxAgeMs));
  const keepWithinMs = Math.max(view.keepWithinMs, ...known.map((record) => record.keepWithinMs ?? 0));
  const horizonMs = maxAgeMs + keepWithinMs;
  const isOlder = (modifiedMs: number, ms: number): boolean => view.storeTimeMs - modifiedMs > ms + ROUNDING_MS;

  const inForce = { maxAgeMs, keepWithinMs };
  const isUnknown = ({ record, modifiedMs }: ListedRecord): boolean =>
    record === undefined && !isOlder(modifiedMs, horizonMs);
  if (view.records.some(isUnknown)) {
    const all = view.documents.map(({ name }) => [formatSnapshotName(name), 'unreadable'] as const);
    return { ...inForce, roots: new Map(all), leaving: [], leavingRecords: [], isBlind: true };
  }

  // A pod that was cut off for some minutes is not gone: its newest document serves it when it is back.
  const alive = new Set(
    view.records
      .filter(({ record, modifiedMs }) => record?.state !== 'sealed' && !isOlder(modifiedMs, keepWithinMs))
      .map(({ epoch }) => epoch),
  );
  const roots = new Map<string, KeepReason>();
  const leaving: ListedDocument[] = [];
  for (const [epoch, ofEpoch] of Map.groupBy(view.documents, ({ name }) => name.epoch)) {
    const inOrder = ofEpoch.toSorted((left, right) => left.name.n - right.name.n);
    for (const [index, document] of inOrder.entries()) {
      const successor = inOrder[index + 1];
      const why = whyKept({ document, successor, isAlive: alive.has(epoch) });
      if (why === undefined) leaving.push(document);
      else roots.set(formatSnapshotName(document.name), why);
    }
  }
  return { ...inForce, roots, leaving, leavingRecords: leavingRecords(view.records, roots, isGone), isBlind: false };

  function whyKept(of: {
    readonly document: ListedDocument;
    readonly successor: ListedDocument | undefined;
    readonly isAlive: boolean;
  }): KeepReason | undefined {
    const { document, successor, isAlive } = of;
    if (successor !== undefined) return isOlder(successor.modifiedMs, keepWithinMs) ? undefined : 'superseded_lately';
    if (isAlive) return 'newest_alive';
    return isOlder(document.modifiedMs, horizonMs) ? undefined : 'newest_young';
  }

  function isGone({ modifiedMs }: ListedRecord): boolean {
    return isOlder(modifiedMs, horizonMs);
  }
}

/** Trials outlive documents: a record goes when it has been silent for as long as anything it speaks of may be offered. */
function leavingRecords(
  records: readonly ListedRecord[],
  roots: ReadonlyMap<string, KeepReason>,
  isGone: (record: ListedRecord) => boolean,
): readonly ListedRecord[] {
  const withDocuments = new Set([...roots.keys()].map((name) => name.slice(0, name.lastIndexOf('/'))));
  const kept = new Map<string, ListedRecord>();
  const keep = (one: ListedRecord | undefined): void => {
    if (one === undefined || kept.has(one.epoch)) return;
    kept.set(one.epoch, one);
    keep(byEpoch.get(one.record?.after ?? ''));
  };
  const byEpoch = new Map(records.map((one) => [one.epoch, one]));
  for (const one of records) if (withDocuments.has(one.epoch) || !isGone(one)) keep(one);
  return records.filter(({ epoch }) => !kept.has(epoch)).sort((left, right) => compareEpochs(left.epoch, right.epoch));
}

/** G4 for an object: whether it is too old to be part of a document that is still to come. */
export function isPastUse(
  object: { readonly modifiedMs: number },
  at: { readonly storeTimeMs: number; readonly keepWithinMs: number },
): boolean {
  return at.storeTimeMs - object.modifiedMs > at.keepWithinMs + ROUNDING_MS;
}
