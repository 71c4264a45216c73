import type { Clock } from '../base/clock.ts';
import type { BrokerFacts, ConsultBrokers, TopicFacts } from '../kafka/broker-facts.ts';

/** Brokers that were silent are left alone for so long: every round would wait for them. */
const SILENCE_MS = 60_000;

/** What brokers say from round to round; where they fall silent, the ids of topics that they told still hold. */
export class BrokerView {
  readonly #consult: ConsultBrokers | undefined;
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  readonly #ids = new Map<string, string>();
  #silentUntilMs = Number.NEGATIVE_INFINITY;

  constructor(consult: ConsultBrokers | undefined, clock: Pick<Clock, 'monotonicMs'>) {
    this.#consult = consult;
    this.#clock = clock;
  }

  /** Undefined where brokers are not asked. Its ranges are of now, or it has none. */
  async look(topics: ReadonlySet<string>, signal: AbortSignal): Promise<BrokerFacts | undefined> {
    if (this.#consult === undefined || topics.size === 0) return undefined;
    const isSilent = this.#clock.monotonicMs() < this.#silentUntilMs;
    const facts = isSilent ? undefined : await this.#consult(topics, { signal });
    if (facts === undefined) {
      if (!isSilent) this.#silentUntilMs = this.#clock.monotonicMs() + SILENCE_MS;
      return this.#remembered(topics);
    }
    for (const [topic, found] of facts.topics) {
      if (found.kind === 'present' && found.id !== undefined) this.#ids.set(topic, found.id);
      else this.#ids.delete(topic);
    }
    return facts;
  }

  #remembered(topics: ReadonlySet<string>): BrokerFacts {
    const known = [...topics].flatMap((topic): readonly (readonly [string, TopicFacts])[] => {
      const id = this.#ids.get(topic);
      return id === undefined ? [] : [[topic, { kind: 'present', id, tombstonesMs: undefined, partitions: new Map() }]];
    });
    return { topics: new Map(known), isTransactional: undefined };
  }
}
