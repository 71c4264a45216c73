import { describe, expect, test, vi } from 'vitest';
import { Fleet, type PodOutcome } from './support/fleet.ts';

// Hundreds of pods read the same thousand records: each version of one is decoded once. Every read is still a request.
vi.mock('../src/repository/record.ts', async (load) => {
  const real = await load<typeof import('../src/repository/record.ts')>();
  const known = new Map<
    string,
    { readonly bytes: Uint8Array; readonly record: ReturnType<typeof real.decodeRecord> }
  >();
  const decodeRecord: typeof real.decodeRecord = (bytes, key) => {
    const before = known.get(key);
    if (before !== undefined && Buffer.compare(before.bytes, bytes) === 0) return before.record;
    const record = real.decodeRecord(bytes, key);
    known.set(key, { bytes, record });
    return record;
  };
  return { ...real, decodeRecord };
});

interface Scale {
  readonly pods: number;
  readonly tasks: number;
  /** Of epochs that are dead when the last ones begin: as many as there are pods in each. */
  readonly generations: number;
  readonly unavailable: number;
}

const LATENCY_MS = 20;

function names(prefix: string, count: number): readonly string[] {
  return Array.from({ length: count }, (_, n) => `${prefix}-${n}`);
}

function share(tasks: number, n: number, of: number): readonly string[] {
  return Array.from({ length: tasks }, (_, task) => `0_${task}`).filter((_, task) => task % of === n);
}

/** Generations of pods that took over from each other; the last one lives. */
async function openFleet({ pods, tasks, generations, unavailable }: Scale): Promise<Fleet> {
  const fleet = new Fleet({ seed: 7, latencyMs: LATENCY_MS, unavailable });
  for (let generation = 1; generation <= generations; generation++) {
    if (generation > 1) for (const pod of names(`gone-${generation - 1}`, pods)) await fleet.close(pod);
    for (const [n, pod] of names(`gone-${generation}`, pods).entries()) {
      await fleet.run(pod, share(tasks, n, pods), { offset: BigInt(100 + generation), appVersion: 'old' });
    }
    await fleet.pass(60_000);
  }
  return fleet;
}

/** What it came to, in figures; docs/decisions/0030 has those of full size. */
function figures(what: string, outcomes: readonly PodOutcome[]): string {
  const of = (value: (outcome: PodOutcome) => number): string => {
    const sorted = outcomes.map(value).sort((left, right) => left - right);
    return `${Math.round(sorted[sorted.length >> 1] ?? 0)} (at most ${Math.round(sorted.at(-1) ?? 0)})`;
  };
  const restored = outcomes.flatMap(({ tasks }) => tasks);
  const twice = restored.length - new Set(restored).size;
  return (
    `${what}: ${outcomes.length} pods; a plan takes ${of(({ planMs }) => planMs)} ms, ` +
    `reads a record ${of(({ readsMax }) => readsMax)} times; ${of(({ requests }) => requests)} requests in all; ` +
    `${of(({ tasks }) => tasks.length)} tasks, ${twice} of all restored twice`
  );
}

function expectDivided(outcomes: readonly PodOutcome[], tasks: number): void {
  expect(new Set(outcomes.flatMap((outcome) => outcome.tasks)).size).toBe(tasks);
  expect(outcomes.filter((outcome) => outcome.tasks.length === 0)).toEqual([]);
  for (const { planMs, readsMax } of outcomes) {
    expect(planMs).toBeLessThan(5000);
    expect(readsMax).toBeLessThanOrEqual(2);
  }
}

/** 200 for the figures that are written down: four minutes of a core. */
const PODS = Number(process.env['FLEET_PODS'] ?? 40);
const SCALE: Scale = { pods: PODS, tasks: 10 * PODS, generations: 5, unavailable: 0.01 };

describe('a large Deployment', () => {
  test('whose pods all end and start at once is adopted whole', async () => {
    const fleet = await openFleet(SCALE);
    for (const pod of names(`gone-${SCALE.generations}`, SCALE.pods)) await fleet.close(pod);
    const outcomes = await fleet.until(Promise.all(names('new', SCALE.pods).map((pod) => fleet.restore(pod))));
    console.info(figures('all at once', outcomes));
    expectDivided(outcomes, SCALE.tasks);
    await fleet.end();
  }, 3_600_000);

  test('with all new pods beside all old ones copies each of them', async () => {
    const fleet = await openFleet(SCALE);
    const pods = names('new', SCALE.pods);
    const outcomes = await fleet.until(Promise.all(pods.map((pod) => fleet.restore(pod, { appVersion: 'new' }))));
    console.info(figures('surge', outcomes));
    expectDivided(outcomes, SCALE.tasks);
    await fleet.end();
  }, 3_600_000);

  test('whose pods are replaced one after another hands on what each had', async () => {
    const fleet = await openFleet(SCALE);
    const outcomes: PodOutcome[] = [];
    for (const [n, pod] of names(`gone-${SCALE.generations}`, SCALE.pods).entries()) {
      await fleet.close(pod);
      outcomes.push(await fleet.until(fleet.restore(`new-${n}`, { appVersion: 'new' })));
      await fleet.pass(30_000);
    }
    console.info(figures('one after another', outcomes));
    expectDivided(outcomes, SCALE.tasks);
    await fleet.end();
  }, 3_600_000);
});
