/** One record of a changelog, under which it is told from every other of every history. */
export interface Change {
  readonly history: number;
  readonly offset: number;
  readonly key: string;
  /** The segment that it belongs to; 0 where the store has none. */
  readonly segment: number;
  /** Undefined for a deletion. */
  readonly value: number | undefined;
  readonly atMs: number;
}

/** A deletion is in the log for so long; then nobody who replays it hears of it (`delete.retention.ms`). */
const DELETE_RETENTION_MS = 24 * 3_600_000;
/** So many segments are kept, the newest one included. */
const SEGMENTS_KEPT = 2;

/** What Kafka knows of one store of one task: the truth that every copy is compared with. */
export class Changelog {
  readonly store: string;
  #history = 1;
  #committed: Change[] = [];
  /** Of the transaction that is open. */
  #open: Change[] = [];
  /** By key, in order. */
  #byKey = new Map<string, Change[]>();
  #end = 0;
  #segment = 1;

  constructor(store: string) {
    this.store = store;
  }

  get history(): number {
    return this.#history;
  }

  /** The offset after the last record that was ever written. */
  get end(): number {
    return this.#end;
  }

  /** The last offset that a reader of committed records has seen; -1 where there is none. */
  get lastCommitted(): number {
    return this.#committed.at(-1)?.offset ?? -1;
  }

  get newestSegment(): number {
    return this.#segment;
  }

  append(record: {
    readonly key: string;
    readonly segment: number;
    readonly value: number | undefined;
    readonly atMs: number;
  }): Change {
    const change = { ...record, history: this.#history, offset: this.#end };
    this.#end += 1;
    this.#open.push(change);
    return change;
  }

  /** Before that no log forgets anything of a transaction. */
  commit(nowMs: number): void {
    for (const written of this.#open) {
      const change = { ...written, atMs: nowMs };
      this.#committed.push(change);
      this.#segment = Math.max(this.#segment, change.segment);
      const ofKey = this.#byKey.get(change.key);
      if (ofKey === undefined) this.#byKey.set(change.key, [change]);
      else ofKey.push(change);
    }
    this.#open = [];
  }

  abort(): void {
    this.#open = [];
  }

  get hasOpen(): boolean {
    return this.#open.length > 0;
  }

  /** The topic is deleted and made anew. */
  reset(): void {
    this.#history += 1;
    this.#committed = [];
    this.#open = [];
    this.#byKey = new Map();
    this.#end = 0;
    this.#segment = 1;
  }

  isKept(segment: number): boolean {
    return segment === 0 || segment > this.#segment - SEGMENTS_KEPT;
  }

  /** What whoever stands at `offset` reads now. */
  after(offset: number, nowMs: number): readonly Change[] {
    const isThere = (change: Change): boolean => change.offset > offset && this.isKept(change.segment);
    return this.#committed.filter((change) => isThere(change) && !this.#isCompacted(change, nowMs));
  }

  /** A deletion goes only once all is gone that it deletes. */
  #isCompacted({ key, offset }: Change, nowMs: number): boolean {
    return this.#byKey.get(key)?.some((one) => one.offset >= offset && isForgotten(one, nowMs)) === true;
  }

  /** The last change of each key that there is or was, of what is kept. */
  *newest(): Generator<Change> {
    for (const ofKey of this.#byKey.values()) {
      const last = ofKey.at(-1);
      if (last !== undefined && this.isKept(last.segment)) yield last;
    }
  }

  /**
   * What is wrong with contents that claim to hold everything up to `offset`, or undefined. They may be ahead of it, with what was
   * committed since, unless they are to be `exact`.
   */
  findFault(
    contents: ReadonlyMap<string, Change>,
    claim: { readonly offset: number; readonly isExact: boolean; readonly nowMs: number },
  ): string | undefined {
    const { offset, isExact, nowMs } = claim;
    if (offset >= this.#end) return `${this.store} is at ${offset}, its changelog ends at ${this.#end}`;
    for (const held of contents.values()) {
      if (held.history !== this.#history)
        return `${this.store} holds ${describe(held)}, now is history ${this.#history}`;
      if (!this.isKept(held.segment)) continue;
      if (isExact && held.offset > offset)
        return `${this.store} holds ${describe(held)}, which is later than its offset ${offset}`;
      if (this.#byKey.get(held.key)?.some((one) => one.offset === held.offset) !== true)
        return `${this.store} holds ${describe(held)}, which was never committed`;
    }
    for (const last of this.newest()) {
      const held = contents.get(last.key);
      // Replay brings what comes later, but for deletions that are forgotten.
      if (last.offset > offset && !isForgotten(last, nowMs)) {
        const before = this.#byKey.get(last.key)?.findLast((one) => one.offset <= offset);
        const isNeeded = isExact && before?.value !== undefined && !this.#isCompacted(before, nowMs);
        if (isNeeded && held?.offset !== before.offset)
          return `${this.store} lacks ${describe(before)} at its offset ${offset}`;
        continue;
      }
      const isRight = last.value === undefined ? held?.value === undefined : held?.value === last.value;
      if (!isRight)
        return `${this.store} at ${offset} has ${held === undefined ? `no ${last.key}` : describe(held)} instead of ${describe(last)} after all is replayed`;
    }
    return undefined;
  }
}

function isForgotten(change: Change, nowMs: number): boolean {
  return change.value === undefined && nowMs - change.atMs > DELETE_RETENTION_MS;
}

function describe({ history, offset, key, value }: Change): string {
  return `${key}=${value ?? 'deleted'} of ${history}:${offset}`;
}
