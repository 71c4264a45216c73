import { Failure } from '../base/failure.ts';

/*
 * The primitive types of Kafka's protocol (https://kafka.apache.org/protocol, "Protocol Primitive Types"): numbers are
 * big-endian; in flexible versions a compact string or array is prefixed with its length + 1 as an unsigned varint, 0
 * being null, and every structure ends with tagged fields.
 */

/** Puts one value after another together. */
export class WireWriter {
  readonly #parts: Buffer[] = [];

  int8(value: number): this {
    return this.#fixed(1, (bytes) => bytes.writeInt8(value));
  }

  int16(value: number): this {
    return this.#fixed(2, (bytes) => bytes.writeInt16BE(value));
  }

  int32(value: number): this {
    return this.#fixed(4, (bytes) => bytes.writeInt32BE(value));
  }

  int64(value: bigint): this {
    return this.#fixed(8, (bytes) => bytes.writeBigInt64BE(value));
  }

  string(value: string): this {
    const bytes = Buffer.from(value);
    return this.int16(bytes.length).raw(bytes);
  }

  bytes(value: Uint8Array): this {
    return this.int32(value.length).raw(value);
  }

  list<T>(items: readonly T[], write: (item: T) => void): this {
    this.int32(items.length);
    for (const item of items) write(item);
    return this;
  }

  compactString(value: string): this {
    const bytes = Buffer.from(value);
    return this.#varint(bytes.length + 1).raw(bytes);
  }

  compactList<T>(items: readonly T[], write: (item: T) => void): this {
    this.#varint(items.length + 1);
    for (const item of items) write(item);
    return this;
  }

  noTags(): this {
    return this.#varint(0);
  }

  raw(bytes: Uint8Array): this {
    this.#parts.push(Buffer.from(bytes));
    return this;
  }

  /** All of it. */
  finish(): Buffer {
    return Buffer.concat(this.#parts);
  }

  #varint(value: number): this {
    const bytes: number[] = [];
    for (let left = value; ; left >>>= 7) {
      bytes.push(left < 0x80 ? left : (left & 0x7f) | 0x80);
      if (left < 0x80) return this.raw(Uint8Array.from(bytes));
    }
  }

  #fixed(length: number, write: (bytes: Buffer) => void): this {
    const bytes = Buffer.alloc(length);
    write(bytes);
    this.#parts.push(bytes);
    return this;
  }
}

/** Takes one value after another from an answer; Failure `corrupt` where it ends too early. */
export class WireReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  boolean(): boolean {
    return this.int8() !== 0;
  }

  int8(): number {
    return this.#take(1).readInt8();
  }

  int16(): number {
    return this.#take(2).readInt16BE();
  }

  int32(): number {
    return this.#take(4).readInt32BE();
  }

  int64(): bigint {
    return this.#take(8).readBigInt64BE();
  }

  /** As Kafka's tools print one: url-safe base64 without padding. Undefined for all zeros, which stand for none. */
  uuid(): string | undefined {
    const bytes = this.#take(16);
    return bytes.some((byte) => byte !== 0) ? bytes.toString('base64url') : undefined;
  }

  string(): string | undefined {
    const length = this.int16();
    return length < 0 ? undefined : this.#take(length).toString();
  }

  bytes(): Buffer {
    const length = this.int32();
    return length < 0 ? Buffer.alloc(0) : this.#take(length);
  }

  list<T>(read: () => T): readonly T[] {
    return this.#items(this.int32(), read);
  }

  compactString(): string | undefined {
    const length = this.#varint();
    return length === 0 ? undefined : this.#take(length - 1).toString();
  }

  compactList<T>(read: () => T): readonly T[] {
    return this.#items(this.#varint() - 1, read);
  }

  skipTags(): void {
    for (let left = this.#varint(); left > 0; left--) {
      this.#varint();
      this.#take(this.#varint());
    }
  }

  #items<T>(count: number, read: () => T): readonly T[] {
    const items: T[] = [];
    for (let left = count; left > 0; left--) items.push(read());
    return items;
  }

  #varint(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.#take(1).readUInt8();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    throw new Failure('corrupt', 'a number has more than five bytes');
  }

  #take(length: number): Buffer {
    const from = this.#at;
    if (length > this.#bytes.length - from)
      throw new Failure('corrupt', `it ends after ${this.#bytes.length} bytes, ${length} are missing at ${from}`);
    this.#at = from + length;
    return this.#bytes.subarray(from, this.#at);
  }
}
