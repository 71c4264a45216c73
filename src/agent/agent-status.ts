import type { Clock } from '../base/clock.ts';
import type { DiskSpace } from '../base/disk-space.ts';
import type { AgentStatus, RestoreStatus, TaskStatus } from '../events/agent-status.ts';
import type { Entry } from '../repository/document.ts';
import { summarise } from '../repository/record.ts';
import type { RestoreReport } from '../repository/restore-result.ts';
import type { Explanation } from '../streams/reason.ts';
import { compareTasks } from '../streams/state-directory.ts';
import type { AgentSettings } from './agent.ts';
import type { Application } from './application.ts';
import type { Epoch } from './epoch.ts';
import type { Publisher } from './publisher.ts';
import type { TaskFinding } from './round-parts.ts';
import type { Glance, TaskViews } from './task-views.ts';
import { WIPED } from './wipe.ts';

/** What the epoch knows, once it has begun. */
type EpochFacts = Pick<Epoch, 'name' | 'snapshot' | 'entries' | 'findings' | 'previousShutdown' | 'toStoreTimeMs'> &
  Partial<Pick<Epoch, 'current'>>;

/** Everything that a status is made of. */
export interface AgentFacts {
  readonly settings: Pick<
    AgentSettings,
    'applicationId' | 'lineage' | 'instance' | 'processingGuarantee' | 'maxAgeMs' | 'stateDirLimitBytes'
  >;
  readonly clock: Pick<Clock, 'nowMs' | 'monotonicMs'>;
  readonly phase: AgentStatus['phase'];
  readonly turnedAtMs: number;
  readonly problems: AgentStatus['problems'];
  readonly application: Pick<Application, 'isFound' | 'lock' | 'wiped'>;
  readonly publisher: Pick<Publisher, 'lastSuccessMs' | 'bytesPerSecond'> & { readonly epoch: EpochFacts | undefined };
  readonly views: Pick<TaskViews, 'present' | 'glanceOf'>;
  readonly report: RestoreReport | undefined;
  readonly space: DiskSpace | undefined;
  /** By the steady clock. */
  readonly roundDueMs: number | undefined;
}

export function describeAgent(facts: AgentFacts): AgentStatus {
  const { settings, clock, application, publisher, views, report, roundDueMs } = facts;
  const { epoch, lastSuccessMs, bytesPerSecond } = publisher;
  const nowMs = clock.nowMs();
  const known = collectTasks(facts);
  const tasks = describeTasks(known, { oldestMs: (epoch?.toStoreTimeMs(nowMs) ?? nowMs) - settings.maxAgeMs });
  const glances = [...views.present].map((task) => views.glanceOf(task));
  const { lock } = application;
  return {
    application: settings.applicationId,
    lineage: settings.lineage,
    instance: settings.instance,
    guarantee: settings.processingGuarantee,
    epoch: epoch?.name,
    phase: facts.phase,
    turnedAtMs: facts.turnedAtMs,
    applicationFound: application.isFound,
    applicationRunning: lock === undefined || lock === 'unknown' ? undefined : lock === 'running',
    problems: facts.problems,
    tasks,
    lastSuccessMs,
    snapshot: epoch?.snapshot,
    dueMs: roundDueMs === undefined ? undefined : nowMs + roundDueMs - clock.monotonicMs(),
    previousShutdown: epoch?.previousShutdown,
    finalSnapshot: estimateFinalSnapshot(glances, bytesPerSecond),
    stateDir: {
      bytes: glances.reduce((sum, glance) => sum + (glance?.liveBytes ?? 0), 0),
      limitBytes: settings.stateDirLimitBytes,
      availableBytes: facts.space?.freeBytes,
    },
    restorableBytes: tasks.reduce((sum, { entry }) => sum + (entry?.sizeBytes ?? 0), 0),
    restore: report === undefined ? undefined : describeRestore(report),
  };
}

function collectTasks({ publisher, views, application }: AgentFacts): ReadonlyMap<string, TaskFacts> {
  const { epoch } = publisher;
  const { present } = views;
  const tasks = present.union(new Set(epoch?.entries.keys()));
  const factsOf = (task: string): TaskFacts => ({
    isPresent: present.has(task),
    entry: epoch?.entries.get(task),
    glance: views.glanceOf(task),
    finding: epoch?.findings.get(task),
    isWiped: application.wiped.has(task),
    isCurrent: epoch?.current?.has(task) ?? false,
  });
  return new Map([...tasks].map((task) => [task, factsOf(task)]));
}

/** What is known of one task, on disk and in the repository. */
interface TaskFacts {
  readonly isPresent: boolean;
  readonly entry: Entry | undefined;
  /** Of the last look and of the last round. */
  readonly glance: Glance | undefined;
  readonly finding: TaskFinding | undefined;
  readonly isWiped: boolean;
  /** Nothing was written since its entry: that has no age. */
  readonly isCurrent: boolean;
}

/** Every task that is on disk or stored. `oldestMs`: by the store's clock, what is older is not restored any more. */
function describeTasks(
  facts: ReadonlyMap<string, TaskFacts>,
  { oldestMs }: { readonly oldestMs: number },
): readonly TaskStatus[] {
  const tasks = [...facts].map(([task, known]) => describeTask(task, known, oldestMs));
  return tasks.sort((left, right) => compareTasks(left.task, right.task));
}

function describeTask(task: string, facts: TaskFacts, oldestMs: number): TaskStatus {
  const { entry: stored, glance, finding, isPresent } = facts;
  const isFresh = stored !== undefined && (facts.isCurrent || stored.stateTimeMs >= oldestMs);
  const why = facts.isWiped ? WIPED : (glance?.why ?? finding?.result.why);
  const isCapturable = isPresent && why === undefined;
  return {
    task,
    state: isFresh ? 'restorable' : isCapturable ? 'pending' : 'uncapturable',
    entry: isFresh ? entryStatus(stored) : undefined,
    isPending: isPresent && (glance?.isPending ?? !isFresh),
    why: why ?? (stored !== undefined && !isFresh ? TOO_OLD : undefined),
  };
}

function entryStatus(entry: Entry): NonNullable<TaskStatus['entry']> {
  const { capturedBy, quality, stateTimeMs, sizeBytes, offsets } = summarise(entry);
  return { snapshot: capturedBy, quality, stateTimeMs, sizeBytes, offsets };
}

/** The result of the restore of this pod, in short. */
function describeRestore({ timeMs, result }: RestoreReport): RestoreStatus {
  return {
    outcome: result.outcome,
    completedMs: timeMs,
    durationMs: result.durationMs,
    downloadedBytes: result.bytesDownloaded,
    tasks: result.tasks.map(({ task, decision, why, replayRecords }) => ({ task, decision, why, replayRecords })),
  };
}

/** Until something was uploaded: as fast as the limit for uploads is by default. */
const THROUGHPUT_BYTES_PER_SECOND = 50 * 1024 * 1024;
/** Listing, looking, document and record: what a last snapshot takes that sends nothing. */
const OVERHEAD_MS = 500;

/** What the last snapshot would have to send if the application ended now, and how long that would take. */
function estimateFinalSnapshot(
  glances: Iterable<Glance | undefined>,
  bytesPerSecond: number | undefined,
): AgentStatus['finalSnapshot'] {
  const pendingBytes = [...glances].reduce((sum, glance) => sum + (glance?.missingBytes ?? 0), 0);
  const estimatedMs = OVERHEAD_MS + (pendingBytes / (bytesPerSecond ?? THROUGHPUT_BYTES_PER_SECOND)) * 1000;
  return { pendingBytes, estimatedMs };
}

const TOO_OLD: Explanation = { reason: 'too_old', message: 'its offsets have stood still for longer than --max-age' };
