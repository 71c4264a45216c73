import { describe, expect, test } from 'vitest';
import { archivedFile, sampleEntry } from '../../test/support/sample-documents.ts';
import { checkpointSight, familyDatabase, taskSight } from '../../test/support/sights.ts';
import type { Capture } from '../capture/capture.ts';
import type { InstalledTask, RestoreReport } from '../repository/restore-result.ts';
import type { DatabaseSight } from '../streams/quality.ts';
import { withoutForeignStores } from './foreign-stores.ts';

const INSTALLED = ['rocksdb/agg', 'win/win.0'];

/** A report of a restore that installed the task with the stores agg and win. */
function reportOf({ facts }: Capture['sight']): RestoreReport {
  const files = INSTALLED.flatMap((path) => [`${path}/CURRENT`, `${path}/MANIFEST-000005`]);
  const { stores: _stores, ...entry } = sampleEntry({ task: '0_3', layout: 'column-family' });
  const task: InstalledTask = {
    ...entry,
    ...facts,
    snapshot: entry.capturedBy,
    files: files.map((path) => ({ ...archivedFile('0_3', path), inode: 1n, mtimeNs: 2n, ctimeNs: 3n })),
  };
  return {
    application: 'orders',
    lineage: 'shop',
    instance: 'orders-0',
    epoch: undefined,
    writer: 'warmstate test',
    timeMs: 0,
    guarantee: 'at_least_once',
    appVersion: undefined,
    result: { outcome: 'restored', tasks: [], bytesDownloaded: 0, requests: 0, durationMs: 0 },
    installed: [task],
    taints: [],
  };
}

function captureOf(databases: readonly DatabaseSight[], change: Partial<Capture['sight']> = {}): Capture {
  const sight = taskSight({ databases, checkpoint: undefined, ...change });
  const stores = [...new Set(databases.map(({ store }) => store))].map((name) => {
    return { name, kind: 'rocksdb', columnFamilies: [], files: [], tables: [] } as const;
  });
  return { task: '0_3', capturedAtMs: 0, sight, files: [], stores, [Symbol.asyncDispose]: async () => {} };
}

const untouched = (path: string): DatabaseSight => familyDatabase(path);
const opened = (path: string): DatabaseSight => familyDatabase(path, {}, { manifest: 'MANIFEST-000009' });
const unwritten = (path: string): DatabaseSight =>
  familyDatabase(path, { offsets: new Map() }, { manifest: 'MANIFEST-000001' });

describe('what was installed under a task id', () => {
  test.each<[string, readonly DatabaseSight[], readonly string[]]>([
    ['and nobody has touched', [untouched('rocksdb/agg'), untouched('win/win.0')], ['agg', 'win']],
    ['is opened', [opened('rocksdb/agg'), opened('win/win.0')], ['agg', 'win']],
    ['belongs to another sub-topology now', [...INSTALLED.map(untouched), opened('rocksdb/tab')], ['tab']],
    [
      'is opened one after another',
      [opened('rocksdb/agg'), untouched('win/win.0'), opened('rocksdb/tab')],
      ['agg', 'win', 'tab'],
    ],
    [
      'is just beginning to be opened, a new store first',
      [...INSTALLED.map(untouched), unwritten('rocksdb/tab')],
      ['agg', 'win', 'tab'],
    ],
    [
      'has a new segment: that store is its own',
      [untouched('rocksdb/agg'), untouched('win/win.0'), opened('win/win.3600000')],
      ['agg', 'win'],
    ],
  ])('%s', (_case, databases, expected) => {
    const capture = captureOf(databases);
    const { stores, sight } = withoutForeignStores(capture, reportOf(capture.sight));
    expect(stores.map(({ name }) => name)).toEqual(expected);
    expect(new Set(sight.databases.map(({ store }) => store))).toEqual(new Set(expected));
  });

  test('is not what lies there where that is another directory, or of the file layout', () => {
    const shifted = [...INSTALLED.map(untouched), opened('rocksdb/tab')];
    const capture = captureOf(shifted);
    const report = reportOf({ ...capture.sight, facts: { ...capture.sight.facts, inode: 4711n } });
    expect(withoutForeignStores(capture, report)).toBe(capture);
    expect(withoutForeignStores(capture, undefined)).toBe(capture);
    const file = captureOf(
      shifted.map((database) => ({ ...database, own: undefined, columnFamilies: ['default'] })),
      { checkpoint: checkpointSight(['orders-tab-changelog 3 1']) },
    );
    expect(withoutForeignStores(file, reportOf(file.sight))).toBe(file);
  });
});
