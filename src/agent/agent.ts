import type { Clock, Random } from '../base/clock.ts';
import type { Budget } from '../base/concurrency.ts';
import type { FileAccess } from '../base/file-access.ts';
import type { AgentStatus } from '../events/agent-status.ts';
import type { Emit } from '../events/event.ts';
import type { ObjectStore } from '../storage/object-store.ts';
import type { Traffic } from '../storage/observed-store.ts';
import type { ApplicationState } from '../streams/app-lock.ts';
import { Loop } from './loop.ts';
import type { DiskSpace } from './pin-limit.ts';
import type { SnapshotResult } from './snapshot-result.ts';
import type { SnapshotSettings } from './snapshot-world.ts';
import type { OpenWatcher } from './watcher.ts';

/** The long-running part of `warmstate run`. */
export interface Agent {
  /** What it knows now; a fresh value each turn. */
  status(): AgentStatus;
  /**
   * Wakes the loop for a snapshot now, without a bandwidth limit where `pre_stop`; resolves with its result. Concurrent
   * requests share one round. Rejects with the Failure of a round that failed.
   */
  requestSnapshot(trigger: 'request' | 'pre_stop'): Promise<SnapshotResult>;
  /**
   * The loop: returns after the last snapshot (`stopping` aborted), or soon after `killed` aborts. Never throws for
   * storage, settings or disk trouble: those are problems in the status.
   */
  run(signals: { readonly stopping: AbortSignal; readonly killed: AbortSignal }): Promise<void>;
}

export interface AgentSettings extends SnapshotSettings {
  readonly intervalMs: number;
  readonly bandwidthBytesPerSecond: number;
  /** Of the pod; undefined where nobody told. */
  readonly terminationGracePeriodMs: number | undefined;
  readonly stateDirLimitBytes: number | undefined;
}

export interface AgentWorld {
  /** Opens the object store; tried again later when it fails. */
  readonly connect: () => Promise<{ readonly store: ObjectStore; readonly traffic: () => Traffic }>;
  readonly files: FileAccess;
  readonly askLock: (applicationDirectory: string) => Promise<ApplicationState>;
  readonly askSpace: (path: string) => Promise<DiskSpace | undefined>;
  readonly openWatcher: OpenWatcher;
  readonly clock: Clock;
  readonly random: Random;
  /** For compressed stretches that wait to be sent. */
  readonly memory: Budget;
  readonly emit: Emit;
}

/** An agent at rest; `run` begins its work. */
export function createAgent(settings: AgentSettings, world: AgentWorld): Agent {
  return new Loop(settings, world);
}
