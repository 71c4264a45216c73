import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { layOut } from '../support/recorded.ts';
import { Scenario } from '../support/scenario.ts';
import { warmstate } from '../support/warmstate.ts';

const CLOSED = '3.9.2-alos-closed';
const HELD: Readonly<Record<string, readonly string[]>> = { 'old-0': ['0_0', '0_1'], 'old-1': ['1_0', '1_1'] };

/** A repository of two instances that are gone. */
async function openRepository(): Promise<Scenario> {
  const scenario = await Scenario.open();
  for (const [instance, tasks] of Object.entries(HELD)) {
    await layOut(CLOSED, scenario.stateDir);
    for (const task of Object.values(HELD).flat()) {
      if (!tasks.includes(task)) await rm(join(scenario.applicationDirectory, task), { recursive: true });
    }
    await scenario.snapshot({ instance });
    await scenario.loseDisk();
  }
  return scenario;
}

/** The program itself, on a volume of its own; what it made warm. */
async function restoreAs(scenario: Scenario, instance: string): Promise<readonly string[]> {
  const stateDir = join(scenario.path, instance);
  await mkdir(stateDir);
  const own = ['--instance', instance, '--state-dir', stateDir, '--replicas', '2'];
  const { code, stdout, stderr } = await warmstate(['restore', ...own], { env: scenario.environment });
  expect([code, stderr.includes('"level":"error"')]).toEqual([0, false]);
  const { tasks }: { readonly tasks: readonly { readonly task: string; readonly decision: string }[] } =
    JSON.parse(stdout);
  return tasks.flatMap(({ task, decision }) => (decision === 'warm' ? [task] : []));
}

test('two pods with new names that start together divide what two others had', async () => {
  await using scenario = await openRepository();
  const [one, other] = await Promise.all([restoreAs(scenario, 'new-0'), restoreAs(scenario, 'new-1')]);
  expect(new Set([...one, ...other])).toEqual(new Set(['0_0', '0_1', '1_0', '1_1', 'global']));
  for (const tasks of [one, other]) expect(tasks).toEqual(expect.arrayContaining(['global']));
  expect(Math.min(one.length, other.length)).toBe(3);
});

test('a pod gets back what it had under its name, and the next one the rest', async () => {
  await using scenario = await openRepository();
  expect(await restoreAs(scenario, 'old-1')).toEqual(['1_0', '1_1', 'global']);
  expect(await restoreAs(scenario, 'new-0')).toEqual(['0_0', '0_1', 'global']);
  // Nothing is left but what others are restoring: a copy.
  expect(await restoreAs(scenario, 'new-1')).toHaveLength(3);
});
