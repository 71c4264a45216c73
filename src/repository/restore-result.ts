import { isSameDirectory } from '../base/file-access.ts';
import {
  checked,
  count,
  digits,
  list,
  mapped,
  named,
  nullable,
  object,
  oneOf,
  optional,
  signedDigits,
  text,
  time,
} from '../base/json-codec.ts';
import type { Guarantee, Quality, TaskSight } from '../streams/quality.ts';
import { type Explanation, REASONS, type Reason } from '../streams/reason.ts';
import { CHECKPOINT_FILE } from '../streams/state-directory.ts';
import { type ClockSighting, clocksShape } from './clocks.ts';
import type { Layout, StoredFile } from './document.ts';
import {
  epochText,
  firstRepeated,
  guaranteeWord,
  layoutWord,
  nameText,
  offsetMap,
  qualityWord,
  snapshotNameText,
  storedFileShape,
  taskName,
  topicIdMap,
} from './document-shape.ts';
import { decodeText, encodeText } from './format.ts';
import { type Taint, taintShape } from './record.ts';

/** What one restore came to. */
export interface RestoreResult {
  /** `partial`: some tasks start cold for a failure; `empty`: nothing was stored; `local`: the volume had it all. */
  readonly outcome: 'restored' | 'partial' | 'local' | 'empty' | 'failed';
  readonly tasks: readonly RestoredTask[];
  /** As they lie in the store. */
  readonly bytesDownloaded: number;
  readonly requests: number;
  readonly durationMs: number;
}

export interface RestoredTask {
  readonly task: string;
  /** Installed from the repository, left as it was on the volume, or left to Kafka Streams. */
  readonly decision: 'warm' | 'local' | 'cold';
  /** Why it is cold, or why not the newest entry was taken. */
  readonly why: Explanation | undefined;
  /** The snapshot whose entry was installed, `<epoch>/<n>`. */
  readonly snapshot: string | undefined;
  readonly quality: Quality | undefined;
  readonly stateTimeMs: number | undefined;
  readonly capturedAtMs: number | undefined;
  readonly offsets: ReadonlyMap<string, bigint>;
  /** Of its files, unpacked. */
  readonly sizeBytes: number;
  /** Changelog records that are left to replay, at most; undefined where brokers do not say. */
  readonly replayRecords?: number | undefined;
}

/** restore.json: what the restore of a pod leaves to the processes after it. See docs/format.md. */
export interface RestoreReport {
  readonly application: string;
  readonly lineage: string;
  readonly instance: string;
  /** Of the restore; undefined where it could not show itself in the repository. */
  readonly epoch: string | undefined;
  /** The program that wrote it, `warmstate 0.1.0`. */
  readonly writer: string;
  readonly timeMs: number;
  readonly guarantee: Guarantee;
  /** The version of the application that it restored for; undefined stands for all versions alike. */
  readonly appVersion: string | undefined;
  readonly result: RestoreResult;
  /** Every task directory that was installed. */
  readonly installed: readonly InstalledTask[];
  /** Known of directories that were on the volume before (Q6). */
  readonly taints: readonly Taint[];
  /** What is known of the clock that stamps the volume (A5). */
  readonly clocks?: readonly ClockSighting[] | undefined;
}

/** A task directory as it was when it was installed. */
export interface InstalledTask {
  readonly task: string;
  readonly device: bigint;
  readonly inode: bigint;
  /** 0 where the file system has none. */
  readonly birthtimeNs: bigint;
  /** The snapshot whose entry it is, and the one that took its bytes. */
  readonly snapshot: string;
  readonly capturedBy: string;
  readonly quality: Quality;
  readonly layout: Layout;
  readonly stateTimeMs: number;
  readonly capturedAtMs: number;
  readonly offsets: ReadonlyMap<string, bigint>;
  readonly topicIds?: ReadonlyMap<string, string> | undefined;
  readonly files: readonly InstalledFile[];
}

/** A stored file and where it lies on the disk now. */
export interface InstalledFile extends StoredFile {
  readonly inode: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
}

export function encodeRestoreReport(report: RestoreReport): Uint8Array {
  return encodeText(report, FORMAT, 'restore.json');
}

/** Failure `corrupt`, or `invalid` for another format, with `path`. */
export function decodeRestoreReport(bytes: Uint8Array, path: string): RestoreReport {
  return decodeText(bytes, FORMAT, path);
}

/** The stable shape of `restore --output json`. */
export function restoreResultJson(result: RestoreResult): unknown {
  return resultShape.encode(result);
}

/** What was installed as this task, if its directory is still the one that was. */
export function findInstalledTask(
  report: Pick<RestoreReport, 'installed'>,
  sight: Pick<TaskSight, 'task' | 'facts'>,
): InstalledTask | undefined {
  const installed = report.installed.find(({ task }) => task === sight.task);
  return installed !== undefined && isSameDirectory(installed, sight.facts) ? installed : undefined;
}

/**
 * Whether the application has not opened an installed directory yet: then it is worth what it was worth when it was
 * captured (Q8). RocksDB begins a new manifest at every open, Kafka Streams deletes or rewrites the checkpoint.
 */
export function isUnopened(
  installed: InstalledTask,
  sight: Pick<TaskSight, 'checkpoint'> & {
    readonly databases: readonly { readonly path: string; readonly manifest: string }[];
  },
): boolean {
  const files = new Map(installed.files.map((file) => [file.path, file]));
  const checkpoint = files.get(CHECKPOINT_FILE);
  const { inode, mtimeNs } = sight.checkpoint ?? {};
  if (checkpoint?.inode !== inode || checkpoint?.mtimeNs !== mtimeNs) return false;
  return sight.databases.every(({ path, manifest }) => files.has(`${path}/${manifest}`));
}

const restoredTask = mapped(
  object<Omit<RestoredTask, 'why'> & { readonly reason: Reason | undefined; readonly message: string | undefined }>({
    task: taskName,
    decision: oneOf('warm', 'local', 'cold'),
    reason: nullable(oneOf(...REASONS)),
    message: nullable(text(64 * 1024)),
    snapshot: nullable(snapshotNameText),
    quality: nullable(qualityWord),
    stateTimeMs: named('stateTime', nullable(time)),
    capturedAtMs: named('capturedAt', nullable(time)),
    offsets: offsetMap,
    sizeBytes: named('bytes', count),
    replayRecords: optional(count),
  }),
  ({ reason, message, ...task }): RestoredTask => ({
    ...task,
    why: reason === undefined ? undefined : { reason, message: message ?? '' },
  }),
  ({ why, ...task }) => ({ ...task, reason: why?.reason, message: why?.message }),
);

const resultShape = object<RestoreResult>({
  outcome: oneOf('restored', 'partial', 'local', 'empty', 'failed'),
  tasks: list(restoredTask),
  bytesDownloaded: count,
  requests: count,
  durationMs: mapped(count, (ms) => ms, Math.round),
});

const reportShape = checked(
  object<RestoreReport>({
    application: nameText,
    lineage: nameText,
    instance: nameText,
    epoch: optional(epochText),
    writer: nameText,
    timeMs: named('time', time),
    guarantee: guaranteeWord,
    appVersion: optional(nameText),
    result: resultShape,
    installed: list(
      object<InstalledTask>({
        task: taskName,
        device: digits,
        inode: digits,
        birthtimeNs: signedDigits,
        snapshot: snapshotNameText,
        capturedBy: snapshotNameText,
        quality: qualityWord,
        layout: layoutWord,
        stateTimeMs: named('stateTime', time),
        capturedAtMs: named('capturedAt', time),
        offsets: offsetMap,
        topicIds: optional(topicIdMap),
        files: list(
          object<InstalledFile>({ ...storedFileShape, inode: digits, mtimeNs: signedDigits, ctimeNs: signedDigits }),
        ),
      }),
    ),
    taints: list(taintShape),
    clocks: clocksShape,
  }),
  (report) => {
    const task = firstRepeated(report.installed.map((each) => each.task));
    return task === undefined ? undefined : `task ${task} is named twice`;
  },
);

/** The format that this program writes and the only one it reads. */
const FORMAT = { number: 1, shape: reportShape };
