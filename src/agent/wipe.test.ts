import { expect, test } from 'vitest';
import { findWiped, freshlyInstalled, recallTasks } from './wipe.ts';

const nowMs = 1_000_000;
const both = new Map([
  ['0_0', 'a'],
  ['0_1', 'b'],
]);
const none = new Map<string, string>();
const begun = new Map([['global', 'z']]);
const whole = new Map([...both, ['global', 'g']]);

test.each<[string, Parameters<typeof findWiped>[0], readonly string[]]>([
  ['all gone while nobody holds the lock', { before: both, now: none, heldSinceMs: undefined, nowMs }, ['0_0', '0_1']],
  ['all gone right after the start', { before: both, now: none, heldSinceMs: nowMs - 5000, nowMs }, ['0_0', '0_1']],
  ['all gone a minute after it', { before: both, now: none, heldSinceMs: nowMs - 60_000, nowMs }, ['0_0', '0_1']],
  ['all gone later than that', { before: both, now: none, heldSinceMs: nowMs - 60_001, nowMs }, []],
  ['all gone from an application at work', { before: both, now: none, heldSinceMs: nowMs - 600_000, nowMs }, []],
  ['one gone', { before: both, now: new Map([['0_0', 'a']]), heldSinceMs: undefined, nowMs }, []],
  ['others come', { before: both, now: new Map([['1_0', 'c']]), heldSinceMs: undefined, nowMs }, []],
  [
    'new ones in place of some, and of the global one',
    { before: whole, now: new Map([...begun, ['0_0', 'y']]), heldSinceMs: nowMs - 5000, nowMs },
    ['0_0', '0_1', 'global'],
  ],
  [
    'a new global one beside another that stayed',
    { before: whole, now: new Map([...both, ...begun]), heldSinceMs: nowMs, nowMs },
    [],
  ],
  [
    'new ones of those that Kafka Streams throws away after a crash',
    { before: both, now: new Map([['0_0', 'y']]), heldSinceMs: nowMs, nowMs },
    [],
  ],
  [
    'a global one that nobody had looked at',
    { before: new Map([['global', undefined]]), now: begun, heldSinceMs: nowMs, nowMs },
    [],
  ],
  ['nothing was there', { before: none, now: none, heldSinceMs: undefined, nowMs }, []],
])('%s', (_what, sight, wiped) => {
  expect([...findWiped(sight)]).toEqual(wiped);
});

test('what a restore installed is missed for ten minutes; later it may have moved to other instances', () => {
  const report = { timeMs: nowMs, installed: [{ task: '0_0' }] };
  expect([freshlyInstalled(report, nowMs + 600_000), freshlyInstalled(report, nowMs + 600_001)]).toEqual([['0_0'], []]);
  expect(freshlyInstalled(undefined, nowMs)).toEqual([]);
});

test('what goes before an application is at work is remembered, and later no more', () => {
  const now = new Map([['0_1', 'b']]);
  expect(recallTasks({ before: both, now, heldSinceMs: nowMs - 60_000, nowMs })).toEqual(both);
  expect(recallTasks({ before: both, now, heldSinceMs: undefined, nowMs })).toEqual(both);
  expect(recallTasks({ before: both, now, heldSinceMs: nowMs - 60_001, nowMs })).toEqual(now);
});
