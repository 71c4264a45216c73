import { join } from 'node:path';
import { type ApplicationFiles, nodeApplicationFiles } from './application-files.ts';
import { deleteInDirectoryOrder } from './deletion.ts';
import { ModelDatabase } from './model-database.ts';

/** What an application does to a task directory, each in the order in which Kafka Streams and RocksDB do it. */
export const MODEL_EVENTS = [
  'flush',
  'checkpoint',
  'compact',
  'roll-manifests',
  'expire-segment',
  'wipe-store',
  'wipe-task',
  'delete-some',
] as const;

export type ModelEvent = (typeof MODEL_EVENTS)[number];

/** What a capture holds: offsets per store, and of each database its live tables by their codes (see ModelTask). */
export interface ModelImage {
  readonly offsets: ReadonlyMap<string, bigint>;
  readonly databases: ReadonlyMap<string, readonly number[]>;
}

interface Life {
  readonly database: ModelDatabase;
  readonly incarnation: number;
  nextTable: number;
  /** Numbers and codes of the live tables. */
  tables: { readonly number: number; readonly code: number }[];
}

interface State {
  readonly codes: string;
  readonly incarnation: number;
  readonly progress: number;
}

export const MODEL_APPLICATION = 'app';
const INCARNATION_OFFSETS = 1_000_000n;
const SEGMENT_MS = 3_600_000;
const TABLE_BYTES = 100;
/** Steps of a deletion that one event makes. */
const DELETION_STEPS = 7;

/**
 * A task with a plain store `agg` and a segmented one `win`. Every table begins with a code of its own,
 * although names and sizes come again after a wipe, so that an image tells which state of which incarnation it is. The
 * stamps of directories and checkpoint are the model's: without `tick` they stand still, as within one tick of a clock.
 */
export class ModelTask implements Disposable {
  readonly path: string;
  readonly #files: ApplicationFiles;
  #databases = new Map<string, Life>();
  readonly #history = new Map<string, State[]>();
  readonly #sets = new Set<string>();
  #incarnations = new Map([
    ['agg', 1],
    ['win', 1],
  ]);
  #newestSegment = 1;
  #progress = 10;
  #codes = 0;
  #seconds: number;
  #deletion: Generator<string, void> | undefined;

  constructor(applicationDirectory: string, startSeconds: number, files = nodeApplicationFiles) {
    this.#files = files;
    this.path = join(applicationDirectory, '0_0');
    this.#seconds = startSeconds;
    this.#create();
    this.#flush();
    this.#writeCheckpoint();
    this.#settle();
  }

  /** The clock by which directories and checkpoint are stamped. */
  get nowMs(): number {
    return this.#seconds * 1000;
  }

  do(event: ModelEvent, options: { readonly tick: boolean }): void {
    if (options.tick) this.#seconds += 1;
    if (this.#deletion !== undefined && event !== 'wipe-task') this.#deleteSome(this.#deletion);
    else this.#act(event);
    this.#settle();
  }

  /** Why the image is no state that the task ever had, or one behind its offsets; undefined where it is sound. */
  findFault(image: ModelImage): string | undefined {
    const set = [...image.databases.keys()].sort().join();
    if (!this.#sets.has(set)) return `there never were just these databases: ${set}`;
    for (const [path, codes] of image.databases) {
      const state = this.#history.get(path)?.find((one) => one.codes === codesOf(codes));
      if (state === undefined) return `${path} never consisted of the tables ${codesOf(codes)}`;
      const offset = image.offsets.get(storeOf(path));
      if (offset === undefined) return `${path} has no offset`;
      const held = BigInt(state.incarnation) * INCARNATION_OFFSETS + BigInt(state.progress);
      if (offset / INCARNATION_OFFSETS !== held / INCARNATION_OFFSETS || held < offset) {
        return `${path} is at ${held}, its offset is ${offset}`;
      }
    }
    return undefined;
  }

  #act(event: ModelEvent): void {
    switch (event) {
      case 'flush':
        return this.#flush();
      case 'checkpoint':
        this.#flush();
        return this.#writeCheckpoint();
      case 'compact':
        return this.#compact();
      case 'roll-manifests':
        for (const life of this.#databases.values()) life.database.rollManifest();
        return;
      case 'expire-segment':
        return this.#expireSegment();
      case 'wipe-store':
        return this.#wipeStore();
      case 'wipe-task':
        return this.#wipeTask();
      case 'delete-some':
        this.#deletion = deleteInDirectoryOrder(this.path, { files: this.#files });
        return this.#deleteSome(this.#deletion);
    }
  }

  #create(): void {
    this.#files.makeDirectory(this.path);
    this.#databases = new Map();
    this.#open('rocksdb/agg');
    for (const segment of [this.#newestSegment - 1, this.#newestSegment]) this.#open(segmentPath(segment));
  }

  #open(path: string): void {
    const database = new ModelDatabase(join(this.path, path), { files: this.#files });
    const incarnation = this.#incarnations.get(storeOf(path)) ?? 0;
    this.#databases.set(path, { database, incarnation, nextTable: 7, tables: [] });
    this.#remember(path);
  }

  #flush(): void {
    this.#progress += 1;
    for (const [path, life] of this.#databases) {
      const added = this.#writeTable(life);
      life.database.logEdit({ add: [{ number: added.number, sizeBytes: TABLE_BYTES }] });
      life.tables.push(added);
      this.#remember(path);
    }
  }

  #compact(): void {
    for (const [path, life] of this.#databases) {
      const inputs = life.tables;
      const output = this.#writeTable(life);
      const remove = inputs.map(({ number }) => number);
      life.database.logEdit({ remove, add: [{ number: output.number, sizeBytes: TABLE_BYTES }] });
      for (const { number } of inputs) this.#files.unlink(life.database.path(number));
      life.tables = [output];
      this.#remember(path);
    }
  }

  #writeTable(life: Life): { readonly number: number; readonly code: number } {
    const table = { number: life.nextTable, code: ++this.#codes };
    life.nextTable += 1;
    const bytes = Buffer.alloc(TABLE_BYTES);
    bytes.writeUInt32LE(table.code);
    this.#files.write(life.database.path(table.number), bytes);
    return table;
  }

  /** The next segment is made, then the oldest goes. */
  #expireSegment(): void {
    const oldest = segmentPath(this.#newestSegment - 1);
    this.#newestSegment += 1;
    this.#open(segmentPath(this.#newestSegment));
    this.#databases.delete(oldest);
    this.#files.removeTree(join(this.path, oldest));
  }

  /** One store begins anew under the checkpoint of the old one. */
  #wipeStore(): void {
    this.#files.removeTree(join(this.path, 'rocksdb/agg'));
    this.#incarnations.set('agg', (this.#incarnations.get('agg') ?? 0) + 1);
    this.#open('rocksdb/agg');
    this.#flush();
  }

  /** The whole task begins anew; its checkpoint comes later. */
  #wipeTask(): void {
    this.#deletion?.return();
    this.#deletion = undefined;
    this.#files.removeTree(this.path);
    for (const [store, incarnation] of this.#incarnations) this.#incarnations.set(store, incarnation + 1);
    this.#create();
    this.#flush();
  }

  #deleteSome(deletion: Generator<string, void>): void {
    for (let step = 0; step < DELETION_STEPS && deletion.next().done !== true; step++);
  }

  #writeCheckpoint(): void {
    const lines = [...this.#incarnations].map(
      ([store, incarnation]) =>
        `${MODEL_APPLICATION}-${store}-changelog 0 ${BigInt(incarnation) * INCARNATION_OFFSETS + BigInt(this.#progress)}\n`,
    );
    this.#files.write(join(this.path, '.checkpoint.tmp'), `0\n${lines.length}\n${lines.join('')}`);
    this.#files.rename(join(this.path, '.checkpoint.tmp'), join(this.path, '.checkpoint'));
  }

  #settle(): void {
    this.#sets.add([...this.#databases.keys()].sort().join());
    this.#stamp();
  }

  #remember(path: string): void {
    const life = this.#databases.get(path);
    if (life === undefined) return;
    const codes = codesOf(life.tables.map(({ code }) => code));
    const states = this.#history.get(path) ?? [];
    states.push({ codes, incarnation: life.incarnation, progress: this.#progress });
    this.#history.set(path, states);
  }

  /** Whatever the system clock stamped in this event gets the model's time, which has whole seconds. */
  #stamp(): void {
    for (const name of ['.checkpoint', 'rocksdb', 'win', '.']) {
      const path = join(this.path, name);
      const stamp = this.#files.mtimeNs(path) ?? 0n;
      if (stamp % 1_000_000_000n !== 0n) this.#files.stamp(path, this.#seconds);
    }
  }

  [Symbol.dispose](): void {
    this.#deletion?.return();
  }
}

function storeOf(path: string): string {
  return path.startsWith('win/') ? 'win' : 'agg';
}

function segmentPath(segment: number): string {
  return `win/win.${segment * SEGMENT_MS}`;
}

function codesOf(codes: readonly number[]): string {
  return [...codes].sort((left, right) => left - right).join();
}
