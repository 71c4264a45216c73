import { expect, test } from 'vitest';
import { lookContext, taskSight } from '../../test/support/sights.ts';
import { judge } from '../streams/quality.ts';
import { sketchEntry } from './entry.ts';
import type { LookedAt } from './looks.ts';

const CAPTURED_MS = 1_700_000_060_000;
const STORE_AHEAD_MS = 5_000;
const HOUR_MS = 3_600_000;

test.each([
  ['when its offsets were first on disk', { stateTimeMs: CAPTURED_MS - 9_000 }, CAPTURED_MS - 9_000],
  ['so much earlier as a clock may have been ahead', { stateTimeMs: CAPTURED_MS, olderByMs: 600 }, CAPTURED_MS - 600],
  ['when it was captured, where that is stamped as later', { stateTimeMs: CAPTURED_MS + 1 }, CAPTURED_MS],
])('up to when state is current, by the clock of the store: %s', (_name, times, expected) => {
  const entry = sketchEntry(lookOf(times), originAt(CAPTURED_MS + STORE_AHEAD_MS + HOUR_MS));
  expect(entry).toMatchObject({
    stateTimeMs: expected + STORE_AHEAD_MS,
    capturedAtMs: CAPTURED_MS + STORE_AHEAD_MS,
  });
});

test('no state is of later than the store has it now (A5)', () => {
  const nowMs = CAPTURED_MS - HOUR_MS;
  expect(sketchEntry(lookOf({ stateTimeMs: CAPTURED_MS - 9_000 }), originAt(nowMs)).stateTimeMs).toBe(nowMs);
});

function lookOf(times: Pick<LookedAt, 'stateTimeMs'> & Partial<LookedAt>): LookedAt {
  const sight = taskSight();
  const capture = {
    task: sight.task,
    capturedAtMs: CAPTURED_MS,
    sight,
    files: [],
    stores: [],
    [Symbol.asyncDispose]: async () => {},
  };
  return { capture, judgement: judge(sight, lookContext()), quality: 'clean', olderByMs: 0, ...times };
}

function originAt(nowMs: number): Parameters<typeof sketchEntry>[1] {
  return { capturedBy: 'E/1', toStoreTimeMs: (wallMs) => wallMs + STORE_AHEAD_MS, storeTimeMs: () => nowMs };
}
