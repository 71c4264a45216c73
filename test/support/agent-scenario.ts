import { setTimeout as delay } from 'node:timers/promises';
import { type Agent, type AgentSettings, type AgentWorld, createAgent } from '../../src/agent/agent.ts';
import { systemRandom } from '../../src/base/clock.ts';
import { Budget } from '../../src/base/concurrency.ts';
import { type FileAccess, realFiles } from '../../src/base/file-access.ts';
import type { AgentStatus, TaskStatus } from '../../src/events/agent-status.ts';
import type { Event } from '../../src/events/event.ts';
import { decodeDocument, type SnapshotDocument } from '../../src/repository/document.ts';
import { decodeRecord, type EpochRecord } from '../../src/repository/record.ts';
import type { ObjectStore } from '../../src/storage/object-store.ts';
import { observeStore } from '../../src/storage/observed-store.ts';
import type { ApplicationState } from '../../src/streams/app-lock.ts';
import { ManualClock } from './manual-clock.ts';
import { APPLICATION, Scenario } from './scenario.ts';
import { SimulatedStore } from './simulated-store.ts';

const HOUR_MS = 3_600_000;
/** The clock of the story runs ahead of the machine's: what is written on the way never has a stamp of the future. */
const AHEAD_MS = 10 * 60_000;
/** As long as the machine may take for something that the story does in no time. */
const PATIENCE_MS = 60_000;
const STEP_MS = 250;

type Finished = Extract<Event, { kind: 'snapshot-finished' }>;

interface Choices {
  readonly settings?: Partial<AgentSettings>;
  /** Default: none; hints are given by hand, as `hint`. */
  readonly watches?: boolean;
  readonly store?: ObjectStore;
  readonly askSpace?: AgentWorld['askSpace'];
  readonly files?: FileAccess;
  readonly stallTimeoutMs?: number;
}

/** A running agent on a clock that the test moves, beside a state directory and a repository in memory. */
export class AgentScenario implements AsyncDisposable {
  readonly clock = new ManualClock({ startMs: Date.now() + AHEAD_MS });
  readonly store = new SimulatedStore({ clock: this.clock });
  readonly disk: Scenario;
  readonly events: Event[] = [];
  /** Files and directories that were opened. */
  opened = 0;
  #filesInUse = 0;
  lock: ApplicationState = 'running';
  #life: Life | undefined;

  private constructor(disk: Scenario) {
    this.disk = disk;
  }

  static async open(recording?: string): Promise<AgentScenario> {
    return new AgentScenario(await Scenario.open(recording));
  }

  /** Begins a life of the agent; the one before must have ended. */
  start(choices: Choices = {}): Agent {
    const life: Life = { stopping: new AbortController(), killed: new AbortController(), hint: () => {}, ended: false };
    const traffic = { requests: 0, receivedBytes: 0 };
    const store = observeStore(choices.store ?? this.store, {
      clock: this.clock,
      stallTimeoutMs: choices.stallTimeoutMs ?? 60_000,
      onRequest: () => void (traffic.requests += 1),
    });
    const agent = createAgent(
      {
        stateDir: this.disk.stateDir,
        applicationId: APPLICATION,
        processingGuarantee: 'at_least_once',
        transactionalStores: false,
        instance: 'pod-0',
        lineage: 'test',
        compression: 'zstd',
        concurrency: 4,
        maxAgeMs: 23 * HOUR_MS,
        keepWithinMs: 6 * HOUR_MS,
        program: 'warmstate test',
        intervalMs: 5 * 60_000,
        bandwidthBytesPerSecond: 2 ** 30,
        terminationGracePeriodMs: undefined,
        stateDirLimitBytes: undefined,
        prunes: false,
        ...choices.settings,
      },
      {
        connect: async () => ({ store, traffic: () => traffic }),
        files: this.#counted(choices.files ?? realFiles),
        askLock: async () => this.lock,
        askSpace: choices.askSpace ?? (async () => ({ freeBytes: 2 ** 40, sizeBytes: 2 ** 40 })),
        openWatcher: (onHint) => {
          life.hint = onHint;
          return { isWatching: choices.watches ?? true, watchOnly: () => {}, [Symbol.asyncDispose]: async () => {} };
        },
        clock: this.clock,
        random: { ...systemRandom, fraction: () => 0.5 },
        memory: new Budget(32 * 1024 * 1024),
        emit: (event) => void this.events.push(event),
      },
    );
    this.#life = life;
    life.agent = agent;
    life.running = agent.run({ stopping: life.stopping.signal, killed: life.killed.signal }).then(
      () => void (life.ended = true),
      (error: unknown) => {
        life.ended = true;
        life.error = error;
      },
    );
    return agent;
  }

  get status(): AgentStatus {
    const status = this.#life?.agent?.status();
    if (status === undefined) throw new Error('no agent was started');
    return status;
  }

  /** Whether `run` has returned. */
  get hasEnded(): boolean {
    return this.#life?.ended ?? true;
  }

  /** What the rounds of all lives came to. */
  get rounds(): readonly Finished[] {
    return this.events.filter((event) => event.kind === 'snapshot-finished');
  }

  taskStatus(task: string): TaskStatus | undefined {
    return this.status.tasks.find((one) => one.task === task);
  }

  hint(task: string): void {
    this.#life?.hint(task);
  }

  /** Lets time go by in small steps until something is so; the machine gets the time that it needs. */
  async until(what: string, isSo: () => boolean, stepMs = STEP_MS): Promise<void> {
    const patience = AbortSignal.timeout(PATIENCE_MS);
    while (!isSo()) {
      if (patience.aborted) throw new Error(`in vain: ${what}; ${JSON.stringify(this.events.slice(-5))}`);
      await this.#atRest(patience);
      await this.clock.advance(stepMs);
    }
    if (this.#life?.error !== undefined) throw this.#life.error;
  }

  /** Lets so much time go by, and a turn of the loop happen in every step of it. */
  async pass(ms: number, stepMs = 1000): Promise<void> {
    const endMs = this.clock.monotonicMs() + ms;
    while (this.clock.monotonicMs() < endMs) {
      const turnedAtMs = this.#life?.agent?.status().turnedAtMs ?? 0;
      await this.clock.advance(Math.min(stepMs, endMs - this.clock.monotonicMs()));
      for (let wait = 0; wait < 200 && this.status.turnedAtMs === turnedAtMs && !this.hasEnded; wait++) await delay(1);
    }
    await delay(5);
  }

  async untilRounds(count: number): Promise<void> {
    await this.until(`${count} rounds`, () => this.rounds.length >= count);
  }

  stop(): void {
    this.#life?.stopping.abort(new Error('ended by SIGTERM'));
  }

  /** SIGTERM, and everything that follows it. */
  async end(): Promise<void> {
    this.stop();
    await this.until('the end', () => this.hasEnded);
    await this.#life?.running;
  }

  /** As a SIGKILL would, but for what is tidied in memory. */
  async kill(): Promise<void> {
    this.#life?.killed.abort(new Error('killed'));
    await this.until('the death', () => this.hasEnded);
    await this.#life?.running;
  }

  records(): readonly EpochRecord[] {
    return this.#keys('/records/').map((key) => decodeRecord(this.store.bytesOf(key), key));
  }

  /** Newest last. */
  async documents(): Promise<readonly SnapshotDocument[]> {
    return Promise.all(this.#keys('/snapshots/').map((key) => decodeDocument(this.store.bytesOf(key), key)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.hasEnded) await this.kill();
    await this.disk[Symbol.asyncDispose]();
  }

  /** No time of the story goes by while the machine works on files, however slow it is. */
  async #atRest(patience: AbortSignal): Promise<void> {
    do await delay(1);
    while (this.#filesInUse > 0 && !patience.aborted);
  }

  #keys(folder: string): readonly string[] {
    return this.store.keys().filter((key) => key.includes(folder));
  }

  #counted(files: FileAccess): FileAccess {
    const used = async <T>(work: Promise<T>): Promise<T> => {
      this.#filesInUse += 1;
      try {
        return await work;
      } finally {
        this.#filesInUse -= 1;
      }
    };
    return {
      list: (path) => used(files.list(path)),
      stat: (path) => used(files.stat(path)),
      hold: async (path) => {
        this.opened += 1;
        const held = await used(files.hold(path));
        if (held === undefined) return undefined;
        return {
          facts: held.facts,
          stat: () => used(held.stat()),
          read: (buffer, position) => used(held.read(buffer, position)),
          [Symbol.asyncDispose]: () => held[Symbol.asyncDispose](),
        };
      },
    };
  }
}

interface Life {
  readonly stopping: AbortController;
  readonly killed: AbortController;
  agent?: Agent;
  hint: (task: string) => void;
  ended: boolean;
  error?: unknown;
  running?: Promise<void>;
}
