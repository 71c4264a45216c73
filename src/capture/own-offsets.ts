import { dirname } from 'node:path';
import { Failure, isFailure } from '../base/failure.ts';
import { newestValues } from '../rocksdb/newest-values.ts';
import { readTable, TABLE_BYTES_MAX, type TableEntry } from '../rocksdb/table-reader.ts';
import { decodeFamilyOffsets, type FamilyOffsets } from '../streams/family-offsets.ts';
import { OFFSETS_COLUMN_FAMILY } from '../streams/offsets.ts';
import type { Capture } from './capture.ts';
import type { PinnedTable, TableIdentity } from './pinned-database.ts';

/** The offsets that lie inside one database. */
export interface DatabaseOffsets extends FamilyOffsets {
  readonly store: string;
  /** Below the task directory. */
  readonly path: string;
}

/** Whether a table holds offsets; to be read, it must be pinned with its bytes also where the repository has it. */
export function holdsOffsets({ columnFamily }: Pick<TableIdentity, 'columnFamily'>): boolean {
  return columnFamily === OFFSETS_COLUMN_FAMILY;
}

/**
 * The offsets inside those databases of a captured task that have tables. Each is of the same moment as its data.
 * Failure `corrupt`, or `invalid` for what is not read, with the path of the table or database.
 */
export async function readOwnOffsets({ stores }: Pick<Capture, 'stores'>): Promise<readonly DatabaseOffsets[]> {
  const found: DatabaseOffsets[] = [];
  for (const { name: store, tables } of stores) {
    for (const [path, ofDatabase] of Map.groupBy(tables, (table) => dirname(table.path))) {
      const read: (readonly TableEntry[])[] = [];
      for (const table of ofDatabase.filter(holdsOffsets)) {
        const bytes = await readPinned(table);
        read.push(naming(table.path, () => readTable(bytes)));
      }
      found.push({ store, path, ...naming(path, () => decodeFamilyOffsets(newestValues(read))) });
    }
  }
  return found;
}

async function readPinned({ path, sizeBytes, source }: PinnedTable): Promise<Uint8Array> {
  if (source === undefined) throw new Error(`the table ${path} was not pinned with its bytes`);
  if (sizeBytes > TABLE_BYTES_MAX) {
    throw new Failure('invalid', `cannot read ${path}: it has ${sizeBytes} bytes, more than ${TABLE_BYTES_MAX}`);
  }
  const bytes = new Uint8Array(sizeBytes);
  for (let filled = 0; filled < sizeBytes; ) {
    const count = await source.read(bytes.subarray(filled), filled);
    if (count === 0) throw new Failure('moved', `cannot read ${path}: it ends at ${filled}, its size is ${sizeBytes}`);
    filled += count;
  }
  return bytes;
}

function naming<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!isFailure(error)) throw error;
    throw new Failure(error.kind, `cannot read the offsets in ${path}: ${error.message}`, { cause: error });
  }
}
