import { type AgentSettings, createAgent } from '../../../src/agent/agent.ts';
import { Budget } from '../../../src/base/concurrency.ts';
import { Failure, isFailure } from '../../../src/base/failure.ts';
import type { Event } from '../../../src/events/event.ts';
import type { RestoreResult } from '../../../src/repository/restore-result.ts';
import { restore } from '../../../src/restore/restore.ts';
import type { ObjectStore } from '../../../src/storage/object-store.ts';
import { MemoryDisk } from '../memory-disk.ts';
import type { Bucket } from './bucket.ts';
import type { Chance } from './chance.ts';
import { APPLICATION, type Cluster } from './cluster.ts';
import type { TableContents } from './database.ts';
import { ModelApp, STATE_DIR } from './model-app.ts';
import { filesOf, operationsOf, SimulatedProcess } from './process.ts';
import type { RepositoryWatch } from './repository-watch.ts';
import type { WorldClock } from './world-clock.ts';

export const LINEAGE = 'sim';
const PROGRAM = 'warmstate simulation';
const DEADLINE_MS = 10 * 60_000;

export interface PodSettings extends Pick<AgentSettings, 'maxAgeMs' | 'keepWithinMs' | 'intervalMs' | 'prunes'> {
  /** Whether what it restores takes long to come. */
  readonly hasSlowLine: boolean;
  /** Whether its node has watches left. */
  readonly watches: boolean;
}

export interface PodWorld {
  readonly clock: WorldClock;
  readonly bucket: Bucket;
  readonly watch: RepositoryWatch;
  readonly cluster: Cluster;
  readonly contents: TableContents;
  readonly chance: Chance;
  readonly trace: (line: string) => void;
}

/** A process of ours that was started, and what became of it. */
export interface Life<T> {
  readonly process: SimulatedProcess;
  readonly stopping: AbortController;
  readonly killed: AbortController;
  isOver: boolean;
  /** What is older it offers no more. */
  readonly maxAgeMs?: number;
  result?: T;
  /** No Failure: a bug. */
  bug?: unknown;
  /** What it says of every task. */
  describe?: () => string;
  whyNot?: (task: string) => string | undefined;
}

/** What outlives a pod: its files, stamped by the clock of the node that it is mounted on. */
export interface Volume {
  readonly disk: MemoryDisk;
  /** What the node's wall clock is ahead of the right time. */
  skewMs: number;
}

export function makeVolume({ clock }: Pick<PodWorld, 'clock'>): Volume {
  const wall = { skewMs: 0, nowMs: (): number => clock.nowMs + wall.skewMs };
  return Object.assign(wall, { disk: new MemoryDisk({ clock: wall }) });
}

/** One Kafka Streams pod: its volume, its clock, the application, and our two containers beside it. */
export class Pod {
  readonly name: string;
  readonly settings: PodSettings;
  readonly volume: Volume;
  hasTurnedClock = false;
  app: ModelApp | undefined;
  /** When its application is started again, by the steady clock of the world. */
  restartsAtMs: number | undefined;
  restoring: Life<RestoreResult> | undefined;
  sidecar: Life<void> | undefined;
  /** Tasks that our restore installed since the application last held the volume, and when, by the steady clock of the world. */
  readonly installed = new Map<string, number>();
  readonly #world: PodWorld;
  #hint: (task: string) => void = () => {};
  #lives = 0;

  constructor(name: string, world: PodWorld, options: { readonly settings: PodSettings; readonly volume: Volume }) {
    this.name = name;
    this.#world = world;
    this.settings = options.settings;
    this.volume = options.volume;
    this.disk.makeDirectory(STATE_DIR);
  }

  get disk(): MemoryDisk {
    return this.volume.disk;
  }

  /** Everything of it that may still act. */
  get lives(): readonly Life<unknown>[] {
    const { restoring, sidecar } = this;
    return [restoring, sidecar].flatMap((life): Life<unknown>[] => (life?.isOver === false ? [life] : []));
  }

  startApp(): void {
    const { cluster, contents, chance, clock } = this.#world;
    this.app = new ModelApp({ disk: this.disk, cluster, contents, chance, nowMs: () => clock.nowMs });
  }

  /** The node's watches tell of a checkpoint that was rewritten. */
  hint(task: string): void {
    if (this.settings.watches && this.sidecar?.process.isFrozen === false) this.#hint(task);
  }

  startRestore(choices: { readonly replicas?: number } = {}): Life<RestoreResult> {
    const { bucket, chance, clock, watch } = this.#world;
    const life = this.#begin<RestoreResult>('restore');
    const { process } = life;
    watch.follow(process);
    const takeBack = clock.wakeAfter(DEADLINE_MS, () =>
      life.killed.abort(new Failure('deadline', 'the restore is not done in time')),
    );
    const { maxAgeMs, hasSlowLine: isSlow } = this.settings;
    const running = restore(
      {
        maxAgeMs,
        ...this.#who(),
        isDrill: false,
        appVersion: undefined,
        snapshot: undefined,
        selection: { kind: 'auto' },
        replicas: choices.replicas,
        waitForFinalMs: 60_000,
        layoutMax: 'column-family',
        stateDirLimitBytes: undefined,
        bytesMax: undefined,
        isDryRun: false,
      },
      {
        ...this.#tools(process, bucket.viewOf(process, { isSlow })),
        traffic: () => ({ requests: 0, receivedBytes: 0 }),
        disk: operationsOf(process, this.disk.operations),
        random: chance,
        signal: life.killed.signal,
      },
    );
    this.#watch(life, running, (result) => {
      takeBack();
      for (const { task, decision } of result.tasks) if (decision === 'warm') this.installed.set(task, clock.steadyMs);
      const told = result.tasks.map(
        ({ task, decision, why }) => `${task} ${decision}${why === undefined ? '' : ` ${why.reason}`}`,
      );
      this.#world.trace(`${process.name} ${result.outcome}: ${told.join(', ')}`);
    });
    this.restoring = life;
    return life;
  }

  startSidecar(): Life<void> {
    const { bucket, chance } = this.#world;
    const life = this.#begin<void>('run');
    const { process } = life;
    const { watches, hasSlowLine: _, ...settings } = this.settings;
    const agent = createAgent(
      {
        ...settings,
        ...this.#who(),
        compression: 'none',
        bandwidthBytesPerSecond: 2 ** 30,
        terminationGracePeriodMs: undefined,
        stateDirLimitBytes: undefined,
      },
      {
        ...this.#tools(process, undefined),
        connect: async () => ({ store: bucket.viewOf(process), traffic: () => ({ requests: 0, receivedBytes: 0 }) }),
        openWatcher: (onHint) => {
          this.#hint = onHint;
          return { isWatching: watches, watchOnly: () => {}, [Symbol.asyncDispose]: async () => {} };
        },
        random: chance,
        memory: new Budget(32 * 1024 * 1024),
      },
    );
    life.describe = () =>
      agent
        .status()
        .tasks.map(({ task, state, why }) => `${task} ${state} ${why?.reason ?? ''} ${why?.message ?? ''}`)
        .join('; ');
    life.whyNot = (task) => agent.status().tasks.find((one) => one.task === task)?.why?.reason;
    this.#watch(life, agent.run({ stopping: life.stopping.signal, killed: life.killed.signal }), () => {});
    this.sidecar = life;
    return life;
  }

  /** All at once, as when its node is lost. */
  kill(): void {
    this.app?.crash();
    this.app = undefined;
    for (const life of this.lives) killLife(life);
  }

  #begin<T>(role: string): Life<T> {
    this.#lives += 1;
    const process = new SimulatedProcess(
      `${this.name}/${role}${this.#lives}`,
      this.#world.clock,
      () => this.volume.skewMs,
    );
    return {
      process,
      stopping: new AbortController(),
      killed: new AbortController(),
      isOver: false,
      maxAgeMs: this.settings.maxAgeMs,
    };
  }

  #watch<T>(life: Life<T>, running: Promise<T>, onEnd: (result: T) => void): void {
    running.then(
      (result) => {
        life.isOver = true;
        this.#world.watch.letGo(life.process);
        life.result = result;
        onEnd(result);
      },
      (error: unknown) => {
        life.isOver = true;
        this.#world.watch.letGo(life.process);
        if (!isFailure(error) && !life.killed.signal.aborted) life.bug = error;
        this.#world.trace(`${life.process.name} failed: ${error instanceof Error ? error.message : String(error)}`);
      },
    );
  }

  #who() {
    return {
      stateDir: STATE_DIR,
      applicationId: APPLICATION,
      processingGuarantee: this.#world.cluster.isExactlyOnce ? 'exactly_once_v2' : 'at_least_once',
      transactionalStores: false,
      instance: this.name,
      lineage: LINEAGE,
      concurrency: 4,
      program: PROGRAM,
    } as const;
  }

  #tools<S extends ObjectStore | undefined>(process: SimulatedProcess, store: S) {
    return {
      store,
      files: filesOf(process, this.disk.files),
      askLock: () => process.call(() => (this.app === undefined ? ('stopped' as const) : ('running' as const))),
      askSpace: this.disk.askSpace,
      clock: process.clock,
      emit: (event: Event) => this.#trace(process, event),
    };
  }

  #trace(process: SimulatedProcess, event: Event): void {
    if (event.kind === 'notice') this.#world.trace(`${process.name} ${event.name}: ${event.message}`);
    if (event.kind === 'snapshot-finished')
      this.#world.trace(`${process.name} ${event.trigger} ${event.result} ${event.snapshot ?? ''}`);
    if (event.kind === 'prune-finished')
      this.#world.trace(
        `${process.name} pruned ${event.documents} documents, ${event.objects} objects, ${event.missing} missing`,
      );
  }
}

export function killLife(life: Life<unknown>): void {
  life.process.kill();
  life.isOver = true;
}
