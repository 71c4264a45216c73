import { describe, expect, test } from 'vitest';
import { type ClockSighting, clocksShape, mayBeOlderByMs, mergeClocks, noteClock, sampleClock } from './clocks.ts';

const NOW_MS = 1_750_000_000_000;
const MINUTE_MS = 60_000;

function open(storeAheadMs: number): ClockSighting {
  return { storeAheadMs, untilMs: undefined };
}

function over(storeAheadMs: number, untilMs: number): ClockSighting {
  return { storeAheadMs, untilMs };
}

test('a sample is taken of a prompt answer alone, during which nobody set the clock', () => {
  const storeTimeMs = NOW_MS + 5000;
  const taken = [0, 1000, 1001, -1].map((tookMs) =>
    sampleClock({ nowMs: () => NOW_MS + tookMs }, { askedAtMs: NOW_MS, storeTimeMs }),
  );
  expect(taken).toEqual([
    { storeAheadMs: 5000, storeTimeMs },
    { storeAheadMs: 4000, storeTimeMs },
    undefined,
    undefined,
  ]);
});

describe('what is known of a clock', () => {
  const at = (storeAheadMs: number, storeTimeMs = NOW_MS) => ({ storeAheadMs, storeTimeMs });

  test.each<[string, readonly ClockSighting[], readonly ClockSighting[]]>([
    ['begins with its first sample', [], [open(0)]],
    ['stays while samples agree to three seconds', [open(3000)], [open(3000)]],
    ['ends when they no longer do', [open(3001)], [over(3001, NOW_MS), open(0)]],
    [
      'ends for all that several processes left',
      [open(9000), open(1), open(-9000)],
      [over(9000, NOW_MS), over(-9000, NOW_MS), open(1)],
    ],
    ['keeps what is over', [over(-9000, NOW_MS - 1), open(0)], [over(-9000, NOW_MS - 1), open(0)]],
    [
      'has those that agree as one, the farthest and longest',
      [over(-9000, NOW_MS - 5), over(-9500, NOW_MS - 9), open(50_000)],
      [over(-9500, NOW_MS - 5), over(50_000, NOW_MS), open(0)],
    ],
  ])('%s', (_name, known, expected) => {
    expect(noteClock(known, at(0))).toEqual(expected);
  });

  test('is the same list where nothing is new, and without a sample', () => {
    const known = [over(-9000, NOW_MS - 1), open(0)];
    expect(noteClock(known, at(-2000))).toBe(known);
    expect(noteClock(known, undefined)).toBe(known);
  });

  test('has an end, and forgets nothing that would make a stamp look younger', () => {
    let known: readonly ClockSighting[] = [];
    for (let n = 0; n <= 40; n++) known = noteClock(known, at(n * MINUTE_MS, NOW_MS + n));
    expect(known.length).toBe(16);
    expect(known[0]).toEqual(over(0, NOW_MS + 26));
    expect(known.at(-1)).toEqual(open(40 * MINUTE_MS));
  });

  test('is what all lives left, those that knew nothing too', () => {
    expect(mergeClocks(undefined, [open(1)], [over(2, 3)])).toEqual([open(1), over(2, 3)]);
  });

  test('is written and read', () => {
    const known = [over(-9000, NOW_MS), open(7)];
    expect(clocksShape.decode(JSON.parse(JSON.stringify(clocksShape.encode(known))), 'clocks')).toEqual(known);
  });
});

describe('by how much a stamp may be older', () => {
  const now = { storeAheadMs: 0, storeTimeMs: NOW_MS };
  const stampMs = NOW_MS - 20 * MINUTE_MS;

  test.each<[string, readonly ClockSighting[], number]>([
    ['by nothing where nothing else is known', [], 0],
    ['by what a clock was faster, while it was', [over(-10 * MINUTE_MS, NOW_MS - 30 * MINUTE_MS - 3000)], 10],
    ['not by one that had ended before', [over(-10 * MINUTE_MS, NOW_MS - 30 * MINUTE_MS - 3001)], 0],
    ['by the fastest', [over(-10 * MINUTE_MS, NOW_MS), over(-15 * MINUTE_MS, NOW_MS)], 15],
    ['not by a slower one: it looks older as it is', [over(10 * MINUTE_MS, NOW_MS)], 0],
    ['not by one that agrees', [over(-3000, NOW_MS)], 0],
    ['by one that nobody saw end', [open(-10 * MINUTE_MS)], 10],
  ])('%s', (_name, known, minutes) => {
    // Two samples tell the time to three seconds.
    expect(mayBeOlderByMs(stampMs, known, now)).toBe(minutes === 0 ? 0 : minutes * MINUTE_MS + 3000);
  });
});
