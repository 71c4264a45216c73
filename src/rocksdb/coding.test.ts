import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Failure } from '../base/failure.ts';
import { ByteReader, ByteWriter, copyOf } from './coding.ts';

const UINT64 = fc.bigInt(0n, 2n ** 64n - 1n);

describe('encodings', () => {
  test('every 64-bit number is read back as it was written, in as few bytes as it needs', () => {
    fc.assert(
      fc.property(UINT64, (value) => {
        const bytes = new ByteWriter().varint(value).bytes();
        expect(bytes).toHaveLength(Math.max(1, Math.ceil(value.toString(2).length / 7)));
        expect(new ByteReader(bytes).varint64BigInt('number')).toBe(value);
      }),
    );
  });

  test('the bytes are those of RocksDB', () => {
    expect([
      ...new ByteWriter()
        .varint(300)
        .varint(0)
        .varint(2n ** 64n - 1n)
        .bytes(),
    ]).toEqual([0xac, 0x02, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
  });

  test('numbers that stay numbers are refused above their range, never rounded', () => {
    fc.assert(
      fc.property(UINT64, (value) => {
        const bytes = new ByteWriter().varint(value).bytes();
        const isSafe = value <= BigInt(Number.MAX_SAFE_INTEGER);
        expect(outcome(() => new ByteReader(bytes).varint64('size'))).toEqual(isSafe ? Number(value) : 'corrupt');
        const isShort = value < 2n ** 32n;
        expect(outcome(() => new ByteReader(bytes).varint32('level'))).toEqual(isShort ? Number(value) : 'corrupt');
      }),
    );
  });

  test('a number that does not end, or has more than 64 bits, is corrupt', () => {
    expect(outcome(() => new ByteReader(Uint8Array.of(0x80)).varint32('tag'))).toBe('corrupt');
    expect(outcome(() => new ByteReader(new Uint8Array(11).fill(0x80)).varint64BigInt('sequence'))).toBe('corrupt');
    const bits70 = Uint8Array.of(...Array.from({ length: 9 }, () => 0xff), 0x7f);
    expect(outcome(() => new ByteReader(bits70).varint64BigInt('sequence'))).toBe('corrupt');
  });

  test('slices are read back, and one that is cut is corrupt and says where', () => {
    const bytes = new ByteWriter().slice(Buffer.from('abc')).slice(Buffer.alloc(200, 7)).bytes();
    const reader = new ByteReader(bytes);
    expect([Buffer.from(reader.slice('name')).toString(), reader.slice('body').length]).toEqual(['abc', 200]);
    expect(reader.atEnd).toBe(true);
    const cut = new ByteReader(bytes.subarray(0, 3));
    expect(() => cut.slice('name')).toThrow(new Failure('corrupt', 'name at byte 0 is malformed'));
  });

  test('a copy does not follow its original, also where that is a Buffer', () => {
    const original = Buffer.from('abc');
    const copy = copyOf(original.subarray(1));
    original.fill(0);
    expect(Buffer.from(copy).toString()).toBe('bc');
  });
});

/** What it returns, or the kind of the Failure that it throws. */
function outcome<T>(read: () => T): T | string {
  try {
    return read();
  } catch (error) {
    if (error instanceof Failure) return error.kind;
    throw error;
  }
}
