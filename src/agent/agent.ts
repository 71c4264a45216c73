import type { Clock, Random } from '../base/clock.ts';
import type { Budget } from '../base/concurrency.ts';
import { isFailure, messageOf } from '../base/failure.ts';
import type { FileAccess } from '../base/file-access.ts';
import type { AgentProblem, AgentStatus } from '../events/agent-status.ts';
import type { Emit } from '../events/event.ts';
import type { ObjectStore } from '../storage/object-store.ts';
import type { Traffic } from '../storage/observed-store.ts';
import type { ApplicationState } from '../streams/app-lock.ts';
import type { DiskSpace } from './pin-limit.ts';
import { takeSnapshot } from './snapshot.ts';
import type { SnapshotResult } from './snapshot-result.ts';
import type { SnapshotSettings } from './snapshot-world.ts';

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
  readonly clock: Clock;
  readonly random: Random;
  /** For compressed stretches that wait to be sent. */
  readonly memory: Budget;
  readonly emit: Emit;
}

export function createAgent(settings: AgentSettings, world: AgentWorld): Agent {
  let phase: AgentStatus['phase'] = 'starting';
  let lastSuccessMs: number | undefined;
  let snapshot: string | undefined;
  let problem: AgentProblem | undefined;
  const never = new AbortController();

  const take = async (signal: AbortSignal): Promise<SnapshotResult> => {
    const result = await takeSnapshot(settings, { ...world, ...(await world.connect()), signal });
    lastSuccessMs = world.clock.nowMs();
    snapshot = result.snapshot ?? snapshot;
    return result;
  };

  return {
    status: () => ({
      application: settings.applicationId,
      lineage: settings.lineage,
      instance: settings.instance,
      guarantee: settings.processingGuarantee,
      epoch: snapshot?.split('/')[0],
      phase,
      turnedAtMs: world.clock.nowMs(),
      applicationFound: true,
      applicationRunning: undefined,
      problems: problem === undefined ? [] : [problem],
      tasks: [],
      lastSuccessMs,
      snapshot,
      dueMs: undefined,
      previousShutdown: undefined,
      finalSnapshot: { pendingBytes: 0, estimatedMs: 0 },
      stateDir: { bytes: 0, limitBytes: settings.stateDirLimitBytes, availableBytes: undefined },
      restorableBytes: 0,
      restore: undefined,
    }),
    requestSnapshot: () => take(never.signal),
    run: async ({ stopping, killed }) => {
      phase = 'watching';
      const attempt = (): Promise<void> =>
        take(killed).then(
          () => void (problem = undefined),
          (error: unknown) => {
            if (!isFailure(error)) throw error;
            const { hint } = error;
            problem = { area: 'storage', message: messageOf(error), hint, sinceMs: world.clock.nowMs() };
          },
        );
      while (!stopping.aborted && !killed.aborted) {
        await attempt();
        await world.clock.sleep(settings.intervalMs, AbortSignal.any([stopping, killed]));
      }
      phase = 'finishing';
      if (!killed.aborted) await attempt();
    },
  };
}
