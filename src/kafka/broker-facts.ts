import { type Failure, isFailure } from '../base/failure.ts';

export interface BrokerAddress {
  readonly host: string;
  readonly port: number;
}

/** What brokers say of an application's changelogs, as of one moment. */
export interface BrokerFacts {
  /** By name. One that was asked for and is not in here is one of which they say nothing: nobody may look at it, say. */
  readonly topics: ReadonlyMap<string, TopicFacts>;
  /** Whether they know transactional ids of the application; undefined where they do not say. */
  readonly isTransactional: boolean | undefined;
}

export type TopicFacts =
  | { readonly kind: 'absent' }
  | {
      readonly kind: 'present';
      /**
       * Of this life of the topic: another one under its name has another. As Kafka's tools print it; undefined where it
       * has none, as long as brokers speak among each other as before 2.8.
       */
      readonly id: string | undefined;
      /** `delete.retention.ms`, where it is compacted; undefined where deleted keys never leave it, or nothing is said. */
      readonly tombstonesMs: number | undefined;
      /** Those of which something is said. */
      readonly partitions: ReadonlyMap<number, LogRange>;
    };

export interface LogRange {
  /** The first offset that is still there. */
  readonly start: bigint;
  /** The next offset that is written. */
  readonly end: bigint;
  /** No transaction is open in it. */
  readonly isSettled: boolean;
}

/** Asks for everything that is to be known of these topics. Failures: `unavailable` for brokers, `invalid` for settings. */
export type AskBrokers = (
  topics: ReadonlySet<string>,
  options: { readonly signal: AbortSignal },
) => Promise<BrokerFacts>;

/** The parts of `<topic>-<partition>`. */
export function splitPartition(text: string): { readonly topic: string; readonly partition: number } {
  const at = text.lastIndexOf('-');
  return { topic: text.slice(0, at), partition: Number(text.slice(at + 1)) };
}

/** Asks brokers that may be silent: undefined where they are not asked, or where they do not answer. */
export type ConsultBrokers = (
  topics: ReadonlySet<string>,
  options: { readonly signal: AbortSignal },
) => Promise<BrokerFacts | undefined>;

/** Trouble with brokers is nobody's trouble: `tell` is told of it, and with undefined that they answer. */
export function consulting(ask: AskBrokers, tell: (trouble: Failure | undefined) => void): ConsultBrokers {
  return async (topics, options) => {
    try {
      const facts = await ask(topics, options);
      tell(undefined);
      return facts;
    } catch (error) {
      options.signal.throwIfAborted();
      if (!isFailure(error)) throw error;
      tell(error);
      return undefined;
    }
  };
}
