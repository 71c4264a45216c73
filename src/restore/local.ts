import { join } from 'node:path';
import { CAPTURE_TRIES_MAX, type Capture, type CaptureTools, captureTask } from '../capture/capture.ts';
import { hasEqualOffsets, hasProgressed, keepStateTime } from '../repository/best.ts';
import { AGREES_MS } from '../repository/clocks.ts';
import type { Layout } from '../repository/document.ts';
import { type FencedState, stemsFrom } from '../repository/fence.ts';
import { parseSnapshotName } from '../repository/keys.ts';
import { findInstalledQuality, type Recollection, recallTask } from '../repository/recall.ts';
import type { Taint } from '../repository/record.ts';
import { findInstalledTask, type InstalledTask, isUnopened } from '../repository/restore-result.ts';
import { layoutOf, offsetsOf } from '../streams/offsets.ts';
import {
  type Guarantee,
  type Judgement,
  judge,
  type TaskSight,
  type Verdict,
  verdictUnder,
} from '../streams/quality.ts';
import type { Explanation } from '../streams/reason.ts';
import { GLOBAL_TASK } from '../streams/state-directory.ts';
import { offsetsWrittenMs, stateTimeMs } from '../streams/state-time.ts';
import type { LocalTask } from './plan.ts';

/** What lies on the volume already, judged as a capture would judge it. */
export async function lookAtVolume(
  place: { readonly applicationDirectory: string; readonly tasks: readonly string[] },
  how: {
    readonly recollection: Recollection;
    readonly settings: {
      readonly applicationId: string;
      readonly processingGuarantee: Guarantee;
      readonly instance: string;
      readonly transactionalStores: boolean;
      readonly layoutMax: Layout;
    };
    /** What to add to our clock for the store's. */
    readonly storeAheadMs: number;
    /** By how much a stamp may be older than that says (A5). */
    readonly olderByMs: (wallMs: number) => number;
    /** Tasks of the restore before that the application was not yet seen to live with. */
    readonly onTrial: ReadonlySet<string>;
    readonly whyQuarantined: (installed: InstalledTask) => Explanation | undefined;
    readonly whyFenced: (state: FencedState) => Explanation | undefined;
    readonly tools: CaptureTools;
  },
): Promise<readonly LocalTask[]> {
  const locals: LocalTask[] = [];
  for (const task of place.tasks) {
    const where = { applicationDirectory: place.applicationDirectory, task };
    const outcome = await captureTask(where, how.tools, { isKnown: () => true, triesMax: LOOKS_MAX });
    if (outcome.kind === 'gone') continue;
    if (outcome.kind === 'refused') {
      const nothing = { offsets: new Map(), unfilled: new Set<string>(), stateTimeMs: undefined, sizeBytes: 0 };
      const unknown = { taint: undefined, onTrial: undefined, leftIn: undefined };
      const quarantine = await whyUnreadableFenced(where, how);
      locals.push({ ...nothing, ...unknown, quarantine, task, verdict: outcome });
      continue;
    }
    await using capture = outcome.capture;
    locals.push(describe(capture, how));
  }
  return locals;
}

/** Nobody holds the directory, so nothing moves that a second look would see otherwise. */
const LOOKS_MAX = Math.min(3, CAPTURE_TRIES_MAX);

function describe(capture: Capture, how: Parameters<typeof lookAtVolume>[1]): LocalTask {
  const { sight, task } = capture;
  const { processingGuarantee } = how.settings;
  const judgement = judgeLocally(sight, how);
  const stateMs = findStateTime(sight, judgement, how);
  const { offsets, unknown } = offsetsOf(sight);
  const { report } = how.recollection;
  const installed = report === undefined ? undefined : findInstalledTask(report, sight);
  const onTrial = how.onTrial.has(task) ? installed : undefined;
  const isUntouched = onTrial !== undefined && (isUnopened(onTrial, sight) || hasEqualOffsets(onTrial, { offsets }));
  const verdict = verdictUnder(processingGuarantee, judgement);
  return {
    task,
    verdict,
    offsets,
    topicIds: judgement.memory.topicIds,
    unfilled: new Set([...unknown, ...findUnserved(capture, judgement, how.settings.applicationId)]),
    // Not later than now, whatever a clock that ran ahead has stamped.
    stateTimeMs: stateMs === undefined ? undefined : Math.min(stateMs, how.tools.clock.nowMs() + how.storeAheadMs),
    sizeBytes: sizeOf(capture),
    taint: processingGuarantee === 'at_least_once' ? undefined : findTaint(sight, judgement),
    onTrial,
    quarantine:
      findTooNew(sight, how.settings.layoutMax) ??
      whyLocallyFenced({ sight, verdict, offsets, stateTimeMs: stateMs, installed }, how) ??
      (isUntouched ? how.whyQuarantined(onTrial) : undefined),
    leftIn: findLayout(sight, report),
  };
}

/**
 * Whether a fence withdraws what lies here. Offsets that stand where they stood when they were installed are as old as
 * then, whatever was stamped since (A2); where nothing says up to when a directory is current, its own stamp does.
 */
function whyLocallyFenced(
  local: {
    readonly sight: TaskSight;
    readonly verdict: Verdict;
    readonly offsets: ReadonlyMap<string, bigint>;
    readonly stateTimeMs: number | undefined;
    readonly installed: InstalledTask | undefined;
  },
  how: Parameters<typeof lookAtVolume>[1],
): Explanation | undefined {
  const { settings, whyFenced } = how;
  const { sight, verdict, offsets, installed } = local;
  const isBeyond = installed === undefined || hasProgressed({ offsets }, installed);
  const offeredBy = installed === undefined ? '' : parseSnapshotName(installed.snapshot).epoch;
  const { mtimeNs } = sight.facts;
  const tables = sight.databases.flatMap((database) => database.tables);
  const stamps = [mtimeNs, sight.checkpoint?.mtimeNs ?? mtimeNs, ...tables.map((table) => table.mtimeNs)];
  const writtenMs = isOfFuture(stamps, how)
    ? Number.NEGATIVE_INFINITY
    : (local.stateTimeMs ?? toStateTimeMs(Number(mtimeNs / 1_000_000n), how));
  return whyFenced({
    task: sight.task,
    layout: layoutOf(sight),
    quality: verdict.kind === 'valid' ? verdict.quality : undefined,
    stateTimeMs: isBeyond ? writtenMs : Math.min(writtenMs, installed.stateTimeMs),
    isOf: (instance) =>
      instance === settings.instance || (!isBeyond && stemsFrom({ ...installed, epoch: offeredBy }, instance)),
  });
}

/** By the clock of the store; what made no progress since an earlier look is as old as it was then (A2). */
function findStateTime(
  sight: TaskSight,
  { memory }: Judgement,
  how: Parameters<typeof lookAtVolume>[1],
): number | undefined {
  const writtenMs = stateTimeMs(sight, memory);
  if (writtenMs === undefined) return undefined;
  const found = { offsets: offsetsOf(sight).offsets, stateTimeMs: toStateTimeMs(writtenMs, how) };
  const { offsetsSince } = memory;
  return (offsetsSince === undefined ? found : keepStateTime(found, offsetsSince)).stateTimeMs;
}

/** What cannot be made out is as young as its directory. */
async function whyUnreadableFenced(
  { applicationDirectory, task }: { readonly applicationDirectory: string; readonly task: string },
  how: Parameters<typeof lookAtVolume>[1],
): Promise<Explanation | undefined> {
  const { settings, whyFenced, tools } = how;
  const facts = await tools.files.stat(join(applicationDirectory, task));
  if (facts === undefined) return undefined;
  const writtenMs = isOfFuture([facts.mtimeNs], how)
    ? Number.NEGATIVE_INFINITY
    : toStateTimeMs(Number(facts.mtimeNs / 1_000_000n), how);
  const isOf = (instance: string): boolean => instance === settings.instance;
  return whyFenced({ task, layout: 'file', quality: undefined, stateTimeMs: writtenMs, isOf });
}

/** Up to when state is current that was written at a moment of our clock: at the earliest that this may have been (A5). */
function toStateTimeMs(
  wallMs: number,
  { storeAheadMs, olderByMs }: Pick<Parameters<typeof lookAtVolume>[1], 'storeAheadMs' | 'olderByMs'>,
): number {
  return wallMs + storeAheadMs - olderByMs(wallMs);
}

/** Then a faster clock has stamped it that nobody of ours knew, and it may be of any moment: no fence spares it (A5). */
function isOfFuture(stampsNs: readonly bigint[], how: Parameters<typeof lookAtVolume>[1]): boolean {
  const nowMs = how.tools.clock.nowMs() + how.storeAheadMs;
  return stampsNs.some((stampNs) => toStateTimeMs(Number(stampNs / 1_000_000n), how) > nowMs + AGREES_MS);
}

/** An installed directory tells nothing of an application until that has opened it. */
function findLayout(sight: TaskSight, report: Recollection['report']): Layout | undefined {
  const installed = report === undefined ? undefined : findInstalledTask(report, sight);
  if (installed !== undefined && isUnopened(installed, sight)) return undefined;
  if (layoutOf(sight) === 'column-family') return 'column-family';
  return sight.checkpoint !== undefined && sight.databases.length > 0 ? 'file' : undefined;
}

/** An application of before the column family does not open such a directory, and ends. */
function findTooNew(sight: TaskSight, layoutMax: Layout): Explanation | undefined {
  if (layoutMax === 'column-family' || layoutOf(sight) === 'file') return undefined;
  return { reason: 'layout_too_new', message: `its layout is column-family, at most ${layoutMax} is allowed` };
}

/** The changelogs of stores that are there and have no offset inside them yet. */
function findUnserved(
  { task, sight, stores }: Capture,
  judgement: Judgement,
  applicationId: string,
): readonly string[] {
  if (layoutOf(sight) === 'file') return [];
  const partition = task.slice(task.indexOf('_') + 1);
  const unserved = stores.filter(({ name }) => !judgement.stores.has(name));
  return unserved.map(({ name }) => `${applicationId}-${name}-changelog-${partition}`);
}

function judgeLocally(sight: TaskSight, how: Parameters<typeof lookAtVolume>[1]): Judgement {
  const { settings, recollection, tools } = how;
  const offsetsMs = offsetsWrittenMs(sight);
  return judge(sight, {
    applicationId: settings.applicationId,
    nowMs: tools.clock.nowMs(),
    isRunning: false,
    clockWasSet: offsetsMs !== undefined && how.olderByMs(offsetsMs) > 0,
    memory: recallTask(recollection, sight),
    installedQuality: findInstalledQuality(recollection.report, sight),
    transactionalStores: settings.transactionalStores,
  });
}

/**
 * Q6: who starts the application now opens this directory anew. Over writes that no checkpoint covers that taints it,
 * and nobody may be there to see it.
 */
function findTaint(sight: TaskSight, { memory }: Judgement): Taint | undefined {
  const hasWrites = sight.databases.some(({ tables, greatestSequence }) => tables.length > 0 || greatestSequence > 0n);
  const willBeTainted = sight.task !== GLOBAL_TASK && !memory.passed && hasWrites;
  const { device, inode, birthtimeNs } = sight.facts;
  return memory.tainted || willBeTainted ? { task: sight.task, device, inode, birthtimeNs } : undefined;
}

function sizeOf(capture: Capture): number {
  const tables = capture.stores.flatMap((store) => store.tables).reduce((sum, table) => sum + table.sizeBytes, 0);
  const small = [...capture.files, ...capture.stores.flatMap((store) => store.files)];
  return tables + small.reduce((sum, file) => sum + file.bytes.byteLength, 0);
}
