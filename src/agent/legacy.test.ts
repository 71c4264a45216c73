import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ManualClock } from '../../test/support/manual-clock.ts';
import { SimulatedStore } from '../../test/support/simulated-store.ts';
import { openTempDirectory, plant } from '../../test/support/temp-directory.ts';
import { systemRandom } from '../base/clock.ts';
import { realFiles } from '../base/file-access.ts';
import type { Event } from '../events/event.ts';
import type { Entry, StoredFile } from '../repository/document.ts';
import { repositoryKeys } from '../repository/keys.ts';
import { RESTORE_REPORT_PATH } from '../repository/recall.ts';
import { listRepository, openRepository } from '../repository/repository.ts';
import { encodeRestoreReport, type InstalledTask } from '../repository/restore-result.ts';
import { openWriter } from '../repository/writer.ts';
import { KnownTables } from './known-tables.ts';
import { findPreviousEntries, type Legacy, loadLegacy, teachTables } from './legacy.ts';

const NOW_MS = 1_750_000_000_000;
const HASH = 'cd'.repeat(32);
const UID = 'ab'.repeat(16);
const TERMS = { nowMs: NOW_MS, maxAgeMs: 3_600_000, guarantee: 'at_least_once', layoutMax: 'file' } as const;
const PLACE = { device: 1n, inode: 7n, mtimeNs: 8n, ctimeNs: 9n, sizeBytes: 300_000 };

const MEMORY = {
  device: 1n,
  inode: 2n,
  birthtimeNs: 3n,
  checkpoint: undefined,
  passed: true,
  tainted: false,
  databases: new Map(),
  parents: new Map(),
  watch: { sinceMs: NOW_MS, writes: 0n, looksExactlyOnce: false },
};
const CAPTURE = { epoch: `${NOW_MS}-pod-0-aaaa`, n: 1 };
const keysOf = (lineage: string) => repositoryKeys({ application: 'orders', lineage });

function tableIn(lineage: string): StoredFile {
  const stretch = {
    kind: 'stretch',
    sizeBytes: 300_000,
    storedBytes: 300_000,
    sha256: HASH,
    encoding: 'none',
  } as const;
  const key = keysOf(lineage).data(CAPTURE, 0);
  return { path: 'rocksdb/agg/000010.sst', sizeBytes: 300_000, sha256: HASH, uid: UID, objects: [{ ...stretch, key }] };
}

function entryAt(offset: bigint, lineage: string): Entry {
  const key = keysOf(lineage).archive(CAPTURE, 1);
  const archived = { kind: 'archived', key, storedBytes: 50, contentBytes: 50, entry: '0_0/.checkpoint' } as const;
  const checkpoint = { path: '.checkpoint', sizeBytes: 50, sha256: HASH, uid: undefined, objects: [archived] };
  const agg = { name: 'agg', kind: 'rocksdb', rocksdbVersion: undefined, columnFamilies: ['default'] } as const;
  return {
    task: '0_0',
    quality: 'clean',
    layout: 'file',
    stateTimeMs: NOW_MS - 1000,
    capturedAtMs: NOW_MS - 500,
    capturedBy: `${NOW_MS}-pod-0-aaaa/1`,
    offsets: new Map([['orders-agg-changelog-0', offset]]),
    files: [checkpoint],
    stores: [{ ...agg, files: [tableIn(lineage)] }],
  };
}

/** Publishes one snapshot of `instance`, and returns its name. `hasDied`: before its record said so. */
async function publish(
  store: SimulatedStore,
  lineage: string,
  { instance, at, hasDied = false }: { instance: string; at: bigint; hasDied?: boolean },
) {
  const signal = new AbortController().signal;
  const repository = await openRepository(store, { application: 'orders', lineage, notice: () => {}, signal });
  const writer = await openWriter(repository, await listRepository(repository, { signal }), {
    instance,
    role: 'snapshot',
    program: 'warmstate test',
    guarantee: 'at_least_once',
    maxAgeMs: TERMS.maxAgeMs,
    clock: store.clock,
    random: systemRandom,
    signal,
  });
  if (hasDied) store.script({ operation: 'put', key: /records/, kind: 'fail-before' });
  const contents = { entries: [entryAt(at, lineage)], ahead: [], seen: new Map([['0_0', { ...MEMORY, inode: at }]]) };
  const { epoch, n } = await writer.publish(writer.nextAttempt(), contents, { signal });
  return `${epoch}/${n}`;
}

/** What `pod-1` finds in a lineage on a volume that a restore filled from `snapshot`. */
async function inherit(
  store: SimulatedStore,
  lineage: string,
  restored: { readonly snapshot: string; readonly application?: string; readonly lineage?: string },
): Promise<{ readonly legacy: Legacy; readonly events: readonly Event[] }> {
  await using root = await openTempDirectory();
  await plant(root.path, [RESTORE_REPORT_PATH]);
  const entry = entryAt(100n, restored.lineage ?? lineage);
  const { files: _files, stores: _stores, ...facts } = entry;
  const table = { ...tableIn(restored.lineage ?? lineage), inode: PLACE.inode, mtimeNs: 8n, ctimeNs: 9n };
  const task: InstalledTask = {
    ...facts,
    device: 1n,
    inode: 2n,
    birthtimeNs: 3n,
    snapshot: restored.snapshot,
    files: [table],
  };
  const report = encodeRestoreReport({
    application: restored.application ?? 'orders',
    lineage: restored.lineage ?? lineage,
    instance: 'pod-1',
    epoch: undefined,
    writer: 'warmstate test',
    timeMs: NOW_MS,
    guarantee: 'at_least_once',
    appVersion: undefined,
    result: { outcome: 'restored', tasks: [], bytesDownloaded: 0, requests: 0, durationMs: 0 },
    installed: [task],
    taints: [],
  });
  await writeFile(join(root.path, RESTORE_REPORT_PATH), report);
  const signal = new AbortController().signal;
  const events: Event[] = [];
  const repository = await openRepository(store, { application: 'orders', lineage, notice: () => {}, signal });
  const listing = await listRepository(repository, { signal });
  const where = { instance: 'pod-1', stateDir: root.path, files: realFiles, signal };
  return {
    legacy: await loadLegacy(repository, listing, { ...where, emit: (event) => void events.push(event) }),
    events,
  };
}

function knows(legacy: Legacy): { readonly byUid: boolean; readonly byPlace: boolean } {
  const known = new KnownTables();
  teachTables(legacy, known);
  const elsewhere = { ...PLACE, inode: 99n };
  return {
    byUid: known.find({ uid: UID, sizeBytes: 300_000, facts: elsewhere }) !== undefined,
    byPlace: known.find({ uid: undefined, sizeBytes: 300_000, facts: PLACE }) !== undefined,
  };
}

function newStore(): SimulatedStore {
  return new SimulatedStore({ clock: new ManualClock({ startMs: NOW_MS, sleepsPass: true }) });
}

function offsetOf(legacy: Legacy): bigint | undefined {
  return findPreviousEntries(legacy, { ...TERMS, whyWithdrawn: () => undefined })
    .get('0_0')
    ?.offsets.get('orders-agg-changelog-0');
}

describe('a writer goes on', () => {
  test('from the snapshot that its volume was restored from, and knows the tables that it names', async () => {
    const store = newStore();
    const snapshot = await publish(store, 'prod', { instance: 'pod-0', at: 100n });
    const { legacy, events } = await inherit(store, 'prod', { snapshot });
    expect([knows(legacy), offsetOf(legacy), events]).toEqual([{ byUid: true, byPlace: true }, 100n, []]);
  });

  test.each([
    [90n, 100n],
    [110n, 110n],
  ])('from its own last one at %i where that is further: %i', async (own, expected) => {
    const store = newStore();
    const snapshot = await publish(store, 'prod', { instance: 'pod-0', at: 100n });
    await publish(store, 'prod', { instance: 'pod-1', at: own });
    expect(offsetOf((await inherit(store, 'prod', { snapshot })).legacy)).toBe(expected);
  });

  test('from nothing that is gone: it leans on no object that nobody says is there', async () => {
    const { legacy, events } = await inherit(newStore(), 'prod', { snapshot: `${NOW_MS}-pod-0-aaaa/1` });
    expect([knows(legacy), offsetOf(legacy)]).toEqual([{ byUid: false, byPlace: false }, undefined]);
    expect(events).toEqual([
      {
        kind: 'notice',
        name: 'history-unreadable',
        level: 'warn',
        message: `cannot go on from the snapshot ${NOW_MS}-pod-0-aaaa/1 that was restored: there is no snapshot ${NOW_MS}-pod-0-aaaa/1`,
      },
    ]);
  });

  test('from nothing of another lineage, though its volume was filled from there', async () => {
    const store = newStore();
    const snapshot = await publish(store, 'prod', { instance: 'pod-0', at: 100n });
    const { legacy, events } = await inherit(store, 'drill', { snapshot, lineage: 'prod' });
    expect([knows(legacy), offsetOf(legacy), events]).toEqual([{ byUid: false, byPlace: false }, undefined, []]);
    expect(legacy.report?.installed.map(({ task }) => task)).toEqual(['0_0']);
  });

  test('from nothing of another application that shares the state directory', async () => {
    const { legacy, events } = await inherit(newStore(), 'prod', {
      snapshot: `${NOW_MS}-pod-0-aaaa/1`,
      application: 'payments',
    });
    expect([legacy.report, events]).toEqual([undefined, []]);
  });

  describe('from no snapshot by which its writer does not stand yet, for nobody looked what that leans on (G2)', () => {
    test('but from the one before, and with what the last one remembers of directories', async () => {
      const store = newStore();
      const snapshot = await publish(store, 'prod', { instance: 'pod-1', at: 100n });
      await publish(store, 'prod', { instance: 'pod-1', at: 110n, hasDied: true });
      await publish(store, 'prod', { instance: 'pod-1', at: 120n, hasDied: true });
      const { legacy } = await inherit(store, 'prod', { snapshot });
      expect([offsetOf(legacy), legacy.base?.seen.get('0_0')?.inode]).toEqual([100n, 120n]);
      expect(`${legacy.base?.epoch}/${legacy.base?.n}`).toBe(snapshot);
    });

    test('where there is none before it is remembered what it remembers', async () => {
      const store = newStore();
      await publish(store, 'prod', { instance: 'pod-1', at: 100n, hasDied: true });
      const { legacy } = await inherit(store, 'drill', { snapshot: `${NOW_MS}-pod-0-aaaa/1` });
      const { legacy: own } = await inherit(store, 'prod', { snapshot: `${NOW_MS}-pod-0-aaaa/1` });
      expect([knows(own), offsetOf(own)]).toEqual([{ byUid: false, byPlace: false }, undefined]);
      expect([own.base?.seen.size, legacy.base]).toEqual([1, undefined]);
    });

    test('also where its volume was filled from it', async () => {
      const store = newStore();
      const snapshot = await publish(store, 'prod', { instance: 'pod-0', at: 100n, hasDied: true });
      const { legacy } = await inherit(store, 'prod', { snapshot });
      expect([knows(legacy), offsetOf(legacy)]).toEqual([{ byUid: false, byPlace: false }, undefined]);
    });
  });

  test('from a snapshot that can be read, where its last one is rotten', async () => {
    const store = newStore();
    const snapshot = await publish(store, 'prod', { instance: 'pod-1', at: 100n });
    await publish(store, 'prod', { instance: 'pod-1', at: 120n });
    const [, newest = ''] = store.keys().filter((key) => key.includes('/snapshots/'));
    store.tamper(newest, () => Buffer.from('rubbish'));
    expect(offsetOf((await inherit(store, 'prod', { snapshot })).legacy)).toBe(100n);
  });
});
