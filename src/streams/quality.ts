import type { FileFacts } from '../base/file-access.ts';
import type { Checkpoint } from './checkpoint-file.ts';
import { coverStores, keepsOwnOffsets } from './offsets.ts';
import type { Explanation, Reason } from './reason.ts';
import { type ParentDirectory, segmentStart } from './state-directory.ts';

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
  readonly deletedTables: boolean;
  readonly tables: readonly { readonly mtimeNs: bigint; readonly birthtimeNs: bigint }[];
}

/**
 * What earlier looks at one task directory leave to later ones. Lives in the memory of a running process and, for
 * the next process of the same instance, in the newest document.
 */
export interface TaskMemory {
  /** Which directory it is about; birth time tells a reused inode number apart, 0 where the file system has none. */
  readonly device: bigint;
  readonly inode: bigint;
  readonly birthtimeNs: bigint;
  /** The checkpoint of the last look. */
  readonly checkpoint: { readonly inode: bigint; readonly mtimeNs: bigint } | undefined;
  /** Whether that checkpoint covered everything on disk at the last look (Q1 or Q2). */
  readonly passed: boolean;
  /** Opened anew over tables that no checkpoint covered (Q6): never again valid under exactly-once while it is this directory. */
  readonly tainted: boolean;
  /** Per database, by its path below the task directory, as of the last look. */
  readonly databases: ReadonlyMap<string, { readonly manifest: string; readonly greatestSequence: bigint }>;
  /** Per parent of stores or segments, as of the last look that found nothing missing (D2, D4). */
  readonly parents: ReadonlyMap<string, { readonly mtimeNs: bigint; readonly children: readonly string[] }>;
  /** Since when the checkpoint has stood still, and the sum of the sequence numbers then (Q7). */
  readonly watch: { readonly sinceMs: number; readonly sequences: bigint };
}

export interface JudgeContext {
  readonly applicationId: string;
  readonly nowMs: number;
  /** Whether the application's lock is held. */
  readonly isRunning: boolean;
  /** The wall clock was seen to go back since the checkpoint was first seen (Q5). */
  readonly clockSteppedBack: boolean;
  /** Of earlier looks at this task, if there were any; of another directory it is ignored. */
  readonly memory: TaskMemory | undefined;
  /** The quality with which this directory was installed, where the application has not opened it since (Q8). */
  readonly installedQuality: Quality | undefined;
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
  const memory = isSameDirectory(sight, context.memory) ? context.memory : undefined;
  const whole = findMissing(sight, memory, context.nowMs);
  const passed = isCovered(sight, memory, context);
  const tainted = isTainted(sight, memory);
  const next = remember(sight, { memory, passed, tainted, isWhole: whole === undefined, nowMs: context.nowMs });
  const refuse = (why: Explanation): Judgement => {
    const verdict = { kind: 'refused', why } as const;
    return { atLeastOnce: verdict, exactlyOnce: verdict, stores: new Set(), leftOut: [], memory: next };
  };

  const unsupported = findUnsupported(sight);
  if (unsupported !== undefined) return refuse(unsupported);
  if (whole !== undefined) return refuse(whole);
  if (sight.checkpoint === undefined)
    return { ...withoutCheckpoint(context, next), stores: new Set(), leftOut: [], memory: next };

  const cover = coverStores(sight.checkpoint.content, storesOf(sight), context.applicationId);
  if (cover.kind === 'refused') return refuse(cover.why);
  if (cover.stores.size === 0) return refuse({ reason: 'no_offset', message: 'no store has an offset yet' });
  return {
    atLeastOnce: judgeAtLeastOnce(context, { passed, next }),
    exactlyOnce: judgeExactlyOnce({ passed, tainted }),
    stores: cover.stores,
    leftOut: cover.leftOut,
    memory: next,
  };
}

/** The verdict that counts under a guarantee; `auto` takes only what both grant. */
export function verdictUnder(guarantee: Guarantee, judgement: Pick<Judgement, 'atLeastOnce' | 'exactlyOnce'>): Verdict {
  switch (guarantee) {
    case 'at_least_once':
      return judgement.atLeastOnce;
    case 'exactly_once_v2':
      return judgement.exactlyOnce;
    case 'auto':
      return judgement.atLeastOnce.kind === 'refused' ? judgement.atLeastOnce : judgement.exactlyOnce;
  }
}

/** A1: the moment at which these offsets were first on disk, by the clock of this machine. */
export function stateTimeMs(sight: TaskSight): number | undefined {
  return sight.checkpoint === undefined ? undefined : Number(sight.checkpoint.mtimeNs / 1_000_000n);
}

function judgeAtLeastOnce(
  context: JudgeContext,
  state: { readonly passed: boolean; readonly next: TaskMemory },
): Verdict {
  const signature = findExactlyOnceSignature(context, state.next);
  if (signature !== undefined) return refused('looks_exactly_once', signature);
  // Q8: an installed directory that was not opened since is worth what it was worth when it was captured.
  if (context.installedQuality !== undefined) return { kind: 'valid', quality: context.installedQuality };
  return { kind: 'valid', quality: state.passed ? 'clean' : 'live' };
}

function judgeExactlyOnce(state: { readonly passed: boolean; readonly tainted: boolean }): Verdict {
  if (state.tainted) {
    return refused(
      'unclean_restart',
      'the application was started over tables that no checkpoint covered; they may hold writes of aborted transactions',
    );
  }
  if (state.passed) return { kind: 'valid', quality: 'clean' };
  return refused(
    'exactly_once_running',
    'tables are newer than .checkpoint and may hold writes of aborted transactions',
  );
}

function withoutCheckpoint(context: JudgeContext, next: TaskMemory): Pick<Judgement, 'atLeastOnce' | 'exactlyOnce'> {
  const signature = findExactlyOnceSignature(context, next);
  return {
    atLeastOnce:
      signature === undefined
        ? refused('no_offset', 'there is no .checkpoint, so nothing says how far the stores are')
        : refused('looks_exactly_once', signature),
    exactlyOnce: next.tainted
      ? judgeExactlyOnce({ passed: false, tainted: true })
      : refused('exactly_once_running', 'there is no .checkpoint: it is written when the task is closed'),
  };
}

function findUnsupported(sight: TaskSight): Explanation | undefined {
  const [custom] = sight.customStores;
  if (custom !== undefined) {
    return {
      reason: 'unsupported_store',
      message: `${custom} is no RocksDB store; what it writes is not known to be consistent`,
    };
  }
  const inside = sight.databases.find((database) => keepsOwnOffsets(database.columnFamilies));
  if (inside === undefined) return undefined;
  return {
    reason: 'no_offset',
    message: `${inside.path} keeps its offsets inside RocksDB (Kafka Streams 4.3 and later), which this version does not read`,
  };
}

/** D2 and D4: whether a directory is missing that was here, or may be. */
function findMissing(sight: TaskSight, memory: TaskMemory | undefined, nowMs: number): Explanation | undefined {
  for (const path of memory?.parents.keys() ?? []) {
    if (!sight.parents.has(path)) return { reason: 'being_deleted', message: `${path} is gone` };
  }
  for (const [path, parent] of sight.parents) {
    const before = memory?.parents.get(path);
    const lost = before === undefined ? undefined : findLost(parent, before.children);
    if (lost !== undefined) return { reason: 'being_deleted', message: `${path}/${lost} is gone` };
    const unexplained = findUnexplainedChange(path, parent, { sight, before, nowMs });
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

function findUnexplainedChange(
  path: string,
  parent: ParentDirectory,
  context: {
    readonly sight: TaskSight;
    readonly before: { readonly mtimeNs: bigint; readonly children: readonly string[] } | undefined;
    readonly nowMs: number;
  },
): Explanation | undefined {
  const { sight, before, nowMs } = context;
  if (sight.checkpoint === undefined) return undefined; // Refused for want of offsets anyhow.
  if (parent.facts.mtimeNs <= sight.checkpoint.mtimeNs) return undefined;
  if (before?.mtimeNs === parent.facts.mtimeNs) return undefined;
  const isExpiryOrGrowth =
    before !== undefined && parent.kind === 'segments' && addsOnlyNewer(path, parent.children, before.children);
  if (!isExpiryOrGrowth) {
    return {
      reason: 'changing',
      message: `${path} changed after .checkpoint was written; waits for the next checkpoint`,
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

/** Whether the checkpoint covers everything that is on disk: Q1 with Q4 and Q5, or Q2. */
function isCovered(sight: TaskSight, memory: TaskMemory | undefined, context: JudgeContext): boolean {
  if (sight.checkpoint === undefined) return false;
  if (context.installedQuality !== undefined) return context.installedQuality === 'clean';
  return coversByStamps(sight, sight.checkpoint.mtimeNs, context) || coversByMemory(sight, memory);
}

/** Kernels stamp in ticks of 1 to 10 ms; a file system with coarser stamps shows it by round numbers. */
const COARSE_NS = 10_000_000n;

/** Q1: no live table is newer than the checkpoint. */
function coversByStamps(sight: TaskSight, checkpointNs: bigint, context: JudgeContext): boolean {
  const nowNs = BigInt(Math.ceil(context.nowMs)) * 1_000_000n;
  const tables = sight.databases.flatMap((database) => database.tables);
  const stamps = [checkpointNs, ...tables.map((table) => table.mtimeNs)];
  // Q5: a clock that jumped makes later writes look older.
  if (context.clockSteppedBack || stamps.some((stamp) => stamp > nowNs)) return false;
  // Q4: what is empty now, but was not, held a flush that compacted to nothing.
  if (sight.databases.some((database) => database.tables.length === 0 && database.deletedTables)) return false;
  const isCoarse = stamps.every((stamp) => stamp % COARSE_NS === 0n);
  const isAfter = (stamp: bigint): boolean => (isCoarse ? stamp >= checkpointNs : stamp > checkpointNs);
  // A compaction that runs across the checkpoint ends after it and holds nothing newer: its table was born before.
  return !tables.some((table) => isAfter(table.mtimeNs) && (table.birthtimeNs === 0n || isAfter(table.birthtimeNs)));
}

/** Q2: the same checkpoint covered everything before, and since then no edit added anything newer. */
function coversByMemory(sight: TaskSight, memory: TaskMemory | undefined): boolean {
  if (memory === undefined || !memory.passed || !isSameCheckpoint(sight, memory)) return false;
  return sight.databases.every((database) => {
    const before = memory.databases.get(database.path);
    if (before === undefined) return database.greatestSequence === 0n && database.tables.length === 0;
    // A new manifest starts from a summary in which compaction may have hidden what was added since.
    return before.manifest === database.manifest && database.greatestSequence <= before.greatestSequence;
  });
}

/** Q6: tables that no checkpoint covered were there when a database was opened anew. */
function isTainted(sight: TaskSight, memory: TaskMemory | undefined): boolean {
  if (memory === undefined) return false;
  const wasOpenedAnew = sight.databases.some((database) => {
    const before = memory.databases.get(database.path);
    return before !== undefined && before.manifest !== database.manifest;
  });
  return memory.tainted || (!memory.passed && wasOpenedAnew);
}

/** How long, and over how many writes, a checkpoint may stand still under at-least-once, which rewrites it every 10,000 records. */
const SIGNATURE_MS = 5 * 60_000;
const SIGNATURE_SEQUENCES = 50_000n;

/** Q7: under at-least-once a checkpoint does not stand still while so much is written. */
function findExactlyOnceSignature(context: JudgeContext, next: TaskMemory): string | undefined {
  const grown = sumSequences(next) - next.watch.sequences;
  const stoodMs = context.nowMs - next.watch.sinceMs;
  if (!context.isRunning || stoodMs < SIGNATURE_MS || grown <= SIGNATURE_SEQUENCES) return undefined;
  return `${grown} writes in ${Math.floor(stoodMs / 60_000)} min without a new .checkpoint: the application seems to run exactly-once`;
}

function remember(
  sight: TaskSight,
  look: {
    readonly memory: TaskMemory | undefined;
    readonly passed: boolean;
    readonly tainted: boolean;
    readonly isWhole: boolean;
    readonly nowMs: number;
  },
): TaskMemory {
  const databases = new Map(
    sight.databases.map(({ path, manifest, greatestSequence }) => [path, { manifest, greatestSequence }] as const),
  );
  const parents = new Map(
    [...sight.parents].map(([path, { facts, children }]) => [path, { mtimeNs: facts.mtimeNs, children }] as const),
  );
  const stands = look.memory !== undefined && isSameCheckpoint(sight, look.memory);
  return {
    device: sight.facts.device,
    inode: sight.facts.inode,
    birthtimeNs: sight.facts.birthtimeNs,
    checkpoint:
      sight.checkpoint === undefined ? undefined : { inode: sight.checkpoint.inode, mtimeNs: sight.checkpoint.mtimeNs },
    passed: look.passed,
    tainted: look.tainted,
    databases,
    parents: look.isWhole ? parents : (look.memory?.parents ?? new Map()),
    watch:
      stands && look.memory !== undefined
        ? look.memory.watch
        : { sinceMs: look.nowMs, sequences: sumSequences({ databases }) },
  };
}

function sumSequences(memory: Pick<TaskMemory, 'databases'>): bigint {
  return [...memory.databases.values()].reduce((sum, database) => sum + database.greatestSequence, 0n);
}

function isSameDirectory(sight: TaskSight, memory: TaskMemory | undefined): boolean {
  const { device, inode, birthtimeNs } = sight.facts;
  return (
    memory !== undefined && memory.device === device && memory.inode === inode && memory.birthtimeNs === birthtimeNs
  );
}

function isSameCheckpoint(sight: TaskSight, memory: TaskMemory): boolean {
  return (
    sight.checkpoint?.inode === memory.checkpoint?.inode && sight.checkpoint?.mtimeNs === memory.checkpoint?.mtimeNs
  );
}

function storesOf(sight: TaskSight): ReadonlyMap<string, { readonly hasTables: boolean }> {
  const stores = new Map<string, { hasTables: boolean }>();
  for (const [path, parent] of sight.parents) if (parent.kind === 'segments') stores.set(path, { hasTables: false });
  for (const database of sight.databases) {
    stores.set(database.store, {
      hasTables: (stores.get(database.store)?.hasTables ?? false) || database.tables.length > 0,
    });
  }
  return stores;
}

function refused(reason: Reason, message: string): Verdict {
  return { kind: 'refused', why: { reason, message } };
}
