import type { FamilySight } from './family-offsets.ts';
import type { DatabaseSight, JudgeContext, TaskSight, Verdict } from './quality.ts';
import type { Explanation, Reason } from './reason.ts';
import { GLOBAL_TASK } from './state-directory.ts';

/*
 * The rules for tasks whose offsets lie inside RocksDB (Kafka Streams 4.3 and later; docs/quality.md). Every database is
 * of one moment with its offsets, and its status says whether anything was flushed since it was closed. What is left
 * to decide is which databases belong together, and what Kafka Streams itself would make of them.
 */

export interface FamilyJudgement {
  readonly atLeastOnce: Verdict;
  readonly exactlyOnce: Verdict;
  /** The stores that may travel, and those that have tables but no offset and stay at home (C3). */
  readonly stores: ReadonlySet<string>;
  readonly leftOut: readonly string[];
}

export function judgeFamilies(sight: TaskSight, context: JudgeContext): FamilyJudgement {
  const stores = [...Map.groupBy(sight.databases, ({ store }) => store)].map(([name, databases]) => ({
    name,
    databases,
  }));
  const served = stores.filter(isServed);
  const obstacle = findUnreadable(sight) ?? findMigration(sight) ?? findNothing(served);
  if (obstacle !== undefined) return { ...both(obstacle), stores: new Set(), leftOut: [] };
  return {
    ...judgeStatus(sight, served, context),
    stores: new Set(served.map(({ name }) => name)),
    leftOut: stores.filter((store) => !isServed(store) && store.databases.some(hasTables)).map(({ name }) => name),
  };
}

interface Store {
  readonly name: string;
  readonly databases: readonly DatabaseSight[];
}

type Verdicts = Pick<FamilyJudgement, 'atLeastOnce' | 'exactlyOnce'>;

/**
 * It has an offset, or knows that it has none and is empty. One that is not of this layout was not opened since the
 * application is: no store of its topology.
 */
function isServed({ databases }: Store): boolean {
  const own = databases.map(readOwn);
  if (own.includes(undefined)) return false;
  const isKnownToBeEmpty =
    own.every((one) => one?.hasData === false) && own.some((one) => (one?.unknown.size ?? 0) > 0);
  return isKnownToBeEmpty || own.some((one) => (one?.offsets.size ?? 0) > 0);
}

function findUnreadable({ databases }: TaskSight): Explanation | undefined {
  for (const { own } of databases) if (own?.kind === 'unreadable') return own.why;
  return undefined;
}

/** Kafka Streams moves the offsets of the file layout inside when it opens a task, and deletes the file before they are flushed. */
function findMigration({ databases, checkpoint }: TaskSight): Explanation | undefined {
  const moving = databases.find((database) => {
    const own = readOwn(database);
    if (own === undefined) return checkpoint !== undefined && hasTables(database);
    return own.hasData && own.status === undefined && own.offsets.size === 0 && own.unknown.size === 0;
  });
  if (moving === undefined) return undefined;
  const message = `${moving.path} comes from before Kafka Streams 4.3, and its offsets are not on disk inside it yet`;
  return { reason: 'no_offset', message };
}

function findNothing(served: readonly Store[]): Explanation | undefined {
  return served.length > 0 ? undefined : { reason: 'no_offset', message: 'no store has an offset on disk yet' };
}

function judgeStatus(sight: TaskSight, served: readonly Store[], context: JudgeContext): Verdicts {
  const written = served.flatMap(({ databases }) => databases.filter(hasTables));
  const statusOf = (status: 'open' | 'closed' | undefined): DatabaseSight | undefined =>
    written.find((database) => readOwn(database)?.status === status);
  const [open, unmarked] = [statusOf('open'), statusOf(undefined)];
  const isTransactional = context.transactionalStores || context.installedQuality === 'transactional';
  if (unmarked !== undefined && (!isTransactional || open !== undefined)) return both(withoutStatus(unmarked, open));
  if (open !== undefined) return judgeOpen(sight, open);
  const apart = served.map(findApart).find((why) => why !== undefined);
  if (apart !== undefined) return both(apart);
  return unmarked === undefined ? judgeClosed(sight, written, context) : judgeTransactional(context);
}

function withoutStatus(unmarked: DatabaseSight, open: DatabaseSight | undefined): Explanation {
  const message =
    open === undefined
      ? `${unmarked.path} has no status, as stores are under enable.transactional.statestores`
      : `${unmarked.path} has no status, and ${open.path} has one: nothing tells whether the application writes transactionally`;
  return { reason: 'guarantee_unknown', message };
}

/** Under exactly-once Kafka Streams itself deletes what it finds open. */
function judgeOpen(sight: TaskSight, { path }: DatabaseSight): Verdicts {
  const exactlyOnce = refused(
    'exactly_once_running',
    `${path} was written to since it was opened and may hold writes of aborted transactions`,
  );
  if (sight.task === GLOBAL_TASK) {
    const why = `${path} was written to since it was opened; global stores of this release are captured closed only`;
    return { atLeastOnce: refused('segmented', why), exactlyOnce };
  }
  const segmented = [...sight.parents].find(([, { kind }]) => kind === 'segments')?.[0];
  if (segmented === undefined) return { atLeastOnce: { kind: 'valid', quality: 'live' }, exactlyOnce };
  const why = `the segments of ${segmented} are flushed apart while the application runs; records would be lost between them`;
  return { atLeastOnce: refused('segmented', why), exactlyOnce };
}

/** I2: all segments of a store must be of one moment. */
function findApart({ name, databases }: Store): Explanation | undefined {
  const written = databases.filter(hasTables);
  const [first, ...others] = written.map((database) => describeOffsets(database));
  if (others.some((other) => other !== first)) {
    return { reason: 'segmented', message: `the segments of ${name} have different offsets: they were flushed apart` };
  }
  // What a segment without tables got is in memory only. Born after its siblings were written, it got it after their offsets.
  const newestNs = written.reduce((newest, database) => max(newest, readOwn(database)?.writtenNs ?? 0n), 0n);
  const unwritten = databases.find((database) => !hasTables(database) && database.bornNs <= newestNs);
  if (unwritten === undefined) return undefined;
  return {
    reason: 'segmented',
    message: `${unwritten.path} was never flushed, and is older than the offsets of ${name}`,
  };
}

function describeOffsets(database: DatabaseSight): string {
  const own = readOwn(database);
  return [...(own?.offsets ?? [])].map(String).sort().join(' ');
}

/** A task that failed under exactly-once is closed like any other, and deleted then: that takes milliseconds to begin. */
const SETTLED_MS = 10_000;

function judgeClosed(sight: TaskSight, written: readonly DatabaseSight[], context: JudgeContext): Verdicts {
  const clean = { kind: 'valid', quality: 'clean' } as const;
  const stamps = written.flatMap(({ tables }) => tables.map(({ mtimeNs }) => mtimeNs));
  const newestMs = Number(stamps.reduce(max, 0n) / 1_000_000n);
  const isSettled = sight.task === GLOBAL_TASK || !context.isRunning || context.nowMs - newestMs >= SETTLED_MS;
  if (isSettled) return { atLeastOnce: clean, exactlyOnce: clean };
  const why = `it was closed less than ${SETTLED_MS / 1000} s ago, perhaps to be deleted for a transaction that failed`;
  return { atLeastOnce: clean, exactlyOnce: refused('changing', why) };
}

/** I5: a live one may be as good, but that is not proven yet. */
function judgeTransactional({ isRunning }: JudgeContext): Verdicts {
  if (isRunning) {
    const message = 'transactional stores are captured once the application has ended';
    return both({ reason: 'exactly_once_running', message });
  }
  const valid = { kind: 'valid', quality: 'transactional' } as const;
  return { atLeastOnce: valid, exactlyOnce: valid };
}

function readOwn({ own }: DatabaseSight): Extract<FamilySight, { kind: 'read' }> | undefined {
  return own?.kind === 'read' ? own : undefined;
}

function hasTables({ tables }: DatabaseSight): boolean {
  return tables.length > 0;
}

function max(left: bigint, right: bigint): bigint {
  return left > right ? left : right;
}

function both(why: Explanation): Verdicts {
  const verdict = { kind: 'refused', why } as const;
  return { atLeastOnce: verdict, exactlyOnce: verdict };
}

function refused(reason: Reason, message: string): Verdict {
  return { kind: 'refused', why: { reason, message } };
}
