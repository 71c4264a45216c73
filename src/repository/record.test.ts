import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  SAMPLE_EPOCH,
  SAMPLE_KEYS,
  SAMPLE_TIME_MS,
  sampleEntry,
  sampleRecord,
} from '../../test/support/sample-documents.ts';
import { Failure } from '../base/failure.ts';
import { decodeRecord, EPOCH_SILENCE_MS_MAX, type EpochRecord, encodeRecord, isAlive, summarise } from './record.ts';

const KEY = SAMPLE_KEYS.record(SAMPLE_EPOCH);

function spoiled(change: (json: ReturnType<typeof JSON.parse>) => void): Uint8Array {
  const json: unknown = JSON.parse(Buffer.from(encodeRecord(sampleRecord())).toString());
  change(json);
  return Buffer.from(JSON.stringify(json));
}

describe('a record', () => {
  const lists = { tasks: [], taints: [], claims: [], installed: [] };
  const nothing = {
    keepWithinMs: undefined,
    after: undefined,
    trial: undefined,
    newest: undefined,
    appVersion: undefined,
  };
  const bare = { ...nothing, ...lists };

  test.each<[string, EpochRecord]>([
    ['with everything', sampleRecord()],
    ['with nothing yet', sampleRecord({ ...bare, role: 'restore', state: 'sealed', guarantee: 'auto' })],
  ])('%s is read as it was written', (_, record) => {
    expect(decodeRecord(encodeRecord(record), KEY)).toEqual(record);
  });

  test('is one line of text that people can read', () => {
    const text = Buffer.from(encodeRecord(sampleRecord(bare))).toString();
    expect(text).toBe(
      `{"format":1,"application":"orders","lineage":"shop","instance":"orders-0","epoch":"${SAMPLE_EPOCH}",` +
        '"writer":"warmstate 0.1.0","role":"run","state":"alive","renewedAt":"2025-11-22T23:36:40.000Z",' +
        '"guarantee":"at_least_once","maxAgeMs":82800000,"tasks":[],"taints":[],"installed":[]}\n',
    );
  });

  test('may have fields that this program does not know', () => {
    const bytes = spoiled((json) => {
      json.colours = [1, 2];
      json.tasks[0].colour = 'red';
    });
    expect(decodeRecord(bytes, KEY)).toEqual(sampleRecord());
  });

  test('under the key of another one is refused', () => {
    const other = SAMPLE_KEYS.record('1763854560123-orders-1-a1b2');
    expect(() => decodeRecord(encodeRecord(sampleRecord()), other)).toThrow(
      new Failure('corrupt', `cannot read ${other}: it is ${KEY}`),
    );
  });

  test.each<[string, (json: ReturnType<typeof JSON.parse>) => void, string]>([
    ['a role that is none', (json) => (json.role = 'prune'), 'role is none of restore, run, snapshot: "prune"'],
    [
      'a state that is none',
      (json) => (json.state = 'dead'),
      'state is none of alive, finishing, released, sealed: "dead"',
    ],
    ['a task twice', (json) => json.tasks.push(json.tasks[0]), 'task 0_3 is named twice'],
    ['an installed task twice', (json) => json.installed.push(json.installed[0]), 'task 0_3 is named twice'],
    ['tasks of no document', (json) => delete json.newest, 'it has tasks and no newest document'],
    [
      'a trial that is none',
      (json) => (json.trial.state = 'won'),
      'trial.state is none of undecided, confirmed, failed: "won"',
    ],
    ['an epoch that is none', (json) => (json.after = '../x'), 'after is no epoch: "../x"'],
    ['an inode that is a number', (json) => (json.taints[0].inode = 77), 'taints[0].inode is no text of digits: 77'],
    ['null for nothing', (json) => (json.keepWithinMs = null), 'keepWithinMs is no whole number: null'],
  ])('with %s is refused with its place', (_, change, message) => {
    expect(() => decodeRecord(spoiled(change), KEY)).toThrow(new Failure('corrupt', `cannot read ${KEY}: ${message}`));
  });

  test('that is cut or rubbish throws nothing but a failure', () => {
    const bytes = encodeRecord(sampleRecord());
    for (let length = 0; length < bytes.byteLength - 1; length++) {
      expect(() => decodeRecord(bytes.subarray(0, length), KEY)).toThrow(expect.objectContaining({ kind: 'corrupt' }));
    }
    fc.assert(
      fc.property(fc.uint8Array(), fc.json(), (rubbish, json) => {
        for (const each of [rubbish, Buffer.from(json), Buffer.from(`{"format":1,"tasks":${json}}`)]) {
          expect(() => decodeRecord(each, KEY)).toThrow(expect.objectContaining({ kind: 'corrupt' }));
        }
      }),
    );
  });
});

const seen = (silenceMs: number): { modifiedMs: number; storeTimeMs: number } => ({
  modifiedMs: SAMPLE_TIME_MS - silenceMs,
  storeTimeMs: SAMPLE_TIME_MS,
});

test('an epoch lives until it is sealed or has been silent for three minutes by the clock of the store', () => {
  // What the record says of its own age does not count: pods' clocks differ.
  const record = sampleRecord({ renewedAtMs: 0 });
  expect(isAlive(record, seen(EPOCH_SILENCE_MS_MAX))).toBe(true);
  expect(isAlive(record, seen(EPOCH_SILENCE_MS_MAX + 1))).toBe(false);
  expect(isAlive({ ...record, state: 'released' }, seen(0))).toBe(true);
  expect(isAlive({ ...record, state: 'sealed' }, seen(0))).toBe(false);
});

test('a summary is an entry without its files, but with their size', () => {
  const entry = sampleEntry();
  const { files, stores, ...rest } = entry;
  const all = [...files, ...stores.flatMap((store) => store.files)];
  expect(summarise(entry)).toEqual({ ...rest, sizeBytes: all.reduce((sum, file) => sum + file.sizeBytes, 0) });
});
