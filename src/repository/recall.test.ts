import { describe, expect, test } from 'vitest';
import { CHECKPOINT_NS, checkpointSight, databaseSight, lookContext, taskSight } from '../../test/support/sights.ts';
import { judge, type TaskMemory, type TaskSight } from '../streams/quality.ts';
import { findInstalledQuality, recallTask } from './recall.ts';
import type { InstalledTask, RestoreReport } from './restore-result.ts';

const RESTORED_MS = lookContext().nowMs - 10_000;
const sight = taskSight();
const { device, inode, birthtimeNs } = sight.facts;
const seen: TaskMemory = { ...judge(sight, lookContext()).memory, tainted: true };

const installed: InstalledTask = {
  task: sight.task,
  device,
  inode,
  birthtimeNs,
  snapshot: '0000000000001-orders-0-abcd/1',
  capturedBy: '0000000000001-orders-0-abcd/1',
  quality: 'live',
  layout: 'file',
  stateTimeMs: RESTORED_MS - 3_600_000,
  capturedAtMs: RESTORED_MS - 3_500_000,
  offsets: new Map(),
  files: [],
};

const report: RestoreReport = {
  application: 'orders',
  lineage: 'shop',
  instance: 'orders-0',
  epoch: undefined,
  writer: 'warmstate 0.1.0',
  timeMs: RESTORED_MS,
  guarantee: 'at_least_once',
  appVersion: undefined,
  result: { outcome: 'restored', tasks: [], bytesDownloaded: 0, requests: 0, durationMs: 0 },
  installed: [],
  taints: [],
};

describe('what is remembered of a directory', () => {
  test('is what the newest document saw of it', () => {
    const base = { seen: new Map([[sight.task, seen]]) };
    expect(recallTask({ base, report: { ...report, installed: [installed] } }, sight)).toBe(seen);
  });

  test('is nothing of what stood there before', () => {
    const base = { seen: new Map([[sight.task, { ...seen, inode: 99n }]]) };
    const taints = [{ task: sight.task, device, inode: 99n }];
    expect(recallTask({ base, report: { ...report, taints } }, sight)).toBeUndefined();
  });

  test('is no taint of one that took the place and the inode number of a tainted one', () => {
    const taints = [{ task: sight.task, device, inode, birthtimeNs: birthtimeNs - 1n }];
    expect(recallTask({ base: undefined, report: { ...report, taints } }, sight)).toBeUndefined();
    const remounted = [{ task: sight.task, device: 99n, inode, birthtimeNs }];
    expect(verdict(sight, recallTask({ base: undefined, report: { ...report, taints: remounted } }, sight))).toBe(
      'unclean_restart',
    );
  });

  test('is the taint of one that a restore left as it was (Q6)', () => {
    const recollection = { base: undefined, report: { ...report, taints: [{ task: sight.task, device, inode }] } };
    expect(verdict(sight, recallTask(recollection, sight))).toBe('unclean_restart');
    const kept = { ...recollection, report: { ...recollection.report, installed: [installed] } };
    expect(verdict(sight, recallTask(kept, sight))).toBe('unclean_restart');
  });

  test('is what was seen of it before its volume was mounted anew, its taint above all (Q6)', () => {
    const remounted = { ...sight, facts: { ...sight.facts, device: 99n } };
    const base = { seen: new Map([[sight.task, seen]]) };
    expect(verdict(remounted, recallTask({ base, report: undefined }, remounted))).toBe('unclean_restart');
    const taints = [{ task: sight.task, device, inode }];
    const kept = { base: undefined, report: { ...report, taints } };
    expect(verdict(remounted, recallTask(kept, remounted))).toBe('unclean_restart');
  });

  test('is the taint that a restore found after the snapshot had looked (Q6)', () => {
    const base = { seen: new Map([[sight.task, { ...seen, tainted: false }]]) };
    const taints = [{ task: sight.task, device, inode }];
    expect(recallTask({ base, report: { ...report, taints } }, sight)).toEqual(seen);
  });

  test('is the taint that the life before put into its record and could publish no more (Q6)', () => {
    const taints = [{ task: sight.task, device, inode }];
    const base = { seen: new Map([[sight.task, { ...seen, tainted: false }]]) };
    expect(recallTask({ base, report: undefined, taints }, sight)).toEqual(seen);
    expect(verdict(sight, recallTask({ base: undefined, report: undefined, taints }, sight))).toBe('unclean_restart');
    // One that took its place is another one: on the same volume by its birth, on another by its inode.
    for (const other of [{ inode: 99n }, { inode, birthtimeNs: 5n }]) {
      const elsewhere = [{ task: sight.task, device, ...other }];
      expect(recallTask({ base: undefined, report: undefined, taints: elsewhere }, sight)).toBeUndefined();
    }
  });

  test('is of an installed one what was installed: a live one that is opened becomes tainted (Q6)', () => {
    const file = { sizeBytes: 1, sha256: '', uid: undefined, objects: [], inode: 1n, mtimeNs: 1n, ctimeNs: 1n };
    const files = [{ ...file, path: 'rocksdb/agg/MANIFEST-000004' }];
    const opened = taskSight({ checkpoint: checkpointSight(['orders-agg-changelog 3 1', 'orders-win-changelog 3 1']) });
    const recall = (quality: 'clean' | 'live'): TaskMemory | undefined =>
      recallTask({ base: undefined, report: { ...report, installed: [{ ...installed, quality, files }] } }, opened);
    expect([verdict(opened, recall('live')), verdict(opened, recall('clean'))]).toEqual(['unclean_restart', 'clean']);
  });

  test('is watched for its checkpoint from the install on, not from its state time (Q7)', () => {
    const files = [
      {
        path: '.checkpoint',
        sizeBytes: 1,
        sha256: '',
        uid: undefined,
        objects: [],
        inode: 77n,
        mtimeNs: CHECKPOINT_NS,
        ctimeNs: 1n,
      },
    ];
    const memory = recallTask({ base: undefined, report: { ...report, installed: [{ ...installed, files }] } }, sight);
    const busy = taskSight({ databases: [databaseSight('rocksdb/agg', { greatestSequence: 90_000n })] });
    const context = lookContext({ memory, isRunning: true });
    expect(judge(busy, context).memory.watch).toEqual({
      sinceMs: RESTORED_MS,
      writes: 90_000n,
      looksExactlyOnce: false,
    });
  });
});

test('the quality of an installed directory counts until somebody opened it (Q8)', () => {
  const file = { sizeBytes: 1, sha256: '', uid: undefined, objects: [], ctimeNs: 1n };
  const paths = sight.databases.map(({ path, manifest }) => `${path}/${manifest}`);
  const manifests = paths.map((path) => ({ ...file, path, inode: 1n, mtimeNs: 1n }));
  const files = [...manifests, { ...file, path: '.checkpoint', inode: 77n, mtimeNs: CHECKPOINT_NS }];
  const left = { ...report, installed: [{ ...installed, files }] };
  const opened = taskSight({ databases: [databaseSight('rocksdb/agg', { manifest: 'MANIFEST-000009' })] });
  expect([sight, opened].map((look) => findInstalledQuality(left, look))).toEqual(['live', undefined]);
});

function verdict(look: TaskSight, memory: TaskMemory | undefined): string {
  const { exactlyOnce } = judge(look, lookContext({ memory }));
  return exactlyOnce.kind === 'valid' ? exactlyOnce.quality : exactlyOnce.why.reason;
}
