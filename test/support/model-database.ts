import { join } from 'node:path';
import { ByteWriter } from '../../src/rocksdb/coding.ts';
import { manifestFileName, tableFileName } from '../../src/rocksdb/file-name.ts';
import { frameRecords } from '../../src/rocksdb/record-writer.ts';
import { Tag } from '../../src/rocksdb/version-edit.ts';
import { type ApplicationFiles, nodeApplicationFiles } from './application-files.ts';

/** A table of the model: its bytes are its number, repeated. */
export interface ModelTable {
  readonly number: number;
  readonly sizeBytes?: number;
  readonly largestSequence?: bigint;
  readonly uid?: Uint8Array;
}

interface Options {
  readonly columnFamilies?: readonly string[];
  /** Default: the real ones. */
  readonly files?: ApplicationFiles;
}

/**
 * A directory that looks like a RocksDB to whoever reads its names, CURRENT and manifest, changed in the order in
 * which RocksDB changes one: table, edit, unlink; new manifest, then CURRENT by rename.
 */
export class ModelDatabase {
  readonly directory: string;
  readonly #files: ApplicationFiles;
  #manifestNumber = 4;
  #manifestBytes = 0;
  #live = new Map<number, ModelTable>();

  constructor(directory: string, options: Options = {}) {
    this.directory = directory;
    this.#files = options.files ?? nodeApplicationFiles;
    this.#files.makeDirectory(directory);
    this.#startManifest(options.columnFamilies ?? []);
  }

  get manifest(): string {
    return manifestFileName(this.#manifestNumber);
  }

  path(table: number): string {
    return join(this.directory, tableFileName(table));
  }

  /** Writes tables, logs them, then unlinks others: a flush, or a compaction where something is removed. */
  change(edit: { readonly add?: readonly ModelTable[]; readonly remove?: readonly number[] }): void {
    for (const table of edit.add ?? []) this.writeTable(table);
    this.logEdit(edit);
    for (const number of edit.remove ?? []) this.#files.unlink(this.path(number));
  }

  writeTable(table: ModelTable): void {
    this.#files.write(this.path(table.number), new Uint8Array(table.sizeBytes ?? 100).fill(table.number));
  }

  /** The edit alone. */
  logEdit(edit: { readonly add?: readonly ModelTable[]; readonly remove?: readonly number[] }): void {
    for (const number of edit.remove ?? []) this.#live.delete(number);
    for (const table of edit.add ?? []) this.#live.set(table.number, table);
    this.#append(encodeEdit(edit));
  }

  /** A new manifest with the whole state, then CURRENT, then the old one goes. */
  rollManifest(): void {
    const old = join(this.directory, this.manifest);
    this.#manifestNumber += 1;
    const tables = [...this.#live.values()];
    this.#live.clear();
    this.#startManifest([]);
    this.logEdit({ add: tables });
    this.#files.unlink(old);
  }

  #startManifest(columnFamilies: readonly string[]): void {
    this.#manifestBytes = 0;
    const created = columnFamilies.map((name, index) =>
      new ByteWriter()
        .varint(Tag.columnFamily)
        .varint(index + 1)
        .varint(Tag.columnFamilyAdd)
        .slice(Buffer.from(name))
        .bytes(),
    );
    this.#files.write(join(this.directory, this.manifest), '');
    this.#append(
      new ByteWriter()
        .varint(Tag.logNumber)
        .varint(0)
        .varint(Tag.nextFileNumber)
        .varint(1000)
        .varint(Tag.lastSequence)
        .varint(0)
        .bytes(),
    );
    for (const record of created) this.#append(record);
    this.#files.write(join(this.directory, 'CURRENT.dbtmp'), `${this.manifest}\n`);
    this.#files.rename(join(this.directory, 'CURRENT.dbtmp'), join(this.directory, 'CURRENT'));
  }

  /** Framed as the continuation of what is there: small models stay within the first block. */
  #append(record: Uint8Array): void {
    const bytes = frameRecords([record]);
    this.#manifestBytes += bytes.byteLength;
    if (this.#manifestBytes > 32_000) throw new Error('the model keeps its manifest within one block');
    this.#files.append(join(this.directory, this.manifest), bytes);
  }
}

function encodeEdit(edit: { readonly add?: readonly ModelTable[]; readonly remove?: readonly number[] }): Uint8Array {
  const writer = new ByteWriter();
  for (const number of edit.remove ?? []) writer.varint(Tag.deletedFile).varint(0).varint(number);
  for (const table of edit.add ?? []) {
    const key = Buffer.concat([Buffer.from('k'), Buffer.alloc(8)]);
    const sequence = table.largestSequence ?? BigInt(table.number);
    writer
      .varint(Tag.newFile4)
      .varint(0)
      .varint(table.number)
      .varint(table.sizeBytes ?? 100);
    writer.slice(key).slice(key).varint(sequence).varint(sequence);
    if (table.uid !== undefined) writer.varint(12).slice(table.uid);
    writer.varint(1);
  }
  return writer.bytes();
}
