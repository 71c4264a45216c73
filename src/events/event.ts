import type { Explanation } from '../streams/reason.ts';

/** What the program tells the world. Domain code emits facts; log lines, metrics and progress bars listen. */
export type Event =
  /** Bytes of work that lie ahead became known; adds to what was announced before. */
  | { readonly kind: 'work-announced'; readonly work: Work; readonly bytes: number }
  /** Bytes of work done, as read from or written to local disk (unpacked). */
  | { readonly kind: 'work-done'; readonly work: Work; readonly bytes: number }
  | { readonly kind: 'work-finished'; readonly work: Work }
  /** One attempt at a consistent capture failed and is made again. */
  | { readonly kind: 'capture-retried'; readonly task: string; readonly why: Explanation }
  | { readonly kind: 'object-uploaded'; readonly key: string; readonly storedBytes: number }
  /** One call of the object store is over. `failure` is the kind of Failure, or `aborted`. */
  | {
      readonly kind: 'storage-request';
      readonly operation: 'put' | 'get' | 'head' | 'list' | 'delete';
      readonly durationMs: number;
      readonly sizeBytes: number;
      readonly failure: string | undefined;
    }
  /** One round of a running agent is over. `reusedBytes` lay in the repository already. */
  | {
      readonly kind: 'snapshot-finished';
      readonly trigger: SnapshotTrigger;
      readonly result: 'published' | 'unchanged' | 'failed';
      /** `<epoch>/<n>` where one was published. */
      readonly snapshot: string | undefined;
      readonly tasks: number;
      readonly uploadedBytes: number;
      readonly reusedBytes: number;
      readonly durationMs: number;
    }
  /** One collection is over: what it removed, what roots need and the store has not, and what is left. */
  | {
      readonly kind: 'prune-finished';
      readonly documents: number;
      readonly objects: number;
      readonly bytes: number;
      readonly missing: number;
      readonly repositoryBytes: number;
      readonly durationMs: number;
    }
  | { readonly kind: 'phase-changed'; readonly phase: 'starting' | 'watching' | 'finishing' }
  | {
      readonly kind: 'notice';
      readonly name: NoticeName;
      readonly level: 'info' | 'warn' | 'error';
      readonly message: string;
      readonly facts?: Facts;
    };

/**
 * The names of notices: log lines are searched by them, so they stay whatever their messages say. Each is explained in
 * docs/configuration.md.
 */
export const NOTICE_NAMES = [
  'application-ended',
  'application-started',
  'brokers-unanswered',
  'filling-stopped',
  'final-awaited',
  'foreign-objects',
  'guarantee-doubtful',
  'history-unreadable',
  'listening',
  'manifest-doubtful',
  'manifest-understood',
  'objects-missing',
  'problem-appeared',
  'problem-solved',
  'progress',
  'prune-failed',
  'record-contradicted',
  'record-not-written',
  'record-unreadable',
  'request-broke',
  'restore-report-unreadable',
  'setting-doubtful',
  'snapshot-delegated',
  'snapshot-unreadable',
  'snapshot-withdrawn',
  'step-left-out',
  'stored-elsewhere',
  'task-damaged',
  'task-regressed',
  'trial-confirmed',
  'withdrawal-unreadable',
] as const;

export type NoticeName = (typeof NOTICE_NAMES)[number];

/** What started a round. */
export type SnapshotTrigger = 'interval' | 'request' | 'pre_stop' | 'final';

export type Work = 'upload' | 'download' | 'verify';

export type Facts = Readonly<Record<string, string | number | boolean>>;

export type Emit = (event: Event) => void;
