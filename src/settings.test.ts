import { expect, test } from 'vitest';
import { documentedTable } from '../test/support/documentation.ts';
import { EXIT_CODES } from './base/failure.ts';
import { CHECK_NAMES } from './cli/doctor-check.ts';
import { COMMANDS, type CommandName } from './cli/program.ts';
import type { Setting } from './setting.ts';
import { Rejected } from './setting-decoders.ts';
import { flagsOf } from './setting-help.ts';
import {
  environmentNameOf,
  flagOf,
  isRequired,
  SETTING_KEYS,
  SETTINGS,
  type SettingKey,
  settingsOf,
  sourcesOf,
} from './settings.ts';
import { REASONS } from './streams/reason.ts';

const commandNames = Object.keys(COMMANDS).filter((name): name is CommandName => Object.hasOwn(COMMANDS, name));

const tableUnder = (heading: string): ReturnType<typeof documentedTable> =>
  documentedTable('configuration.md', heading);

test('the documented settings are the settings there are, with their defaults and commands', () => {
  const documented = tableUnder('Settings').map(([flag, fallback, commands]) => ({ flag, fallback, commands }));
  const actual = SETTING_KEYS.map((key, index) => ({
    flag: `\`${flagOf(key)}\``,
    fallback: fixedDefault(key) ?? documented[index]?.fallback, // Defaults that depend on something are told in words.
    commands: commandsTaking(key),
  }));
  expect(documented).toEqual(actual);
});

function fixedDefault(key: SettingKey): string | undefined {
  const { fallback, placeholder }: Setting<unknown> = SETTINGS[key];
  return typeof fallback === 'string' && placeholder !== undefined ? `\`${fallback}\`` : undefined;
}

function commandsTaking(key: SettingKey): string {
  const taking = commandNames.filter((name) => settingsOf(name).includes(key));
  if (taking.length === commandNames.length) return 'all';
  const others = commandNames.filter((name) => !taking.includes(name));
  if (others.every((name) => name === 'demo' || name === 'inject')) return `all but ${others.join(' and ')}`;
  return taking.filter((name) => name !== 'config' && name !== 'doctor').join(', ');
}

test('required settings are documented as required by the same commands', () => {
  const demanded = SETTING_KEYS.filter((key) => typeof (SETTINGS[key] as Setting<unknown>).fallback !== 'function')
    .map((key) => ({ key, by: commandNames.filter((name) => isRequired(key, name)) }))
    .filter(({ by }) => by.length > 0)
    .map(({ key, by }) => `${flagOf(key)} required by ${by.join(', ')}`);
  const documented = tableUnder('Settings').flatMap(([flag = '', fallback = '']) => {
    const by = /^required by ([a-z, ]+)/.exec(fallback)?.[1];
    return by === undefined ? [] : [`${flag.replaceAll('`', '')} required by ${by}`];
  });
  expect(documented).toEqual(demanded);
});

test('the documented commands are the commands there are', () => {
  expect(tableUnder('Commands').map(([command]) => command)).toEqual(
    commandNames.map((name) => {
      const { operand } = COMMANDS[name];
      return operand === undefined ? `\`warmstate ${name}\`` : `\`warmstate ${name} ${operand}\``;
    }),
  );
});

test('the documented exit codes are those of the kinds of failure', () => {
  const codes = tableUnder('Exit codes').map(([code]) => code);
  expect(codes).toEqual(['0', '1', ...Object.values(EXIT_CODES).map(String), '14', '128+n']);
});

test('the documented reason codes are the reasons there are', () => {
  expect(tableUnder('Reason codes').map(([code]) => code)).toEqual(REASONS.map((reason) => `\`${reason}\``));
});

test('the documented checks of doctor are the checks there are', () => {
  const documented = tableUnder('What `doctor` checks').flatMap(([checks = '']) => checks.split(', '));
  expect(documented).toEqual(CHECK_NAMES.map((name) => `\`${name}\``));
});

test('flags and environment names follow from the key', () => {
  expect([flagOf('stateDirLimit'), environmentNameOf('stateDirLimit')]).toEqual([
    '--state-dir-limit',
    'WARMSTATE_STATE_DIR_LIMIT',
  ]);
});

test('what one call does cannot be set for all calls', () => {
  const onlyFlags = SETTING_KEYS.filter((key) => sourcesOf(key).every((source) => source === 'flag'));
  expect(onlyFlags).toEqual(['file', 'remove', 'check', 'snapshot', 'to', 'all', 'task', 'layout', 'before', 'dryRun']);
});

function helpOf(command: CommandName, flag: string): string | undefined {
  return flagsOf(command).find((each) => each.flag === flag)?.help;
}

test('the help of a flag says its default, or that it is required, as it is for this command', () => {
  expect([
    helpOf('restore', '--state-dir'),
    helpOf('restore', '--application-id'),
    helpOf('list', '--application-id'),
    helpOf('snapshot', '--instance'),
    helpOf('restore', '--dry-run'),
  ]).toEqual([
    "Kafka's state.dir (default: /var/lib/kafka-streams)",
    "Kafka's application.id (required)",
    "Kafka's application.id (default: the only one found)",
    'who this pod is; stable for a StatefulSet (default: the host name)',
    'print what would be done and do nothing',
  ]);
});

test.each(SETTING_KEYS.map((key) => [key]))('the default of %s can be decoded', (key) => {
  const { fallback, decode }: Setting<unknown> = SETTINGS[key];
  const hostless = { hostName: 'orders-0', namespace: undefined };
  const text = typeof fallback === 'function' ? fallback(hostless)?.text : fallback;
  if (text !== undefined) expect(decode(text)).not.toBeInstanceOf(Rejected);
});

test.each<[SettingKey, string, unknown]>([
  ['processingGuarantee', 'exactly_once', 'exactly_once_v2'],
  ['processingGuarantee', 'exactly_once_v2', 'exactly_once_v2'],
  ['processingGuarantee', 'at_least_once', 'at_least_once'],
  ['tasks', 'all', { kind: 'all' }],
  ['tasks', '0_0, 0_1,global,0_0', { kind: 'list', tasks: ['0_0', '0_1', 'global'] }],
  ['stateDirLimit', '10Gi', 10 * 2 ** 30],
  ['maxAge', '23h', 82_800_000],
  ['concurrency', '256', 256],
  ['destination', 'file:///var/lib/warm%20state', { kind: 'file', directory: '/var/lib/warm state' }],
  ['snapshot', '1763851022123-orders-0-x7k2/12', '1763851022123-orders-0-x7k2/12'],
  ['dryRun', 'true', true],
])('%s %j means %j', (key, text, value) => {
  expect(SETTINGS[key].decode(text)).toEqual(value);
});

test.each<[SettingKey, string, string]>([
  ['processingGuarantee', 'EOS', 'is none of at_least_once, exactly_once_v2, exactly_once, auto'],
  ['tasks', '0_0,orders', 'is none of auto, all, none, or a list of tasks such as 0_0,0_1,global'],
  ['tasks', '../etc', 'is none of auto, all, none, or a list of tasks such as 0_0,0_1,global'],
  ['stateDirLimit', '10GB', 'is not a size above zero such as 64MiB or 10GiB'],
  ['maxBytes', '0', 'is not a size above zero such as 64MiB or 10GiB'],
  ['deadline', '5', 'is not a duration above zero such as 30s, 5m or 6h'],
  ['concurrency', '0', 'is not a whole number from 1 to 256'],
  ['concurrency', '1e2', 'is not a whole number from 1 to 256'],
  ['concurrency', '257', 'is not a whole number from 1 to 256'],
  ['applicationId', '..', 'is not an application.id of letters, digits, . _ and -'],
  ['applicationId', 'a/b', 'is not an application.id of letters, digits, . _ and -'],
  ['lineage', 'a b', 'is not a name of 1 to 200 characters without space and slash'],
  ['destination', '/repository', 'is not a destination such as file:///repository: it has no scheme'],
  ['destination', 's3://key:secret@bucket', 'holds credentials: they come from the environment'],
  ['snapshot', 'newest', 'is not the name of a snapshot as list prints it, <epoch>/<n>'],
])('%s %j is refused: it %s', (key, text, message) => {
  expect(SETTINGS[key].decode(text)).toEqual(new Rejected(message));
});
