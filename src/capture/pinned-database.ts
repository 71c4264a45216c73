import { join } from 'node:path';
import { mapBounded } from '../base/concurrency.ts';
import { Failure, isFailure } from '../base/failure.ts';
import { type FileAccess, type FileFacts, type HeldPath, readWhole } from '../base/file-access.ts';
import { blobFileName, parseFileName, tableFileName } from '../rocksdb/file-name.ts';
import type { LiveFiles } from '../rocksdb/live-files.ts';
import type { FamilySight } from '../streams/family-offsets.ts';
import { keepsOwnOffsets, OFFSETS_COLUMN_FAMILY } from '../streams/offsets.ts';
import type { DatabaseSight } from '../streams/quality.ts';
import type { DatabaseDirectory } from '../streams/state-directory.ts';
import type { ManifestTail, TailState } from './manifest-tail.ts';
import { readOwnOffsets } from './own-offsets.ts';

/** What tells one table from every other without reading it. */
export interface TableIdentity {
  /** Below the task directory. */
  readonly path: string;
  readonly sizeBytes: number;
  /** RocksDB's unique id, where the manifest carries one. */
  readonly uid: string | undefined;
  /** undefined for a blob file. */
  readonly columnFamily: string | undefined;
  /** Of the file on this volume; the change time cannot be set by anybody. */
  readonly facts: FileFacts;
}

/** A live table or blob file; `source` reads it, and is undefined for one that the repository already has. */
export interface PinnedTable extends TableIdentity {
  readonly source: PinnedSource | undefined;
}

/** The bytes of a pinned file, whatever happens to its name. */
export interface PinnedSource {
  readonly path: string;
  readonly sizeBytes: number;
  read(buffer: Uint8Array, position: number): Promise<number>;
  /** Failure `moved` if the file was changed in place since it was pinned. */
  assertUnchanged(): Promise<void>;
}

export type IsKnown = (table: TableIdentity) => boolean;

export type PinResult =
  | { readonly kind: 'pinned' }
  | { readonly kind: 'no-current' }
  /** Something moved while it was pinned; trying again makes progress, unless the reason stays another one than `changing`. */
  | { readonly kind: 'again'; readonly reason: 'changing' | 'damaged' | 'incomplete'; readonly why: string };

/** Files that are opened at a time while a live set is pinned. */
const OPEN_CONCURRENCY = 8;
/** An OPTIONS file has some 10 kB for each column family. */
const OPTIONS_BYTES_MAX = 4 * 1024 * 1024;

/**
 * One database, held: its directory, its manifest and every live file that the repository lacks. What is pinned stays
 * readable when the application unlinks it.
 */
export class PinnedDatabase implements AsyncDisposable {
  readonly #files: FileAccess;
  readonly #where: DatabaseDirectory & { readonly taskPath: string };
  readonly #directory: HeldPath;
  readonly #tail: ManifestTail;
  #pins = new Map<string, { readonly table: PinnedTable; readonly held: HeldPath | undefined }>();
  #read: Extract<TailState, { kind: 'read' }> | undefined;

  private constructor(
    files: FileAccess,
    where: DatabaseDirectory & { readonly taskPath: string },
    parts: { readonly directory: HeldPath; readonly tail: ManifestTail },
  ) {
    this.#files = files;
    this.#where = where;
    this.#directory = parts.directory;
    this.#tail = parts.tail;
  }

  /** Undefined where the directory is no longer the one that was listed. */
  static async open(
    files: FileAccess,
    where: DatabaseDirectory & { readonly taskPath: string },
    tail: ManifestTail,
  ): Promise<PinnedDatabase | undefined> {
    const directory = await files.hold(join(where.taskPath, where.path));
    if (directory === undefined) return undefined;
    if (directory.facts.kind === 'directory' && isSameInode(directory.facts, where.facts)) {
      return new PinnedDatabase(files, where, { directory, tail });
    }
    await directory[Symbol.asyncDispose]();
    return undefined;
  }

  /** One attempt to pin the live set as it is now. What an earlier attempt pinned is kept if it is still live. */
  async pin(isKnown: IsKnown, signal: AbortSignal): Promise<PinResult> {
    const before = this.#read;
    const state = await this.#tail.refresh();
    if (state.kind === 'no-current') return state;
    if (state.kind === 'unsettled') {
      await this.#release();
      return { kind: 'again', reason: state.reason, why: state.why };
    }
    // File numbers of another manifest may stand for other files: nothing that was pinned under them is kept.
    if (before !== undefined && before.generation !== state.generation) await this.#release();
    this.#read = state;

    const wanted = liveNames(state.live);
    for (const [name, pin] of this.#pins) {
      if (wanted.has(name)) continue;
      this.#pins.delete(name);
      await pin.held?.[Symbol.asyncDispose]();
    }
    const missing = [...wanted].filter(([name]) => !this.#pins.has(name));
    const troubles = await mapBounded(missing, { limit: OPEN_CONCURRENCY, signal }, ([name, live]) =>
      this.#pinFile(name, live, isKnown),
    );
    const trouble = troubles.find((one) => one !== undefined);
    if (trouble?.kind === 'resized') await this.#release();
    if (trouble !== undefined) {
      // A file that a manifest names and that is gone was deleted by a later edit; where none comes, it is lost.
      const stands = before?.generation === state.generation && before.trustedBytes === state.trustedBytes;
      return { kind: 'again', reason: stands ? 'incomplete' : 'changing', why: trouble.why };
    }
    if (!(await this.#tail.isLinked())) {
      await this.#release();
      return { kind: 'again', reason: 'changing', why: `${state.name} was replaced` };
    }
    return { kind: 'pinned' };
  }

  /** Whether the path still leads to the directory that is held. */
  async isInPlace(): Promise<boolean> {
    const facts = await this.#files.stat(join(this.#where.taskPath, this.#where.path));
    return facts !== undefined && isSameInode(facts, this.#directory.facts);
  }

  /** What the rules of quality look at. Failure `moved` where a table of offsets was changed in place. */
  async sight(): Promise<DatabaseSight> {
    const { name, live } = this.#settled();
    return {
      store: this.#where.store,
      path: this.#where.path,
      manifest: name,
      columnFamilies: live.columnFamilies,
      greatestSequence: live.greatestSequence,
      newestDropped: live.newestDropped,
      tables: this.tables().map(({ facts }) => ({ mtimeNs: facts.mtimeNs, birthtimeNs: facts.birthtimeNs })),
      bornNs: this.#directory.facts.birthtimeNs,
      own: keepsOwnOffsets(live.columnFamilies) ? await this.#readOwnOffsets() : undefined,
    };
  }

  get columnFamilies(): readonly string[] {
    return this.#settled().live.columnFamilies;
  }

  tables(): readonly PinnedTable[] {
    return [...this.#pins.values()].map((pin) => pin.table);
  }

  /** The small files of the image: the manifest as it was replayed, a CURRENT made for it, the newest OPTIONS. */
  async smallFiles(): Promise<readonly { readonly path: string; readonly bytes: Uint8Array }[]> {
    const { name } = this.#settled();
    const options = await this.#readOptions();
    const small = [
      { path: name, bytes: await this.#tail.image() },
      { path: 'CURRENT', bytes: Buffer.from(`${name}\n`) },
      ...(options === undefined ? [] : [options]),
    ];
    return small.map(({ path, bytes }) => ({ path: `${this.#where.path}/${path}`, bytes }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#release();
    await this.#directory[Symbol.asyncDispose]();
  }

  #settled(): Extract<TailState, { kind: 'read' }> {
    if (this.#read === undefined) throw new Error('a database was asked for its content before it was pinned');
    return this.#read;
  }

  async #pinFile(
    name: string,
    live: LiveFile,
    isKnown: IsKnown,
  ): Promise<{ readonly kind: 'missing' | 'resized'; readonly why: string } | undefined> {
    const path = `${this.#where.path}/${name}`;
    const absolute = join(this.#where.taskPath, path);
    const identify = (facts: FileFacts): TableIdentity => ({ path, ...live, facts });
    // A file that the repository is known to have by its unique id needs a stamp, but no descriptor.
    const facts = await this.#files.stat(absolute);
    if (facts === undefined) return { kind: 'missing', why: `${path} is gone` };
    if (facts.kind !== 'file' || facts.sizeBytes !== live.sizeBytes) return resized(path, facts, live);
    if (isKnown(identify(facts)) && !holdsOffsets(live)) {
      this.#pins.set(name, { table: { ...identify(facts), source: undefined }, held: undefined });
      return undefined;
    }
    const held = await this.#files.hold(absolute);
    if (held === undefined) return { kind: 'missing', why: `${path} is gone` };
    if (held.facts.kind !== 'file' || held.facts.sizeBytes !== live.sizeBytes) {
      await held[Symbol.asyncDispose]();
      return resized(path, held.facts, live);
    }
    // Of a known one only the offsets are read.
    const source = isKnown(identify(held.facts)) ? undefined : sourceOf(held, path);
    this.#pins.set(name, { table: { ...identify(held.facts), source }, held });
    return undefined;
  }

  async #readOwnOffsets(): Promise<FamilySight> {
    const pins = [...this.#pins.values()];
    const tables = pins.flatMap(({ table, held }) => {
      if (held === undefined || !holdsOffsets(table)) return [];
      const source = sourceOf(held, table.path);
      return [{ ...source, mtimeNs: table.facts.mtimeNs }];
    });
    return readOwnOffsets({ path: this.#where.path, hasData: tables.length < pins.length }, tables);
  }

  /** The newest OPTIONS file; RocksDB opens without it, so one that vanishes under us is left out. */
  async #readOptions(): Promise<{ readonly path: string; readonly bytes: Uint8Array } | undefined> {
    const directory = join(this.#where.taskPath, this.#where.path);
    const names = (await this.#files.list(directory)) ?? [];
    const options = names.flatMap((name) => {
      const parsed = parseFileName(name);
      return parsed?.kind === 'options' ? [{ name, number: parsed.number }] : [];
    });
    for (const { name } of options.sort((left, right) => right.number - left.number)) {
      const read = await readWhole(this.#files, join(directory, name), OPTIONS_BYTES_MAX);
      if (read !== undefined) return { path: name, bytes: read.bytes };
    }
    return undefined;
  }

  async #release(): Promise<void> {
    const pins = this.#pins;
    this.#pins = new Map();
    for (const pin of pins.values()) await pin.held?.[Symbol.asyncDispose]();
  }
}

/** Opens one live table by its path, for sending it ahead; undefined where it is gone or is another file than was looked at. */
export async function openTable(
  files: FileAccess,
  taskPath: string,
  table: { readonly path: string; readonly facts: FileFacts },
): Promise<(PinnedSource & AsyncDisposable & { readonly facts: FileFacts }) | undefined> {
  const held = await files.hold(join(taskPath, table.path));
  if (held === undefined) return undefined;
  if (!isSameFile(held.facts, table.facts)) {
    await held[Symbol.asyncDispose]();
    return undefined;
  }
  return { ...sourceOf(held, table.path), facts: held.facts, [Symbol.asyncDispose]: () => held[Symbol.asyncDispose]() };
}

function isSameFile(left: FileFacts, right: FileFacts): boolean {
  return isSameInode(left, right) && left.sizeBytes === right.sizeBytes && left.mtimeNs === right.mtimeNs;
}

function holdsOffsets({ columnFamily }: Pick<TableIdentity, 'columnFamily'>): boolean {
  return columnFamily === OFFSETS_COLUMN_FAMILY;
}

type LiveFile = Pick<TableIdentity, 'sizeBytes' | 'uid' | 'columnFamily'>;

/** The live files of a database by name, youngest tables first: these are the next to be compacted away. */
function liveNames(live: LiveFiles): ReadonlyMap<string, LiveFile> {
  const tables = [...live.tables].sort((left, right) => left.level - right.level || right.number - left.number);
  return new Map<string, LiveFile>([
    ...tables.map(
      ({ number, sizeBytes, uid, columnFamily }) => [tableFileName(number), { sizeBytes, uid, columnFamily }] as const,
    ),
    ...live.blobFiles.map(
      ({ number, sizeBytes }) =>
        [blobFileName(number), { sizeBytes, uid: undefined, columnFamily: undefined }] as const,
    ),
  ]);
}

export function isSameInode(left: FileFacts, right: FileFacts): boolean {
  return left.inode === right.inode && left.device === right.device;
}

function sourceOf(held: HeldPath, path: string): PinnedSource {
  return {
    path,
    sizeBytes: held.facts.sizeBytes,
    read: (buffer, position) => unlessUnreadable(path, () => held.read(buffer, position)),
    assertUnchanged: async () => {
      const now = await held.stat();
      if (now.sizeBytes === held.facts.sizeBytes && now.mtimeNs === held.facts.mtimeNs) return;
      throw new Failure('moved', `cannot use ${path}: it was changed in place while it was read`);
    },
  };
}

/** What a disk cannot read any more concerns this task alone: it begins again, and is left out in the end. */
async function unlessUnreadable<T>(path: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (!isFailure(error, 'unavailable')) throw error;
    throw new Failure('moved', `cannot use ${path}: ${error.message}`, { cause: error });
  }
}

function resized(path: string, facts: FileFacts, live: LiveFile): { readonly kind: 'resized'; readonly why: string } {
  return { kind: 'resized', why: `${path} has ${facts.sizeBytes} bytes, its manifest says ${live.sizeBytes}` };
}
