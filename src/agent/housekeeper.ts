import type { Clock, Random } from '../base/clock.ts';
import { isFailure, messageOf } from '../base/failure.ts';
import type { Emit } from '../events/event.ts';
import { type Collection, collect } from '../repository/collection.ts';
import { findCollector } from '../repository/collector.ts';
import type { Epoch } from './epoch.ts';
import type { SnapshotSettings } from './snapshot-world.ts';

/** Not at once: a pod that comes and goes leaves it to those that stay. */
const FIRST_LOOK_MS = 10 * 60_000;
/** Whoever does not collect looks this often whether it is to now. */
const LOOK_MS = 60 * 60_000;
const COLLECTION_MS = 6 * LOOK_MS;
/** By so much the store's clock and ours may come apart between two looks; beyond that ages are not believed. */
const DRIFT_MS_MAX = 10 * 60_000;

export interface HousekeeperSettings extends Pick<SnapshotSettings, 'maxAgeMs' | 'keepWithinMs' | 'program'> {
  /** Without the right to delete there is nothing to keep. */
  readonly prunes: boolean;
}

/** What of the epoch the housekeeper needs. */
export type HouseholdEpoch = Pick<Epoch, 'name' | 'repository' | 'lookAround' | 'storeTimeMs'>;

interface HousekeeperWorld {
  readonly clock: Clock;
  readonly random: Random;
  readonly emit: Emit;
}

/** Collection beside the turns of the loop, by one of all living instances (G5). */
export class Housekeeper {
  readonly #settings: HousekeeperSettings;
  readonly #world: HousekeeperWorld;
  readonly #leaving = new AbortController();
  #running: Promise<void> | undefined;
  #dueMs: number;
  /** The store's clock and ours at the last look. */
  #clocks: { readonly storeMs: number; readonly steadyMs: number } | undefined;

  constructor(settings: HousekeeperSettings, world: HousekeeperWorld) {
    this.#settings = settings;
    this.#world = world;
    this.#dueMs = world.clock.monotonicMs() + FIRST_LOOK_MS;
  }

  /** What is due goes on beside the turns and the rounds of the loop, one thing at a time; not beside its end. */
  begin(epoch: HouseholdEpoch, signal: AbortSignal, onBug: (error: unknown) => void): void {
    this.#running ??= this.keepHouse(epoch, AbortSignal.any([signal, this.#leaving.signal]))
      .catch(onBug)
      .finally(() => {
        this.#running = undefined;
      });
  }

  async end(): Promise<void> {
    this.#leaving.abort(new Error('the agent ends'));
    await this.#running;
  }

  /** Does what is due; one call at a time. Nothing of it may trouble the application: what fails is told. */
  async keepHouse(epoch: HouseholdEpoch, signal: AbortSignal): Promise<void> {
    const nowMs = this.#world.clock.monotonicMs();
    if (!this.#settings.prunes || nowMs < this.#dueMs) return;
    this.#dueMs = nowMs + LOOK_MS;
    try {
      await this.#look(epoch, signal);
    } catch (error) {
      if (signal.aborted) return;
      if (!isFailure(error)) throw error;
      const mend =
        error.detail === 'denied' ? '; grant the right to delete, or set --prune off: then another does it' : '';
      const message = `cannot remove what retention lets go: ${messageOf(error)}${mend}`;
      this.#world.emit({ kind: 'notice', name: 'prune-failed', level: 'warn', message });
    }
  }

  async #look(epoch: HouseholdEpoch, signal: AbortSignal): Promise<void> {
    await epoch.lookAround(signal);
    if (!this.#areClocksSteady(epoch.storeTimeMs)) return;
    if ((await findCollector(epoch.repository, { signal })) !== epoch.name) return;
    const { clock, random, emit } = this.#world;
    const { maxAgeMs, keepWithinMs, program } = this.#settings;
    const startedMs = clock.monotonicMs();
    const collection = await collect(epoch.repository, {
      maxAgeMs,
      keepWithinMs,
      program,
      random,
      epoch: epoch.name,
      isDryRun: false,
      signal,
    });
    this.#dueMs = clock.monotonicMs() + COLLECTION_MS;
    emit({ kind: 'prune-finished', ...countsOf(collection), durationMs: clock.monotonicMs() - startedMs });
    const [first] = collection.missing;
    if (first === undefined) return;
    const message = 'objects that snapshots need are gone: look for a lifecycle rule or a helpful human';
    emit({
      kind: 'notice',
      name: 'objects-missing',
      level: 'error',
      message,
      facts: { objects: collection.missing.length, first },
    });
    await epoch.lookAround(signal); // Its own are sent again with the next round.
  }

  /** A clock of the store that leaps makes everything look old. */
  #areClocksSteady(storeMs: number): boolean {
    const steadyMs = this.#world.clock.monotonicMs();
    const before = this.#clocks;
    this.#clocks = { storeMs, steadyMs };
    if (before === undefined) return true;
    const driftMs = storeMs - before.storeMs - (steadyMs - before.steadyMs);
    if (Math.abs(driftMs) <= DRIFT_MS_MAX) return true;
    const message = `removes nothing now: the store's clock went ${Math.round(driftMs / 1000)} s ahead of this machine's`;
    this.#world.emit({ kind: 'notice', name: 'prune-failed', level: 'warn', message });
    return false;
  }
}

function countsOf({ documents, objects, bytes, missing, repositoryBytes }: Collection) {
  return { documents, objects, bytes, missing: missing.length, repositoryBytes };
}
