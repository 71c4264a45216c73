import { expect, test } from 'vitest';
import { tableFile } from '../../test/support/table-file.ts';
import { type OffsetTable, readOwnOffsets } from './own-offsets.ts';

/** A table of the column family with these values, each an i64. */
function tableOf(path: string, mtimeNs: bigint, values: Readonly<Record<string, bigint>>): OffsetTable {
  const entries = Object.entries(values).map(([key, number], at) => {
    const value = Buffer.alloc(8);
    value.writeBigInt64BE(number);
    return { key, sequence: Number(mtimeNs) * 10 + at, value };
  });
  const file = tableFile({ blocks: [entries] });
  const read = async (buffer: Uint8Array, position: number): Promise<number> =>
    file.copy(buffer, 0, position, position + buffer.byteLength);
  return { path, sizeBytes: file.byteLength, mtimeNs, read };
}

test('A1: offsets are as old as the newest table that holds one, whatever is in the others', async () => {
  const tables = [
    tableOf('000010.sst', 5n, { 'orders-agg-changelog-0': 100n }),
    tableOf('000011.sst', 7n, { 'orders-agg-changelog-0': 120n, status: 1n }),
    tableOf('000012.sst', 9n, { status: 0n }),
  ];
  const database = { path: 'rocksdb/agg', hasData: true };
  for (const inOrder of [tables, tables.toReversed()]) {
    expect(await readOwnOffsets(database, inOrder)).toEqual({
      kind: 'read',
      offsets: new Map([['orders-agg-changelog-0', 120n]]),
      unknown: new Set(),
      status: 'closed',
      position: new Map(),
      writtenNs: 7n,
      hasData: true,
    });
  }
});
