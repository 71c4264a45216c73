import { setTimeout as delay } from 'node:timers/promises';
import type { Broker } from '../test/support/kafka/broker.ts';

const POLL_MS = 250;

/** Until an application has processed and committed everything in its topics but the global one, however long that takes. */
export async function untilCommitted(
  broker: Broker,
  { group, topics }: { readonly group: string; readonly topics: string },
): Promise<void> {
  const read = new RegExp(`^${topics}-(input|table)-\\d+$`);
  const ends = [...(await broker.endOffsets())].filter(([partition]) => read.test(partition));
  for (;;) {
    const committed = await broker.committedOffsets(group);
    if (ends.every(([partition, end]) => (committed.get(partition) ?? 0n) === end)) return;
    await delay(POLL_MS);
  }
}
