import { Failure } from '../base/failure.ts';
import type { TableEntry } from './table-reader.ts';

/**
 * What a column family holds: of all versions of a key in all its live tables, in whatever order these come, the one
 * with the greatest sequence number counts, and it is gone if that is a deletion. Keys as latin1, so that every byte counts,
 * in their order. Two versions with one sequence number are a Failure `corrupt`.
 */
export function newestValues(tables: Iterable<readonly TableEntry[]>): ReadonlyMap<string, Uint8Array> {
  const newest = new Map<string, TableEntry>();
  for (const entries of tables) {
    for (const entry of entries) {
      const key = Buffer.from(entry.key).toString('latin1');
      const other = newest.get(key);
      if (other?.sequence === entry.sequence) {
        throw new Failure('corrupt', `the key ${key} has two entries with the sequence number ${entry.sequence}`);
      }
      if (other === undefined || other.sequence < entry.sequence) newest.set(key, entry);
    }
  }
  const values = [...newest].flatMap(([key, { value }]) => (value === undefined ? [] : [[key, value] as const]));
  return new Map(values.sort(([left], [right]) => (left < right ? -1 : 1)));
}
