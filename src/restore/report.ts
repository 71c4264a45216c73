import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { ClockSighting } from '../repository/clocks.ts';
import { RESTORE_REPORT_PATH } from '../repository/recall.ts';
import type { Taint } from '../repository/record.ts';
import {
  encodeRestoreReport,
  type InstalledTask,
  type RestoredTask,
  type RestoreReport,
  type RestoreResult,
} from '../repository/restore-result.ts';
import type { Guarantee } from '../streams/quality.ts';
import type { Reason } from '../streams/reason.ts';
import { WARMSTATE_DIRECTORY } from '../streams/state-directory.ts';
import { type DiskOperations, onDisk } from './disk.ts';
import type { LocalTask } from './plan.ts';

/** What one restore has to say to the processes after it. */
export interface Outcome {
  readonly settings: {
    readonly stateDir: string;
    readonly applicationId: string;
    readonly lineage: string;
    readonly instance: string;
    readonly program: string;
    readonly processingGuarantee: Guarantee;
    readonly appVersion: string | undefined;
  };
  readonly epoch: string | undefined;
  readonly timeMs: number;
  readonly clocks: readonly ClockSighting[];
  readonly result: RestoreResult;
  readonly installed: readonly InstalledTask[];
  /** What lay on the volume before and was not taken away. */
  readonly locals: readonly LocalTask[];
  /** Of an earlier restore on this volume. */
  readonly earlier: RestoreReport | undefined;
}

/** Leaves restore.json: what the processes after this one recognise directories by. Failure `unavailable` of the disk. */
export async function leaveReport(outcome: Outcome, disk: DiskOperations): Promise<void> {
  return writeReport(makeReport(outcome), outcome.settings.stateDir, disk);
}

/**
 * Leaves what is known of the clock, before anything is stamped by it: where a restore does not come to its end, whoever comes next
 * must know (A5). What an earlier restore left stands until then. Failure `unavailable` of the disk.
 */
export async function leaveClocks(
  known: Pick<Outcome, 'settings' | 'timeMs' | 'clocks' | 'earlier'>,
  disk: DiskOperations,
): Promise<void> {
  const { earlier, clocks, settings } = known;
  if (isDeepStrictEqual(clocks, earlier?.clocks ?? [])) return;
  const report =
    earlier === undefined
      ? makeReport({ ...known, epoch: undefined, result: UNFINISHED, installed: [], locals: [] })
      : { ...earlier, clocks };
  await writeReport(report, settings.stateDir, disk);
}

const UNFINISHED: RestoreResult = { outcome: 'failed', tasks: [], bytesDownloaded: 0, requests: 0, durationMs: 0 };

async function writeReport(report: RestoreReport, stateDir: string, disk: DiskOperations): Promise<void> {
  const ours = join(stateDir, WARMSTATE_DIRECTORY);
  const path = join(stateDir, RESTORE_REPORT_PATH);
  await onDisk(`write ${path}`, async () => {
    await disk.makeDirectory(ours);
    try {
      await disk.write(`${path}.tmp`, encodeRestoreReport(report));
      await disk.rename(`${path}.tmp`, path);
    } catch (error) {
      await disk.remove(`${path}.tmp`);
      throw error;
    }
    await disk.sync(ours);
  });
}

function makeReport({ settings, epoch, timeMs, clocks, result, ...found }: Outcome): RestoreReport {
  const replaced = new Set(found.installed.map(({ task }) => task));
  const staying = found.locals.filter(({ task }) => !replaced.has(task));
  const names = new Set(staying.map(({ task }) => task));
  // What an earlier restore installed, and nobody replaced, is still what it was: local, or left to start cold.
  const earlier = found.earlier?.application === settings.applicationId ? found.earlier : undefined;
  const kept = (earlier?.installed ?? []).filter(({ task }) => names.has(task));
  const taints = new Map<string, Taint>();
  for (const taint of earlier?.taints ?? []) if (names.has(taint.task)) taints.set(taint.task, taint);
  for (const { taint } of staying) if (taint !== undefined) taints.set(taint.task, taint);
  return {
    application: settings.applicationId,
    lineage: settings.lineage,
    instance: settings.instance,
    epoch,
    writer: settings.program,
    timeMs,
    guarantee: settings.processingGuarantee,
    appVersion: settings.appVersion,
    result,
    installed: [...kept, ...found.installed],
    taints: [...taints.values()],
    clocks,
  };
}

/** Reasons that are nobody's failure. */
const NO_FAILURES: ReadonlySet<Reason> = new Set([
  'nothing_stored',
  'too_old',
  'forgotten',
  'not_selected',
  'claimed_elsewhere',
]);

export function outcomeOf(tasks: readonly RestoredTask[]): RestoreResult['outcome'] {
  const isCold = tasks.some(
    ({ decision, why }) => decision === 'cold' && why !== undefined && !NO_FAILURES.has(why.reason),
  );
  const has = (decision: RestoredTask['decision']): boolean => tasks.some((task) => task.decision === decision);
  if (isCold) return has('warm') || has('local') ? 'partial' : 'failed';
  if (has('warm')) return 'restored';
  return has('local') ? 'local' : 'empty';
}
