import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { GOLDENS, type Golden } from '../../test/support/goldens.ts';
import { type TableSketch, tableFile, varint } from '../../test/support/table-file.ts';
import { isFailure } from '../base/failure.ts';
import { tableFileName } from './file-name.ts';
import { ManifestReplay } from './live-files.ts';
import { newestValues } from './newest-values.ts';
import { checksumAt } from './table-footer.ts';
import { readTable, TABLE_BYTES_MAX, type TableEntry } from './table-reader.ts';

/** RocksDB 5.18 writes format version 0, and blob files are another thing. */
const READABLE = GOLDENS.filter(({ name, release }) => release !== '5.18.4' && !name.endsWith('/blobs'));
const FAMILIES = READABLE.flatMap((golden) =>
  Object.keys(golden.expected.contents).map((family) => ({ name: golden.name, golden, family })),
);

describe('the tables of a column family', () => {
  test.each(FAMILIES)('hold what RocksDB itself found: $name, $family', ({ golden, family }) => {
    const values = newestValues(tablesOf(golden, family).map(readTable));
    expect(digestOf(values)).toBe(golden.expected.contents[family]);
  });

  test('of format versions 5, 6 and 7, with crc32c and xxh3, are among those that are read', () => {
    const kinds = FAMILIES.flatMap(({ golden, family }) =>
      tablesOf(golden, family).map((bytes) => `${bytes.readUInt32LE(bytes.length - 12)}/${bytes.at(-53)}`),
    );
    expect([...new Set(kinds)].sort()).toEqual(['5/1', '5/4', '6/4', '7/4']);
  });

  test('of many offsets lie in several blocks on two levels, and say what was deleted', () => {
    const tables = tablesOf(goldenOf('10.1.3/offsets'), 'offsets').map(readTable);
    const deleted = tables.flat().filter(({ value }) => value === undefined);
    expect(deleted.map(({ key }) => textOf(key))).toEqual([
      'orders-global-150',
      'orders-global-299',
      'orders-global-7',
    ]);
    expect(tables.map((entries) => entries.length)).toEqual(expect.arrayContaining([302, 42, 3]));
    const values = newestValues(tables);
    expect(values.size).toBe(299);
    expect(Buffer.from(values.get('orders-global-39') ?? []).readBigInt64BE()).toBe(8039n);
    expect(Buffer.from(values.get('orders-global-40') ?? []).readBigInt64BE()).toBe(5040n);
  });
});

/** Of several blocks, with each of the checksums and footers, and with deletions. */
const VICTIMS = [
  ...tablesOf(goldenOf('6.29.4.1/offsets'), 'offsets'),
  ...tablesOf(goldenOf('10.1.3/offsets'), 'offsets'),
  ...tablesOf(goldenOf('11.8.1/offsets'), 'offsets').slice(0, 1),
].map((bytes) => ({ bytes, entries: readTable(bytes) }));

describe('a damaged table', () => {
  test('that was cut at any byte is refused', () => {
    for (const { bytes } of VICTIMS) {
      for (let length = 0; length < bytes.length; length += length < bytes.length - 200 ? 37 : 1) {
        expect(failureOf(bytes.subarray(0, length))).toBe('corrupt');
      }
    }
  });

  test('is noticed at any flipped bit, or reads as before where the bit is not needed', () => {
    let [noticed, harmless] = [0, 0];
    fc.assert(
      fc.property(fc.constantFrom(...VICTIMS), fc.nat(), fc.nat(7), ({ bytes, entries }, at, bit) => {
        const damaged = Buffer.from(bytes);
        damaged[at % bytes.length]! ^= 1 << bit;
        if (failureOf(damaged) !== undefined) {
          noticed++;
          return;
        }
        harmless++;
        expect(readTable(damaged)).toEqual(entries);
      }),
      { numRuns: 1500 },
    );
    expect(noticed).toBeGreaterThan(harmless);
  });

  test('is noticed at every flipped bit of its last 100 bytes, but for padding that nobody reads', () => {
    const [old, sealed] = [VICTIMS[0], VICTIMS.at(-1)];
    expect(unnoticed(old?.bytes, 100).every((fromEnd) => fromEnd <= 52 && fromEnd > 12)).toBe(true);
    expect(unnoticed(sealed?.bytes, 100)).toEqual([]);
  });

  test('with any bytes changed gives a failure and nothing else', () => {
    const change = fc.record({
      at: fc.nat(),
      bytes: fc.uint8Array({ minLength: 1, maxLength: 8 }),
      fromEnd: fc.boolean(),
    });
    fc.assert(
      fc.property(
        fc.constantFrom(...VICTIMS),
        fc.array(change, { minLength: 1, maxLength: 4 }),
        ({ bytes }, changes) => {
          const damaged = Buffer.from(bytes);
          for (const { at, bytes: put, fromEnd } of changes) {
            damaged.set(put, fromEnd ? damaged.length - 8 - (at % 60) : at % (damaged.length - 8));
          }
          failureOf(damaged);
        },
      ),
      { numRuns: 500 },
    );
  });

  test('and bytes that are no table at all are refused', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => failureOf(bytes) === 'corrupt'));
  });

  test('a block of another place does not pass for the one that belongs there', () => {
    const table = Buffer.from(largest('10.1.3/offsets'));
    const moved = Buffer.concat([table.subarray(1), Buffer.alloc(1)]);
    moved.set(table.subarray(-53), table.length - 53);
    expect(failureOf(moved)).toBe('corrupt');
  });
});

test.each([
  ['5.18.4/plain', 'invalid', 'its format version is 0, read are 5 to 7'],
  ['10.1.3/blobs', 'invalid', 'it has an entry of type 17, read are values (1) and deletions (0)'],
] as const)('what is not read is named: %s', (name, kind, message) => {
  const [table] = tablesOf(goldenOf(name), 'default');
  expect(() => readTable(table ?? Buffer.alloc(0))).toThrow(expect.objectContaining({ kind, message }));
});

describe('a table whose checksums are right', () => {
  const blocks: TableSketch['blocks'] = [
    [
      { key: 'a', sequence: 7, value: Buffer.from('new') },
      { key: 'a', sequence: 3, type: 0 },
    ],
    [{ key: 'b', sequence: 0, value: Buffer.from('old') }],
  ];

  test('is read', () => {
    expect(readTable(tableFile({ blocks })).map(({ key, sequence, value }) => [textOf(key), sequence, value])).toEqual([
      ['a', 7n, Buffer.from('new')],
      ['a', 3n, undefined],
      ['b', 0n, Buffer.from('old')],
    ]);
    expect(readTable(tableFile({ blocks: [] }))).toEqual([]);
  });

  test.each<[string, Partial<TableSketch>, string, string]>([
    [
      'compressed blocks',
      { compressionType: 7 },
      'invalid',
      'the block at byte 0 is compressed (type 7), which is not read',
    ],
    ['range deletions', { metaindex: ['rocksdb.range_del'] }, 'invalid', 'it has range deletions, which are not read'],
    [
      'merges',
      { blocks: [[{ key: 'a', sequence: 1, type: 2 }]] },
      'invalid',
      'it has an entry of type 2, read are values (1) and deletions (0)',
    ],
    [
      'a global sequence number',
      { properties: { 'rocksdb.external_sst_file.version': Buffer.from([2, 0, 0, 0]) } },
      'invalid',
      'it was made outside of its database and ingested, which is not read',
    ],
    [
      'another order of keys',
      { properties: { 'rocksdb.comparator': Buffer.from('rocksdb.ReverseBytewiseComparator') } },
      'invalid',
      'its keys are ordered by rocksdb.ReverseBytewiseComparator, which is not read',
    ],
    [
      'a partitioned index',
      { properties: { 'rocksdb.block.based.table.index.type': Buffer.from([2, 0, 0, 0]) } },
      'invalid',
      'its index is of type 02000000, which is not read',
    ],
    [
      'a packed index',
      { packsIndex: true },
      'invalid',
      'its index has entries between restart points, which are not read',
    ],
    [
      'an index of an old format',
      { properties: { 'rocksdb.index.value.is.delta.encoded': varint(0) } },
      'invalid',
      'its index has values with lengths, which is not read',
    ],
    ['hash indexes', { blockFeatures: 1 << 31 }, 'invalid', 'a block has features (0x80000001) that are not read'],
    [
      'more entries than it has',
      { properties: { 'rocksdb.num.entries': varint(4) } },
      'corrupt',
      'it has 3 entries, its properties say 4',
    ],
    [
      'more blocks than it has',
      { properties: { 'rocksdb.num.data.blocks': varint(1) } },
      'corrupt',
      'it has 2 data blocks, its properties say 1',
    ],
    ['keys out of order', { blocks: blocks.toReversed() }, 'corrupt', 'the block at byte 28 has keys out of order'],
    [
      'versions out of order',
      { blocks: [(blocks[0] ?? []).toReversed()] },
      'corrupt',
      'the block at byte 0 has keys out of order',
    ],
    [
      'a version twice',
      { blocks: [[...(blocks[1] ?? []), ...(blocks[1] ?? [])]] },
      'corrupt',
      'the block at byte 0 has keys out of order',
    ],
    [
      'an index that goes back',
      { handle: (_offset, size) => [0, size] },
      'corrupt',
      'its index goes back at the block at byte 0',
    ],
    [
      'an index beyond its end',
      { blocks: blocks.slice(1), handle: (offset, size) => [offset, size + 10_000] },
      'corrupt',
      'a block of 10023 bytes at byte 0 does not fit into it',
    ],
    [
      'a key that shares more than there is',
      { blocks: [[{ key: 'a', sequence: 1, shared: 5 }]] },
      'corrupt',
      'a key shares 5 bytes with one of 0',
    ],
    [
      'a key that is too long',
      { blocks: [[{ key: 'a'.repeat(2000), sequence: 1 }]] },
      'invalid',
      'a key has 2008 bytes, read are at most 1024',
    ],
  ])('but that has %s is refused', (_name, change, kind, message) => {
    expect(() => readTable(tableFile({ blocks, ...change }))).toThrow(expect.objectContaining({ kind, message }));
  });

  test('and whose keys unfold without end is refused before memory is', () => {
    // Each entry shares a long key and adds one byte to it.
    const first = { key: 'k'.repeat(900), sequence: 1 };
    const rest = Array.from({ length: 70_000 }, (_, at) => ({
      key: String(at).padStart(5, '0'),
      sequence: 1,
      shared: 900,
    }));
    expect(failureOf(tableFile({ blocks: [[first, ...rest]] }))).toBe('invalid');
  });
});

test('a footer that asks for what is unknown is refused', () => {
  const file = Buffer.from(largest('10.1.3/offsets'));
  const footer = file.subarray(-53);
  footer[40] = 1;
  footer.writeUInt32LE(0, 5);
  const seal = { checksum: 'xxh3', checksumBase: footer.readUInt32LE(9) } as const;
  footer.writeUInt32LE(checksumAt(seal, footer, file.length - 53), 5);
  expect(() => readTable(file)).toThrow(
    expect.objectContaining({ kind: 'invalid', message: 'its footer asks for a feature that is unknown' }),
  );
});

test('what is too long is not read', () => {
  expect(() => readTable(new Uint8Array(TABLE_BYTES_MAX + 1))).toThrow(
    'it has 4194305 bytes, read are at most 4194304',
  );
});

function goldenOf(name: string): Golden {
  const golden = GOLDENS.find((one) => one.name === name);
  if (golden === undefined) throw new Error(`no golden ${name}`);
  return golden;
}

function tablesOf(golden: Golden, family: string): readonly Buffer[] {
  const replay = new ManifestReplay();
  replay.feed(golden.manifest);
  const tables = replay.live()?.tables.filter(({ columnFamily }) => columnFamily === family) ?? [];
  return tables.map(({ number }) => readFileSync(join(golden.directory, tableFileName(number))));
}

function largest(name: string): Buffer {
  return tablesOf(goldenOf(name), 'offsets').toSorted((a, b) => b.length - a.length)[0] ?? Buffer.alloc(0);
}

/** As the maker's Description.java makes it. */
function digestOf(values: ReadonlyMap<string, Uint8Array>): string {
  const digest = createHash('sha256');
  for (const [key, value] of values) {
    const lengths = Buffer.alloc(8);
    lengths.writeInt32BE(key.length);
    lengths.writeInt32BE(value.length, 4);
    digest.update(lengths).update(key, 'latin1').update(value);
  }
  return digest.digest('hex');
}

function failureOf(bytes: Uint8Array): string | undefined {
  try {
    readTable(bytes);
    return undefined;
  } catch (error) {
    if (!isFailure(error, 'corrupt', 'invalid')) throw error;
    return error.kind;
  }
}

/** The distances from the end at which some flipped bit changes nothing. */
function unnoticed(bytes: Uint8Array = new Uint8Array(0), length = 0): readonly number[] {
  const found = new Set<number>();
  for (let fromEnd = 1; fromEnd <= length; fromEnd++) {
    for (let bit = 0; bit < 8; bit++) {
      const damaged = Buffer.from(bytes);
      damaged[bytes.length - fromEnd]! ^= 1 << bit;
      if (failureOf(damaged) === undefined) found.add(fromEnd);
    }
  }
  return [...found];
}

function textOf(key: TableEntry['key']): string {
  return Buffer.from(key).toString();
}
