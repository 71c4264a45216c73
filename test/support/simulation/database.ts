import { hash } from 'node:crypto';
import { join } from 'node:path';
import { ByteWriter } from '../../../src/rocksdb/coding.ts';
import { manifestFileName, parseFileName, tableFileName } from '../../../src/rocksdb/file-name.ts';
import { ManifestReplay } from '../../../src/rocksdb/live-files.ts';
import { frameRecords } from '../../../src/rocksdb/record-writer.ts';
import { Tag } from '../../../src/rocksdb/version-edit.ts';
import type { MemoryDisk } from '../memory-disk.ts';
import type { Change } from './changelog.ts';

/** What tables hold, by the code with which each begins. */
export class TableContents {
  readonly #contents: (readonly Change[])[] = [];
  readonly #byHash = new Map<string, readonly Change[]>();

  /** The bytes of a table with these changes; no two are alike. */
  write(changes: readonly Change[], sizeBytes: number): { readonly code: number; readonly bytes: Uint8Array } {
    const code = this.#contents.push(changes) - 1;
    const bytes = Buffer.alloc(sizeBytes);
    bytes.writeUInt32LE(code);
    this.#byHash.set(hash('sha256', bytes), changes);
    return { code, bytes };
  }

  /** Undefined for what is no table. */
  withHash(sha256: string): readonly Change[] | undefined {
    return this.#byHash.get(sha256);
  }

  /** Of a whole table. */
  of(table: Uint8Array): { readonly code: number; readonly changes: readonly Change[] } {
    const code = Buffer.from(table.buffer, table.byteOffset, table.byteLength).readUInt32LE();
    const changes = this.#contents[code];
    if (changes === undefined) throw new Error(`no table was ever written with the code ${code}`);
    return { code, changes };
  }
}

interface Table {
  readonly number: number;
  readonly code: number;
  readonly sizeBytes: number;
  readonly changes: readonly Change[];
  readonly sequence: bigint;
}

/** So many are compacted at once. */
const TABLES_MAX = 4;
const TABLE_BYTES = 64;
const LARGE_TABLE_BYTES = 300 * 1024;
/** Small models stay within the first block of the log format. */
const MANIFEST_BYTES_MAX = 24_000;

/**
 * A RocksDB as whoever reads its names, CURRENT, manifest and tables sees it, changed in the order in which RocksDB
 * changes one. What was put and not flushed is gone with the process.
 */
export class SimulatedDatabase {
  readonly directory: string;
  readonly #disk: MemoryDisk;
  readonly #contents: TableContents;
  readonly #hasUids: boolean;
  #memory = new Map<string, Change>();
  #tables: Table[] = [];
  #nextFile: number;
  #sequence: bigint;
  #manifest = '';
  #manifestBytes = 0;

  /** Opens what lies there, as RocksDB does: under a new manifest. */
  constructor(
    disk: MemoryDisk,
    directory: string,
    how: { readonly contents: TableContents; readonly hasUids: boolean },
  ) {
    this.directory = directory;
    this.#disk = disk;
    this.#contents = how.contents;
    this.#hasUids = how.hasUids;
    disk.makeDirectory(directory);
    const found = readDatabase(disk, directory, how.contents);
    this.#tables = [...(found?.tables ?? [])];
    this.#nextFile = (found?.numberMax ?? 3) + 1;
    this.#sequence = found?.sequence ?? 0n;
    this.#startManifest();
    for (const { name } of disk.entries(directory, 'listed'))
      if (parseFileName(name)?.kind === 'manifest' && name !== this.#manifest) disk.unlink(join(directory, name));
  }

  put(change: Change): void {
    this.#memory.set(change.key, change);
  }

  get hasUnflushed(): boolean {
    return this.#memory.size > 0;
  }

  /** Everything, flushed or not. */
  contents(): ReadonlyMap<string, Change> {
    return mergeTables([...this.#tables.map(({ changes }) => changes), [...this.#memory.values()]]);
  }

  flush(options: { readonly isLarge: boolean }): void {
    if (this.#memory.size === 0) return;
    this.#sequence += BigInt(this.#memory.size);
    const table = this.#write([...this.#memory.values()], { ...options, sequence: this.#sequence });
    this.#memory = new Map();
    this.#tables.push(table);
    this.#log({ add: [table], remove: [] });
    if (this.#tables.length > TABLES_MAX) this.compact();
  }

  /** Of all tables into one; nothing is left where deletions met all that they delete. */
  compact(): void {
    if (this.#tables.length < 2) return;
    const inputs = this.#tables;
    const merged = [...mergeTables(inputs.map(({ changes }) => changes)).values()].filter(
      ({ value }) => value !== undefined,
    );
    const sequence =
      inputs.findLast(({ changes }) => changes.some((change) => merged.includes(change)))?.sequence ?? 0n;
    const outputs = merged.length === 0 ? [] : [this.#write(merged, { isLarge: false, sequence })];
    this.#tables = outputs;
    this.#log({ add: outputs, remove: inputs });
    for (const { number } of inputs) this.#disk.unlink(this.#path(number));
  }

  rollManifest(): void {
    const old = this.#manifest;
    this.#startManifest();
    this.#disk.unlink(join(this.directory, old));
  }

  #path(number: number): string {
    return join(this.directory, tableFileName(number));
  }

  #write(changes: readonly Change[], how: { readonly isLarge: boolean; readonly sequence: bigint }): Table {
    const number = this.#nextFile++;
    const { code, bytes } = this.#contents.write(changes, how.isLarge ? LARGE_TABLE_BYTES : TABLE_BYTES);
    this.#disk.write(this.#path(number), bytes);
    return { number, code, sizeBytes: bytes.byteLength, changes, sequence: how.sequence };
  }

  #startManifest(): void {
    this.#manifest = manifestFileName(this.#nextFile++);
    this.#manifestBytes = 0;
    this.#disk.write(join(this.directory, this.#manifest), new Uint8Array());
    const head = new ByteWriter().varint(Tag.logNumber).varint(0).varint(Tag.nextFileNumber).varint(100_000);
    this.#append(head.varint(Tag.lastSequence).varint(this.#sequence).bytes());
    if (this.#tables.length > 0) this.#append(encodeEdit({ add: this.#tables, remove: [] }, this.#hasUids));
    this.#disk.write(join(this.directory, 'CURRENT.dbtmp'), Buffer.from(`${this.#manifest}\n`));
    this.#disk.rename(join(this.directory, 'CURRENT.dbtmp'), join(this.directory, 'CURRENT'));
  }

  #log(edit: { readonly add: readonly Table[]; readonly remove: readonly Table[] }): void {
    this.#append(encodeEdit(edit, this.#hasUids));
    if (this.#manifestBytes > MANIFEST_BYTES_MAX) this.rollManifest();
  }

  #append(record: Uint8Array): void {
    const bytes = frameRecords([record]);
    this.#manifestBytes += bytes.byteLength;
    this.#disk.append(join(this.directory, this.#manifest), bytes);
  }
}

/** What lies in a database's directory; undefined where there is no CURRENT. */
export function readDatabase(
  disk: MemoryDisk,
  directory: string,
  contents: TableContents,
): { readonly tables: readonly Table[]; readonly numberMax: number; readonly sequence: bigint } | undefined {
  const current = disk.read(join(directory, 'CURRENT'));
  if (current === undefined) return undefined;
  const replay = new ManifestReplay();
  replay.feed(disk.read(join(directory, Buffer.from(current).toString().trim())) ?? new Uint8Array());
  const live = replay.live();
  if (live === undefined) throw new Error(`${directory} has a manifest that says nothing`);
  const tables = live.tables.map(({ number, sizeBytes, largestSequence }) => {
    const path = join(directory, tableFileName(number));
    const bytes = disk.read(path);
    if (bytes?.byteLength !== sizeBytes)
      throw new Error(`${path} has ${bytes?.byteLength} bytes, its manifest says ${sizeBytes}`);
    return { number, sizeBytes, ...contents.of(bytes), sequence: largestSequence };
  });
  const numbers = disk.entries(directory, 'listed').map(({ name }) => {
    const parsed = parseFileName(name);
    return parsed !== undefined && 'number' in parsed ? parsed.number : 0;
  });
  return {
    tables,
    numberMax: Math.max(0, ...numbers),
    sequence: tables.reduce((most, { sequence }) => (sequence > most ? sequence : most), 0n),
  };
}

/** The last change of every key. */
export function mergeTables(tables: readonly (readonly Change[])[]): ReadonlyMap<string, Change> {
  const merged = new Map<string, Change>();
  for (const changes of tables) {
    for (const change of changes)
      if ((merged.get(change.key)?.offset ?? -1) <= change.offset) merged.set(change.key, change);
  }
  return merged;
}

function encodeEdit(
  edit: { readonly add: readonly Table[]; readonly remove: readonly Table[] },
  hasUids: boolean,
): Uint8Array {
  const writer = new ByteWriter();
  for (const { number } of edit.remove) writer.varint(Tag.deletedFile).varint(0).varint(number);
  for (const { number, sizeBytes, sequence, code } of edit.add) {
    const key = Buffer.concat([Buffer.from('k'), Buffer.alloc(8)]);
    writer.varint(Tag.newFile4).varint(0).varint(number).varint(sizeBytes);
    writer.slice(key).slice(key).varint(sequence).varint(sequence);
    if (hasUids) writer.varint(UNIQUE_ID).slice(uidOf(code));
    writer.varint(END_OF_FILE);
  }
  return writer.bytes();
}

function uidOf(code: number): Uint8Array {
  const uid = Buffer.alloc(16, 0x5a);
  uid.writeUInt32LE(code);
  return uid;
}

/** Tags of what may follow a table in an edit (db/version_edit.h). */
const UNIQUE_ID = 12;
const END_OF_FILE = 1;
