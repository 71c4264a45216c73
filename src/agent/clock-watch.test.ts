import { expect, test } from 'vitest';
import { ManualClock } from '../../test/support/manual-clock.ts';
import { ClockWatch } from './clock-watch.ts';

test('a wall clock that was set back is noticed since any moment before that', async () => {
  const clock = new ManualClock();
  const watch = new ClockWatch(clock);
  await clock.advance(1000);
  expect(watch.wasSetSince(0)).toBe(false);
  clock.jump(-30_000);
  expect(watch.wasSetSince(1000)).toBe(true);
  await clock.advance(1000);
  expect([watch.wasSetSince(0), watch.wasSetSince(1000), watch.wasSetSince(1001)]).toEqual([true, true, false]);
});

test('so is one that was set ahead: it was behind, and may have been set back', async () => {
  const clock = new ManualClock();
  const watch = new ClockWatch(clock);
  await clock.advance(1000);
  clock.jump(1001);
  expect([watch.wasSetSince(1000), watch.wasSetSince(1001), watch.setBackMs]).toEqual([true, false, 0]);
});

test('one that was set ahead a little, or is slewed, was not set', async () => {
  const clock = new ManualClock();
  const watch = new ClockWatch(clock);
  clock.jump(1000);
  watch.sample();
  clock.jump(-100);
  expect(watch.wasSetSince(0)).toBe(false);
  clock.jump(-1);
  expect([watch.wasSetSince(0), watch.setBackMs]).toEqual([true, 101]);
});

test('what is stamped later than any clock showed by then is of after the step', async () => {
  for (const jumpMs of [-30_000, 30_000]) {
    const clock = new ManualClock();
    const watch = new ClockWatch(clock);
    await clock.advance(1000);
    const shownMs = Math.max(clock.nowMs(), clock.nowMs() + jumpMs);
    clock.jump(jumpMs);
    watch.sample();
    await clock.advance(60_000);
    // A file server may be a second ahead.
    expect([watch.wasSetSince(0, shownMs + 1000), watch.wasSetSince(0, shownMs + 1001)]).toEqual([true, false]);
  }
});
