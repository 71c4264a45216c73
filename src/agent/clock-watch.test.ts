import { expect, test } from 'vitest';
import { ManualClock } from '../../test/support/manual-clock.ts';
import { ClockWatch } from './clock-watch.ts';

test('a wall clock that was set back is noticed since any moment before that', async () => {
  const clock = new ManualClock();
  const watch = new ClockWatch(clock);
  await clock.advance(1000);
  expect(watch.steppedBackSince(0)).toBe(false);
  clock.jump(-30_000);
  expect(watch.steppedBackSince(1000)).toBe(true);
  await clock.advance(1000);
  expect([watch.steppedBackSince(0), watch.steppedBackSince(1000), watch.steppedBackSince(1001)]).toEqual([
    true,
    true,
    false,
  ]);
});

test('one that was set ahead, or is slewed, was not set back', async () => {
  const clock = new ManualClock();
  const watch = new ClockWatch(clock);
  clock.jump(60_000);
  watch.sample();
  clock.jump(-100);
  expect(watch.steppedBackSince(0)).toBe(false);
  clock.jump(-1);
  expect(watch.steppedBackSince(0)).toBe(true);
});
