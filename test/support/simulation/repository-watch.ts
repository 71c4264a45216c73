import { type DamageReport, decodeDamageReport } from '../../../src/repository/damaged.ts';
import { decodeDocument, type Entry, filesOfEntry, type SnapshotDocument } from '../../../src/repository/document.ts';
import { decodeFence, type Fence } from '../../../src/repository/fence.ts';
import { parseKey, repositoryKeys, type SnapshotName } from '../../../src/repository/keys.ts';
import type { BucketWatch } from './bucket.ts';
import { APPLICATION } from './cluster.ts';
import { LINEAGE } from './pod.ts';
import type { SimulatedProcess } from './process.ts';
import type { WorldClock } from './world-clock.ts';

export interface WatchedDocument {
  readonly key: string;
  readonly document: SnapshotDocument;
  /** The data objects that it names. */
  readonly objects: ReadonlySet<string>;
}

/** In a record; no name of ours holds a quote. */
const NEWEST = /"newest":(\d+)/;
/** The least of all settings: so long somebody who reads a document has to finish, once there is a newer one. */
const KEEP_WITHIN_MS_MIN = 3_600_000;
/** What is older is offered by nobody in the simulation, under the least of all settings. */
const MAX_AGE_MS_MIN = 12 * 3_600_000;

const KEYS = repositoryKeys({ application: APPLICATION, lineage: LINEAGE });

/** Sees every change of the repository when it happens, and notes what must never happen. */
export class RepositoryWatch implements BucketWatch {
  /** What lies there, read. */
  readonly documents = new Map<string, WatchedDocument>();
  readonly fences: Fence[] = [];
  readonly damage = new Map<string, DamageReport>();
  /** What a lifecycle rule took. */
  readonly expired = new Set<string>();
  /** Against the invariants, found when it happened. */
  readonly faults: string[] = [];
  /** Grows with everything that may change what is offered. */
  version = 0;
  readonly #clock: Pick<WorldClock, 'nowMs'>;
  readonly #present = new Set<string>();
  readonly #owners = new Map<string, string>();
  /** Documents that their writer stands by. */
  readonly #acknowledged = new Set<string>();
  readonly #unread: { readonly key: string; readonly bytes: Uint8Array }[] = [];
  /** Restores under way, with the documents that they have read. */
  readonly #readers = new Map<SimulatedProcess, Set<string>>();
  /** Documents that somebody else than their writers removed. */
  readonly #collected = new Map<string, WatchedDocument>();
  /** When each document was put, by its key. */
  readonly #putMs = new Map<string, number>();
  /** When each object went, by its key. */
  readonly #goneMs = new Map<string, number>();

  constructor(clock: Pick<WorldClock, 'nowMs'>) {
    this.#clock = clock;
  }

  /** Somebody restores, until it is let go. */
  follow(reader: SimulatedProcess): void {
    this.#readers.set(reader, new Set());
  }

  letGo(reader: SimulatedProcess): void {
    this.#readers.delete(reader);
  }

  got(key: string, by: SimulatedProcess): void {
    if (parseKey(key)?.kind === 'snapshot') this.#readers.get(by)?.add(key);
  }

  missed(key: string, by: SimulatedProcess): void {
    const document = this.#findReadFrom(key, by);
    if (document !== undefined)
      this.faults.push(`no object goes that a restore needs: ${by.name} read ${document}, and ${key} is gone`);
  }

  put(key: string, bytes: Uint8Array, by: SimulatedProcess): void {
    const parsed = parseKey(key);
    this.#assertOwn(key, by);
    this.#present.add(key);
    this.#goneMs.delete(key);
    if (parsed === undefined) return;
    switch (parsed.kind) {
      case 'snapshot':
        this.#unread.push({ key, bytes });
        this.#putMs.set(key, this.#clock.nowMs);
        return;
      case 'record':
        return this.#noteRecord(parsed.epoch, bytes);
      case 'fence':
        this.fences.push(decodeFence(bytes, key));
        this.version += 1;
        return;
      case 'damaged':
        this.damage.set(key, decodeDamageReport(bytes, key));
        this.version += 1;
        return;
      case 'data':
      case 'archive':
      case 'repository':
        return;
    }
  }

  deleted(key: string, by: SimulatedProcess | undefined): void {
    this.#present.delete(key);
    this.#goneMs.set(key, this.#clock.nowMs);
    if (by === undefined) this.expired.add(key);
    const parsed = parseKey(key);
    if (parsed === undefined) return;
    switch (parsed.kind) {
      case 'snapshot':
        this.#noteCollected(key, by);
        this.documents.delete(key);
        this.#acknowledged.delete(key);
        this.version += 1;
        return;
      case 'data':
      case 'archive':
        if (by !== undefined) this.#assertUnneeded(key, by);
        return;
      case 'damaged':
        this.damage.delete(key);
        this.version += 1;
        return;
      case 'record':
      case 'fence':
      case 'repository':
        return;
    }
  }

  /** Reads the documents that came since. */
  async read(): Promise<void> {
    for (const { key, bytes } of this.#unread.splice(0)) {
      if (!this.#present.has(key)) continue;
      const document = await decodeDocument(bytes, key);
      const files = [...document.entries.flatMap(filesOfEntry), ...document.ahead];
      const objects = new Set(files.flatMap((file) => file.objects.map((object) => object.key)));
      this.documents.set(key, { key, document, objects });
      this.version += 1;
    }
  }

  /** The newest document of every epoch. */
  newest(): readonly WatchedDocument[] {
    const newest = new Map<string, WatchedDocument>();
    for (const watched of this.documents.values()) {
      const { epoch, n } = watched.document;
      if ((newest.get(epoch)?.document.n ?? -1) < n) newest.set(epoch, watched);
    }
    return [...newest.values()];
  }

  /** Its writer has said so in its record, and so has whoever asks it. */
  isAcknowledged(key: string): boolean {
    return this.#acknowledged.has(key);
  }

  /** Why an entry is not offered, or undefined. */
  isWithdrawn(entry: Entry, name: SnapshotName): boolean {
    const reports = [...this.damage.values()];
    return (
      this.fences.some((fence) => isBehind(fence, entry, name)) ||
      reports.some(({ entries }) =>
        entries.some((one) => one.task === entry.task && one.capturedBy === entry.capturedBy),
      ) ||
      reports.some(({ objects }) => objects.some(({ key }) => namesObject(entry, key)))
    );
  }

  /** Every key has one writer, and all but records and reports of damage are put once. */
  #assertOwn(key: string, by: SimulatedProcess): void {
    const parsed = parseKey(key);
    if (parsed === undefined || parsed.kind === 'repository') return;
    const isRewritten = parsed.kind === 'record' || parsed.kind === 'damaged';
    const scope =
      'epoch' in parsed ? parsed.epoch : 'name' in parsed && 'epoch' in parsed.name ? parsed.name.epoch : key;
    const owner = this.#owners.get(scope) ?? by.name;
    if (owner !== by.name) this.faults.push(`two writers: ${by.name} put ${key}, which is ${owner}'s`);
    this.#owners.set(scope, owner);
    if (!isRewritten && this.#present.has(key)) this.faults.push(`two writers: ${by.name} put ${key} twice`);
  }

  /** From here on its writer stands by its newest document, and what that needs must be there. */
  #noteRecord(epoch: string, bytes: Uint8Array): void {
    // There are thousands of them, and its readers check all that they say.
    const newest = NEWEST.exec(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1'))?.[1];
    if (newest === undefined) return;
    const document = KEYS.snapshot({ epoch, n: Number(newest) });
    if (this.#present.has(document)) this.#acknowledged.add(document);
  }

  /** What must hold once all that came is read: whoever stands by a document can restore from it. */
  findDangling(): string | undefined {
    for (const key of this.#acknowledged) {
      const { objects = new Set<string>() } = this.documents.get(key) ?? {};
      for (const object of objects)
        if (!this.#present.has(object) && !this.expired.has(object)) return `${key} needs ${object}, which is gone`;
    }
    return undefined;
  }

  /**
   * Whether it is needed by nothing but what no writer stands by, as where one was held up before its put and ended before it could
   * look whether all was still there (G2), and everybody is told (G6); or that came when it was gone, and nobody has looked since.
   */
  isGivenUp(object: string): boolean {
    const isTold = this.damage.values().some(({ objects }) => objects.some(({ key }) => key === object));
    const needing = [...this.documents.values()].filter(({ objects }) => objects.has(object));
    const isStoodBy = needing.some(({ key }) => this.#acknowledged.has(key));
    const cameLater = needing.filter((document) => this.#wasGoneBefore(document, object));
    return !isStoodBy && (isTold || (needing.length > 0 && cameLater.length === needing.length));
  }

  /** Of a document that stands, or that went too early, and that a restore has read; undefined where it may be gone. */
  #findReadFrom(object: string, reader: SimulatedProcess): string | undefined {
    if (this.expired.has(object) || reader.isDead) return undefined;
    const read = [...(this.#readers.get(reader) ?? [])];
    return read.find((key) => {
      const watched = this.documents.get(key) ?? this.#collected.get(key);
      const isInUse = watched !== undefined && this.#isInUse(watched) && this.#isOffering(watched, object);
      return isInUse && !this.#wasGoneBefore(watched, object);
    });
  }

  /** As where a writer is held up before its put and ends before it can look whether all is still there (G2). */
  #wasGoneBefore({ key }: WatchedDocument, object: string): boolean {
    return (this.#goneMs.get(object) ?? Number.POSITIVE_INFINITY) < (this.#putMs.get(key) ?? 0);
  }

  /** A reader has until its successor is old. */
  #isInUse({ document: { epoch, n } }: WatchedDocument): boolean {
    const later = [...this.#putMs].filter(([key]) => {
      const parsed = parseKey(key);
      return parsed?.kind === 'snapshot' && parsed.name.epoch === epoch && parsed.name.n > n;
    });
    return later.every(([, putMs]) => this.#clock.nowMs - putMs <= KEEP_WITHIN_MS_MIN);
  }

  #isOffering({ document: { entries, epoch, n } }: WatchedDocument, object: string): boolean {
    return entries.some(
      (entry) =>
        namesObject(entry, object) &&
        this.#clock.nowMs - entry.stateTimeMs <= MAX_AGE_MS_MIN &&
        !this.isWithdrawn(entry, { epoch, n }),
    );
  }

  #noteCollected(key: string, by: SimulatedProcess | undefined): void {
    const watched = this.documents.get(key);
    if (watched !== undefined && by !== undefined && this.#owners.get(watched.document.epoch) !== by.name)
      this.#collected.set(key, watched);
  }

  #assertUnneeded(object: string, by: SimulatedProcess): void {
    for (const reader of this.#readers.keys()) {
      const document = this.#findReadFrom(object, reader);
      if (document === undefined) continue;
      this.faults.push(
        `no object goes that a restore needs: ${by.name} removed ${object}, ${reader.name} read ${document}`,
      );
    }
    for (const { key, objects } of this.documents.values()) {
      if (!objects.has(object)) continue;
      if (this.#acknowledged.has(key)) this.faults.push(`${by.name} removed ${object}, which ${key} needs`);
    }
  }
}

/** By the words of docs/format.md. */
function isBehind(fence: Fence, entry: Entry, { epoch }: SnapshotName): boolean {
  const isOf = (instance: string): boolean =>
    epoch.includes(`-${instance}-`) || entry.capturedBy.includes(`-${instance}-`);
  return (
    entry.stateTimeMs < fence.beforeMs &&
    (fence.tasks?.includes(entry.task) ?? true) &&
    (fence.instance === undefined || isOf(fence.instance)) &&
    (fence.layout === undefined || fence.layout === entry.layout) &&
    (fence.quality === undefined || fence.quality === entry.quality)
  );
}

function namesObject(entry: Entry, key: string): boolean {
  return filesOfEntry(entry).some(({ objects }) => objects.some((object) => object.key === key));
}
