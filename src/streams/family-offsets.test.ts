import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isFailure } from '../base/failure.ts';
import { decodeFamilyOffsets, type FamilyOffsets, leastOffsets, statusOf } from './family-offsets.ts';

describe('the offsets of a database', () => {
  test('are those of its changelog partitions, with status and position', () => {
    // As Kafka Streams 4.3.1 wrote them, the position with its zeros.
    const position = '00000000010000000c6f72646572732d696e70757400000001000000010000000000000cfc';
    const values = new Map([
      ['orders-agg-changelog-1', long(3324n)],
      ['position', Buffer.concat([Buffer.from(position, 'hex'), Buffer.alloc(168)])],
      ['status', long(0n)],
    ]);
    expect(decodeFamilyOffsets(values)).toEqual({
      offsets: new Map([['orders-agg-changelog-1', 3324n]]),
      unknown: new Set(),
      status: 'closed',
      position: new Map([['orders-input-1', 3324n]]),
    });
  });

  test('may be none, or known without a value', () => {
    expect(decodeFamilyOffsets(new Map())).toEqual(offsetsOf({}, undefined));
    const values = new Map([
      ['a-0', long(-4n)],
      ['a-1', long(2n ** 63n - 1n)],
      ['status', long(1n)],
    ]);
    expect(decodeFamilyOffsets(values)).toEqual({
      ...offsetsOf({ 'a-1': 2n ** 63n - 1n }, 'open'),
      unknown: new Set(['a-0']),
    });
  });

  test.each([
    ['a status that is new', 'status', long(2n), 'invalid', 'the status is 2, which is not known'],
    ['a short status', 'status', Buffer.alloc(4), 'corrupt', 'the value of status has 4 bytes, not 8'],
    ['a short offset', 'a-0', Buffer.alloc(7), 'corrupt', 'the value of a-0 has 7 bytes, not 8'],
    ['an offset below zero', 'a-0', long(-1n), 'corrupt', 'the offset of a-0 is -1'],
    ['a key that is new', 'epoch', long(1n), 'invalid', "the key 'epoch' among the offsets is not known"],
    ['a key that is no topic', 'a/b-0', long(1n), 'invalid', "the key 'a/b-0' among the offsets is not known"],
    ['an empty position', 'position', Buffer.alloc(0), 'corrupt', 'the position is cut or malformed at byte 0'],
    ['a newer position', 'position', Buffer.from([1]), 'invalid', 'the position has version 1, which is not known'],
    [
      'a position of more topics than fit',
      'position',
      Buffer.from('007fffffff00000000', 'hex'),
      'corrupt',
      'the position is cut or malformed at byte 5',
    ],
    [
      'a position of less than no topics',
      'position',
      Buffer.from('00ffffffff', 'hex'),
      'corrupt',
      'the position is cut or malformed at byte 5',
    ],
    [
      'a position that names a partition twice',
      'position',
      Buffer.from('0000000001000000016100000002000000000000000000000001000000000000000000000002', 'hex'),
      'corrupt',
      'the position names a-0 with 2',
    ],
    [
      'a position of a topic without a name',
      'position',
      Buffer.from('0000000001000000000000000100000000000000000000000000', 'hex'),
      'corrupt',
      'the position names -0 with 0',
    ],
  ] as const)('are refused with %s', (_name, key, value, kind, message) => {
    expect(() => decodeFamilyOffsets(new Map([[key, value]]))).toThrow(expect.objectContaining({ kind, message }));
  });

  test('of any bytes give offsets or a failure', () => {
    const keys = fc.constantFrom('status', 'position', 'a-0', 'a-1');
    fc.assert(
      fc.property(fc.array(fc.tuple(keys, fc.uint8Array({ maxLength: 60 }))), (values) => {
        try {
          decodeFamilyOffsets(new Map(values));
        } catch (error) {
          if (!isFailure(error, 'corrupt', 'invalid')) throw error;
        }
      }),
      { numRuns: 1000 },
    );
  });
});

test('the offsets of a task are the least of its databases', () => {
  const databases = [
    offsetsOf({ 'win-changelog-0': 1139n }, 'open'),
    offsetsOf({ 'agg-changelog-0': 2155n }, 'open'),
    offsetsOf({ 'win-changelog-0': 1053n }, 'closed'),
  ];
  const least = new Map([
    ['win-changelog-0', 1053n],
    ['agg-changelog-0', 2155n],
  ]);
  expect([leastOffsets(databases), leastOffsets(databases.toReversed())]).toEqual([least, least]);
});

test.each([
  [[], undefined],
  [['closed'], 'closed'],
  [['closed', 'closed'], 'closed'],
  [['closed', 'open'], 'open'],
  [['closed', undefined], undefined],
  [['open', undefined], 'open'],
  [[undefined, undefined], undefined],
] as const)('a store of databases that are %j is %s', (statuses, expected) => {
  expect(statusOf(statuses.map((status) => offsetsOf({}, status)))).toBe(expected);
});

function offsetsOf(offsets: Readonly<Record<string, bigint>>, status: FamilyOffsets['status']): FamilyOffsets {
  return { offsets: new Map(Object.entries(offsets)), unknown: new Set(), status, position: new Map() };
}

function long(value: bigint): Uint8Array {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(value);
  return bytes;
}
