import {
  type Codec,
  count,
  decodeWhole,
  flag,
  list,
  mapped,
  named,
  nullable,
  object,
  oneOf,
  optional,
  text,
  time,
} from '../base/json-codec.ts';
import {
  epochText,
  explained,
  nameText,
  offsetMap,
  qualityWord,
  snapshotNameText,
  taskName,
} from '../repository/document-shape.ts';
import type { Quality } from '../streams/quality.ts';
import type { Explanation } from '../streams/reason.ts';

/**
 * What a running agent knows, as of one moment: `warmstate status` prints it, `/api/v1/status` answers it and
 * `/metrics` is computed from it. The agent makes it; whoever shows it only reads.
 */
export interface AgentStatus {
  readonly application: string;
  readonly lineage: string;
  readonly instance: string;
  readonly guarantee: string;
  /** Undefined until storage has answered once. */
  readonly epoch: string | undefined;
  readonly phase: 'starting' | 'watching' | 'finishing';
  /** When the loop last turned, by our clock. */
  readonly turnedAtMs: number;
  /** The application's directory exists. */
  readonly applicationFound: boolean;
  /** Whether its lock is held; undefined where the platform cannot tell. */
  readonly applicationRunning: boolean | undefined;
  /** What stands in the way of work, worst first; empty in health. */
  readonly problems: readonly AgentProblem[];
  /** By task. */
  readonly tasks: readonly TaskStatus[];
  /** The last round that ended well, also where nothing had changed, by our clock. */
  readonly lastSuccessMs: number | undefined;
  /** `<epoch>/<n>` of the newest document of this epoch. */
  readonly snapshot: string | undefined;
  /** When the next interval round is due, by our clock. */
  readonly dueMs: number | undefined;
  /** How the previous life of this instance ended. */
  readonly previousShutdown: 'sealed' | 'partial' | 'killed' | 'none' | undefined;
  /** What the last snapshot would have to send if the application ended now. */
  readonly finalSnapshot: { readonly pendingBytes: number; readonly estimatedMs: number };
  readonly stateDir: {
    readonly bytes: number;
    readonly limitBytes: number | undefined;
    readonly availableBytes: number | undefined;
  };
  /** Bytes of everything that is restorable now. */
  readonly restorableBytes: number;
  /** What the init container left in restore.json; undefined where it left none. */
  readonly restore: RestoreStatus | undefined;
}

export interface AgentProblem {
  /** What area it is in; one problem of each at a time. */
  readonly area: 'settings' | 'state-dir' | 'storage' | 'listen' | 'trial' | 'brokers';
  readonly message: string;
  readonly hint: string | undefined;
  readonly sinceMs: number;
}

/** One task: what would come back if the pod died now, and whether the disk has something better. */
export interface TaskStatus {
  readonly task: string;
  /** `restorable`: warm if the pod died now; `pending`: not yet, but it can be captured; `uncapturable`: neither. */
  readonly state: 'restorable' | 'pending' | 'uncapturable';
  /** The newest entry that may be restored. */
  readonly entry:
    | {
        readonly snapshot: string;
        readonly quality: Quality;
        readonly stateTimeMs: number;
        readonly sizeBytes: number;
        readonly offsets: ReadonlyMap<string, bigint>;
      }
    | undefined;
  /** The disk holds something newer that could be captured. */
  readonly isPending: boolean;
  /** Why what is on the disk now cannot be captured; undefined where it can. */
  readonly why: Explanation | undefined;
}

/** The result of the restore before this run, in short. */
export interface RestoreStatus {
  readonly outcome: 'restored' | 'partial' | 'local' | 'empty' | 'failed';
  readonly completedMs: number;
  readonly durationMs: number;
  readonly downloadedBytes: number;
  readonly tasks: readonly {
    readonly task: string;
    readonly decision: 'warm' | 'local' | 'cold';
    readonly why: Explanation | undefined;
    /** Changelog records that were left to replay, at most; undefined where brokers did not say. */
    readonly replayRecords?: number | undefined;
  }[];
}

/** The stable shape of `status --output json` and of `GET /api/v1/status`. */
export function agentStatusJson(status: AgentStatus): unknown {
  const warm = status.tasks.filter(isWarm).length;
  return Object.assign({ warm, cold: status.tasks.length - warm }, statusShape.encode(status));
}

/** Failure `corrupt` for what is no such status. */
export function decodeAgentStatus(json: unknown): AgentStatus {
  return decodeWhole(statusShape, json);
}

/** Whether a task would come back if the pod died now. */
export function isWarm({ entry }: TaskStatus): boolean {
  return entry !== undefined;
}

const PROBLEM_LENGTH_MAX = 64 * 1024;
const milliseconds: Codec<number> = mapped(count, (ms) => ms, Math.round);

const entryShape = object<NonNullable<TaskStatus['entry']>>({
  snapshot: snapshotNameText,
  quality: qualityWord,
  stateTimeMs: named('stateTime', time),
  sizeBytes: named('bytes', count),
  offsets: offsetMap,
});

const taskShape = explained(
  object<Omit<TaskStatus, 'why'>>({
    task: taskName,
    state: oneOf('restorable', 'pending', 'uncapturable'),
    entry: nullable(entryShape),
    isPending: named('pending', flag),
  }),
);

const restoreShape = object<RestoreStatus>({
  outcome: oneOf('restored', 'partial', 'local', 'empty', 'failed'),
  completedMs: named('completedAt', time),
  durationMs: milliseconds,
  downloadedBytes: named('bytesDownloaded', count),
  tasks: list(
    explained(
      object<Omit<RestoreStatus['tasks'][number], 'why'>>({
        task: taskName,
        decision: oneOf('warm', 'local', 'cold'),
        replayRecords: optional(count),
      }),
    ),
  ),
});

const statusShape = object<AgentStatus>({
  application: nameText,
  lineage: nameText,
  instance: nameText,
  guarantee: nameText,
  epoch: nullable(epochText),
  phase: oneOf('starting', 'watching', 'finishing'),
  turnedAtMs: named('turnedAt', time),
  applicationFound: flag,
  applicationRunning: nullable(flag),
  problems: list(
    object<AgentProblem>({
      area: oneOf('settings', 'state-dir', 'storage', 'listen', 'trial', 'brokers'),
      message: text(PROBLEM_LENGTH_MAX),
      hint: nullable(text(PROBLEM_LENGTH_MAX)),
      sinceMs: named('since', time),
    }),
  ),
  tasks: list(taskShape),
  lastSuccessMs: named('lastSuccess', nullable(time)),
  snapshot: nullable(snapshotNameText),
  dueMs: named('due', nullable(time)),
  previousShutdown: nullable(oneOf('sealed', 'partial', 'killed', 'none')),
  finalSnapshot: object<AgentStatus['finalSnapshot']>({ pendingBytes: count, estimatedMs: milliseconds }),
  stateDir: object<AgentStatus['stateDir']>({
    bytes: count,
    limitBytes: nullable(count),
    availableBytes: nullable(count),
  }),
  restorableBytes: count,
  restore: nullable(restoreShape),
});
