import { expect, test } from 'vitest';
import { Pins, pinnedBytesMax } from './pin-limit.ts';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;

test.each([
  ['a GiB on a large volume', { freeBytes: 500 * GIB, sizeBytes: 1000 * GIB }, GIB],
  ['2 % of what is free on a smaller one', { freeBytes: 10 * GIB, sizeBytes: 20 * GIB }, 0.2 * GIB],
  ['an archive where less than a tenth is free', { freeBytes: 99 * GIB, sizeBytes: 1000 * GIB }, 16 * MIB],
  ['an archive on a tiny one', { freeBytes: 100 * MIB, sizeBytes: 200 * MIB }, 16 * MIB],
  ['an archive where nobody can tell', undefined, 16 * MIB],
])('at most %s is held', (_what, space, bytes) => {
  expect(pinnedBytesMax(space)).toBe(bytes);
});

test('each file counts once, and what does not fit is refused', () => {
  const pins = new Pins(100);
  expect([pins.take({ path: 'a', sizeBytes: 60 }), pins.take({ path: 'a', sizeBytes: 60 })]).toEqual([true, true]);
  expect([pins.take({ path: 'b', sizeBytes: 40 }), pins.isExceeded]).toEqual([true, false]);
  expect([pins.take({ path: 'c', sizeBytes: 1 }), pins.isExceeded]).toEqual([false, true]);
});
