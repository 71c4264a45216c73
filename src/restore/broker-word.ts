import type { Emit } from '../events/event.ts';
import type { BrokerFacts, ConsultBrokers } from '../kafka/broker-facts.ts';
import { replayRecords, standsAtEnd, topicsOf, whyDeletionsLost, whyOtherHistory } from '../repository/broker-word.ts';
import type { RestoredTask } from '../repository/restore-result.ts';
import type { Guarantee } from '../streams/quality.ts';
import type { LocalTask, OfferedEntry, PlanTerms } from './plan.ts';

/** What brokers say to a restore, in the words of its plan. */
export interface BrokerWord extends Required<Pick<PlanTerms, 'guarantee' | 'objection' | 'isCurrent'>> {
  readonly locals: readonly LocalTask[];
  /** The tasks of a result with the records that each of them still has to replay. */
  readonly estimate: (tasks: readonly RestoredTask[]) => readonly RestoredTask[];
}

/**
 * Asks brokers about what is offered and what lies on the volume, after both were found: a log that was asked for its end
 * before would seem shorter than what came since. Where they are silent everything stays as it is.
 */
export async function consultOn(
  given: {
    readonly offers: readonly OfferedEntry[];
    readonly locals: readonly LocalTask[];
    readonly guarantee: Guarantee;
    /** By the store's clock. */
    readonly nowMs: number;
  },
  world: { readonly consultBrokers?: ConsultBrokers | undefined; readonly emit: Emit; readonly signal: AbortSignal },
): Promise<BrokerWord> {
  const { offers, locals, guarantee, nowMs } = given;
  const topics = topicsOf([...offers, ...locals]);
  const facts = topics.size === 0 ? undefined : await world.consultBrokers?.(topics, world);
  if (facts === undefined)
    return { locals, guarantee, objection: () => undefined, isCurrent: () => false, estimate: (tasks) => tasks };
  const toldOf = ({ capturedAtMs }: OfferedEntry): BrokerFacts =>
    capturedAtMs > nowMs - LATELY_MS ? withoutRanges(facts) : facts;
  return {
    locals: locals.map((local) => ({ ...local, quarantine: local.quarantine ?? whyOtherHistory(local, facts) })),
    guarantee: doubt(guarantee, facts, world.emit),
    objection: (offer) => {
      const isCurrent = standsAtEnd(offer, facts);
      const old = isCurrent ? undefined : whyDeletionsLost({ ...offer, ageMs: nowMs - offer.stateTimeMs }, facts);
      return whyOtherHistory(offer, toldOf(offer)) ?? old;
    },
    isCurrent: (offer) => standsAtEnd(offer, facts),
    estimate: (tasks) => tasks.map((task) => ({ ...task, replayRecords: estimateReplay(task, offers, facts) })),
  };
}

/** What was captured so shortly before brokers were asked, or is found later, may be ahead of what they said of logs: clocks differ. */
const LATELY_MS = 10_000;

function withoutRanges(facts: BrokerFacts): BrokerFacts {
  const topics = [...facts.topics].map(([topic, found]) => [topic, { ...found, partitions: new Map() }] as const);
  return { ...facts, topics: new Map(topics) };
}

/** What is true under both guarantees alone is restored where brokers contradict the setting. */
function doubt(guarantee: Guarantee, facts: BrokerFacts, emit: Emit): Guarantee {
  if (guarantee !== 'at_least_once' || facts.isTransactional !== true) return guarantee;
  const message =
    '--processing-guarantee is at_least_once, and brokers know transactional ids of the application: ' +
    'restoring as under auto; they forget them a week after the last use (transactional.id.expiration.ms)';
  emit({ kind: 'notice', name: 'guarantee-doubtful', level: 'warn', message });
  return 'auto';
}

/** What starts cold replays its logs from their beginning, as far as an entry tells which ones these are. */
function estimateReplay(task: RestoredTask, offers: readonly OfferedEntry[], facts: BrokerFacts): number | undefined {
  if (task.decision !== 'cold') return task.offsets.size === 0 ? undefined : replayRecords(task, facts);
  const changelogs = offers.findLast((offer) => offer.task === task.task)?.offsets.keys();
  if (changelogs === undefined) return undefined;
  return replayRecords({ task: task.task, offsets: new Map([...changelogs].map((key) => [key, -1n])) }, facts);
}
