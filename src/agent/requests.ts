import type { SnapshotResult } from './snapshot-result.ts';

interface SnapshotRequest {
  readonly trigger: 'request' | 'pre_stop';
  readonly resolve: (result: SnapshotResult) => void;
  readonly reject: (reason: unknown) => void;
}

/** Who waits for a snapshot. */
export class Requests {
  #waiting: SnapshotRequest[] = [];

  /** What a round for all of them is called; undefined where nobody waits. */
  get trigger(): SnapshotRequest['trigger'] | undefined {
    const triggers = this.#waiting.map(({ trigger }) => trigger);
    return triggers.find((trigger) => trigger === 'pre_stop') ?? triggers[0];
  }

  add(trigger: SnapshotRequest['trigger']): Promise<SnapshotResult> {
    const { promise, resolve, reject } = Promise.withResolvers<SnapshotResult>();
    this.#waiting.push({ trigger, resolve, reject });
    return promise;
  }

  /** Whoever comes later waits for another round. */
  take(): Pick<SnapshotRequest, 'resolve' | 'reject'> {
    const taken = this.#waiting;
    this.#waiting = [];
    return {
      resolve: (result) => {
        for (const request of taken) request.resolve(result);
      },
      reject: (reason) => {
        for (const request of taken) request.reject(reason);
      },
    };
  }
}
