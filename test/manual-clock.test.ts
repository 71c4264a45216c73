import { getEventListeners } from 'node:events';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ManualClock } from './support/manual-clock.ts';

const { signal } = new AbortController();

describe('whoever sleeps', () => {
  test('wakes in the order of time, those of one moment in the order in which they fell asleep, the aborted at once', async () => {
    const naps = fc.array(fc.record({ ms: fc.nat(1000), isAborted: fc.boolean() }), { maxLength: 60, size: 'max' });
    await fc.assert(
      fc.asyncProperty(naps, async (sleeps) => {
        const clock = new ManualClock();
        const woken: { n: number; atMs: number }[] = [];
        const aborts = new AbortController();
        const works = sleeps.map(async ({ ms, isAborted }, n) => {
          await clock.sleep(ms, isAborted ? aborts.signal : signal);
          woken.push({ n, atMs: clock.monotonicMs() });
        });
        aborts.abort();
        await clock.advance(1000);
        await Promise.all(works);
        const expected = sleeps
          .map(({ ms, isAborted }, n) => ({ n, atMs: isAborted ? 0 : ms, isLate: Number(!isAborted) }))
          .toSorted((left, right) => left.isLate - right.isLate || left.atMs - right.atMs || left.n - right.n);
        expect(woken).toEqual(expected.map(({ n, atMs }) => ({ n, atMs })));
      }),
    );
  });

  test('goes on, and may sleep again, before the next one wakes', async () => {
    const clock = new ManualClock();
    const trace: string[] = [];
    const walk = async (name: string, stepMs: number): Promise<void> => {
      for (let step = 1; step <= 3; step++) {
        await clock.sleep(stepMs, signal);
        trace.push(`${name} ${clock.monotonicMs()}`);
      }
    };
    const walks = [walk('a', 2), walk('b', 3)];
    await clock.advance(9);
    await Promise.all(walks);
    expect(trace).toEqual(['a 2', 'b 3', 'a 4', 'b 6', 'a 6', 'b 9']);
  });

  test('does not turn time back by what lies in the past', async () => {
    const clock = new ManualClock();
    const nap = clock.sleep(-1000, signal);
    await clock.advanceToNext();
    await nap;
    expect(clock.monotonicMs()).toBe(0);
  });
});

test('a signal that outlives many sleeps keeps one listener while somebody sleeps, and none afterwards', async () => {
  const clock = new ManualClock();
  const stopping = new AbortController();
  const naps = [3, 1, 2].map((ms) => clock.sleep(ms, stopping.signal));
  const counts = [getEventListeners(stopping.signal, 'abort').length];
  await clock.advance(2);
  counts.push(getEventListeners(stopping.signal, 'abort').length);
  await clock.advance(1);
  await Promise.all(naps);
  counts.push(getEventListeners(stopping.signal, 'abort').length);
  expect(counts).toEqual([1, 1, 0]);
});

test('a killed process sleeps for ever and holds up nobody', async () => {
  const clock = new ManualClock();
  const victim = clock.forProcess();
  const survivor = clock.forProcess();
  const woken: string[] = [];
  const stopping = new AbortController();
  for (const ms of [5, 1, 3]) void victim.sleep(ms, stopping.signal).then(() => woken.push('victim'));
  void survivor.sleep(4, stopping.signal).then(() => woken.push('survivor'));
  victim[Symbol.dispose]();
  await clock.advanceToNext();
  expect(clock.monotonicMs()).toBe(4);
  stopping.abort();
  await turn();
  expect(woken).toEqual(['survivor']);
});
