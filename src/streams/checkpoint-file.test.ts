import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isFailure } from '../base/failure.ts';
import { decodeCheckpoint } from './checkpoint-file.ts';

const TEXT = '0\n3\norders-agg-changelog 3 100\norders-win-changelog 3 0\norders-new-changelog 3 -4\n';

describe('a checkpoint file', () => {
  test('says of every changelog partition how far its store is', () => {
    expect(decode(TEXT)).toEqual({
      offsets: new Map([
        ['orders-agg-changelog-3', 100n],
        ['orders-win-changelog-3', 0n],
      ]),
      unknown: new Set(['orders-new-changelog-3']),
      topics: new Set(['orders-agg-changelog', 'orders-win-changelog', 'orders-new-changelog']),
    });
  });

  test('of global stores names several partitions of a topic', () => {
    expect(decode('0\n2\ncountries 0 7\ncountries 1 9\n')).toEqual({
      offsets: new Map([
        ['countries-0', 7n],
        ['countries-1', 9n],
      ]),
      unknown: new Set(),
      topics: new Set(['countries']),
    });
  });

  test('may name nothing', () => {
    expect(decode('0\n0\n')).toEqual({ offsets: new Map(), unknown: new Set(), topics: new Set() });
  });

  test('has offsets up to the greatest of Java', () => {
    const key = `${'t'.repeat(249)} 2147483647 9223372036854775807`;
    expect(decode(`0\n1\n${key}\n`).offsets).toEqual(new Map([[`${'t'.repeat(249)}-2147483647`, 2n ** 63n - 1n]]));
  });

  test('of ten thousand lines is read whole', () => {
    const lines = Array.from({ length: 10_000 }, (_, partition) => `topic ${partition} ${partition * 1_000}`);
    expect(decode(['0', '10000', ...lines, ''].join('\n')).offsets.size).toBe(10_000);
  });

  test.each([
    ['', "cannot read .checkpoint: its version is '', not 0"],
    ['0', 'cannot read .checkpoint: its last line is cut'],
    ['1\n0\n', "cannot read .checkpoint: its version is '1', not 0"],
    ['\uFEFF0\n0\n', "cannot read .checkpoint: its version is '\uFEFF0', not 0"],
    ['0\r\n0\r\n', "cannot read .checkpoint: its version is '0\r', not 0"],
    ['0\n', "cannot read .checkpoint: it announces '' entries and has 0"],
    ['0\n1\n', "cannot read .checkpoint: it announces '1' entries and has 0"],
    ['0\n0\nt 0 1\n', "cannot read .checkpoint: it announces '0' entries and has 1"],
    ['0\n01\nt 0 1\n', "cannot read .checkpoint: it announces '01' entries and has 1"],
    ['0\n-1\n', "cannot read .checkpoint: it announces '-1' entries and has 0"],
    ['0\n2\nt 0 1\nt 0 1\n', 'cannot read .checkpoint: it names t-0 twice'],
    ['0\n2\nt 0 -4\nt 0 1\n', 'cannot read .checkpoint: it names t-0 twice'],
    ['0\n1\nt 0 9223372036854775808\n', 'cannot read .checkpoint: it has an impossible offset 9223372036854775808'],
  ])('%j is refused', (text, message) => {
    expect(() => decode(text)).toThrow(
      expect.toSatisfy((error) => isFailure(error, 'corrupt') && error.message === message),
    );
  });

  test.each([
    't 0',
    't 0 1 2',
    't  0 1',
    't\t0 1',
    ' t 0 1',
    't 0 1 ',
    't 0 -1',
    't 0 -3',
    't 0 +1',
    't 0 1.0',
    't 0 01',
    't 00 1',
    't -1 1',
    't 2147483648 1',
    't 0 10000000000000000000',
    'tö 0 1',
    `${'t'.repeat(250)} 0 1`,
    '',
  ])('the line %j is refused', (line) => {
    expect(() => decode(`0\n1\n${line}\n`)).toThrow(
      expect.toSatisfy(
        (error) =>
          isFailure(error, 'corrupt') && error.message === `cannot read .checkpoint: it has a malformed line '${line}'`,
      ),
    );
  });

  test('cut at any byte is refused', () => {
    for (let length = 0; length < TEXT.length; length++) {
      expect(() => decode(TEXT.slice(0, length))).toThrow(expect.toSatisfy((error) => isFailure(error, 'corrupt')));
    }
  });

  test('of any bytes is a checkpoint or a failure, and what is read is what Kafka Streams would write', () => {
    const line = fc.stringMatching(/^[a-c]{1,2} [0-2] (-4|-1|[0-9]{1,2})$/);
    const texts = fc
      .tuple(fc.nat(4), fc.array(line, { maxLength: 4 }))
      .map(([count, lines]) => ['0', count, ...lines, ''].join('\n'));
    const inputs = fc.oneof(
      texts.map((text) => Buffer.from(text)),
      fc.uint8Array({ maxLength: 40 }),
    );
    fc.assert(
      fc.property(inputs, (bytes) => {
        try {
          const { offsets, unknown } = decodeCheckpoint(bytes);
          const entries = [...offsets, ...[...unknown].map((key) => [key, -4n] as const)];
          const lines = entries.map(([key, offset]) => `${key.replace(/-(\d+)$/, ' $1')} ${offset}`);
          expect(Buffer.from(bytes).toString().split('\n').slice(0, 2)).toEqual(['0', String(entries.length)]);
          expect(Buffer.from(bytes).toString().split('\n').slice(2, -1).sort()).toEqual(lines.sort());
        } catch (error) {
          if (!isFailure(error, 'corrupt')) throw error;
        }
      }),
      { numRuns: 2_000 },
    );
  });
});

function decode(text: string): ReturnType<typeof decodeCheckpoint> {
  return decodeCheckpoint(Buffer.from(text));
}
