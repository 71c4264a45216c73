import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  describeAge,
  describeBytes,
  describeCount,
  describeDuration,
  describeRate,
  formatDuration,
  formatSize,
  parseDurationMs,
  parseSizeBytes,
} from './quantity.ts';

const wholes = fc.oneof(fc.maxSafeNat(), fc.nat(100_000));

test('a formatted duration parses to the same duration', () => {
  fc.assert(fc.property(wholes, (ms) => parseDurationMs(formatDuration(ms)) === ms));
});

test('a formatted size parses to the same size', () => {
  const multiples = fc.tuple(fc.nat(1023), fc.constantFrom(1, 2 ** 10, 2 ** 20, 2 ** 30, 2 ** 40));
  const sizes = fc.oneof(
    wholes,
    multiples.map(([count, unit]) => count * unit),
  );
  fc.assert(fc.property(sizes, (bytes) => parseSizeBytes(formatSize(bytes)) === bytes));
});

test('no text makes a parser throw or return anything but a whole number', () => {
  const texts = fc.oneof(fc.string(), fc.stringMatching(/^[0-9dhms.KMGTiB ]{0,12}$/));
  fc.assert(
    fc.property(texts, (text) => {
      for (const value of [parseDurationMs(text), parseSizeBytes(text)]) {
        if (value !== undefined) expect(Number.isSafeInteger(value)).toBe(true);
      }
    }),
  );
});

test.each([
  ['30s', 30_000],
  ['5m', 300_000],
  ['6h', 21_600_000],
  ['1h30m', 5_400_000],
  ['1d', 86_400_000],
  ['250ms', 250],
  ['0s', 0],
  ['', undefined],
  ['5', undefined],
  ['5 m', undefined],
  ['-5m', undefined],
  ['1.5h', undefined],
  ['30m1h', undefined],
  ['5min', undefined],
  ['99999999999999d', undefined],
])('the duration %j is %j ms', (text, ms) => {
  expect(parseDurationMs(text)).toBe(ms);
});

test.each([
  ['64MiB', 67_108_864],
  ['64Mi', 67_108_864],
  ['1.5GiB', 1_610_612_736],
  ['2TiB', 2_199_023_255_552],
  ['4KiB', 4_096],
  ['4096B', 4_096],
  ['4096', 4_096],
  ['0', 0],
  ['', undefined],
  ['64MB', undefined],
  ['64 MiB', undefined],
  ['-1MiB', undefined],
  ['0.3KiB', undefined],
  ['99999TiB', undefined],
])('the size %j is %j bytes', (text, bytes) => {
  expect(parseSizeBytes(text)).toBe(bytes);
});

test.each([
  [0, '0 B'],
  [812, '812 B'],
  [1_023, '1023 B'],
  [1_024, '1.0 KiB'],
  [1_023.6 * 1_024, '1.0 MiB'],
  [9.94 * 1_024, '9.9 KiB'],
  [9.96 * 1_024, '10 KiB'],
  [64 * 2 ** 20, '64 MiB'],
  [1.23 * 2 ** 30, '1.2 GiB'],
  [5_000 * 2 ** 40, '5000 TiB'],
])('%j bytes read %j', (bytes, text) => {
  expect(describeBytes(bytes)).toBe(text);
  expect(describeRate(bytes)).toBe(`${text}/s`);
});

test.each([
  [0, '0 ms'],
  [999.4, '999 ms'],
  [999.6, '1.0 s'],
  [4_240, '4.2 s'],
  [38_400, '38 s'],
  [59_700, '1 min 00 s'],
  [304_000, '5 min 04 s'],
  [3_599_000, '1 h 00 min'],
  [7_500_000, '2 h 05 min'],
  [86_399_000, '1 d 00 h'],
  [273_600_000, '3 d 04 h'],
])('a duration of %j ms reads %j', (ms, text) => {
  expect(describeDuration(ms)).toBe(text);
});

test.each([
  [0, '0 s ago'],
  [59_999, '59 s ago'],
  [60_000, '1 min ago'],
  [3_599_999, '59 min ago'],
  [3_600_000, '1 h ago'],
  [47 * 3_600_000, '47 h ago'],
  [48 * 3_600_000, '2 d ago'],
  [-400, '0 s ago'],
  [-180_000, 'in 3 min'],
])('an age of %j ms reads %j', (ms, text) => {
  expect(describeAge(ms)).toBe(text);
});

test('a count carries its noun in the right number', () => {
  expect([0, 1, 2, 1_312].map((count) => describeCount(count, 'task'))).toEqual([
    '0 tasks',
    '1 task',
    '2 tasks',
    '1,312 tasks',
  ]);
});
