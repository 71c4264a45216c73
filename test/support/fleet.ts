import { setImmediate as turn } from 'node:timers/promises';
import type { Random } from '../../src/base/clock.ts';
import { Failure } from '../../src/base/failure.ts';
import { createEpoch, formatSnapshotName, repositoryKeys } from '../../src/repository/keys.ts';
import { type Claim, type EpochRecord, encodeRecord, type TaskSummary } from '../../src/repository/record.ts';
import {
  listRepository,
  type NewestSnapshot,
  openRepository,
  type Repository,
} from '../../src/repository/repository.ts';
import { Adoption } from '../../src/restore/adoption.ts';
import { describePlan, type Filled } from '../../src/restore/fill.ts';
import { OwnRecord } from '../../src/restore/own-record.ts';
import { restoreChosen } from '../../src/restore/passes.ts';
import type { OfferedEntry, PlanTerms, TaskPlan } from '../../src/restore/plan.ts';
import { takeSurvey } from '../../src/restore/survey.ts';
import { bytesBody, type ObjectPage, type ObjectStore } from '../../src/storage/object-store.ts';
import { ManualClock } from './manual-clock.ts';
import { seededRandom } from './seeded-random.ts';
import { SimulatedStore } from './simulated-store.ts';

const APPLICATION = 'orders';
const LINEAGE = 'test';
const MAX_AGE_MS = 23 * 3_600_000;
const RENEWAL_MS = 60_000;
/** As S3 has them. */
const PAGE_OBJECTS = 1000;

interface FleetOptions {
  readonly seed: number;
  /** How long a request takes; as a function, drawn anew for each. */
  readonly latencyMs?: number | ((random: Random) => number);
  /** Chance of a 503, after which the request is sent again. */
  readonly unavailable?: number;
}

/** What one pod came to. */
export interface PodOutcome {
  readonly instance: string;
  readonly epoch: string;
  readonly tasks: readonly string[];
  /** From its first request to the first download, by the fleet's clock. */
  readonly planMs: number;
  /** The largest number of times that it read one record for one choice. */
  readonly readsMax: number;
  readonly requests: number;
}

interface Pod {
  readonly record: EpochRecord;
  /** Renews its record until then. */
  readonly ending: AbortController;
}

/**
 * Pods that restore, run and end over one store, on one clock that only moves when all of them wait: their steps come in
 * an order that the seed decides. What they download is not simulated, but how long it takes.
 */
export class Fleet {
  readonly clock = new ManualClock();
  readonly random: Random;
  readonly store: SimulatedStore;
  readonly #options: FleetOptions;
  readonly #pods = new Map<string, Pod>();
  readonly #renewals: Promise<void>[] = [];
  readonly #offers = new Map<string, readonly OfferedEntry[]>();

  constructor(options: FleetOptions) {
    this.#options = options;
    this.random = seededRandom(options.seed);
    this.store = new SimulatedStore({ clock: this.clock, seed: options.seed });
  }

  /** Drives the clock until all of this is done. */
  async until<T>(work: Promise<T>): Promise<T> {
    const over: { isDone: boolean } = { isDone: false };
    const watched = work.finally(() => {
      over.isDone = true;
    });
    watched.catch(() => undefined);
    for (;;) {
      await turn();
      if (over.isDone) return watched;
      await this.clock.advanceToNext();
    }
  }

  async pass(ms: number): Promise<void> {
    await this.clock.advance(ms);
  }

  /** One that runs, and has published what it holds. */
  async run(
    instance: string,
    tasks: readonly string[],
    more: { after?: string; offset?: bigint; appVersion?: string } = {},
  ): Promise<void> {
    await this.#begin(instance, more.after, (epoch) =>
      tasks.map((task) => this.#summaryOf(task, epoch, more.offset ?? 100n)),
    );
  }

  async #begin(
    instance: string,
    restoreEpoch: string | undefined,
    summariesOf: (epoch: string) => readonly TaskSummary[],
  ): Promise<void> {
    const after = restoreEpoch === undefined ? [] : [restoreEpoch];
    const epoch = createEpoch({ storeTimeMs: this.clock.nowMs(), instance, random: this.random, after });
    const ending = new AbortController();
    const tasks = summariesOf(epoch);
    const record = this.#recordOf(instance, epoch, {
      after: restoreEpoch,
      newest: tasks.length === 0 ? undefined : 1,
      tasks,
    });
    if (tasks.length > 0)
      await this.#put(this.store, repositoryKeys(record).snapshot({ epoch, n: 1 }), new Uint8Array(10));
    await this.#putRecord(record);
    this.#pods.set(instance, { record, ending });
    this.#renewals.push(this.#renew(instance));
  }

  /** A restore that says what it claims, and no more. */
  async announce(
    instance: string,
    claims: readonly Claim[],
    { isFirst = true }: { readonly isFirst?: boolean } = {},
  ): Promise<void> {
    const storeTimeMs = isFirst ? 0 : this.clock.nowMs();
    const epoch = createEpoch({ storeTimeMs, instance, random: this.random, after: [] });
    await this.#putRecord(this.#recordOf(instance, epoch, { role: 'restore', claims }));
  }

  epochOf(instance: string): string {
    return this.#pods.get(instance)?.record.epoch ?? '';
  }

  /** Its last snapshot is published. */
  async close(instance: string, state: EpochRecord['state'] = 'sealed'): Promise<void> {
    const pod = this.#pods.get(instance);
    if (pod === undefined) throw new Error(`${instance} does not run`);
    if (state === 'sealed') pod.ending.abort();
    const record = { ...pod.record, state };
    this.#pods.set(instance, { ...pod, record });
    await this.#putRecord(record);
  }

  /** No sign of it any more. */
  kill(instance: string): void {
    this.#pods.get(instance)?.ending.abort();
  }

  async end(): Promise<void> {
    for (const { ending } of this.#pods.values()) ending.abort();
    await this.until(Promise.all(this.#renewals));
  }

  /** The restore of a pod; its sidecar runs after it, and publishes what it has. */
  async restore(
    instance: string,
    options: {
      readonly replicas?: number;
      readonly downloadMs?: number;
      readonly appVersion?: string;
      readonly waitForFinalMs?: number;
      readonly signal?: AbortSignal;
      readonly publishes?: boolean;
      readonly runs?: boolean;
      /** Comes before each of its requests; what it throws comes of that one. */
      readonly before?: (operation: string, key: string) => Promise<void>;
      readonly onFailure?: (what: string) => void;
      readonly isDamaged?: (offer: OfferedEntry) => boolean;
    } = {},
  ): Promise<PodOutcome> {
    const { signal = ALWAYS.signal, downloadMs = 1000, isDamaged = () => false } = options;
    const reads = new Map<string, number>();
    let requests = 0;
    const store = this.#slowly(async (operation, key) => {
      requests += 1;
      if (operation === 'get') reads.set(key, (reads.get(key) ?? 0) + 1);
      await options.before?.(operation, key);
    });
    const startedMs = this.clock.monotonicMs();
    let planMs: number | undefined;
    let readsMax = 0;
    const endPlan = (): void => {
      planMs ??= this.clock.monotonicMs() - startedMs;
      readsMax = Math.max(readsMax, ...reads.values());
      reads.clear();
    };
    const repository = await this.#open(store, signal);
    const listing = await listRepository(repository, { signal });
    const survey = await takeSurvey(repository, listing, {
      instance,
      maxAgeMs: MAX_AGE_MS,
      restoreEpoch: undefined,
      signal,
    });
    const terms: PlanTerms = {
      nowMs: listing.storeTimeMs,
      maxAgeMs: MAX_AGE_MS,
      guarantee: 'at_least_once',
      layoutMax: 'file',
      selection: { kind: 'all' },
      bytesMax: Number.MAX_SAFE_INTEGER,
      objection: () => undefined,
    };
    const settings = {
      instance,
      program: 'warmstate test',
      processingGuarantee: 'at_least_once',
      maxAgeMs: MAX_AGE_MS,
      appVersion: options.appVersion,
      replicas: options.replicas,
      waitForFinalMs: options.waitForFinalMs ?? 30_000,
      isDryRun: false,
    } as const;
    const tools = {
      clock: this.clock,
      random: this.random,
      signal,
      emit: () => undefined,
      onFailure: options.onFailure ?? onFailure,
    };
    const own = new OwnRecord({ ...tools, repository, listing, settings });
    const adoption = new Adoption({
      ...tools,
      repository,
      survey,
      offersOf: ({ newest }) => newest.flatMap((snapshot) => this.#offersIn(snapshot)),
      terms,
      settings,
      own,
      present: [],
    });
    const { tasks } = await restoreChosen(adoption, { locals: [], terms }, async (plans): Promise<Filled> => {
      endPlan();
      if (plans.some(({ kind }) => kind === 'warm') && !own.isShown) await own.claim('show it', adoption.claims);
      await own.whileAtWork(() => this.clock.sleep(downloadMs, signal));
      signal.throwIfAborted();
      const done = plans.map((plan) => (plan.kind === 'warm' && isDamaged(plan.offer) ? damaged(plan.task) : plan));
      return { tasks: done.map(describePlan), installed: [], cleared: [] };
    });
    endPlan();
    await own.say('say what was installed', { state: 'sealed', claims: adoption.claims });
    const warm = tasks.filter(({ decision }) => decision === 'warm');
    if (options.runs !== false) {
      const published = options.publishes === false ? [] : warm;
      // It is as far as what was restored: others would take it for lost otherwise.
      await this.#begin(instance, own.isShown ? own.epoch : undefined, (epoch) =>
        published.map(({ task, offsets }) => ({ ...this.#summaryOf(task, epoch, 0n), offsets })),
      );
    }
    return {
      instance,
      epoch: own.epoch,
      tasks: warm.map(({ task }) => task),
      planMs: planMs ?? 0,
      readsMax: readsMax ?? 0,
      requests,
    };
  }

  /** The same ones for all who see the same snapshot: hundreds of pods look at thousands of tasks. */
  #offersIn({ name, lives, tasks }: NewestSnapshot): readonly OfferedEntry[] {
    const key = `${formatSnapshotName(name)} ${lives}`;
    const known = this.#offers.get(key);
    if (known !== undefined) return known;
    const offers = tasks.map((task) => ({ ...task, ...name, lives }));
    this.#offers.set(key, offers);
    return offers;
  }

  async #renew(instance: string): Promise<void> {
    const signal = this.#pods.get(instance)?.ending.signal ?? AbortSignal.abort();
    await this.clock.sleep(this.random.fraction() * RENEWAL_MS, signal);
    while (!signal.aborted) {
      const record = this.#pods.get(instance)?.record;
      if (record !== undefined) await this.#putRecord(record);
      await this.clock.sleep(RENEWAL_MS, signal);
    }
  }

  /** The store at the end of a network. */
  #slowly(onRequest: (operation: string, key: string) => Promise<void>): ObjectStore {
    const { store, clock, random } = this;
    const { latencyMs = 20, unavailable = 0 } = this.#options;
    const travel = async (operation: string, key: string, signal: AbortSignal): Promise<void> => {
      await onRequest(operation, key);
      for (let tries = 1; ; tries++) {
        await clock.sleep(typeof latencyMs === 'number' ? latencyMs : latencyMs(random), signal);
        signal.throwIfAborted();
        if (random.fraction() >= unavailable) return;
        await clock.sleep(random.fraction() * Math.min(20_000, 100 * 2 ** tries), signal); // As the S3 client does.
      }
    };
    return {
      put: async (key, body, options) => {
        await travel('put', key, options.signal);
        return store.put(key, body, options);
      },
      get: async (key, options) => {
        await travel('get', key, options.signal);
        // Whole, and at once: what bodies do on their way is shown elsewhere, and here are hundreds of thousands.
        const facts = await store.head(key, options);
        return { ...facts, body: wholeBody(store.bytesOf(key)), [Symbol.asyncDispose]: async () => undefined };
      },
      head: async (key, options) => {
        await travel('head', key, options.signal);
        return store.head(key, options);
      },
      list: async function* (prefix, options) {
        await travel('list', prefix, options.signal);
        const objects: ObjectPage['objects'][number][] = [];
        for await (const page of store.list(prefix, options)) objects.push(...page.objects);
        const storeTimeMs = clock.nowMs();
        for (;;) {
          yield { storeTimeMs, objects: objects.splice(0, PAGE_OBJECTS) };
          if (objects.length === 0) return;
          await travel('list', prefix, options.signal);
        }
      },
      delete: async () => {
        throw new Failure('invalid', 'a restore deletes nothing');
      },
    };
  }

  #open(store: ObjectStore, signal = ALWAYS.signal): Promise<Repository> {
    return openRepository(store, { application: APPLICATION, lineage: LINEAGE, notice: () => undefined, signal });
  }

  #recordOf(instance: string, epoch: string, more: Partial<EpochRecord>): EpochRecord {
    return {
      application: APPLICATION,
      lineage: LINEAGE,
      instance,
      epoch,
      writer: 'warmstate test',
      role: 'run',
      state: 'alive',
      renewedAtMs: this.clock.nowMs(),
      guarantee: 'at_least_once',
      maxAgeMs: MAX_AGE_MS,
      keepWithinMs: 21_600_000,
      after: undefined,
      trial: undefined,
      newest: undefined,
      tasks: [],
      taints: [],
      claims: [],
      installed: [],
      appVersion: undefined,
      ...more,
    };
  }

  #summaryOf(task: string, epoch: string, offset: bigint): TaskSummary {
    return {
      task,
      quality: 'clean',
      layout: 'file',
      stateTimeMs: this.clock.nowMs(),
      capturedAtMs: this.clock.nowMs(),
      capturedBy: `${epoch}/1`,
      offsets: new Map([[`orders-agg-changelog-${task.split('_')[1] ?? ''}`, offset]]),
      sizeBytes: 1000,
    };
  }

  async #putRecord(record: EpochRecord): Promise<void> {
    await this.#put(this.store, repositoryKeys(record).record(record.epoch), encodeRecord(record));
  }

  async #put(store: ObjectStore, key: string, bytes: Uint8Array): Promise<void> {
    await store.put(key, bytesBody(bytes), ALWAYS);
  }
}

async function* wholeBody(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

function damaged(task: string): TaskPlan {
  return { kind: 'cold', task, why: { reason: 'damaged', message: 'its bytes are wrong' } };
}

function onFailure(_: string, error: unknown): void {
  throw error;
}

const ALWAYS = { signal: new AbortController().signal } as const;
