import { beforeAll, describe, expect, test } from 'vitest';
import { openSha256 } from '../src/base/sha256.ts';
import { type Outcome, simulate } from './support/simulation/simulation.ts';

// Whole agents and restores beside a model of Kafka Streams, in a world in memory in which everything goes wrong that may. What is
// looked after in every step stands in docs/decisions/0028-the-simulation.md. More seeds: npm run simulate -- --seeds N.

const STEPS = 500;
/** What the next one finds is open: docs/decisions/0028. */
const SEEDS = 25;
const CHUNKS = 5;
const SEEDS_IN_CHUNK = SEEDS / CHUNKS;

beforeAll(async () => (await openSha256())[Symbol.dispose]());

describe('all that is offered is true, stays, and comes back, whatever happens', () => {
  const chunks = Array.from({ length: CHUNKS }, (_, chunk) => 1 + chunk * SEEDS_IN_CHUNK);
  test.each(chunks)(`for ${SEEDS_IN_CHUNK} seeds from %i on`, async (first) => {
    for (let seed = first; seed < first + SEEDS_IN_CHUNK; seed++) {
      const outcome = await simulate(seed, { steps: STEPS });
      expect(outcome.finding, story(outcome)).toBeUndefined();
    }
  });
});

test('a seed decides all that happens', async () => {
  const [once, again] = [await simulate(7, { steps: STEPS }), await simulate(7, { steps: STEPS })];
  expect(again.trace).toEqual(once.trace);
  expect(again.hash).toBe(once.hash);
});

test('another seed is another story', async () => {
  const [one, other] = [await simulate(1, { steps: 50 }), await simulate(2, { steps: 50 })];
  expect(other.hash).not.toBe(one.hash);
});

function story({ seed, steps, trace }: Outcome): string {
  return `seed ${seed} after ${steps} steps: npm run simulate -- --seed ${seed} --trace\n${trace.slice(-30).join('\n')}`;
}
