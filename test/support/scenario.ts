import { createHash } from 'node:crypto';
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { takeSnapshot } from '../../src/agent/snapshot.ts';
import type { SnapshotResult } from '../../src/agent/snapshot-result.ts';
import { systemClock, systemRandom } from '../../src/base/clock.ts';
import { Budget } from '../../src/base/concurrency.ts';
import { realFiles } from '../../src/base/file-access.ts';
import type { Event } from '../../src/events/event.ts';
import type { RestoreResult } from '../../src/repository/restore-result.ts';
import { type RestoreSettings, restore } from '../../src/restore/restore.ts';
import { parseFileName } from '../../src/rocksdb/file-name.ts';
import { openFileStore } from '../../src/storage/file-store.ts';
import type { ObjectStore } from '../../src/storage/object-store.ts';
import { observeStore } from '../../src/storage/observed-store.ts';
import type { ApplicationState } from '../../src/streams/app-lock.ts';
import type { Guarantee } from '../../src/streams/quality.ts';
import { layOut } from './recorded.ts';
import { openTempDirectory, type TempDirectory } from './temp-directory.ts';

export const APPLICATION = 'orders';
const HOUR_MS = 3_600_000;
const STALL_TIMEOUT_MS = 60_000;

interface Choices {
  readonly instance?: string;
  readonly guarantee?: Guarantee;
  readonly store?: ObjectStore;
  readonly state?: ApplicationState;
  readonly signal?: AbortSignal;
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
    const scenario = new Scenario(await openTempDirectory());
    if (recording !== undefined) await layOut(recording, scenario.stateDir);
    return scenario;
  }

  get applicationDirectory(): string {
    return join(this.stateDir, APPLICATION);
  }

  get path(): string {
    return this.#directory.path;
  }

  async snapshot(choices: Choices & { readonly maxAgeMs?: number } = {}): Promise<SnapshotResult> {
    return takeSnapshot(
      {
        ...this.#who(choices),
        compression: 'zstd',
        concurrency: 4,
        maxAgeMs: choices.maxAgeMs ?? 23 * HOUR_MS,
      },
      { ...(await this.#world(choices)), memory: new Budget(32 * 1024 * 1024) },
    );
  }

  async restore(choices: Choices & Partial<RestoreSettings> = {}): Promise<RestoreResult> {
    return restore(
      {
        ...this.#who(choices),
        isDrill: false,
        snapshot: undefined,
        selection: { kind: 'auto' },
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

  /** Loses the application's directory and what warmstate noted beside it. */
  async loseDisk(): Promise<void> {
    for (const name of await readdir(this.stateDir)) await rm(join(this.stateDir, name), { recursive: true });
  }

  /** sha256 of everything that travels, by path below the state directory. */
  async hashes(): Promise<Readonly<Record<string, string>>> {
    const hashes: Record<string, string> = {};
    for (const path of await listFiles(this.stateDir)) {
      if (travels(path))
        hashes[path] = createHash('sha256')
          .update(await readFile(join(this.stateDir, path)))
          .digest('hex');
    }
    return hashes;
  }

  /** Files of the repository below a folder (`data`, `snapshots`, `records`), absolute, sorted. */
  async objects(folder: string): Promise<readonly string[]> {
    const root = join(this.repositoryDir, APPLICATION, 'test', folder);
    return (await listFiles(root)).map((path) => join(root, path));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#directory[Symbol.asyncDispose]();
  }

  #who(choices: Choices) {
    return {
      stateDir: this.stateDir,
      applicationId: APPLICATION,
      processingGuarantee: choices.guarantee ?? 'at_least_once',
      instance: choices.instance ?? 'pod-0',
      lineage: 'test',
      program: 'warmstate test',
    };
  }

  async #world(choices: Choices) {
    const traffic = { requests: 0, receivedBytes: 0 };
    const inner =
      choices.store ?? (await openFileStore(this.repositoryDir, { clock: systemClock, random: systemRandom }));
    const store = observeStore(inner, {
      clock: systemClock,
      stallTimeoutMs: STALL_TIMEOUT_MS,
      onRequest: ({ operation, sizeBytes }) => {
        traffic.requests += 1;
        if (operation === 'get') traffic.receivedBytes += sizeBytes;
      },
    });
    return {
      store,
      traffic: () => traffic,
      files: realFiles,
      askLock: async () => choices.state ?? 'stopped',
      clock: systemClock,
      random: systemRandom,
      emit: (event: Event) => void this.events.push(event),
      signal: choices.signal ?? new AbortController().signal,
    } as const;
  }
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
