import { Failure } from '../base/failure.ts';
import { copyOf } from './coding.ts';
import { crc32c, unmaskCrc } from './crc32c.ts';

/**
 * Reads the records of a manifest from bytes that come in pieces.
 *
 *     file     := block*                        blocks of 32768 bytes, the last one may be shorter
 *     block    := physical* padding             padding: up to 6 zero bytes where no header fits
 *     physical := checksum length type payload  u32 LE, u16 LE, u8, `length` bytes; never crosses a block
 *     record   := FULL | FIRST MIDDLE* LAST     the payloads of these types, one after another
 *
 * The checksum is the masked CRC-32C of type and payload. After the last record, a preallocated file may go on
 * with zeros only. Types from 128 on that we do not know may be skipped; all others do not occur in a manifest,
 * since RocksDB writes it neither recycled nor compressed (db/log_format.h, log_reader.cc, log_writer.cc,
 * RocksDB 5.18 to 11.9).
 *
 * A record that is cut by the end of what was fed is waited for. Anything else that deviates is a Failure
 * `corrupt` with its position, after which the reader must not be used again.
 */
export class RecordReader {
  /** All bytes fed so far. */
  fedBytes = 0;
  /** The prefix that was read: it ends with the last whole physical record, or lies within the zero tail. */
  #position = 0;
  /** What was fed and not read yet: the head of a physical record. */
  #rest: Uint8Array = new Uint8Array(0);
  /** The fragments of a record that has not ended yet, undefined between records. */
  #fragments: Uint8Array[] | undefined;
  /** Where the record begins that was begun last. */
  #recordStart = 0;
  /** Where the zero tail begins, once it was seen. */
  #zerosFrom: number | undefined;

  /**
   * Takes the bytes that follow those fed before and hands every record that is now whole to `accept`, with the
   * positions in the file of its start and its end. The record is a view that is valid during the call only.
   */
  feed(bytes: Uint8Array, accept: (record: Uint8Array, start: number, end: number) => void): void {
    this.fedBytes += bytes.length;
    const input = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    let at = 0;
    for (let stepBytes = this.#stepBytes(input, at); stepBytes > 0; stepBytes = this.#stepBytes(input, at)) {
      const record = this.#take(input, at, stepBytes);
      at += stepBytes;
      this.#position += stepBytes;
      if (record !== undefined) accept(record, this.#recordStart, this.#position);
    }
    this.#rest = copyOf(input.subarray(at));
  }

  /** The length of what comes next, a physical record, padding or zeros; 0 while it is cut. */
  #stepBytes(input: Uint8Array, at: number): number {
    const availableBytes = input.length - at;
    if (this.#zerosFrom !== undefined) return availableBytes;
    const blockBytesLeft = BLOCK_BYTES - (this.#position % BLOCK_BYTES);
    if (blockBytesLeft < HEADER_BYTES) return Math.min(blockBytesLeft, availableBytes);
    if (availableBytes < HEADER_BYTES) return 0;
    const payloadBytes = input[at + 4]! | (input[at + 5]! << 8);
    if (payloadBytes === 0 && input[at + 6] === ZERO) {
      this.#zerosFrom = this.#position;
      return availableBytes;
    }
    const physicalBytes = HEADER_BYTES + payloadBytes;
    if (physicalBytes > blockBytesLeft) throw this.#corrupt(`crosses its block with ${payloadBytes} bytes`);
    return physicalBytes > availableBytes ? 0 : physicalBytes;
  }

  /** Checks this step; the record that it completes, if any. */
  #take(input: Uint8Array, at: number, stepBytes: number): Uint8Array | undefined {
    const end = at + stepBytes;
    const blockBytesLeft = BLOCK_BYTES - (this.#position % BLOCK_BYTES);
    if (this.#zerosFrom !== undefined || blockBytesLeft < HEADER_BYTES) {
      if (input.subarray(at, end).some((byte) => byte !== 0)) {
        throw this.#corrupt('is followed by other bytes where only zeros may be');
      }
      return undefined;
    }
    if (crc32c(input, at + 6, end) !== unmaskCrc(uint32(input, at))) throw this.#corrupt('has a wrong checksum');
    return this.#assemble(input[at + 6]!, input.subarray(at + HEADER_BYTES, end));
  }

  #assemble(type: number, payload: Uint8Array): Uint8Array | undefined {
    const open = this.#fragments;
    switch (type) {
      case FULL:
      case FIRST:
        // Old writers could leave an empty FIRST at the end of a block and begin anew in the next one.
        if (open?.some((fragment) => fragment.length > 0)) throw this.#corrupt('begins inside another record');
        this.#recordStart = this.#position;
        this.#fragments = type === FULL ? undefined : [copyOf(payload)];
        return type === FULL ? payload : undefined;
      case MIDDLE:
      case LAST:
        if (open === undefined) throw this.#corrupt('continues no record');
        open.push(copyOf(payload));
        if (type === MIDDLE) return undefined;
        this.#fragments = undefined;
        return Buffer.concat(open);
      default:
        if (type < SAFE_TO_IGNORE || WRITE_AHEAD_LOG_TYPES.has(type) || open !== undefined) {
          throw this.#corrupt(`has type ${type}, which has no place here`);
        }
        return undefined;
    }
  }

  #corrupt(what: string): Failure {
    return new Failure('corrupt', `record at byte ${this.#zerosFrom ?? this.#position} ${what}`);
  }
}

function uint32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}

/** The framing, shared with the writer. */
export const BLOCK_BYTES = 32_768;
export const HEADER_BYTES = 7;

export const FULL = 1;
export const FIRST = 2;
export const MIDDLE = 3;
export const LAST = 4;

const ZERO = 0;
const SAFE_TO_IGNORE = 128;

/** kPredecessorWALInfoType and its recyclable kin. */
const WRITE_AHEAD_LOG_TYPES: ReadonlySet<number> = new Set([130, 131]);
