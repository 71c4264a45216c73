import { expect, test } from 'vitest';
import type { AgentProblem } from '../events/agent-status.ts';
import { checkLiveness, checkReadiness } from './health.ts';

const NOW_MS = 1_750_000_000_000;
const MINUTE_MS = 60_000;

function problem(area: AgentProblem['area']): AgentProblem {
  return { area, message: `${area} is in trouble`, hint: undefined, sinceMs: 0 };
}

test.each([
  [0, undefined],
  [5 * MINUTE_MS, undefined], // A store may keep it waiting.
  [5 * MINUTE_MS + 1, 'the loop has not turned for 300 s'],
  [-60 * MINUTE_MS, undefined], // The clock was set back.
])('a loop that turned %i ms ago is judged: %s', (stillMs, complaint) => {
  expect(checkLiveness({ nowMs: NOW_MS, aliveMs: NOW_MS - stillMs })).toEqual([{ name: 'loop', complaint }]);
});

test.each<readonly [string, readonly AgentProblem[], number | undefined, Readonly<Record<string, string>>]>([
  ['nothing in the way', [], NOW_MS - MINUTE_MS, {}],
  ['a task on trial and no port', [problem('trial'), problem('listen')], NOW_MS, {}],
  ['storage that never answered', [], undefined, { storage: 'it has not answered yet' }],
  ['storage that is silent', [], NOW_MS - 6 * MINUTE_MS, { storage: 'it has not answered for 360 s' }],
  ['storage in trouble', [problem('storage')], NOW_MS, { storage: 'storage is in trouble' }],
  ['a state directory in trouble', [problem('state-dir')], NOW_MS, { 'state-dir': 'state-dir is in trouble' }],
  [
    'settings in trouble',
    [problem('settings')],
    undefined,
    {
      settings: 'settings is in trouble',
      'state-dir': 'without settings it is not looked at',
      storage: 'it has not answered yet',
    },
  ],
])('with %s it is ready but for %s', (_what, problems, storageAnsweredMs, complaints) => {
  const checks = checkReadiness({ problems }, { nowMs: NOW_MS, storageAnsweredMs });
  expect(checks).toEqual(['settings', 'state-dir', 'storage'].map((name) => ({ name, complaint: complaints[name] })));
});
