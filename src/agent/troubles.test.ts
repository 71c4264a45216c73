import { expect, test } from 'vitest';
import { ManualClock } from '../../test/support/manual-clock.ts';
import { Troubles } from './troubles.ts';

const words = ({ problems }: Troubles): readonly string[] => problems.map(({ area, message }) => `${area}: ${message}`);

test('what stands in the way is told worst first, and no more once it has ended', () => {
  const troubles = new Troubles(new ManualClock());
  for (const area of ['listen', 'trial', 'state-dir', 'storage', 'settings'] as const) {
    troubles.begin(area, { message: 'bad' });
  }
  expect(troubles.problems.map(({ area }) => area)).toEqual(['settings', 'storage', 'state-dir', 'trial', 'listen']);
  troubles.end('storage');
  expect([troubles.has('storage'), troubles.has('trial'), troubles.problems.length]).toEqual([false, true, 4]);
});

test('one that goes on is told as it is now, and since when it began', async () => {
  const clock = new ManualClock();
  const troubles = new Troubles(clock);
  const sinceMs = clock.nowMs();
  troubles.begin('storage', { message: 'no route', hint: 'look at the network' });
  await clock.advance(1000);
  troubles.begin('storage', { message: 'no answer' });
  expect(troubles.problems).toEqual([{ area: 'storage', message: 'no answer', hint: undefined, sinceMs }]);
  troubles.end('storage');
  troubles.begin('storage', { message: 'no route' });
  expect(troubles.problems[0]?.sinceMs).toBe(sinceMs + 1000);
});

test('what an application deleted is told again once its directory can be read again', () => {
  const troubles = new Troubles(new ManualClock());
  troubles.begin('wipe', { message: 'it deleted 0_0' });
  troubles.begin('state-dir', { message: 'it cannot be read' });
  expect(words(troubles)).toEqual(['state-dir: it cannot be read']);
  troubles.end('state-dir');
  expect(words(troubles)).toEqual(['state-dir: it deleted 0_0']);
  troubles.end('wipe');
  expect(words(troubles)).toEqual([]);
});
