import { best } from '../../../src/repository/best.ts';
import { type Entry, filesOfEntry } from '../../../src/repository/document.ts';
import { formatSnapshotName } from '../../../src/repository/keys.ts';
import type { Cluster } from './cluster.ts';
import { partitionOf, topicOf } from './cluster.ts';
import type { TableContents } from './database.ts';
import { mergeTables } from './database.ts';
import type { RepositoryWatch } from './repository-watch.ts';

/** An entry that a restore may choose, as things stand. */
export interface Offered {
  readonly entry: Entry;
  /** Whether its writer stands by it: what it believes to have failed is promised to nobody. */
  readonly isPromised: boolean;
  readonly epoch: string;
  readonly n: number;
}

/** What was offered once, and is to be offered, or better, until it is too old. */
interface Promised extends Offered {
  readonly history: number;
}

export interface View {
  readonly cluster: Cluster;
  readonly watch: RepositoryWatch;
  readonly contents: TableContents;
  readonly nowMs: number;
  /** The least of all pods: what is older than that for one of them is restored by nobody. */
  readonly maxAgeMs: number;
  /** The least of all that may write, also for pods that are gone: what is older than that is promised to nobody. */
  readonly promisedMs: number;
}

/** Looks at all that is offered, whenever that may have changed. Each of its findings is a sentence about what went wrong. */
export class Invariants {
  /** By what decides it; the hour because deletions are forgotten with time. */
  readonly #judged = new Map<string, string | undefined>();
  #promises: readonly Promised[] = [];
  /** Entries that were offered while the topology was another one, by task and capture. */
  readonly #outdated = new Set<string>();
  readonly #choose: typeof best;

  /** `choose` as a restore does, unless that is to go wrong on purpose. */
  constructor(choose: typeof best = best) {
    this.#choose = choose;
  }

  /** The first thing that must not be, or undefined. */
  find(view: View): string | undefined {
    const offered = listOffered(view);
    return (
      view.watch.faults[0] ??
      named('no object goes that a document needs', view.watch.findDangling()) ??
      named('what is offered is true', this.#findUntrue(offered, view)) ??
      named('nothing hides a better one', findHidden(offered, view, this.#choose)) ??
      named('nothing offered disappears before its time', this.#findLost(offered, view))
    );
  }

  /** Those of a history that is over, or of a topology that is. */
  forget(): void {
    this.#promises = [];
  }

  #findUntrue(offered: readonly Offered[], view: View): string | undefined {
    for (const { entry, epoch, n } of offered) {
      const { task, capturedBy, quality } = entry;
      const history = view.cluster.changelogsOf(task)[0]?.history ?? 0;
      const key = [task, capturedBy, quality, history, entry.stateTimeMs, Math.floor(view.nowMs / 3_600_000)].join(' ');
      if (!this.#judged.has(key)) this.#judged.set(key, findFault(entry, view));
      const fault = this.#judged.get(key);
      if (fault !== undefined)
        return `${task} of ${formatSnapshotName({ epoch, n })}, captured by ${capturedBy}: ${fault}`;
    }
    return undefined;
  }

  #findLost(offered: readonly Offered[], view: View): string | undefined {
    const { cluster, watch, nowMs } = view;
    for (const { entry } of offered) if (!isOfToday(entry, cluster)) this.#outdated.add(nameOf(entry));
    const standing = this.#promises.filter(
      ({ entry, epoch, n, ...promise }) =>
        nowMs - entry.stateTimeMs <= view.promisedMs &&
        isOfToday(entry, cluster) &&
        promise.history === cluster.changelogsOf(entry.task)[0]?.history &&
        !watch.isWithdrawn(entry, { epoch, n }) &&
        !isTaken(entry, watch) &&
        !this.#outdated.has(nameOf(entry)) &&
        !offered.some((other) => other.epoch === epoch && takesPlace(other.entry, entry)),
    );
    const offers = offered.map(({ entry }) => entry);
    const gone = standing.filter(({ entry }) => !isThere(entry, offers));
    // What came in its place was taken by a lifecycle rule: the promise went with that.
    const taken = gone.length === 0 ? [] : entriesOf(watch).filter((entry) => isTaken(entry, watch));
    const lost = gone.find(({ entry }) => !isThere(entry, taken));
    const now = offered.map((one) => ({
      ...one,
      history: cluster.changelogsOf(one.entry.task)[0]?.history ?? 0,
    }));
    const old = standing.filter(
      ({ entry }) =>
        !isThere(entry, taken) &&
        !now.some(
          (other) =>
            other.entry.task === entry.task &&
            isAtLeastAsFar(other.entry, entry) &&
            other.entry.stateTimeMs >= entry.stateTimeMs,
        ),
    );
    this.#promises = [
      ...old,
      ...now.filter(({ isPromised, entry }) => isPromised && !this.#outdated.has(nameOf(entry))),
    ];
    if (lost === undefined) return undefined;
    const { entry, epoch, n } = lost;
    return `${entry.task} at ${describeOffsets(entry)} of ${formatSnapshotName({ epoch, n })} is offered no more, nor is anything as far`;
  }
}

/**
 * Whether one that was captured in the place of another may have replaced it, though it is not as far everywhere: offsets of
 * different changelogs are never added up, and of what is ahead here and behind there the younger is the better one (`best`).
 */
function takesPlace(one: Entry, other: Entry): boolean {
  return (
    one.task === other.task &&
    one.offsets.size === other.offsets.size &&
    one.stateTimeMs > other.stateTimeMs &&
    [...other.offsets.keys()].every((changelog) => one.offsets.has(changelog)) &&
    [...other.offsets].some(([changelog, offset]) => (one.offsets.get(changelog) ?? -1n) > offset)
  );
}

/** Or something as far. */
function isThere(entry: Entry, among: readonly Entry[]): boolean {
  return among.some((other) => other.task === entry.task && isAtLeastAsFar(other, entry));
}

function entriesOf(watch: RepositoryWatch): readonly Entry[] {
  return watch.newest().flatMap(({ document }) => document.entries);
}

/** Whether a lifecycle rule took some of it. */
function isTaken(entry: Entry, watch: RepositoryWatch): boolean {
  return filesOfEntry(entry).some(({ objects }) => objects.some(({ key }) => watch.expired.has(key)));
}

function nameOf({ task, capturedBy }: Entry): string {
  return `${task} ${capturedBy}`;
}

/** Whether it has every store of the topology of today that has anything, and no other: another one is another truth. */
function isOfToday(entry: Entry, cluster: Cluster): boolean {
  const filled = cluster.changelogsOf(entry.task).filter(({ lastCommitted }) => lastCommitted >= 0);
  const topics = new Set(filled.map(({ store }) => `${topicOf(store)}-${partitionOf(entry.task)}`));
  return topics.size === entry.offsets.size && [...entry.offsets.keys()].every((topic) => topics.has(topic));
}

/** By an independent reading of docs/format.md: what lies in the newest documents, young enough and not withdrawn. */
export function listOffered({
  watch,
  nowMs,
  maxAgeMs,
}: Pick<View, 'watch' | 'nowMs' | 'maxAgeMs'>): readonly Offered[] {
  return watch
    .newest()
    .flatMap(({ key, document: { entries, epoch, n } }) =>
      entries
        .filter((entry) => nowMs - entry.stateTimeMs <= maxAgeMs && !watch.isWithdrawn(entry, { epoch, n }))
        .map((entry) => ({ entry, epoch, n, isPromised: watch.isAcknowledged(key) })),
    );
}

/** What is wrong with the state that an entry restores to. */
function findFault(
  entry: Entry,
  { cluster, contents, nowMs }: Pick<View, 'cluster' | 'contents' | 'nowMs'>,
): string | undefined {
  if (entry.quality === 'live' && cluster.isExactlyOnce) return 'it is live, and the application is exactly-once';
  for (const store of cluster.stores) {
    const offset = entry.offsets.get(`${topicOf(store.name)}-${partitionOf(entry.task)}`);
    const stored = entry.stores.find(({ name }) => name === store.name);
    if (offset === undefined) {
      if (stored !== undefined) return `${store.name} has no offset`;
      continue;
    }
    if (stored === undefined) return `${store.name} has an offset and no files`;
    const tables = stored.files.map(({ sha256 }) => contents.withHash(sha256) ?? []);
    const claim = { offset: Number(offset), isExact: entry.quality === 'clean', nowMs };
    const fault = cluster.changelog(entry.task, store.name).findFault(mergeTables(tables), claim);
    if (fault !== undefined) return fault;
  }
  return undefined;
}

/** What a restore would choose is behind nothing else that is offered, but for a living owner's word (see `best`). */
function findHidden(offered: readonly Offered[], { nowMs, maxAgeMs }: View, choose: typeof best): string | undefined {
  for (const [task, ofTask] of Map.groupBy(offered, ({ entry }) => entry.task)) {
    const offers = ofTask.map((one) => ({ ...one.entry, ...one, lives: true }));
    const chosen = choose(offers, {
      nowMs,
      maxAgeMs,
      guarantee: 'at_least_once',
      layoutMax: 'column-family',
      objection: () => undefined,
    });
    const better = offers.find(
      (one) =>
        chosen !== undefined &&
        one.offsets.size === chosen.offsets.size &&
        isAtLeastAsFar(one.entry, chosen.entry) &&
        !isAtLeastAsFar(chosen.entry, one.entry),
    );
    if (better !== undefined) return `${task} at ${describeOffsets(better.entry)} is passed over for ${chosen?.epoch}`;
  }
  return undefined;
}

function isAtLeastAsFar(one: Entry, other: Entry): boolean {
  return [...other.offsets].every(([changelog, offset]) => (one.offsets.get(changelog) ?? -1n) >= offset);
}

function describeOffsets({ offsets }: Entry): string {
  return [...offsets].map(([changelog, offset]) => `${changelog}:${offset}`).join(' ');
}

export function named(invariant: string, finding: string | undefined): string | undefined {
  return finding === undefined ? undefined : `${invariant}: ${finding}`;
}
