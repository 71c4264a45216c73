import { type Fence, whyFenced } from '../repository/fence.ts';
import type { InstalledTask, RestoreReport } from '../repository/restore-result.ts';
import { loadWithdrawals } from '../repository/withdrawals.ts';
import { compareTasks, listTasks } from '../streams/state-directory.ts';
import { type Filled, type FillParts, fill } from './fill.ts';
import { lookAtVolume } from './local.ts';
import type { TaskPlan } from './plan.ts';

type Parts = Omit<FillParts, 'offers' | 'locals'>;
type ColdPlan = Extract<TaskPlan, { kind: 'cold' }>;
type HowToLook = Parameters<typeof lookAtVolume>[1];

/**
 * What a restore came to, without what fences withdrew while it was under way: it takes minutes, and whoever forgets does not
 * wait for it. That goes again before an application opens it, installed by now or left in place, and starts cold.
 */
export async function clearLateFenced(
  filled: Filled,
  parts: Parts & {
    readonly look: Omit<HowToLook, 'whyFenced'>;
    readonly report: RestoreReport | undefined;
  },
): Promise<Filled> {
  const { repository, place, look, tools } = parts;
  const { signal } = tools;
  if (!filled.tasks.some(({ decision }) => decision !== 'cold')) return filled;
  const withdrawals = await loadWithdrawals(repository, { signal, known: parts.withdrawals });
  // The others were heeded from the first. They are not counted: one listing may be behind the other.
  const known = new Set(parts.withdrawals.fences.map(nameOf));
  const late = withdrawals.fences.filter((fence) => !known.has(nameOf(fence)));
  if (late.length === 0) return filled;

  const tasks = await listTasks(tools.files, place.applicationDirectory);
  const report = withInstalled(parts.report, filled.installed, withdrawals.storeTimeMs);
  const locals = await lookAtVolume(
    { ...place, tasks },
    {
      ...look,
      recollection: { ...look.recollection, report },
      whyFenced: (state) => whyFenced(late, state),
    },
  );
  const plans = locals.flatMap(({ task, quarantine }): readonly ColdPlan[] =>
    quarantine?.reason === 'forgotten' ? [{ kind: 'cold', task, why: quarantine }] : [],
  );
  return clear(plans, { ...parts, withdrawals, filled });
}

/**
 * What a restore came to, without what grew too old while it was under way (A4): its machine may stand still for a day in the
 * midst of it. What brokers called current was so when they were asked. It asks nobody, and does not heed the deadline.
 */
export async function clearLateAged(
  filled: Filled,
  parts: Parts & {
    /** Since the moment by which ages were told. */
    readonly elapsedMs: number;
  },
): Promise<Filled> {
  const { terms, elapsedMs } = parts;
  const plans = filled.installed.flatMap(({ task, stateTimeMs }): readonly ColdPlan[] => {
    const ageMs = terms.nowMs - stateTimeMs;
    const restMs = terms.maxAgeMs - (ageMs > terms.maxAgeMs ? 0 : ageMs);
    const message = `it grew too old since the restore began, ${Math.round(elapsedMs / 1000)} s ago`;
    return elapsedMs > restMs ? [{ kind: 'cold', task, why: { reason: 'too_old', message } }] : [];
  });
  return clear(plans, { ...parts, filled });
}

async function clear(plans: readonly ColdPlan[], parts: Parts & { readonly filled: Filled }): Promise<Filled> {
  if (plans.length === 0) return parts.filled;
  const doomed = plans.map(({ task }) => task);
  return without(parts.filled, await fill(plans, { ...parts, offers: [], locals: [], doomed }));
}

function nameOf({ timeMs, token }: Fence): string {
  return `${timeMs}-${token}`;
}

function withInstalled(
  report: RestoreReport | undefined,
  installed: readonly InstalledTask[],
  timeMs: number,
): HowToLook['recollection']['report'] {
  const names = new Set(installed.map(({ task }) => task));
  const before = (report?.installed ?? []).filter(({ task }) => !names.has(task));
  return { timeMs, taints: report?.taints ?? [], installed: [...before, ...installed] };
}

function without(filled: Filled, { tasks, cleared }: Filled): Filled {
  const gone = new Set(tasks.map(({ task }) => task));
  const left = filled.tasks.filter(({ task }) => !gone.has(task));
  return {
    tasks: [...left, ...tasks].sort((one, other) => compareTasks(one.task, other.task)),
    installed: filled.installed.filter(({ task }) => !gone.has(task)),
    cleared: [...filled.cleared, ...cleared],
  };
}
