import { expect, test } from 'vitest';
import type { FileFacts } from '../base/file-access.ts';
import { KnownTables, type StoredContent } from './known-tables.ts';

const UID = 'ab'.repeat(16);
const facts = {
  kind: 'file',
  device: 1n,
  inode: 2n,
  sizeBytes: 100,
  mtimeNs: 3n,
  ctimeNs: 4n,
  birthtimeNs: 5n,
} as const;

function content(fields: Partial<StoredContent> = {}): StoredContent {
  return { sizeBytes: 100, sha256: 'cd'.repeat(32), uid: undefined, objects: [], ...fields };
}

function objectsAt(...keys: readonly string[]): StoredContent['objects'] {
  return keys.map((key) => ({
    kind: 'stretch',
    key,
    sizeBytes: 100,
    storedBytes: 100,
    sha256: 'cd'.repeat(32),
    encoding: 'none',
  }));
}

test('a table is known by its unique id, wherever it lies', () => {
  const known = new KnownTables();
  known.learn({ ...content({ uid: UID }), path: 'rocksdb/agg/000010.sst' });
  expect(known.find({ uid: UID, sizeBytes: 100, facts: { ...facts, inode: 77n } })).toEqual(content({ uid: UID }));
});

test('one with another id, or the same id and another size, is another table', () => {
  const known = new KnownTables();
  known.learn({ ...content({ uid: UID }), path: 'rocksdb/agg/000010.sst' });
  expect(known.find({ uid: 'ef'.repeat(16), sizeBytes: 100, facts })).toBeUndefined();
  expect(known.find({ uid: UID, sizeBytes: 101, facts: { ...facts, sizeBytes: 101 } })).toBeUndefined();
});

test('without an id it is known by its place, as long as nothing about the file changed', () => {
  const known = new KnownTables();
  known.learnAt(facts, content());
  const find = (change: Partial<FileFacts>) =>
    known.find({ uid: undefined, sizeBytes: 100, facts: { ...facts, ...change } });
  expect(find({})).toEqual(content());
  for (const change of [{ ctimeNs: 9n }, { mtimeNs: 9n }, { inode: 9n }, { device: 9n }]) {
    expect(find(change)).toBeUndefined();
  }
});

test('never by its path, for RocksDB gives the same numbers again', () => {
  const known = new KnownTables();
  known.learn({ ...content(), path: 'rocksdb/agg/000010.sst' });
  expect(known.find({ uid: undefined, sizeBytes: 100, facts })).toBeUndefined();
  expect(known.findByHash('cd'.repeat(32), 100)).toEqual(content());
  expect(known.findByHash('cd'.repeat(32), 99)).toBeUndefined();
});

test('what no document names any more is forgotten, by whatever it was known', () => {
  const known = new KnownTables();
  const otherHash = 'ef'.repeat(32);
  const named = content({ uid: UID, objects: objectsAt('first') });
  const unnamed = content({ uid: 'ef'.repeat(16), sha256: otherHash, objects: objectsAt('first', 'second') });
  const elsewhere = { ...facts, inode: 77n };
  const nowhere = { ...facts, inode: 78n };
  known.learnAt(facts, named);
  known.learnAt(elsewhere, unnamed);
  known.keepOnly([named]);
  expect([
    known.find({ uid: UID, sizeBytes: 100, facts: nowhere }),
    known.find({ uid: undefined, sizeBytes: 100, facts }),
    known.findByHash('cd'.repeat(32), 100),
  ]).toEqual([named, named, named]);
  expect([
    known.find({ uid: 'ef'.repeat(16), sizeBytes: 100, facts: nowhere }),
    known.find({ uid: undefined, sizeBytes: 100, facts: elsewhere }),
    known.findByHash(otherHash, 100),
  ]).toEqual([undefined, undefined, undefined]);
});

test('so is what was sent again, while documents still name where it lay before', () => {
  const known = new KnownTables();
  known.learn({ ...content({ objects: objectsAt('second') }), path: 'rocksdb/agg/000010.sst' });
  known.keepOnly([content({ objects: objectsAt('first') })]);
  expect(known.findByHash('cd'.repeat(32), 100)).toBeUndefined();
});
