import type { SnapshotDocument, StoredFile } from '../repository/document.ts';
import type { Withdrawals } from '../repository/withdrawals.ts';
import type { Leaning, RecordChange, RepositoryWriter } from '../repository/writer.ts';
import type { BrokerView } from './broker-view.ts';
import type { KnownTables } from './known-tables.ts';
import type { Legacy } from './legacy.ts';
import type { Looks } from './looks.ts';
import type { SnapshotResult, SnapshotTask } from './snapshot-result.ts';
import type { SnapshotSettings, SnapshotWorld } from './snapshot-world.ts';

/** The store's clock and ours agree to the second only: a state time may come out so much older. */
export const SPARED_MS = 2000;

/** What a round is to do. */
export interface RoundOrder {
  /** All that are there. */
  readonly tasks: readonly string[];
  /** Those to look at; what the last round found of the others still holds. */
  readonly changed: ReadonlySet<string>;
  /** Those that were there and that the application deleted, all at once. */
  readonly wiped: ReadonlySet<string>;
  /** Publishes a document even where it would say nothing, or nothing new. */
  readonly isForced: boolean;
  /** When to publish what was sent until then, by the steady clock: a document vouches for it. */
  readonly lateAtMs: number;
  /** Goes into the record together with the new document. */
  readonly record: RecordChange;
}

export interface RoundParts {
  readonly settings: SnapshotSettings & { readonly applicationDirectory: string };
  readonly world: SnapshotWorld;
  readonly writer: RepositoryWriter;
  readonly looks: Looks;
  readonly known: KnownTables;
  /** With the newest document of this epoch, once there is one, as base. */
  readonly legacy: Legacy;
  readonly brokers: BrokerView;
  /** Of this epoch. */
  readonly newest: SnapshotDocument | undefined;
  /** What the last round found. */
  readonly before: ReadonlyMap<string, TaskFinding>;
  /** As of the beginning of this round. */
  readonly withdrawals: Withdrawals;
  /** What the document is going to lean on beside the newest one of this epoch. */
  readonly leaning: Leaning;
}

/** What a round found of one task. */
export interface TaskFinding {
  readonly result: SnapshotTask;
  readonly ahead: readonly StoredFile[];
}

export interface RoundOutcome {
  /** Undefined where nothing had changed. */
  readonly document: SnapshotDocument | undefined;
  readonly findings: ReadonlyMap<string, TaskFinding>;
  readonly result: Pick<SnapshotResult, 'snapshot' | 'tasks' | 'bytesReused'>;
  /** Some tables wait for the next round. */
  readonly isUnfinished: boolean;
  /** Tasks to whose changelogs nothing was written since, as brokers said: their entries have no age. */
  readonly current: ReadonlySet<string>;
  /** Tasks whose entries were captured live while their application was exactly-once (Q7). */
  readonly distrusted: readonly string[];
}
