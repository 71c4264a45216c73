import type { Capture } from '../capture/capture.ts';
import { standsAtEnd, topicIdsFor, topicsOf, whyOtherHistory, whyOtherTopics } from '../repository/broker-word.ts';
import type { Entry } from '../repository/document.ts';
import { offsetsOf } from '../streams/offsets.ts';
import type { Explanation } from '../streams/reason.ts';
import type { BrokerView } from './broker-view.ts';
import type { Looks } from './looks.ts';

/** What brokers say to one round; nothing, where they are not asked. */
export class RoundBrokers {
  readonly #view: BrokerView;
  readonly #looks: Pick<Looks, 'memories' | 'noteTopicIds'>;
  readonly #signal: AbortSignal;
  readonly #foreign = new Map<string, Explanation>();
  readonly #topicIds = new Map<string, ReadonlyMap<string, string>>();
  #current: ReadonlySet<string> = new Set();

  constructor(view: BrokerView, looks: Pick<Looks, 'memories' | 'noteTopicIds'>, signal: AbortSignal) {
    this.#view = view;
    this.#looks = looks;
    this.#signal = signal;
  }

  /** Asked at its beginning: the entries of before without those of other topics. What comes now would seem to be behind them. */
  async sift(previous: ReadonlyMap<string, Entry>): Promise<ReadonlyMap<string, Entry>> {
    const known = [...this.#looks.memories].flatMap(([task, { topicIds }]) => (topicIds ? [{ task, topicIds }] : []));
    const topics = new Set(known.flatMap(({ topicIds }) => [...topicIds.keys()]));
    const facts = await this.#view.look(topics.union(topicsOf(previous.values())), this.#signal);
    if (facts === undefined) return previous;
    for (const { task, topicIds } of known) this.#noteForeign(task, whyOtherTopics(topicIds, facts));
    const entries = [...previous.values()].filter(
      (entry) => !this.#foreign.has(entry.task) && whyOtherHistory(entry, facts) === undefined,
    );
    this.#current = new Set(entries.filter((entry) => standsAtEnd(entry, facts)).map(({ task }) => task));
    return new Map(entries.map((entry) => [entry.task, entry]));
  }

  /** Asked once these are captured: their logs have grown up to it. */
  async hear(captures: readonly Capture[]): Promise<void> {
    const captured = captures.map(({ task, sight }) => ({ task, offsets: offsetsOf(sight).offsets }));
    const facts = await this.#view.look(topicsOf(captured), this.#signal);
    if (facts === undefined) return;
    for (const { task, offsets } of captured) {
      const state = { task, offsets, topicIds: this.#looks.memories.get(task)?.topicIds };
      const topicIds = topicIdsFor(offsets, facts);
      if (this.#noteForeign(task, whyOtherHistory(state, facts)) || topicIds === undefined) continue;
      this.#topicIds.set(task, topicIds);
      this.#looks.noteTopicIds(task, topicIds);
    }
  }

  /** Why the directory of a task is of another history: then it is not captured. */
  whyForeign(task: string): Explanation | undefined {
    return this.#foreign.get(task);
  }

  /** Of what was captured and heard of. */
  topicIdsOf(task: string): ReadonlyMap<string, string> | undefined {
    return this.#topicIds.get(task);
  }

  /** Nothing was written since the entries of before of these tasks: they have no age. */
  get current(): ReadonlySet<string> {
    return this.#current;
  }

  #noteForeign(task: string, why: Explanation | undefined): boolean {
    if (why !== undefined) this.#foreign.set(task, why);
    return why !== undefined;
  }
}
