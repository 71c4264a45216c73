import type { Setting } from './setting.ts';
import { brokerAddresses, path } from './setting-decoders.ts';

/** How brokers may be asked, where the user grants it. */
export const BROKER_SETTINGS = {
  bootstrapServers: {
    placeholder: 'LIST',
    decode: brokerAddresses,
    fallbackHelp: { optional: 'brokers are not asked' },
    help: 'brokers to ask about the changelogs: ids of topics, ends of logs, retention',
  },
  commandConfig: {
    placeholder: 'FILE',
    decode: path,
    fallbackHelp: { optional: 'none' },
    help: "properties for talking to brokers, as Kafka's own tools take them; keys and certificates as PEM",
  },
} as const satisfies Record<string, Setting<unknown>>;

/** Taken by every command that asks brokers. */
export const BROKER_KEYS = [
  'bootstrapServers',
  'commandConfig',
] as const satisfies readonly (keyof typeof BROKER_SETTINGS)[];
