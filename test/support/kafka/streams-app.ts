import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { Failure } from '../../../src/base/failure.ts';
import {
  contentsAfter,
  differences,
  type Load,
  RETENTION_MS,
  STORES,
  type StoreContents,
  type StoreName,
} from '../model.ts';
import type { Broker } from './broker.ts';
import { ControlledProcess, type ProcessEvent } from './controlled-process.ts';
import { applicationClassPath } from './java-programs.ts';

export interface StreamsAppOptions {
  readonly version: string;
  readonly broker: Broker;
  readonly applicationId: string;
  readonly stateDir: string;
  /** Prefix of the topics, as given to `Broker.createTopics`. */
  readonly topics: string;
  readonly guarantee: 'at_least_once' | 'exactly_once_v2';
  readonly writeBufferBytes?: number;
  readonly commitIntervalMs?: number;
  readonly cacheBytes?: number;
  readonly threads?: number;
  /** Throws at every input record whose number this divides, once in a process, and goes on; never by default. */
  readonly failsEvery?: number;
  /** Calls KafkaStreams.cleanUp() before its start. */
  readonly cleansUp?: boolean;
  /** Which topology it has; as README.md of test/streams-app says, if left out. */
  readonly release?: Release;
  /** More settings of Kafka Streams, by their names. */
  readonly streams?: Readonly<Record<string, string | number>>;
  /** Starts beside other instances, instead of waiting until the broker has forgotten them. */
  readonly joins?: boolean;
  readonly signal: AbortSignal;
}

/** See Release.java. */
export type Release = 'FIRST' | 'TABLE_FIRST' | 'WITHOUT_TABLE' | 'OTHER_GLOBAL' | 'WITHOUT_MEMORY';

/** What the application's StateRestoreListener was told about one store of one task since the application started. */
export interface Restoration {
  readonly store: string;
  /** `topic-partition` of the changelog. */
  readonly changelog: string;
  readonly startingOffset: bigint;
  readonly endingOffset: bigint;
  readonly totalRestored: bigint;
}

const RUNNING_TIMEOUT_MS = 180_000;
const CLOSE_TIMEOUT_MS = 150_000;
const CAUGHT_UP_TIMEOUT_MS = 300_000;
const SESSION_TIMEOUT_MS = 3000;
const POLL_MS = 200;

type SettingsOptions = Omit<StreamsAppOptions, 'broker' | 'signal' | 'joins'> & {
  readonly broker: Pick<Broker, 'bootstrap'>;
};
type Followed = Pick<StreamsAppOptions, 'broker' | 'applicationId' | 'topics' | 'signal'>;

/** The real Kafka Streams application of test/streams-app, in a process of its own. */
export class StreamsApp {
  readonly #java: ControlledProcess;
  readonly #options: Followed;

  private constructor(java: ControlledProcess, options: Followed) {
    this.#java = java;
    this.#options = options;
  }

  /**
   * Waits until the broker has forgotten an earlier life of the application, unless it joins one, starts it and resolves when
   * it is RUNNING.
   * Throws `unavailable` with its log if it ends or dies of an exception before.
   */
  static async start(options: StreamsAppOptions): Promise<StreamsApp> {
    const { signal } = options;
    const classPath = await applicationClassPath(options.version);
    const isEmpty = async (): Promise<boolean> => (await options.broker.memberCount(options.applicationId)) === 0;
    if (options.joins !== true)
      await waitUntil(isEmpty, {
        what: `the group ${options.applicationId} to be empty`,
        timeoutMs: 60_000,
        signal,
      });
    const java = await ControlledProcess.start('warmstate.Application', { classPath, settings: settingsOf(options) });
    return StreamsApp.at(java, options);
  }

  /** One that somebody else started; resolves when it is RUNNING. */
  static async at(java: ControlledProcess, options: Followed): Promise<StreamsApp> {
    const application = new StreamsApp(java, options);
    try {
      await application.#running();
    } catch (error) {
      await application[Symbol.asyncDispose]();
      throw error;
    }
    return application;
  }

  get pid(): number {
    return this.#java.pid;
  }

  /** What was restored since the start, in the order in which the stores were done. */
  get restorations(): readonly Restoration[] {
    return restorationsIn(this.#java.events);
  }

  /** Everything that the process said, in order: states, restorations, exceptions. */
  get events(): readonly ProcessEvent[] {
    return this.#java.events;
  }

  async contentsOf(store: StoreName): Promise<StoreContents> {
    const lines = (await this.#java.request('/dump', { store }, this.#options.signal)).split('\n').slice(0, -1);
    return new Map(
      lines.map((line) => {
        const [key = '', value = ''] = line.split('\t');
        return [key, value];
      }),
    );
  }

  /** Where the stores differ from what the records 0 to `records` - 1 must leave in them; no line means equal. */
  async differencesFrom(records: number, load: Load): Promise<readonly string[]> {
    const expected = contentsAfter(records, load);
    const found: string[] = [];
    for (const store of STORES) {
      const lines = differences(await this.contentsOf(store), expected[store]);
      found.push(...lines.map((line) => `${store} ${line}`));
    }
    return found;
  }

  /** Resolves when everything in the topics is processed and committed: the records 0 to `records` - 1 of `load`. */
  async caughtUp(records: number, load: Load): Promise<void> {
    await this.committed();
    // Nothing is committed for a global table: its contents tell.
    const { glob } = contentsAfter(records, load);
    await waitUntil(async () => differences(await this.contentsOf('glob'), glob).length === 0, {
      what: `${this.#options.applicationId} to read its global table to the end`,
      timeoutMs: CAUGHT_UP_TIMEOUT_MS,
      signal: this.#options.signal,
    });
  }

  /** Resolves when everything in the topics but the global one is processed and committed. */
  async committed(): Promise<void> {
    const { broker, applicationId, topics, signal } = this.#options;
    await waitUntil(
      async () => {
        const ends = await broker.endOffsets();
        const committed = await broker.committedOffsets(applicationId);
        const read = [...ends].filter(([partition]) => new RegExp(`^${topics}-(input|table)-\\d+$`).test(partition));
        return read.every(([partition, end]) => (committed.get(partition) ?? 0n) === end);
      },
      { what: `${applicationId} to commit the ends of its topics`, timeoutMs: CAUGHT_UP_TIMEOUT_MS, signal },
    );
  }

  /** The tasks that it has now. */
  async tasks(): Promise<{ readonly active: readonly string[]; readonly standby: readonly string[] }> {
    return localTasks.parse(JSON.parse(await this.#java.request('/tasks', {}, this.#options.signal)));
  }

  /** How many records it is behind its changelogs, where it is furthest behind; of standby tasks, too. */
  async lag(): Promise<number> {
    return lag.parse(JSON.parse(await this.#java.request('/lag', {}, this.#options.signal))).records;
  }

  /** Closes Kafka Streams cleanly and ends the process. */
  async close(): Promise<void> {
    const signal = AbortSignal.any([this.#options.signal, AbortSignal.timeout(CLOSE_TIMEOUT_MS)]);
    const answer = await this.#java.request('/close', {}, signal);
    if (answer !== '{"closed":true}')
      throw new Failure('deadline', `${this.#options.applicationId} did not close: ${answer}`);
    await this.#java.kill();
  }

  /** kill -9. */
  async kill(): Promise<void> {
    await this.#java.kill();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#java.kill();
  }

  async #running(): Promise<void> {
    const outcome = await this.#java.waitFor(
      (events) =>
        events.find(
          (event) => event.event === 'exception' || event['state'] === 'RUNNING' || event['state'] === 'ERROR',
        ),
      { what: 'reach RUNNING', timeoutMs: RUNNING_TIMEOUT_MS, signal: this.#options.signal },
    );
    if (outcome['state'] !== 'RUNNING') {
      throw new Failure(
        'unavailable',
        `cannot start ${this.#options.applicationId}: ${JSON.stringify(this.#java.events, undefined, 2)}`,
      );
    }
  }
}

/** As arguments of the program. */
export function settingsOf(options: SettingsOptions): Readonly<Record<string, string | number>> {
  const is28 = options.version.startsWith('2.');
  const streams = Object.entries(options.streams ?? {}).map(([name, value]) => [`streams.${name}`, value]);
  return {
    ...Object.fromEntries(streams),
    release: options.release ?? 'FIRST',
    applicationId: options.applicationId,
    bootstrap: options.broker.bootstrap,
    stateDir: options.stateDir,
    topics: options.topics,
    // The second version of exactly-once was called beta until 3.0.
    guarantee: is28 && options.guarantee === 'exactly_once_v2' ? 'exactly_once_beta' : options.guarantee,
    writeBufferBytes: options.writeBufferBytes ?? 16 * 1024 * 1024, // Kafka's own default.
    commitIntervalMs: options.commitIntervalMs ?? 500,
    cacheBytes: options.cacheBytes ?? 0, // Every record reaches store and changelog.
    threads: options.threads ?? 1,
    failsEvery: options.failsEvery ?? 0,
    cleansUp: String(options.cleansUp ?? false),
    retentionMs: RETENTION_MS,
    sessionTimeoutMs: SESSION_TIMEOUT_MS,
  };
}

const taskIds = z.string().transform((text) => text.split(' ').filter((id) => id !== ''));
const localTasks = z.object({ active: taskIds, standby: taskIds });
const lag = z.object({ records: z.number() });

function restorationsIn(events: readonly ProcessEvent[]): readonly Restoration[] {
  const starts = new Map<string, ProcessEvent>();
  const restorations: Restoration[] = [];
  for (const event of events) {
    const changelog = `${String(event['topic'])}-${String(event['partition'])}`;
    if (event.event === 'restoreStart') starts.set(changelog, event);
    const start = starts.get(changelog);
    if (event.event !== 'restoreEnd' || start === undefined) continue;
    restorations.push({
      store: String(event['store']),
      changelog,
      startingOffset: BigInt(String(start['startingOffset'])),
      endingOffset: BigInt(String(start['endingOffset'])),
      totalRestored: BigInt(String(event['totalRestored'])),
    });
  }
  return restorations;
}

export async function waitUntil(
  isDone: () => Promise<boolean>,
  options: { readonly what: string; readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<void> {
  const deadlineMs = performance.now() + options.timeoutMs;
  while (!(await isDone())) {
    if (performance.now() > deadlineMs)
      throw new Failure('deadline', `waited more than ${options.timeoutMs} ms for ${options.what}`);
    await delay(POLL_MS, undefined, { signal: options.signal });
  }
}
