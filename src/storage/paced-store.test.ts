import { expect, test } from 'vitest';
import { ManualClock } from '../../test/support/manual-clock.ts';
import { SimulatedStore } from '../../test/support/simulated-store.ts';
import type { ObjectBody } from './object-store.ts';
import { Pace, paceStore } from './paced-store.ts';

const { signal } = new AbortController();

/** Ten chunks of 100 bytes. */
const body: ObjectBody = {
  sizeBytes: 1000,
  open: async function* () {
    for (let chunk = 0; chunk < 10; chunk++) yield new Uint8Array(100).fill(chunk);
  },
};

test('bodies go out no faster than allowed, all together', async () => {
  const clock = new ManualClock({ sleepsPass: true });
  const inner = new SimulatedStore({ clock });
  const store = paceStore(inner, new Pace(100, clock));
  await store.put('a', body, { signal });
  await store.put('b', body, { signal });
  // The first chunk goes at once.
  expect(clock.monotonicMs()).toBe(19_000);
  expect(inner.bytesOf('b').slice(-100)).toEqual(new Uint8Array(100).fill(9));
});

test('a limit that is lifted no longer holds what is under way', async () => {
  const clock = new ManualClock({ sleepsPass: true });
  const pace = new Pace(100, clock);
  const store = paceStore(new SimulatedStore({ clock }), pace);
  const lifting: ObjectBody = {
    ...body,
    open: async function* () {
      let chunks = 0;
      for await (const chunk of body.open()) {
        if (++chunks === 3) pace.set(Number.POSITIVE_INFINITY);
        yield chunk;
      }
    },
  };
  await store.put('a', lifting, { signal });
  expect(clock.monotonicMs()).toBe(1000);
});

test('whoever waits is let go by the signal', async () => {
  const clock = new ManualClock();
  const store = paceStore(new SimulatedStore({ clock }), new Pace(100, clock));
  const ending = new AbortController();
  const put = store.put('a', body, { signal: ending.signal });
  ending.abort(new Error('over'));
  await expect(put).rejects.toThrow('over');
});
