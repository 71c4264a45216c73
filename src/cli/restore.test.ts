import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Failure } from '../base/failure.ts';
import type { RestoredTask, RestoreResult } from '../repository/restore-result.ts';
import type { Reason } from '../streams/reason.ts';
import {
  failedTerminationMessage,
  printFailedRestore,
  renderRestore,
  restoreExitCode,
  terminationMessage,
} from './restore.ts';

const nowMs = Date.UTC(2026, 10, 22, 23, 40);
const look = { columns: 100, hasColour: false, nowMs };

const warm: RestoredTask = {
  task: '0_0',
  decision: 'warm',
  why: undefined,
  snapshot: '1763851022123-orders-0-x7k2/12',
  quality: 'live',
  stateTimeMs: nowMs - 180_000,
  capturedAtMs: nowMs - 170_000,
  offsets: new Map([['orders-agg-changelog-0', 123n]]),
  sizeBytes: 4_402_341_478,
};

function cold(task: string, reason: Reason, message: string): RestoredTask {
  const nothing = { snapshot: undefined, quality: undefined, stateTimeMs: undefined, capturedAtMs: undefined };
  return { task, decision: 'cold', why: { reason, message }, offsets: new Map(), sizeBytes: 0, ...nothing };
}

const result: RestoreResult = {
  outcome: 'partial',
  tasks: [
    warm,
    { ...warm, task: '0_3', why: { reason: 'damaged', message: 'the newest entry lacks data/00000012-000003' } },
    cold('1_2', 'too_old', 'its state is 31 h old, max-age is 23h'),
    { ...warm, task: 'global', decision: 'local', snapshot: undefined, quality: 'clean', sizeBytes: 222_298_112 },
  ],
  bytesDownloaded: 8 * 2 ** 30,
  requests: 143,
  durationMs: 64_000,
};

const failed: RestoreResult = { outcome: 'failed', tasks: [], bytesDownloaded: 0, requests: 0, durationMs: 0 };

test('a restore is a table of its tasks and one line that sums them up', () => {
  expect(renderRestore(result, look, { isDryRun: false })).toBe(`\
TASK    DECISION  QUALITY  STATE         SIZE  FROM, OR WHY NOT
0_0     warm      live     3 min ago  4.1 GiB  1763851022123-orders-0-x7k2/12
0_3     warm      live     3 min ago  4.1 GiB  1763851022123-orders-0-x7k2/12; damaged: the newest
                                               entry lacks data/00000012-000003
1_2     cold      -        -                -  too_old: its state is 31 h old, max-age is 23h
global  local     clean    3 min ago  212 MiB  this volume

restored in part: 2 warm, 1 local, 1 cold; 8.0 GiB in 1 min 04 s (128 MiB/s)
`);
});

test('a dry run is marked as one', () => {
  const text = renderRestore({ ...failed, outcome: 'empty', durationMs: 12 }, look, { isDryRun: true });
  expect(text).toBe('dry run: nothing stored yet; 12 ms\n');
});

test('the termination message tells the story in its first line', () => {
  const [summary, json, end] = terminationMessage(result).split('\n');
  expect([summary, JSON.parse(json ?? '').tasks.length, end]).toEqual([
    'restored in part: 2 warm, 1 local, 1 cold; 8.0 GiB in 1 min 04 s (128 MiB/s)',
    4,
    '',
  ]);
});

test('the termination message of a restore that came to nothing says why, as far as it fits', () => {
  const problems = ['cannot restore: --destination is not set', '--max-age is no duration: 1'].map(
    (text) => new Failure('invalid', text),
  );
  expect(failedTerminationMessage(problems)).toBe(
    'cannot restore: --destination is not set; --max-age is no duration: 1\n',
  );
  expect(Buffer.byteLength(failedTerminationMessage([new Error('€'.repeat(5000))]))).toBeLessThanOrEqual(4096);
});

test('the termination message fits, and what is cold is the last that it leaves out', () => {
  const many = Array.from({ length: 60 }, (_, index) => ({ ...warm, task: `0_${index}` }));
  const one = cold('1_2', 'too_old', 'its state is 31 h old, max-age is 23h');
  const [, json] = terminationMessage({ ...result, tasks: [...many, one] }).split('\n');
  expect(JSON.parse(json ?? '').tasks.map((task: { readonly task: string }) => task.task)).toEqual(['1_2']);
  fc.assert(
    fc.property(fc.nat(200), fc.nat(200), (warmCount, coldCount) => {
      const colds = Array.from({ length: coldCount }, (_, index) => ({ ...one, task: `1_${index}` }));
      const tasks = [...Array.from({ length: warmCount }, () => warm), ...colds];
      expect(Buffer.byteLength(terminationMessage({ ...result, tasks }))).toBeLessThanOrEqual(4096);
    }),
    { numRuns: 50 },
  );
});

test.each<[readonly Reason[], number]>([
  [[], 0],
  [['too_old', 'not_selected', 'nothing_stored', 'layout_too_new', 'claimed_elsewhere'], 0],
  [['unsupported_application'], 2],
  [['application_running'], 4],
  [['storage'], 6],
  [['denied'], 6],
  [['no_space'], 6],
  [['damaged'], 7],
  [['incomplete'], 7],
  [['too_old', 'deadline'], 8],
  [['deadline', 'damaged'], 7],
])('under fail, tasks that are cold for %j make the exit code %d; under continue it is 0', (reasons, code) => {
  const tasks = reasons.map((reason, index) => cold(`0_${index}`, reason, 'x'));
  expect([restoreExitCode({ ...result, tasks }, 'fail'), restoreExitCode({ ...result, tasks }, 'continue')]).toEqual([
    code,
    0,
  ]);
});

test('a reason to pass over an entry of a warm task is no failure', () => {
  expect(restoreExitCode(result, 'fail')).toBe(0);
});

test('a restore without a result starts cold, or fails with the code of its error', () => {
  const printed: string[] = [];
  const place = { print: (text: string) => void printed.push(text) };
  const error = new Failure('unavailable', 'cannot list s3://bucket');
  const codes = [
    printFailedRestore({ onFailure: 'continue', output: 'json' }, error, place),
    printFailedRestore({}, error, place),
    printFailedRestore({ onFailure: 'fail' }, error, place),
    printFailedRestore({}, new TypeError('a bug'), place),
  ];
  const text = 'not restored: the application starts cold\n';
  expect([codes, printed]).toEqual([
    [0, 0, 6, 0],
    ['{"outcome":"failed","tasks":[],"bytesDownloaded":0,"requests":0,"durationMs":0}\n', text, text],
  ]);
});
