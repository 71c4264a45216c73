import type { Quality } from '../streams/quality.ts';
import type { Explanation } from '../streams/reason.ts';

/** What one snapshot came to. */
export interface SnapshotResult {
  /** Its name, `<epoch>/<n>`; undefined where nothing was published, for nothing had changed or could be stored. */
  readonly snapshot: string | undefined;
  readonly tasks: readonly SnapshotTask[];
  /** From local disk. */
  readonly bytesRead: number;
  /** As they lie in the store. */
  readonly bytesUploaded: number;
  /** Of files that the repository had already, as on disk. */
  readonly bytesReused: number;
  readonly objectsUploaded: number;
  readonly requests: number;
  readonly durationMs: number;
}

export interface SnapshotTask {
  readonly task: string;
  readonly outcome: /** Its files were taken now. */
    | 'captured'
    /** What the repository holds of it is what lies on disk. */
    | 'unchanged'
    /** Not to be captured now: its last entry is offered on. */
    | 'carried'
    /** Not to be captured now, and nothing is stored. */
    | 'uncapturable';
  /** Of the entry that is offered now. */
  readonly quality: Quality | undefined;
  readonly stateTimeMs: number | undefined;
  readonly offsets: ReadonlyMap<string, bigint>;
  /** Why it was not captured. */
  readonly why: Explanation | undefined;
}
