import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { Budget } from '../base/concurrency.ts';
import { isFailure } from '../base/failure.ts';
import { type DirectoryIdentity, type FileAccess, isSameDirectory } from '../base/file-access.ts';
import { type Capture, type CaptureOutcome, captureTask } from '../capture/capture.ts';
import { ManifestTails } from '../capture/manifest-tail.ts';
import type { IsKnown } from '../capture/pinned-database.ts';
import type { Emit } from '../events/event.ts';
import { hasProgressed } from '../repository/best.ts';
import { findInstalledQuality, isAbout, type Recollection, recallSeen, recallTask } from '../repository/recall.ts';
import type { Taint } from '../repository/record.ts';
import type { RestoreReport } from '../repository/restore-result.ts';
import { parseFileName } from '../rocksdb/file-name.ts';
import { offsetsOf } from '../streams/offsets.ts';
import {
  type Guarantee,
  type Judgement,
  judge,
  type OffsetsSince,
  type Quality,
  type TaskMemory,
  type TaskSight,
  verdictUnder,
} from '../streams/quality.ts';
import type { Explanation } from '../streams/reason.ts';
import { CHECKPOINT_FILE, listTask } from '../streams/state-directory.ts';
import { offsetsWrittenMs, stateTimeMs } from '../streams/state-time.ts';
import { ClockWatch } from './clock-watch.ts';
import { withoutForeignStores } from './foreign-stores.ts';
import { findRegression } from './progress.ts';

/** What one look at a task came to; what is captured is the caller's to dispose of. */
export type Look =
  | { readonly kind: 'looked'; readonly look: LookedAt }
  | {
      readonly kind: 'refused';
      readonly why: Explanation;
      readonly judgement: Judgement | undefined;
      readonly capture: Capture | undefined;
    }
  | { readonly kind: 'gone' };

export interface LookedAt {
  readonly capture: Capture;
  readonly judgement: Judgement;
  readonly quality: Quality;
  /** When its offsets were first on disk, by our clock (A1). */
  readonly stateTimeMs: number;
  /** By how much that may be older than it is by today's clock (A5). */
  readonly olderByMs: number;
}

interface LookPlace {
  readonly applicationDirectory: string;
  readonly applicationId: string;
  readonly guarantee: Guarantee;
  readonly transactionalStores: boolean;
  /** A task that cannot be read is refused, as one of many; otherwise that is a Failure. */
  readonly passesOverUnreadable: boolean;
}

/** What earlier processes left. */
interface LookHistory extends Recollection {
  readonly report: RestoreReport | undefined;
  /** How far a directory was known to stand before this process; nothing where it is another one. */
  readonly standingOf?: (sight: TaskSight) => ReadonlyMap<string, bigint>;
  /** By how much a stamp may be older than it is by today's clock, if it may have been there at a moment of the steady one (A5). */
  readonly mayBeOlderByMs?: (wallMs: number, sinceMs: number) => number;
}

interface LookWorld {
  readonly files: FileAccess;
  readonly clock: Clock;
  /** What began before the first look, where something did. */
  readonly clockWatch?: ClockWatch | undefined;
  readonly emit: Emit;
}

export interface LookOptions {
  /** Whether the repository has a table already: then it is not opened. */
  readonly isKnown: IsKnown;
  readonly triesMax: number;
  readonly signal: AbortSignal;
}

/** Of a task: both are others whenever a look would see another checkpoint, or anything else. */
export interface Pulse {
  readonly checkpoint: string;
  readonly whole: string;
}

/** A task that Kafka threw back behind where it stood in this very directory: its topic was recreated or cut. */
export interface Regression {
  readonly why: Explanation;
  /** Of what stands there now, by our clock: what is older is of another history. */
  readonly stateTimeMs: number;
  /** Of what stands there now. */
  readonly offsets: ReadonlyMap<string, bigint>;
}

/** A checkpoint, or its absence, and since when it may have stood there. */
interface CheckpointSighting {
  readonly inode: bigint | undefined;
  readonly mtimeNs: bigint | undefined;
  readonly sinceMs: number;
  readonly seenMs: number;
}

/**
 * Looks at the tasks of one application, and remembers what every look saw: the rules of quality lean on it (Q2, Q4 to
 * Q7, D2, D4). Looks at one task follow one another, those at several may run at the same time.
 */
export class Looks implements AsyncDisposable {
  readonly #where: LookPlace;
  readonly #world: LookWorld;
  readonly #recollection: LookHistory;
  readonly #manifests: ManifestTails;
  readonly #clockWatch: ClockWatch;
  readonly #turns = new Map<string, Budget>();
  readonly #memories = new Map<string, TaskMemory>();
  readonly #checkpoints = new Map<string, CheckpointSighting>();
  /** How far each directory was seen to stand. */
  readonly #standings = new Map<string, DirectoryIdentity & { readonly offsets: ReadonlyMap<string, bigint> }>();
  readonly #regressions = new Map<string, Regression>();
  /** Whether the application is taken for running: its lock is held, or cannot be asked for. */
  isRunning = true;

  constructor(where: LookPlace, world: LookWorld, recollection: LookHistory) {
    this.#where = where;
    this.#world = world;
    this.#recollection = recollection;
    this.#manifests = new ManifestTails(world.files);
    this.#clockWatch = world.clockWatch ?? new ClockWatch(world.clock);
  }

  /** Of every task that is there, as of the last look. */
  get memories(): ReadonlyMap<string, TaskMemory> {
    return this.#memories;
  }

  /** Of the directories that are there, the last of each. */
  get regressions(): ReadonlyMap<string, Regression> {
    return this.#regressions;
  }

  /** Of which topics a directory is, told once: what is told of it later does not change it. */
  noteTopicIds(task: string, topicIds: ReadonlyMap<string, string>): void {
    const memory = this.#memories.get(task);
    if (memory === undefined) return;
    this.#memories.set(task, { ...memory, topicIds: new Map([...topicIds, ...(memory.topicIds ?? [])]) });
  }

  /** Which offsets a directory has that is valid, and since when by the clock of the store; rewritten they are as old (A2). */
  noteOffsetsSince(task: string, { offsets, stateTimeMs }: OffsetsSince): void {
    const memory = this.#memories.get(task);
    if (memory === undefined) return;
    if (memory.offsetsSince !== undefined && !hasProgressed({ offsets }, memory.offsetsSince)) return;
    this.#memories.set(task, { ...memory, offsetsSince: { offsets, stateTimeMs } });
  }

  /** Directories that an exactly-once application went on in over uncovered tables (Q6), also those that earlier lives saw. */
  get taints(): readonly Taint[] {
    const { taints: noted = [] } = this.#recollection;
    const earlier = noted.filter(({ task }) => !this.#memories.has(task));
    const seen = [...this.#memories].flatMap(([task, { tainted, device, inode, birthtimeNs }]) =>
      tainted ? [{ task, device, inode, birthtimeNs }] : [],
    );
    return [...earlier, ...seen];
  }

  /** Judged with everything that was seen before, this time included. */
  async look(task: string, options: LookOptions): Promise<Look> {
    // oxlint-disable-next-line no-underscore-dangle -- TypeScript's mark for what is only held
    using _turn = await this.#turnOf(task).acquire(1, options.signal);
    const { applicationDirectory, guarantee } = this.#where;
    const startedMs = this.#world.clock.monotonicMs();
    const tools = { ...this.#world, manifests: this.#manifests, signal: options.signal };
    const capturing = captureTask({ applicationDirectory, task }, tools, options);
    const outcome = await (this.#where.passesOverUnreadable ? unlessUnreadable(capturing) : capturing);
    if (outcome.kind === 'gone') {
      await this.#forget(task);
      return outcome;
    }
    if (outcome.kind === 'refused') {
      // What a directory that would not hold still is known for stays known: a taint must not be forgotten over it.
      const left = this.#memories.get(task) ?? recallSeen(this.#recollection, task);
      if (left !== undefined) this.#memories.set(task, left);
      return { kind: 'refused', why: outcome.why, judgement: undefined, capture: undefined };
    }
    await this.#manifests.keepOnly(
      join(applicationDirectory, task),
      outcome.capture.sight.databases.map(({ path }) => path),
    );
    const capture = withoutForeignStores(outcome.capture, this.#recollection.report);
    const sinceMs = this.#sight(task, capture.sight.checkpoint, startedMs);
    const offsetsMs = offsetsWrittenMs(capture.sight) ?? 0;
    const isOlder = this.#olderByMs(offsetsMs, sinceMs) > 0;
    const judgement = this.#judge(capture.sight, isOlder || this.#clockWatch.wasSetSince(sinceMs, offsetsMs));
    this.#noteStanding(capture);
    this.#memories.set(task, judgement.memory);
    const verdict = verdictUnder(guarantee, judgement);
    if (verdict.kind === 'refused') return { kind: 'refused', why: verdict.why, judgement, capture };
    const stateMs = stateTimeMs(capture.sight, judgement.memory);
    if (stateMs === undefined) throw new Error(`bug: ${task} is valid without offsets`);
    const olderByMs = this.#olderByMs(stateMs, stateMs === offsetsMs ? sinceMs : Number.NEGATIVE_INFINITY);
    const look = { capture, judgement, quality: verdict.quality, stateTimeMs: stateMs, olderByMs };
    return { kind: 'looked', look };
  }

  /** Reads no file, and opens none; undefined where the task is gone, or being deleted. */
  async feel(task: string, signal: AbortSignal): Promise<Pulse | undefined> {
    // oxlint-disable-next-line no-underscore-dangle -- TypeScript's mark for what is only held
    using _turn = await this.#turnOf(task).acquire(1, signal);
    this.#clockWatch.sample();
    const seenMs = this.#world.clock.monotonicMs();
    const { files } = this.#world;
    const listing = await listTask(files, this.#where.applicationDirectory, task);
    if (listing === undefined) return undefined;
    const checkpoint = await files.stat(join(listing.path, CHECKPOINT_FILE));
    this.#sight(task, checkpoint, seenMs);
    const parents = [...listing.parents].map(([path, { facts }]) => [path, String(facts.mtimeNs)]);
    const databases: unknown[] = [];
    for (const { path, facts } of listing.databases) {
      // Every flush and compaction makes a file in the directory; the edit that names it follows.
      databases.push([
        path,
        String(facts.inode),
        String(facts.mtimeNs),
        await this.#feelManifest(join(listing.path, path)),
      ]);
    }
    const { device, inode } = listing.facts;
    const ofCheckpoint = [device, inode, checkpoint?.inode, checkpoint?.mtimeNs].join();
    return {
      checkpoint: ofCheckpoint,
      whole: JSON.stringify([ofCheckpoint, parents, databases, listing.customStores]),
    };
  }

  /** Lets go of what it remembers and holds open of tasks that are gone; `present` are known to be there. */
  async forgetGone(present: ReadonlySet<string>, signal: AbortSignal): Promise<void> {
    const known = new Set([...this.#memories.keys(), ...this.#checkpoints.keys()]);
    for (const task of known.difference(present)) {
      // oxlint-disable-next-line no-underscore-dangle -- TypeScript's mark for what is only held
      using _turn = await this.#turnOf(task).acquire(1, signal);
      const isGone = (await this.#world.files.stat(join(this.#where.applicationDirectory, task))) === undefined;
      if (isGone) await this.#forget(task);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#manifests[Symbol.asyncDispose]();
  }

  /** Name and length of the newest manifest. */
  async #feelManifest(database: string): Promise<readonly unknown[] | undefined> {
    const { files } = this.#world;
    const manifests = ((await files.list(database)) ?? []).flatMap((name) => {
      const parsed = parseFileName(name);
      return parsed?.kind === 'manifest' ? [{ name, number: parsed.number }] : [];
    });
    const newest = manifests.reduce<(typeof manifests)[number] | undefined>(
      (best, one) => (best === undefined || one.number > best.number ? one : best),
      undefined,
    );
    if (newest === undefined) return undefined;
    return [newest.name, (await files.stat(join(database, newest.name)))?.sizeBytes];
  }

  #olderByMs(wallMs: number, sinceMs: number): number {
    return this.#recollection.mayBeOlderByMs?.(wallMs, sinceMs) ?? 0;
  }

  #judge(sight: TaskSight, clockWasSet: boolean): Judgement {
    const known = this.#memories.get(sight.task);
    return judge(sight, {
      applicationId: this.#where.applicationId,
      nowMs: this.#world.clock.nowMs(),
      isRunning: this.isRunning,
      clockWasSet,
      memory: known !== undefined && isAbout(known, sight) ? known : recallTask(this.#recollection, sight),
      installedQuality: findInstalledQuality(this.#recollection.report, sight),
      transactionalStores: this.#where.transactionalStores,
    });
  }

  /** Notes a checkpoint, and returns since when it may have been there: the last moment at which another one was. */
  #sight(task: string, checkpoint: Pick<CheckpointSighting, 'inode' | 'mtimeNs'> | undefined, seenMs: number): number {
    const before = this.#checkpoints.get(task);
    const { inode, mtimeNs } = checkpoint ?? {};
    const isSame = before !== undefined && before.inode === inode && before.mtimeNs === mtimeNs;
    const sinceMs = isSame ? before.sinceMs : (before?.seenMs ?? Number.NEGATIVE_INFINITY);
    this.#checkpoints.set(task, { inode, mtimeNs, sinceMs, seenMs });
    return sinceMs;
  }

  /** Every look counts, also one that captures nothing: between two snapshots a task may go far, and be thrown back. */
  #noteStanding(capture: Capture): void {
    const { task, sight } = capture;
    const known = this.#standings.get(task);
    const isKnown = known !== undefined && isSameDirectory(known, sight.facts);
    if (!isKnown) this.#regressions.delete(task);
    const before = isKnown ? known.offsets : (this.#recollection.standingOf?.(sight) ?? new Map<string, bigint>());
    const now = offsetsOf(capture.sight).offsets;
    const why = findRegression(before, now);
    if (why !== undefined)
      this.#noteRegression(task, { why, stateTimeMs: offsetsWrittenMs(sight) ?? capture.capturedAtMs, offsets: now });
    // What has no offset for now goes on to stand where it did.
    this.#standings.set(task, { ...sight.facts, offsets: new Map([...before, ...now]) });
  }

  #noteRegression(task: string, regression: Regression): void {
    this.#regressions.set(task, regression);
    const message = `${task} was thrown back: ${regression.why.message}`;
    this.#world.emit({ kind: 'notice', name: 'task-regressed', level: 'error', message });
  }

  #turnOf(task: string): Budget {
    const turn = this.#turns.get(task) ?? new Budget(1);
    this.#turns.set(task, turn);
    return turn;
  }

  async #forget(task: string): Promise<void> {
    this.#memories.delete(task);
    this.#checkpoints.delete(task);
    this.#standings.delete(task);
    this.#regressions.delete(task);
    await this.#manifests.keepOnly(join(this.#where.applicationDirectory, task), []);
  }
}

async function unlessUnreadable(capturing: Promise<CaptureOutcome>): Promise<CaptureOutcome> {
  try {
    return await capturing;
  } catch (error) {
    if (!isFailure(error, 'unavailable')) throw error;
    return { kind: 'refused', why: { reason: 'denied', message: error.message } };
  }
}
