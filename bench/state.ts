import { randomBytes } from 'node:crypto';
import { closeSync, mkdirSync, openSync, renameSync, rmSync, utimesSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { ModelDatabase } from '../test/support/model-database.ts';

/** A state directory as large as a real one, with manifests and checkpoints that are read like real ones. */
export const APPLICATION_ID = 'bench';
const MIB = 1024 * 1024;
const LARGE_TABLES_PER_TASK = 10;
/** MiB; 256 in all, so that four tasks have 1 GiB. */
const LARGE_SIZES = [16, 16, 16, 16, 18, 22, 26, 30, 32, 64];
const SEGMENTS_PER_TASK = 15;
const SMALL_BYTES = 40 * 1024;
const ROW_BYTES = 300;

export interface BenchState {
  readonly stateDir: string;
  readonly bytes: number;
  readonly files: number;
  /** Replaces one large table of one task in twenty, as a compaction does, and moves the offsets of all. */
  readonly goOn: () => void;
}

/** Lays out `tasks` tasks of 256 MiB in 10 tables and 75 small files each. */
export function layOutBenchState(stateDir: string, tasks: number): BenchState {
  const rows = makeRows();
  const databases: ModelDatabase[] = [];
  let files = 0;
  for (let task = 0; task < tasks; task++) {
    const directory = join(stateDir, APPLICATION_ID, `0_${task}`);
    const database = new ModelDatabase(join(directory, 'rocksdb/agg'));
    databases.push(database);
    LARGE_SIZES.forEach((size, index) => addLarge(database, { number: 10 + index, sizeBytes: size * MIB }, rows));
    for (let segment = 0; segment < SEGMENTS_PER_TASK; segment++) {
      const window = new ModelDatabase(join(directory, `win/win.${segment * 3_600_000}`));
      for (const number of [7, 8, 9]) {
        window.change({ add: [{ number, sizeBytes: SMALL_BYTES + segment, uid: randomBytes(16) }] });
      }
      files += 5;
    }
    files += LARGE_TABLES_PER_TASK + 3;
  }
  let offset = 1_000_000;
  const checkpoint = (): void => {
    offset += 1000;
    for (let task = 0; task < tasks; task++) writeCheckpoint(join(stateDir, APPLICATION_ID, `0_${task}`), task, offset);
  };
  checkpoint();
  let next = 100;
  let oldest = 13; // One of 16 MiB in every task.
  const goOn = (): void => {
    const compacted = Math.min(tasks, Math.max(1, Math.round((tasks * LARGE_TABLES_PER_TASK) / 20)));
    for (let index = 0; index < compacted; index++) {
      const database = databases[index % databases.length];
      if (database === undefined) continue;
      addLarge(database, { number: next + index, sizeBytes: 16 * MIB }, rows);
      database.logEdit({ remove: [oldest] });
      rmSync(database.path(oldest));
    }
    next += compacted;
    oldest -= 1;
    checkpoint();
  };
  return { stateDir, bytes: tasks * 256 * MIB + tasks * SEGMENTS_PER_TASK * 3 * SMALL_BYTES, files, goOn };
}

function addLarge(
  database: ModelDatabase,
  table: { readonly number: number; readonly sizeBytes: number },
  rows: Buffer,
): void {
  const descriptor = openSync(database.path(table.number), 'w');
  // Every table is its own: each row block begins with what no other has.
  for (let written = 0; written < table.sizeBytes; written += MIB) {
    const start = Math.floor(Math.random() * (rows.byteLength - MIB));
    const block = Buffer.from(rows.subarray(start, start + MIB));
    for (let row = 0; row < MIB - ROW_BYTES; row += ROW_BYTES) randomBytes(24).copy(block, row);
    writeSync(descriptor, block);
  }
  closeSync(descriptor);
  database.logEdit({ add: [{ ...table, uid: randomBytes(16) }] });
}

/** JSON-like rows of random words: zstd -1 makes a third of them. */
function makeRows(): Buffer {
  const parts: string[] = [];
  for (let bytes = 0; bytes < 8 * MIB; bytes += ROW_BYTES) {
    const row = `{"id":"${randomBytes(12).toString('hex')}","amount":${Math.floor(Math.random() * 1e9)},"status":"confirmed","customer":"${randomBytes(18).toString('base64')}","note":"`;
    parts.push(row.padEnd(ROW_BYTES - 3, 'lorem ipsum dolor sit amet '), '"}\n');
  }
  return Buffer.from(parts.join(''));
}

function writeCheckpoint(directory: string, partition: number, offset: number): void {
  const lines = ['agg', 'win'].map((store) => `${APPLICATION_ID}-${store}-changelog ${partition} ${offset}\n`);
  const path = join(directory, '.checkpoint');
  mkdirSync(directory, { recursive: true });
  writeFileSync(`${path}.tmp`, `0\n2\n${lines.join('')}`);
  renameSync(`${path}.tmp`, path);
  const now = Date.now() / 1000;
  utimesSync(path, now, now);
}
