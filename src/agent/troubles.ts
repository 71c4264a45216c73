import type { Clock } from '../base/clock.ts';
import type { AgentProblem } from '../events/agent-status.ts';

/** Worst first. */
const AREAS: readonly AgentProblem['area'][] = ['settings', 'storage', 'state-dir', 'trial', 'listen'];

/** What stands in the way now, one thing of each area. */
export class Troubles {
  readonly #clock: Pick<Clock, 'nowMs'>;
  readonly #problems = new Map<AgentProblem['area'], AgentProblem>();

  constructor(clock: Pick<Clock, 'nowMs'>) {
    this.#clock = clock;
  }

  get problems(): readonly AgentProblem[] {
    return AREAS.flatMap((area) => this.#problems.get(area) ?? []);
  }

  has(area: AgentProblem['area']): boolean {
    return this.#problems.has(area);
  }

  /** Where something of this area stood in the way already, it goes on. */
  begin(area: AgentProblem['area'], why: { readonly message: string; readonly hint?: string | undefined }): void {
    const sinceMs = this.#problems.get(area)?.sinceMs ?? this.#clock.nowMs();
    this.#problems.set(area, { area, message: why.message, hint: why.hint, sinceMs });
  }

  end(area: AgentProblem['area']): void {
    this.#problems.delete(area);
  }
}
