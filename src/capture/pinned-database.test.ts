import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { hookedFiles } from '../../test/support/hooked-files.ts';
import { ModelDatabase } from '../../test/support/model-database.ts';
import { ManifestTails } from './manifest-tail.ts';
import { type IsKnown, PinnedDatabase } from './pinned-database.ts';

// Rules that a whole capture hides behind others.

let task: string;
let database: ModelDatabase;
const files = hookedFiles();
beforeEach(() => {
  task = mkdtempSync(join(tmpdir(), 'warmstate-pinned-'));
  mkdirSync(join(task, 'rocksdb'));
  database = new ModelDatabase(join(task, 'rocksdb/agg'));
  database.change({ add: [{ number: 7 }, { number: 8 }] });
});
afterEach(() => rmSync(task, { recursive: true }));

async function pinTwice(
  isKnown: IsKnown = () => false,
): Promise<{ kinds: string[]; tables: string[]; manifestBytes: number }> {
  await using manifests = new ManifestTails(files);
  const facts = await files.stat(database.directory);
  if (facts === undefined) throw new Error('the model made no directory');
  const where = { store: 'agg', kind: 'rocksdb', path: 'rocksdb/agg', facts, taskPath: task } as const;
  await using pinned = await PinnedDatabase.open(files, where, manifests.of(database.directory));
  if (pinned === undefined) throw new Error('the directory was not held');
  const signal = new AbortController().signal;
  const kinds = [(await pinned.pin(isKnown, signal)).kind, (await pinned.pin(isKnown, signal)).kind];
  const tables: string[] = [];
  for (const { path, source } of pinned.tables()) {
    const first = new Uint8Array(1);
    await source?.read(first, 0);
    tables.push(`${path.slice(-10)}:${first[0]}`);
  }
  const manifest = (await pinned.smallFiles()).find(({ path }) => path.endsWith(database.manifest));
  return { kinds, tables: tables.sort(), manifestBytes: manifest?.bytes.byteLength ?? 0 };
}

test('what was pinned under one manifest is not taken for what another of the same name says', async () => {
  files.once('before', 'hold agg/000007.sst', () => unlinkSync(database.path(7)));
  files.once('after', 'hold agg/000007.sst', () => {
    unlinkSync(join(database.directory, database.manifest));
    const anew = new ModelDatabase(database.directory);
    anew.change({ add: [{ number: 7 }, { number: 8 }] });
    unlinkSync(anew.path(8));
    writeFileSync(anew.path(8), new Uint8Array(100).fill(88));
  });
  expect(await pinTwice()).toMatchObject({ kinds: ['again', 'pinned'], tables: ['000007.sst:7', '000008.sst:88'] });
});

test('a table that is known, but has another size by now, is not the one that is known', async () => {
  truncateSync(database.path(8), 60);
  expect(await pinTwice(({ path }) => path.endsWith('000008.sst'))).toMatchObject({ kinds: ['again', 'again'] });
});

test('a torn last record is no part of the captured manifest', async () => {
  const whole = statSync(join(database.directory, database.manifest)).size;
  appendFileSync(join(database.directory, database.manifest), Buffer.from([1, 2, 3, 4, 90, 0, 1, 6]));
  expect(await pinTwice()).toMatchObject({ kinds: ['pinned', 'pinned'], manifestBytes: whole });
});
