import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  archivedFile,
  plainStore,
  SAMPLE_EPOCH,
  SAMPLE_KEYS,
  SAMPLE_NAME,
  sampleDocument,
  sampleEntry,
  segmentedStore,
  tableFile,
} from '../../test/support/sample-documents.ts';
import { Failure, isFailure } from '../base/failure.ts';
import { decodeDocument, type Entry, encodeDocument, type SnapshotDocument, type StoredFile } from './document.ts';

const KEY = SAMPLE_KEYS.snapshot(SAMPLE_NAME);
const corrupt = (what: string): Failure => new Failure('corrupt', `cannot read ${KEY}: ${what}`);

/** The bytes of the sample document after its JSON was changed by hand. */
async function spoiled(change: (json: ReturnType<typeof JSON.parse>) => void): Promise<Uint8Array> {
  const json: unknown = JSON.parse(zstdDecompressSync(await encodeDocument(sampleDocument())).toString());
  change(json);
  return zstdCompressSync(JSON.stringify(json));
}

describe('a document', () => {
  test('is read as it was written', async () => {
    const document = sampleDocument();
    expect(await decodeDocument(await encodeDocument(document), KEY)).toEqual(document);
  });

  test('is read as it was written, whatever its numbers and names are', async () => {
    const anyOffsets = fc.dictionary(
      fc.stringMatching(/^[A-Za-z0-9._-]{1,20}-[0-9]$/),
      fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }),
    );
    const anyTime = fc.integer({ min: 0, max: 4_000_000_000_000 });
    const anything = fc.record({
      offsets: anyOffsets.map((record) => new Map(Object.entries(record))),
      stateTimeMs: anyTime,
      timeMs: anyTime,
      instance: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 30 }),
      quality: fc.constantFrom('clean', 'live', 'transactional'),
      inode: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      mtimeNs: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    } as const);
    await fc.assert(
      fc.asyncProperty(anything, async ({ offsets, stateTimeMs, timeMs, instance, quality, inode, mtimeNs }) => {
        const seen = new Map(
          [...sampleDocument().seen].map(([task, memory]) => [task, { ...memory, inode, birthtimeNs: mtimeNs }]),
        );
        const document = sampleDocument({
          instance,
          timeMs,
          seen,
          entries: [sampleEntry({ offsets, stateTimeMs, quality })],
        });
        expect(await decodeDocument(await encodeDocument(document), KEY)).toEqual(document);
      }),
    );
  });

  test('may have fields that this program does not know', async () => {
    const bytes = await spoiled((json) => {
      json.colour = 'red';
      json.entries[0].stores[0].files[0].objects[0].colour = { deep: [null] };
    });
    expect(await decodeDocument(bytes, KEY)).toEqual(sampleDocument());
  });

  test('of another format is refused by its number alone', async () => {
    const bytes = zstdCompressSync('{"format":2,"entries":"in another way"}');
    await expect(decodeDocument(bytes, KEY)).rejects.toThrow(
      new Failure('invalid', `cannot read ${KEY}: it has format 2, this program reads 1`, {
        hint: 'use the version of warmstate that wrote it',
      }),
    );
  });

  test('under the key of another one is refused', async () => {
    const bytes = await encodeDocument(sampleDocument());
    const other = SAMPLE_KEYS.snapshot({ ...SAMPLE_NAME, n: 13 });
    await expect(decodeDocument(bytes, other)).rejects.toThrow(
      new Failure('corrupt', `cannot read ${other}: it is ${KEY}`),
    );
  });

  const small = sampleDocument({ entries: [], ahead: [], seen: new Map() });

  test.each([
    ['small', small, 1],
    ['larger', sampleDocument(), 7],
  ])('that is cut anywhere is refused (%s)', async (_, document, step) => {
    const bytes = await encodeDocument(document);
    for (let length = 0; length < bytes.byteLength; length += step) {
      await expect(decodeDocument(bytes.subarray(0, length), KEY)).rejects.toMatchObject({ kind: 'corrupt' });
    }
  });

  test.each([
    ['small', small, 1],
    ['larger', sampleDocument(), 29],
  ])('with any bit flipped is refused, or reads the same (%s)', async (_, document, step) => {
    const bytes = await encodeDocument(document);
    let refused = 0;
    for (let bit = 0; bit < bytes.byteLength * 8; bit += step) {
      const flipped = Uint8Array.from(bytes);
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      const outcome = await decodeDocument(flipped, KEY).catch((error: unknown) => error);
      if (!isFailure(outcome, 'corrupt')) expect(outcome).toEqual(document);
      else refused++;
    }
    expect(refused).toBeGreaterThan(((bytes.byteLength * 8) / step) * 0.98);
  });

  test('that unpacks to more than 128 MiB is refused', async () => {
    const bomb = zstdCompressSync(Buffer.alloc(129 * 1024 * 1024));
    expect(bomb.byteLength).toBeLessThan(64 * 1024);
    await expect(decodeDocument(bomb, KEY)).rejects.toMatchObject({
      kind: 'corrupt',
      cause: { code: 'ERR_BUFFER_TOO_LARGE' },
    });
  });

  test.each([
    ['text', 'not JSON at all'],
    ['a list', '[]'],
    ['nothing', 'null'],
    ['an object without a format', '{}'],
    ['an object with a textual format', '{"format":"1"}'],
    ['an object with a format alone', '{"format":1}'],
    ['a hundred thousand open brackets', '['.repeat(100_000)],
  ])('is not %s', async (_, text) => {
    await expect(decodeDocument(zstdCompressSync(text), KEY)).rejects.toMatchObject({ kind: 'corrupt' });
  });

  test('is no rubbish, and rubbish throws nothing but a failure', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), fc.json(), async (bytes, json) => {
        for (const each of [bytes, zstdCompressSync(bytes), zstdCompressSync(`{"format":1,"entries":${json}}`)]) {
          await expect(decodeDocument(each, KEY)).rejects.toMatchObject({ kind: 'corrupt' });
        }
      }),
    );
  });

  test.each<[string, (json: ReturnType<typeof JSON.parse>) => void, string]>([
    ['a task that is none', (json) => (json.entries[0].task = '../0_3'), 'entries[0].task is no task: "../0_3"'],
    ['a task of a named topology', (json) => (json.entries[0].task = '__a__'), 'entries[0].task is no task: "__a__"'],
    [
      'an offset that is a number',
      (json) => (json.entries[0].offsets['orders-agg-changelog-3'] = 5),
      'entries[0].offsets["orders-agg-changelog-3"] is no text of digits: 5',
    ],
    [
      'an unknown offset',
      (json) => (json.entries[0].offsets['orders-agg-changelog-3'] = '-4'),
      'entries[0].offsets["orders-agg-changelog-3"] is no text of digits: "-4"',
    ],
    [
      'an offset beyond every log',
      (json) => (json.entries[0].offsets['orders-agg-changelog-3'] = '9223372036854775808'),
      'entries[0].offsets["orders-agg-changelog-3"]: does not fit into 63 bits',
    ],
    [
      'a partition without a number',
      (json) => (json.entries[0].offsets = { orders: '1' }),
      'entries[0].offsets["orders"] is no changelog partition: "orders"',
    ],
    [
      'a hash in capitals',
      (json) => (json.entries[0].files[0].sha256 = 'A'.repeat(64)),
      `entries[0].files[0].sha256 is no sha256: "${'A'.repeat(64)}"`,
    ],
    [
      'a short unique id',
      (json) => (json.entries[0].files[0].uid = 'ab'),
      'entries[0].files[0].uid is no unique id: "ab"',
    ],
    [
      'a size below nothing',
      (json) => (json.entries[0].files[0].sizeBytes = -1),
      'entries[0].files[0].sizeBytes is no whole number: -1',
    ],
    [
      'a size that no number holds',
      (json) => (json.entries[0].files[0].sizeBytes = 2 ** 53),
      'entries[0].files[0].sizeBytes is no whole number: 9007199254740992',
    ],
    ['a time of day', (json) => (json.time = '12:00'), 'time is no time: "12:00"'],
    [
      'a time without milliseconds',
      (json) => (json.time = '2026-11-22T00:00:00Z'),
      'time is no time: "2026-11-22T00:00:00Z"',
    ],
    [
      'a quality that is none',
      (json) => (json.entries[0].quality = 'standby'),
      'entries[0].quality is none of clean, live, transactional: "standby"',
    ],
    [
      'a snapshot of no name',
      (json) => (json.entries[0].capturedBy = '../x/1'),
      'entries[0].capturedBy is no name of a snapshot: "../x/1"',
    ],
    ['a missing list', (json) => delete json.ahead, 'ahead is no list: nothing'],
    [
      'an object of no kind',
      (json) => (json.entries[0].files[0].objects[0].kind = 'chunk'),
      'entries[0].files[0].objects[0] is of no known kind: "chunk"',
    ],
    ['an attempt that never was', (json) => (json.n = 0), 'n: is 0, but counts from 1'],
    ['no application', (json) => (json.application = ''), 'cannot use an empty application.id'],
    [
      'a key that climbs out',
      (json) => (json.entries[0].files[0].objects[0].key = 'orders/shop/data/../../x'),
      'entries[0].files[0].objects[0].key is no key of an archive: "orders/shop/data/../../x"',
    ],
    [
      'a key of a document',
      (json) => (json.ahead[0].objects[0].key = KEY),
      `ahead[0].objects[0].key is no key of data: "${KEY}"`,
    ],
  ])('with %s is refused with its place', async (_, change, message) => {
    await expect(decodeDocument(await spoiled(change), KEY)).rejects.toThrow(corrupt(message));
  });
});

const cannot = (what: string): Failure => new Failure('invalid', `cannot write ${SAMPLE_EPOCH}/12: ${what}`);
const withEntry = (change: Partial<Entry>): SnapshotDocument => sampleDocument({ entries: [sampleEntry(change)] });
const withPath = (path: string): SnapshotDocument =>
  withEntry({ files: [archivedFile('0_3', '.checkpoint'), archivedFile('0_3', path)] });

const huge = (n: number): StoredFile => {
  const [sizeBytes, path] = [Number.MAX_SAFE_INTEGER, `rocksdb/agg/00003${n}.sst`];
  const stretch = {
    kind: 'stretch',
    key: SAMPLE_KEYS.data(SAMPLE_NAME, 30 + n),
    sizeBytes,
    storedBytes: 5,
    sha256: '0'.repeat(64),
    encoding: 'zstd',
  } as const;
  return { path, sizeBytes, sha256: '0'.repeat(64), uid: undefined, objects: [stretch] };
};

describe('a document that nobody could restore is not published:', () => {
  const checkpoint = archivedFile('0_3', '.checkpoint');

  test('a task twice', async () => {
    const document = sampleDocument({ entries: [sampleEntry(), sampleEntry()] });
    await expect(encodeDocument(document)).rejects.toThrow(cannot('task 0_3 is named twice'));
  });

  test('a store twice', async () => {
    const document = withEntry({ stores: [plainStore('0_3', 'win'), segmentedStore('0_3', 'win')] });
    await expect(encodeDocument(document)).rejects.toThrow(cannot('entries[0]: store win is named twice'));
  });

  test('a file twice', async () => {
    const document = withEntry({ files: [checkpoint, checkpoint] });
    await expect(encodeDocument(document)).rejects.toThrow(cannot('entries[0]: .checkpoint is named twice'));
  });

  test.each([
    '..',
    '../.checkpoint',
    '/etc/passwd',
    '.lock',
    '.checkpoint.tmp',
    'x/.checkpoint',
    '.position',
    'a b.position',
    '..position/',
    'kafka-streams-process-metadata',
    'agg.position.tmp',
    'agg\\.position',
    'agg\0.position',
    '',
  ])('%j as a file of a task', async (path) => {
    await expect(encodeDocument(withPath(path))).rejects.toThrow(
      cannot(`entries[0]: ${JSON.stringify(path)} is no file of a task directory`),
    );
  });

  test.each([
    'rocksdb/agg/../../../x.sst',
    'rocksdb/other/000012.sst',
    'agg/000012.sst',
    '/rocksdb/agg/000012.sst',
    'rocksdb//agg/000012.sst',
    'rocksdb/agg/LOCK',
    'rocksdb/agg/IDENTITY',
    'rocksdb/agg/LOG',
    'rocksdb/agg/LOG.old.1763854560123',
    'rocksdb/agg/000013.log',
    'rocksdb/agg/000013.dbtmp',
    'rocksdb/agg/000013.sst.trash',
    'rocksdb/agg/12.sst',
    'rocksdb/agg/000012.sst/x',
    'rocksdb/agg/archive/000012.sst',
    'rocksdb/agg/',
    'rocksdb/agg',
    'rocksdb\\agg\\000012.sst',
    '.checkpoint',
  ])('%j as a file of a plain store', async (path) => {
    const store = { ...plainStore('0_3'), files: [archivedFile('0_3', path)] };
    await expect(encodeDocument(withEntry({ stores: [store] }))).rejects.toThrow(
      cannot(`entries[0].stores[0]: ${JSON.stringify(path)} is no file of rocksdb store agg`),
    );
  });

  test.each([
    'win/CURRENT',
    'win/win.1/LOCK',
    'win/win.x/CURRENT',
    'win/win./CURRENT',
    'win/other.1/CURRENT',
    'win/win.1/deep/CURRENT',
    'rocksdb/win/CURRENT',
    'win/../win.1/CURRENT',
  ])('%j as a file of a segmented store', async (path) => {
    const store = { ...segmentedStore('0_3'), files: [archivedFile('0_3', path)] };
    await expect(encodeDocument(withEntry({ stores: [store] }))).rejects.toThrow(
      cannot(`entries[0].stores[0]: ${JSON.stringify(path)} is no file of segmented store win`),
    );
  });

  test.each([
    'index',
    'index/',
    'index/../x',
    'index/.lock',
    'index/a\nb',
    'rocksdb/index/x',
    'other/x',
    'index//x',
    'index/./x',
  ])('%j as a file of a custom store', async (path) => {
    const store = { ...plainStore('0_3', 'index'), kind: 'other', files: [archivedFile('0_3', path)] } as const;
    await expect(encodeDocument(withEntry({ stores: [store] }))).rejects.toThrow(
      cannot(`entries[0].stores[0]: ${JSON.stringify(path)} is no file of other store index`),
    );
  });

  test('a file below a file', async () => {
    const files = ['index/a', 'index/a/b'].map((path) => archivedFile('0_3', path));
    const document = withEntry({ stores: [{ ...plainStore('0_3', 'index'), kind: 'other', files }] });
    await expect(encodeDocument(document)).rejects.toThrow(cannot('entries[0]: index/a/b lies below a file'));
  });

  test('a file layout without its checkpoint', async () => {
    await expect(encodeDocument(withEntry({ files: [] }))).rejects.toThrow(
      cannot('entries[0]: layout file without a .checkpoint'),
    );
  });

  test('a checkpoint that would replace the offsets of a column family', async () => {
    await expect(encodeDocument(withEntry({ layout: 'column-family' }))).rejects.toThrow(
      cannot('entries[0]: layout column-family with a .checkpoint'),
    );
  });

  test('anything but tables sent ahead', async () => {
    const document = sampleDocument({ ahead: [tableFile('rocksdb/agg/CURRENT')] });
    await expect(encodeDocument(document)).rejects.toThrow(cannot('"rocksdb/agg/CURRENT" is no table'));
  });

  test('stretches that are not the file', async () => {
    const table = tableFile('rocksdb/agg/000020.sst');
    const document = sampleDocument({ ahead: [{ ...table, objects: table.objects.slice(1) }] });
    await expect(encodeDocument(document)).rejects.toThrow(
      cannot('ahead[0]: rocksdb/agg/000020.sst has 100663296 bytes, its objects have 33554432'),
    );
  });

  test('a stretch that is not packed and has two sizes', async () => {
    const table = tableFile('rocksdb/agg/000020.sst');
    const objects = table.objects.map((each) => ({ ...each, storedBytes: 1 }));
    await expect(encodeDocument(sampleDocument({ ahead: [{ ...table, objects }] }))).rejects.toThrow(
      cannot(`ahead[0]: ${SAMPLE_KEYS.data(SAMPLE_NAME, 3)} is not packed, yet changes its size`),
    );
  });

  test('a file that lies nowhere', async () => {
    const table = { ...tableFile('rocksdb/agg/000020.sst'), objects: [] };
    await expect(encodeDocument(sampleDocument({ ahead: [table] }))).rejects.toThrow(
      cannot('ahead[0]: rocksdb/agg/000020.sst lies in no object'),
    );
  });

  test('a file with another hash than its only object', async () => {
    const table = tableFile('rocksdb/agg/000020.sst');
    const [, last] = table.objects;
    const alone = { ...table, sizeBytes: 32 * 1024 * 1024, objects: last === undefined ? [] : [last] };
    await expect(encodeDocument(sampleDocument({ ahead: [alone] }))).rejects.toThrow(
      cannot('ahead[0]: rocksdb/agg/000020.sst has another hash than its only object'),
    );
  });

  test('a file partly in an archive', async () => {
    const table = tableFile('rocksdb/agg/000020.sst');
    for (const objects of [
      [...table.objects, ...checkpoint.objects],
      [...checkpoint.objects, ...table.objects],
    ]) {
      await expect(encodeDocument(sampleDocument({ ahead: [{ ...table, objects }] }))).rejects.toThrow(
        cannot('ahead[0]: rocksdb/agg/000020.sst lies in an archive and elsewhere'),
      );
    }
  });

  test('an object of another repository', async () => {
    const foreign = checkpoint.objects.map((object) => ({
      ...object,
      key: object.key.replace('orders/shop', 'orders/test'),
    }));
    await expect(encodeDocument(withEntry({ files: [{ ...checkpoint, objects: foreign }] }))).rejects.toThrow(
      cannot(`${foreign[0]?.key} belongs to another repository`),
    );
  });

  test('one object of which two files say different things', async () => {
    const twin = tableFile('rocksdb/agg/000012.sst');
    const document = sampleDocument({
      ahead: [{ ...twin, objects: twin.objects.map((each) => ({ ...each, sha256: 'f'.repeat(64) }) as const) }],
    });
    await expect(encodeDocument(document)).rejects.toMatchObject({
      kind: 'invalid',
      message: expect.stringContaining(`${SAMPLE_KEYS.data(SAMPLE_NAME, 2)} is 20000000 bytes of zstd 67108864 ffff`),
    });
  });

  test('one place in an archive that holds two contents', async () => {
    const twin = { ...archivedFile('0_3', 'agg.position'), objects: checkpoint.objects };
    await expect(encodeDocument(withEntry({ files: [checkpoint, twin] }))).rejects.toMatchObject({
      kind: 'invalid',
      message: expect.stringContaining('0_3/.checkpoint is 16 bytes '),
    });
  });

  test('more bytes than a number holds', async () => {
    await expect(encodeDocument(sampleDocument({ entries: [], ahead: [huge(1), huge(2)] }))).rejects.toMatchObject({
      kind: 'invalid',
    });
  });
});
