import { Failure } from '../base/failure.ts';

/**
 * Kafka Streams' offset file, `.checkpoint` (org.apache.kafka.streams.state.internals.OffsetCheckpoint, 2.6 to 4.2):
 *
 *   file   := "0\n" count "\n" entry{count}
 *   entry  := topic " " partition " " offset "\n"
 *   offset := digits | "-4"
 *
 * It is replaced by rename, so a reader never sees a part of it. -4 is "this store is known, but has no offset yet".
 */
export interface Checkpoint {
  /** By `<topic>-<partition>`; for a task the last applied offset, for `global` the next one to read. */
  readonly offsets: ReadonlyMap<string, bigint>;
  /** Partitions that are named without an offset (-4). */
  readonly unknown: ReadonlySet<string>;
  /** Every topic that is named, with or without an offset. */
  readonly topics: ReadonlySet<string>;
}

const OFFSET_UNKNOWN = '-4';
// Kafka's own grammar of topic names; partitions and offsets as Java's Integer and Long print them.
const ENTRY = /^([A-Za-z0-9._-]{1,249}) (0|[1-9]\d{0,9}) (0|[1-9]\d{0,18}|-4)$/;
const PARTITION_MAX = 2 ** 31 - 1;
const OFFSET_MAX = 2n ** 63n - 1n;

/** Stricter than Kafka: whatever it would not have written itself is a Failure `corrupt`. */
export function decodeCheckpoint(bytes: Uint8Array): Checkpoint {
  const lines = new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes).split('\n');
  if (lines.pop() !== '') throw damaged('its last line is cut');
  const [version, count, ...entries] = lines;
  if (version !== '0') throw damaged(`its version is '${version ?? ''}', not 0`);
  if (count !== String(entries.length))
    throw damaged(`it announces '${count ?? ''}' entries and has ${entries.length}`);

  const offsets = new Map<string, bigint>();
  const unknown = new Set<string>();
  const topics = new Set<string>();
  for (const line of entries) {
    const [, topic = '', partition = '', offset = ''] = ENTRY.exec(line) ?? [];
    if (topic === '' || Number(partition) > PARTITION_MAX) throw damaged(`it has a malformed line '${line}'`);
    const key = `${topic}-${partition}`;
    if (offsets.has(key) || unknown.has(key)) throw damaged(`it names ${key} twice`);
    topics.add(topic);
    if (offset === OFFSET_UNKNOWN) unknown.add(key);
    else if (BigInt(offset) <= OFFSET_MAX) offsets.set(key, BigInt(offset));
    else throw damaged(`it has an impossible offset ${offset}`);
  }
  return { offsets, unknown, topics };
}

function damaged(what: string): Failure {
  return new Failure('corrupt', `cannot read .checkpoint: ${what}`);
}
