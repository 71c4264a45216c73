import { expect, test } from 'vitest';
import type { SnapshotDocument, StoredFile } from '../repository/document.ts';
import { widestFence } from '../repository/fence.ts';
import { NOTHING_WITHDRAWN } from '../repository/withdrawals.ts';
import { documentJson, renderDocument } from './show.ts';

const nowMs = Date.UTC(2026, 10, 22, 23, 40);
const epoch = '1763851022123-orders-0-x7k2';
const sha256 = 'ab12cd34ef56ab12'.repeat(4);

function file(path: string, sizeBytes: number): StoredFile {
  const key = `orders/prod/data/${epoch}/00000012-000001.tar.zst`;
  return {
    path,
    sizeBytes,
    sha256,
    uid: undefined,
    objects: [{ kind: 'archived', key, storedBytes: 99, contentBytes: 999, entry: path }],
  };
}

const document: SnapshotDocument = {
  application: 'orders',
  lineage: 'prod',
  instance: 'orders-0',
  epoch,
  n: 12,
  timeMs: nowMs - 180_000,
  writer: 'warmstate 0.1.0',
  guarantee: 'at_least_once',
  ahead: [],
  seen: new Map(),
  entries: [
    {
      task: '0_0',
      quality: 'live',
      layout: 'file',
      stateTimeMs: nowMs - 240_000,
      capturedAtMs: nowMs - 180_000,
      capturedBy: `${epoch}/11`,
      offsets: new Map([['orders-agg-changelog-0', 12_345n]]),
      files: [file('.checkpoint', 43)],
      stores: [
        {
          name: 'agg',
          kind: 'rocksdb',
          rocksdbVersion: '9.7.3',
          columnFamilies: ['default'],
          files: [file('rocksdb/agg/000012.sst', 2 ** 24), file('rocksdb/agg/CURRENT', 16)],
        },
      ],
    },
  ],
};

const shown = { document, withdrawals: NOTHING_WITHDRAWN };

test('a snapshot is shown with its tasks, offsets, stores and files', () => {
  expect(renderDocument(shown, { columns: 100, hasColour: false, nowMs })).toBe(`\
snapshot 1763851022123-orders-0-x7k2/12
orders, lineage prod, instance orders-0
taken 3 min ago (2026-11-22T23:37:00.000Z) under at_least_once by warmstate 0.1.0
1 task, 16 MiB

task 0_0: live, file layout, state of 4 min ago, taken by 1763851022123-orders-0-x7k2/11
CHANGELOG               OFFSET
orders-agg-changelog-0   12345
STORE  KIND     ROCKSDB  FILES    SIZE
agg    rocksdb  9.7.3        2  16 MiB
  SIZE  SHA256            FILE
  43 B  ab12cd34ef56ab12  .checkpoint
16 MiB  ab12cd34ef56ab12  rocksdb/agg/000012.sst
  16 B  ab12cd34ef56ab12  rocksdb/agg/CURRENT
`);
});

test('where offsets lie inside of RocksDB, a store is shown with its status and its position', () => {
  const entries = document.entries.map((entry) => ({
    ...entry,
    stores: entry.stores.map((store) => ({
      ...store,
      columnFamilies: ['default', 'offsets'],
      status: 'closed' as const,
      position: new Map([['orders-0', 77n]]),
    })),
  }));
  const inside = { ...shown, document: { ...document, entries } };
  expect(renderDocument(inside, { columns: 100, hasColour: false, nowMs })).toContain(`
STORE  KIND     ROCKSDB  FILES    SIZE  STATUS  COLUMN FAMILIES
agg    rocksdb  9.7.3        2  16 MiB  closed  offsets
STORE  INPUT     POSITION
agg    orders-0        77
`);
  expect(documentJson(inside)).toMatchObject({
    tasks: [{ stores: [{ status: 'closed', position: { 'orders-0': '77' } }] }],
  });
});

test('the JSON of a snapshot names every file with its objects', () => {
  const objects = [`orders/prod/data/${epoch}/00000012-000001.tar.zst`];
  expect(documentJson(shown)).toEqual({
    snapshot: '1763851022123-orders-0-x7k2/12',
    application: 'orders',
    lineage: 'prod',
    instance: 'orders-0',
    time: '2026-11-22T23:37:00.000Z',
    writer: 'warmstate 0.1.0',
    guarantee: 'at_least_once',
    tasks: [
      {
        task: '0_0',
        reason: null,
        message: null,
        quality: 'live',
        layout: 'file',
        stateTime: '2026-11-22T23:36:00.000Z',
        capturedAt: '2026-11-22T23:37:00.000Z',
        capturedBy: '1763851022123-orders-0-x7k2/11',
        offsets: { 'orders-agg-changelog-0': '12345' },
        files: [{ path: '.checkpoint', bytes: 43, sha256, objects }],
        stores: [
          {
            name: 'agg',
            kind: 'rocksdb',
            rocksdbVersion: '9.7.3',
            columnFamilies: ['default'],
            status: null,
            position: {},
            files: [
              { path: 'rocksdb/agg/000012.sst', bytes: 2 ** 24, sha256, objects },
              { path: 'rocksdb/agg/CURRENT', bytes: 16, sha256, objects },
            ],
          },
        ],
      },
    ],
  });
});

test('what is not offered any more says why', () => {
  const fence = { ...widestFence(document, { timeMs: nowMs - 60_000, token: 'a1b2c3d4' }), writer: 'warmstate 0.1.0' };
  const fenced = { document, withdrawals: { ...NOTHING_WITHDRAWN, fences: [fence] } };
  expect(renderDocument(fenced, { columns: 100, hasColour: false, nowMs })).toContain(
    'not offered, forgotten: a fence of 2026-11-22T23:39:00.000Z (warmstate forget) withdrew what is older than',
  );
  const damaged = new Set([`orders/prod/data/${epoch}/00000012-000001.tar.zst`]);
  const rotten = { document, withdrawals: { ...NOTHING_WITHDRAWN, damagedObjects: damaged } };
  expect(documentJson(rotten)).toMatchObject({ tasks: [{ reason: 'damaged' }] });
});
