import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isFailure } from '../base/failure.ts';
import { crc32c, maskCrc } from './crc32c.ts';
import { BLOCK_BYTES, FIRST, FULL, LAST, MIDDLE, RecordReader } from './record-reader.ts';
import { frameRecords } from './record-writer.ts';

/** Lengths around the edges of a block of 32768 bytes with its headers of 7 are likely. */
const RECORDS = fc.array(
  fc
    .oneof(fc.nat(300), fc.integer({ min: 32_700, max: 32_800 }), fc.integer({ min: 65_500, max: 65_560 }))
    .map((length) => Buffer.alloc(length, length)),
  { maxLength: 8 },
);

describe('records', () => {
  test('are read as they were framed, whatever their lengths and however they come', () => {
    fc.assert(
      fc.property(
        RECORDS,
        fc.array(fc.integer({ min: 500, max: 40_000 }), { maxLength: 30 }),
        (records, chunkSizes) => {
          const file = frameRecords(records);
          const { payloads, ends } = read(file, chunkSizes);
          expect(payloads.map(({ length }) => length)).toEqual(records.map(({ length }) => length));
          expect(Buffer.concat(payloads).equals(Buffer.concat(records))).toBe(true);
          expect(ends.at(-1) ?? 0).toBe(file.length);
        },
      ),
      { numRuns: 60 },
    );
  });

  test('come with the positions of their start and end', () => {
    const file = frameRecords([Buffer.alloc(10), Buffer.alloc(40_000), Buffer.alloc(0)]);
    const spans: (readonly [number, number])[] = [];
    new RecordReader().feed(file, (_record, start, end) => spans.push([start, end]));
    expect(spans).toEqual([
      [0, 17],
      [17, 40_000 + 17 + 14],
      [40_031, 40_038],
    ]);
  });

  test('a block with room for a header only begins with an empty fragment, as RocksDB writes it', () => {
    const file = frameRecords([Buffer.alloc(BLOCK_BYTES - 14), Buffer.from('abc')]);
    expect(file[BLOCK_BYTES - 1]).toBe(FIRST);
    expect(file[BLOCK_BYTES + 6]).toBe(LAST);
    expect(read(file).payloads.at(1)).toEqual(Buffer.from('abc'));
  });

  test('an empty FIRST that an old writer left behind is forgotten', () => {
    const file = Buffer.concat([physical(FIRST, ''), physical(FULL, 'abc')]);
    expect(read(file).payloads).toEqual([Buffer.from('abc')]);
  });

  test('a type that may be skipped is skipped', () => {
    const file = Buffer.concat([physical(FULL, 'a'), physical(200, 'new'), physical(FULL, 'b')]);
    expect(read(file).payloads).toEqual([Buffer.from('a'), Buffer.from('b')]);
  });

  test('zeros to the end are the end', () => {
    const file = Buffer.concat([physical(FULL, 'abc'), Buffer.alloc(100_000)]);
    expect(read(file, [15, 100, 32_768]).payloads).toEqual([Buffer.from('abc')]);
  });

  test('a cut record is waited for', () => {
    const file = frameRecords([Buffer.from('abc'), Buffer.from('defgh')]);
    for (let cut = 10; cut < file.length; cut++) {
      expect(read(file.subarray(0, cut)).payloads).toEqual([Buffer.from('abc')]);
    }
  });

  test.each<[string, readonly Uint8Array[], string]>([
    ['a wrong checksum', [flipped(physical(FULL, 'abc'), 9)], 'record at byte 0 has a wrong checksum'],
    ['a wrong type', [flipped(physical(FULL, 'abc'), 6)], 'record at byte 0 has a wrong checksum'],
    ['a length beyond the block', [header(FULL, 40_000)], 'record at byte 0 crosses its block with 40000 bytes'],
    ['a type that no manifest has', [physical(9, 'abc')], 'record at byte 0 has type 9, which has no place here'],
    ['a recycled log', [physical(5, '1234abc')], 'record at byte 0 has type 5, which has no place here'],
    ['a write-ahead log', [physical(130, 'abc')], 'record at byte 0 has type 130, which has no place here'],
    ['a continuation of nothing', [physical(MIDDLE, 'abc')], 'record at byte 0 continues no record'],
    ['an end of nothing', [physical(FULL, 'a'), physical(LAST, 'abc')], 'record at byte 8 continues no record'],
    [
      'a record inside another',
      [physical(FIRST, 'a'), physical(FULL, 'b')],
      'record at byte 8 begins inside another record',
    ],
    [
      'a skippable type inside a record',
      [physical(FIRST, 'a'), physical(200, 'b')],
      'record at byte 8 has type 200, which has no place here',
    ],
    [
      'bytes after zeros',
      [Buffer.alloc(20), Buffer.from('x')],
      'record at byte 0 is followed by other bytes where only zeros may be',
    ],
    [
      'a zero type with a checksum',
      [header(0, 0, 1)],
      'record at byte 0 is followed by other bytes where only zeros may be',
    ],
    [
      'padding that is not zero',
      [frameRecords([Buffer.alloc(BLOCK_BYTES - 10)]), Buffer.from('xyz')],
      'record at byte 32765 is followed by other bytes where only zeros may be',
    ],
  ])('%s is corrupt', (_name, parts, message) => {
    const file = Buffer.concat(parts);
    for (const chunkSizes of [[], file.length > 1000 ? [999] : [1, 3, 5, 7]]) {
      expect(() => read(file, chunkSizes)).toThrow(message);
      expect(() => read(file, chunkSizes)).toThrow(expect.toSatisfy((error) => isFailure(error, 'corrupt')));
    }
  });
});

/** Feeds the file in chunks of these sizes in turn (at once if there are none), through one buffer that is used again. */
function read(file: Uint8Array, chunkSizes: readonly number[] = []): { payloads: Uint8Array[]; ends: number[] } {
  const reader = new RecordReader();
  const payloads: Uint8Array[] = [];
  const ends: number[] = [];
  for (let at = 0, turn = 0; at < file.length; turn++) {
    const chunk = Buffer.from(file.subarray(at, at + (chunkSizes[turn % chunkSizes.length] ?? file.length)));
    at += chunk.length;
    reader.feed(chunk, (record, _start, end) => {
      payloads.push(Buffer.from(record));
      ends.push(end);
    });
    chunk.fill(0xee);
  }
  expect(reader.fedBytes).toBe(file.length);
  return { payloads, ends };
}

function physical(type: number, payload: string): Uint8Array {
  const bytes = Buffer.concat([header(type, payload.length), Buffer.from(payload)]);
  bytes.writeUInt32LE(maskCrc(crc32c(bytes, 6)), 0);
  return bytes;
}

function header(type: number, length: number, checksum = 0): Uint8Array {
  const bytes = Buffer.alloc(7);
  bytes.writeUInt32LE(checksum, 0);
  bytes.writeUInt16LE(length, 4);
  bytes[6] = type;
  return bytes;
}

function flipped(bytes: Uint8Array, at: number): Uint8Array {
  return bytes.map((byte, index) => (index === at ? byte ^ 4 : byte));
}
