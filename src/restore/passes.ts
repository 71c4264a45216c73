import type { RestoredTask } from '../repository/restore-result.ts';
import type { Reason } from '../streams/reason.ts';
import { compareTasks, GLOBAL_TASK } from '../streams/state-directory.ts';
import type { Adoption } from './adoption.ts';
import { describePlan, type Filled } from './fill.ts';
import { type LocalTask, type OfferedEntry, type PlanTerms, planRestore, type TaskPlan } from './plan.ts';

/** Carries out what was planned of these offers. */
export type CarryOut = (
  plans: readonly TaskPlan[],
  by: { readonly offers: readonly OfferedEntry[]; readonly terms: PlanTerms },
) => Promise<Filled>;

/** What stands in the way of everything that would come after it. */
const ENDS: ReadonlySet<Reason> = new Set(['deadline', 'storage', 'denied', 'no_space', 'application_running']);

/** So many choices one after another that lead to nothing: then something is wrong with more than one instance. */
const FUTILE_TRIES_MAX = 4;

/** Everything at once, by what is asked for. */
export async function restoreAll(
  offers: readonly OfferedEntry[],
  found: { readonly locals: readonly LocalTask[]; readonly terms: PlanTerms },
  carryOut: CarryOut,
): Promise<Filled> {
  return carryOut(planRestore(offers, found.locals, found.terms), { offers, terms: found.terms });
}

/**
 * One choice after another: with the first one what lies on the volume and the global stores, which are nobody's. It ends
 * where there is nothing more to choose, or nothing more can be installed; where all of one choice is damaged the next one
 * is tried. What is left to others is said of every task.
 */
export async function restoreChosen(
  adoption: Adoption,
  found: { readonly locals: readonly LocalTask[]; readonly terms: PlanTerms },
  carryOut: CarryOut,
): Promise<Filled> {
  const { locals, terms } = found;
  let filled: Filled = { tasks: [], installed: [], cleared: [] };
  let triesLeft = FUTILE_TRIES_MAX;
  let wanted: ReadonlySet<string> = new Set([GLOBAL_TASK, ...locals.map(({ task }) => task)]);
  for (let choice = await adoption.next(), isFirst = true; choice !== undefined || isFirst; isFirst = false) {
    const done = new Set(filled.tasks.map(({ task }) => task));
    wanted = new Set([...wanted, ...(choice?.tasks ?? [])]).difference(done);
    const { offers } = adoption;
    const left = { ...terms, bytesMax: terms.bytesMax - bytesIn(filled.tasks) };
    const plans = planRestore(
      offers.filter(({ task }) => wanted.has(task)),
      locals.filter(({ task }) => wanted.has(task)),
      left,
    );
    const pass = await carryOut(plans, { offers, terms: left });
    filled = merge(filled, pass);
    if (choice === undefined) break;
    const chosen = new Set(choice.tasks);
    const hasLedTo = filled.tasks.some(({ task, decision }) => chosen.has(task) && decision !== 'cold');
    await adoption.settle(choice, hasLedTo);
    const isOver = pass.tasks.some(
      ({ why, decision }) => decision === 'cold' && why !== undefined && ENDS.has(why.reason),
    );
    triesLeft = hasLedTo ? FUTILE_TRIES_MAX : triesLeft - 1;
    if (isOver || triesLeft === 0) break;
    wanted = new Set();
    choice = await adoption.next();
  }
  const all = merge(filled, { tasks: explainLeft(adoption, filled, terms), installed: [], cleared: [] });
  return { ...all, tasks: [...all.tasks].sort((left, right) => compareTasks(left.task, right.task)) };
}

/** Tasks that the repository has and this pod does not take, with what speaks against each. */
function explainLeft(adoption: Adoption, { tasks }: Filled, terms: PlanTerms): readonly RestoredTask[] {
  const done = new Set(tasks.map(({ task }) => task));
  const reasons = adoption.explainLeft();
  const left = [...reasons].filter(([task]) => !done.has(task));
  const unfit = adoption.offers.filter(({ task }) => !done.has(task) && !reasons.has(task));
  return [
    ...left.map(([task, why]) => describePlan({ kind: 'cold', task, why })),
    ...planRestore(unfit, [], terms).map(describePlan),
  ];
}

function merge(one: Filled, other: Filled): Filled {
  return {
    tasks: [...one.tasks, ...other.tasks],
    installed: [...one.installed, ...other.installed],
    cleared: [...one.cleared, ...other.cleared],
  };
}

function bytesIn(tasks: readonly RestoredTask[]): number {
  return tasks.reduce((sum, { decision, sizeBytes }) => sum + (decision === 'warm' ? sizeBytes : 0), 0);
}
