import type { Clock } from '../../../src/base/clock.ts';
import type { FileAccess, HeldPath } from '../../../src/base/file-access.ts';
import type { DiskOperations } from '../../../src/restore/disk.ts';
import type { WorldClock } from './world-clock.ts';

/** What rounding leaves of a wait would be waited for again and again, while no time goes by: timers of Node's take a millisecond. */
const SLEEP_MS_MIN = 0.001;

/** As a call of a process that was killed. A new one each time: what waits for a promise stays in memory as long as it does. */
function neverComeBack(): Promise<never> {
  return new Promise(() => {});
}

/** What a process calls: the disk, the store, and of those the put of a document, which is what makes a snapshot. */
type Call = 'any' | 'request' | 'commit';

interface Ambush {
  callsLeft: number;
  /** Only such calls count; a commit is a request as well. */
  readonly on: Call;
  readonly act: () => void;
}

/**
 * One process of ours, as what it calls sees it. Before and after each call it may be frozen or killed, or the world may change:
 * a frozen one waits there until it is thawed, a killed one for ever.
 */
export class SimulatedProcess {
  readonly name: string;
  readonly #world: WorldClock;
  /** What its machine's wall clock is ahead of the right one. */
  readonly #skewMs: () => number;
  #isDead = false;
  #thaw: PromiseWithResolvers<void> | undefined;
  #frozenAtMs = 0;
  /** How long its machine was suspended: steady clocks stand still then. */
  #suspendedMs = 0;
  #isSuspended = false;
  #ambush: Ambush | undefined;

  constructor(name: string, world: WorldClock, skewMs: () => number) {
    this.name = name;
    this.#world = world;
    this.#skewMs = skewMs;
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  get isFrozen(): boolean {
    return this.#thaw !== undefined;
  }

  /** With its whole machine. */
  get isSuspended(): boolean {
    return this.isFrozen && this.#isSuspended;
  }

  readonly clock: Clock = {
    nowMs: () => this.#world.nowMs + this.#skewMs(),
    monotonicMs: () => this.#steadyMs(),
    sleep: (ms, signal) => this.#sleep(ms, signal),
  };

  kill(): void {
    this.#isDead = true;
    this.#thaw?.resolve();
  }

  /** `suspended`: with its whole machine, whose steady clock stands still meanwhile. */
  freeze({ suspended }: { readonly suspended: boolean }): void {
    if (this.#thaw !== undefined || this.#isDead) return;
    this.#thaw = Promise.withResolvers();
    this.#frozenAtMs = this.#world.steadyMs;
    this.#isSuspended = suspended;
  }

  thaw(): void {
    if (this.#thaw === undefined) return;
    if (this.#isSuspended) this.#suspendedMs += this.#world.steadyMs - this.#frozenAtMs;
    this.#thaw.resolve();
    this.#thaw = undefined;
  }

  /** Something happens before the call that comes after so many others. */
  ambush(ambush: Readonly<Ambush>): void {
    this.#ambush = { ...ambush };
  }

  /** Nothing waits for it any more. */
  leaveAlone(): void {
    this.#ambush = undefined;
  }

  /** Around a call of the process; what it does takes effect unless the process is killed before it. */
  call<T>(work: () => T | Promise<T>): Promise<T> {
    if (this.#ambush?.on === 'any') this.#spring(this.#ambush);
    return this.#goThrough(work);
  }

  /** The same, for what it asks the store for. */
  request<T>(work: () => T | Promise<T>, { isCommit = false }: { readonly isCommit?: boolean } = {}): Promise<T> {
    if (this.#ambush !== undefined && (isCommit || this.#ambush.on !== 'commit')) this.#spring(this.#ambush);
    return this.#goThrough(work);
  }

  async #goThrough<T>(work: () => T | Promise<T>): Promise<T> {
    if (this.#isHeld) await this.#hold();
    const result = await work();
    if (this.#isHeld) await this.#hold();
    return result;
  }

  /** The same for what comes in parts. */
  async *each<T>(parts: AsyncIterable<T>): AsyncGenerator<T> {
    for await (const part of parts) {
      if (this.#isHeld) await this.#hold();
      yield part;
      if (this.#isHeld) await this.#hold();
    }
  }

  #spring(ambush: Ambush): void {
    if (this.#isHeld) return;
    if (ambush.callsLeft > 0) {
      ambush.callsLeft -= 1;
      return;
    }
    this.#ambush = undefined;
    ambush.act();
  }

  get #isHeld(): boolean {
    return this.#isDead || this.#thaw !== undefined;
  }

  async #hold(): Promise<void> {
    while (this.#thaw !== undefined && !this.#isDead) await this.#thaw.promise;
    if (this.#isDead) await neverComeBack();
  }

  #steadyMs(): number {
    const nowMs = this.#isSuspended && this.#thaw !== undefined ? this.#frozenAtMs : this.#world.steadyMs;
    return nowMs - this.#suspendedMs;
  }

  async #sleep(ms: number, signal: AbortSignal): Promise<void> {
    const wakeAtMs = this.#steadyMs() + ms;
    const leastMs = ms > 0 ? SLEEP_MS_MIN : 0;
    // A sleep of no time gives way to others once.
    for (let isFirst = true; (isFirst || this.#steadyMs() < wakeAtMs) && !signal.aborted; isFirst = false) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const takeBack = this.#world.wakeAfter(Math.max(leastMs, wakeAtMs - this.#steadyMs()), resolve);
      const end = (): void => {
        takeBack();
        resolve();
      };
      signal.addEventListener('abort', end, { once: true });
      await promise;
      signal.removeEventListener('abort', end);
      if (this.#isHeld) await this.#hold();
    }
  }
}

export function filesOf(process: SimulatedProcess, files: FileAccess): FileAccess {
  return {
    list: (path) => process.call(() => files.list(path)),
    stat: (path) => process.call(() => files.stat(path)),
    hold: async (path) => {
      const held = await process.call(() => files.hold(path));
      return held === undefined ? undefined : heldBy(process, held);
    },
  };
}

function heldBy(process: SimulatedProcess, held: HeldPath): HeldPath {
  return {
    facts: held.facts,
    stat: () => process.call(() => held.stat()),
    read: (buffer, position) => process.call(() => held.read(buffer, position)),
    [Symbol.asyncDispose]: () => held[Symbol.asyncDispose](),
  };
}

/** What a restore does to a disk, each verb a call of the process; so is each write to a file that it made. */
export function operationsOf(process: SimulatedProcess, disk: DiskOperations): DiskOperations {
  return {
    makeDirectory: (path, mode) => process.call(() => disk.makeDirectory(path, mode)),
    list: (path) => process.call(() => disk.list(path)),
    remove: (path) => process.call(() => disk.remove(path)),
    rename: (from, to) => process.call(() => disk.rename(from, to)),
    copy: (from, to) => process.call(() => disk.copy(from, to)),
    create: async (path) => {
      const file = await process.call(() => disk.create(path));
      return {
        write: (bytes, position) => process.call(() => file.write(bytes, position)),
        [Symbol.asyncDispose]: () => file[Symbol.asyncDispose](),
      };
    },
    write: (path, bytes) => process.call(() => disk.write(path, bytes)),
    stamp: (path, seconds) => process.call(() => disk.stamp(path, seconds)),
    sync: (path) => process.call(() => disk.sync(path)),
  };
}
