import type { S3Operation, S3Request } from './request.ts';

/** What goes wrong, at which requests. The first script that matches a request and has a turn left applies. */
export type S3FaultScript = S3FaultScope & S3Fault;

interface S3FaultScope {
  /** Every one, if left out. */
  readonly operation?: S3Operation;
  /** Tried on the key, for a list on the prefix. Every one, if left out. */
  readonly key?: RegExp;
  /** This many requests that match go well first; 0 if left out. */
  readonly skip?: number;
  /** And this many then fail; 1 if left out, `Infinity` for all to come. */
  readonly times?: number;
}

export type S3Fault =
  /** An error instead, before anything was done, or `after` all was done: 503 SlowDown, 400 ExpiredToken, 403 … */
  | {
      readonly kind: 'answer';
      readonly status: number;
      readonly code: string;
      readonly message?: string;
      readonly headers?: Readonly<Record<string, string>>;
      readonly after?: boolean;
    }
  /** The connection is reset: before the request is read, once so many bytes of its body came, or when all was done. */
  | { readonly kind: 'reset'; readonly at: 'before' | 'after' | { readonly receivedBytes: number } }
  /** Nothing is said any more: before anything was done, or when all was done. */
  | { readonly kind: 'silence'; readonly at: 'before' | 'after' }
  /** The answer comes so much later. */
  | { readonly kind: 'delay'; readonly ms: number }
  /** Get: the connection ends after so many bytes of the body. */
  | { readonly kind: 'truncate'; readonly keptBytes: number }
  /** Get: after so many bytes no more come. */
  | { readonly kind: 'stall'; readonly keptBytes: number }
  /** Get: the body comes in pieces of `pieceBytes`, one every `everyMs`. */
  | { readonly kind: 'slow'; readonly pieceBytes: number; readonly everyMs: number }
  /** Get: one bit of the body is wrong. */
  | { readonly kind: 'flip' }
  /** Get: a body without announced length, as proxies make them. */
  | { readonly kind: 'chunked' }
  /** The connection ends in peace after the answer. */
  | { readonly kind: 'close' }
  /** List: as it was before so many changes. */
  | { readonly kind: 'stale'; readonly changesAgo: number }
  /** The bucket lies in another region. */
  | { readonly kind: 'redirect'; readonly region: string }
  /** Put: 200, but the object was stored as it came, and nothing is said of encryption. */
  | { readonly kind: 'store-plain' };

/** The scripts in force and how often each had its turn. */
export class FaultScripts {
  readonly #entries: { readonly script: S3FaultScript; matches: number; failures: number }[] = [];

  add(script: S3FaultScript): void {
    this.#entries.push({ script, matches: 0, failures: 0 });
  }

  clear(): void {
    this.#entries.length = 0;
  }

  next({ operation, key, query }: S3Request): S3Fault | undefined {
    const name = operation === 'ListObjectsV2' ? (query.get('prefix') ?? '') : key;
    for (const entry of this.#entries) {
      const { script } = entry;
      if ((script.operation ?? operation) !== operation || script.key?.test(name) === false) continue;
      entry.matches++;
      if (entry.matches <= (script.skip ?? 0) || entry.failures >= (script.times ?? 1)) continue;
      entry.failures++;
      return script;
    }
    return undefined;
  }
}
