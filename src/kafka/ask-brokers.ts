import type { Clock } from '../base/clock.ts';
import { mapBounded } from '../base/concurrency.ts';
import { Failure, isFailure } from '../base/failure.ts';
import { BrokerConnection, type BrokerWorld, nameOf, type Security } from './broker-connection.ts';
import type { BrokerAddress, BrokerFacts, LogRange, TopicFacts } from './broker-facts.ts';
import {
  configsOf,
  type ListedOffset,
  type Metadata,
  metadataOf,
  offsetsOf,
  type PartitionOf,
  transactionalIds,
  UNKNOWN_TOPIC_OR_PARTITION,
} from './requests.ts';

export interface BrokerAccess {
  /** Asked for the others, one after another until one answers. */
  readonly bootstrap: readonly BrokerAddress[];
  readonly security: Security;
  /** For everything: whoever has not answered within it will not. */
  readonly answerMsMax: number;
}

export interface BrokerQuestion {
  /** Undefined: whose transactional ids these are is not asked. */
  readonly applicationId: string | undefined;
  readonly topics: ReadonlySet<string>;
}

const SECOND_LOOK_MS = 1000;
/** Of names of topics (Kafka, internals/Topic.java). */
const TOPIC_LENGTH_MAX = 249;
/** Of the time for everything: one address and one broker may be silent, and the others are heard. */
const SILENCE_SHARE = 1 / 3;
/** Brokers asked at a time. */
const BROKERS_MAX = 8;

/**
 * Asks brokers what they know of an application's changelogs: ids and configuration of the topics, how far each log
 * reaches, and whether the application writes in transactions. What they do not say, or one of them does not answer, is
 * left out. Failure `unavailable` where none can be asked in time.
 */
export async function askBrokers(
  access: BrokerAccess,
  { applicationId, topics }: BrokerQuestion,
  { clock, random, signal }: Omit<BrokerWorld, 'silenceMsMax'> & { readonly clock: Clock },
): Promise<BrokerFacts> {
  const late = AbortSignal.timeout(access.answerMsMax);
  const silenceMsMax = access.answerMsMax * SILENCE_SHARE;
  const world = { clock, random, silenceMsMax, signal: AbortSignal.any([signal, late]) };
  try {
    await using first = await openFirst(access, world);
    const possible = new Set([...topics].filter((topic) => topic.length <= TOPIC_LENGTH_MAX));
    const answered = await askForTopics(first, possible, world);
    const metadata = { ...answered, topics: answered.topics.filter(({ name }) => possible.has(name)) };
    const present = metadata.topics.filter(({ error, partitions }) => error === 0 && partitions.length > 0);
    const configs =
      present.length === 0
        ? []
        : await first.send(
            configsOf(
              present.map(({ name }) => name),
              CONFIG_KEYS,
            ),
          );
    const brokers = await askEach({ ...metadata, topics: present }, access.security, world);
    const ranges = rangesIn(brokers.flatMap(({ logs }) => logs));
    const factsOf = ({ name, id, error }: Metadata['topics'][number]): readonly (readonly [string, TopicFacts])[] => {
      if (error === UNKNOWN_TOPIC_OR_PARTITION) return [[name, { kind: 'absent' }]];
      if (error !== 0) return [];
      const values = configs.find((config) => config.topic === name && config.error === 0)?.values;
      return [
        [name, { kind: 'present', id, tombstonesMs: tombstonesMs(values), partitions: ranges.get(name) ?? new Map() }],
      ];
    };
    const ids = brokers.map(({ transactional }) =>
      applicationId === undefined ? undefined : transactional?.some((id) => isTransactionalIdOf(applicationId, id)),
    );
    return {
      topics: new Map(metadata.topics.flatMap(factsOf)),
      isTransactional: ids.includes(true) ? true : ids.includes(undefined) ? undefined : false,
    };
  } catch (error) {
    signal.throwIfAborted();
    if (!late.aborted) throw error;
    throw new Failure(
      'unavailable',
      `cannot ask brokers at ${access.bootstrap.map(nameOf).join(', ')}: no answer within ${access.answerMsMax / 1000} s`,
      { cause: error },
    );
  }
}

const CONFIG_KEYS = ['cleanup.policy', 'delete.retention.ms'] as const;

async function openFirst({ bootstrap, security }: BrokerAccess, world: BrokerWorld): Promise<BrokerConnection> {
  let failure: unknown;
  for (const address of bootstrap) {
    try {
      return await BrokerConnection.open(address, security, world);
    } catch (error) {
      world.signal.throwIfAborted();
      failure ??= error;
    }
  }
  throw failure;
}

/** A broker that has only just started may not know a topic yet: none is called absent that is there at a second look. */
async function askForTopics(
  connection: BrokerConnection,
  topics: ReadonlySet<string>,
  { clock, signal }: BrokerWorld & { readonly clock: Clock },
): Promise<Metadata> {
  const request = metadataOf([...topics]);
  const metadata = await connection.send(request);
  if (metadata.topics.every(({ error }) => error !== UNKNOWN_TOPIC_OR_PARTITION)) return metadata;
  await clock.sleep(SECOND_LOOK_MS, signal);
  return connection.send(request);
}

interface BrokerAnswer {
  readonly logs: readonly PartitionRange[];
  /** Undefined where it does not say. */
  readonly transactional: readonly string[] | undefined;
}

interface PartitionRange extends LogRange {
  readonly topic: string;
  readonly partition: number;
}

/** Every broker, for the partitions that it leads and the transactions that it coordinates. */
async function askEach(metadata: Metadata, security: Security, world: BrokerWorld): Promise<readonly BrokerAnswer[]> {
  return mapBounded(metadata.brokers, { limit: BROKERS_MAX, signal: world.signal }, async (broker) => {
    const led = metadata.topics.flatMap(({ name, partitions }) =>
      partitions.filter(({ leader }) => leader === broker.node).map(({ partition }) => ({ topic: name, partition })),
    );
    const answer: { logs: readonly PartitionRange[]; transactional: readonly string[] | undefined } = {
      logs: [],
      transactional: undefined,
    };
    try {
      await using connection = await BrokerConnection.open(broker, security, world);
      if (led.length > 0) answer.logs = await askForLogs(connection, led);
      const { error, ids } = await connection.send(transactionalIds());
      if (error === 0) answer.transactional = ids;
    } catch (error) {
      if (!isFailure(error) || world.signal.aborted) throw error;
    }
    return answer;
  });
}

async function askForLogs(
  connection: BrokerConnection,
  partitions: readonly PartitionOf[],
): Promise<readonly PartitionRange[]> {
  const starts = await connection.send(offsetsOf(partitions, 'start'));
  // In this order: what comes in between counts as not settled.
  const stables = offsetByPartition(await connection.send(offsetsOf(partitions, 'stable')));
  const ends = offsetByPartition(await connection.send(offsetsOf(partitions, 'end')));
  return starts.flatMap(({ topic, partition, error, offset: start }) => {
    const end = ends.get(`${topic}-${partition}`);
    if (error !== 0 || end === undefined) return [];
    return [{ topic, partition, start, end, isSettled: stables.get(`${topic}-${partition}`) === end }];
  });
}

function offsetByPartition(listed: readonly ListedOffset[]): ReadonlyMap<string, bigint> {
  const known = listed.filter(({ error }) => error === 0);
  return new Map(known.map(({ topic, partition, offset }) => [`${topic}-${partition}`, offset]));
}

/** By topic and partition. */
function rangesIn(logs: readonly PartitionRange[]): ReadonlyMap<string, ReadonlyMap<number, LogRange>> {
  const byTopic = [...Map.groupBy(logs, ({ topic }) => topic)];
  return new Map(
    byTopic.map(([topic, of]) => [
      topic,
      new Map(of.map(({ partition, start, end, isSettled }) => [partition, { start, end, isSettled }])),
    ]),
  );
}

/** How long a compacted log keeps the mark of a deleted key at least. */
function tombstonesMs(values: ReadonlyMap<string, string> | undefined): number | undefined {
  if (!(values?.get('cleanup.policy') ?? '').split(',').includes('compact')) return undefined;
  const ms = Number(values?.get('delete.retention.ms'));
  return Number.isFinite(ms) ? ms : undefined;
}

const UUID = '[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}';
/** Of a thread (exactly_once_v2: StreamsProducer, ActiveTaskCreator), or of a task (exactly_once, before Kafka Streams 4.0). */
const AFTER_APPLICATION = new RegExp(`^-(?:${UUID}-\\d+|\\d+_\\d+)$`);

function isTransactionalIdOf(applicationId: string, id: string): boolean {
  return id.startsWith(applicationId) && AFTER_APPLICATION.test(id.slice(applicationId.length));
}
