import { isFailure } from '../base/failure.ts';
import type { SnapshotTrigger } from '../events/event.ts';
import { consulting } from '../kafka/broker-facts.ts';
import type { RecordChange } from '../repository/writer.ts';
import { Pace, paceStore } from '../storage/paced-store.ts';
import type { AgentSettings, AgentWorld } from './agent.ts';
import { ClockWatch } from './clock-watch.ts';
import { Epoch, type EpochOrder, type EpochResult } from './epoch.ts';
import { backOffMs } from './schedule.ts';
import type { Troubles } from './troubles.ts';

/** What the publisher needs of the agent's world. */
type PublisherWorld = Omit<AgentWorld, 'openWatcher'> & { readonly troubles: Troubles };

/** The epoch of a running agent, and how it gets on with the storage: which may be away, for an hour or from the start. */
export class Publisher implements AsyncDisposable {
  /** As long as the process lives: there may be no epoch, and so no looks, for hours. */
  readonly clockWatch: ClockWatch;
  readonly #settings: AgentSettings;
  readonly #world: PublisherWorld;
  readonly #pace: Pace;
  #epoch: Epoch | undefined;
  #failures = 0;
  /** A record may be written where data may not: until a round ends well, storage is not well. */
  #hasRoundFailed = false;
  #retryMs: number | undefined;
  #renewedMs = Number.NEGATIVE_INFINITY;
  #renewing: Promise<void> | undefined;
  #lookedMs: number;
  /** What the record does not say yet. */
  #news: RecordChange = {};
  #lastSuccessMs: number | undefined;
  #bytesPerSecond: number | undefined;

  constructor(settings: AgentSettings, world: PublisherWorld) {
    this.#settings = settings;
    this.#world = world;
    this.clockWatch = new ClockWatch(world.clock);
    this.#lookedMs = world.clock.monotonicMs();
    this.#pace = new Pace(settings.bandwidthBytesPerSecond, world.clock);
  }

  /** Undefined until storage has answered once. */
  get epoch(): Epoch | undefined {
    return this.#epoch;
  }

  /** After a failure: when to try again, by the steady clock. */
  get retryMs(): number | undefined {
    return this.#retryMs;
  }

  /** When the record was written last, or tried to, by the steady clock; never, where it lacks what was noted. */
  get renewedMs(): number {
    return Object.keys(this.#news).length > 0 ? Number.NEGATIVE_INFINITY : this.#renewedMs;
  }

  /** When a round last ended well, by the wall clock. */
  get lastSuccessMs(): number | undefined {
    return this.#lastSuccessMs;
  }

  /** How fast the last upload that says something about it went, from local disk. */
  get bytesPerSecond(): number | undefined {
    return this.#bytesPerSecond;
  }

  /** Lifts the limit of the round that is under way. */
  hurry(): void {
    this.#pace.set(Number.POSITIVE_INFINITY);
  }

  /** Tries to begin the epoch. Throws the Failure after it is noted. */
  async open(signal: AbortSignal): Promise<void> {
    await this.#attempt(async () => {
      const { store, traffic } = await this.#world.connect();
      const { askBrokers, troubles } = this.#world;
      const consultBrokers =
        askBrokers &&
        consulting(askBrokers, (trouble) =>
          trouble === undefined ? troubles.end('brokers') : troubles.begin('brokers', trouble),
        );
      const { clockWatch } = this;
      const world = {
        ...this.#world,
        clockWatch,
        store: paceStore(store, this.#pace),
        traffic,
        consultBrokers,
        signal,
      };
      this.#epoch = await Epoch.open(this.#settings, world, 'run');
      this.#renewedMs = this.#world.clock.monotonicMs();
    }, signal);
  }

  /** Throws the Failure of a round after it is noted. */
  async takeRound(trigger: SnapshotTrigger, order: EpochOrder, signal: AbortSignal): Promise<EpochResult> {
    const { clock, emit } = this.#world;
    const { epoch } = this;
    if (epoch === undefined) throw new Error('bug: a round was asked for before the epoch began');
    this.#pace.set(trigger === 'interval' ? this.#settings.bandwidthBytesPerSecond : Number.POSITIVE_INFINITY);
    const startedMs = clock.monotonicMs();
    const finished = { kind: 'snapshot-finished', trigger, tasks: order.tasks.length } as const;
    try {
      const result = await this.#attempt(async () => {
        // Where storage has been away a small request finds out whether it is back.
        if (this.#failures > 0) await epoch.renew({}, signal);
        this.#lookedMs = startedMs;
        return epoch.takeRound(order, signal);
      }, signal);
      this.#hasRoundFailed = false;
      this.#recover();
      this.#lastSuccessMs = clock.nowMs();
      this.#measure(result);
      const { snapshot, bytesUploaded: uploadedBytes, bytesReused: reusedBytes, durationMs } = result;
      const word = snapshot === undefined ? 'unchanged' : 'published';
      emit({ ...finished, result: word, snapshot, uploadedBytes, reusedBytes, durationMs });
      return result;
    } catch (error) {
      this.#hasRoundFailed = true;
      const durationMs = clock.monotonicMs() - startedMs;
      emit({ ...finished, result: 'failed', snapshot: undefined, uploadedBytes: 0, reusedBytes: 0, durationMs });
      throw error;
    }
  }

  /** What the record is to say with its next renewal, which is due by that; kept until there is one. Times are of our clock. */
  note(news: RecordChange): void {
    this.#news = { ...this.#news, ...news };
  }

  /** Says that the pod is about to end, or that its application is closed, for whoever goes on with what it has. */
  tell(state: 'finishing' | 'released', signal: AbortSignal): void {
    this.note({ state });
    this.beginRenewal(signal);
  }

  /** Begins to renew the record, unless it is being renewed. */
  beginRenewal(signal: AbortSignal): void {
    this.#renewing ??= this.renew({}, signal)
      .catch((error: unknown) => {
        if (!isFailure(error) && !signal.aborted) throw error;
      })
      .finally(() => {
        this.#renewing = undefined;
      });
  }

  /** Throws the Failure after it is noted. */
  async renew(change: RecordChange, signal: AbortSignal): Promise<void> {
    const nowMs = this.#world.clock.monotonicMs();
    this.#renewedMs = nowMs;
    const { epoch } = this;
    if (epoch === undefined) return;
    const news = this.#takeNews(epoch);
    await this.#attempt(() => epoch.renew({ ...news, ...change }, signal), signal);
    // Every round looks around; an application that rests has none.
    if (nowMs - this.#lookedMs < LOOK_AROUND_MS) return;
    this.#lookedMs = nowMs;
    await this.#attempt(() => epoch.lookAround(signal), signal);
  }

  /** The writer holds it from here on: what does not get through now goes with the next renewal. */
  #takeNews(epoch: Epoch): RecordChange {
    const { trial, ...news } = this.#news;
    this.#news = {};
    return trial === undefined ? news : { ...news, trial: { ...trial, atMs: epoch.toStoreTimeMs(trial.atMs) } };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#renewing;
    await this.#epoch?.[Symbol.asyncDispose]();
  }

  async #attempt<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    const { troubles, clock, random } = this.#world;
    try {
      const result = await work();
      if (!this.#hasRoundFailed) this.#recover();
      return result;
    } catch (error) {
      if (isFailure(error) && !signal.aborted) {
        this.#failures += 1;
        this.#retryMs = clock.monotonicMs() + backOffMs(this.#failures, random.fraction());
        troubles.begin('storage', error);
      }
      throw error;
    }
  }

  #recover(): void {
    this.#failures = 0;
    this.#retryMs = undefined;
    this.#world.troubles.end('storage');
  }

  /** What took no time says nothing of how fast it goes. */
  #measure({ bytesRead, durationMs }: EpochResult): void {
    if (bytesRead >= MEASURED_BYTES_MIN && durationMs > 0) this.#bytesPerSecond = (bytesRead / durationMs) * 1000;
  }
}

/** How long it may take until what others withdrew or found damaged is noticed where nothing changes. */
const LOOK_AROUND_MS = 15 * 60_000;
const MEASURED_BYTES_MIN = 1024 * 1024;
