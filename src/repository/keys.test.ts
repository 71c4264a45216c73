import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../test/support/seeded-random.ts';
import { Failure } from '../base/failure.ts';
import { objectKeySegments } from '../storage/object-key.ts';
import {
  compareEpochs,
  compareSnapshotNames,
  createEpoch,
  createFenceName,
  formatSnapshotName,
  isEpochOf,
  parseEpoch,
  parseKey,
  parseSnapshotName,
  type RepositoryKey,
  repositoryKeys,
} from './keys.ts';

const EPOCH = '1763854560123-orders-0-a1b2';
const NAME = { epoch: EPOCH, n: 12 };
const keys = repositoryKeys({ application: 'orders', lineage: 'shop' });

/** Three bytes for each byte of UTF-8 at most: longer ones are refused. */
const fitsIntoKey = (name: string): boolean => Buffer.byteLength(name) * 3 <= 200;
const anyName = fc.oneof(
  fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }).filter(fitsIntoKey),
  fc.constantFrom('.', '..', '%2E', 'a%b', '.a/b', 'ä'),
);
const anyLocation = fc.record({ application: anyName, lineage: anyName });
const anyInstance = fc.oneof(anyName, fc.string({ minLength: 64, maxLength: 300 }));
const anyEpoch = fc
  .record({ storeTimeMs: fc.nat({ max: 9_999_999_999_999 }), instance: anyInstance, seed: fc.nat() })
  .map(({ storeTimeMs, instance, seed }) =>
    createEpoch({ storeTimeMs, instance, random: seededRandom(seed), after: [] }),
  );
const anySnapshotName = fc.record({ epoch: anyEpoch, n: fc.integer({ min: 1, max: 99_999_999 }) });

test('keys are spelled as docs/format.md says', () => {
  expect([
    keys.repository,
    keys.recordsPrefix,
    keys.snapshotsPrefix,
    keys.record(EPOCH),
    keys.snapshot(NAME),
    keys.data(NAME, 0),
    keys.archive(NAME, 345),
    keys.fence({ timeMs: 1_763_854_560_123, token: 'a1b2c3d4' }),
    keys.damaged(EPOCH),
  ]).toEqual([
    'orders/shop/repository.json',
    'orders/shop/records/',
    'orders/shop/snapshots/',
    'orders/shop/records/1763854560123-orders-0-a1b2.json',
    'orders/shop/snapshots/1763854560123-orders-0-a1b2/00000012.json.zst',
    'orders/shop/data/1763854560123-orders-0-a1b2/00000012-000000',
    'orders/shop/data/1763854560123-orders-0-a1b2/00000012-000345.tar.zst',
    'orders/shop/fences/1763854560123-a1b2c3d4.json',
    'orders/shop/damaged/1763854560123-orders-0-a1b2.json',
  ]);
});

test('every key that is built is a key of the store and is parsed back to what it stands for', () => {
  fc.assert(
    fc.property(anyLocation, anySnapshotName, fc.nat({ max: 999_999 }), (location, name, i) => {
      const built = repositoryKeys(location);
      const fence = createFenceName(i, seededRandom(i));
      const expected: readonly (readonly [string, RepositoryKey])[] = [
        [built.repository, { kind: 'repository', ...location }],
        [built.record(name.epoch), { kind: 'record', ...location, epoch: name.epoch }],
        [built.snapshot(name), { kind: 'snapshot', ...location, name }],
        [built.data(name, i), { kind: 'data', ...location, name, i }],
        [built.archive(name, i), { kind: 'archive', ...location, name, i }],
        [built.fence(fence), { kind: 'fence', ...location, name: fence }],
        [built.damaged(name.epoch), { kind: 'damaged', ...location, epoch: name.epoch }],
      ];
      for (const [key, parsed] of expected) {
        expect(objectKeySegments(key)).toHaveLength(key.split('/').length);
        expect(parseKey(key)).toEqual(parsed);
      }
    }),
    { numRuns: 300 },
  );
});

test('no key is a folder of another key', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(anySnapshotName, fc.nat({ max: 999_999 })), { maxLength: 5 }), (names) => {
      const all = names.flatMap(([name, i]) => [
        keys.record(name.epoch),
        keys.snapshot(name),
        keys.data(name, i),
        keys.archive(name, i),
      ]);
      const folders = new Set(
        all.flatMap((key) => key.split('/').map((_, depth, parts) => parts.slice(0, depth).join('/'))),
      );
      expect(all.filter((key) => folders.has(key))).toEqual([]);
    }),
  );
});

test('two histories never share a key, however they are named', () => {
  fc.assert(
    fc.property(anyLocation, anyLocation, (one, other) => {
      const isSame = one.application === other.application && one.lineage === other.lineage;
      expect(repositoryKeys(one).repository === repositoryKeys(other).repository).toBe(isSame);
    }),
  );
});

test.each([
  ['', 'cannot use an empty application.id'],
  ['\ud800', 'cannot use application.id "\\ud800": it is no Unicode text'],
  ['x'.repeat(201), `cannot use application.id "${'x'.repeat(120)}…": it takes 201 bytes, 200 are allowed`],
])('the application.id %j is refused', (application, message) => {
  expect(() => repositoryKeys({ application, lineage: 'shop' })).toThrow(new Failure('invalid', message));
});

test.each([
  '',
  'orders',
  'orders/shop',
  'orders/shop/repository.json/x',
  'orders/shop/records',
  'orders/shop/records/x.json',
  `orders/shop/records/${EPOCH}`,
  'orders/shop/fences/1763854560123-a1b2.json',
  'orders/shop/fences/1763854560123-a1b2c3d4.json/x',
  'orders/shop/damaged/x.json',
  `orders/shop/records/${EPOCH}.json/x`,
  `orders/shop/snapshots/${EPOCH}`,
  `orders/shop/snapshots/${EPOCH}/12.json.zst`,
  `orders/shop/snapshots/${EPOCH}/00000000.json.zst`,
  `orders/shop/snapshots/${EPOCH}/00000012.json`,
  `orders/shop/snapshots/../00000012.json.zst`,
  `orders/shop/data/${EPOCH}/00000012-0`,
  `orders/shop/data/${EPOCH}/00000000-000000`,
  `orders/shop/data/${EPOCH}/00000012-000000.tar`,
  `orders/shop/data/${EPOCH}/../00000012-000000`,
  `orders/shop/fences/${EPOCH}/00000012-000000`,
  `orders/../shop/records/${EPOCH}.json`,
  `../shop/records/${EPOCH}.json`,
  `.orders/shop/repository.json`,
  `%6Frders/shop/repository.json`,
  `%e4/shop/repository.json`,
  `%C3/shop/repository.json`,
  `%/shop/repository.json`,
])('%j is no key of ours', (key) => {
  expect(parseKey(key)).toBeUndefined();
});

describe('an epoch', () => {
  test('is the time of the store, the instance and a token', () => {
    const epoch = createEpoch({
      storeTimeMs: 1763854560123.7,
      instance: 'orders-0',
      random: seededRandom(1),
      after: [],
    });
    expect(parseEpoch(epoch)).toEqual({
      timeMs: 1763854560123,
      instance: 'orders-0',
      token: expect.stringMatching(/^[a-z0-9]{4}$/),
    });
    expect(isEpochOf(epoch, 'orders-0')).toBe(true);
    expect(isEpochOf(epoch, 'orders')).toBe(false);
  });

  test('sorts after every known one of its instance, also where clocks go back', () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 1000 }), { minLength: 1, maxLength: 20 }), anyInstance, (times, instance) => {
        const known: string[] = [];
        for (const [seed, storeTimeMs] of times.entries()) {
          const epoch = createEpoch({ storeTimeMs, instance, random: seededRandom(seed), after: known });
          expect(known.every((earlier) => compareEpochs(earlier, epoch) < 0)).toBe(true);
          known.push(epoch);
        }
      }),
    );
  });

  test('does not care about those of other instances', () => {
    const after = ['1763854560999-orders-1-a1b2', 'rubbish'];
    const epoch = createEpoch({ storeTimeMs: 1763854560123, instance: 'orders-0', random: seededRandom(1), after });
    expect(parseEpoch(epoch)?.timeMs).toBe(1763854560123);
  });

  test('tells long names of instances apart by their hash, in 63 characters', () => {
    const [one, other] = ['a', 'b'].map((end) => 'orders-'.repeat(12) + end);
    const epoch = createEpoch({ storeTimeMs: 0, instance: one ?? '', random: seededRandom(1), after: [] });
    expect(parseEpoch(epoch)?.instance).toBe(`${'orders-'.repeat(6)}orde-117a7b6760671403`);
    expect([isEpochOf(epoch, one ?? ''), isEpochOf(epoch, other ?? '')]).toEqual([true, false]);
  });

  test('cannot be later than 13 digits say', () => {
    const after = ['9999999999999-x-aaaa'];
    expect(() => createEpoch({ storeTimeMs: 0, instance: 'x', random: seededRandom(1), after })).toThrow(
      new Failure('invalid', 'cannot write a key: time of an epoch 10000000000000 has no 13 digits'),
    );
  });
});

describe('the name of a snapshot', () => {
  test('is printed without the zeros of its key and read with or without them', () => {
    expect(formatSnapshotName(NAME)).toBe(`${EPOCH}/12`);
    expect(parseSnapshotName(`${EPOCH}/12`)).toEqual(NAME);
    expect(parseSnapshotName(`${EPOCH}/00000012`)).toEqual(NAME);
  });

  test('survives being printed and read', () => {
    fc.assert(
      fc.property(anySnapshotName, (name) => {
        expect(parseSnapshotName(formatSnapshotName(name))).toEqual(name);
      }),
    );
  });

  test.each([
    '',
    'x',
    EPOCH,
    `${EPOCH}/`,
    `${EPOCH}/0`,
    `${EPOCH}/-1`,
    `${EPOCH}/1/2`,
    `${EPOCH}/123456789`,
    `../${EPOCH}/1`,
    '../../etc/1',
    `${EPOCH}/1\n`,
    '/etc/passwd',
  ])('is not %j', (text) => {
    expect(() => parseSnapshotName(text)).toThrow(
      new Failure('invalid', `not a snapshot: ${JSON.stringify(text)}`, {
        hint: 'warmstate list prints the names of snapshots',
      }),
    );
  });

  test('sorts by epoch, then by number', () => {
    const later = '1763854560124-a-a1b2';
    const names = [
      { epoch: later, n: 1 },
      { epoch: EPOCH, n: 10 },
      { epoch: EPOCH, n: 9 },
    ];
    expect(names.toSorted(compareSnapshotNames)).toEqual([
      { epoch: EPOCH, n: 9 },
      { epoch: EPOCH, n: 10 },
      { epoch: later, n: 1 },
    ]);
  });
});
