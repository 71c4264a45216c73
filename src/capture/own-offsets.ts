import { Failure, isFailure } from '../base/failure.ts';
import { newestValues } from '../rocksdb/newest-values.ts';
import { readTable, TABLE_BYTES_MAX, type TableEntry } from '../rocksdb/table-reader.ts';
import { decodeFamilyOffsets, type FamilySight, isOffsetKey } from '../streams/family-offsets.ts';

/** A live table of the column family of offsets. */
export interface OffsetTable {
  /** Below the task directory. */
  readonly path: string;
  readonly sizeBytes: number;
  readonly mtimeNs: bigint;
  readonly read: (buffer: Uint8Array, position: number) => Promise<number>;
}

/**
 * The offsets inside one database, of the same moment as the live set that these tables are of. What cannot be read is
 * said so, with its path; Failure `moved` for a table that ends before its size.
 */
export async function readOwnOffsets(
  database: { readonly path: string; readonly hasData: boolean },
  tables: readonly OffsetTable[],
): Promise<FamilySight> {
  try {
    const read: (readonly TableEntry[])[] = [];
    let writtenNs: bigint | undefined;
    for (const table of tables) {
      const bytes = await readWhole(table);
      const entries = naming(table.path, () => readTable(bytes));
      read.push(entries);
      const hasOffset = entries.some(({ key }) => isOffsetKey(Buffer.from(key).toString('latin1')));
      if (hasOffset && (writtenNs === undefined || table.mtimeNs > writtenNs)) writtenNs = table.mtimeNs;
    }
    const offsets = naming(database.path, () => decodeFamilyOffsets(newestValues(read)));
    return { kind: 'read', ...offsets, writtenNs, hasData: database.hasData };
  } catch (error) {
    if (!isFailure(error, 'corrupt', 'invalid')) throw error;
    const reason = error.kind === 'corrupt' ? 'damaged' : 'unsupported_store';
    return { kind: 'unreadable', why: { reason, message: error.message } };
  }
}

async function readWhole({ path, sizeBytes, read }: OffsetTable): Promise<Uint8Array> {
  if (sizeBytes > TABLE_BYTES_MAX) {
    throw new Failure(
      'invalid',
      `cannot read the offsets in ${path}: it has ${sizeBytes} bytes, more than ${TABLE_BYTES_MAX}`,
    );
  }
  const bytes = new Uint8Array(sizeBytes);
  for (let filled = 0; filled < sizeBytes; ) {
    const count = await read(bytes.subarray(filled), filled);
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
