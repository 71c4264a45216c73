import { join } from 'node:path';
import type { Clock, Random } from '../base/clock.ts';
import type { DiskSpace } from '../base/disk-space.ts';
import { Failure, isFailure, messageOf } from '../base/failure.ts';
import type { FileAccess } from '../base/file-access.ts';
import { ManifestTails } from '../capture/manifest-tail.ts';
import type { Emit } from '../events/event.ts';
import type { ConsultBrokers } from '../kafka/broker-facts.ts';
import { mayBeOlderByMs, mergeClocks, noteClock, sampleClock } from '../repository/clocks.ts';
import type { Layout } from '../repository/document.ts';
import { type Fence, whyFenced } from '../repository/fence.ts';
import { isEpochOf, parseSnapshotName } from '../repository/keys.ts';
import { isLifeOf, readRestoreReport } from '../repository/recall.ts';
import { type EpochRecord, summarise } from '../repository/record.ts';
import {
  type LoadedRecord,
  listRepository,
  loadBase,
  loadDocument,
  type Notice,
  openRepository,
  type Repository,
} from '../repository/repository.ts';
import type { InstalledTask, RestoredTask, RestoreReport, RestoreResult } from '../repository/restore-result.ts';
import { findQuarantines, tasksOnTrial, whyQuarantined } from '../repository/trial.ts';
import { loadWithdrawals, NOTHING_WITHDRAWN, tellDamage, whyWithdrawn } from '../repository/withdrawals.ts';
import type { ObjectStore } from '../storage/object-store.ts';
import type { Traffic } from '../storage/observed-store.ts';
import type { ApplicationState } from '../streams/app-lock.ts';
import type { Guarantee } from '../streams/quality.ts';
import type { Explanation } from '../streams/reason.ts';
import { assertSupportedApplication, listTasks } from '../streams/state-directory.ts';
import { Adoption } from './adoption.ts';
import { consultOn } from './broker-word.ts';
import { Doubts } from './damage.ts';
import { type DiskOperations, nodeDisk, onDisk } from './disk.ts';
import { describePlan, type Filled, fill } from './fill.ts';
import { clearLateAged, clearLateFenced } from './last-look.ts';
import { lookAtVolume } from './local.ts';
import { OwnRecord } from './own-record.ts';
import { type CarryOut, restoreAll, restoreChosen } from './passes.ts';
import { type LocalTask, type OfferedEntry, objectToNewerLayout, type PlanTerms, type TaskPlan } from './plan.ts';
import { leaveClocks, leaveReport, outcomeOf } from './report.ts';
import { openSharedDisk } from './shared-disk.ts';
import { removeLeftStaging } from './staging.ts';
import { type Survey, takeSurvey } from './survey.ts';

export interface RestoreSettings {
  /** The state directory, or the directory of `--to`. */
  readonly stateDir: string;
  /** Filled for somebody to look at: leaves no trace in the repository, and may be made. */
  readonly isDrill: boolean;
  readonly applicationId: string;
  readonly processingGuarantee: Guarantee;
  readonly transactionalStores: boolean;
  readonly instance: string;
  readonly lineage: string;
  /** Of the application that is about to start; undefined stands for all alike. */
  readonly appVersion: string | undefined;
  /** Of one snapshot only, `<epoch>/<n>`. */
  readonly snapshot: string | undefined;
  /** `auto`: what this instance had, else what nobody has, else a copy; of a named snapshot and in a drill, all. */
  readonly selection: PlanTerms['selection'] | { readonly kind: 'auto' };
  /** How many instances share the tasks; undefined for as many as were alive together. */
  readonly replicas: number | undefined;
  /** For the last snapshot of an instance that is finishing. */
  readonly waitForFinalMs: number;
  readonly concurrency: number;
  readonly maxAgeMs: number;
  readonly layoutMax: Layout;
  readonly stateDirLimitBytes: number | undefined;
  readonly bytesMax: number | undefined;
  readonly isDryRun: boolean;
  /** `warmstate 0.1.0` */
  readonly program: string;
}

export interface RestoreWorld {
  readonly store: ObjectStore;
  readonly traffic: () => Traffic;
  readonly files: FileAccess;
  /** The real one, unless something is to go wrong on purpose. */
  readonly disk?: DiskOperations;
  readonly askLock: (applicationDirectory: string) => Promise<ApplicationState>;
  /** Of the volume that a path lies on; undefined where it cannot be told. */
  readonly askSpace: (path: string) => Promise<DiskSpace | undefined>;
  /** Where the user grants it. */
  readonly consultBrokers?: ConsultBrokers | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly emit: Emit;
  /** Aborts when the process is told to end, and with a Failure `deadline` when the time is up. */
  readonly signal: AbortSignal;
}

/** Share of the limit, or of the free space, that state may take: compactions need room as well. */
const SPACE_SHARE = 0.6;

/**
 * Fills a state directory with the best that the repository has of every task, all or nothing per task. What stands in
 * the way of a single task is its reason to start cold; a Failure means that nothing could even be planned: `conflict`
 * where an application holds the directory, `missing` and `invalid` for what was named, `unavailable` for storage.
 */
export async function restore(settings: RestoreSettings, world: RestoreWorld): Promise<RestoreResult> {
  assertSupportedApplication(settings.applicationId);
  const startedMs = world.clock.monotonicMs();
  const place = await openPlace(settings, world);
  const { signal } = world;
  const disk = world.disk ?? (await openSharedDisk(settings.stateDir));
  if (!settings.isDryRun) {
    const tools = { disk, random: world.random };
    await unlessUnavailable('tidy up', world, () => removeLeftStaging(settings.stateDir, tools));
  }
  const notice: Notice = (name, message, facts) => world.emit({ kind: 'notice', name, level: 'warn', message, facts });
  const repository = await openRepository(world.store, {
    application: settings.applicationId,
    lineage: settings.lineage,
    notice,
    signal,
  });
  const askedAtMs = world.clock.nowMs();
  const listing = await listRepository(repository, { signal });
  const { storeTimeMs } = listing;
  const storeAheadMs = storeTimeMs - world.clock.nowMs();
  const sample = sampleClock(world.clock, { askedAtMs, storeTimeMs });

  const report = await readRestoreReport(settings.stateDir, world.files, notice);
  if (!settings.isDryRun && !settings.isDrill) {
    const left = {
      settings,
      timeMs: world.clock.nowMs(),
      clocks: noteClock(report?.clocks ?? [], sample),
      earlier: report,
    };
    await unlessUnavailable('note what our clock is', world, () => leaveClocks(left, disk));
  }
  await using manifests = new ManifestTails(world.files);
  const tools = { ...world, disk, manifests };
  const base =
    place.tasks.length === 0 ? undefined : await loadBase(repository, listing, { instance: settings.instance, signal });
  // Who names a snapshot to look at it elsewhere knows what is wanted.
  const isAsNamed = settings.isDrill && settings.snapshot !== undefined;
  const withdrawals = isAsNamed ? NOTHING_WITHDRAWN : await loadWithdrawals(repository, { signal });
  const { fences } = withdrawals;
  const { instance, maxAgeMs } = settings;
  const survey = await takeSurvey(repository, listing, { instance, maxAgeMs, restoreEpoch: report?.epoch, signal });
  const trials = recallTrials(
    survey.records.map(({ record }) => record),
    { settings, report, fences },
  );
  const life = findLife(survey.records, instance);
  const recollection = { base, report, taints: life?.taints };
  const clocks = noteClock(mergeClocks(report?.clocks, life?.clocks), sample);
  const olderByMs = (wallMs: number): number => mayBeOlderByMs(wallMs, clocks, sample ?? { storeAheadMs, storeTimeMs });
  const look = { recollection, settings, storeAheadMs, olderByMs, tools, ...trials };
  const found = await lookAtVolume(place, { ...look, whyFenced: (state) => whyFenced(fences, state) });
  const offers = await findOffers(repository, survey, { ...settings, signal });
  const brokers = await consultOn(
    { offers, locals: found, guarantee: settings.processingGuarantee, nowMs: listing.storeTimeMs },
    settings.isDrill ? { ...world, consultBrokers: undefined } : world, // A copy to look at is of any history.
  );
  const { locals } = brokers;
  const whyTooNew = objectToNewerLayout(locals);
  const terms: PlanTerms = {
    nowMs: listing.storeTimeMs,
    maxAgeMs,
    guarantee: brokers.guarantee,
    isCurrent: brokers.isCurrent,
    layoutMax: settings.layoutMax,
    selection: settings.selection.kind === 'auto' ? { kind: 'all' } : settings.selection,
    bytesMax: await spaceFor(settings, locals, world),
    objection: (offer) =>
      whyWithdrawn(withdrawals, offer) ?? trials.whyQuarantined(offer) ?? whyTooNew(offer) ?? brokers.objection(offer),
  };
  const own = new OwnRecord({
    ...world,
    repository,
    listing,
    settings,
    onFailure: (what, error) => noteLeftOut(what, error, world),
  });
  const offersOf = (now: Survey): readonly OfferedEntry[] => offersIn(now, instance);
  const adoption = mayChoose(settings)
    ? new Adoption({
        ...world,
        repository,
        survey,
        offersOf,
        terms,
        settings,
        own,
        present: locals.map(({ task }) => task),
        onFailure: (what, error) => noteLeftOut(what, error, world),
      })
    : undefined;
  const parts = { repository, listing, withdrawals, doubts: new Doubts(), storeAheadMs, place, settings, tools };
  const carryOut: CarryOut = async (plans, by) => {
    if (settings.isDryRun) return { tasks: plans.map(describePlan), installed: [], cleared: [] };
    if (!settings.isDrill && !own.isShown && hasSomethingOnTrial(plans, locals)) {
      await own.claim('show this restore in the repository', adoption?.claims ?? []);
    }
    return own.whileAtWork(() => fill(plans, { ...by, ...parts, locals }));
  };
  const restored =
    adoption === undefined
      ? await restoreAll(offers, { locals, terms }, carryOut)
      : await restoreChosen(adoption, { locals, terms }, carryOut);
  const filled =
    (settings.isDryRun || isAsNamed || signal.aborted
      ? undefined
      : await unlessUnavailable('look for fences once more', world, () =>
          clearLateFenced(restored, { ...parts, terms, look, report }),
        )) ?? restored;

  const resultOf = (tasks: readonly RestoredTask[]): RestoreResult => {
    const { requests, receivedBytes } = world.traffic();
    const durationMs = world.clock.monotonicMs() - startedMs;
    return {
      outcome: outcomeOf(tasks),
      tasks: brokers.estimate(tasks),
      bytesDownloaded: receivedBytes,
      requests,
      durationMs,
    };
  };
  if (settings.isDryRun) return resultOf(filled.tasks);

  if (!settings.isDrill && !signal.aborted) {
    const { concurrency, program } = settings;
    await unlessUnavailable('say in the repository what is damaged', world, async () => {
      const found = await parts.doubts.confirm({ store: world.store, concurrency, signal });
      await tellDamage(repository, found, { epoch: own.epoch, program, withdrawals, signal });
    });
  }
  const tell = async (filled: Filled): Promise<RestoreResult> => {
    const staying = locals.filter(({ task }) => !filled.cleared.includes(task));
    if (own.isShown) {
      const installed = onTrialNow(filled.installed, staying);
      const claims = adoption?.claims ?? [];
      await own.say('say in the repository what was installed', { state: 'sealed', installed, claims });
    }
    const result = resultOf(filled.tasks);
    const epoch = own.isShown ? own.epoch : undefined;
    const outcome = { settings, epoch, timeMs: world.clock.nowMs(), clocks, result };
    await unlessUnavailable('tell the processes after this one', world, () =>
      leaveReport({ ...outcome, installed: filled.installed, locals: staying, earlier: report }, disk),
    );
    return result;
  };
  const result = await tell(filled);
  // A clock that stood still with its machine does not tell; one that was set tells too much, which only makes starts cold.
  const elapsedMs = Math.max(world.clock.monotonicMs() - startedMs, world.clock.nowMs() - askedAtMs);
  const young = await clearLateAged(filled, { ...parts, terms, elapsedMs });
  return young === filled ? result : tell(young);
}

/** Whoever names a snapshot, or only looks at one elsewhere, wants all there is. */
function mayChoose({ selection, isDrill, snapshot }: RestoreSettings): boolean {
  return selection.kind === 'auto' && !isDrill && snapshot === undefined;
}

/** The newest life of this instance: what it knew of its directories, whether it could publish it or not (Q6), and of its clock. */
function findLife(records: readonly LoadedRecord[], instance: string): EpochRecord | undefined {
  return records.findLast(({ record }) => isLifeOf(record, instance))?.record;
}

/** An application's place in a state directory. */
export interface ApplicationPlace {
  readonly applicationDirectory: string;
  /** The task directories that are there. */
  readonly tasks: readonly string[];
}

async function openPlace(settings: RestoreSettings, world: RestoreWorld): Promise<ApplicationPlace> {
  const { stateDir, isDrill, isDryRun } = settings;
  const applicationDirectory = join(stateDir, settings.applicationId);
  if (isDrill && !isDryRun) await onDisk(`make ${stateDir}`, () => (world.disk ?? nodeDisk).makeDirectory(stateDir));
  const facts = await world.files.stat(stateDir);
  if (facts === undefined && isDrill) return { applicationDirectory, tasks: [] };
  // A link is followed: it is the operator's own word where the state is.
  const names = facts?.kind === 'directory' ? [] : await world.files.list(stateDir);
  if (names === undefined) {
    const what = facts === undefined ? 'does not exist' : 'is no directory';
    throw new Failure(
      facts === undefined ? 'missing' : 'invalid',
      `cannot fill the state directory ${stateDir}: it ${what}`,
      {
        hint: 'give the state.dir of the application with --state-dir, and mount its volume there',
      },
    );
  }
  const tasks = await listTasks(world.files, applicationDirectory);
  const state = await world.askLock(applicationDirectory);
  if (state === 'running' || (state === 'unknown' && tasks.length > 0)) {
    const why =
      state === 'running'
        ? 'an application holds it'
        : 'it has tasks, and this platform cannot tell whether an application holds it';
    throw new Failure('conflict', `cannot fill ${applicationDirectory}: ${why}`, {
      hint: 'stop the application first, or fill another directory with --to',
    });
  }
  return { applicationDirectory, tasks };
}

/** What earlier restores came to; whoever names a snapshot, or only looks at one elsewhere, knows what is wanted. */
function recallTrials(
  records: readonly EpochRecord[],
  given: {
    readonly settings: RestoreSettings;
    readonly report: RestoreReport | undefined;
    readonly fences: readonly Fence[];
  },
): {
  readonly onTrial: ReadonlySet<string>;
  readonly whyQuarantined: (one: InstalledTask | OfferedEntry) => Explanation | undefined;
} {
  const { isDrill, snapshot, appVersion } = given.settings;
  const isWanted = isDrill || snapshot !== undefined;
  const quarantines = isWanted ? [] : findQuarantines(records, appVersion, given.fences);
  return {
    onTrial: tasksOnTrial(records, given.report?.epoch),
    whyQuarantined: (one) => whyQuarantined(quarantines, one),
  };
}

/** What this restore installed, and what it left of an earlier one with which the application was not yet seen to live. */
function onTrialNow(installed: readonly InstalledTask[], staying: readonly LocalTask[]): readonly InstalledTask[] {
  const replaced = new Set(installed.map(({ task }) => task));
  const left = staying.flatMap(({ onTrial }) => (onTrial === undefined || replaced.has(onTrial.task) ? [] : [onTrial]));
  return [...left, ...installed];
}

async function findOffers(
  repository: Repository,
  survey: Survey,
  how: { readonly snapshot: string | undefined; readonly instance: string; readonly signal: AbortSignal },
): Promise<readonly OfferedEntry[]> {
  const { snapshot, instance, signal } = how;
  if (snapshot === undefined) return offersIn(survey, instance);
  const document = await loadDocument(repository, parseSnapshotName(snapshot), { signal });
  const { epoch, n } = document;
  return document.entries.map((entry) => ({ ...summarise(entry), epoch, n, lives: false }));
}

function offersIn({ newest }: Survey, instance: string): readonly OfferedEntry[] {
  return newest.flatMap(({ name, lives, tasks }) => {
    // Whoever had this name is gone, however young its last sign of life: this is its pod now.
    const isOther = !isEpochOf(name.epoch, instance);
    return tasks.map((task) => ({ ...task, ...name, lives: lives && isOther }));
  });
}

async function spaceFor(
  { stateDir, stateDirLimitBytes, bytesMax }: RestoreSettings,
  locals: readonly LocalTask[],
  { askSpace }: RestoreWorld,
): Promise<number> {
  // A drill that is only planned may have no directory yet.
  const { freeBytes } = (await askSpace(stateDir)) ?? { freeBytes: Number.MAX_SAFE_INTEGER };
  // What lies there counts against the limit, which the file system does not know.
  const takenBytes = locals.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const roomBytes = Math.max(0, (stateDirLimitBytes ?? Number.MAX_SAFE_INTEGER) - takenBytes);
  const wanted = bytesMax ?? Math.floor((stateDirLimitBytes === undefined ? freeBytes : roomBytes) * SPACE_SHARE);
  return Math.min(wanted, freeBytes, roomBytes);
}

/** What is on trial others have to know of. */
function hasSomethingOnTrial(plans: readonly TaskPlan[], locals: readonly LocalTask[]): boolean {
  return plans.some(({ kind }) => kind === 'warm') || locals.some(({ onTrial }) => onTrial !== undefined);
}

async function unlessUnavailable<T>(what: string, world: RestoreWorld, work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (!isFailure(error)) throw error;
    noteLeftOut(what, error, world);
    return undefined;
  }
}

function noteLeftOut(what: string, error: unknown, { emit }: Pick<RestoreWorld, 'emit'>): void {
  emit({ kind: 'notice', name: 'step-left-out', level: 'warn', message: `cannot ${what}: ${messageOf(error)}` });
}
