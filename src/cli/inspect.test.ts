import { expect, test } from 'vitest';
import { inspectionJson, renderInspection } from './inspect.ts';
import type { Inspection } from './inspection.ts';

const nowMs = Date.UTC(2026, 10, 22, 23, 40);
const look = { columns: 80, hasColour: false, nowMs };

const inspection: Inspection = {
  application: 'orders',
  state: 'running',
  tasks: [
    {
      task: '0_0',
      layout: 'file',
      quality: { at_least_once: 'clean', exactly_once_v2: 'clean' },
      why: undefined,
      stateTimeMs: nowMs - 120_000,
      offsets: new Map([
        ['orders-win-changelog-0', 999n],
        ['orders-agg-changelog-0', 12_345n],
      ]),
      stores: [
        {
          name: 'agg',
          kind: 'rocksdb',
          tables: 3,
          sizeBytes: 1_288_490_189,
          columnFamilies: ['default'],
          status: undefined,
          position: new Map(),
        },
        {
          name: 'win',
          kind: 'segmented',
          tables: 12,
          sizeBytes: 2 ** 20,
          columnFamilies: ['default', 'withTimestamp'],
          status: undefined,
          position: new Map(),
        },
      ],
    },
    {
      task: '1_0',
      layout: 'column-family',
      quality: { at_least_once: 'live', exactly_once_v2: undefined },
      why: { reason: 'exactly_once_running', message: 'status is open' },
      stateTimeMs: undefined,
      offsets: new Map(),
      stores: [],
    },
  ],
};

test('an inspection is a table of tasks, one of stores and one of offsets', () => {
  expect(renderInspection(inspection, look)).toBe(`\
orders is running

TASK  LAYOUT         AT LEAST ONCE  EXACTLY ONCE  STATE      WHY
0_0   file           clean          clean         2 min ago
1_0   column-family  live           refused       -          exactly_once_running:
                                                             status is open

TASK  STORE  KIND       TABLES     SIZE  COLUMN FAMILIES
0_0   agg    rocksdb         3  1.2 GiB
0_0   win    segmented      12  1.0 MiB  withTimestamp

TASK  CHANGELOG               OFFSET
0_0   orders-agg-changelog-0   12345
0_0   orders-win-changelog-0     999
`);
});

test('where offsets lie inside of RocksDB, every store has its status and its position', () => {
  const [task] = inspection.tasks.slice(1);
  const store = { name: 'agg', kind: 'rocksdb', tables: 2, sizeBytes: 2 ** 20, columnFamilies: ['offsets'] } as const;
  const stores = (['open', 'closed', undefined] as const).map((status) => {
    const position = status === 'open' ? new Map([['orders-0', 8n]]) : new Map<string, bigint>();
    return { ...store, status, position };
  });
  const offsets = new Map([['orders-agg-changelog-0', 7n]]);
  const tasks = task === undefined ? [] : [{ ...task, stores, offsets }];
  expect(
    renderInspection({ ...inspection, tasks }, look)
      .split('\n\n')
      .slice(2)
      .join('\n\n'),
  ).toBe(`\
TASK  STORE  KIND     TABLES     SIZE  STATUS  COLUMN FAMILIES
1_0   agg    rocksdb       2  1.0 MiB  open    offsets
1_0   agg    rocksdb       2  1.0 MiB  closed  offsets
1_0   agg    rocksdb       2  1.0 MiB  -       offsets

TASK  CHANGELOG               OFFSET
1_0   orders-agg-changelog-0       7

TASK  STORE  INPUT     POSITION
1_0   agg    orders-0         8
`);
});

test('an empty state directory is said to be empty', () => {
  const empty: Inspection = { application: undefined, state: 'stopped', tasks: [] };
  expect([renderInspection(empty, look), renderInspection({ ...empty, application: 'orders' }, look)]).toEqual([
    'no application in this state directory\n',
    'orders is not running\nno task directories\n',
  ]);
});

test('the JSON of an inspection has the stable shape', () => {
  const inside = { status: null, position: {} };
  expect(JSON.parse(JSON.stringify(inspectionJson(inspection)))).toEqual({
    application: 'orders',
    running: true,
    tasks: [
      {
        task: '0_0',
        layout: 'file',
        quality: { at_least_once: 'clean', exactly_once_v2: 'clean' },
        reason: null,
        message: null,
        stateTime: '2026-11-22T23:38:00.000Z',
        offsets: { 'orders-agg-changelog-0': '12345', 'orders-win-changelog-0': '999' },
        stores: [
          { name: 'agg', kind: 'rocksdb', tables: 3, bytes: 1_288_490_189, columnFamilies: ['default'], ...inside },
          {
            name: 'win',
            kind: 'segmented',
            tables: 12,
            bytes: 2 ** 20,
            columnFamilies: ['default', 'withTimestamp'],
            ...inside,
          },
        ],
      },
      {
        task: '1_0',
        layout: 'column-family',
        quality: { at_least_once: 'live', exactly_once_v2: null },
        reason: 'exactly_once_running',
        message: 'status is open',
        stateTime: null,
        offsets: {},
        stores: [],
      },
    ],
  });
  expect(inspectionJson({ ...inspection, state: 'unknown', tasks: [] })).toEqual({
    application: 'orders',
    running: null,
    tasks: [],
  });
});
