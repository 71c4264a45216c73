/** An object as it was put. */
export interface StoredObject {
  readonly key: string;
  readonly bytes: Uint8Array;
  readonly etag: string;
  /** Whole seconds, as S3 knows them. */
  readonly modifiedMs: number;
  /** What came with the put and is told again: encryption, checksums, metadata. */
  readonly headers: Readonly<Record<string, string>>;
}

type Change = { readonly key: string; readonly object: StoredObject | undefined };

export interface ListQuery {
  readonly prefix: string;
  /** The last key that the page before it gave, or where to begin. */
  readonly after: string;
  readonly keysMax: number;
  /** As it was before so many changes. */
  readonly changesAgo: number;
}

export interface ListedPage {
  readonly objects: readonly StoredObject[];
  readonly isTruncated: boolean;
}

/** Objects by key, with every change they went through. */
export class Bucket {
  readonly #objects = new Map<string, StoredObject>();
  readonly #changes: Change[] = [];

  keys(): readonly string[] {
    return [...this.#objects.keys()].sort();
  }

  find(key: string): StoredObject | undefined {
    return this.#objects.get(key);
  }

  change(key: string, object: StoredObject | undefined): void {
    this.#changes.push({ key, object });
    apply(this.#objects, { key, object });
  }

  /** In the order of the keys' bytes. */
  list({ prefix, after, keysMax, changesAgo }: ListQuery): ListedPage {
    const found = [...this.#objectsBefore(changesAgo).values()]
      .filter(({ key }) => key.startsWith(prefix) && Buffer.compare(Buffer.from(key), Buffer.from(after)) > 0)
      .sort((a, b) => Buffer.compare(Buffer.from(a.key), Buffer.from(b.key)));
    return { objects: found.slice(0, keysMax), isTruncated: found.length > keysMax };
  }

  #objectsBefore(changesAgo: number): ReadonlyMap<string, StoredObject> {
    if (changesAgo === 0) return this.#objects;
    const objects = new Map<string, StoredObject>();
    for (const change of this.#changes.slice(0, -changesAgo)) apply(objects, change);
    return objects;
  }
}

function apply(objects: Map<string, StoredObject>, { key, object }: Change): void {
  if (object === undefined) objects.delete(key);
  else objects.set(key, object);
}
