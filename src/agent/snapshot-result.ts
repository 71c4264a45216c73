import { count, decodeWhole, list, mapped, named, nullable, object, oneOf, time } from '../base/json-codec.ts';
import { explained, offsetMap, qualityWord, snapshotNameText, taskName } from '../repository/document-shape.ts';
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

/** The stable shape of `snapshot --output json`, and of the answer to `POST /-/snapshot`. */
export function snapshotResultJson(result: SnapshotResult): unknown {
  return resultShape.encode(result);
}

/** Failure `corrupt` for what is no such result. */
export function decodeSnapshotResult(json: unknown): SnapshotResult {
  return decodeWhole(resultShape, json);
}

const taskShape = explained(
  object<Omit<SnapshotTask, 'why'>>({
    task: taskName,
    outcome: oneOf('captured', 'unchanged', 'carried', 'uncapturable'),
    quality: nullable(qualityWord),
    stateTimeMs: named('stateTime', nullable(time)),
    offsets: offsetMap,
  }),
);

const resultShape = object<SnapshotResult>({
  snapshot: nullable(snapshotNameText),
  tasks: list(taskShape),
  bytesRead: count,
  bytesUploaded: count,
  bytesReused: count,
  objectsUploaded: count,
  requests: count,
  durationMs: mapped(count, (ms) => ms, Math.round),
});
