import { createHash } from 'node:crypto';
import { type Collection, type CollectOptions, collect } from '../../src/repository/collection.ts';
import type { Entry, StoredFile } from '../../src/repository/document.ts';
import { listRepository, openRepository, type Repository } from '../../src/repository/repository.ts';
import { openWriter, type RepositoryWriter, type WriterOptions } from '../../src/repository/writer.ts';
import { bytesBody } from '../../src/storage/object-store.ts';
import { seededRandom } from './seeded-random.ts';
import { SimulatedStore } from './simulated-store.ts';

export const HOUR_MS = 3_600_000;
export const MAX_AGE_MS = 23 * HOUR_MS;
export const KEEP_WITHIN_MS = 6 * HOUR_MS;

const { signal } = new AbortController();
const random = seededRandom(7);

/** A repository in which tests write as programs do, on a clock that only they move. */
export class RepositoryStory {
  readonly store: SimulatedStore;
  readonly notices: string[] = [];
  readonly repository: Repository;

  private constructor(store: SimulatedStore, repository: Repository, notices: string[]) {
    this.store = store;
    this.repository = repository;
    this.notices = notices;
  }

  static async open(store = new SimulatedStore({ wholeSeconds: true })): Promise<RepositoryStory> {
    const notices: string[] = [];
    const notice = (name: string): void => void notices.push(name);
    const repository = await openRepository(store, { application: 'orders', lineage: 'shop', notice, signal });
    return new RepositoryStory(store, repository, notices);
  }

  get nowMs(): number {
    return this.store.clock.nowMs();
  }

  async pass(ms: number): Promise<void> {
    await this.store.clock.sleep(ms, signal);
  }

  async write(instance: string, options: Partial<WriterOptions> = {}): Promise<StoryWriter> {
    const writer = await openWriter(this.repository, await listRepository(this.repository, { signal }), {
      instance,
      role: 'run',
      program: 'warmstate test',
      guarantee: 'at_least_once',
      maxAgeMs: MAX_AGE_MS,
      keepWithinMs: KEEP_WITHIN_MS,
      clock: this.store.clock,
      random,
      signal,
      ...options,
    });
    return new StoryWriter(this, writer);
  }

  async collect(options: Partial<CollectOptions> = {}): Promise<Collection> {
    return collect(this.repository, {
      maxAgeMs: MAX_AGE_MS,
      keepWithinMs: KEEP_WITHIN_MS,
      isDryRun: false,
      epoch: '1750000000000-prune-aaaa',
      program: 'warmstate test',
      random,
      signal,
      ...options,
    });
  }

  /** Keys below a folder, in short. */
  keys(folder: string): readonly string[] {
    const prefix = `orders/shop/${folder}/`;
    return this.store.keys().flatMap((key) => (key.startsWith(prefix) ? [key.slice(prefix.length)] : []));
  }
}

/** A writer whose tables are a few bytes each. */
export class StoryWriter {
  readonly writer: RepositoryWriter;
  readonly #story: RepositoryStory;

  constructor(story: RepositoryStory, writer: RepositoryWriter) {
    this.#story = story;
    this.writer = writer;
  }

  /** Publishes a snapshot of one task with so many new tables and these that lie there already. */
  async publish(
    newTables: number,
    {
      kept = [],
      ahead = [],
      task = '0_0',
      sizeBytes = 8,
    }: {
      readonly kept?: readonly StoredFile[];
      readonly ahead?: readonly StoredFile[];
      readonly task?: string;
      readonly sizeBytes?: number;
    } = {},
  ): Promise<readonly StoredFile[]> {
    const attempt = this.writer.nextAttempt();
    const capturedBy = `${attempt.name.epoch}/${attempt.name.n}`;
    const tables = [...kept];
    for (let i = 0; i < newTables; i++)
      tables.push(await this.#send(attempt.nextDataKey(), `${capturedBy} ${i}`, sizeBytes));
    const archive = attempt.nextArchiveKey();
    await this.#story.store.put(archive, bytesBody(Buffer.from(capturedBy)), { signal });
    const checkpoint: StoredFile = {
      path: '.checkpoint',
      sizeBytes: 10,
      sha256: sha256('checkpoint'),
      uid: undefined,
      objects: [
        { kind: 'archived', key: archive, storedBytes: capturedBy.length, contentBytes: 10, entry: 'checkpoint' },
      ],
    };
    const nowMs = this.#story.nowMs;
    const entry: Entry = {
      task,
      quality: 'clean',
      layout: 'file',
      stateTimeMs: nowMs,
      capturedAtMs: nowMs,
      capturedBy,
      offsets: new Map([['orders-agg-changelog-0', BigInt(nowMs)]]),
      files: [checkpoint],
      stores: [{ name: 'agg', kind: 'rocksdb', rocksdbVersion: undefined, columnFamilies: ['default'], files: tables }],
    };
    await this.writer.publish(attempt, { entries: [entry], ahead, seen: new Map() }, { signal });
    return tables;
  }

  /** A sign of life. */
  async renew(change: Parameters<RepositoryWriter['amendRecord']>[0] = {}): Promise<void> {
    await this.writer.amendRecord(change, { signal });
  }

  async #send(key: string, content: string, sizeBytes: number): Promise<StoredFile> {
    const hash = sha256(content);
    await this.#story.store.put(key, bytesBody(Buffer.alloc(sizeBytes, content)), { signal });
    return {
      path: `rocksdb/agg/${String(parseInt(hash.slice(0, 8), 16)).padStart(6, '0')}.sst`,
      sizeBytes,
      sha256: hash,
      uid: hash.slice(0, 32),
      objects: [{ kind: 'stretch', key, sizeBytes, storedBytes: sizeBytes, sha256: hash, encoding: 'none' }],
    };
  }
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
