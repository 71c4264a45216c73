import type { AgentProblem } from './agent-status.ts';
import type { Emit } from './event.ts';

/** Says of each problem once that it is there and once that it is gone, however often it is looked at. */
export function createProblemLog(emit: Emit): (problems: readonly AgentProblem[]) => void {
  let known: readonly AgentProblem[] = [];
  return (problems) => {
    for (const { area, message, hint } of problems) {
      if (known.some((problem) => problem.area === area)) continue;
      const facts = hint === undefined ? { area } : { area, try: hint };
      emit({ kind: 'notice', name: 'problem-appeared', level: LEVELS[area], message, facts });
    }
    for (const { area, message } of known) {
      if (problems.some((problem) => problem.area === area)) continue;
      emit({
        kind: 'notice',
        name: 'problem-solved',
        level: 'info',
        message: `no longer: ${message}`,
        facts: { area },
      });
    }
    known = problems;
  };
}

/** What stays until somebody changes something is an error. */
const LEVELS: Readonly<Record<AgentProblem['area'], 'warn' | 'error'>> = {
  settings: 'error',
  'state-dir': 'warn',
  storage: 'warn',
  listen: 'warn',
  trial: 'error',
  brokers: 'warn',
};
