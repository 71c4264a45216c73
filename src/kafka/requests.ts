import { WireReader, WireWriter } from './wire.ts';

/*
 * The few requests that are made of brokers, each in one version that every broker from 2.8 to 4.x knows
 * (clients/src/main/resources/common/message/*.json, Kafka 2.8 and 4.4). Topic ids came with Metadata 10; what Kafka 4
 * dropped of old versions (KIP-896) is older than these.
 */

/** One request with the way to read its answer. */
export interface Request<T> {
  readonly name: string;
  readonly key: number;
  readonly version: number;
  /** Whether header and body are of the kind with tagged fields. */
  readonly isFlexible: boolean;
  readonly body: Buffer;
  readonly read: (answer: WireReader) => T;
}

/** Codes of errors: those that something follows from, and those that people may meet. */
export const UNKNOWN_TOPIC_OR_PARTITION = 3;
const ERROR_NAMES: ReadonlyMap<number, string> = new Map([
  [UNKNOWN_TOPIC_OR_PARTITION, 'UNKNOWN_TOPIC_OR_PARTITION'],
  [29, 'TOPIC_AUTHORIZATION_FAILED'],
  [31, 'CLUSTER_AUTHORIZATION_FAILED'],
  [33, 'UNSUPPORTED_SASL_MECHANISM'],
  [34, 'ILLEGAL_SASL_STATE'],
  [35, 'UNSUPPORTED_VERSION'],
  [58, 'SASL_AUTHENTICATION_FAILED'],
]);

export function describeError(code: number): string {
  return ERROR_NAMES.get(code) ?? `error ${code}`;
}

export interface Broker {
  readonly node: number;
  readonly host: string;
  readonly port: number;
}

export interface Metadata {
  readonly brokers: readonly Broker[];
  readonly topics: readonly {
    readonly error: number;
    readonly name: string;
    readonly id: string | undefined;
    readonly partitions: readonly { readonly partition: number; readonly leader: number }[];
  }[];
}

export function metadataOf(topics: readonly string[]): Request<Metadata> {
  const body = new WireWriter();
  body.compactList(topics, (topic) => body.raw(Buffer.alloc(16)).compactString(topic).noTags());
  const [allowAutoCreation, clusterOperations, topicOperations] = [0, 0, 0];
  body.int8(allowAutoCreation).int8(clusterOperations).int8(topicOperations).noTags();
  return { name: 'Metadata', key: 3, version: 10, isFlexible: true, body: body.finish(), read: readMetadata };
}

function readMetadata(answer: WireReader): Metadata {
  answer.int32(); // Throttled for so long.
  const brokers = answer.compactList(() => {
    const broker = { node: answer.int32(), host: answer.compactString() ?? '', port: answer.int32() };
    answer.compactString(); // Its rack.
    answer.skipTags();
    return broker;
  });
  answer.compactString(); // The id of the cluster.
  answer.int32(); // The node that is its controller.
  const topics = answer.compactList(() => {
    const topic = { error: answer.int16(), name: answer.compactString() ?? '', id: answer.uuid() };
    answer.boolean(); // Whether it is one of Kafka's own.
    const partitions = answer.compactList(() => {
      answer.int16();
      const partition = { partition: answer.int32(), leader: answer.int32() };
      answer.int32(); // The epoch of the leader.
      skipNodes(answer); // Its replicas,
      skipNodes(answer); // those in sync,
      skipNodes(answer); // and those offline.
      answer.skipTags();
      return partition;
    });
    answer.int32(); // What we may do with it.
    answer.skipTags();
    return { ...topic, partitions };
  });
  return { brokers, topics };
}

function skipNodes(answer: WireReader): void {
  answer.compactList(() => answer.int32());
}

export interface PartitionOf {
  readonly topic: string;
  readonly partition: number;
}

export interface ListedOffset extends PartitionOf {
  readonly error: number;
  readonly offset: bigint;
}

/** `start`: the first offset that is still there. `end`: the next one. `stable`: the first of an open transaction, else the next one. */
export function offsetsOf(
  partitions: readonly PartitionOf[],
  which: 'start' | 'end' | 'stable',
): Request<readonly ListedOffset[]> {
  const body = new WireWriter();
  const asConsumer = -1;
  body.int32(asConsumer).int8(which === 'stable' ? 1 : 0);
  body.list([...Map.groupBy(partitions, ({ topic }) => topic)], ([topic, of]) => {
    body.string(topic).list(of, ({ partition }) => body.int32(partition).int64(which === 'start' ? -2n : -1n));
  });
  return { name: 'ListOffsets', key: 2, version: 2, isFlexible: false, body: body.finish(), read: readOffsets };
}

function readOffsets(answer: WireReader): readonly ListedOffset[] {
  answer.int32(); // Throttled for so long.
  const topics = answer.list(() => {
    const topic = answer.string() ?? '';
    return answer.list(() => {
      const [partition, error] = [answer.int32(), answer.int16()];
      answer.int64(); // A timestamp.
      return { topic, partition, error, offset: answer.int64() };
    });
  });
  return topics.flat();
}

export interface TopicConfig {
  readonly topic: string;
  readonly error: number;
  readonly values: ReadonlyMap<string, string>;
}

export function configsOf(topics: readonly string[], keys: readonly string[]): Request<readonly TopicConfig[]> {
  const body = new WireWriter();
  const [ofTopic, withSynonyms] = [2, 0];
  body.list(topics, (topic) =>
    body
      .int8(ofTopic)
      .string(topic)
      .list(keys, (key) => body.string(key)),
  );
  body.int8(withSynonyms);
  return { name: 'DescribeConfigs', key: 32, version: 1, isFlexible: false, body: body.finish(), read: readConfigs };
}

function readConfigs(answer: WireReader): readonly TopicConfig[] {
  answer.int32(); // Throttled for so long.
  return answer.list(() => {
    const error = answer.int16();
    answer.string(); // The error in words.
    answer.int8(); // A topic, as asked.
    const topic = answer.string() ?? '';
    const values = answer.list(() => {
      const [key, value] = [answer.string() ?? '', answer.string() ?? ''];
      answer.boolean(); // Read only.
      answer.int8(); // Where it comes from.
      answer.boolean(); // Secret.
      answer.list(() => [answer.string(), answer.string(), answer.int8()]);
      return [key, value] as const;
    });
    return { topic, error, values: new Map(values) };
  });
}

export interface TransactionalIds {
  readonly error: number;
  readonly ids: readonly string[];
}

/** Of the transactions that one broker coordinates, in whatever state, as far as we may see them. */
export function transactionalIds(): Request<TransactionalIds> {
  const body = new WireWriter();
  const anyState: readonly string[] = [];
  const anyProducer: readonly bigint[] = [];
  body
    .compactList(anyState, (state) => body.compactString(state))
    .compactList(anyProducer, (producer) => body.int64(producer))
    .noTags();
  return {
    name: 'ListTransactions',
    key: 66,
    version: 0,
    isFlexible: true,
    body: body.finish(),
    read: readTransactionalIds,
  };
}

function readTransactionalIds(answer: WireReader): TransactionalIds {
  answer.int32(); // Throttled for so long.
  const error = answer.int16();
  answer.compactList(() => answer.compactString()); // States that it does not know.
  const ids = answer.compactList(() => {
    const id = answer.compactString() ?? '';
    answer.int64(); // Its producer.
    answer.compactString(); // Its state.
    answer.skipTags();
    return id;
  });
  return { error, ids };
}

export interface KnownRequest {
  readonly key: number;
  readonly min: number;
  readonly max: number;
}

/** Which requests a broker knows: the one question that it answers whoever asks. */
export function knownRequests(): Request<KnownRequests> {
  return {
    name: 'ApiVersions',
    key: 18,
    version: 0,
    isFlexible: false,
    body: Buffer.alloc(0),
    read: readKnownRequests,
  };
}

export interface KnownRequests {
  readonly error: number;
  readonly known: readonly KnownRequest[];
}

function readKnownRequests(answer: WireReader): KnownRequests {
  const error = answer.int16();
  return { error, known: answer.list(() => ({ key: answer.int16(), min: answer.int16(), max: answer.int16() })) };
}

export function saslHandshake(
  mechanism: string,
): Request<{ readonly error: number; readonly offered: readonly (string | undefined)[] }> {
  return {
    name: 'SaslHandshake',
    key: 17,
    version: 1,
    isFlexible: false,
    body: new WireWriter().string(mechanism).finish(),
    read: (answer) => ({ error: answer.int16(), offered: answer.list(() => answer.string()) }),
  };
}

export function saslAuthenticate(
  token: Uint8Array,
): Request<{ readonly error: number; readonly message: string | undefined; readonly token: Buffer }> {
  return {
    name: 'SaslAuthenticate',
    key: 36,
    version: 1,
    isFlexible: false,
    body: new WireWriter().bytes(token).finish(),
    read: (answer) => ({ error: answer.int16(), message: answer.string(), token: answer.bytes() }),
  };
}

const CLIENT_ID = 'warmstate';

/** The bytes of a request with its length before it. */
export function frameOf(request: Request<unknown>, correlationId: number): Buffer {
  const header = new WireWriter().int16(request.key).int16(request.version).int32(correlationId).string(CLIENT_ID);
  if (request.isFlexible) header.noTags();
  return new WireWriter().bytes(Buffer.concat([header.finish(), request.body])).finish();
}

/** What an answer, without the length before it, says to `request`; undefined where it answers another one. */
export function readAnswer<T>(request: Request<T>, answer: Buffer, correlationId: number): T | undefined {
  const reader = new WireReader(answer);
  if (reader.int32() !== correlationId) return undefined;
  if (request.isFlexible) reader.skipTags();
  return request.read(reader);
}
