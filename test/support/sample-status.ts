import type { AgentStatus, TaskStatus } from '../../src/events/agent-status.ts';
import type { Explanation } from '../../src/streams/reason.ts';

export const STATUS_NOW_MS = Date.UTC(2026, 10, 22, 23, 40);
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const EPOCH = '1763851022123-orders-0-x7k2';

/** What an agent in the middle of its life says, as given and otherwise without a task. */
export function sampleStatus(given: Partial<AgentStatus> = {}): AgentStatus {
  return {
    application: 'orders',
    lineage: 'prod',
    instance: 'orders-0',
    guarantee: 'at_least_once',
    epoch: EPOCH,
    phase: 'watching',
    turnedAtMs: STATUS_NOW_MS,
    applicationFound: true,
    applicationRunning: true,
    problems: [],
    tasks: [],
    lastSuccessMs: STATUS_NOW_MS - 3 * MINUTE_MS,
    snapshot: `${EPOCH}/41`,
    dueMs: STATUS_NOW_MS + 2 * MINUTE_MS,
    previousShutdown: 'sealed',
    finalSnapshot: { pendingBytes: 12 * 2 ** 20, estimatedMs: 1500 },
    stateDir: { bytes: 6 * 2 ** 30, limitBytes: 20 * 2 ** 30, availableBytes: 13 * 2 ** 30 },
    restorableBytes: 5 * 2 ** 30,
    restore: {
      outcome: 'partial',
      completedMs: STATUS_NOW_MS - 3 * HOUR_MS,
      durationMs: 12_000,
      downloadedBytes: 2 ** 30,
      tasks: [
        { task: '0_0', decision: 'warm', why: undefined },
        { task: '0_1', decision: 'cold', why: { reason: 'damaged', message: 'data/1 has other bytes' } },
      ],
    },
    ...given,
  };
}

export function sampleTask(task: string, given: Partial<TaskStatus> = {}): TaskStatus {
  return {
    task,
    state: 'restorable',
    entry: {
      snapshot: `${EPOCH}/41`,
      quality: 'live',
      stateTimeMs: STATUS_NOW_MS - 3 * MINUTE_MS,
      sizeBytes: 4_402_341_478,
      offsets: new Map([[`orders-agg-changelog-${task.split('_')[1] ?? 0}`, 9_007_199_254_740_993n]]),
    },
    isPending: false,
    why: undefined,
    ...given,
  };
}

/** A task of which nothing is stored, for a reason. */
export function uncapturableTask(task: string, why: Explanation): TaskStatus {
  return sampleTask(task, { state: 'uncapturable', entry: undefined, why });
}
