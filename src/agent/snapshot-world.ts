import type { Clock, Random } from '../base/clock.ts';
import type { Budget } from '../base/concurrency.ts';
import type { DiskSpace } from '../base/disk-space.ts';
import type { FileAccess } from '../base/file-access.ts';
import type { Emit } from '../events/event.ts';
import type { ConsultBrokers } from '../kafka/broker-facts.ts';
import type { ObjectStore } from '../storage/object-store.ts';
import type { Traffic } from '../storage/observed-store.ts';
import type { ApplicationState } from '../streams/app-lock.ts';
import type { Guarantee } from '../streams/quality.ts';
import type { ClockWatch } from './clock-watch.ts';

export interface SnapshotSettings {
  readonly stateDir: string;
  readonly applicationId: string;
  readonly processingGuarantee: Guarantee;
  readonly transactionalStores: boolean;
  readonly instance: string;
  readonly lineage: string;
  readonly compression: 'zstd' | 'none';
  readonly concurrency: number;
  readonly maxAgeMs: number;
  readonly keepWithinMs: number;
  /** `warmstate 0.1.0` */
  readonly program: string;
}

export interface SnapshotWorld {
  readonly store: ObjectStore;
  /** Until now. */
  readonly traffic: () => Traffic;
  readonly files: FileAccess;
  readonly askLock: (applicationDirectory: string) => Promise<ApplicationState>;
  /** Of the volume that a path lies on; undefined where it cannot be told. */
  readonly askSpace: (path: string) => Promise<DiskSpace | undefined>;
  /** Where the user grants it. */
  readonly consultBrokers?: ConsultBrokers | undefined;
  readonly clock: Clock;
  /** Of the process, where it began before the store was open. */
  readonly clockWatch?: ClockWatch | undefined;
  readonly random: Random;
  /** For compressed stretches that wait to be sent. */
  readonly memory: Budget;
  readonly emit: Emit;
  readonly signal: AbortSignal;
}
