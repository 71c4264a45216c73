import type { Checkpoint } from './checkpoint-file.ts';
import { type FamilyOffsets, type FamilySight, leastOffsets } from './family-offsets.ts';
import type { DatabaseSight, TaskSight } from './quality.ts';
import type { Explanation } from './reason.ts';

/** Where the offsets of a task lie: in its `.checkpoint`, or inside each of its databases. */
export type Layout = 'file' | 'column-family';

/** How far a task is, wherever it says so. */
export interface TaskOffsets {
  readonly layout: Layout;
  /** Per changelog partition; of the segments of a store the least. */
  readonly offsets: ReadonlyMap<string, bigint>;
  /** Changelog partitions without an offset: their stores are still being filled. */
  readonly unknown: ReadonlySet<string>;
  /** A1: when these offsets were first on disk, as far as stamps tell; undefined where there are none. */
  readonly writtenNs: bigint | undefined;
}

/** From 4.3 (KIP-1035) every database carries its own offsets, in a column family; up to 4.2 `.checkpoint` has them. */
export const OFFSETS_COLUMN_FAMILY = 'offsets';

/** Whether a database with these column families keeps its offsets inside. */
export function keepsOwnOffsets(columnFamilies: readonly string[]): boolean {
  return columnFamilies.includes(OFFSETS_COLUMN_FAMILY);
}

/** From a single look. What lies beside a column family in a `.checkpoint` is not of the same moment, and does not count. */
export function offsetsOf(sight: TaskSight): TaskOffsets {
  if (layoutOf(sight) === 'column-family') return ownOffsets(sight.databases);
  const { content, mtimeNs } = sight.checkpoint ?? {};
  return {
    layout: 'file',
    offsets: content?.offsets ?? new Map<string, bigint>(),
    unknown: content?.unknown ?? new Set<string>(),
    writtenNs: mtimeNs,
  };
}

/** A task is of the new layout as soon as one of its databases is: older releases do not open it any more. */
export function layoutOf({ databases }: Pick<TaskSight, 'databases'>): Layout {
  return databases.some(({ own }) => own !== undefined) ? 'column-family' : 'file';
}

/** What the databases of one store say of themselves, as far as they have tables and it can be read. */
export function ownOf({ databases }: Pick<TaskSight, 'databases'>, store: string): readonly FamilyOffsets[] {
  const written = databases.filter((one) => one.store === store && one.tables.length > 0);
  return written.flatMap(({ own }) => (own?.kind === 'read' ? [own] : []));
}

/** The oldest over the databases: that of the others came later. */
function ownOffsets(databases: readonly DatabaseSight[]): TaskOffsets {
  const read = databases.flatMap(({ own }) => (own?.kind === 'read' ? [own] : []));
  const written = read.flatMap(({ writtenNs, offsets }) =>
    writtenNs === undefined || offsets.size === 0 ? [] : [writtenNs],
  );
  const unknown = read.flatMap((one: FamilySight & { kind: 'read' }) => [...one.unknown]);
  return {
    layout: 'column-family',
    offsets: leastOffsets(read),
    unknown: new Set(unknown),
    writtenNs: written.reduce<bigint | undefined>(
      (least, one) => (least === undefined || one < least ? one : least),
      undefined,
    ),
  };
}

/** The stores of a task that have an offset, and those that have tables but none, which must not travel. */
export type OffsetCover =
  | { readonly kind: 'covered'; readonly stores: ReadonlySet<string>; readonly leftOut: readonly string[] }
  | { readonly kind: 'refused'; readonly why: Explanation };

/**
 * Which store has an offset (C1, C3). A changelog `<application.id>-<store>-changelog` names its store; the topic of
 * an optimized-away changelog or of a global table names none, so such topics are only counted. In a directory as it was
 * installed a store without an offset is not there, for it stayed at home: Kafka Streams makes it, and fills it from the beginning.
 */
export function coverStores(
  checkpoint: Checkpoint,
  stores: ReadonlyMap<string, { readonly hasTables: boolean }>,
  { applicationId, isInstalled }: { readonly applicationId: string; readonly isInstalled: boolean },
): OffsetCover {
  const withOffset = new Set([...checkpoint.offsets.keys()].map((key) => key.slice(0, key.lastIndexOf('-'))));
  const isAtHome = ([topic, store]: readonly [string, string | undefined]): boolean =>
    isInstalled && !withOffset.has(topic) && store !== undefined && !stores.has(store);
  const topics = [...checkpoint.topics].map((topic) => [topic, storeOf(topic, applicationId)] as const);
  const ofStore = new Map(topics.filter((one) => !isAtHome(one)));
  const missing = [...ofStore].find(([, store]) => store !== undefined && !stores.has(store));
  if (missing !== undefined) {
    return refused('incomplete', `.checkpoint names ${missing[0]}, but there is no store ${missing[1]}`);
  }
  if (stores.size < ofStore.size) {
    return refused(
      'incomplete',
      `.checkpoint names ${ofStore.size} changelogs, which are more than the stores there are (${stores.size})`,
    );
  }

  const named = new Map(
    [...ofStore].flatMap(([topic, store]) => (store === undefined ? [] : [[store, topic] as const])),
  );
  const nameless = [...ofStore].filter(([, store]) => store === undefined).map(([topic]) => topic);
  const candidates = [...stores.keys()].filter((store) => !named.has(store));
  const namelessWithOffset = nameless.filter((topic) => withOffset.has(topic));
  const covered = [...named].filter(([, topic]) => withOffset.has(topic)).map(([store]) => store);
  const allNamelessServe = nameless.length === candidates.length && namelessWithOffset.length === nameless.length;
  if (candidates.length > 0 && nameless.length > 0 && !allNamelessServe) {
    return refused(
      'no_offset',
      `of the stores ${candidates.join(', ')} only ${namelessWithOffset.length} can have an offset (${nameless.join(', ')}), and nothing tells which`,
    );
  }
  const served = new Set([...covered, ...(nameless.length > 0 ? candidates : [])]);
  const leftOut = [...stores].filter(([name, store]) => !served.has(name) && store.hasTables).map(([name]) => name);
  return { kind: 'covered', stores: served, leftOut };
}

function storeOf(topic: string, applicationId: string): string | undefined {
  const store = topic.slice(applicationId.length + 1, -'-changelog'.length);
  return topic === `${applicationId}-${store}-changelog` && store !== '' ? store : undefined;
}

function refused(reason: Explanation['reason'], message: string): OffsetCover {
  return { kind: 'refused', why: { reason, message } };
}
