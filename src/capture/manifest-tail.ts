import { join } from 'node:path';
import { isFailure } from '../base/failure.ts';
import { type FileAccess, type HeldPath, readHeld, readWhole } from '../base/file-access.ts';
import { parseCurrent } from '../rocksdb/file-name.ts';
import { type LiveFiles, ManifestReplay } from '../rocksdb/live-files.ts';

/** What the manifest of a database says at this moment. */
export type TailState =
  | {
      readonly kind: 'read';
      readonly name: string;
      /** Grows whenever another manifest was opened: file numbers of one mean nothing in another. */
      readonly generation: number;
      /** Grows with every edit that was read. */
      readonly trustedBytes: number;
      readonly live: LiveFiles;
    }
  /** There is no CURRENT: the database is being made, or deleted. */
  | { readonly kind: 'no-current' }
  /** It is between two states, and looking again makes progress, or it is damaged for good. */
  | { readonly kind: 'unsettled'; readonly reason: 'changing' | 'damaged'; readonly why: string };

/** Bytes of a manifest that are read and replayed at a time. */
const READ_BYTES = 1024 * 1024;
/** CURRENT holds one name; what is longer is none. */
const CURRENT_BYTES_MAX = 64;
/** Up to this length the replayed prefix itself is captured; a longer one is written anew from its edits. */
const PREFIX_BYTES_MAX = 1024 * 1024;

/**
 * The manifest of one database, kept open between looks, so that each reads only what was appended since. The
 * application rolls, replaces and deletes it as it likes; then the next look begins again.
 */
export class ManifestTail implements AsyncDisposable {
  readonly #files: FileAccess;
  readonly #directory: string;
  #generation = 0;
  #open: { readonly name: string; readonly held: HeldPath; readonly replay: ManifestReplay } | undefined;

  constructor(files: FileAccess, databaseDirectory: string) {
    this.#files = files;
    this.#directory = databaseDirectory;
  }

  async refresh(): Promise<TailState> {
    const current = await readWhole(this.#files, join(this.#directory, 'CURRENT'), CURRENT_BYTES_MAX);
    if (current === undefined) return { kind: 'no-current' };
    try {
      return await this.#follow(parseCurrent(current.bytes));
    } catch (error) {
      if (!isFailure(error, 'corrupt')) throw error;
      await this.forget();
      return { kind: 'unsettled', reason: 'damaged', why: error.message };
    }
  }

  /** Whether the manifest that was read is still the one under its name. */
  async isLinked(): Promise<boolean> {
    if (this.#open === undefined) return false;
    const facts = await this.#files.stat(join(this.#directory, this.#open.name));
    return facts?.inode === this.#open.held.facts.inode && facts.device === this.#open.held.facts.device;
  }

  /** The bytes of a manifest that opens to the state of the last refresh. */
  async image(): Promise<Uint8Array> {
    if (this.#open === undefined) throw new Error('a manifest was asked for before it was read');
    const { held, replay } = this.#open;
    if (replay.trustedBytes > PREFIX_BYTES_MAX) return replay.compact();
    return readHeld(held, 0, replay.trustedBytes);
  }

  /** Lets the manifest go; the next refresh reads it from its beginning. */
  async forget(): Promise<void> {
    const open = this.#open;
    this.#open = undefined;
    await open?.held[Symbol.asyncDispose]();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.forget();
  }

  async #follow(name: string): Promise<TailState> {
    if (this.#open === undefined || this.#open.name !== name || !(await this.isLinked())) {
      await this.forget();
      const held = await this.#files.hold(join(this.#directory, name));
      if (held === undefined) return { kind: 'unsettled', reason: 'changing', why: `${name} is gone` };
      this.#open = { name, held, replay: new ManifestReplay() };
      this.#generation += 1;
    }
    const { held, replay } = this.#open;
    for (;;) {
      const appended = await readHeld(held, replay.fedBytes, READ_BYTES);
      if (appended.byteLength === 0) break;
      replay.feed(appended);
    }
    const live = replay.live();
    if (live === undefined) return { kind: 'unsettled', reason: 'damaged', why: `${name} is incomplete` };
    return { kind: 'read', name, generation: this.#generation, trustedBytes: replay.trustedBytes, live };
  }
}

/** The manifests of a volume, kept between captures. */
export class ManifestTails implements AsyncDisposable {
  readonly #files: FileAccess;
  readonly #tails = new Map<string, ManifestTail>();

  constructor(files: FileAccess) {
    this.#files = files;
  }

  of(databaseDirectory: string): ManifestTail {
    const known = this.#tails.get(databaseDirectory);
    if (known !== undefined) return known;
    const tail = new ManifestTail(this.#files, databaseDirectory);
    this.#tails.set(databaseDirectory, tail);
    return tail;
  }

  /** Lets go of the databases of a task that are not among these paths below it. */
  async keepOnly(taskPath: string, databases: readonly string[]): Promise<void> {
    const kept = new Set(databases.map((path) => join(taskPath, path)));
    for (const [directory, tail] of this.#tails) {
      if (!directory.startsWith(`${taskPath}/`) || kept.has(directory)) continue;
      this.#tails.delete(directory);
      await tail.forget();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const tail of this.#tails.values()) await tail.forget();
    this.#tails.clear();
  }
}
