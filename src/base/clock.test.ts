import { expect, test } from 'vitest';
import { systemClock, systemRandom } from './clock.ts';

test('a sleep lasts as long as it says', async () => {
  const startMs = systemClock.monotonicMs();
  await systemClock.sleep(30, new AbortController().signal);
  expect(systemClock.monotonicMs() - startMs).toBeGreaterThan(28);
});

test('a sleep ends at once, and without an error, when its signal aborts', async () => {
  const controller = new AbortController();
  const startMs = systemClock.monotonicMs();
  const sleeping = systemClock.sleep(60_000, controller.signal);
  controller.abort(new Error('enough'));
  await sleeping;
  await systemClock.sleep(60_000, controller.signal);
  expect(systemClock.monotonicMs() - startMs).toBeLessThan(10_000);
});

test('a token has its length and the letters of a name', () => {
  expect(systemRandom.token(400)).toMatch(/^[a-z0-9]{400}$/);
  expect(systemRandom.token(20)).not.toBe(systemRandom.token(20));
});

test('a fraction lies between 0 and 1', () => {
  const fractions = Array.from({ length: 1_000 }, () => systemRandom.fraction());
  expect(fractions.every((fraction) => fraction >= 0 && fraction < 1)).toBe(true);
  expect(Math.max(...fractions) - Math.min(...fractions)).toBeGreaterThan(0.9);
});

test('the system clock sleeps until a moment that has passed without a word', async () => {
  const warnings: Error[] = [];
  const listen = (warning: Error): void => void warnings.push(warning);
  process.on('warning', listen);
  await systemClock.sleep(-5, new AbortController().signal);
  await new Promise(setImmediate);
  process.off('warning', listen);
  expect(warnings).toEqual([]);
});
