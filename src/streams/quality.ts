import { type FileFacts, isSameDirectory } from '../base/file-access.ts';
import { isCovered, isDated, isExceeded, isSameCheckpoint } from './checkpoint-cover.ts';
import type { Checkpoint } from './checkpoint-file.ts';
import { findMissing, type ParentMemory } from './completeness.ts';
import type { FamilySight } from './family-offsets.ts';
import { judgeFamilies } from './family-quality.ts';
import { coverStores, layoutOf, type OffsetCover, offsetsOf } from './offsets.ts';
import type { Explanation, Reason } from './reason.ts';
import { GLOBAL_TASK, type ParentDirectory } from './state-directory.ts';

/** Why an entry may be trusted. */
export type Quality = 'clean' | 'live' | 'transactional';

/** Kafka's `processing.guarantee`, or `auto`: only what is valid under every guarantee. */
export type Guarantee = 'at_least_once' | 'exactly_once_v2' | 'auto';

/** Everything one look at a task directory saw; the rules below decide from it alone. */
export interface TaskSight {
  readonly task: string;
  readonly facts: FileFacts;
  readonly checkpoint: { readonly inode: bigint; readonly mtimeNs: bigint; readonly content: Checkpoint } | undefined;
  readonly databases: readonly DatabaseSight[];
  readonly parents: ReadonlyMap<string, ParentDirectory>;
  readonly customStores: readonly string[];
}

export interface DatabaseSight {
  readonly store: string;
  /** Below the task directory. */
  readonly path: string;
  /** The manifest's name; a database that was opened anew has another. */
  readonly manifest: string;
  readonly columnFamilies: readonly string[];
  /** The greatest sequence number of any table that the manifest ever added. */
  readonly greatestSequence: bigint;
  /** What was written last is in no live table: deletions met all that they delete, and both were dropped. */
  readonly newestDropped: boolean;
  readonly tables: readonly { readonly mtimeNs: bigint; readonly birthtimeNs: bigint }[];
  /** Of its directory; 0 where the file system knows no birth times. */
  readonly bornNs: bigint;
  /** What its column family of offsets says; undefined where it has none (up to Kafka Streams 4.2). */
  readonly own: FamilySight | undefined;
}

/**
 * What earlier looks at one task directory leave to later ones. Lives in the memory of a running process and, for
 * the next process of the same instance, in the newest document.
 */
export interface TaskMemory {
  /** Which directory it is about; the birth time is 0 where the file system has none. */
  readonly device: bigint;
  readonly inode: bigint;
  readonly birthtimeNs: bigint;
  /** The checkpoint of the last look. */
  readonly checkpoint: { readonly inode: bigint; readonly mtimeNs: bigint } | undefined;
  /** Whether that checkpoint covered everything on disk at the last look (Q1 or Q2). */
  readonly passed: boolean;
  /** More was on disk than it covers: it never will, while it is this checkpoint (Q2). */
  readonly exceeded?: boolean | undefined;
  /** Opened anew over tables that no checkpoint covered (Q6): never again valid under exactly-once while it is this directory. */
  readonly tainted: boolean;
  /** Per database, by its path below the task directory, as of the last look. */
  readonly databases: ReadonlyMap<string, { readonly manifest: string; readonly greatestSequence: bigint }>;
  /** Per parent of stores or segments, as of the last look that found nothing missing (D2, D4). */
  readonly parents: ReadonlyMap<string, ParentMemory>;
  readonly watch: CheckpointWatch;
  /** Topic → its id, as brokers told it when this directory was first captured: another one is another history. */
  readonly topicIds?: ReadonlyMap<string, string> | undefined;
  /** The time of offsets under which stamps were seen to tell nothing (Q5), as D2 needs them to. */
  readonly undatedNs?: bigint | undefined;
  /** Where its offsets stood when it was valid last, and since when, by the clock of the store: rewritten they grow no younger (A2). */
  readonly offsetsSince?: OffsetsSince | undefined;
}

export interface OffsetsSince {
  readonly offsets: ReadonlyMap<string, bigint>;
  readonly stateTimeMs: number;
}

/** How long a checkpoint, or its absence, has stood still, and what was written meanwhile (Q7). */
export interface CheckpointWatch {
  readonly sinceMs: number;
  /** By how much sequence numbers were seen to grow since. */
  readonly writes: bigint;
  /** Once it did while the application ran: stays so until there is another checkpoint, also after a kill. */
  readonly looksExactlyOnce: boolean;
}

export interface JudgeContext {
  readonly applicationId: string;
  /** Wall clock, read after the look: what is stamped later lies in the future. */
  readonly nowMs: number;
  /** Whether the application's lock is held. */
  readonly isRunning: boolean;
  /** The wall clock was seen to be set, back or ahead, since the checkpoint was first seen (Q5). */
  readonly clockWasSet: boolean;
  /** Of earlier looks at this task, if there were any; of another directory it is ignored. */
  readonly memory: TaskMemory | undefined;
  /** The quality with which this directory was installed, where the application has not opened it since (Q8). */
  readonly installedQuality: Quality | undefined;
  /** The application's `enable.transactional.statestores`, as far as somebody told. */
  readonly transactionalStores: boolean;
}

export type Verdict =
  | { readonly kind: 'valid'; readonly quality: Quality }
  | { readonly kind: 'refused'; readonly why: Explanation };

export interface Judgement {
  readonly atLeastOnce: Verdict;
  readonly exactlyOnce: Verdict;
  /** The stores that may travel, and those that have tables but no offset and stay at home (C3). */
  readonly stores: ReadonlySet<string>;
  readonly leftOut: readonly string[];
  readonly memory: TaskMemory;
}

/** Decides what one look at a task is worth under each guarantee, by the rules Q, C and D of docs/quality.md. */
export function judge(sight: TaskSight, context: JudgeContext): Judgement {
  const { memory: known } = context;
  const memory = known !== undefined && isSameDirectory(known, sight.facts) ? known : undefined;
  const { writtenNs } = offsetsOf(sight);
  const undatedNs = isDated(writtenNs, memory, context) ? undefined : writtenNs;
  const missing = findMissing(parentsOf(sight), memory?.parents, {
    stateTimeNs: writtenNs,
    nowMs: context.nowMs,
    isDated: undatedNs === undefined,
  });
  const given = { memory, context, missing, undatedNs };
  return layoutOf(sight) === 'file' ? judgeFile(sight, given) : judgeColumnFamily(sight, given);
}

interface Given {
  /** Of this very directory. */
  readonly memory: TaskMemory | undefined;
  readonly context: JudgeContext;
  /** What is gone from it, or may be (D2, D4). */
  readonly missing: Explanation | undefined;
  readonly undatedNs: bigint | undefined;
}

function judgeColumnFamily(sight: TaskSight, { memory, context, missing, undatedNs }: Given): Judgement {
  const next = remember(sight, memory, {
    // Kafka Streams itself deletes what an exactly-once application was killed over; only an older one left it (Q6).
    passed: true,
    tainted: isTainted(sight, memory),
    isWhole: missing === undefined,
    undatedNs,
    watch: { sinceMs: memory?.watch.sinceMs ?? context.nowMs, writes: 0n, looksExactlyOnce: false },
  });
  const obstacle = findCustomStore(sight) ?? (missing?.reason === 'being_deleted' ? missing : undefined);
  if (obstacle !== undefined) return refuseAll(obstacle, next);
  const judged = judgeFamilies(sight, context);
  // What is open waits for its close, not for another look.
  const unlessMissing = (verdict: Verdict): Verdict =>
    verdict.kind === 'valid' && missing !== undefined ? { kind: 'refused', why: missing } : verdict;
  const exactlyOnce = next.tainted && judged.exactlyOnce.kind === 'valid' ? UNCLEAN : judged.exactlyOnce;
  return {
    ...judged,
    atLeastOnce: unlessMissing(judged.atLeastOnce),
    exactlyOnce: unlessMissing(exactlyOnce),
    memory: next,
  };
}

function judgeFile(sight: TaskSight, { memory, context, missing, undatedNs }: Given): Judgement {
  const { checkpoint } = sight;
  const { applicationId, installedQuality } = context;
  const how = { applicationId, isInstalled: installedQuality !== undefined };
  const cover = checkpoint === undefined ? undefined : coverStores(checkpoint.content, storesOf(sight), how);
  const leftOut = cover?.kind === 'covered' ? cover.leftOut : [];
  const passed = isCovered(sight, memory, context);
  const next = remember(sight, memory, {
    passed,
    exceeded: !passed && isExceeded(sight, memory, context),
    tainted: isTainted(sight, memory),
    isWhole: missing === undefined,
    undatedNs,
    watch: watchCheckpoint(sight, memory, { context, leftOut }),
  });
  const obstacle = findCustomStore(sight) ?? missing;
  if (obstacle !== undefined) return refuseAll(obstacle, next);
  return judgeCover(cover, { context, next });
}

function judgeCover(
  cover: OffsetCover | undefined,
  { context, next }: { readonly context: JudgeContext; readonly next: TaskMemory },
): Judgement {
  if (cover === undefined) return { ...withoutCheckpoint(context, next), stores: new Set(), leftOut: [], memory: next };
  if (cover.kind === 'refused') return refuseAll(cover.why, next);
  if (cover.stores.size === 0) {
    return refuseAll({ reason: 'no_offset', message: 'no store has an offset yet' }, next);
  }
  return {
    atLeastOnce: judgeAtLeastOnce(context, next),
    exactlyOnce: judgeExactlyOnce(next),
    stores: cover.stores,
    leftOut: cover.leftOut,
    memory: next,
  };
}

function refuseAll(why: Explanation, memory: TaskMemory): Judgement {
  const verdict = { kind: 'refused', why } as const;
  return { atLeastOnce: verdict, exactlyOnce: verdict, stores: new Set(), leftOut: [], memory };
}

/** The verdict that counts under a guarantee; `auto` takes only what both grant. */
export function verdictUnder(guarantee: Guarantee, judgement: Pick<Judgement, 'atLeastOnce' | 'exactlyOnce'>): Verdict {
  switch (guarantee) {
    case 'at_least_once':
      return judgement.atLeastOnce;
    case 'exactly_once_v2':
      return judgement.exactlyOnce;
    case 'auto':
      return verdictUnderBoth(judgement);
  }
}

function verdictUnderBoth({ atLeastOnce, exactlyOnce }: Pick<Judgement, 'atLeastOnce' | 'exactlyOnce'>): Verdict {
  if (exactlyOnce.kind === 'valid') return atLeastOnce;
  const { reason, message } = exactlyOnce.why;
  // Another look may grant both, or at-least-once does not either.
  if (atLeastOnce.kind === 'refused' || reason === 'changing') return exactlyOnce;
  return refused('guarantee_unknown', `${message}; it is valid under at_least_once alone`);
}

function judgeAtLeastOnce(context: JudgeContext, look: TaskMemory): Verdict {
  if (look.passed) return { kind: 'valid', quality: 'clean' };
  if (look.watch.looksExactlyOnce) return refused('looks_exactly_once', describeSignature(context, look.watch));
  return { kind: 'valid', quality: 'live' };
}

function judgeExactlyOnce(look: TaskMemory): Verdict {
  if (look.tainted) return UNCLEAN;
  if (look.passed) return { kind: 'valid', quality: 'clean' };
  return refused(
    'exactly_once_running',
    'tables are newer than .checkpoint and may hold writes of aborted transactions',
  );
}

const UNCLEAN = refused(
  'unclean_restart',
  'the application was started over tables that no checkpoint covered; they may hold writes of aborted transactions',
);

function withoutCheckpoint(context: JudgeContext, look: TaskMemory): Pick<Judgement, 'atLeastOnce' | 'exactlyOnce'> {
  return {
    atLeastOnce: look.watch.looksExactlyOnce
      ? refused('looks_exactly_once', describeSignature(context, look.watch))
      : refused('no_offset', 'there is no .checkpoint, so nothing says how far the stores are'),
    exactlyOnce: look.tainted
      ? judgeExactlyOnce(look)
      : refused('exactly_once_running', 'there is no .checkpoint: it is written when the task is closed'),
  };
}

function findCustomStore({ customStores: [custom] }: TaskSight): Explanation | undefined {
  if (custom === undefined) return undefined;
  return {
    reason: 'unsupported_store',
    message: `${custom} is no RocksDB store; what it writes is not known to be consistent`,
  };
}

/** D2: where no checkpoint is renamed into it, nothing but stores that come and go changes the task directory itself. */
const TASK_ITSELF = '.';

function parentsOf(sight: TaskSight): ReadonlyMap<string, ParentDirectory> {
  if (layoutOf(sight) === 'file') return sight.parents;
  const children = [...sight.parents.keys()];
  const facts = isTouched(sight.facts) ? { ...sight.facts, mtimeNs: 0n } : sight.facts;
  return new Map([[TASK_ITSELF, { kind: 'stores', facts, children }], ...sight.parents]);
}

/**
 * Kafka Streams 4.4 gives a task directory the time of its close, in milliseconds. Whatever comes or goes sets both stamps to one
 * moment, so where they differ it did so before.
 */
function isTouched({ mtimeNs, ctimeNs }: FileFacts): boolean {
  return mtimeNs !== ctimeNs && mtimeNs % 1_000_000n === 0n;
}

/**
 * Q6: tables that no checkpoint covered were there when a database was opened anew. Not those of a database that
 * never had any, which is made under one manifest and opened with the next, nor of global stores, into which no
 * transaction writes.
 */
function isTainted(sight: TaskSight, memory: TaskMemory | undefined): boolean {
  if (memory === undefined || sight.task === GLOBAL_TASK) return false;
  const wasOpenedAnew = sight.databases.some((database) => {
    const before = memory.databases.get(database.path);
    if (before === undefined || before.manifest === database.manifest) return false;
    return before.greatestSequence > 0n || database.greatestSequence > 0n || database.tables.length > 0;
  });
  return memory.tainted || (!memory.passed && wasOpenedAnew);
}

/** How long, and over how many writes, a checkpoint may stand still under at-least-once, which rewrites it every 10,000 records. */
const SIGNATURE_MS = 5 * 60_000;
const SIGNATURE_WRITES = 50_000n;

/** Q7: under at-least-once a checkpoint does not stand still while so much is written. */
function watchCheckpoint(
  sight: TaskSight,
  memory: TaskMemory | undefined,
  look: { readonly context: JudgeContext; readonly leftOut: readonly string[] },
): CheckpointWatch {
  const { nowMs, isRunning } = look.context;
  if (memory === undefined || !isSameCheckpoint(sight, memory)) {
    return { sinceMs: nowMs, writes: 0n, looksExactlyOnce: false };
  }
  const { sinceMs, looksExactlyOnce } = memory.watch;
  // What has no changelog moves no checkpoint.
  const logged = sight.databases.filter((database) => !look.leftOut.includes(database.store));
  const writes = logged.reduce((sum, one) => sum + countWrites(one, memory), memory.watch.writes);
  const isSignature = isRunning && nowMs - sinceMs >= SIGNATURE_MS && writes > SIGNATURE_WRITES;
  return { sinceMs, writes, looksExactlyOnce: looksExactlyOnce || isSignature };
}

/** Since the last look. Not from 0 on: a compaction to the lowest level takes the sequence numbers off old tables. */
function countWrites(database: DatabaseSight, memory: TaskMemory): bigint {
  const before = memory.databases.get(database.path)?.greatestSequence;
  if (before === undefined) return database.greatestSequence;
  return before > 0n && database.greatestSequence > before ? database.greatestSequence - before : 0n;
}

function describeSignature(context: JudgeContext, watch: CheckpointWatch): string {
  const minutes = Math.floor((context.nowMs - watch.sinceMs) / 60_000);
  return `${watch.writes} writes in ${minutes} min without a new .checkpoint: the application seems to run exactly-once`;
}

function remember(
  sight: TaskSight,
  memory: TaskMemory | undefined,
  look: Pick<TaskMemory, 'passed' | 'exceeded' | 'tainted' | 'watch' | 'undatedNs'> & { readonly isWhole: boolean },
): TaskMemory {
  const { device, inode, birthtimeNs } = sight.facts;
  const { checkpoint } = sight;
  const parents = new Map(
    [...parentsOf(sight)].map(([path, { facts, children }]) => [path, { mtimeNs: facts.mtimeNs, children }] as const),
  );
  return {
    device,
    inode,
    birthtimeNs,
    checkpoint: checkpoint === undefined ? undefined : { inode: checkpoint.inode, mtimeNs: checkpoint.mtimeNs },
    passed: look.passed,
    exceeded: look.exceeded === true ? true : undefined,
    tainted: look.tainted,
    databases: new Map(
      sight.databases.map(({ path, manifest, greatestSequence }) => [path, { manifest, greatestSequence }] as const),
    ),
    parents: look.isWhole ? parents : (memory?.parents ?? new Map()),
    watch: look.watch,
    topicIds: memory?.topicIds,
    undatedNs: look.undatedNs,
    offsetsSince: memory?.offsetsSince,
  };
}

function storesOf(sight: TaskSight): ReadonlyMap<string, { readonly hasTables: boolean }> {
  const stores = new Map<string, { hasTables: boolean }>();
  for (const [path, parent] of sight.parents) if (parent.kind === 'segments') stores.set(path, { hasTables: false });
  for (const database of sight.databases) {
    const hasTables = stores.get(database.store)?.hasTables === true || database.tables.length > 0;
    stores.set(database.store, { hasTables });
  }
  return stores;
}

function refused(reason: Reason, message: string): Verdict {
  return { kind: 'refused', why: { reason, message } };
}
