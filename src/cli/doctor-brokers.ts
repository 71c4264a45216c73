import { join } from 'node:path';
import { type FileAccess, readWhole } from '../base/file-access.ts';
import { describeCount, describeDuration } from '../base/quantity.ts';
import type { BrokerFacts } from '../kafka/broker-facts.ts';
import { type StoredState, whyDeletionsLost, whyOtherHistory } from '../repository/broker-word.ts';
import { decodeCheckpoint } from '../streams/checkpoint-file.ts';
import type { Guarantee } from '../streams/quality.ts';
import { CHECKPOINT_FILE, listTasks } from '../streams/state-directory.ts';
import { type Check, ok, warn } from './doctor-check.ts';

/** A checkpoint has a line for each store. */
const CHECKPOINT_BYTES_MAX = 1024 * 1024;

/** What the checkpoints on the volume stand upon: the changelogs that brokers can be asked about here. */
export async function findCheckpoints(
  applicationDirectory: string,
  files: FileAccess,
): Promise<readonly StoredState[]> {
  const states: StoredState[] = [];
  for (const task of await listTasks(files, applicationDirectory)) {
    const found = await readWhole(files, join(applicationDirectory, task, CHECKPOINT_FILE), CHECKPOINT_BYTES_MAX);
    if (found !== undefined) states.push({ task, offsets: decodeCheckpoint(found.bytes).offsets });
  }
  return states;
}

export interface BrokerCheckSettings {
  readonly guarantee: Guarantee | undefined;
  readonly maxAgeMs: number | undefined;
}

/** What brokers that answered say, beside the settings and what lies on the volume. */
export function checkBrokers(
  facts: BrokerFacts,
  states: readonly StoredState[],
  { guarantee, maxAgeMs = 0 }: BrokerCheckSettings,
): readonly Check[] {
  const known = [...facts.topics].flatMap(([topic, found]) => (found.kind === 'present' ? [{ topic, ...found }] : []));
  const answered = `they answer, and show ${describeCount(known.length, 'topic')} of what lies on the volume`;
  const other = states.flatMap((state) => whyOtherHistory(state, facts) ?? []);
  const old = states.flatMap((state) => whyDeletionsLost({ ...state, ageMs: maxAgeMs }, facts) ?? []);
  return [
    ok('brokers', answered),
    ...(other[0] === undefined
      ? []
      : [
          warn(
            'brokers',
            `${other[0].message}: it is of another history`,
            'after an application reset also delete the state directory',
          ),
        ]),
    ...(old[0] === undefined
      ? []
      : [
          warn(
            'brokers',
            `changelogs keep deletions for less than --max-age ${describeDuration(maxAgeMs)}: state older than that is not restored`,
            'raise delete.retention.ms of the changelogs',
          ),
        ]),
    ...checkGuarantee(facts, guarantee),
  ];
}

function checkGuarantee({ isTransactional }: BrokerFacts, guarantee: Guarantee | undefined): readonly Check[] {
  if (isTransactional === undefined)
    return [
      warn('brokers', 'they do not tell transactional ids', 'DESCRIBE on the transactional ids of the application'),
    ];
  const ids = isTransactional
    ? 'they know transactional ids of the application'
    : 'they know no transactional ids of it';
  if (isTransactional && guarantee === 'at_least_once') {
    const hint = '--processing-guarantee exactly_once_v2, unless the application left it less than a week ago';
    return [warn('brokers', `${ids}, and --processing-guarantee is at_least_once: restore goes by auto`, hint)];
  }
  if (!isTransactional && guarantee === 'exactly_once_v2') {
    const hint = '--processing-guarantee at_least_once if that is what the application runs with: more can be captured';
    return [ok('brokers', `${ids}, and --processing-guarantee is exactly_once_v2`, hint)];
  }
  return [ok('brokers', ids)];
}
