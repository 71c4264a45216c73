import { Failure } from '../base/failure.ts';
import {
  checked,
  count,
  digits,
  flag,
  list,
  mapped,
  named,
  object,
  oneOf,
  optional,
  signedDigits,
  time,
} from '../base/json-codec.ts';
import type { Guarantee, Quality } from '../streams/quality.ts';
import { type ClockSighting, clocksShape } from './clocks.ts';
import { type Entry, filesOfEntry, type Layout } from './document.ts';
import {
  attemptNumber,
  epochText,
  firstRepeated,
  guaranteeWord,
  layoutWord,
  nameText,
  offsetMap,
  qualityWord,
  snapshotNameText,
  taskName,
  topicIdMap,
} from './document-shape.ts';
import { decodeText, encodeText } from './format.ts';
import { repositoryKeys } from './keys.ts';

/** What an epoch says about itself: the one object of it that changes, rewritten by it alone. See docs/format.md. */
export interface EpochRecord {
  readonly application: string;
  readonly lineage: string;
  readonly instance: string;
  readonly epoch: string;
  /** The program that wrote it, `warmstate 0.1.0`. */
  readonly writer: string;
  /** What the process was started for. */
  readonly role: 'restore' | 'run' | 'snapshot';
  /**
   * `finishing`: the pod is told to end. `released`: the application has let go of the state directory. `sealed`: nothing
   * will follow.
   */
  readonly state: 'alive' | 'finishing' | 'released' | 'sealed';
  /** By the store's clock as the writer knew it. Whether the epoch lives is judged by the object's own age. */
  readonly renewedAtMs: number;
  readonly guarantee: Guarantee;
  /** The settings in force, for whoever collects. */
  readonly maxAgeMs: number;
  readonly keepWithinMs: number | undefined;
  /** Whether collection may fall to it; where nothing is said it may. */
  readonly collects?: boolean | undefined;
  /** The epoch of the restore that filled the state directory of this one. */
  readonly after: string | undefined;
  /** How the application gets on with what that restore installed. */
  readonly trial: Trial | undefined;
  /** The `n` of the newest document. */
  readonly newest: number | undefined;
  /** What that document holds, so that choosing needs no documents. */
  readonly tasks: readonly TaskSummary[];
  readonly taints: readonly Taint[];
  /** What is known of the clock that stamps its volume, also from the lives before it (A5). */
  readonly clocks?: readonly ClockSighting[] | undefined;
  /** Of a restore: with what the pod goes on. */
  readonly claims: readonly Claim[];
  /** What this epoch has on trial, if it is one of a restore: what it installed, or left in place of an earlier one. */
  readonly installed: readonly InstalledSummary[];
  /** For which version of the application; undefined stands for all versions alike. */
  readonly appVersion: string | undefined;
}

/** An entry without its files. */
export interface TaskSummary {
  readonly task: string;
  readonly quality: Quality;
  readonly layout: Layout;
  readonly stateTimeMs: number;
  readonly capturedAtMs: number;
  readonly capturedBy: string;
  readonly offsets: ReadonlyMap<string, bigint>;
  readonly topicIds?: ReadonlyMap<string, string> | undefined;
  /** Of all its files, unpacked. */
  readonly sizeBytes: number;
}

/** A task directory that was opened anew over writes that no checkpoint covers (Q6). */
export interface Taint {
  readonly task: string;
  readonly device: bigint;
  readonly inode: bigint;
  /** Tells a reused inode number apart; absent where it is not known, as in the records of older versions. */
  readonly birthtimeNs?: bigint;
}

/** A restore's word, given before it downloads anything, that its pod goes on with what another epoch held. */
export interface Claim {
  /** The one whose tasks these are. */
  readonly epoch: string;
  /** `own`: of this very instance. `adopted`: nobody who lives has them. `copied`: somebody who lives has them as well. */
  readonly kind: 'own' | 'adopted' | 'copied';
  /** They are in place: who has not got so far yields. */
  readonly isSettled: boolean;
}

/** What was seen of the application since its state directory was filled. */
export interface Trial {
  /** `confirmed`: it lives with what was installed. `failed`: it was lost again and again, and never confirmed. */
  readonly state: 'undecided' | 'confirmed' | 'failed';
  /** When one of these last changed, by the store's clock. */
  readonly atMs: number;
  /** How often it was seen to take its lock, and to lose it in a way that may be the fault of what was installed. */
  readonly lockTaken: number;
  readonly lockLost: number;
}

/** What a restore put in place. */
export interface InstalledSummary {
  readonly task: string;
  /** The snapshot whose entry it is. */
  readonly snapshot: string;
  readonly quality: Quality;
  /** Undefined in records of programs that had no trials yet. */
  readonly layout: Layout | undefined;
  readonly stateTimeMs: number;
  readonly offsets: ReadonlyMap<string, bigint>;
}

/** An epoch renews its record every minute; after three of them without a sign it is taken for dead. */
export const EPOCH_SILENCE_MS_MAX = 3 * 60_000;

/** Whether an epoch is still at work, by the store's clock alone: pods' clocks differ. */
export function isAlive(
  record: EpochRecord,
  seen: { readonly modifiedMs: number; readonly storeTimeMs: number },
): boolean {
  return record.state !== 'sealed' && seen.storeTimeMs - seen.modifiedMs <= EPOCH_SILENCE_MS_MAX;
}

export function summarise(entry: Entry): TaskSummary {
  return {
    task: entry.task,
    quality: entry.quality,
    layout: entry.layout,
    stateTimeMs: entry.stateTimeMs,
    capturedAtMs: entry.capturedAtMs,
    capturedBy: entry.capturedBy,
    offsets: entry.offsets,
    topicIds: entry.topicIds,
    sizeBytes: filesOfEntry(entry).reduce((sum, file) => sum + file.sizeBytes, 0),
  };
}

/** JSON, not compressed: it is small and read by people. Failure `invalid` for what `decodeRecord` would refuse. */
export function encodeRecord(record: EpochRecord): Uint8Array {
  return encodeText(record, FORMAT, `the record of ${record.epoch}`);
}

/** The record that lies under `key`; Failure `corrupt`, or `invalid` for another format, with the key. */
export function decodeRecord(bytes: Uint8Array, key: string): EpochRecord {
  const record = decodeText(bytes, FORMAT, key);
  const own = repositoryKeys(record).record(record.epoch);
  if (own !== key) throw new Failure('corrupt', `cannot read ${key}: it is ${own}`);
  return record;
}

export const taintShape = object<Taint>({
  task: taskName,
  device: digits,
  inode: digits,
  birthtimeNs: optional(signedDigits),
});

const recordShape = checked(
  object<EpochRecord>({
    application: nameText,
    lineage: nameText,
    instance: nameText,
    epoch: epochText,
    writer: nameText,
    role: oneOf('restore', 'run', 'snapshot'),
    state: oneOf('alive', 'finishing', 'released', 'sealed'),
    renewedAtMs: named('renewedAt', time),
    guarantee: guaranteeWord,
    maxAgeMs: count,
    keepWithinMs: optional(count),
    collects: optional(flag),
    after: optional(epochText),
    trial: optional(
      object<Trial>({
        state: oneOf('undecided', 'confirmed', 'failed'),
        atMs: named('at', time),
        lockTaken: count,
        lockLost: count,
      }),
    ),
    newest: optional(attemptNumber),
    tasks: list(
      object<TaskSummary>({
        task: taskName,
        quality: qualityWord,
        layout: layoutWord,
        stateTimeMs: named('stateTime', time),
        capturedAtMs: named('capturedAt', time),
        capturedBy: snapshotNameText,
        offsets: offsetMap,
        topicIds: optional(topicIdMap),
        sizeBytes: count,
      }),
    ),
    taints: list(taintShape),
    clocks: clocksShape,
    claims: mapped(
      optional(
        list(
          object<Claim>({
            epoch: epochText,
            kind: oneOf('own', 'adopted', 'copied'),
            isSettled: named('settled', flag),
          }),
        ),
      ),
      (claims) => claims ?? [],
      (claims) => (claims.length === 0 ? undefined : claims),
    ),
    installed: list(
      object<InstalledSummary>({
        task: taskName,
        snapshot: snapshotNameText,
        quality: qualityWord,
        layout: optional(layoutWord),
        stateTimeMs: named('stateTime', time),
        offsets: offsetMap,
      }),
    ),
    appVersion: optional(nameText),
  }),
  (record) => {
    const task =
      firstRepeated(record.tasks.map((each) => each.task)) ?? firstRepeated(record.installed.map((each) => each.task));
    if (task !== undefined) return `task ${task} is named twice`;
    return record.newest === undefined && record.tasks.length > 0 ? 'it has tasks and no newest document' : undefined;
  },
);

/** The format that this program writes and the only one it reads. */
const FORMAT = { number: 1, shape: recordShape };
