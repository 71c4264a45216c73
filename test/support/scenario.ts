import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { takeSnapshot } from '../../src/agent/snapshot.ts';
import type { SnapshotResult } from '../../src/agent/snapshot-result.ts';
import { type Clock, systemClock, systemRandom } from '../../src/base/clock.ts';
import { Budget } from '../../src/base/concurrency.ts';
import { askDiskSpace } from '../../src/base/disk-space.ts';
import { realFiles } from '../../src/base/file-access.ts';
import type { Event } from '../../src/events/event.ts';
import type { ConsultBrokers } from '../../src/kafka/broker-facts.ts';
import type { RestoreResult } from '../../src/repository/restore-result.ts';
import type { DiskOperations } from '../../src/restore/disk.ts';
import { type RestoreSettings, restore } from '../../src/restore/restore.ts';
import { parseFileName } from '../../src/rocksdb/file-name.ts';
import { openFileStore } from '../../src/storage/file-store.ts';
import type { ObjectStore } from '../../src/storage/object-store.ts';
import { observeStore } from '../../src/storage/observed-store.ts';
import type { ApplicationState } from '../../src/streams/app-lock.ts';
import type { Guarantee } from '../../src/streams/quality.ts';
import { ModelDatabase, type ModelTable } from './model-database.ts';
import { layOut } from './recorded.ts';
import { openTempDirectory, type TempDirectory } from './temp-directory.ts';

export const APPLICATION = 'orders';
const HOUR_MS = 3_600_000;
const STALL_TIMEOUT_MS = 60_000;
const LARGE_TABLE_BYTES = 300 * 1024;
/** Longer than the ticks in which file systems stamp. */
const TICK_MS = 20;

/** Both commands sync every file: in memory, where a machine has such a place, scenarios take half the time. */
const MEMORY = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();

interface Choices {
  readonly instance?: string;
  readonly guarantee?: Guarantee;
  readonly store?: ObjectStore;
  /** Of the application; as a function, asked each time. */
  readonly state?: ApplicationState | (() => ApplicationState);
  readonly signal?: AbortSignal;
  readonly clock?: Clock;
  readonly disk?: DiskOperations;
  readonly stallTimeoutMs?: number;
  readonly consultBrokers?: ConsultBrokers;
}

/** A recorded state directory, a repository on a directory, and what the two commands do between them. */
export class Scenario implements AsyncDisposable {
  readonly stateDir: string;
  readonly repositoryDir: string;
  /** What was emitted, newest last. */
  readonly events: Event[] = [];
  readonly #directory: TempDirectory;

  private constructor(directory: TempDirectory) {
    this.#directory = directory;
    this.stateDir = join(directory.path, 'state');
    this.repositoryDir = join(directory.path, 'repository');
  }

  static async open(recording?: string): Promise<Scenario> {
    const scenario = new Scenario(await openTempDirectory(MEMORY));
    if (recording !== undefined) await layOut(recording, scenario.stateDir);
    return scenario;
  }

  get applicationDirectory(): string {
    return join(this.stateDir, APPLICATION);
  }

  get path(): string {
    return this.#directory.path;
  }

  /** The settings of both commands on the command line. */
  get flags(): readonly string[] {
    return Object.entries(this.#settings).flatMap(([flag, value]) => [`--${flag}`, value]);
  }

  /** The same for any command, in the environment. */
  get environment(): Readonly<Record<string, string>> {
    const settings = Object.entries(this.#settings);
    return Object.fromEntries(
      settings.map(([flag, value]) => [`WARMSTATE_${flag.toUpperCase().replaceAll('-', '_')}`, value]),
    );
  }

  async snapshot(
    choices: Choices & { readonly maxAgeMs?: number; readonly compression?: 'zstd' | 'none' } = {},
  ): Promise<SnapshotResult> {
    return takeSnapshot(
      {
        ...this.#who(choices),
        compression: choices.compression ?? 'zstd',
        concurrency: 4,
        maxAgeMs: choices.maxAgeMs ?? 23 * HOUR_MS,
        keepWithinMs: 6 * HOUR_MS,
      },
      { ...(await this.#world(choices)), memory: new Budget(32 * 1024 * 1024) },
    );
  }

  async restore(choices: Choices & Partial<RestoreSettings> = {}): Promise<RestoreResult> {
    return restore(
      {
        ...this.#who(choices),
        isDrill: false,
        appVersion: undefined,
        snapshot: undefined,
        selection: { kind: 'auto' },
        replicas: undefined,
        waitForFinalMs: 0,
        concurrency: 4,
        maxAgeMs: 23 * HOUR_MS,
        layoutMax: 'column-family',
        stateDirLimitBytes: undefined,
        bytesMax: undefined,
        isDryRun: false,
        ...choices,
      },
      await this.#world(choices),
    );
  }

  /** Makes a task with a store `agg` whose tables are large enough to be sent by themselves. */
  async plantTask(task: string, tables: readonly ModelTable[]): Promise<ModelDatabase> {
    const database = new ModelDatabase(join(this.applicationDirectory, task, 'rocksdb/agg'));
    database.change({ add: tables.map((table) => ({ sizeBytes: LARGE_TABLE_BYTES, ...table })) });
    await this.checkpoint(task, 100);
    return database;
  }

  /** Writes the checkpoint of a planted task as Kafka Streams does, a tick after everything that was written. */
  async checkpoint(task: string, offset: number): Promise<void> {
    await delay(TICK_MS);
    const path = join(this.applicationDirectory, task, '.checkpoint');
    await writeFile(`${path}.tmp`, `0\n1\n${APPLICATION}-agg-changelog 0 ${offset}\n`);
    await rename(`${path}.tmp`, path);
    await delay(TICK_MS);
  }

  /** Changes some lines of a recorded checkpoint, and writes it as Kafka Streams does. */
  async rewriteCheckpoint(task: string, change: (line: string) => string | undefined): Promise<void> {
    const path = join(this.applicationDirectory, task, '.checkpoint');
    const [version, , ...lines] = (await readFile(path, 'utf8')).trimEnd().split('\n');
    const changed = lines.map(change).filter((line) => line !== undefined);
    await writeFile(`${path}.tmp`, `${[version, changed.length, ...changed].join('\n')}\n`);
    await rename(`${path}.tmp`, path);
  }

  async moveOffsets(task: string, by: number): Promise<void> {
    await this.rewriteCheckpoint(task, (line) => line.replace(/\d+$/, (offset) => String(Number(offset) + by)));
  }

  /** Loses the application's directory and what warmstate noted beside it. */
  async loseDisk(): Promise<void> {
    for (const name of await readdir(this.stateDir)) await rm(join(this.stateDir, name), { recursive: true });
  }

  /** sha256 of everything that travels, by path below the state directory. */
  async hashes(): Promise<Readonly<Record<string, string>>> {
    return hashesOf(this.stateDir);
  }

  /** Files of the repository below a folder (`data`, `snapshots`, `records`), absolute, sorted. */
  async objects(folder: string): Promise<readonly string[]> {
    const root = join(this.repositoryDir, APPLICATION, 'test', folder);
    return (await listFiles(root)).map((path) => join(root, path));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#directory[Symbol.asyncDispose]();
  }

  get #settings(): Readonly<Record<string, string>> {
    return {
      'state-dir': this.stateDir,
      'application-id': APPLICATION,
      'processing-guarantee': 'at_least_once',
      destination: `file://${this.repositoryDir}`,
      instance: 'pod-0',
      lineage: 'test',
      output: 'json',
    };
  }

  #who(choices: Choices) {
    return {
      stateDir: this.stateDir,
      applicationId: APPLICATION,
      processingGuarantee: choices.guarantee ?? 'at_least_once',
      transactionalStores: false,
      instance: choices.instance ?? 'pod-0',
      lineage: 'test',
      program: 'warmstate test',
    };
  }

  async #world(choices: Choices) {
    const traffic = { requests: 0, receivedBytes: 0 };
    const { clock = systemClock, state = 'stopped' } = choices;
    const inner = choices.store ?? (await openFileStore(this.repositoryDir, { clock, random: systemRandom }));
    const store = observeStore(inner, {
      clock: systemClock,
      stallTimeoutMs: choices.stallTimeoutMs ?? STALL_TIMEOUT_MS,
      onRequest: ({ operation, sizeBytes }) => {
        traffic.requests += 1;
        if (operation === 'get') traffic.receivedBytes += sizeBytes;
      },
    });
    return {
      store,
      traffic: () => traffic,
      files: realFiles,
      askSpace: askDiskSpace,
      askLock: async () => (typeof state === 'function' ? state() : state),
      ...(choices.disk === undefined ? {} : { disk: choices.disk }),
      consultBrokers: choices.consultBrokers,
      clock,
      random: systemRandom,
      emit: (event: Event) => void this.events.push(event),
      signal: choices.signal ?? new AbortController().signal,
    } as const;
  }
}

/** sha256 of everything that travels, by path below a state directory. */
export async function hashesOf(stateDir: string): Promise<Readonly<Record<string, string>>> {
  const hashes: Record<string, string> = {};
  for (const path of await listFiles(stateDir)) {
    if (!travels(path)) continue;
    hashes[path] = createHash('sha256')
      .update(await readFile(join(stateDir, path)))
      .digest('hex');
  }
  return hashes;
}

export async function listFiles(directory: string): Promise<readonly string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  return files.map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1)).sort();
}

function travels(path: string): boolean {
  const name = path.split('/').at(-1) ?? '';
  const kind = parseFileName(name)?.kind;
  if (path.startsWith('.warmstate/')) return false;
  return (
    name === '.checkpoint' ||
    name.endsWith('.position') ||
    kind === 'table' ||
    kind === 'manifest' ||
    kind === 'current'
  );
}
