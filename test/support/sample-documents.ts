import { createHash } from 'node:crypto';
import type { Entry, SnapshotDocument, StoredFile, StoredStore } from '../../src/repository/document.ts';
import { repositoryKeys } from '../../src/repository/keys.ts';
import type { EpochRecord } from '../../src/repository/record.ts';

/** Documents and records as a writer makes them, small, to be varied by tests. No object of theirs exists. */
export const SAMPLE_EPOCH = '1763854560123-orders-0-a1b2';
export const SAMPLE_NAME = { epoch: SAMPLE_EPOCH, n: 12 };
export const SAMPLE_TIME_MS = 1_763_854_600_000;
export const SAMPLE_KEYS = repositoryKeys({ application: 'orders', lineage: 'shop' });

/** A file in the archive of the sample snapshot. */
export function archivedFile(task: string, path: string): StoredFile {
  const content = `${task}/${path}`;
  const key = SAMPLE_KEYS.archive(SAMPLE_NAME, 1);
  return {
    path,
    sizeBytes: content.length,
    sha256: sha256(content),
    uid: undefined,
    objects: [{ kind: 'archived', key, storedBytes: 4096, contentBytes: 16_384, entry: content }],
  };
}

/** A table of two stretches, packed and not. */
export function tableFile(path: string, number = 2): StoredFile {
  return {
    path,
    sizeBytes: 96 * 1024 * 1024,
    sha256: sha256(path),
    uid: sha256(path).slice(0, 32),
    objects: [
      {
        kind: 'stretch',
        key: SAMPLE_KEYS.data(SAMPLE_NAME, number),
        sizeBytes: 64 * 1024 * 1024,
        storedBytes: 20_000_000,
        sha256: sha256(`${path} first`),
        encoding: 'zstd',
      },
      {
        kind: 'stretch',
        key: SAMPLE_KEYS.data(SAMPLE_NAME, number + 1),
        sizeBytes: 32 * 1024 * 1024,
        storedBytes: 32 * 1024 * 1024,
        sha256: sha256(`${path} second`),
        encoding: 'none',
      },
    ],
  };
}

export function plainStore(task: string, name = 'agg'): StoredStore {
  const files = ['CURRENT', 'MANIFEST-000005', 'OPTIONS-000007'].map((file) =>
    archivedFile(task, `rocksdb/${name}/${file}`),
  );
  return {
    name,
    kind: 'rocksdb',
    rocksdbVersion: '7.9.2',
    columnFamilies: ['default', 'keyValueWithTimestamp'],
    files: [...files, tableFile(`rocksdb/${name}/000012.sst`)],
  };
}

export function segmentedStore(task: string, name = 'win'): StoredStore {
  const files = [`${name}/${name}.1763852400000/CURRENT`, `${name}/${name}.1763852400000/MANIFEST-000004`];
  return {
    name,
    kind: 'segmented',
    rocksdbVersion: undefined,
    columnFamilies: ['default'],
    files: files.map((path) => archivedFile(task, path)),
  };
}

export function sampleEntry(change: Partial<Entry> = {}): Entry {
  const task = change.task ?? '0_3';
  return {
    task,
    quality: 'clean',
    layout: 'file',
    stateTimeMs: SAMPLE_TIME_MS - 10_000,
    capturedAtMs: SAMPLE_TIME_MS - 5_000,
    capturedBy: `${SAMPLE_EPOCH}/12`,
    offsets: new Map([
      ['orders-agg-changelog-3', 1_000n],
      ['orders-win-changelog-3', 9_007_199_254_740_993n],
    ]),
    files: [archivedFile(task, '.checkpoint'), archivedFile(task, 'agg.position')],
    stores: [plainStore(task), segmentedStore(task)],
    ...change,
  };
}

export function sampleDocument(change: Partial<SnapshotDocument> = {}): SnapshotDocument {
  return {
    application: 'orders',
    lineage: 'shop',
    instance: 'orders-0',
    ...SAMPLE_NAME,
    timeMs: SAMPLE_TIME_MS,
    writer: 'warmstate 0.1.0',
    guarantee: 'at_least_once',
    entries: [
      sampleEntry(),
      sampleEntry({
        task: 'global',
        quality: 'live',
        offsets: new Map([['rates-0', 77n]]),
        files: [archivedFile('global', '.checkpoint')],
        stores: [],
      }),
    ],
    ahead: [tableFile('rocksdb/agg/000020.sst', 4)],
    seen: new Map([
      [
        '0_3',
        {
          device: 64_768n,
          inode: 18_446_744_073_709_551_615n,
          birthtimeNs: 0n,
          checkpoint: { inode: 5n, mtimeNs: 1_763_854_590_000_000_001n },
          passed: true,
          tainted: false,
          databases: new Map([['rocksdb/agg', { manifest: 'MANIFEST-000005', greatestSequence: 12_345n }]]),
          parents: new Map([['win', { mtimeNs: -1n, children: ['win.1763852400000'] }]]),
          watch: { sinceMs: SAMPLE_TIME_MS - 60_000, writes: 12_345n, looksExactlyOnce: false },
        },
      ],
    ]),
    ...change,
  };
}

export function sampleRecord(change: Partial<EpochRecord> = {}): EpochRecord {
  const offsets = new Map([['orders-agg-changelog-3', 1_000n]]);
  const quality = 'clean';
  const stateTimeMs = SAMPLE_TIME_MS - 10_000;
  return {
    application: 'orders',
    lineage: 'shop',
    instance: 'orders-0',
    epoch: SAMPLE_EPOCH,
    writer: 'warmstate 0.1.0',
    role: 'run',
    state: 'alive',
    renewedAtMs: SAMPLE_TIME_MS,
    guarantee: 'at_least_once',
    maxAgeMs: 82_800_000,
    keepWithinMs: 21_600_000,
    after: '1763854560000-orders-0-zzzz',
    trial: { state: 'confirmed', atMs: SAMPLE_TIME_MS - 1_000, lockTaken: 1, lockLost: 0 },
    newest: 12,
    tasks: [
      {
        task: '0_3',
        quality,
        layout: 'file',
        stateTimeMs,
        capturedAtMs: SAMPLE_TIME_MS - 5_000,
        capturedBy: `${SAMPLE_EPOCH}/12`,
        offsets,
        sizeBytes: 123_456,
      },
    ],
    taints: [{ task: '0_4', device: 64_768n, inode: 77n }],
    claims: [{ epoch: '1763854500000-orders-1-yyyy', kind: 'adopted', isSettled: true }],
    installed: [
      { task: '0_3', snapshot: '1763854500000-orders-0-yyyy/3', quality, layout: 'file', stateTimeMs, offsets },
    ],
    appVersion: '7c9f5b',
    ...change,
  };
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
