import { readFileSync } from 'node:fs';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { SimulatedStore } from '../../test/support/simulated-store.ts';
import { bytesBody } from '../storage/object-store.ts';
import { type DamageReport, decodeDamageReport, encodeDamageReport } from './damaged.ts';
import { decodeDocument, encodeDocument, type SnapshotDocument } from './document.ts';
import { decodeFence, encodeFence, type Fence } from './fence.ts';
import { decodeRecord, type EpochRecord, encodeRecord } from './record.ts';
import { openRepository } from './repository.ts';
import { decodeRestoreReport, encodeRestoreReport, type RestoreReport } from './restore-result.ts';

// What a released program wrote is read for ever: these files are never changed, a new format gets a folder of its own.
const FOLDER = new URL('../../test/fixtures/repository/format-1/', import.meta.url);
const golden = (name: string): Uint8Array => readFileSync(new URL(name, FOLDER));
const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

const EPOCH = '1763854560123-orders%3A0-a1b2';
const SHA256 = '0123456789abcdef'.repeat(4);
const OFFSETS = new Map([
  ['orders-agg-changelog-3', 1_000n],
  ['orders-win-changelog-3', 9_223_372_036_854_775_807n],
]);

const table = {
  path: 'rocksdb/agg/000012.sst',
  sizeBytes: 20_000_000,
  sha256: SHA256,
  uid: '00112233445566778899aabbccddeeff',
  objects: [
    {
      kind: 'stretch',
      key: `orders/shop%2Feu/data/${EPOCH}/00000012-000000`,
      sizeBytes: 16_777_216,
      storedBytes: 5_000_000,
      sha256: SHA256,
      encoding: 'zstd',
    },
    {
      kind: 'stretch',
      key: `orders/shop%2Feu/data/${EPOCH}/00000012-000001`,
      sizeBytes: 3_222_784,
      storedBytes: 3_222_784,
      sha256: SHA256,
      encoding: 'none',
    },
  ],
} as const;

const archived = (path: string) =>
  ({
    path,
    sizeBytes: 42,
    sha256: SHA256,
    uid: undefined,
    objects: [
      {
        kind: 'archived',
        key: `orders/shop%2Feu/data/${EPOCH}/00000012-000002.tar.zst`,
        storedBytes: 300,
        contentBytes: 42,
        entry: 'content',
      },
    ],
  }) as const;

const document: SnapshotDocument = {
  application: 'orders',
  lineage: 'shop/eu',
  instance: 'orders:0',
  epoch: EPOCH,
  n: 12,
  timeMs: Date.UTC(2026, 10, 22, 23, 36, 0, 123),
  writer: 'warmstate 0.1.0',
  guarantee: 'exactly_once_v2',
  entries: [
    {
      task: '0_3',
      quality: 'clean',
      layout: 'file',
      stateTimeMs: Date.UTC(2026, 10, 22, 23, 35),
      capturedAtMs: Date.UTC(2026, 10, 22, 23, 35, 30),
      capturedBy: `${EPOCH}/12`,
      offsets: OFFSETS,
      files: [archived('.checkpoint'), archived('agg.position')],
      stores: [
        {
          name: 'agg',
          kind: 'rocksdb',
          rocksdbVersion: '7.9.2',
          columnFamilies: ['default', 'keyValueWithTimestamp'],
          files: [
            archived('rocksdb/agg/CURRENT'),
            archived('rocksdb/agg/MANIFEST-000005'),
            archived('rocksdb/agg/OPTIONS-000007'),
            archived('rocksdb/agg/000013.blob'),
            table,
          ],
        },
        {
          name: 'win',
          kind: 'segmented',
          rocksdbVersion: undefined,
          columnFamilies: ['default'],
          files: [archived('win/win.1763852400000/CURRENT')],
        },
        {
          name: 'index',
          kind: 'other',
          rocksdbVersion: undefined,
          columnFamilies: [],
          files: [archived('index/segments_1')],
        },
      ],
    },
    {
      task: 'global',
      quality: 'transactional',
      layout: 'column-family',
      stateTimeMs: 0,
      capturedAtMs: 1,
      capturedBy: '1763854560000-orders-1-zzzz/1',
      offsets: new Map([['rates-0', 0n]]),
      files: [],
      stores: [],
    },
  ],
  ahead: [table],
  seen: new Map([
    [
      '0_3',
      {
        device: 64_768n,
        inode: 18_446_744_073_709_551_615n,
        birthtimeNs: 0n,
        checkpoint: { inode: 5n, mtimeNs: 1_763_854_500_000_000_001n },
        passed: true,
        tainted: false,
        databases: new Map([['rocksdb/agg', { manifest: 'MANIFEST-000005', greatestSequence: 12_345n }]]),
        parents: new Map([['win', { mtimeNs: -1n, children: ['win.1763852400000'] }]]),
        watch: { sinceMs: 2, writes: 3n, looksExactlyOnce: false },
      },
    ],
    [
      '0_4',
      {
        device: 0n,
        inode: 0n,
        birthtimeNs: 0n,
        checkpoint: undefined,
        passed: false,
        tainted: true,
        databases: new Map(),
        parents: new Map(),
        watch: { sinceMs: 0, writes: 0n, looksExactlyOnce: true },
      },
    ],
  ]),
};

/** No file of the task directory itself, offsets in every database, and the task directory among the parents. */
const inside: SnapshotDocument = {
  ...document,
  entries: [
    {
      task: '0_3',
      quality: 'clean',
      layout: 'column-family',
      stateTimeMs: Date.UTC(2026, 10, 22, 23, 35),
      capturedAtMs: Date.UTC(2026, 10, 22, 23, 35, 30),
      capturedBy: `${EPOCH}/12`,
      offsets: OFFSETS,
      files: [],
      stores: [
        {
          name: 'agg',
          kind: 'rocksdb',
          rocksdbVersion: '10.1.3',
          columnFamilies: ['default', 'keyValueWithTimestamp', 'offsets'],
          files: [
            archived('rocksdb/agg/CURRENT'),
            archived('rocksdb/agg/MANIFEST-000005'),
            archived('rocksdb/agg/OPTIONS-000007'),
            { ...archived('rocksdb/agg/000013.sst'), uid: 'ffeeddccbbaa99887766554433221100' },
            table,
          ],
        },
        {
          name: 'win',
          kind: 'segmented',
          rocksdbVersion: undefined,
          columnFamilies: ['default', 'offsets'],
          files: [archived('win/win.1763852400000/CURRENT'), archived('win/win.1763938800000/CURRENT')],
        },
      ],
    },
  ],
  seen: new Map([
    [
      '0_3',
      {
        device: 64_768n,
        inode: 5n,
        birthtimeNs: 1_763_854_500_000_000_001n,
        checkpoint: undefined,
        passed: true,
        tainted: false,
        databases: new Map([['rocksdb/agg', { manifest: 'MANIFEST-000005', greatestSequence: 12_345n }]]),
        parents: new Map([
          ['.', { mtimeNs: 0n, children: ['rocksdb', 'win'] }],
          ['rocksdb', { mtimeNs: 1n, children: ['agg'] }],
          ['win', { mtimeNs: 2n, children: ['win.1763852400000', 'win.1763938800000'] }],
        ]),
        watch: { sinceMs: 2, writes: 0n, looksExactlyOnce: false },
      },
    ],
  ]),
};

/** As brokers told them at the capture. */
function withTopicIds(of: SnapshotDocument): SnapshotDocument {
  const topicIds = new Map([
    ['orders-agg-changelog', 'AAECAwQFBgcICQoLDA0ODw'],
    ['orders-win-changelog', '_-ECAwQFBgcICQoLDA0ODw'],
  ]);
  return {
    ...of,
    entries: of.entries.map((entry) => ({ ...entry, topicIds })),
    seen: new Map([...of.seen].map(([task, memory]) => [task, { ...memory, topicIds }])),
  };
}

const record: EpochRecord = {
  application: 'orders',
  lineage: 'shop/eu',
  instance: 'orders:0',
  epoch: EPOCH,
  writer: 'warmstate 0.1.0',
  role: 'run',
  state: 'released',
  renewedAtMs: Date.UTC(2026, 10, 22, 23, 36, 1),
  guarantee: 'at_least_once',
  maxAgeMs: 82_800_000,
  keepWithinMs: 21_600_000,
  after: '1763854560000-orders%3A0-zzzz',
  trial: undefined,
  newest: 12,
  tasks: [
    {
      task: '0_3',
      quality: 'live',
      layout: 'file',
      stateTimeMs: Date.UTC(2026, 10, 22, 23, 35),
      capturedAtMs: Date.UTC(2026, 10, 22, 23, 35, 30),
      capturedBy: `${EPOCH}/12`,
      offsets: OFFSETS,
      sizeBytes: 20_000_042,
    },
  ],
  taints: [{ task: '0_4', device: 64_768n, inode: 77n }],
  claims: [],
  installed: [
    {
      task: '0_3',
      snapshot: '1763854500000-orders-0-yyyy/3',
      quality: 'clean',
      layout: undefined,
      stateTimeMs: Date.UTC(2026, 10, 22, 23, 30),
      offsets: OFFSETS,
    },
  ],
  appVersion: undefined,
};

const report: RestoreReport = {
  application: 'orders',
  lineage: 'shop/eu',
  instance: 'orders:0',
  epoch: '1763854560000-orders%3A0-zzzz',
  writer: 'warmstate 0.1.0',
  timeMs: Date.UTC(2026, 10, 22, 23, 36),
  guarantee: 'auto',
  appVersion: undefined,
  result: {
    outcome: 'partial',
    tasks: [
      {
        task: '0_3',
        decision: 'warm',
        why: undefined,
        snapshot: `${EPOCH}/12`,
        quality: 'clean',
        stateTimeMs: Date.UTC(2026, 10, 22, 23, 35),
        capturedAtMs: Date.UTC(2026, 10, 22, 23, 35, 30),
        offsets: OFFSETS,
        sizeBytes: 20_000_042,
      },
      {
        task: '0_4',
        decision: 'cold',
        why: { reason: 'nothing_stored', message: 'no snapshot holds it' },
        snapshot: undefined,
        quality: undefined,
        stateTimeMs: undefined,
        capturedAtMs: undefined,
        offsets: new Map(),
        sizeBytes: 0,
      },
    ],
    bytesDownloaded: 8_223_084,
    requests: 9,
    durationMs: 1234,
  },
  installed: [
    {
      task: '0_3',
      device: 64_768n,
      inode: 99n,
      birthtimeNs: 1_763_854_560_000_000_000n,
      snapshot: `${EPOCH}/12`,
      capturedBy: `${EPOCH}/12`,
      quality: 'clean',
      layout: 'file',
      stateTimeMs: Date.UTC(2026, 10, 22, 23, 35),
      capturedAtMs: Date.UTC(2026, 10, 22, 23, 35, 30),
      offsets: OFFSETS,
      files: [{ ...table, inode: 100n, mtimeNs: 1_763_854_500_000_000_000n, ctimeNs: 1_763_854_560_000_000_001n }],
    },
  ],
  taints: [{ task: '0_5', device: 64_768n, inode: 7n }],
};

describe('format 1', () => {
  test('of a repository is read', async () => {
    const store = new SimulatedStore();
    const signal = new AbortController().signal;
    await store.put('orders/shop/repository.json', bytesBody(golden('repository.json')), { signal });
    const opened = openRepository(store, { application: 'orders', lineage: 'shop', notice: () => undefined, signal });
    await expect(opened).resolves.toMatchObject({ keys: { application: 'orders', lineage: 'shop' } });
  });

  test('of a document is read, and written the same', async () => {
    const key = `orders/shop%2Feu/snapshots/${EPOCH}/00000012.json.zst`;
    expect(await decodeDocument(golden('document.json.zst'), key)).toEqual(document);
    const text = textOf(zstdDecompressSync(await encodeDocument(document)));
    expect(text).toBe(textOf(golden('document.json')));
    expect(text).toBe(textOf(zstdDecompressSync(golden('document.json.zst'))));
  });

  test('of a document of the layout that keeps its offsets inside RocksDB is read, and written the same', async () => {
    const key = `orders/shop%2Feu/snapshots/${EPOCH}/00000012.json.zst`;
    expect(await decodeDocument(zstdCompressSync(golden('document-column-family.json')), key)).toEqual(inside);
    const text = textOf(zstdDecompressSync(await encodeDocument(inside)));
    expect(text).toBe(textOf(golden('document-column-family.json')));
  });

  test('of a document with the ids of topics is read, and written the same', async () => {
    const told = withTopicIds(inside);
    const key = `orders/shop%2Feu/snapshots/${EPOCH}/00000012.json.zst`;
    expect(await decodeDocument(zstdCompressSync(golden('document-topic-ids.json')), key)).toEqual(told);
    const text = textOf(zstdDecompressSync(await encodeDocument(told)));
    expect(text).toBe(textOf(golden('document-topic-ids.json')));
  });

  test('of a record is read, and written the same', () => {
    expect(decodeRecord(golden('record.json'), `orders/shop%2Feu/records/${EPOCH}.json`)).toEqual(record);
    expect(textOf(encodeRecord(record))).toBe(textOf(golden('record.json')));
  });

  // What was added to records and to restore.json without a new number.
  const trial = { state: 'failed', atMs: Date.UTC(2026, 10, 22, 23, 41), lockTaken: 3, lockLost: 2 } as const;
  const installed = record.installed.map((one) => ({ ...one, layout: 'file' as const }));
  const tried: EpochRecord = { ...record, trial, installed, appVersion: '7c9f5b' };

  test('of a record with a trial is read, and written the same', () => {
    expect(decodeRecord(golden('record-trial.json'), `orders/shop%2Feu/records/${EPOCH}.json`)).toEqual(tried);
    expect(textOf(encodeRecord(tried))).toBe(textOf(golden('record-trial.json')));
  });

  test('of a restore.json with a version is read, and written the same', () => {
    const versioned = { ...report, appVersion: '7c9f5b' };
    expect(decodeRestoreReport(golden('restore-version.json'), 'restore.json')).toEqual(versioned);
    expect(textOf(encodeRestoreReport(versioned))).toBe(textOf(golden('restore-version.json')));
  });

  const fence: Fence = {
    application: 'orders',
    lineage: 'shop/eu',
    timeMs: Date.UTC(2026, 10, 22, 23, 40, 0, 123),
    token: 'a1b2c3d4',
    writer: 'warmstate 0.1.0',
    reason: 'regressed',
    beforeMs: Date.UTC(2026, 10, 22, 23, 40),
    tasks: ['0_3', 'global'],
    instance: 'orders:0',
    layout: 'column-family',
    quality: 'live',
  };

  test('of a fence is read, and written the same', () => {
    expect(decodeFence(golden('fence.json'), `orders/shop%2Feu/fences/${fence.timeMs}-a1b2c3d4.json`)).toEqual(fence);
    expect(textOf(encodeFence(fence))).toBe(textOf(golden('fence.json')));
  });

  const damage: DamageReport = {
    application: 'orders',
    lineage: 'shop/eu',
    epoch: EPOCH,
    writer: 'warmstate 0.1.0',
    timeMs: Date.UTC(2026, 10, 22, 23, 40, 0, 123),
    objects: [
      { key: `orders/shop%2Feu/data/${EPOCH}/00000012-000000`, problem: 'missing' },
      { key: `orders/shop%2Feu/data/${EPOCH}/00000012-000002.tar.zst`, problem: 'wrong' },
    ],
    entries: [{ task: '0_3', capturedBy: `${EPOCH}/12` }],
  };

  test('of a report of damage is read, and written the same', () => {
    expect(decodeDamageReport(golden('damaged.json'), `orders/shop%2Feu/damaged/${EPOCH}.json`)).toEqual(damage);
    expect(textOf(encodeDamageReport(damage))).toBe(textOf(golden('damaged.json')));
  });

  test('of restore.json is read, and written the same', () => {
    expect(decodeRestoreReport(golden('restore.json'), 'restore.json')).toEqual(report);
    expect(textOf(encodeRestoreReport(report))).toBe(textOf(golden('restore.json')));
  });
});

describe('docs/format.md', () => {
  const text = readFileSync(new URL('../../docs/format.md', import.meta.url), 'utf8');
  const example = (name: string): Uint8Array => {
    const [, json] = new RegExp(`\\n\`\`\`json ${name}\\n(.+?)\\n\`\`\`\\n`, 's').exec(text) ?? [];
    return Buffer.from(json ?? `no example of a ${name}`);
  };
  const epoch = '1763854560123-orders-0-a1b2';

  test('shows a document that is one', async () => {
    const key = `orders/shop/snapshots/${epoch}/00000012.json.zst`;
    expect((await decodeDocument(zstdCompressSync(example('document')), key)).entries).toHaveLength(1);
  });

  test('shows a record that is one', () => {
    expect(decodeRecord(example('record'), `orders/shop/records/${epoch}.json`).tasks).toHaveLength(1);
  });

  test('shows a fence that is one', () => {
    expect(decodeFence(example('fence'), 'orders/shop/fences/1795390800123-a1b2c3d4.json').tasks).toEqual(['0_3']);
  });

  test('shows a report of damage that is one', () => {
    expect(decodeDamageReport(example('damaged'), `orders/shop/damaged/${epoch}.json`).objects).toHaveLength(1);
  });

  test('shows a restore.json that is one', () => {
    expect(decodeRestoreReport(example('restore'), 'restore.json').installed).toHaveLength(1);
  });
});
