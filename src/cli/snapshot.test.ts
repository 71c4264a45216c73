import { expect, test } from 'vitest';
import {
  decodeSnapshotResult,
  type SnapshotResult,
  type SnapshotTask,
  snapshotResultJson,
} from '../agent/snapshot-result.ts';
import { renderSnapshot, snapshotExitCode } from './snapshot.ts';

const nowMs = Date.UTC(2026, 10, 22, 23, 40);
const look = { columns: 80, hasColour: false, nowMs };
const name = '1763851022123-orders-0-x7k2/12';

const captured: SnapshotTask = {
  task: '0_0',
  outcome: 'captured',
  quality: 'live',
  stateTimeMs: nowMs - 3_000,
  offsets: new Map([
    ['orders-b-changelog-0', 7n],
    ['orders-a-changelog-0', 9_007_199_254_740_993n],
  ]),
  why: undefined,
};

const result: SnapshotResult = {
  snapshot: name,
  tasks: [
    captured,
    { ...captured, task: '0_1', outcome: 'unchanged', quality: 'clean', stateTimeMs: nowMs - 120_000 },
    { ...captured, task: '1_0', outcome: 'carried', why: { reason: 'being_deleted', message: 'rocksdb/agg is gone' } },
    {
      task: '1_1',
      outcome: 'uncapturable',
      quality: undefined,
      stateTimeMs: undefined,
      offsets: new Map(),
      why: { reason: 'exactly_once_running', message: 'rocksdb/tab/000123.sst is newer than .checkpoint' },
    },
  ],
  bytesRead: 13_000_000,
  bytesUploaded: 12_897_484,
  bytesReused: 4_402_341_478,
  objectsUploaded: 3,
  requests: 14,
  durationMs: 1_234.5,
};

test('a snapshot is a table of its tasks and one line that sums them up', () => {
  expect(renderSnapshot(result, look)).toBe(`\
TASK  OUTCOME       QUALITY  STATE      WHY
0_0   captured      live     3 s ago
0_1   unchanged     clean    2 min ago
1_0   carried       live     3 s ago    being_deleted: rocksdb/agg is gone
1_1   uncapturable  -        -          exactly_once_running:
                                        rocksdb/tab/000123.sst is newer than
                                        .checkpoint

published ${name}: 3 of 4 tasks, 12 MiB sent, 4.1 GiB reused, 1.2 s
`);
});

test('nothing published is said as such', () => {
  const unchanged = { ...result, snapshot: undefined, tasks: [{ ...captured, outcome: 'unchanged' as const }] };
  expect(renderSnapshot(unchanged, look)).toBe(
    'TASK  OUTCOME    QUALITY  STATE\n0_0   unchanged  live     3 s ago\n\nnothing to publish: 1 of 1 task stored already (1.2 s)\n',
  );
  expect(renderSnapshot({ ...result, snapshot: undefined, tasks: [] }, look)).toBe(
    'nothing to store: no task in the state directory (1.2 s)\n',
  );
});

test('the JSON of a snapshot can be read back', () => {
  const json: unknown = JSON.parse(JSON.stringify(snapshotResultJson(result)));
  expect(decodeSnapshotResult(json)).toEqual({ ...result, durationMs: 1_235 });
});

test('the JSON of a snapshot has the stable shape', () => {
  const [first, , , last] = result.tasks.map(({ task }) => task);
  expect(
    JSON.parse(JSON.stringify(snapshotResultJson({ ...result, tasks: [captured, ...result.tasks.slice(3)] }))),
  ).toEqual({
    snapshot: name,
    tasks: [
      {
        task: first,
        outcome: 'captured',
        quality: 'live',
        reason: null,
        message: null,
        stateTime: '2026-11-22T23:39:57.000Z',
        offsets: { 'orders-a-changelog-0': '9007199254740993', 'orders-b-changelog-0': '7' },
      },
      {
        task: last,
        outcome: 'uncapturable',
        quality: null,
        reason: 'exactly_once_running',
        message: 'rocksdb/tab/000123.sst is newer than .checkpoint',
        stateTime: null,
        offsets: {},
      },
    ],
    bytesRead: 13_000_000,
    bytesUploaded: 12_897_484,
    bytesReused: 4_402_341_478,
    objectsUploaded: 3,
    requests: 14,
    durationMs: 1_235,
  });
});

test('only where nothing is stored for want of a quiet moment is a snapshot no success', () => {
  const changing = {
    ...captured,
    outcome: 'uncapturable' as const,
    why: { reason: 'changing' as const, message: 'x' },
  };
  const refused = { ...changing, why: { reason: 'no_offset' as const, message: 'x' } };
  const codes = [[], [changing], [changing, refused], [changing, captured], [refused]].map((tasks) =>
    snapshotExitCode({ ...result, tasks }),
  );
  expect(codes).toEqual([0, 5, 5, 0, 0]);
});
