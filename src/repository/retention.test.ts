import { describe, expect, test } from 'vitest';
import { sampleRecord } from '../../test/support/sample-documents.ts';
import type { EpochRecord } from './record.ts';
import { isPastUse, type ListedRecord, planRetention } from './retention.ts';

const HOUR_MS = 3_600_000;
const NOW_MS = 1_763_854_600_000;
const KEEP_MS = 6 * HOUR_MS;
const AGE_MS = 23 * HOUR_MS;
const HORIZON_MS = KEEP_MS + AGE_MS;

/** Epochs by a letter. */
function epochOf(letter: string): string {
  return `176385456012${letter.charCodeAt(0) % 10}-orders-0-aaa${letter}`;
}

/** `a/3` stored so long ago. */
function document(name: string, agoMs: number) {
  const [letter = '', n] = name.split('/');
  return { name: { epoch: epochOf(letter), n: Number(n) }, modifiedMs: NOW_MS - agoMs, storedBytes: 1 };
}

function record(letter: string, agoMs: number, change: Partial<EpochRecord> | 'unreadable' = {}): ListedRecord {
  const listed = { epoch: epochOf(letter), modifiedMs: NOW_MS - agoMs, sizeBytes: 1 };
  if (change === 'unreadable') return { ...listed, record: undefined };
  const own = { epoch: listed.epoch, maxAgeMs: AGE_MS, keepWithinMs: KEEP_MS, after: undefined };
  return { ...listed, record: sampleRecord({ ...own, ...change }) };
}

function plan(documents: readonly ReturnType<typeof document>[], records: readonly ListedRecord[] = []) {
  return planRetention({ storeTimeMs: NOW_MS, documents, records, maxAgeMs: AGE_MS, keepWithinMs: KEEP_MS });
}

const short = (name: string): string => name.replace(/^.*aaa(.)\/(\d+)$/, '$1/$2');

describe('a document', () => {
  const MARGIN_MS = 5000;
  test.each<[string, string | undefined, readonly ReturnType<typeof document>[], readonly ListedRecord[]]>([
    [
      'that is the newest of a living epoch stays, however old',
      'newest_alive',
      [document('a/1', 90 * HOUR_MS)],
      [record('a', 0)],
    ],
    [
      'of an epoch that was cut off for an hour stays',
      'newest_alive',
      [document('a/1', 90 * HOUR_MS)],
      [record('a', HOUR_MS)],
    ],
    [
      'of a sealed epoch goes when it is too old',
      undefined,
      [document('a/1', 90 * HOUR_MS)],
      [record('a', 0, { state: 'sealed' })],
    ],
    [
      'of a dead epoch goes when it is too old',
      undefined,
      [document('a/1', HORIZON_MS + MARGIN_MS)],
      [record('a', KEEP_MS + MARGIN_MS)],
    ],
    [
      'of a dead epoch stays as long as it may be restored',
      'newest_young',
      [document('a/1', HORIZON_MS)],
      [record('a', KEEP_MS + MARGIN_MS)],
    ],
    ['without a record is judged by its age', 'newest_young', [document('a/1', HORIZON_MS)], []],
    [
      'whose successor is young stays',
      'superseded_lately',
      [document('a/1', 90 * HOUR_MS), document('a/2', KEEP_MS)],
      [],
    ],
    [
      'whose successor is old goes',
      undefined,
      [document('a/1', 90 * HOUR_MS), document('a/2', KEEP_MS + MARGIN_MS)],
      [record('a', 0)],
    ],
    [
      'whose direct successor is old goes, whatever came after that',
      undefined,
      [document('a/1', 90 * HOUR_MS), document('a/3', KEEP_MS + MARGIN_MS), document('a/4', 0)],
      [record('a', 0)],
    ],
    [
      'is judged by the longest settings that any record says',
      'newest_young',
      [document('a/1', HORIZON_MS + HOUR_MS)],
      [record('b', 0, { maxAgeMs: AGE_MS + HOUR_MS })],
    ],
    [
      'whose successor is young by the longest --keep-within that any record says stays',
      'superseded_lately',
      [document('a/1', 90 * HOUR_MS), document('a/2', KEEP_MS + HOUR_MS)],
      [record('b', 0, { keepWithinMs: KEEP_MS + 2 * HOUR_MS })],
    ],
    [
      'stays where a record that may be in force cannot be read',
      'unreadable',
      [document('a/1', 90 * HOUR_MS)],
      [record('b', HORIZON_MS, 'unreadable')],
    ],
    [
      'goes where only a record of long ago cannot be read',
      undefined,
      [document('a/1', 90 * HOUR_MS)],
      [record('b', HORIZON_MS + MARGIN_MS, 'unreadable')],
    ],
  ])('%s', (_, expected, documents, records) => {
    const { roots, leaving } = plan(documents, records);
    const names = new Map([...roots].map(([name, why]) => [short(name), why]));
    expect(names.get('a/1')).toBe(expected);
    expect(leaving.length + roots.size).toBe(documents.length);
  });
});

describe('a record', () => {
  test.each<[string, readonly string[], readonly ReturnType<typeof document>[], readonly ListedRecord[]]>([
    ['that is silent for long and has no document goes', ['a'], [], [record('a', HORIZON_MS + HOUR_MS)]],
    ['of which somebody may still speak stays', [], [], [record('a', HORIZON_MS)]],
    [
      'goes with its last document',
      ['a'],
      [document('a/1', HORIZON_MS + HOUR_MS)],
      [record('a', HORIZON_MS + HOUR_MS)],
    ],
    ['stays with its document', [], [document('a/1', HOUR_MS)], [record('a', HORIZON_MS + HOUR_MS)]],
    [
      'that a record which stays came after stays',
      ['c'],
      [],
      [record('a', HORIZON_MS + HOUR_MS), record('b', 0, { after: epochOf('a') }), record('c', HORIZON_MS + HOUR_MS)],
    ],
    ['stays where another cannot be read', [], [], [record('a', HORIZON_MS + HOUR_MS), record('b', 0, 'unreadable')]],
  ])('%s', (_, expected, documents, records) => {
    expect(plan(documents, records).leavingRecords.map(({ epoch }) => epoch.at(-1))).toEqual(expected);
  });
});

test('an object is past its use once it is older than --keep-within, whichever way its times are rounded', () => {
  const at = { storeTimeMs: NOW_MS, keepWithinMs: KEEP_MS };
  const ages = [0, KEEP_MS, KEEP_MS + 1999, KEEP_MS + 2001];
  expect(ages.map((ms) => isPastUse({ modifiedMs: NOW_MS - ms }, at))).toEqual([false, false, false, true]);
});
