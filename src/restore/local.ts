import { CAPTURE_TRIES_MAX, type Capture, type CaptureTools, captureTask } from '../capture/capture.ts';
import { findInstalledQuality, type Recollection, recallTask } from '../repository/recall.ts';
import { type Guarantee, judge, stateTimeMs, type Verdict, verdictUnder } from '../streams/quality.ts';
import type { LocalTask } from './plan.ts';

/** What lies on the volume already, judged as a capture would judge it. */
export async function lookAtVolume(
  place: { readonly applicationDirectory: string; readonly tasks: readonly string[] },
  how: {
    readonly recollection: Recollection;
    readonly settings: { readonly applicationId: string; readonly processingGuarantee: Guarantee };
    /** What to add to our clock for the store's. */
    readonly storeAheadMs: number;
    readonly tools: CaptureTools;
  },
): Promise<readonly LocalTask[]> {
  const locals: LocalTask[] = [];
  for (const task of place.tasks) {
    const where = { applicationDirectory: place.applicationDirectory, task };
    const outcome = await captureTask(where, how.tools, { isKnown: () => true, triesMax: LOOKS_MAX });
    if (outcome.kind === 'gone') continue;
    if (outcome.kind === 'refused') {
      locals.push({ task, verdict: outcome, offsets: new Map(), stateTimeMs: undefined, sizeBytes: 0 });
      continue;
    }
    await using capture = outcome.capture;
    const writtenMs = stateTimeMs(capture.sight);
    locals.push({
      task,
      verdict: judgeLocally(capture, how),
      offsets: capture.sight.checkpoint?.content.offsets ?? new Map(),
      stateTimeMs: writtenMs === undefined ? undefined : writtenMs + how.storeAheadMs,
      sizeBytes: sizeOf(capture),
    });
  }
  return locals;
}

/** Nobody holds the directory, so nothing moves that a second look would see otherwise. */
const LOOKS_MAX = Math.min(3, CAPTURE_TRIES_MAX);

function judgeLocally({ sight }: Capture, how: Parameters<typeof lookAtVolume>[1]): Verdict {
  const { settings, recollection, tools } = how;
  const judgement = judge(sight, {
    applicationId: settings.applicationId,
    nowMs: tools.clock.nowMs(),
    isRunning: false,
    clockSteppedBack: false,
    memory: recallTask(recollection, sight),
    installedQuality: findInstalledQuality(recollection.report, sight),
  });
  return verdictUnder(settings.processingGuarantee, judgement);
}

function sizeOf(capture: Capture): number {
  const tables = capture.stores.flatMap((store) => store.tables).reduce((sum, table) => sum + table.sizeBytes, 0);
  const small = [...capture.files, ...capture.stores.flatMap((store) => store.files)];
  return tables + small.reduce((sum, file) => sum + file.bytes.byteLength, 0);
}
