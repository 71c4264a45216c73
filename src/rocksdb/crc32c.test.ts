import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { crc32c, maskCrc, unmaskCrc } from './crc32c.ts';

describe('crc32c', () => {
  test.each([
    ['nothing', new Uint8Array(0), 0],
    ['the check string of the CRC catalogue', Buffer.from('123456789'), 0xe3069283],
    ['32 zeros (RFC 3720)', new Uint8Array(32), 0x8a9136aa],
    ['32 bytes of 0xff (RFC 3720)', new Uint8Array(32).fill(0xff), 0x62a8ab43],
    ['0 to 31 (RFC 3720)', Uint8Array.from({ length: 32 }, (_, i) => i), 0x46dd794e],
    ['31 to 0 (RFC 3720)', Uint8Array.from({ length: 32 }, (_, i) => 31 - i), 0x113fdb5c],
  ])('of %s is the published value', (_name, bytes, expected) => {
    expect(crc32c(bytes)).toBe(expected);
  });

  test('equals the definition bit by bit, for every stretch of any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(100), fc.nat(100), (bytes, from, to) => {
        const [start, end] = [Math.min(from, to, bytes.length), Math.min(Math.max(from, to), bytes.length)];
        expect(crc32c(bytes, start, end)).toBe(bitwise(bytes.subarray(start, end)));
      }),
    );
  });

  test('is masked as in the unit test of RocksDB, and unmasked again', () => {
    const crc = crc32c(Buffer.from('foo'));
    expect(maskCrc(crc)).not.toBe(crc);
    expect(maskCrc(0)).toBe(0xa282ead8);
    expect(unmaskCrc(unmaskCrc(maskCrc(maskCrc(crc))))).toBe(crc);
    fc.assert(fc.property(fc.nat(0xffffffff), (value) => unmaskCrc(maskCrc(value)) === value));
  });
});

function bitwise(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}
