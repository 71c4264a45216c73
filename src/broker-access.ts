import { readFile } from 'node:fs/promises';
import type { CommandContext } from './cli/command.ts';
import { type AskBrokers, type ConsultBrokers, consulting } from './kafka/broker-facts.ts';
import type { SettingsOf } from './settings.ts';

type BrokerSettings = Pick<SettingsOf<'restore'>, 'bootstrapServers' | 'commandConfig'>;

/** A restore, and whoever looks at something, can wait so long; where nobody has answered by then they go on without. */
const ANSWER_MS_MAX = 10_000;
/** A round holds what it has captured meanwhile, and the last one ends within the grace period. */
export const ROUND_ANSWER_MS_MAX = 3000;

/** How to ask brokers about an application; undefined where the user does not grant it. */
export function brokersOf(
  { bootstrapServers, commandConfig, applicationId }: BrokerSettings & { readonly applicationId: string | undefined },
  { clock, random }: Pick<CommandContext, 'clock' | 'random'>,
  { answerMsMax = ANSWER_MS_MAX }: { readonly answerMsMax?: number } = {},
): AskBrokers | undefined {
  if (bootstrapServers === undefined) return undefined;
  return async (topics, { signal }) => {
    // Most pods ask no brokers.
    const [{ askBrokers }, { readClientProperties }] = await Promise.all([
      import('./kafka/ask-brokers.ts'),
      import('./kafka/client-properties.ts'),
    ]);
    const security = await readClientProperties(commandConfig, (path) => readFile(path, 'utf8'));
    const access = { bootstrap: bootstrapServers, security, answerMsMax };
    return askBrokers(access, { applicationId, topics }, { clock, random, signal });
  };
}

/** The same for a command that goes on without: that they are silent is said once. */
export function consultationOf(
  settings: Parameters<typeof brokersOf>[0],
  context: Pick<CommandContext, 'clock' | 'random' | 'emit'>,
): ConsultBrokers | undefined {
  const ask = brokersOf(settings, context);
  if (ask === undefined) return undefined;
  let isSaid = false;
  return consulting(ask, (trouble) => {
    if (trouble === undefined || isSaid) return;
    isSaid = true;
    const facts = trouble.hint === undefined ? {} : { try: trouble.hint };
    const message = `going on without what brokers know: ${trouble.message}`;
    context.emit({ kind: 'notice', name: 'brokers-unanswered', level: 'warn', message, facts });
  });
}
