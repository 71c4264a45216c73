import type { Clock } from '../base/clock.ts';
import { isFailure } from '../base/failure.ts';
import type { AgentProblem } from '../events/agent-status.ts';

/** What may stand in the way: in each area one thing, and that the application emptied the state directory. */
export type Trouble = AgentProblem['area'] | 'wipe';

/** Worst first, each with its area. A directory that cannot be read hides what was deleted in it, until it can. */
const AREAS: readonly (readonly [Trouble, AgentProblem['area']])[] = [
  ['settings', 'settings'],
  ['storage', 'storage'],
  ['state-dir', 'state-dir'],
  ['wipe', 'state-dir'],
  ['trial', 'trial'],
  ['brokers', 'brokers'],
  ['listen', 'listen'],
];

/** What stands in the way now; of each area the worst is told. */
export class Troubles {
  readonly #clock: Pick<Clock, 'nowMs'>;
  readonly #problems = new Map<Trouble, Omit<AgentProblem, 'area'>>();

  constructor(clock: Pick<Clock, 'nowMs'>) {
    this.#clock = clock;
  }

  get problems(): readonly AgentProblem[] {
    const problems = AREAS.flatMap(([trouble, area]) => {
      const problem = this.#problems.get(trouble);
      return problem === undefined ? [] : [{ area, ...problem }];
    });
    return [...Map.groupBy(problems, ({ area }) => area).values()].flatMap(([worst]) => worst ?? []);
  }

  has(trouble: Trouble): boolean {
    return this.#problems.has(trouble);
  }

  /** Where it stood in the way already, it goes on. */
  begin(trouble: Trouble, why: { readonly message: string; readonly hint?: string | undefined }): void {
    const sinceMs = this.#problems.get(trouble)?.sinceMs ?? this.#clock.nowMs();
    this.#problems.set(trouble, { message: why.message, hint: why.hint, sinceMs });
  }

  /** Begins where `work` fails. */
  attempt(trouble: Trouble, work: () => void): void {
    try {
      work();
    } catch (error) {
      if (!isFailure(error)) throw error;
      this.begin(trouble, error);
    }
  }

  end(trouble: Trouble): void {
    this.#problems.delete(trouble);
  }
}
