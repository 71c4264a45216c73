import type { FileFacts } from '../base/file-access.ts';
import type { StoredFile } from '../repository/document.ts';

/** What only one file on this volume can have. */
type PlaceFacts = Pick<FileFacts, 'device' | 'inode' | 'sizeBytes' | 'mtimeNs' | 'ctimeNs'>;

/** What tells a table on this volume from every other. */
export interface TableIdentity {
  readonly sizeBytes: number;
  readonly uid: string | undefined;
  readonly facts: PlaceFacts;
}

/** A stored file without its place: the same bytes may lie under several paths. */
export type StoredContent = Omit<StoredFile, 'path'>;

/**
 * The tables that the repository has, as far as this writer may lean on them: those of the documents that it goes on
 * from and those that it sent itself. Recognised by RocksDB's unique id, else, on this volume, by what only this very
 * file can have, else by content; never by name and size, for RocksDB gives the same numbers to other files.
 */
export class KnownTables {
  readonly #byUid = new Map<string, StoredContent>();
  readonly #byPlace = new Map<string, StoredContent>();
  readonly #byHash = new Map<string, StoredContent>();

  /** Takes what a document names. */
  learn(file: StoredFile): void {
    this.#remember(file);
  }

  /** Takes a table that lies in this place, as it was sent or installed. */
  learnAt(facts: PlaceFacts, content: StoredContent): void {
    this.#byPlace.set(placeOf(facts), content);
    this.#remember(content);
  }

  /** Forgets what lies in other objects than these: what no document names any more may be collected. */
  keepOnly(files: Iterable<Pick<StoredFile, 'objects'>>): void {
    const named = new Set([...files].flatMap(({ objects }) => objects.map(({ key }) => key)));
    for (const known of [this.#byUid, this.#byPlace, this.#byHash]) {
      for (const [key, { objects }] of known) if (!objects.every((object) => named.has(object.key))) known.delete(key);
    }
  }

  /** Forgets what lies in one of these objects: they are missing or wrong. */
  forgetObjects(keys: ReadonlySet<string>): void {
    if (keys.size === 0) return;
    for (const known of [this.#byUid, this.#byPlace, this.#byHash]) {
      for (const [key, { objects }] of known) if (objects.some((object) => keys.has(object.key))) known.delete(key);
    }
  }

  find(table: TableIdentity): StoredContent | undefined {
    const byUid = table.uid === undefined ? undefined : this.#byUid.get(`${table.uid} ${table.sizeBytes}`);
    return byUid ?? this.#byPlace.get(placeOf(table.facts));
  }

  findByHash(sha256: string, sizeBytes: number): StoredContent | undefined {
    return this.#byHash.get(`${sha256} ${sizeBytes}`);
  }

  #remember(content: StoredContent): void {
    const { uid, sizeBytes, sha256, objects } = content;
    const known = { uid, sizeBytes, sha256, objects };
    if (uid !== undefined) this.#byUid.set(`${uid} ${sizeBytes}`, known);
    this.#byHash.set(`${sha256} ${sizeBytes}`, known);
  }
}

/** A change time cannot be set by anybody: a file that was written since has another. */
function placeOf(facts: PlaceFacts): string {
  return [facts.device, facts.inode, facts.sizeBytes, facts.mtimeNs, facts.ctimeNs].join(' ');
}
