import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { newestValues } from './newest-values.ts';
import type { TableEntry } from './table-reader.ts';

function entry(key: string, sequence: number, value?: string): TableEntry {
  return {
    key: Buffer.from(key),
    sequence: BigInt(sequence),
    value: value === undefined ? undefined : Buffer.from(value),
  };
}

function merge(...tables: readonly (readonly TableEntry[])[]): Readonly<Record<string, string>> {
  return Object.fromEntries([...newestValues(tables)].map(([key, value]) => [key, Buffer.from(value).toString()]));
}

test('of all versions of a key the one with the greatest sequence number counts, in whatever table it lies', () => {
  expect(merge([entry('a', 0, 'old'), entry('b', 0, 'b')], [entry('a', 9, 'new'), entry('a', 4, 'older')])).toEqual({
    a: 'new',
    b: 'b',
  });
});

test('a key whose newest version is a deletion is gone, one that was written after its deletion is there', () => {
  expect(merge([entry('a', 3), entry('b', 4, 'again')], [entry('a', 2, 'old'), entry('b', 3)])).toEqual({ b: 'again' });
});

test('two versions with one sequence number are wrong', () => {
  expect(() => merge([entry('a', 3, 'x')], [entry('a', 3, 'y')])).toThrow(
    'the key a has two entries with the sequence number 3',
  );
});

test('the order of tables makes no difference, and keys come in the order of their bytes', () => {
  const writes = fc.array(fc.tuple(fc.constantFrom('a', 'b', '\u00ff', 'ab'), fc.boolean(), fc.nat(3)), {
    maxLength: 30,
  });
  fc.assert(
    fc.property(writes, (all) => {
      const tables: TableEntry[][] = [[], [], [], []];
      const model = new Map<string, string>();
      for (const [sequence, [key, isPut, table]] of all.entries()) {
        const value = isPut ? `${sequence}` : undefined;
        tables[table]?.push({ ...entry('', sequence, value), key: Buffer.from(key, 'latin1') });
        if (value === undefined) model.delete(key);
        else model.set(key, value);
      }
      const expected = [...model].sort(([left], [right]) => (left < right ? -1 : 1));
      for (const order of [tables, tables.toReversed()]) {
        expect([...newestValues(order)].map(([key, value]) => [key, Buffer.from(value).toString()])).toEqual(expected);
      }
    }),
  );
});
