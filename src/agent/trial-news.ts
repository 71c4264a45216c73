import type { Clock } from '../base/clock.ts';
import type { Trial } from '../repository/record.ts';
import type { RecordChange } from '../repository/writer.ts';
import type { ApplicationState } from '../streams/app-lock.ts';
import type { ApplicationTrial, TrialFinding } from './trial.ts';
import type { Troubles } from './troubles.ts';

interface Listeners {
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly troubles: Troubles;
  /** Takes what the record is to say. */
  readonly note: (news: Pick<RecordChange, 'trial' | 'state'>) => void;
}

/** Tells people and the record how a trial goes; not while the pod may be ending: what is lost then is nobody's fault. */
export class TrialNews {
  readonly #listeners: Listeners;
  readonly #graceMs: number;
  #trial: ApplicationTrial | undefined;
  #isEnding = false;
  /** A preStop hook ran: the end may follow until then. A liveness probe that fails runs it too, and the pod lives on. */
  #mayEndUntilMs = Number.NEGATIVE_INFINITY;
  /** The record says so, for whoever goes on with what this instance has. */
  #saysEnd = false;
  /** What is to be told once it is clear that it did not. */
  #withheld: TrialFinding | undefined;

  constructor(listeners: Listeners, graceMs: number) {
    this.#listeners = listeners;
    this.#graceMs = graceMs;
  }

  begin(trial: ApplicationTrial): void {
    this.#trial = trial;
  }

  /** The pod is told to end. */
  end(): void {
    this.#isEnding = true;
  }

  /** Anybody may call the hook again and again: that does not put it off. Returns whether it is news. */
  expectEnd(): boolean {
    const nowMs = this.#listeners.clock.monotonicMs();
    if (nowMs < this.#mayEndUntilMs) return false;
    this.#mayEndUntilMs = nowMs + this.#graceMs;
    this.#saysEnd = true;
    return true;
  }

  /** `earlier` is known only once storage has answered: what was seen by then is of a trial that was over. */
  async look(lock: ApplicationState | undefined, earlier: Trial | undefined): Promise<void> {
    if (this.#isEnding) return;
    const { clock, troubles, note } = this.#listeners;
    if (earlier?.state === 'confirmed') troubles.end('trial');
    const finding = (await this.#trial?.look(lock, earlier)) ?? this.#withheld;
    const mayEnd = clock.monotonicMs() < this.#mayEndUntilMs;
    if (this.#saysEnd && !mayEnd) {
      this.#saysEnd = false;
      note({ state: 'alive' });
    }
    this.#withheld = mayEnd ? finding : undefined;
    if (finding === undefined || mayEnd) return;
    note({ trial: finding.trial });
    if (finding.problem === undefined) troubles.end('trial');
    else troubles.begin('trial', finding.problem);
  }
}
