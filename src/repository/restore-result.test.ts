import { describe, expect, test } from 'vitest';
import { archivedFile, SAMPLE_EPOCH, SAMPLE_TIME_MS, tableFile } from '../../test/support/sample-documents.ts';
import { Failure } from '../base/failure.ts';
import type { FileFacts } from '../base/file-access.ts';
import {
  decodeRestoreReport,
  encodeRestoreReport,
  findInstalledTask,
  type InstalledTask,
  isUnopened,
  type RestoreReport,
  type RestoreResult,
  restoreResultJson,
} from './restore-result.ts';

const PATH = '/state/.warmstate/restore.json';

const result: RestoreResult = {
  outcome: 'partial',
  tasks: [
    {
      task: '0_3',
      decision: 'warm',
      why: undefined,
      snapshot: `${SAMPLE_EPOCH}/12`,
      quality: 'clean',
      stateTimeMs: SAMPLE_TIME_MS,
      capturedAtMs: SAMPLE_TIME_MS + 1,
      offsets: new Map([
        ['orders-win-changelog-3', 5n],
        ['orders-agg-changelog-3', 9_007_199_254_740_993n],
      ]),
      sizeBytes: 123,
    },
    {
      task: '0_4',
      decision: 'cold',
      why: { reason: 'too_old', message: 'its state is 2d old, at most 23h is allowed' },
      snapshot: undefined,
      quality: undefined,
      stateTimeMs: undefined,
      capturedAtMs: undefined,
      offsets: new Map(),
      sizeBytes: 0,
    },
  ],
  bytesDownloaded: 100,
  requests: 7,
  durationMs: 1234.56,
};

const stamps = { inode: 100n, mtimeNs: 1_763_854_600_000_000_001n, ctimeNs: 1_763_854_600_000_000_002n };

const installed: InstalledTask = {
  task: '0_3',
  device: 64_768n,
  inode: 99n,
  birthtimeNs: 1_763_854_600_000_000_000n,
  snapshot: `${SAMPLE_EPOCH}/13`,
  capturedBy: `${SAMPLE_EPOCH}/12`,
  quality: 'live',
  layout: 'file',
  stateTimeMs: SAMPLE_TIME_MS,
  capturedAtMs: SAMPLE_TIME_MS + 1,
  offsets: new Map([['orders-agg-changelog-3', 1n]]),
  files: [
    { ...archivedFile('0_3', '.checkpoint'), ...stamps },
    { ...archivedFile('0_3', 'rocksdb/agg/MANIFEST-000005'), ...stamps, inode: 101n },
    { ...tableFile('rocksdb/agg/000012.sst'), ...stamps, inode: 102n },
  ],
};

const report: RestoreReport = {
  application: 'orders',
  lineage: 'shop',
  instance: 'orders-0',
  epoch: SAMPLE_EPOCH,
  writer: 'warmstate 0.1.0',
  timeMs: SAMPLE_TIME_MS,
  guarantee: 'at_least_once',
  appVersion: undefined,
  result: { ...result, durationMs: 1235 },
  installed: [installed],
  taints: [{ task: '0_4', device: 64_768n, inode: 7n }],
};

describe('restore.json', () => {
  test.each<[string, RestoreReport]>([
    ['of a restore', report],
    ['of a restore that the repository never saw', { ...report, epoch: undefined, installed: [], taints: [] }],
  ])('%s is read as it was written', (_, each) => {
    expect(decodeRestoreReport(encodeRestoreReport(each), PATH)).toEqual(each);
  });

  test('of another format, or cut, is refused with its path', () => {
    expect(() => decodeRestoreReport(Buffer.from('{"format":2}'), PATH)).toThrow(
      new Failure('invalid', `cannot read ${PATH}: it has format 2, this program reads 1`, {
        hint: 'use the version of warmstate that wrote it',
      }),
    );
    const bytes = encodeRestoreReport(report);
    expect(() => decodeRestoreReport(bytes.subarray(0, 1000), PATH)).toThrow(
      expect.objectContaining({ kind: 'corrupt', message: expect.stringContaining(`cannot read ${PATH}: `) }),
    );
  });

  test('names no task twice', () => {
    expect(() => encodeRestoreReport({ ...report, installed: [installed, installed] })).toThrow(
      new Failure('invalid', 'cannot write restore.json: task 0_3 is named twice'),
    );
  });
});

test('the result of a restore has the stable shape', () => {
  expect(JSON.parse(JSON.stringify(restoreResultJson(result)))).toEqual({
    outcome: 'partial',
    tasks: [
      {
        task: '0_3',
        decision: 'warm',
        reason: null,
        message: null,
        snapshot: `${SAMPLE_EPOCH}/12`,
        quality: 'clean',
        stateTime: '2025-11-22T23:36:40.000Z',
        capturedAt: '2025-11-22T23:36:40.001Z',
        offsets: { 'orders-agg-changelog-3': '9007199254740993', 'orders-win-changelog-3': '5' },
        bytes: 123,
      },
      {
        task: '0_4',
        decision: 'cold',
        reason: 'too_old',
        message: 'its state is 2d old, at most 23h is allowed',
        snapshot: null,
        quality: null,
        stateTime: null,
        capturedAt: null,
        offsets: {},
        bytes: 0,
      },
    ],
    bytesDownloaded: 100,
    requests: 7,
    durationMs: 1235,
  });
});

describe('what was installed', () => {
  const facts: FileFacts = {
    kind: 'directory',
    device: installed.device,
    inode: installed.inode,
    birthtimeNs: installed.birthtimeNs,
    sizeBytes: 4096,
    mtimeNs: 0n,
    ctimeNs: 0n,
  };

  test('is known by its directory: inode and birth, also on a volume that was mounted anew', () => {
    expect(findInstalledTask(report, { task: '0_3', facts })).toBe(installed);
    expect(findInstalledTask(report, { task: '0_3', facts: { ...facts, device: 1n } })).toBe(installed);
    const others: readonly { readonly task: string; readonly facts: FileFacts }[] = [
      { task: '0_4', facts },
      { task: '0_3', facts: { ...facts, inode: 1n } },
      { task: '0_3', facts: { ...facts, birthtimeNs: 1n } },
    ];
    expect(others.map((each) => findInstalledTask(report, each))).toEqual(others.map(() => undefined));
  });

  test('was not opened while its checkpoint and its manifests are those that were installed', () => {
    const checkpoint = { inode: stamps.inode, mtimeNs: stamps.mtimeNs };
    const content = { offsets: new Map(), unknown: new Set<string>(), topics: new Set<string>() };
    const databases = [{ path: 'rocksdb/agg', manifest: 'MANIFEST-000005' }];
    expect(isUnopened(installed, { checkpoint: { ...checkpoint, content }, databases })).toBe(true);
    const opened: readonly Parameters<typeof isUnopened>[1][] = [
      { checkpoint: undefined, databases },
      { checkpoint: { ...checkpoint, inode: 1n, content }, databases },
      { checkpoint: { ...checkpoint, mtimeNs: 1n, content }, databases },
      { checkpoint: { ...checkpoint, content }, databases: [{ path: 'rocksdb/agg', manifest: 'MANIFEST-000008' }] },
      {
        checkpoint: { ...checkpoint, content },
        databases: [...databases, { path: 'rocksdb/new', manifest: 'MANIFEST-000004' }],
      },
    ];
    expect(opened.map((sight) => isUnopened(installed, sight))).toEqual(opened.map(() => false));
  });
});
