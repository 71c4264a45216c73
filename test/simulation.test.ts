import { availableParallelism } from 'node:os';
import { beforeAll, expect, test } from 'vitest';
import { openSha256 } from '../src/base/sha256.ts';
import { runCampaign, type SeedReport } from './support/simulation/campaign.ts';
import { simulate } from './support/simulation/simulation.ts';

// Whole agents and restores beside a model of Kafka Streams, in a world in memory in which everything goes wrong that may. What is
// looked after in every step stands in docs/decisions/0028-the-simulation.md. More seeds: npm run simulate -- --seeds N.

const STEPS = 500;
const SEEDS = 200;
/** Some eighty seconds of a core; it took ten minutes of two on a machine with thirty programs that wanted them. */
const PATIENCE_MS = 1_200_000;

beforeAll(async () => (await openSha256())[Symbol.dispose]());

test(
  `all that is offered is true, stays, and comes back, whatever happens in ${SEEDS} worlds`,
  async ({ signal }) => {
    const found: SeedReport[] = [];
    const order = { from: 1, seeds: SEEDS, steps: STEPS, workers: availableParallelism(), signal };
    await runCampaign(order, (report) => {
      if (report.finding !== undefined) found.push(report);
    });
    expect(
      found.map(({ seed }) => seed).sort((left, right) => left - right),
      found.map(describeReport).join('\n\n'),
    ).toEqual([]);
  },
  PATIENCE_MS,
);

test('a seed decides all that happens', async () => {
  const [once, again] = [await simulate(7, { steps: STEPS }), await simulate(7, { steps: STEPS })];
  expect(again.trace).toEqual(once.trace);
  expect(again.hash).toBe(once.hash);
});

test('another seed is another story', async () => {
  const [one, other] = [await simulate(1, { steps: 50 }), await simulate(2, { steps: 50 })];
  expect(other.hash).not.toBe(one.hash);
});

function describeReport({ seed, steps, finding, story }: SeedReport): string {
  const how = `npm run simulate -- --seed ${seed} --trace`;
  return [`seed ${seed} after ${steps} steps: ${finding}`, how, ...story].join('\n');
}
