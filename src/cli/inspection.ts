import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { Failure } from '../base/failure.ts';
import type { FileAccess } from '../base/file-access.ts';
import { CAPTURE_TRIES_MAX, type Capture, type CaptureTools, captureTask } from '../capture/capture.ts';
import { ManifestTails } from '../capture/manifest-tail.ts';
import type { Emit } from '../events/event.ts';
import { findInstalledQuality, readRestoreReport, recallTask } from '../repository/recall.ts';
import type { RestoreReport } from '../repository/restore-result.ts';
import type { ApplicationState } from '../streams/app-lock.ts';
import { type FamilyOffsets, positionOf, statusOf } from '../streams/family-offsets.ts';
import { type Layout, offsetsOf, ownOf } from '../streams/offsets.ts';
import { type Judgement, judge, type Quality, type TaskSight, type Verdict } from '../streams/quality.ts';
import type { Explanation } from '../streams/reason.ts';
import { assertSupportedApplication, listApplications, listTasks } from '../streams/state-directory.ts';
import { stateTimeMs } from '../streams/state-time.ts';

/** What lies in a state directory. */
export interface Inspection {
  /** undefined where the state directory holds none. */
  readonly application: string | undefined;
  readonly state: ApplicationState;
  readonly tasks: readonly InspectedTask[];
}

export interface InspectedTask {
  readonly task: string;
  readonly layout: Layout;
  /** What a capture would be worth under each guarantee; undefined where it would be refused. */
  readonly quality: { readonly at_least_once: Quality | undefined; readonly exactly_once_v2: Quality | undefined };
  /** Why it would be refused under one of them, or would leave a store out. */
  readonly why: Explanation | undefined;
  readonly stateTimeMs: number | undefined;
  /** Of the segments of a store the least. */
  readonly offsets: ReadonlyMap<string, bigint>;
  readonly stores: readonly InspectedStore[];
}

interface InspectedStore {
  readonly name: string;
  /** `other`: a custom store, of which nothing more is known. */
  readonly kind: 'rocksdb' | 'segmented' | 'other';
  readonly tables: number;
  readonly sizeBytes: number;
  readonly columnFamilies: readonly string[];
  /** Whether it was closed cleanly and not written since; undefined where nothing inside of it says so. */
  readonly status: FamilyOffsets['status'];
  /** How far it was of its inputs, where something inside of it says so. */
  readonly position: FamilyOffsets['position'];
}

export interface InspectionTools {
  readonly files: FileAccess;
  readonly askLock: (applicationDirectory: string) => Promise<ApplicationState>;
  readonly clock: Clock;
  readonly emit: Emit;
  readonly signal: AbortSignal;
}

/**
 * Looks at a state directory as `snapshot` would, and takes nothing. Failure `missing` where the directory or the named
 * application is not there, `invalid` where several are and none is named.
 */
export async function inspectStateDirectory(
  where: {
    readonly stateDir: string;
    readonly applicationId: string | undefined;
    readonly transactionalStores: boolean;
  },
  tools: InspectionTools,
): Promise<Inspection> {
  const application = await findApplication(where, tools.files);
  if (application === undefined) return { application, state: 'stopped', tasks: [] };
  assertSupportedApplication(application);
  const directory = join(where.stateDir, application);
  const report = await readRestoreReport(where.stateDir, tools.files, (name, message, facts) =>
    tools.emit({ kind: 'notice', name, level: 'warn', message, facts }),
  );
  const state = await tools.askLock(directory);
  const { transactionalStores } = where;
  await using manifests = new ManifestTails(tools.files);
  const tasks: InspectedTask[] = [];
  for (const task of await listTasks(tools.files, directory)) {
    const look = { application, directory, task, isRunning: state !== 'stopped', report, transactionalStores };
    tasks.push(...(await inspectTask(look, { ...tools, manifests })));
  }
  return { application, state, tasks };
}

async function findApplication(
  { stateDir, applicationId }: { readonly stateDir: string; readonly applicationId: string | undefined },
  files: FileAccess,
): Promise<string | undefined> {
  const found = await listApplications(files, stateDir);
  if (applicationId !== undefined) {
    if (found.includes(applicationId)) return applicationId;
    const hint = found.length === 0 ? undefined : `--application-id ${found.join(' or ')}`;
    throw new Failure(
      'missing',
      `there is no application ${applicationId} in ${stateDir}`,
      hint === undefined ? {} : { hint },
    );
  }
  if (found.length <= 1) return found[0];
  const hint = '--application-id ID';
  throw new Failure('invalid', `cannot choose among ${found.length} applications in ${stateDir}: ${found.join(', ')}`, {
    hint,
  });
}

interface TaskLook {
  readonly application: string;
  readonly directory: string;
  readonly task: string;
  readonly isRunning: boolean;
  readonly report: RestoreReport | undefined;
  readonly transactionalStores: boolean;
}

/** One task, or none where it is gone by now. */
async function inspectTask(look: TaskLook, tools: CaptureTools): Promise<readonly InspectedTask[]> {
  const where = { applicationDirectory: look.directory, task: look.task };
  const options = { isKnown: () => true, triesMax: CAPTURE_TRIES_MAX };
  const outcome = await captureTask(where, tools, options);
  if (outcome.kind === 'gone') return [];
  if (outcome.kind === 'refused') {
    const quality = { at_least_once: undefined, exactly_once_v2: undefined };
    return [
      {
        task: look.task,
        layout: 'file',
        quality,
        why: outcome.why,
        stateTimeMs: undefined,
        offsets: new Map(),
        stores: [],
      },
    ];
  }
  await using capture = outcome.capture;
  const { sight } = capture;
  const judgement = judge(sight, {
    applicationId: look.application,
    nowMs: tools.clock.nowMs(),
    isRunning: look.isRunning,
    clockWasSet: false,
    memory: recallTask({ base: undefined, report: look.report }, sight),
    installedQuality: findInstalledQuality(look.report, sight),
    transactionalStores: look.transactionalStores,
  });
  return [describeTask(capture, judgement)];
}

function describeTask({ task, sight, stores }: Capture, judgement: Judgement): InspectedTask {
  const { atLeastOnce, exactlyOnce, leftOut } = judgement;
  const { layout, offsets } = offsetsOf(sight);
  const custom = sight.customStores.map(
    (name) =>
      ({
        name,
        kind: 'other',
        tables: 0,
        sizeBytes: 0,
        columnFamilies: [],
        status: undefined,
        position: new Map(),
      }) as const,
  );
  const withoutOffset: Explanation = { reason: 'no_offset', message: `left out: ${leftOut.join(', ')}` };
  return {
    task,
    layout,
    quality: { at_least_once: qualityOf(atLeastOnce), exactly_once_v2: qualityOf(exactlyOnce) },
    why: whyOf(atLeastOnce) ?? whyOf(exactlyOnce) ?? (leftOut.length > 0 ? withoutOffset : undefined),
    stateTimeMs: stateTimeMs(sight, judgement.memory),
    // Kafka Streams takes a .checkpoint that it finds for newer, and moves it inside.
    offsets: new Map([...offsets, ...(sight.checkpoint?.content.offsets ?? [])]),
    stores: [...stores.map((store) => describeStore(store, sight)), ...custom],
  };
}

function describeStore(
  { name, kind, columnFamilies, files, tables }: Capture['stores'][number],
  sight: TaskSight,
): InspectedStore {
  const small = files.reduce((sum, { bytes }) => sum + bytes.byteLength, 0);
  const sizeBytes = tables.reduce((sum, table) => sum + table.sizeBytes, small);
  const own = ownOf(sight, name);
  const inside = { status: statusOf(own), position: positionOf(own) };
  return { name, kind, tables: tables.length, sizeBytes, columnFamilies, ...inside };
}

function qualityOf(verdict: Verdict): Quality | undefined {
  return verdict.kind === 'valid' ? verdict.quality : undefined;
}

function whyOf(verdict: Verdict): Explanation | undefined {
  return verdict.kind === 'refused' ? verdict.why : undefined;
}
