import { expect, test } from 'vitest';
import type { AgentProblem } from './agent-status.ts';
import type { Event } from './event.ts';
import { createProblemLog } from './problem-log.ts';

const storage: AgentProblem = { area: 'storage', message: 'cannot put data/1', hint: 'look', sinceMs: 0 };
const trial: AgentProblem = { area: 'trial', message: 'it failed', hint: undefined, sinceMs: 0 };

test('a problem is said once when it appears and once when it is gone, and again when it returns', () => {
  const events: Event[] = [];
  const look = createProblemLog((event) => void events.push(event));
  for (const problems of [[], [storage], [{ ...storage, message: 'cannot list' }, trial], [trial], [storage, trial]]) {
    look(problems);
    look(problems);
  }
  expect(events).toEqual([
    {
      kind: 'notice',
      name: 'problem-appeared',
      level: 'warn',
      message: 'cannot put data/1',
      facts: { area: 'storage', try: 'look' },
    },
    { kind: 'notice', name: 'problem-appeared', level: 'error', message: 'it failed', facts: { area: 'trial' } },
    {
      kind: 'notice',
      name: 'problem-solved',
      level: 'info',
      message: 'no longer: cannot list',
      facts: { area: 'storage' },
    },
    {
      kind: 'notice',
      name: 'problem-appeared',
      level: 'warn',
      message: 'cannot put data/1',
      facts: { area: 'storage', try: 'look' },
    },
  ]);
});
