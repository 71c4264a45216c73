import { rm } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { AgentScenario } from '../../test/support/agent-scenario.ts';
import { layOut } from '../../test/support/recorded.ts';

/** Tasks whose offsets lie inside RocksDB: no checkpoint says when they are worth a look. */

const EXACTLY_ONCE = { processingGuarantee: 'exactly_once_v2' } as const;

test('what is open waits for its close, without a round or a read meanwhile', async () => {
  await using scenario = await AgentScenario.open('4.3.1-eos-flushed');
  scenario.start({ settings: EXACTLY_ONCE });
  await scenario.untilRounds(1);
  await scenario.pass(60_000);
  const { opened, rounds } = scenario;
  await scenario.pass(30 * 60_000, 10_000);
  expect([scenario.opened, scenario.rounds.length]).toEqual([opened, rounds.length]);
  expect(scenario.status.tasks.map(({ task, entry, why }) => [task, entry?.quality, why?.reason])).toEqual([
    ['0_0', undefined, 'exactly_once_running'],
    ['0_1', undefined, 'exactly_once_running'],
    ['1_0', 'clean', undefined],
    ['1_1', 'clean', undefined],
    ['global', undefined, 'exactly_once_running'],
  ]);
});

test('once the application has closed it, it is taken at once', async () => {
  await using scenario = await AgentScenario.open('4.3.1-eos-flushed');
  scenario.start({ settings: EXACTLY_ONCE });
  await scenario.untilRounds(1);
  await rm(scenario.disk.applicationDirectory, { recursive: true });
  await layOut('4.3.1-eos-closed', scenario.disk.stateDir);
  scenario.lock = 'stopped';
  await scenario.until('all of it', () =>
    scenario.status.tasks.every(({ entry, why }) => entry?.quality === 'clean' && why === undefined),
  );
});
