import { REASONS } from '../streams/reason.ts';
import type { AgentStatus } from './agent-status.ts';

/** What the gauges of `/metrics` are computed from. */
export interface GaugeFacts {
  readonly status: AgentStatus;
  readonly version: string;
  readonly nodeVersion: string;
  readonly settings: GaugeSettings;
}

/** Settings that alerts scale with; undefined where one is not set, or cannot be used. */
export interface GaugeSettings {
  readonly isValid: boolean;
  readonly intervalMs: number | undefined;
  readonly maxAgeMs: number | undefined;
  readonly terminationGracePeriodMs: number | undefined;
}

export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Gauge {
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
  readonly read: (facts: GaugeFacts) => readonly Sample[];
}

/** Every gauge that says what is, in the order of docs/configuration.md. Zero also means: never, not set, not known yet. */
export const GAUGES: readonly Gauge[] = [
  {
    name: 'warmstate_build_info',
    help: 'The program; always 1.',
    labels: ['version', 'node_version'],
    read: ({ version, nodeVersion }) => [{ labels: { version, node_version: nodeVersion }, value: 1 }],
  },
  {
    name: 'warmstate_config_info',
    help: 'Which application this is; always 1.',
    labels: ['application_id', 'processing_guarantee', 'lineage'],
    read: ({ status: { application, guarantee, lineage } }) => [
      { labels: { application_id: application, processing_guarantee: guarantee, lineage }, value: 1 },
    ],
  },
  single('warmstate_config_valid', 'Whether the settings can be used.', ({ settings }) => Number(settings.isValid)),
  single('warmstate_application_found', "Whether the application's directory exists.", ({ status }) =>
    Number(status.applicationFound),
  ),
  single(
    'warmstate_application_running',
    "Whether the application's lock is held; where the platform cannot tell, whether its directory exists.",
    ({ status }) => Number(status.applicationRunning ?? status.applicationFound),
  ),
  {
    name: 'warmstate_phase',
    help: 'Where the agent is: 1 for the phase it is in.',
    labels: ['phase'],
    read: ({ status }) => oneHot('phase', ['starting', 'watching', 'finishing'], status.phase),
  },
  single('warmstate_snapshot_interval_seconds', 'The setting --interval.', ({ settings }) =>
    seconds(settings.intervalMs),
  ),
  single('warmstate_max_age_seconds', 'The setting --max-age.', ({ settings }) => seconds(settings.maxAgeMs)),
  single(
    'warmstate_termination_grace_period_seconds',
    'The setting --termination-grace-period; 0 where it is not set.',
    ({ settings }) => seconds(settings.terminationGracePeriodMs),
  ),
  single(
    'warmstate_last_snapshot_success_timestamp_seconds',
    'When a round last ended well, also where nothing had changed; 0 before the first.',
    ({ status }) => seconds(status.lastSuccessMs),
  ),
  {
    name: 'warmstate_tasks',
    help: 'Tasks by what a restart now would find: restorable, pending (nothing stored yet) or uncapturable.',
    labels: ['state'],
    read: ({ status }) =>
      (['restorable', 'pending', 'uncapturable'] as const).map((state) => ({
        labels: { state },
        value: status.tasks.filter((task) => task.state === state).length,
      })),
  },
  {
    name: 'warmstate_task_state_timestamp_seconds',
    help: 'Up to when the newest restorable state of a task is current.',
    labels: ['task'],
    read: ({ status }) =>
      status.tasks.flatMap(({ task, entry }) =>
        entry === undefined ? [] : { labels: { task }, value: seconds(entry.stateTimeMs) },
      ),
  },
  {
    name: 'warmstate_task_stored_bytes',
    help: 'Size of the newest restorable state of a task, unpacked.',
    labels: ['task'],
    read: ({ status }) =>
      status.tasks.flatMap(({ task, entry }) =>
        entry === undefined ? [] : { labels: { task }, value: entry.sizeBytes },
      ),
  },
  {
    name: 'warmstate_task_pending',
    help: 'Whether the disk holds something newer of a task that could be captured.',
    labels: ['task'],
    read: ({ status }) => status.tasks.map(({ task, isPending }) => ({ labels: { task }, value: Number(isPending) })),
  },
  {
    name: 'warmstate_task_uncapturable',
    help: 'What is on the disk of a task cannot be captured now, and why; always 1.',
    labels: ['task', 'reason'],
    read: ({ status }) =>
      status.tasks.flatMap(({ task, why }) =>
        why === undefined ? [] : { labels: { task, reason: why.reason }, value: 1 },
      ),
  },
  single(
    'warmstate_restorable_bytes',
    'Size of everything that is restorable now, unpacked.',
    ({ status }) => status.restorableBytes,
  ),
  single('warmstate_state_dir_bytes', 'What the state directory holds.', ({ status }) => status.stateDir.bytes),
  single(
    'warmstate_state_dir_limit_bytes',
    'The setting --state-dir-limit; 0 where it is not set.',
    ({ status }) => status.stateDir.limitBytes ?? 0,
  ),
  {
    name: 'warmstate_state_dir_available_bytes',
    help: 'Free space of the volume of the state directory; absent where it cannot be asked.',
    labels: [],
    read: ({ status: { stateDir } }) =>
      stateDir.availableBytes === undefined ? [] : [{ labels: {}, value: stateDir.availableBytes }],
  },
  {
    name: 'warmstate_restore_info',
    help: 'How the restore before this run ended: 1 for its outcome.',
    labels: ['outcome'],
    read: ({ status }) =>
      oneHot('outcome', ['restored', 'partial', 'local', 'empty', 'failed'], status.restore?.outcome),
  },
  {
    name: 'warmstate_restore_tasks',
    help: 'Tasks by what the restore decided, and why.',
    labels: ['decision', 'reason'],
    read: ({ status }) => restoredTasks(status.restore?.tasks ?? []),
  },
  single('warmstate_restore_duration_seconds', 'How long the restore took.', ({ status }) =>
    seconds(status.restore?.durationMs),
  ),
  single(
    'warmstate_restore_downloaded_bytes',
    'What the restore downloaded, as it lies in the store.',
    ({ status }) => status.restore?.downloadedBytes ?? 0,
  ),
  single(
    'warmstate_restore_completed_timestamp_seconds',
    'When the restore ended; 0 where there was none.',
    ({ status }) => seconds(status.restore?.completedMs),
  ),
  {
    name: 'warmstate_restore_replay_records',
    help: 'Changelog records that a task had still to replay after the restore; absent where brokers are not asked.',
    labels: ['task'],
    read: ({ status }) =>
      (status.restore?.tasks ?? []).flatMap(({ task, replayRecords }) =>
        replayRecords === undefined ? [] : { labels: { task }, value: replayRecords },
      ),
  },
  {
    name: 'warmstate_previous_shutdown_info',
    help: 'How the previous life of this instance ended: 1 for its result.',
    labels: ['result'],
    read: ({ status }) => oneHot('result', ['sealed', 'partial', 'killed', 'none'], status.previousShutdown),
  },
  single(
    'warmstate_final_snapshot_pending_bytes',
    'What the last snapshot would have to send if the application ended now.',
    ({ status }) => status.finalSnapshot.pendingBytes,
  ),
  single(
    'warmstate_final_snapshot_estimated_seconds',
    'How long the last snapshot would take if the application ended now.',
    ({ status }) => seconds(status.finalSnapshot.estimatedMs),
  ),
];

function single(name: string, help: string, read: (facts: GaugeFacts) => number): Gauge {
  return { name, help, labels: [], read: (facts) => [{ labels: {}, value: read(facts) }] };
}

function seconds(ms: number | undefined): number {
  return (ms ?? 0) / 1000;
}

function oneHot(label: string, words: readonly string[], is: string | undefined): readonly Sample[] {
  return words.map((word) => ({ labels: { [label]: word }, value: Number(word === is) }));
}

/** Each decision is there from the start; with a reason where there was one. */
function restoredTasks(tasks: NonNullable<AgentStatus['restore']>['tasks']): readonly Sample[] {
  const decisions = ['warm', 'local', 'cold'] as const;
  return decisions.flatMap((decision) =>
    [undefined, ...REASONS].flatMap((reason) => {
      const value = tasks.filter((task) => task.decision === decision && task.why?.reason === reason).length;
      return value === 0 && reason !== undefined ? [] : { labels: { decision, reason: reason ?? '' }, value };
    }),
  );
}
