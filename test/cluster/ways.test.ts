import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Tree, textAt, treeAt } from '../../src/inject/tree.ts';
import { AppInCluster, LOAD, nameOf, TASKS } from '../support/cluster-app.ts';
import { openPolicy } from '../support/cluster-policy.ts';
import { openServersOfFile } from '../support/cluster-servers.ts';
import { departuresFromDelta } from '../support/kafka/delta.ts';
import { podShape } from '../support/pod-shape.ts';

const WAYS = ['pasted', 'injected', 'policy'] as const;
const FEW = 2000;

const servers = openServersOfFile(900_000);
const held = new AsyncDisposableStack();

beforeAll(async () => void held.use(await openPolicy(servers().cluster)));
afterAll(() => held.disposeAsync());

test('the pods that are pasted, injected and made by the policy are the same, and each comes back warm', async () => {
  const shapes = await Promise.all(
    WAYS.map(async (way) => {
      await using app = await start('StatefulSet', way);
      const first = await app.podBeside([]);
      await comesBackWarm(app, first);
      return shapeOf(app, first);
    }),
  );
  expectTheSame(shapes);
});

test('the same holds for the pods of a Deployment', async () => {
  const shapes = await Promise.all(
    WAYS.map(async (way) => {
      await using app = await start('Deployment', way);
      return shapeOf(app, await app.podBeside([]));
    }),
  );
  expectTheSame(shapes);
});

function start(kind: 'StatefulSet' | 'Deployment', way: (typeof WAYS)[number]): Promise<AppInCluster> {
  return AppInCluster.start(servers(), { kind, way, guarantee: 'exactly_once_v2' });
}

async function comesBackWarm(app: AppInCluster, first: Tree): Promise<void> {
  {
    await using running = await app.running(first);
    await app.feed(0, FEW);
    await running.caughtUp(FEW, LOAD);
  }
  await app.namespace.delete('pod', nameOf(first), '--wait=false');
  const second = await app.podBeside([first]);
  const { tasks } = await app.restored(second);
  expect(tasks.map(({ task, decision, quality }) => [task, decision, quality])).toEqual(
    TASKS.map((task) => [task, 'warm', 'clean']),
  );
  await using running = await app.running(second);
  await running.caughtUp(FEW, LOAD);
  expect(departuresFromDelta(running.restorations, tasks, 'exactly_once_v2')).toEqual([]);
  expect(await running.differencesFrom(FEW, LOAD)).toEqual([]);
}

/** As the API server has it, without the names that differ from namespace to namespace. */
async function shapeOf(app: AppInCluster, pod: Tree): Promise<unknown> {
  const stored = await app.namespace.get('configmap', 'warmstate');
  const destination = textAt(stored, 'data', 'WARMSTATE_DESTINATION');
  const shape = treeAt(podShape(pod, new Map([['warmstate', { WARMSTATE_DESTINATION: destination }]])));
  const { hostname: _its, nodeName: _where, ...rest } = shape;
  const text = JSON.stringify(rest).replaceAll(app.name, 'NAMESPACE');
  return JSON.parse(text.replaceAll(/kube-api-access-\w+/g, 'kube-api-access'));
}

function expectTheSame([pasted, ...others]: readonly unknown[]): void {
  expect(treeAt(pasted)['initContainers']).toHaveLength(2);
  for (const other of others) expect(other).toEqual(pasted);
}
