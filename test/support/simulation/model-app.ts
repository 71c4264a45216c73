import { join } from 'node:path';
import { decodeCheckpoint } from '../../../src/streams/checkpoint-file.ts';
import type { MemoryDisk } from '../memory-disk.ts';
import type { Chance } from './chance.ts';
import type { Change, Changelog } from './changelog.ts';
import { APPLICATION, type Cluster, partitionOf, type StoreShape, topicOf } from './cluster.ts';
import { mergeTables, readDatabase, SimulatedDatabase, type TableContents } from './database.ts';

export const STATE_DIR = '/state';
const APPLICATION_DIRECTORY = join(STATE_DIR, APPLICATION);

/** What an application does to one of its tasks, besides opening and closing it. */
export const TASK_EVENTS = [
  'write',
  'flush',
  'checkpoint',
  'commit',
  'abort',
  'compact',
  'roll',
  'wipe-store',
] as const;
export type TaskEvent = (typeof TASK_EVENTS)[number];

interface AppWorld {
  readonly disk: MemoryDisk;
  readonly cluster: Cluster;
  readonly contents: TableContents;
  readonly chance: Chance;
  readonly nowMs: () => number;
}

/**
 * A Kafka Streams application of the file layout, as its disk sees it. At-least-once it flushes and writes checkpoints while it
 * runs; exactly-once it takes the checkpoint away when it opens a task, or writes it once more when all is replayed and leaves it,
 * writes it when it closes the task, and begins one anew that has none. Standby tasks follow what others write.
 */
export class ModelApp {
  readonly #world: AppWorld;
  readonly #tasks = new Map<string, ModelTask>();
  readonly #standbys = new Map<string, ModelTask>();

  constructor(world: AppWorld) {
    this.#world = world;
    world.disk.makeDirectory(APPLICATION_DIRECTORY);
  }

  get tasks(): readonly string[] {
    return [...this.#tasks.keys()];
  }

  get standbys(): readonly string[] {
    return [...this.#standbys.keys()];
  }

  /** What is wrong with what lay there, if anything is; then the task begins anew. A slow one replays while others work. */
  open(task: string, { isSlow }: { readonly isSlow: boolean }): string | undefined {
    this.endStandby(task);
    const opened = new ModelTask(task, this.#world);
    this.#tasks.set(task, opened);
    if (!isSlow || opened.isInHaste) opened.catchUp();
    return opened.fault;
  }

  /** Follows a task that another pod has. */
  standBy(task: string): string | undefined {
    const opened = new ModelTask(task, this.#world, { isStandby: true });
    this.#standbys.set(task, opened);
    if (opened.isInHaste) opened.catchUp();
    return opened.fault;
  }

  endStandby(task: string): void {
    this.#standbys.get(task)?.close();
    this.#standbys.delete(task);
  }

  /** Everything is replayed: before hours go by, in which logs forget. */
  catchUp(): void {
    for (const task of [...this.#tasks.values(), ...this.#standbys.values()]) task.catchUp();
  }

  do(task: string, event: TaskEvent): void {
    (this.#tasks.get(task) ?? this.#standbys.get(task))?.do(event);
  }

  /** What the last checkpoint says, where it covers everything. */
  checkpointOf(task: string): ReadonlyMap<string, number> | undefined {
    return this.#tasks.get(task)?.checkpointed;
  }

  close(task: string): void {
    this.#tasks.get(task)?.close();
    this.#tasks.delete(task);
  }

  crash(): void {
    for (const task of this.#tasks.values()) task.abandon();
    this.#tasks.clear();
    this.#standbys.clear();
  }
}

/**
 * A replay that is under way never lags further behind: an application that goes on dying while it replays what is about to be
 * forgotten has young checkpoints over old state, which nobody can see (README).
 */
const LAG_MS_MAX = 45 * 60_000;

/** As Kafka Streams writes it for a store that has none yet. */
const OFFSET_UNKNOWN = -4;

class ModelTask {
  readonly #task: string;
  readonly #world: AppWorld;
  readonly #path: string;
  readonly fault: string | undefined;
  /**
   * It reads all at once. A kill left on disk what is not the state at its checkpoint: closed before the rest is replayed it would pass
   * for clean, which does no harm where every write is committed. Or the log lets go of what it has to hear of before it has read
   * that, where it is slow (README: what lay on a volume for too long).
   */
  readonly isInHaste: boolean;
  #databases = new Map<string, SimulatedDatabase>();
  readonly #applied = new Map<string, number>();
  readonly #isStandby: boolean;
  #openedMs = 0;
  #isReplaying = true;
  /** Something was replayed since it was opened. */
  #hasProgressed = false;
  checkpointed: ReadonlyMap<string, number> | undefined;

  constructor(task: string, world: AppWorld, role: { readonly isStandby: boolean } = { isStandby: false }) {
    this.#task = task;
    this.#world = world;
    this.#isStandby = role.isStandby;
    this.#path = taskPath(task);
    this.fault = findLocalFault(task, world);
    const inAWhile = { ...world, nowMs: () => world.nowMs() + LAG_MS_MAX };
    this.isInHaste =
      findLocalFault(task, world, { isExact: true }) !== undefined || findLocalFault(task, inAWhile) !== undefined;
    this.#open(this.fault === undefined);
  }

  do(event: TaskEvent): void {
    if (this.#isReplaying) this.#doWhileReplaying(event);
    else this.#doInWork(event);
  }

  #doWhileReplaying(event: TaskEvent): void {
    const { chance } = this.#world;
    switch (event) {
      case 'write':
      case 'commit':
        return this.#replay(1 + chance.below(3));
      case 'flush':
        for (const database of this.#databases.values()) if (chance.happens(0.7)) this.#flush(database);
        return;
      case 'checkpoint':
        if (this.#isLate) return this.catchUp();
        return this.#checkpoint();
      case 'compact':
        chance.pick([...this.#databases.values()])?.compact();
        return;
      case 'roll':
        chance.pick([...this.#databases.values()])?.rollManifest();
        return;
      case 'abort':
      case 'wipe-store':
        return;
    }
  }

  #doInWork(event: TaskEvent): void {
    const { chance, cluster } = this.#world;
    const databases = [...this.#databases.values()];
    switch (event) {
      case 'write':
        for (let left = 1 + chance.below(4); left > 0; left--) this.#write();
        return;
      case 'flush':
        for (const database of databases) if (chance.happens(0.7)) this.#flush(database);
        return;
      case 'checkpoint':
        if (!cluster.isExactlyOnce) this.#checkpoint();
        return;
      case 'commit':
        for (const changelog of this.#changelogs) changelog.commit(this.#world.nowMs());
        return;
      case 'abort':
        if (!this.#changelogs.some(({ hasOpen }) => hasOpen)) return;
        for (const changelog of this.#changelogs) changelog.abort();
        this.#world.disk.removeTree(this.#path);
        this.#open(false);
        return this.catchUp();
      case 'compact':
        chance.pick(databases)?.compact();
        return;
      case 'roll':
        chance.pick(databases)?.rollManifest();
        return;
      case 'wipe-store':
        return this.#wipeStore();
    }
  }

  /** To the end of what is committed, also where the log has forgotten what came last; then an active one works. */
  catchUp(): void {
    while (this.#isBehind) this.#replay(Number.POSITIVE_INFINITY);
    for (const { store, lastCommitted } of this.#changelogs)
      if (lastCommitted > (this.#applied.get(store) ?? -1)) this.#applied.set(store, lastCommitted);
    this.#finishReplay();
  }

  close(): void {
    if (this.#isReplaying && this.#isLate) this.catchUp();
    if (!this.#isReplaying) for (const changelog of this.#changelogs) changelog.commit(this.#world.nowMs());
    this.#checkpoint();
  }

  abandon(): void {
    for (const changelog of this.#changelogs) changelog.abort();
  }

  get #changelogs(): readonly Changelog[] {
    return this.#world.cluster.changelogsOf(this.#task);
  }

  get #isBehind(): boolean {
    const { cluster } = this.#world;
    return cluster.stores.some(({ name }) => this.#outstanding(name).length > 0);
  }

  /** Who is there reads what comes long before the log forgets it, also where hours go by in one step. */
  #outstanding(store: string): readonly Change[] {
    const { cluster, nowMs } = this.#world;
    const readMs = Math.min(nowMs(), this.#openedMs + LAG_MS_MAX);
    return cluster.changelog(this.#task, store).after(this.#applied.get(store) ?? -1, readMs);
  }

  /** So many changes of every store at most; all of them where the oldest is about to be forgotten. */
  #replay(most: number): void {
    const { cluster } = this.#world;
    const end = this.#isFarBehind ? Number.POSITIVE_INFINITY : most;
    for (const store of cluster.stores)
      for (const change of this.#outstanding(store.name).slice(0, end)) {
        this.#put(store, change);
        this.#hasProgressed = true;
      }
    if (!this.#isStandby && !this.#isBehind) this.#finishReplay();
  }

  /** Its offsets of today must not be seen, for they would look younger than they are. */
  get #isLate(): boolean {
    return this.#hasProgressed && this.#isFarBehind;
  }

  get #isFarBehind(): boolean {
    const { cluster, nowMs } = this.#world;
    const oldestMs = nowMs() - LAG_MS_MAX;
    return cluster.stores.some(({ name }) => this.#outstanding(name).some(({ atMs }) => atMs < oldestMs));
  }

  /** An active task begins to work. Some exactly-once releases leave the checkpoint that says how far it was replayed. */
  #finishReplay(): void {
    if (!this.#isReplaying || this.#isStandby) return;
    this.#isReplaying = false;
    const { cluster, disk } = this.#world;
    if (!cluster.isExactlyOnce) return;
    const checkpoint = join(this.#path, '.checkpoint');
    if (cluster.leavesCheckpoint) this.#checkpoint();
    else if (exists(disk, checkpoint)) disk.unlink(checkpoint);
  }

  #open(hasState: boolean): void {
    const { disk, cluster } = this.#world;
    const offsets = hasState ? readOffsets(this.#task, disk) : undefined;
    if (offsets === undefined) disk.removeTree(this.#path);
    disk.makeDirectory(this.#path);
    if (cluster.isExactlyOnce && offsets !== undefined) disk.unlink(join(this.#path, '.checkpoint'));
    this.#databases = new Map();
    this.#applied.clear();
    this.#isReplaying = true;
    this.#openedMs = this.#world.nowMs();
    this.#hasProgressed = false;
    this.checkpointed = undefined;
    for (const store of cluster.stores) this.#openStore(store, offsets?.get(topicOf(store.name)));
  }

  #openStore(store: StoreShape, offset: number | undefined): void {
    const { disk } = this.#world;
    const parent = join(this.#path, store.kind === 'plain' ? 'rocksdb' : store.name);
    disk.makeDirectory(parent);
    // Until it is written to again it does not know that time went by: segments expire once there is a newer one.
    const paths = databasesOf(disk, this.#path, store);
    // What lies there without an offset is none of it, and begins anew where it lies.
    if (offset === undefined) for (const path of paths) disk.removeTree(join(this.#path, path));
    if (store.kind === 'plain') this.#database(store, 0);
    for (const path of paths) this.#database(store, segmentOf(path));
    this.#applied.set(store.name, offset ?? -1);
  }

  #database(store: StoreShape, segment: number): SimulatedDatabase {
    const path = databasePath(store, segment);
    const known = this.#databases.get(path);
    if (known !== undefined) return known;
    const { disk, contents } = this.#world;
    const made = new SimulatedDatabase(disk, join(this.#path, path), { contents, hasUids: store.name !== 'old' });
    this.#databases.set(path, made);
    return made;
  }

  #put(store: StoreShape, change: Change): void {
    this.#database(store, change.segment).put(change);
    this.#applied.set(store.name, change.offset);
    if (store.kind === 'segmented') this.#expire(store);
  }

  #write(): void {
    const { chance, cluster, nowMs } = this.#world;
    const store = chance.pick(cluster.stores);
    if (store === undefined) return;
    const changelog = cluster.changelog(this.#task, store.name);
    const segment =
      store.kind === 'plain' ? 0 : Math.max(1, changelog.newestSegment + (chance.happens(0.15) ? 1 : -chance.below(2)));
    const key = store.kind === 'plain' ? `k${chance.below(6)}` : `w${segment}k${chance.below(3)}`;
    const value = chance.happens(0.25) ? undefined : cluster.nextValue();
    const change = changelog.append({ key, segment, value, atMs: nowMs() });
    if (!cluster.isExactlyOnce) changelog.commit(nowMs());
    this.#put(store, change);
  }

  #flush(database: SimulatedDatabase): void {
    database.flush({ isLarge: false });
  }

  #checkpoint(): void {
    const { disk } = this.#world;
    for (const database of this.#databases.values()) this.#flush(database);
    const lines = [...this.#applied].map(
      ([store, offset]) => `${topicOf(store)} ${partitionOf(this.#task)} ${offset < 0 ? OFFSET_UNKNOWN : offset}\n`,
    );
    const path = join(this.#path, '.checkpoint');
    disk.write(`${path}.tmp`, Buffer.from(`0\n${lines.length}\n${lines.join('')}`));
    disk.rename(`${path}.tmp`, path);
    this.checkpointed = new Map(this.#applied);
  }

  /** One store begins anew under the checkpoint of the old one, and is filled again. */
  #wipeStore(): void {
    const { chance, cluster, disk } = this.#world;
    const store = chance.pick(cluster.stores.filter(({ kind }) => kind === 'plain'));
    if (store === undefined || cluster.isExactlyOnce) return;
    const path = databasePath(store, 0);
    disk.removeTree(join(this.#path, path));
    this.#databases.delete(path);
    this.#openStore(store, undefined);
    for (const change of this.#outstanding(store.name)) this.#put(store, change);
    this.checkpointed = undefined;
  }

  #expire(store: StoreShape): void {
    const { disk, cluster } = this.#world;
    const changelog = cluster.changelog(this.#task, store.name);
    for (const path of databasesOf(disk, this.#path, store)) {
      if (changelog.isKept(segmentOf(path))) continue;
      this.#databases.delete(path);
      disk.removeTree(join(this.#path, path));
    }
  }
}

export function taskPath(task: string): string {
  return join(APPLICATION_DIRECTORY, task);
}

/** What its checkpoint says; undefined where there is none. */
export function readOffsets(
  task: string,
  disk: MemoryDisk,
  directory = taskPath(task),
): ReadonlyMap<string, number> | undefined {
  const bytes = disk.read(join(directory, '.checkpoint'));
  if (bytes === undefined) return undefined;
  const known = [...decodeCheckpoint(bytes).offsets].filter(([, offset]) => offset >= 0n);
  return new Map(known.map(([key, offset]) => [key.slice(0, key.lastIndexOf('-')), Number(offset)]));
}

/** What would go wrong with an application that goes on from what lies there, or undefined; nothing there is nothing wrong. */
export function findLocalFault(
  task: string,
  { disk, cluster, contents, nowMs }: Pick<AppWorld, 'disk' | 'cluster' | 'contents' | 'nowMs'>,
  { isExact }: { readonly isExact: boolean } = { isExact: cluster.isExactlyOnce },
): string | undefined {
  const directory = taskPath(task);
  const offsets = readOffsets(task, disk);
  if (offsets === undefined) return undefined;
  try {
    for (const store of cluster.stores) {
      const offset = offsets.get(topicOf(store.name));
      if (offset === undefined) continue;
      const tables = databasesOf(disk, directory, store).flatMap((path) => {
        const found = readDatabase(disk, join(directory, path), contents);
        return found?.tables.map(({ changes }) => changes) ?? [];
      });
      const claim = { offset, isExact, nowMs: nowMs() };
      const fault = cluster.changelog(task, store.name).findFault(mergeTables(tables), claim);
      if (fault !== undefined) return `${task}: ${fault}`;
    }
  } catch (error) {
    return `${task}: ${error instanceof Error ? error.message : String(error)}`;
  }
  return undefined;
}

/** A change of a history that is over, among what lies there; undefined where there is none, or nothing that anybody would go on from. */
export function findForgotten(
  task: string,
  { disk, cluster, contents }: Pick<AppWorld, 'disk' | 'cluster' | 'contents'>,
): string | undefined {
  const directory = taskPath(task);
  if (readOffsets(task, disk) === undefined) return undefined;
  try {
    for (const store of cluster.stores) {
      const { history } = cluster.changelog(task, store.name);
      for (const path of databasesOf(disk, directory, store)) {
        const changes = readDatabase(disk, join(directory, path), contents)?.tables.flatMap((table) => table.changes);
        const foreign = changes?.find((change) => change.history !== history);
        if (foreign !== undefined)
          return `${task} holds ${foreign.key}=${foreign.value ?? 'deleted'} of history ${foreign.history}, now is ${history}`;
      }
    }
  } catch {
    return undefined; // The cleaner was cut off: the application does not open it (`findLocalFault`).
  }
  return undefined;
}

function databasesOf(disk: MemoryDisk, directory: string, store: StoreShape): readonly string[] {
  if (store.kind === 'plain')
    return exists(disk, join(directory, databasePath(store, 0))) ? [databasePath(store, 0)] : [];
  const parent = join(directory, store.name);
  return exists(disk, parent) ? disk.entries(parent, 'listed').map(({ name }) => `${store.name}/${name}`) : [];
}

const SEGMENT_MS = 3_600_000;

function databasePath(store: StoreShape, segment: number): string {
  return store.kind === 'plain' ? `rocksdb/${store.name}` : `${store.name}/${store.name}.${segment * SEGMENT_MS}`;
}

function segmentOf(path: string): number {
  return path.startsWith('rocksdb/') ? 0 : Number(path.slice(path.lastIndexOf('.') + 1)) / SEGMENT_MS;
}

export function exists(disk: MemoryDisk, path: string): boolean {
  return disk.mtimeNs(path) !== undefined;
}
