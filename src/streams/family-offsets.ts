import { Failure } from '../base/failure.ts';
import type { Explanation } from './reason.ts';

/**
 * What the column family `offsets` of one database says (KIP-1035; org.apache.kafka.streams.state.internals
 * AbstractColumnFamilyAccessor and PositionSerde, Kafka Streams 4.3.1; 4.3.0 and 4.4.0 write the same):
 *
 *     <topic>-<partition>   offset i64              -4 is "known, but no offset yet"
 *     status                1 or 0, i64             written when the store is opened, and when it is closed
 *     position              0 u8, (topic, (partition i32, offset i64)*)*, zeros
 *
 * Counts are i32 and stand before what they count, a topic is a length i32 and its bytes; all numbers are big-endian.
 * Kafka counts bits for bytes when it makes room for a position: hence the zeros.
 */
export interface FamilyOffsets {
  /** By `<topic>-<partition>`: for a task the last applied offset of a changelog, for `global` the next one to read. */
  readonly offsets: ReadonlyMap<string, bigint>;
  /** Partitions that are known, but have no offset yet: their store is being filled, or never got a record. */
  readonly unknown: ReadonlySet<string>;
  /** As it was flushed last: `closed` is "nothing was flushed since the last clean close". Transactional stores have none. */
  readonly status: 'open' | 'closed' | undefined;
  /** By `<topic>-<partition>` of the inputs: how far interactive queries may trust the store. */
  readonly position: ReadonlyMap<string, bigint>;
}

/** The family of one database as one look at its live tables saw it. */
export type FamilySight =
  | (FamilyOffsets & {
      readonly kind: 'read';
      /** The modification time of the newest table that holds an offset; undefined where none does. */
      readonly writtenNs: bigint | undefined;
      /** There are tables of other families. */
      readonly hasData: boolean;
    })
  | { readonly kind: 'unreadable'; readonly why: Explanation };

/** Whether a key of the family is that of an offset. */
export function isOffsetKey(key: string): boolean {
  return key !== STATUS_KEY && key !== POSITION_KEY;
}

/** From the keys, as latin1, and values of the family. `corrupt` for what Kafka would not have written, `invalid` for keys that are new. */
export function decodeFamilyOffsets(values: ReadonlyMap<string, Uint8Array>): FamilyOffsets {
  const offsets = new Map<string, bigint>();
  const unknown = new Set<string>();
  let status: FamilyOffsets['status'];
  let position: ReadonlyMap<string, bigint> = new Map();
  for (const [key, value] of values) {
    if (key === STATUS_KEY) status = decodeStatus(value);
    else if (key === POSITION_KEY) position = decodePosition(value);
    else if (!TOPIC_PARTITION.test(key))
      throw new Failure('invalid', `the key '${key}' among the offsets is not known`);
    else {
      const offset = decodeLong(key, value);
      if (offset >= 0n) offsets.set(key, offset);
      else if (offset === OFFSET_UNKNOWN) unknown.add(key);
      else throw new Failure('corrupt', `the offset of ${key} is ${offset}`);
    }
  }
  return { offsets, unknown, status, position };
}

/**
 * The offsets of a task from those of its databases. The segments of a store are flushed apart and carry one each for the
 * same partition, of which the least counts. A segment that was never flushed carries none and is not heard.
 */
export function leastOffsets(databases: Iterable<Pick<FamilyOffsets, 'offsets'>>): ReadonlyMap<string, bigint> {
  const least = new Map<string, bigint>();
  for (const { offsets } of databases) {
    for (const [partition, offset] of offsets) {
      const other = least.get(partition);
      if (other === undefined || offset < other) least.set(partition, offset);
    }
  }
  return least;
}

/** Of a store: open where one of its databases is, closed where all are, undefined where one does not say. */
export function statusOf(databases: readonly Pick<FamilyOffsets, 'status'>[]): FamilyOffsets['status'] {
  const all = new Set(databases.map(({ status }) => status));
  if (all.has('open')) return 'open';
  return all.size === 1 ? databases[0]?.status : undefined;
}

/** Of a store: each of its databases has seen that much of an input, the store as much as the furthest of them. */
export function positionOf(databases: readonly Pick<FamilyOffsets, 'position'>[]): FamilyOffsets['position'] {
  const furthest = new Map<string, bigint>();
  for (const { position } of databases) {
    for (const [partition, offset] of position) {
      const other = furthest.get(partition);
      if (other === undefined || offset > other) furthest.set(partition, offset);
    }
  }
  return furthest;
}

function decodeStatus(value: Uint8Array): FamilyOffsets['status'] {
  const status = decodeLong(STATUS_KEY, value);
  if (status === 0n) return 'closed';
  if (status === 1n) return 'open';
  throw new Failure('invalid', `the status is ${status}, which is not known`);
}

function decodePosition(value: Uint8Array): ReadonlyMap<string, bigint> {
  const input = new BigEndianReader(value);
  const version = input.byte();
  if (version !== 0) throw new Failure('invalid', `the position has version ${version}, which is not known`);
  const position = new Map<string, bigint>();
  for (let topics = input.count(TOPIC_BYTES_MIN); topics > 0; topics--) {
    const topic = input.text(input.count(1));
    for (let pairs = input.count(PAIR_BYTES); pairs > 0; pairs--) {
      const partition = `${topic}-${input.int()}`;
      const offset = input.long();
      if (!TOPIC_PARTITION.test(partition) || offset < 0n || position.has(partition)) {
        throw new Failure('corrupt', `the position names ${partition} with ${offset}`);
      }
      position.set(partition, offset);
    }
  }
  return position;
}

function decodeLong(key: string, value: Uint8Array): bigint {
  if (value.length !== 8) throw new Failure('corrupt', `the value of ${key} has ${value.length} bytes, not 8`);
  return new BigEndianReader(value).long();
}

/** Java's DataOutput, read within the bytes there are. */
class BigEndianReader {
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  byte(): number {
    return this.#view.getUint8(this.#take(1));
  }

  int(): number {
    return this.#view.getInt32(this.#take(4));
  }

  long(): bigint {
    return this.#view.getBigInt64(this.#take(8));
  }

  /** Of things that take at least so many bytes each. */
  count(bytesEach: number): number {
    const count = this.int();
    if (count < 0 || count * bytesEach > this.#view.byteLength - this.#at) throw cut(this.#at);
    return count;
  }

  text(length: number): string {
    const at = this.#take(length);
    return Buffer.from(this.#view.buffer, this.#view.byteOffset + at, length).toString('latin1');
  }

  #take(length: number): number {
    const at = this.#at;
    if (length > this.#view.byteLength - at) throw cut(at);
    this.#at = at + length;
    return at;
  }
}

function cut(at: number): Failure {
  return new Failure('corrupt', `the position is cut or malformed at byte ${at}`);
}

const STATUS_KEY = 'status';
const POSITION_KEY = 'position';
const OFFSET_UNKNOWN = -4n;
// Kafka's own grammar of topic names; partitions as Java's Integer prints them.
const TOPIC_PARTITION = /^[A-Za-z0-9._-]{1,249}-(?:0|[1-9]\d{0,9})$/;
/** Length, a byte of name, number of pairs. */
const TOPIC_BYTES_MIN = 9;
const PAIR_BYTES = 12;
