import { expect, test } from 'vitest';
import { renderVerify, verifyExitCode, verifyJson } from './verify.ts';

const look = { columns: 80, hasColour: false, nowMs: 0 };
const sound = { snapshots: 3, objects: 1, bytes: 4 * 2 ** 30, problems: [] };
const damaged = {
  ...sound,
  problems: [
    { snapshot: '1763851022123-a-x7k2/1', task: '0_0', path: 'rocksdb/agg/000012.sst', problem: 'wrong hash' },
    { snapshot: '1763851022123-a-x7k2/2', task: undefined, path: undefined, problem: 'no document' },
  ],
};

test('what is sound is one line', () => {
  expect([renderVerify(sound, look), verifyExitCode(sound)]).toEqual([
    '3 snapshots, 1 object, 4.0 GiB read: everything is as it was stored\n',
    0,
  ]);
});

test('what is damaged is named with its place', () => {
  expect(renderVerify(damaged, look)).toBe(`\
SNAPSHOT                TASK  PATH                    PROBLEM
1763851022123-a-x7k2/1  0_0   rocksdb/agg/000012.sst  wrong hash
1763851022123-a-x7k2/2  -     -                       no document

3 snapshots, 1 object, 4.0 GiB read: 2 problems found
`);
  expect(verifyExitCode(damaged)).toBe(7);
});

test('the JSON of a verification has the stable shape', () => {
  expect(JSON.parse(JSON.stringify(verifyJson(damaged)))).toEqual({
    snapshots: 3,
    objects: 1,
    bytes: 4 * 2 ** 30,
    problems: [damaged.problems[0], { ...damaged.problems[1], task: null, path: null }],
  });
});

test('one row says what is wrong with a task, however many of its files are damaged', () => {
  const problem = { snapshot: 'e/1', task: '0_0', problem: 'cannot read archive a: truncated' };
  const problems = ['.checkpoint', 'agg.position', 'win.position'].map((path) => ({ ...problem, path }));
  const text = renderVerify(
    { ...sound, problems: [...problems, { ...problem, task: '0_1', path: '.checkpoint' }] },
    look,
  );
  expect(text).toBe(`SNAPSHOT  TASK  PATH                          PROBLEM
e/1       0_0   .checkpoint and 2 more files  cannot read archive a: truncated
e/1       0_1   .checkpoint                   cannot read archive a: truncated

3 snapshots, 1 object, 4.0 GiB read: 4 problems found
`);
});
