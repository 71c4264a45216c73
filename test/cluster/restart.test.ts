import { expect, test } from 'vitest';
import { AppInCluster, nameOf } from '../support/cluster-app.ts';
import { openServersOfFile } from '../support/cluster-servers.ts';
import { totalsOf } from '../support/kafka/delta.ts';
import type { Load } from '../support/model.ts';

/** Some 40 MB of changelogs. */
const RECORDS = 60_000;
const LOAD: Load = { keys: 30_000, rows: 2000, items: 80, stepMs: 150, payloadBytes: 500 };

const servers = openServersOfFile(600_000);

test('a pod that is deleted is back without a replay, and says how long it takes with and without', async () => {
  await using app = await AppInCluster.start(servers(), { kind: 'StatefulSet', guarantee: 'at_least_once' });
  const first = await app.podBeside([]);
  {
    await using running = await app.running(first);
    await servers().broker.feed(app.name, LOAD, { from: 0, to: RECORDS });
    await running.committed();
  }
  const warm = await restart(app);
  expect(warm.decisions).toEqual(['warm']);
  const patch = JSON.stringify({ data: { WARMSTATE_TASKS: 'none' } });
  await app.namespace.kubectl('patch', 'configmap', 'warmstate', '--type=merge', '-p', patch);
  const cold = await restart(app);
  expect(cold.decisions).toEqual(['cold']);
  console.log('from deletion to RUNNING', { warm, cold });
  expect(warm.replayed).toBe(0n);
  expect(cold.replayed).toBeGreaterThan(BigInt(RECORDS / 2));
});

/** Of a deletion: how long it took, in all and of the application's start, and what was replayed of the persistent stores. */
async function restart(app: AppInCluster): Promise<{
  readonly decisions: readonly string[];
  readonly allMs: number;
  readonly startMs: number;
  readonly replayed: bigint;
}> {
  const [before] = await app.pods();
  if (before === undefined) throw new Error('there is no pod');
  const deletedAtMs = Date.now();
  await app.namespace.delete('pod', nameOf(before), '--wait=false');
  const after = await app.podBeside([before]);
  const { tasks } = await app.restored(after);
  await using running = await app.running(after);
  const at = (event: string, state?: string): number =>
    running.events.findLast((each) => each.event === event && (state === undefined || each['state'] === state))?.atMs ??
    0;
  const { agg = 0n, win = 0n, tab = 0n } = totalsOf(running.restorations);
  return {
    decisions: [...new Set(tasks.map(({ decision }) => decision ?? ''))],
    allMs: at('state', 'RUNNING') - deletedAtMs,
    startMs: at('state', 'RUNNING') - at('listening'),
    replayed: agg + win + tab,
  };
}
