import { Failure } from '../base/failure.ts';

/**
 * Reads RocksDB's encodings one after another (util/coding.h): varint32 and varint64 are little-endian groups
 * of seven bits, a slice is a varint32 length with so many bytes. What does not fit is a Failure `corrupt`
 * that names the thing and its position.
 */
export class ByteReader {
  readonly bytes: Uint8Array;
  position = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  get atEnd(): boolean {
    return this.position >= this.bytes.length;
  }

  varint32(what: string): number {
    const first = this.bytes[this.position];
    if (first !== undefined && first < 0x80) {
      this.position++;
      return first;
    }
    const start = this.position;
    const value = this.#varint(what, 5);
    if (value > 0xffffffff) throw malformed(what, start);
    return value;
  }

  /** A varint64 that is kept as a number: file numbers, sizes, counts. Failure `corrupt` above 2^53 - 1. */
  varint64(what: string): number {
    const start = this.position;
    const value = this.#varint(what, 10);
    if (value > Number.MAX_SAFE_INTEGER) throw malformed(what, start);
    return value;
  }

  /** A varint64 that may use all 64 bits: sequence numbers. */
  varint64BigInt(what: string): bigint {
    const start = this.position;
    const value = this.#varint(what, 10);
    if (value <= Number.MAX_SAFE_INTEGER) return BigInt(value);
    let exact = 0n;
    for (let at = this.position - 1; at >= start; at--) exact = (exact << 7n) | BigInt(this.bytes[at]! & 0x7f);
    if (exact > UINT64_MAX) throw malformed(what, start);
    return exact;
  }

  /** A view, not a copy. */
  slice(what: string): Uint8Array {
    const start = this.position;
    const length = this.varint32(what);
    const from = this.position;
    if (length > this.bytes.length - from) throw malformed(what, start);
    this.position = from + length;
    return this.bytes.subarray(from, this.position);
  }

  /** So many bytes that no length precedes; a view, not a copy. */
  take(length: number, what: string): Uint8Array {
    const start = this.position;
    if (length > this.bytes.length - start) throw malformed(what, start);
    this.position = start + length;
    return this.bytes.subarray(start, this.position);
  }

  /** Exact up to 2^53 - 1; above, some greater number. */
  #varint(what: string, bytesMax: number): number {
    const start = this.position;
    const end = Math.min(this.bytes.length, start + bytesMax);
    let value = 0;
    let scale = 1;
    for (let at = start; at < end; at++) {
      const byte = this.bytes[at]!;
      value += (byte & 0x7f) * scale;
      scale *= 128;
      if (byte < 0x80) {
        this.position = at + 1;
        return value;
      }
    }
    throw malformed(what, start);
  }
}

function malformed(what: string, at: number): Failure {
  return new Failure('corrupt', `${what} at byte ${at} is malformed`);
}

/** Collects the same encodings. */
export class ByteWriter {
  readonly #parts: Uint8Array[] = [];

  varint(value: number | bigint): this {
    const groups: number[] = [];
    let rest = BigInt(value);
    for (; rest >= 0x80n; rest >>= 7n) groups.push(Number(rest & 0x7fn) | 0x80);
    groups.push(Number(rest));
    return this.raw(Uint8Array.from(groups));
  }

  slice(bytes: Uint8Array): this {
    return this.varint(bytes.length).raw(bytes);
  }

  raw(bytes: Uint8Array): this {
    this.#parts.push(bytes);
    return this;
  }

  bytes(): Uint8Array {
    return Buffer.concat(this.#parts);
  }
}

/** A copy that no longer hangs on the buffer of `view`; the `slice` of a Buffer would be a view again. */
export function copyOf(view: Uint8Array): Uint8Array {
  return new Uint8Array(view);
}

const UINT64_MAX = 0xffff_ffff_ffff_ffffn;
