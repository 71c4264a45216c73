import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Load } from '../model.ts';
import { Sidecar } from '../sidecar.ts';
import { type Ended, warmstate } from '../warmstate.ts';
import type { Broker } from './broker.ts';
import { StreamsApp, type StreamsAppOptions } from './streams-app.ts';

export type Guarantee = StreamsAppOptions['guarantee'];

/** One task as `snapshot` (outcome) and `restore` (decision) print it. */
export interface PrintedTask {
  readonly task: string;
  readonly outcome?: 'captured' | 'unchanged' | 'carried' | 'uncapturable';
  readonly decision?: 'warm' | 'local' | 'cold';
  readonly quality: string | null;
  /** Where a restored one comes from. */
  readonly snapshot?: string | null;
  readonly reason: string | null;
  readonly message?: string | null;
  /** Where brokers are asked. */
  readonly replayRecords?: number;
  readonly stateTime: string | null;
  readonly offsets: Readonly<Record<string, string>>;
}

export interface PrintedSnapshot {
  readonly snapshot: string | null;
  readonly tasks: readonly PrintedTask[];
  readonly bytesUploaded: number;
}

/** Flags that what looks at a repository does not take. */
const OF_A_POD = ['state-dir', 'processing-guarantee', 'transactional-stores', 'instance', 'bootstrap-servers'];

interface PrintedDocument {
  readonly tasks: readonly {
    readonly task: string;
    readonly stores: readonly { readonly files: readonly PrintedFile[] }[];
  }[];
}

interface PrintedFile {
  readonly path: string;
  readonly sha256: string;
  readonly objects: readonly string[];
}

export interface ProtectedAppOptions {
  readonly name: string;
  readonly version: string;
  readonly guarantee: Guarantee;
  /** From 4.4 on. */
  readonly transactionalStores?: boolean;
  readonly broker: Broker;
  readonly load: Load;
  readonly partitions: number;
  /** Whether what warmstate does asks the broker. */
  readonly asksBrokers?: boolean;
  /** The state directory and the repository lie below it. */
  readonly directory: string;
  readonly signal: AbortSignal;
}

/** A real application and the real warmstate beside it: with topics, a state directory and a repository of its own. */
export class ProtectedApp {
  readonly name: string;
  readonly stateDir: string;
  /** The directory that serves as object store. */
  readonly repository: string;
  readonly #options: ProtectedAppOptions;
  readonly #flags: Readonly<Record<string, string>>;

  private constructor(options: ProtectedAppOptions, instance = 'pod-0') {
    const { name, guarantee, transactionalStores = false, directory, broker, asksBrokers = false } = options;
    this.name = name;
    this.#options = options;
    this.stateDir = join(directory, name);
    this.repository = join(directory, 'repository');
    this.#flags = {
      'state-dir': this.stateDir,
      'application-id': name,
      'processing-guarantee': guarantee,
      'transactional-stores': String(transactionalStores),
      destination: `file://${this.repository}`,
      instance,
      lineage: 'test',
      output: 'json',
      ...(asksBrokers ? { 'bootstrap-servers': broker.bootstrap } : {}),
    };
  }

  static async open(options: ProtectedAppOptions): Promise<ProtectedApp> {
    const app = new ProtectedApp(options);
    await mkdir(app.stateDir, { recursive: true });
    await options.broker.createTopics(options.name, options.partitions);
    return app;
  }

  /**
   * With `isCalm` it keeps its writes in memory until a checkpoint: no store has tables enough then to compact any while it is
   * closed. A compaction that begins after the last checkpoint, as on a busy machine, is refused or `live` (Q1).
   */
  start(
    options: Partial<
      Pick<
        StreamsAppOptions,
        'version' | 'commitIntervalMs' | 'cleansUp' | 'failsEvery' | 'joins' | 'release' | 'streams'
      >
    > & {
      readonly isCalm?: boolean;
    } = {},
  ): Promise<StreamsApp> {
    const { name, version, guarantee, transactionalStores = false, broker, signal } = this.#options;
    const { isCalm = false, streams = {}, ...rest } = options;
    return StreamsApp.start({
      version,
      guarantee,
      broker,
      applicationId: name,
      topics: name,
      stateDir: this.stateDir,
      // Small write buffers: tables are flushed between two checkpoints, as in a busy store of the usual size.
      ...(isCalm ? {} : { writeBufferBytes: 64 * 1024 }),
      cacheBytes: 0,
      streams: { ...(transactionalStores ? { 'enable.transactional.statestores': 'true' } : {}), ...streams },
      ...rest,
      signal,
    });
  }

  /** The same, and what warmstate does goes by the name of another pod. */
  as(instance: string): ProtectedApp {
    return new ProtectedApp(this.#options, instance);
  }

  /** The same on another machine: what `directory` has of it is another volume and another repository. */
  async on(
    directory: string,
    { instance, ...changes }: { readonly instance?: string; readonly guarantee?: Guarantee } = {},
  ): Promise<ProtectedApp> {
    const app = new ProtectedApp({ ...this.#options, ...changes, directory }, instance);
    await mkdir(app.stateDir, { recursive: true });
    return app;
  }

  /** `warmstate run` beside it, with more flags; `prefix` as for Sidecar. */
  sidecar(
    flags: Readonly<Record<string, string>> = {},
    { prefix = [] }: { readonly prefix?: readonly string[] } = {},
  ): Sidecar {
    return Sidecar.start(argumentsOf({ ...without(this.#flags, ['output']), ...flags }), { prefix });
  }

  feed(from: number, to: number): Promise<void> {
    return this.#options.broker.feed(this.#options.name, this.#options.load, { from, to });
  }

  async snapshot(): Promise<PrintedSnapshot> {
    return JSON.parse(await this.#succeed('snapshot', this.#flags));
  }

  /** Fills the state directory, or `to`; from `snapshot` if it is named, from the object store `destination` if it is not its own. */
  async restore(
    choice: {
      readonly snapshot?: string;
      readonly to?: string;
      readonly tasks?: string;
      readonly destination?: string;
      readonly 'app-version'?: string;
      readonly 'on-failure'?: 'continue' | 'fail';
      readonly 'processing-guarantee'?: 'auto';
      readonly 'max-age'?: string;
      readonly 'bootstrap-servers'?: string;
      readonly 'max-layout'?: 'file' | 'column-family';
    } = {},
  ): Promise<readonly PrintedTask[]> {
    const flags = { ...this.#flags, 'on-failure': 'fail', ...choice };
    return JSON.parse(await this.#succeed('restore', flags)).tasks;
  }

  /** The names of all documents there are, oldest first. */
  async snapshots(): Promise<readonly string[]> {
    const flags = without(this.#flags, OF_A_POD);
    const lines = (await this.#succeed('list', flags)).split('\n').filter((line) => line !== '');
    const listed: readonly { readonly kind: string; readonly snapshot: string }[] = lines.map((line) =>
      JSON.parse(line),
    );
    return listed.filter(({ kind }) => kind === 'snapshot').map(({ snapshot }) => snapshot);
  }

  /** However it ends. */
  tryRestore(onFailure: 'continue' | 'fail'): Promise<Ended> {
    const flags = { ...this.#flags, 'on-failure': onFailure, output: 'text' };
    return warmstate(['restore', ...argumentsOf(flags)], { signal: this.#options.signal });
  }

  async inspect(): Promise<{ readonly running: boolean | null; readonly tasks: readonly { readonly task: string }[] }> {
    const flags = without(this.#flags, [
      'processing-guarantee',
      'destination',
      'instance',
      'lineage',
      'bootstrap-servers',
    ]);
    return JSON.parse(await this.#succeed('inspect', flags));
  }

  /** In which objects a snapshot has each table, by the table's place and its hash; of all tasks unless one is named. */
  async tablesOf(snapshot: string, only?: string): Promise<ReadonlyMap<string, readonly string[]>> {
    const flags = without(this.#flags, OF_A_POD);
    const { tasks }: PrintedDocument = JSON.parse(await this.#succeed('show', flags, [snapshot]));
    const chosen = tasks.filter(({ task }) => only === undefined || task === only);
    const files = chosen.flatMap(({ task, stores }) =>
      stores.flatMap((store) => store.files.map((file) => ({ task, ...file }))),
    );
    const tables = files.filter(({ path }) => path.endsWith('.sst'));
    return new Map(tables.map(({ task, path, sha256, objects }) => [`${task} ${path} ${sha256}`, objects]));
  }

  /** Reads back everything that is offered. */
  async verify(): Promise<void> {
    await this.#succeed('verify', without(this.#flags, OF_A_POD));
  }

  /** What a pod without a volume goes through. */
  async loseDisk(): Promise<void> {
    await rm(this.stateDir, { recursive: true });
    await mkdir(this.stateDir);
  }

  async #succeed(
    command: string,
    flags: Readonly<Record<string, string>>,
    operands: readonly string[] = [],
  ): Promise<string> {
    const { code, stdout, stderr } = await warmstate([command, ...operands, ...argumentsOf(flags)], {
      signal: this.#options.signal,
    });
    if (code !== 0) throw new Error(`${command} ended with ${code}: ${stderr}`);
    return stdout;
  }
}

function argumentsOf(flags: Readonly<Record<string, string>>): readonly string[] {
  return Object.entries(flags).flatMap(([flag, value]) => [`--${flag}`, value]);
}

function without(flags: Readonly<Record<string, string>>, names: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(flags).filter(([flag]) => !names.includes(flag)));
}
