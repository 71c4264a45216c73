import { expect, test } from 'vitest';
import { STATUS_NOW_MS, sampleStatus, sampleTask, uncapturableTask } from '../../test/support/sample-status.ts';
import type { AgentStatus } from '../events/agent-status.ts';
import { ADVICE } from './advice.ts';
import { renderStatus } from './status.ts';

const look = { columns: 80, hasColour: false, nowMs: STATUS_NOW_MS };
const uncommitted = {
  reason: 'exactly_once_running',
  message: 'rocksdb/agg/000123.sst is newer than .checkpoint',
} as const;

const inTrouble = sampleStatus({
  tasks: [
    sampleTask('0_0', { isPending: true }),
    sampleTask('0_1'),
    sampleTask('0_2', { why: uncommitted }),
    sampleTask('0_3', { why: uncommitted }),
    sampleTask('1_0', { state: 'pending', entry: undefined, isPending: true }),
    uncapturableTask('1_1', { reason: 'no_offset', message: 'there is no .checkpoint' }),
  ],
  problems: [
    {
      area: 'storage',
      message: 'cannot put orders/prod/data/1763851022123-orders-0-x7k2/42-0: ECONNREFUSED 10.0.0.1:443',
      hint: 'look whether the bucket can be reached from this pod',
      sinceMs: STATUS_NOW_MS - 720_000,
    },
  ],
});

test('a status answers first, then goes task by task, then says what is in the way and what changes it', () => {
  expect(renderStatus(inTrouble, look)).toBe(`\
if this pod died now: 4 warm, 2 cold
orders-0 of orders (lineage prod, at_least_once) is watching; the application
runs; next snapshot in 2 min

TASK  NOW   QUALITY  STATE         SIZE  ON THE DISK
0_0   warm  live     3 min ago  4.1 GiB  newer, goes with the next snapshot
0_1   warm  live     3 min ago  4.1 GiB  stored
0_2   warm  live     3 min ago  4.1 GiB  not captured: exactly_once_running
0_3   warm  live     3 min ago  4.1 GiB  not captured: exactly_once_running
1_0   cold  -        -                -  goes with the next snapshot
1_1   cold  -        -                -  not captured: no_offset

in the way
  storage, since 12 min ago: cannot put
  orders/prod/data/1763851022123-orders-0-x7k2/42-0: ECONNREFUSED 10.0.0.1:443
    try: look whether the bucket can be reached from this pod

not captured
  no_offset (1_1)
    there is no .checkpoint
    try: nothing to do while the application restores or has just started; if it
    stays, the store has no changelog (withLoggingDisabled) or lost its
    .checkpoint
  exactly_once_running (0_2, 0_3)
    rocksdb/agg/000123.sst is newer than .checkpoint
    try: normal under exactly-once: it is captured when the application closes;
    if that is killed first, restarts are cold: give it a longer
    terminationGracePeriodSeconds

last round       ended well 3 min ago; newest snapshot
                 1763851022123-orders-0-x7k2/41
at the end       12 MiB to send, about 1.5 s
restore          partial 3 h ago: 1 warm, 1 cold (1 damaged); 1.0 GiB in 12 s
shutdown before  sealed: the last snapshot was complete
state directory  6.0 GiB of 20 GiB, 5.0 GiB restorable, 13 GiB free
`);
});

test('no line is wider than the terminal, but for words that are', () => {
  for (const columns of [50, 60, 80, 120]) {
    const lines = renderStatus(inTrouble, { ...look, columns }).split('\n');
    const prose = lines.filter((line) => !/^(?:TASK|\d_\d| {20}) /.test(line)); // The table has a width of its own.
    expect(prose.filter((line) => line.length > columns && line.trim().includes(' '))).toEqual([]);
  }
});

test.each<readonly [string, Partial<AgentStatus>, string]>([
  ['has no directory', { applicationFound: false }, 'has no directory here: compare --state-dir and --application-id'],
  ['is down', { applicationRunning: false, tasks: [sampleTask('0_0')] }, 'is down'],
  ['cannot be asked', { applicationRunning: undefined }, 'may run: this platform cannot tell'],
  [
    'was not looked for',
    { applicationFound: false, problems: [{ area: 'settings', message: 'm', hint: undefined, sinceMs: 0 }] },
    'was not looked for',
  ],
])('an application that %s is told', (_what, given, sentence) => {
  expect(renderStatus(sampleStatus(given), { ...look, columns: Number.POSITIVE_INFINITY })).toContain(
    `the application ${sentence}`,
  );
});

test('what differs from task to task of one reason is told of two of them', () => {
  const tasks = ['0_0', '0_1', '0_2'].map((task) =>
    uncapturableTask(task, { reason: 'changing', message: `${task}/rocksdb moved` }),
  );
  expect(renderStatus(sampleStatus({ tasks }), look)).toContain(`\
  changing (0_0, 0_1, 0_2)
    0_0: 0_0/rocksdb moved
    0_1: 0_1/rocksdb moved
    and so on: \`--output json\` has them all
`);
});

test('in colour the verdict shows how bad it is', () => {
  const verdictOf = (status: AgentStatus): string =>
    renderStatus(status, { ...look, hasColour: true }).split('\n')[0] ?? '';
  const cold = uncapturableTask('0_1', { reason: 'no_offset', message: 'm' });
  expect(verdictOf(sampleStatus({ tasks: [sampleTask('0_0')] }))).toContain('\u001B[32m1 warm, 0 cold');
  expect(verdictOf(sampleStatus({ tasks: [sampleTask('0_0'), cold] }))).toContain('\u001B[33m1 warm, 1 cold');
  expect(verdictOf(sampleStatus({ tasks: [cold] }))).toContain('\u001B[31m0 warm, 1 cold');
});

test('every advice is a sentence that fits behind `try:`', () => {
  const wrong = Object.values(ADVICE).filter((advice) => /^[A-Z]|[.\n]$/.test(advice) || advice.length > 240);
  expect(wrong).toEqual([]);
});
