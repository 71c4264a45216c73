import { describeDuration } from '../base/quantity.ts';
import { type BrokerFacts, type LogRange, splitPartition, type TopicFacts } from '../kafka/broker-facts.ts';
import type { Explanation } from '../streams/reason.ts';
import { GLOBAL_TASK } from '../streams/state-directory.ts';

/** State of a task, as far as brokers can say something about it. */
export interface StoredState {
  readonly task: string;
  /** Of an entry: the last applied one per changelog partition, for `global` the next to read. */
  readonly offsets: ReadonlyMap<string, bigint>;
  /** Of the topics when it was captured, as far as they were known. */
  readonly topicIds?: ReadonlyMap<string, string> | undefined;
}

/** The topics that a state stands upon. */
export function topicsOf(states: Iterable<Pick<StoredState, 'offsets'>>): ReadonlySet<string> {
  const topics = new Set<string>();
  for (const { offsets } of states) for (const key of offsets.keys()) topics.add(splitPartition(key).topic);
  return topics;
}

/** The ids of the topics that these offsets are of; undefined where none is known. */
export function topicIdsFor(
  offsets: ReadonlyMap<string, bigint>,
  facts: BrokerFacts | undefined,
): ReadonlyMap<string, string> | undefined {
  const ids = [...topicsOf([{ offsets }])].sort().flatMap((topic) => {
    const found = facts?.topics.get(topic);
    return found?.kind === 'present' && found.id !== undefined ? [[topic, found.id] as const] : [];
  });
  return ids.length === 0 ? undefined : new Map(ids);
}

/**
 * Why a state is not one of these logs: a topic is gone or is another one of that name, or the log does not reach what was
 * read of it. Undefined where nothing speaks against it.
 */
export function whyOtherHistory(state: StoredState, facts: BrokerFacts): Explanation | undefined {
  for (const { topic, partition, next, found, range } of positionsOf(state, facts)) {
    const other = whyOtherTopic(topic, { id: state.topicIds?.get(topic), found });
    if (other !== undefined) return other;
    const log = `the log of ${topic}-${partition}`;
    if (range === undefined) continue;
    if (next > range.end) return changed(`${log} ends at ${range.end}, and the state goes on at ${next}`);
    if (next < range.start) return changed(`${log} begins at ${range.start}, and the state goes on at ${next}`);
  }
  return undefined;
}

/** The same for a directory of which only the topics are known. */
export function whyOtherTopics(topicIds: ReadonlyMap<string, string>, facts: BrokerFacts): Explanation | undefined {
  for (const [topic, id] of topicIds) {
    const other = whyOtherTopic(topic, { id, found: facts.topics.get(topic) });
    if (other !== undefined) return other;
  }
  return undefined;
}

function whyOtherTopic(
  topic: string,
  { id, found }: { readonly id: string | undefined; readonly found: TopicFacts | undefined },
): Explanation | undefined {
  if (found === undefined) return undefined;
  if (found.kind === 'absent') return changed(`the topic ${topic} does not exist`);
  if (id === undefined || found.id === undefined || found.id === id) return undefined;
  return changed(`the topic ${topic} is another one now: its id was ${id} and is ${found.id}`);
}

/** Share of the retention that state may be old: 23 of 24 hours, for it takes time to start and to catch up. */
const RETENTION_SHARE = 23 / 24;

/** Why brokers may have forgotten deletions that a state of this age lacks; undefined where they cannot have. */
export function whyDeletionsLost(
  state: StoredState & { readonly ageMs: number },
  facts: BrokerFacts,
): Explanation | undefined {
  for (const { topic, found } of positionsOf(state, facts)) {
    const keptMs = found?.kind === 'present' ? found.tombstonesMs : undefined;
    if (keptMs === undefined || state.ageMs <= keptMs * RETENTION_SHARE) continue;
    const message = `its state is ${describeDuration(state.ageMs)} old, and ${topic} keeps deletions for ${describeDuration(keptMs)} (delete.retention.ms)`;
    return { reason: 'too_old', message };
  }
  return undefined;
}

/**
 * Whether nothing was written since: then it has no age. Where the application writes in transactions the last thing in
 * a settled log is the mark of the end of one, which is no record.
 */
export function standsAtEnd(state: StoredState, facts: BrokerFacts): boolean {
  const marks = facts.isTransactional === true && state.task !== GLOBAL_TASK ? 1n : 0n;
  const positions = [...positionsOf(state, facts)];
  return (
    positions.length > 0 &&
    positions.every(({ next, range }) => range?.isSettled === true && next <= range.end && range.end - next <= marks)
  );
}

/**
 * How many records are left to replay, at most: marks of transactions and what compaction took away count as well.
 * Undefined where not all logs are known.
 */
export function replayRecords(state: StoredState, facts: BrokerFacts): number | undefined {
  let records = 0n;
  for (const { next, range } of positionsOf(state, facts)) {
    if (range === undefined) return undefined;
    const from = next < range.start ? range.start : next;
    records += range.end > from ? range.end - from : 0n;
  }
  return Number(records);
}

interface Position {
  readonly topic: string;
  readonly partition: number;
  /** The offset that is read next. */
  readonly next: bigint;
  readonly found: TopicFacts | undefined;
  readonly range: LogRange | undefined;
}

function* positionsOf({ task, offsets }: StoredState, facts: BrokerFacts): Generator<Position, void> {
  for (const [key, offset] of offsets) {
    const { topic, partition } = splitPartition(key);
    const found = facts.topics.get(topic);
    const range = found?.kind === 'present' ? found.partitions.get(partition) : undefined;
    yield { topic, partition, next: task === GLOBAL_TASK ? offset : offset + 1n, found, range };
  }
}

function changed(message: string): Explanation {
  return { reason: 'topic_changed', message };
}
