import { expect, test } from 'vitest';
import { backOffMs, type Due, jitteredMs, type Situation, schedule } from './schedule.ts';

const MINUTE_MS = 60_000;

const resting: Situation = {
  nowMs: 1_000_000,
  isOpen: true,
  isBusy: false,
  changedMs: undefined,
  roundMs: 990_000,
  fleetingMs: undefined,
  fleetingRoundMs: undefined,
  intervalMs: 5 * MINUTE_MS,
  isUnfinished: false,
  hasEnded: false,
  request: undefined,
  retryMs: undefined,
  renewedMs: 980_000,
};

/** What is due, in words. */
function told({ open, renew, round }: Due): string {
  const words = [open ? 'open' : [], renew ? 'renew' : [], round === undefined ? [] : `round ${round}`].flat();
  return words.length === 0 ? 'nothing' : words.join(', ');
}

test.each<[string, Partial<Situation>, string]>([
  ['nothing has changed', {}, 'nothing'],
  ['nothing has changed for long', { roundMs: 0 }, 'nothing'],
  ['something has changed within the interval', { changedMs: 995_000 }, 'nothing'],
  ['something has changed, and the interval is over', { changedMs: 995_000, roundMs: 700_000 }, 'round interval'],
  ['it changed this moment, and others may follow', { changedMs: 999_500, roundMs: 700_000 }, 'nothing'],
  ['something is there, and there was no round yet', { changedMs: 998_000, roundMs: undefined }, 'round interval'],
  ['something can be captured that will not last', { changedMs: 1, fleetingMs: 998_000 }, 'round interval'],
  ['it became so this moment', { changedMs: 1, fleetingMs: 999_500 }, 'nothing'],
  ['such was captured within the interval', { changedMs: 1, fleetingMs: 998_000, fleetingRoundMs: 800_000 }, 'nothing'],
  ['such was captured before it', { changedMs: 1, fleetingMs: 998_000, fleetingRoundMs: 700_000 }, 'round interval'],
  ['the application has ended', { hasEnded: true }, 'round interval'],
  ['the last round left tables', { isUnfinished: true }, 'round interval'],
  ['somebody asks', { request: 'request' }, 'round request'],
  ['a pod is about to end', { request: 'pre_stop' }, 'round pre_stop'],
  ['somebody asks during a round', { request: 'request', isBusy: true }, 'nothing'],
  ['the application has ended, shortly after a failure', { hasEnded: true, retryMs: 1_000_001 }, 'nothing'],
  ['the time after a failure is over', { hasEnded: true, retryMs: 1_000_000 }, 'round interval'],
  ['somebody asks shortly after a failure', { request: 'request', retryMs: 1_030_000 }, 'round request'],
  ['a minute has passed since the last sign of life', { renewedMs: 940_000 }, 'renew'],
  ['it has, during a round', { renewedMs: 940_000, isBusy: true }, 'renew'],
  ['the epoch has not begun', { isOpen: false, changedMs: 1, hasEnded: true, renewedMs: 0 }, 'open'],
  ['the epoch is being begun', { isOpen: false, isBusy: true }, 'nothing'],
  ['storage did not let it begin', { isOpen: false, retryMs: 1_005_000 }, 'nothing'],
  [
    'storage did not let it begin, and somebody asks',
    { isOpen: false, retryMs: 1_005_000, request: 'request' },
    'open',
  ],
])('%s', (_what, change, due) => {
  expect(told(schedule({ ...resting, ...change }))).toBe(due);
});

test.each<[string, Partial<Situation>, number]>([
  ['a turn', {}, 1_001_000],
  ['the sign of life', { renewedMs: 940_200 }, 1_000_200],
  ['the end of the interval', { changedMs: 995_000, roundMs: 700_300 }, 1_000_300],
  ['the time after a failure', { retryMs: 1_000_400 }, 1_000_400],
])('wakes for %s, whichever is first', (_what, change, wakeMs) => {
  expect(schedule({ ...resting, ...change }).wakeMs).toBe(wakeMs);
});

test.each<[string, Partial<Situation>, number | undefined]>([
  ['unchanged state', {}, undefined],
  ['a change in the interval', { changedMs: 995_000 }, 1_290_000],
  ['a change after it', { changedMs: 999_500, roundMs: 700_000 }, 1_000_500],
  ['a change, not before what a failure lets try again', { changedMs: 995_000, retryMs: 1_300_000 }, 1_300_000],
  ['an end of the application', { hasEnded: true }, 1_000_000],
])('foretells when a round follows %s', (_what, change, roundDueMs) => {
  expect(schedule({ ...resting, ...change }).roundDueMs).toBe(roundDueMs);
});

test('never sleeps in the past', () => {
  const late = { ...resting, changedMs: 1, roundMs: 2, renewedMs: 3, retryMs: 4, isBusy: true };
  expect(schedule(late).wakeMs).toBe(resting.nowMs + 1000);
});

test('waits longer after each failure, up to a minute, and not all at the same time', () => {
  expect([1, 2, 3, 7, 100].map((failures) => backOffMs(failures, 1))).toEqual([1000, 2000, 4000, 60_000, 60_000]);
  expect(backOffMs(7, 0)).toBe(30_000);
});

test('an interval is ten per cent longer or shorter', () => {
  expect([0, 0.5, 1].map((fraction) => Math.round(jitteredMs(300_000, fraction)))).toEqual([270_000, 300_000, 330_000]);
});
