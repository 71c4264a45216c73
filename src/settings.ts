import { BROKER_KEYS, BROKER_SETTINGS } from './broker-settings.ts';
import type { CommandName } from './cli/program.ts';
import { INJECT_SETTING_KEYS, INJECT_SETTINGS } from './inject-settings.ts';
import { S3_SETTING_KEYS, S3_SETTINGS } from './s3-settings.ts';
import type { Setting, Source } from './setting.ts';
import {
  choice,
  type Decoded,
  destination,
  duration,
  listenAddress,
  mapped,
  matching,
  name,
  path,
  quantity,
  Rejected,
  rate,
  size,
  taskList,
  timestamp,
} from './setting-decoders.ts';
import { TASK_SETTINGS } from './task-settings.ts';

/** A reader of a superseded snapshot has at least so long to finish. */
const KEEP_WITHIN_MS_MIN = 3_600_000;

const choiceOfSwitch = mapped(choice('true', 'false'), (word) => word === 'true');

/** Every setting there is, in the order of the help. Checked against docs/configuration.md. */
export const SETTINGS = {
  stateDir: {
    placeholder: 'DIR',
    decode: path,
    fallback: '/var/lib/kafka-streams',
    help: "Kafka's state.dir",
  },
  applicationId: {
    placeholder: 'ID',
    decode: matching(/^(?!\.{1,2}$)[\w.-]{1,249}$/, 'is not an application.id of letters, digits, . _ and -'),
    fallbackHelp: { optional: 'the only one found' },
    help: "Kafka's application.id",
  },
  processingGuarantee: {
    placeholder: 'GUARANTEE',
    decode: mapped(choice('at_least_once', 'exactly_once_v2', 'exactly_once', 'auto'), (word) =>
      word === 'exactly_once' ? 'exactly_once_v2' : word,
    ),
    help: "Kafka's processing.guarantee: at_least_once, exactly_once_v2, or auto for what is valid under both",
  },
  transactionalStores: {
    placeholder: 'BOOL',
    decode: mapped(choice('true', 'false'), (word) => word === 'true'),
    fallback: 'false',
    help: "Kafka's enable.transactional.statestores (Kafka Streams 4.4 and later)",
  },
  destination: {
    placeholder: 'URL',
    decode: destination,
    help: 'where the repository lies: s3://bucket/prefix or file:///directory',
  },
  ...S3_SETTINGS,
  instance: {
    placeholder: 'NAME',
    decode: name,
    fallback: ({ hostName }) => ({ text: hostName, from: 'host name' }),
    fallbackHelp: { required: 'the host name', optional: 'all' },
    help: 'who this pod is; stable for a StatefulSet',
  },
  lineage: {
    placeholder: 'NAME',
    decode: name,
    fallback: ({ namespace }) =>
      namespace === undefined
        ? {
            text: 'default',
            warning: 'no lineage is set: histories of several clusters would mix',
          }
        : { text: namespace, from: 'namespace' },
    fallbackHelp: { required: "the pod's namespace", optional: 'the only one found' },
    help: 'separates histories that must not mix: clusters, environments, resets',
  },
  appVersion: {
    placeholder: 'VERSION',
    decode: matching(/^[^\s\p{Cc}]{1,200}$/u, 'is not a version of 1 to 200 characters without space'),
    fallbackHelp: { optional: 'all versions are alike' },
    help: 'the version of the application that installed state is on trial for',
  },
  interval: {
    placeholder: 'DURATION',
    decode: duration,
    fallback: '5m',
    help: 'at most this often a snapshot while the application runs',
  },
  compression: {
    placeholder: 'WORD',
    decode: choice('zstd', 'none'),
    fallback: 'zstd',
    help: 'zstd or none',
  },
  concurrency: {
    placeholder: 'NUMBER',
    decode: quantity((value) => {
      return /^\d{1,3}$/.test(value) && Number(value) <= 256 ? Number(value) : undefined;
    }, 'is not a whole number from 1 to 256'),
    fallback: '8',
    help: 'objects in flight',
  },
  bandwidth: {
    placeholder: 'RATE',
    decode: rate,
    fallback: '50MiB/s',
    help: 'uploads while the application runs; the early and the last snapshot go without a limit',
  },
  ...TASK_SETTINGS,
  stateDirLimit: {
    placeholder: 'SIZE',
    decode: size,
    help: "the volume's sizeLimit or the ephemeral-storage limit, which no pod can see",
  },
  maxBytes: {
    placeholder: 'SIZE',
    decode: size,
    fallbackHelp: { optional: '60 % of --state-dir-limit, else of the free space' },
    help: 'restore at most this much',
  },
  maxAge: {
    placeholder: 'DURATION',
    decode: duration,
    fallback: '23h',
    help: "no state older than this is restored; must stay below the changelogs' delete.retention.ms",
  },
  maxLayout: {
    placeholder: 'LAYOUT',
    decode: choice('file', 'column-family'),
    fallback: 'column-family',
    help: 'file: restore nothing that Kafka Streams 4.2 and older cannot open; or column-family',
  },
  waitForFinal: {
    placeholder: 'DURATION',
    decode: duration,
    fallback: '30s',
    help: 'wait so long for the last snapshot of an instance that is finishing',
  },
  deadline: {
    placeholder: 'DURATION',
    decode: duration,
    fallback: '5m',
    help: 'stop restoring after this; what is installed stays, the rest starts cold',
  },
  stallTimeout: {
    placeholder: 'DURATION',
    decode: duration,
    fallback: '60s',
    help: 'stop restoring when no byte arrived for so long',
  },
  onFailure: {
    placeholder: 'WORD',
    decode: choice('continue', 'fail'),
    fallback: 'continue',
    help: 'continue: start cold and exit 0; or fail',
  },
  keepWithin: {
    placeholder: 'DURATION',
    decode: mapped(duration, (ms) => (ms >= KEEP_WITHIN_MS_MIN ? ms : new Rejected('is less than 1h'))),
    fallback: '6h',
    help: 'superseded snapshots stay this long: time for readers to finish; at least 1h',
  },
  prune: {
    placeholder: 'WORD',
    decode: choice('auto', 'off'),
    fallback: 'auto',
    help: 'auto: one of the living instances removes what retention lets go; off: needs no right to delete',
  },
  terminationGracePeriod: {
    placeholder: 'DURATION',
    decode: duration,
    fallbackHelp: { optional: 'unknown' },
    help: "the pod's, which no pod can see: the last snapshot ends within it",
  },
  listen: {
    placeholder: 'ADDRESS',
    decode: listenAddress,
    fallback: ':10464',
    help: 'where run serves metrics and probes, in both address families',
  },
  ...BROKER_SETTINGS,
  ...INJECT_SETTINGS,
  snapshot: {
    placeholder: 'NAME',
    decode: matching(/^[^\s/]+\/\d+$/, 'is not the name of a snapshot as list prints it, <epoch>/<n>'),
    sources: ['flag'],
    help: 'restore this snapshot; implies --on-failure fail',
  },
  to: {
    placeholder: 'DIR',
    decode: path,
    sources: ['flag'],
    help: 'fill another directory and leave no trace in the repository; implies --on-failure fail',
  },
  all: {
    placeholder: undefined,
    decode: choiceOfSwitch,
    fallback: 'false',
    sources: ['flag'],
    help: 'forget everything that was stored until now',
  },
  task: {
    placeholder: 'TASKS',
    decode: taskList,
    sources: ['flag'],
    help: 'forget only these tasks, such as 0_3 or 0_0,0_1,global',
  },
  layout: {
    placeholder: 'LAYOUT',
    decode: choice('file', 'column-family'),
    sources: ['flag'],
    help: 'forget only what has this layout: file or column-family',
  },
  before: {
    placeholder: 'TIME',
    decode: timestamp,
    sources: ['flag'],
    fallbackHelp: { optional: 'now' },
    help: 'forget only state that was last current before this, such as 2026-11-28T14:00:00Z',
  },
  dryRun: {
    placeholder: undefined,
    decode: choiceOfSwitch,
    fallback: 'false',
    sources: ['flag'],
    help: 'print what would be done and do nothing',
  },
  output: {
    placeholder: 'FORMAT',
    decode: choice('text', 'json'),
    fallback: 'text',
    help: 'text or json',
  },
  config: {
    placeholder: 'FILE',
    decode: path,
    fallback: '/etc/warmstate/warmstate.yaml',
    sources: ['flag', 'environment'],
    help: 'the settings file; the default one may be absent',
  },
  logLevel: {
    placeholder: 'LEVEL',
    decode: choice('debug', 'info', 'warn', 'error'),
    fallback: 'info',
    help: 'debug, info, warn or error',
  },
  logFormat: {
    placeholder: 'FORMAT',
    decode: choice('auto', 'json', 'text'),
    fallback: 'auto',
    help: 'auto (text on a terminal, json elsewhere), json or text',
  },
} as const satisfies Record<string, Setting<unknown>>;

export type SettingKey = keyof typeof SETTINGS;

const COMMON = ['output', 'config', 'logLevel', 'logFormat'] as const;
const OF_WORK = [...BROKER_KEYS, ...S3_SETTING_KEYS, ...COMMON] as const;
const WHICH_REPOSITORY = ['applicationId', 'lineage'] as const;
/** What is set for a whole pod: `config` shows and `doctor` checks all of it. */
// biome-ignore format: a list to be read as one
const OF_A_POD = [
  'stateDir', 'applicationId', 'processingGuarantee', 'transactionalStores', 'destination', 'instance', 'lineage', 'appVersion', 'interval',
  'compression', 'concurrency', 'bandwidth', 'tasks', 'replicas', 'stateDirLimit', 'maxBytes', 'maxAge', 'maxLayout',
  'waitForFinal', 'deadline', 'stallTimeout', 'onFailure', 'keepWithin', 'prune', 'terminationGracePeriod', 'listen', ...OF_WORK,
] as const;

/** Which settings each command takes. A required one without a value refuses the command. */
const SETTINGS_OF = {
  demo: { required: [], optional: ['config', 'logLevel', 'logFormat'] },
  restore: {
    required: ['applicationId', 'destination', 'instance', 'lineage'],
    // biome-ignore format: a list to be read as one
    optional: [
      'stateDir', 'processingGuarantee', 'transactionalStores', 'appVersion', 'concurrency', 'tasks', 'replicas', 'stateDirLimit', 'maxBytes', 'maxAge', 'maxLayout',
      'waitForFinal', 'deadline', 'stallTimeout', 'onFailure', 'snapshot', 'to', 'dryRun', ...OF_WORK,
    ],
  },
  run: {
    required: ['applicationId', 'processingGuarantee', 'destination', 'instance', 'lineage'],
    // biome-ignore format: a list to be read as one
    optional: [
      'stateDir', 'transactionalStores', 'interval', 'compression', 'concurrency', 'bandwidth', 'stateDirLimit', 'maxAge', 'keepWithin', 'prune',
      'terminationGracePeriod', 'listen', ...OF_WORK,
    ],
  },
  snapshot: {
    required: ['applicationId', 'processingGuarantee', 'destination', 'instance', 'lineage'],
    optional: ['stateDir', 'transactionalStores', 'compression', 'concurrency', 'maxAge', 'listen', ...OF_WORK],
  },
  status: { required: [], optional: ['listen', ...COMMON] },
  list: { required: ['destination'], optional: [...WHICH_REPOSITORY, ...OF_WORK] },
  show: { required: ['destination'], optional: [...WHICH_REPOSITORY, ...S3_SETTING_KEYS, ...COMMON] },
  verify: { required: ['destination'], optional: [...WHICH_REPOSITORY, 'concurrency', ...S3_SETTING_KEYS, ...COMMON] },
  prune: {
    required: ['destination'],
    optional: [...WHICH_REPOSITORY, 'maxAge', 'keepWithin', 'dryRun', ...S3_SETTING_KEYS, ...COMMON],
  },
  forget: {
    required: ['destination'],
    // biome-ignore format: a list to be read as one
    optional: [
      ...WHICH_REPOSITORY, 'all', 'task', 'instance', 'layout', 'before', 'dryRun', ...S3_SETTING_KEYS, ...COMMON,
    ],
  },
  inspect: { required: [], optional: ['stateDir', 'applicationId', 'transactionalStores', ...COMMON] },
  inject: {
    required: ['file'],
    // biome-ignore format: a list to be read as one
    optional: [
      'stateDir', 'applicationId', 'processingGuarantee', 'destination', 'stateDirLimit', 'terminationGracePeriod',
      ...INJECT_SETTING_KEYS, 'config', 'logLevel', 'logFormat',
    ],
    undefaulted: ['stateDir'], // What nobody says is looked for in the manifest.
  },
  doctor: { required: [], optional: OF_A_POD },
  config: { required: [], optional: OF_A_POD },
} as const satisfies Record<CommandName, SettingList>;

interface SettingList {
  readonly required: readonly SettingKey[];
  readonly optional: readonly SettingKey[];
  /** Of these the ones whose default does not hold here: "not set" has a meaning of its own. */
  readonly undefaulted?: readonly SettingKey[];
}

type ValueOf<K extends SettingKey> = Decoded<(typeof SETTINGS)[K]['decode']>;
type Required<C extends CommandName> = (typeof SETTINGS_OF)[C]['required'][number];
type Optional<C extends CommandName> = (typeof SETTINGS_OF)[C]['optional'][number];
type Undefaulted<C extends CommandName> = (typeof SETTINGS_OF)[C] extends { readonly undefaulted: readonly (infer K)[] }
  ? K
  : never;

/** What a command is given: required settings and those with a fixed default are always there. */
export type SettingsOf<C extends CommandName> = {
  readonly [K in Required<C>]: ValueOf<K>;
} & {
  readonly [K in Optional<C>]: K extends Undefaulted<C>
    ? ValueOf<K> | undefined
    : (typeof SETTINGS)[K] extends { readonly fallback: string }
      ? ValueOf<K>
      : ValueOf<K> | undefined;
};

/** `maxAge` → `--max-age` */
export function flagOf(key: SettingKey): string {
  return `--${key.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** `maxAge` → `WARMSTATE_MAX_AGE` */
export function environmentNameOf(key: SettingKey): string {
  return `WARMSTATE_${flagOf(key).slice(2).replaceAll('-', '_').toUpperCase()}`;
}

export function sourcesOf(key: SettingKey, command?: CommandName): readonly Source[] {
  // The name of the pod that it is called in does not narrow what an operator wants to be forgotten.
  if (command === 'forget' && key === 'instance') return ['flag'];
  const setting: Setting<unknown> = SETTINGS[key];
  return setting.sources ?? ['flag', 'environment', 'file'];
}

/** In the order of SETTINGS. */
export function settingsOf(command: CommandName): readonly SettingKey[] {
  const { required, optional } = SETTINGS_OF[command];
  const taken = new Set<string>([...required, ...optional]);
  return SETTING_KEYS.filter((key) => taken.has(key));
}

export const SETTING_KEYS: readonly SettingKey[] = Object.keys(SETTINGS).filter(isSettingKey);

function isSettingKey(text: string): text is SettingKey {
  return Object.hasOwn(SETTINGS, text);
}

export function isRequired(key: SettingKey, command: CommandName): boolean {
  const { required }: SettingList = SETTINGS_OF[command];
  return required.includes(key);
}

/** Whether the default of a setting holds for a command. */
export function isDefaulted(key: SettingKey, command: CommandName): boolean {
  const { undefaulted = [] }: SettingList = SETTINGS_OF[command];
  return !undefaulted.includes(key);
}
