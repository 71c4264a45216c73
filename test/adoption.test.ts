import { describe, expect, test } from 'vitest';
import type { Random } from '../src/base/clock.ts';
import { Fleet, type PodOutcome } from './support/fleet.ts';

/** Requests that take their time, and now and then very long: whatever can come between two of them does. */
function erratic(random: Random): number {
  const dice = random.fraction();
  return dice < 0.9 ? 1 + dice * 50 : dice < 0.99 ? 500 * random.fraction() : 10_000 * random.fraction();
}

const SEEDS = Array.from({ length: 10 }, (_, n) => n + 1);

function names(prefix: string, count: number): readonly string[] {
  return Array.from({ length: count }, (_, n) => `${prefix}-${n}`);
}

/** The tasks of the n-th of so many, as the assignor deals them. */
function share(tasks: number, n: number, of: number): readonly string[] {
  return Array.from({ length: tasks }, (_, task) => `0_${task}`).filter((_, task) => task % of === n);
}

async function runAll(fleet: Fleet, pods: readonly string[], tasks: number): Promise<void> {
  for (const [n, pod] of pods.entries()) await fleet.run(pod, share(tasks, n, pods.length));
  await fleet.pass(600_000);
}

function expectAllAdopted(outcomes: readonly PodOutcome[], tasks: number, seed: number): void {
  const restored = new Set(outcomes.flatMap((outcome) => outcome.tasks));
  expect([seed, restored.size]).toEqual([seed, tasks]);
  expect([seed, outcomes.filter((outcome) => outcome.tasks.length === 0).map(({ instance }) => instance)]).toEqual([
    seed,
    [],
  ]);
  expect([seed, outcomes.filter(({ readsMax }) => readsMax > 2)]).toEqual([seed, []]);
}

describe('whatever order requests take', () => {
  // Of these one read another one's word, looked elsewhere for its sake, and that one let go of it: seed 42 of 8 pods.
  test.each([42, ...SEEDS])(
    'where each request may fail as well, nothing is left to nobody (seed %i)',
    async (seed) => {
      const fleet = new Fleet({ seed, latencyMs: erratic, unavailable: 0.03 });
      const old = names('old', 8);
      for (const [n, pod] of old.entries()) await fleet.run(pod, [`0_${2 * n}`, `0_${2 * n + 1}`]);
      await fleet.pass(600_000);
      for (const pod of old) await fleet.close(pod);
      const restores = names('new', 8).map((pod) => fleet.restore(pod, { downloadMs: 500 * fleet.random.fraction() }));
      expectAllAdopted(await fleet.until(Promise.all(restores)), 16, seed);
      await fleet.end();
    },
  );

  test.each(SEEDS)('all pods of a Deployment at once divide what their predecessors had (seed %i)', async (seed) => {
    const fleet = new Fleet({ seed, latencyMs: erratic });
    const old = names('old', 8);
    await runAll(fleet, old, 24);
    for (const pod of old) await fleet.close(pod);
    const outcomes = await fleet.until(Promise.all(names('new', 8).map((pod) => fleet.restore(pod))));
    expectAllAdopted(outcomes, 24, seed);
    await fleet.end();
  });

  test.each(SEEDS)('of a StatefulSet each gets its own (seed %i)', async (seed) => {
    const fleet = new Fleet({ seed, latencyMs: erratic });
    const pods = names('orders', 5);
    await runAll(fleet, pods, 12);
    for (const pod of pods) await fleet.close(pod);
    const outcomes = await fleet.until(Promise.all(pods.map((pod) => fleet.restore(pod))));
    for (const [n, { tasks }] of outcomes.entries()) expect(tasks).toEqual(share(12, n, 5));
    await fleet.end();
  });

  test.each(SEEDS)('fewer pods than before leave nothing where they know how many they are (seed %i)', async (seed) => {
    const fleet = new Fleet({ seed, latencyMs: erratic });
    const old = names('old', 9);
    await runAll(fleet, old, 31);
    for (const pod of old) await fleet.close(pod);
    const outcomes = await fleet.until(Promise.all(names('new', 4).map((pod) => fleet.restore(pod, { replicas: 4 }))));
    expectAllAdopted(outcomes, 31, seed);
    await fleet.end();
  });

  test.each(SEEDS)(
    'a pod that dies between its claim and the install leaves its tasks to its successor (seed %i)',
    async (seed) => {
      const fleet = new Fleet({ seed, latencyMs: erratic });
      const old = names('old', 3);
      await runAll(fleet, old, 9);
      for (const pod of old) await fleet.close(pod);
      const death = new AbortController();
      const victim = fleet.restore('victim', { signal: death.signal, downloadMs: 3_600_000 }).catch(() => undefined);
      await fleet.until(fleet.clock.sleep(60_000, new AbortController().signal));
      death.abort(new Error('killed'));
      await fleet.until(victim);
      const others = await fleet.until(Promise.all([fleet.restore('new-0'), fleet.restore('new-1')]));
      await fleet.pass(4 * 60_000); // Its claim has lapsed.
      const late = await fleet.until(fleet.restore('new-2'));
      expectAllAdopted([...others, late], 9, seed);
      await fleet.end();
    },
  );
});

test.each([1, 2, 3])(
  'where a third of many pods dies on the way, and the store has its own troubles, the next ones have all of it once claims have lapsed (seed %i)',
  async (seed) => {
    const fleet = new Fleet({ seed, latencyMs: erratic, unavailable: 0.03 });
    const old = names('old', 30);
    await runAll(fleet, old, 300);
    for (const pod of old) await fleet.close(pod);
    const attempts = names('new', 30).map(async (pod, n): Promise<readonly PodOutcome[]> => {
      const death = new AbortController();
      const work = fleet.restore(pod, { signal: death.signal, downloadMs: 30_000 * fleet.random.fraction() });
      if (n % 3 === 0) {
        await fleet.clock.sleep(30_000 * fleet.random.fraction(), new AbortController().signal);
        death.abort(new Error('killed'));
      }
      return work.then(
        (outcome) => [outcome],
        () => [],
      );
    });
    const survivors = (await fleet.until(Promise.all(attempts))).flat();
    expect(survivors.length).toBeLessThan(30);
    await fleet.pass(3 * 60_000 + 1000); // As long as a record may be silent.
    const late = names('late', 30 - survivors.length).map((pod) => fleet.restore(pod, { replicas: 30 }));
    expectAllAdopted([...survivors, ...(await fleet.until(Promise.all(late)))], 300, seed);
    await fleet.end();
  },
);

test.each(SEEDS)('a download of ten minutes keeps what it claimed (seed %i)', async (seed) => {
  const fleet = new Fleet({ seed });
  const old = names('old', 2);
  await runAll(fleet, old, 6);
  for (const pod of old) await fleet.close(pod);
  const slow = fleet.restore('slow', { downloadMs: 600_000, replicas: 2 });
  const outcomes = await fleet.until(
    Promise.all([
      slow,
      fleet.clock.sleep(300_000, new AbortController().signal).then(() => fleet.restore('late', { replicas: 2 })),
    ]),
  );
  expectAllAdopted(outcomes, 6, seed);
  expect([seed, outcomes.map(({ tasks }) => tasks.length)]).toEqual([seed, [3, 3]]);
  await fleet.end();
});

describe('one pod after another', () => {
  test('a Deployment whose pods are replaced in place hands on what each had', async () => {
    const fleet = new Fleet({ seed: 1 });
    const old = names('old', 4);
    await runAll(fleet, old, 12);
    const outcomes: PodOutcome[] = [];
    for (const [n, pod] of old.entries()) {
      await fleet.close(pod);
      outcomes.push(await fleet.until(fleet.restore(`new-${n}`)));
      expect(outcomes.at(-1)?.tasks).toEqual(share(12, n, 4));
      await fleet.pass(300_000);
    }
    await fleet.end();
  });

  test.each(SEEDS)(
    'a Deployment with a surge copies before the old ones end, and each of them once (seed %i)',
    async (seed) => {
      const fleet = new Fleet({ seed });
      const left = [...names('old', 4)];
      await runAll(fleet, left, 12);
      const outcomes: PodOutcome[] = [];
      while (left.length > 0) {
        outcomes.push(await fleet.until(fleet.restore(`new-${outcomes.length}`, { appVersion: 'new' })));
        await fleet.pass(300_000);
        const [pod = ''] = left.splice(Math.floor(fleet.random.fraction() * left.length), 1);
        await fleet.close(pod, 'finishing');
        await fleet.pass(5000);
        await fleet.close(pod);
      }
      expectAllAdopted(outcomes, 12, seed);
      await fleet.end();
    },
  );
});

test('beside 1,000 dead epochs of 2,000 tasks a pod plans within five seconds, and reads each record at most twice', async () => {
  const fleet = new Fleet({ seed: 7, latencyMs: 20, unavailable: 0.01 });
  // Earlier generations: what they had, their successors took over and published further.
  for (let generation = 0; generation < 5; generation++) {
    const pods = names(`gone-${generation}`, 200);
    for (const [n, pod] of pods.entries()) {
      await fleet.run(pod, share(2000, n, 200), { offset: BigInt(100 + generation) });
    }
    await fleet.pass(1000);
    for (const pod of pods) await fleet.close(pod);
  }
  const outcomes = await fleet.until(Promise.all(names('new', 4).map((pod) => fleet.restore(pod))));
  for (const { planMs, readsMax, tasks, requests } of outcomes) {
    expect(planMs).toBeLessThan(5000);
    expect(readsMax).toBeLessThanOrEqual(2);
    expect(requests).toBeLessThan(1100);
    expect(tasks).toHaveLength(10);
  }
  expect(new Set(outcomes.flatMap(({ tasks }) => tasks)).size).toBe(40);
  await fleet.end();
}, 300_000);
