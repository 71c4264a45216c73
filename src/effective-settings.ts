import { Failure, messageOf, systemErrorCode } from './base/failure.ts';
import type { CommandName, Flags } from './cli/program.ts';
import type { Fallback, Setting, Source, Surroundings } from './setting.ts';
import { Rejected } from './setting-decoders.ts';
import {
  environmentNameOf,
  flagOf,
  isDefaulted,
  isRequired,
  SETTING_KEYS,
  SETTINGS,
  type SettingKey,
  type SettingsOf,
  settingsOf,
  sourcesOf,
} from './settings.ts';

/** The world as far as settings come from it. */
export interface SettingsWorld {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly hostName: string;
  /** As of node:fs/promises. */
  readonly readFile: (path: string) => Promise<string>;
}

export type LoadedSettings<C extends CommandName> =
  | { readonly kind: 'loaded'; readonly settings: SettingsOf<C>; readonly warnings: readonly string[] }
  | {
      readonly kind: 'refused';
      /** Each an error line of its own. */
      readonly problems: readonly [Failure, ...Failure[]];
      readonly warnings: readonly string[];
      /** What could be read all the same; enough to say in which form, and whether to go on. */
      readonly settings: Partial<SettingsOf<C>>;
    };

/** One setting as it is in force, and why. */
interface EffectiveSetting {
  readonly key: SettingKey;
  readonly flag: string;
  readonly environment: string | undefined;
  /** As it was written, undefined where it is not set. */
  readonly text: string | undefined;
  readonly source: Source | 'default';
  /** The file, the variable, or what a default was taken from. */
  readonly from: string | undefined;
  readonly value: unknown;
  readonly problem: Failure | undefined;
}

export interface EffectiveSettings {
  readonly settings: readonly EffectiveSetting[];
  /** Of the settings file as a whole: not to be read, keys that do not exist. */
  readonly problems: readonly Failure[];
  readonly unknownVariables: readonly string[];
  readonly warnings: readonly string[];
}

/** The settings of one command: flag over environment over file over default. Returns what is wrong, never throws it. */
export async function loadSettings<C extends CommandName>(
  command: C,
  flags: Flags,
  world: SettingsWorld,
): Promise<LoadedSettings<C>> {
  const effective = await resolveSettings(command, flags, world);
  const { settings } = effective;
  const missing = settings.filter(({ key, text }) => text === undefined && isRequired(key, command));
  const [problem, ...more] = [
    ...effective.problems,
    ...settings.flatMap(({ problem }) => problem ?? []),
    ...missing.map(({ key }) => missingSetting(key, command)),
  ];
  const warnings = [...effective.warnings, ...effective.unknownVariables.map((name) => unknownVariable(name).message)];
  const values = valuesOf<C>(settings);
  if (problem !== undefined) return { kind: 'refused', problems: [problem, ...more], warnings, settings: values };
  return { kind: 'loaded', settings: values, warnings };
}

export interface ExaminedSettings {
  /** Those that can be used. */
  readonly settings: Partial<SettingsOf<'doctor'>>;
  /** Those that have no value, neither a good nor a bad one. */
  readonly unset: ReadonlySet<SettingKey>;
  readonly problems: readonly Failure[];
  readonly warnings: readonly string[];
}

/** The settings of a whole pod with everything that is wrong with them, as `config` judges them. */
export async function examineSettings(flags: Flags, world: SettingsWorld): Promise<ExaminedSettings> {
  const effective = await resolveSettings('doctor', flags, world);
  return {
    settings: valuesOf<'doctor'>(effective.settings),
    unset: new Set(effective.settings.filter(({ text }) => text === undefined).map(({ key }) => key)),
    problems: findProblems(effective),
    warnings: effective.warnings,
  };
}

/** Everything that is wrong, unknown variables included. */
export function findProblems({ problems, settings, unknownVariables }: EffectiveSettings): readonly Failure[] {
  return [...problems, ...settings.flatMap(({ problem }) => problem ?? []), ...unknownVariables.map(unknownVariable)];
}

function valuesOf<C extends CommandName>(settings: readonly EffectiveSetting[]): SettingsOf<C> {
  // oxlint-disable-next-line no-unsafe-type-assertion -- Settings and SettingsOf come from one table: SETTINGS_OF.
  return Object.fromEntries(settings.map(({ key, value }) => [key, value])) as SettingsOf<C>;
}

/** What is in force for a command, where each value comes from, and everything that is wrong with it. */
export async function resolveSettings(
  command: CommandName,
  flags: Flags,
  world: SettingsWorld,
): Promise<EffectiveSettings> {
  const file = await readSettingsFile(flags, world);
  const surroundings = { hostName: world.hostName, namespace: await readNamespace(world) };
  const found = settingsOf(command).map((key) => find(key, { command, flags, env: world.env, file, surroundings }));
  const settings = imply(found.map(({ setting }) => setting));
  const warnings = found.flatMap(({ warning }) => warning ?? []);
  if (command === 'restore' && !settings.some(({ key, text }) => key === 'processingGuarantee' && text !== undefined)) {
    warnings.push('--processing-guarantee is not set: restoring as under auto; set it once for both containers');
  }
  return { settings, problems: file.problems, unknownVariables: findUnknownVariables(world.env), warnings };
}

interface Sources {
  readonly command: CommandName;
  readonly flags: Flags;
  readonly env: SettingsWorld['env'];
  readonly file: SettingsFile;
  readonly surroundings: Surroundings;
}

interface Found {
  readonly setting: EffectiveSetting;
  readonly warning?: string | undefined;
}

function find(key: SettingKey, sources: Sources): Found {
  const flag = flagOf(key);
  const allowed = sourcesOf(key, sources.command);
  const variable = allowed.includes('environment') ? environmentNameOf(key) : undefined;
  const base = { key, flag, environment: variable, from: undefined };
  if (sources.flags.has(flag)) {
    const text = filled(sources.flags.get(flag));
    if (text !== undefined)
      return { setting: { ...base, text, source: 'flag', ...decode(key, text, `${flag} ${text}`) } };
    const problem = new Failure('invalid', `cannot use ${flag}: it has no value`);
    return { setting: { ...base, text: '', source: 'flag', value: undefined, problem } };
  }
  const inEnvironment = variable === undefined ? undefined : filled(sources.env[variable]);
  if (inEnvironment !== undefined) {
    const decoded = decode(key, inEnvironment, `${variable}=${inEnvironment}`);
    return { setting: { ...base, text: inEnvironment, source: 'environment', from: variable, ...decoded } };
  }
  const inFile = allowed.includes('file') ? filled(sources.file.values.get(key)) : undefined;
  if (inFile !== undefined) {
    const { path } = sources.file;
    return {
      setting: {
        ...base,
        text: inFile,
        source: 'file',
        from: path,
        ...decode(key, inFile, `${key}: ${inFile} in ${path}`),
      },
    };
  }
  const { alsoFrom = [] }: Setting<unknown> = SETTINGS[key];
  for (const also of alsoFrom) {
    const text = filled(sources.env[also]);
    if (text === undefined) continue;
    return { setting: { ...base, text, source: 'environment', from: also, ...decode(key, text, `${also}=${text}`) } };
  }
  const fallback = fallbackOf(key, sources);
  if (fallback === undefined)
    return { setting: { ...base, text: undefined, source: 'default', value: undefined, problem: undefined } };
  const { text, from, warning } = fallback;
  const decoded = decode(key, text, from === undefined ? `${flag} ${text}` : `the ${from} ${text} for ${flag}`);
  return { setting: { ...base, text, source: 'default', from, ...decoded }, warning };
}

/** What depends on the surroundings holds only where a command needs a value: elsewhere "not set" has a meaning of its own. */
function fallbackOf(
  key: SettingKey,
  { command, surroundings }: Sources,
): (Partial<Fallback> & { readonly text: string }) | undefined {
  const { fallback }: Setting<unknown> = SETTINGS[key];
  if (!isDefaulted(key, command)) return undefined;
  if (typeof fallback !== 'function') return fallback === undefined ? undefined : { text: fallback };
  const isOfAPod = command === 'config' || command === 'doctor';
  return isRequired(key, command) || isOfAPod ? fallback(surroundings) : undefined;
}

/** Kubernetes and templates set empty values where they have none. */
function filled(text: string | undefined): string | undefined {
  const trimmed = text?.trim();
  return trimmed === '' ? undefined : trimmed;
}

function decode(key: SettingKey, text: string, shown: string): Pick<EffectiveSetting, 'value' | 'problem'> {
  const value: unknown = SETTINGS[key].decode(text);
  if (!(value instanceof Rejected)) return { value, problem: undefined };
  return { value: undefined, problem: new Failure('invalid', `cannot use ${maskSecrets(shown)}: it ${value.why}`) };
}

/** A drill or a named snapshot that quietly starts cold has missed its purpose. */
function imply(settings: readonly EffectiveSetting[]): readonly EffectiveSetting[] {
  const cause = settings.find(({ key, text }) => (key === 'to' || key === 'snapshot') && text !== undefined);
  if (cause === undefined) return settings;
  return settings.map((setting) =>
    setting.key === 'onFailure'
      ? { ...setting, text: 'fail', source: 'flag', from: cause.flag, value: 'fail' }
      : setting,
  );
}

interface SettingsFile {
  readonly path: string;
  readonly values: ReadonlyMap<string, string>;
  readonly problems: readonly Failure[];
}

async function readSettingsFile(flags: Flags, world: SettingsWorld): Promise<SettingsFile> {
  const named = flags.get(flagOf('config')) ?? filled(world.env[environmentNameOf('config')]);
  const path = named ?? SETTINGS.config.fallback;
  try {
    const content = await world.readFile(path);
    const { parse } = await import('yaml'); // Most pods have no such file.
    return { path, ...parseSettingsFile(parse, content, path) };
  } catch (cause) {
    const code = systemErrorCode(cause);
    const mayBeAbsent = named === undefined && (code === 'ENOENT' || code === 'ENOTDIR');
    const problem = new Failure('invalid', `cannot read the settings file ${path}: ${code ?? messageOf(cause)}`, {
      cause,
    });
    return { path, values: new Map(), problems: mayBeAbsent ? [] : [problem] };
  }
}

type ParseYaml = typeof import('yaml').parse;

function parseSettingsFile(parse: ParseYaml, yaml: string, path: string): Omit<SettingsFile, 'path'> {
  const values = new Map<string, string>();
  const problems: string[] = [];
  try {
    for (const [key, value] of Object.entries(parseMapping(parse, yaml))) {
      const text = Array.isArray(value) && value.every((item) => typeof item === 'string') ? value.join(',') : value;
      if (!isFileKey(key)) problems.push(`${key} is not a setting`);
      else if (typeof text !== 'string') problems.push(`${key} is no single value`);
      else values.set(key, text);
    }
  } catch (error) {
    problems.push(messageOf(error).split(':\n', 1).join()); // What follows is an excerpt of the file.
  }
  const failures = problems.map((why) => new Failure('invalid', `cannot use the settings file ${path}: ${why}`));
  return { values, problems: failures };
}

function parseMapping(parse: ParseYaml, yaml: string): object {
  // Scalars stay as they were written: `0_0` and `1e3` mean what they say, and one decoder per setting judges them.
  const content: unknown = parse(yaml, { schema: 'failsafe', logLevel: 'error' });
  const isMapping = typeof content === 'object' && !Array.isArray(content); // Null is an empty file.
  if (!isMapping) throw new Failure('invalid', 'it is no mapping of settings to values');
  return content ?? {};
}

function isFileKey(key: string): boolean {
  return SETTING_KEYS.some((known) => known === key && sourcesOf(known).includes('file'));
}

const NAMESPACE_FILE = '/var/run/secrets/kubernetes.io/serviceaccount/namespace';

async function readNamespace({ readFile }: SettingsWorld): Promise<string | undefined> {
  return filled(await readFile(NAMESPACE_FILE).catch(() => undefined)); // No service account is no problem.
}

function findUnknownVariables(env: SettingsWorld['env']): readonly string[] {
  const known = new Set(SETTING_KEYS.filter((key) => sourcesOf(key).includes('environment')).map(environmentNameOf));
  return Object.keys(env)
    .filter((name) => name.startsWith('WARMSTATE_') && !known.has(name))
    .sort();
}

/** Kubernetes sets these in every pod of a namespace that has a Service called warmstate. */
const SERVICE_LINK = /^WARMSTATE_(?:\w+_)?(?:SERVICE_(?:HOST|PORT)|PORT)(?:_\w+)?$/;

export function unknownVariable(name: string): Failure {
  const hint = SERVICE_LINK.test(name)
    ? 'enableServiceLinks: false in the pod, or another name for that Service'
    : `unset ${name}`;
  return new Failure('invalid', `${name} in the environment is not a setting`, { hint });
}

function missingSetting(key: SettingKey, command: CommandName): Failure {
  const ways = `${flagOf(key)} ${SETTINGS[key].placeholder}, ${environmentNameOf(key)}, or ${key} in the settings file`;
  return new Failure('invalid', `cannot ${command}: ${flagOf(key)} is not set`, { hint: ways });
}

/** Credentials do not belong into a URL; where they stand in one all the same they are not shown. */
export function maskSecrets(text: string): string {
  return text.replaceAll(/(?<=:\/\/)[^/@\s]*@/g, '***@').replaceAll(/(?<=\?)\S+/g, '***');
}
