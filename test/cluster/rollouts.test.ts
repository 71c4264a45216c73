import { expect, test } from 'vitest';
import { type Tree, treeAt } from '../../src/inject/tree.ts';
import { AppInCluster, LOAD, nameOf } from '../support/cluster-app.ts';
import { openServersOfFile } from '../support/cluster-servers.ts';
import { firstOf, startsOf } from '../support/kafka/delta.ts';
import type { PrintedTask } from '../support/kafka/protected-app.ts';
import type { StreamsApp } from '../support/kafka/streams-app.ts';
import { contentsAfter, differences, STORES } from '../support/model.ts';

/** A checkpoint is written after 10,000 changelog records of a task: of the first subtopology after 8,334 of these. */
const SOME = 10_000;
const FEW = 2000;

const servers = openServersOfFile(1_200_000);

test('a rollout without surge gives new pods what old ones had', async () => {
  const guarantee = 'exactly_once_v2';
  await using app = await AppInCluster.start(servers(), { kind: 'Deployment', guarantee, replicas: 2 });
  const before = await bothPods(app);
  {
    await using running = await Running.of(app, before);
    await app.feed(0, FEW);
    await running.caughtUp(FEW);
  }
  await app.restartRollout();
  const after = await app.namespace.until('two new pods', async () => {
    const pods = (await app.pods()).filter((pod) => !before.some((old) => nameOf(old) === nameOf(pod)));
    return pods.length === 2 ? pods : undefined;
  });
  const restores = await Promise.all(after.map((pod) => app.restored(pod)));
  await using running = await Running.of(app, after);
  const warm = restores.map(({ tasks }) => tasks.filter(({ decision }) => decision === 'warm'));
  // A new pod may look before its predecessor has shown that it is ending, and of one that lives there is no copy under
  // exactly-once. The pod after it finds what that predecessor left.
  expect(warm.flatMap((each) => each.map(({ task }) => task)).filter((task) => task !== 'global')).not.toEqual([]);
  expectNoFailures(restores.flatMap(({ tasks }) => tasks));
  await running.caughtUp(FEW);
  running.expectNothingTwice(warm);
});

test('a rollout with surge starts from a copy of what the old pod has', async () => {
  const guarantee = 'at_least_once';
  const strategy = { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } };
  const change = (manifest: Tree): Tree => ({ ...manifest, spec: { ...treeAt(manifest, 'spec'), strategy } });
  await using app = await AppInCluster.start(servers(), { kind: 'Deployment', guarantee, change });
  const first = await app.podBeside([]);
  {
    await using running = await app.running(first);
    await app.feed(0, SOME);
    await running.caughtUp(SOME, LOAD);
    await app.offered(first, ['0_0', '0_1']);
  }
  await app.restartRollout();
  const second = await app.podBeside([first]);
  const { tasks } = await app.restored(second);
  const warm = tasks.filter(({ decision }) => decision === 'warm');
  expect(warm.map(({ task }) => task)).toEqual(expect.arrayContaining(['0_0', '0_1']));
  expectNoFailures(tasks);
  await using running = await Running.of(app, [second]);
  await running.caughtUp(SOME);
  running.expectNothingTwice([warm]);
});

test('a pod that is added starts from a copy, and after one was taken away the next adopts what it had', async () => {
  const guarantee = 'at_least_once';
  await using app = await AppInCluster.start(servers(), { kind: 'StatefulSet', guarantee });
  const first = await app.podBeside([]);
  {
    await using running = await app.running(first);
    await app.feed(0, SOME);
    await running.caughtUp(SOME, LOAD);
    await app.offered(first, ['0_0', '0_1']);
  }
  await app.scale(2);
  const second = await app.podBeside([first]);
  const added = await app.restored(second);
  const copied = added.tasks.filter(({ decision }) => decision === 'warm');
  expect(copied.map(({ task }) => task)).toEqual(expect.arrayContaining(['0_0', '0_1']));
  expectNoFailures(added.tasks);
  {
    await using running = await Running.of(app, [first, second]);
    await running.shared();
    await running.caughtUp(SOME);
    running.expectNothingTwice([[], copied]);
  }
  await app.scale(1);
  await app.namespace.until('the second pod is gone', async () => (await app.namespace.list('pods')).length === 1);
  {
    await using running = await Running.of(app, [first]);
    await running.caughtUp(SOME);
  }
  await app.scale(2);
  const third = await app.podBeside([first]);
  const again = await app.restored(third);
  const adopted = again.tasks.filter(({ decision }) => decision === 'warm');
  expect(adopted.length).toBeGreaterThan(1);
  expectNoFailures(again.tasks);
  await using running = await Running.of(app, [first, third]);
  await running.caughtUp(SOME);
  running.expectNothingTwice([[], adopted]);
});

async function bothPods(app: AppInCluster): Promise<readonly Tree[]> {
  return app.namespace.until('two pods', async () => {
    const pods = await app.pods();
    return pods.length === 2 ? pods : undefined;
  });
}

/** What others have is left to them; nothing else is in the way. */
function expectNoFailures(tasks: readonly PrintedTask[]): void {
  const cold = tasks.filter(({ decision }) => decision === 'cold');
  const unexpected = cold.filter(({ reason }) => reason !== 'claimed_elsewhere' && reason !== 'not_selected');
  expect(unexpected).toEqual([]);
}

/** The application in all its pods: each has some of the tasks. */
class Running implements AsyncDisposable {
  readonly #each: readonly StreamsApp[];

  private constructor(each: readonly StreamsApp[]) {
    this.#each = each;
  }

  static async of(app: AppInCluster, pods: readonly Tree[]): Promise<Running> {
    return new Running(await Promise.all(pods.map((pod) => app.running(pod))));
  }

  /** Each has active tasks. */
  async shared(): Promise<void> {
    await expect
      .poll(
        async () => (await Promise.all(this.#each.map((one) => one.tasks()))).map(({ active }) => active.length > 0),
        {
          timeout: 120_000,
        },
      )
      .toEqual(this.#each.map(() => true));
  }

  /** All together hold what the records leave. A task may be moving. */
  async caughtUp(records: number): Promise<void> {
    await this.#each[0]?.committed();
    await expect.poll(() => this.#differences(records), { timeout: 120_000, interval: 1000 }).toEqual([]);
  }

  /** Nothing that was installed is replayed. A task that was kept as a copy until it moved goes on from later. */
  expectNothingTwice(installed: readonly (readonly PrintedTask[])[]): void {
    const replayed = this.#each.flatMap((one, index) => {
      const starts = startsOf(installed[index] ?? []);
      return firstOf(one.restorations).filter(
        ({ changelog, startingOffset }) => startingOffset < (starts.get(changelog) ?? 0n),
      );
    });
    expect(replayed).toEqual([]);
  }

  async #differences(records: number): Promise<readonly string[]> {
    const expected = contentsAfter(records, LOAD);
    const found: string[] = [];
    for (const store of STORES) {
      const parts = await Promise.all(this.#each.map((one) => one.contentsOf(store).catch(() => new Map())));
      const lines = differences(new Map(parts.flatMap((part) => [...part])), expected[store]);
      found.push(...lines.map((line) => `${store} ${line}`));
    }
    return found;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#each.map((one) => one[Symbol.asyncDispose]()));
  }
}
