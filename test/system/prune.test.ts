import { utimes } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { Scenario } from '../support/scenario.ts';
import { warmstate } from '../support/warmstate.ts';

const CLOSED = '3.9.2-alos-closed';
const HOUR_MS = 3_600_000;

interface Pruned {
  readonly documents: number;
  readonly objects: number;
  readonly missing: readonly string[];
}

async function prune(scenario: Scenario, ...flags: readonly string[]): Promise<Pruned> {
  const destination = ['--destination', `file://${scenario.repositoryDir}`];
  const { stdout } = await warmstate(['prune', ...destination, '--output', 'json', ...flags]);
  return JSON.parse(stdout);
}

/** Makes everything that is stored so old. */
async function grow(scenario: Scenario, ms: number): Promise<void> {
  const past = new Date(Date.now() - ms);
  for (const folder of ['data', 'records', 'snapshots'])
    for (const path of await scenario.objects(folder)) await utimes(path, past, past);
}

test('prune removes what is past its time, and what stays restores', async () => {
  await using scenario = await Scenario.open(CLOSED);
  await scenario.snapshot({ instance: 'pod-9' });
  await grow(scenario, 40 * HOUR_MS);
  const before = await scenario.hashes();
  await scenario.snapshot();
  const planned = await prune(scenario, '--dry-run');
  expect(planned).toMatchObject({ documents: 1, missing: [] });
  expect(planned.objects).toBeGreaterThan(0);
  expect(await scenario.objects('snapshots')).toHaveLength(2);
  expect(await prune(scenario)).toEqual(planned);
  expect(await scenario.objects('snapshots')).toHaveLength(1);
  expect(await prune(scenario)).toMatchObject({ documents: 0, objects: 0 });

  await scenario.loseDisk();
  expect((await scenario.restore()).outcome).toBe('restored');
  expect(await scenario.hashes()).toEqual(before);
});
