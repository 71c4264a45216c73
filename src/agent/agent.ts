import type { AgentStatus } from '../events/agent-status.ts';
import type { AskBrokers } from '../kafka/broker-facts.ts';
import { Loop } from './loop.ts';
import type { SnapshotResult } from './snapshot-result.ts';
import type { SnapshotSettings, SnapshotWorld } from './snapshot-world.ts';
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
  /** Whether it may collect, where that falls to it. */
  readonly prunes: boolean;
}

/** What a snapshot needs of the world, but for the store, which may be away when the agent begins. */
export interface AgentWorld extends Omit<SnapshotWorld, 'store' | 'traffic' | 'signal' | 'consultBrokers'> {
  /** Where the user grants it. */
  readonly askBrokers?: AskBrokers | undefined;
  /** Opens the object store; tried again later when it fails. */
  readonly connect: () => Promise<Pick<SnapshotWorld, 'store' | 'traffic'>>;
  readonly openWatcher: OpenWatcher;
}

/** An agent at rest; `run` begins its work. */
export function createAgent(settings: AgentSettings, world: AgentWorld): Agent {
  return new Loop(settings, world);
}
