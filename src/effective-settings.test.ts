import { expect, test } from 'vitest';
import type { CommandName, Flags } from './cli/program.ts';
import {
  examineSettings,
  loadSettings,
  maskSecrets,
  resolveSettings,
  type SettingsWorld,
  unknownVariable,
} from './effective-settings.ts';

const DEFAULT_FILE = '/etc/warmstate/warmstate.yaml';
const NAMESPACE_FILE = '/var/run/secrets/kubernetes.io/serviceaccount/namespace';

interface WorldOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly files?: Readonly<Record<string, string>>;
}

function worldOf({ env = {}, files = {} }: WorldOptions = {}): SettingsWorld {
  return {
    env,
    hostName: 'orders-0',
    readFile: async (path) => {
      const content = files[path];
      if (content === undefined) throw Object.assign(new Error(`ENOENT: ${path}`), { code: 'ENOENT' });
      return content;
    },
  };
}

function flagsOf(flags: Readonly<Record<string, string | undefined>>): Flags {
  return new Map(Object.entries(flags));
}

async function load<C extends CommandName>(
  command: C,
  flags: Readonly<Record<string, string | undefined>>,
  world?: WorldOptions,
) {
  const loaded = await loadSettings(command, flagsOf(flags), worldOf(world));
  const problems = loaded.kind === 'refused' ? loaded.problems.map(({ message }) => message) : [];
  return { ...loaded, problems };
}

const REQUIRED = {
  '--application-id': 'orders',
  '--processing-guarantee': 'at_least_once',
  '--destination': 'file:///repository',
  '--lineage': 'prod',
};

test('a command gets its settings with their defaults', async () => {
  expect(await load('snapshot', REQUIRED)).toEqual({
    kind: 'loaded',
    settings: {
      stateDir: '/var/lib/kafka-streams',
      applicationId: 'orders',
      processingGuarantee: 'at_least_once',
      transactionalStores: false,
      destination: { kind: 'file', directory: '/repository' },
      instance: 'orders-0',
      lineage: 'prod',
      compression: 'zstd',
      concurrency: 8,
      maxAge: 82_800_000,
      listen: { host: undefined, port: 10_464 },
      output: 'text',
      config: DEFAULT_FILE,
      logLevel: 'info',
      logFormat: 'auto',
    },
    warnings: [],
    problems: [],
  });
});

test('a flag wins over the environment, that over the file, that over the default', async () => {
  const files = { [DEFAULT_FILE]: 'concurrency: 3\nmaxAge: 3h\ncompression: none\n' };
  const env = { WARMSTATE_CONCURRENCY: '2', WARMSTATE_MAX_AGE: '2h' };
  const flags = flagsOf({ ...REQUIRED, '--concurrency': '1' });
  const { settings } = await resolveSettings('snapshot', flags, worldOf({ env, files }));
  const wanted = new Set(['concurrency', 'maxAge', 'compression', 'instance', 'stateDir']);
  expect(
    settings.filter(({ key }) => wanted.has(key)).map(({ key, value, source, from }) => [key, value, source, from]),
  ).toEqual([
    ['stateDir', '/var/lib/kafka-streams', 'default', undefined],
    ['instance', 'orders-0', 'default', 'host name'],
    ['compression', 'none', 'file', DEFAULT_FILE],
    ['concurrency', 1, 'flag', undefined],
    ['maxAge', 7_200_000, 'environment', 'WARMSTATE_MAX_AGE'],
  ]);
});

test('variables of AWS count where none of ours says anything', async () => {
  const env = {
    AWS_ENDPOINT_URL: 'https://general',
    AWS_ENDPOINT_URL_S3: 'https://special',
    AWS_REGION: 'eu-west-1',
    AWS_DEFAULT_REGION: 'us-west-1',
    AWS_CA_BUNDLE: '/ca.pem',
  };
  const s3 = { s3Endpoint: 'https://special', s3Region: 'eu-west-1', s3CaFile: '/ca.pem' };
  expect(await load('list', REQUIRED_TO_LIST, { env })).toMatchObject({ settings: s3 });
  const own = { ...env, WARMSTATE_S3_REGION: 'eu-north-1' };
  expect(await load('list', REQUIRED_TO_LIST, { env: own })).toMatchObject({ settings: { s3Region: 'eu-north-1' } });
  const files = { [DEFAULT_FILE]: 's3Endpoint: http://file:9000' };
  expect(await load('list', REQUIRED_TO_LIST, { env, files })).toMatchObject({
    settings: { s3Endpoint: 'http://file:9000', s3Region: 'eu-west-1' },
  });
  const { settings } = await resolveSettings('config', flagsOf({}), worldOf({ env }));
  expect(settings.find(({ key }) => key === 's3Endpoint')).toMatchObject({
    source: 'environment',
    from: 'AWS_ENDPOINT_URL_S3',
  });
});

const REQUIRED_TO_LIST = { '--destination': 's3://bucket/prefix' };

test('every setting that is missing or bad is told at once, with where it was written', async () => {
  const files = { '/w.yaml': 'maxAge: soon\n' };
  const env = { WARMSTATE_CONFIG: '/w.yaml', WARMSTATE_CONCURRENCY: 'many' };
  const { kind, problems } = await load('snapshot', { '--destination': 'here', '--lineage': 'prod' }, { env, files });
  expect({ kind, problems }).toEqual({
    kind: 'refused',
    problems: [
      'cannot use --destination here: it is not a destination such as s3://bucket/prefix or file:///directory: it has no scheme',
      'cannot use WARMSTATE_CONCURRENCY=many: it is not a whole number from 1 to 256',
      'cannot use maxAge: soon in /w.yaml: it is not a duration above zero such as 30s, 5m or 6h',
      'cannot snapshot: --application-id is not set',
      'cannot snapshot: --processing-guarantee is not set',
    ],
  });
});

test('what a refused restore could read says whether to go on', async () => {
  const explicit = await load('restore', { ...REQUIRED, '--max-age': 'x', '--on-failure': 'fail', '--output': 'json' });
  const silent = await load('restore', { ...REQUIRED, '--max-age': 'x' });
  const spoilt = await load('restore', { ...REQUIRED, '--on-failure': 'x', '--output': 'x' });
  expect([explicit, silent, spoilt].map(({ kind, settings }) => [kind, settings.onFailure, settings.output])).toEqual([
    ['refused', 'fail', 'json'],
    ['refused', 'continue', 'text'],
    ['refused', undefined, undefined],
  ]);
});

test.each([
  [{ '--to': '/drill' }],
  [{ '--snapshot': '1763851022123-orders-0-x7k2/12' }],
  [{ '--snapshot': 'no snapshot' }],
  [{ '--to': undefined }],
])('%j implies --on-failure fail, whatever else is set', async (flags) => {
  const env = { WARMSTATE_ON_FAILURE: 'continue' };
  const { settings } = await load('restore', { ...REQUIRED, ...flags }, { env });
  expect(settings.onFailure).toBe('fail');
});

test('a flag without its value is a problem of that setting', async () => {
  const { problems } = await load('restore', { ...REQUIRED, '--max-age': undefined, '--tasks': '' });
  expect(problems).toEqual(['cannot use --tasks: it has no value', 'cannot use --max-age: it has no value']);
});

test('empty variables and keys count as none', async () => {
  const files = { [DEFAULT_FILE]: 'maxBytes:\napplicationId: orders\n' };
  const env = { WARMSTATE_APPLICATION_ID: '', WARMSTATE_TASKS: '  ' };
  const { '--application-id': _, ...flags } = REQUIRED;
  const { kind, settings } = await load('restore', flags, { env, files });
  expect([kind, settings.applicationId, settings.maxBytes, settings.tasks]).toEqual([
    'loaded',
    'orders',
    undefined,
    { kind: 'auto' },
  ]);
});

test('values of the file mean what they say, not what YAML makes of them', async () => {
  const files = {
    [DEFAULT_FILE]: 'tasks: [0_0, 0_1, global]\nlineage: 0x10\nconcurrency: "4"\nstateDirLimit: 1048576\n',
  };
  const { '--lineage': _, ...flags } = REQUIRED;
  const { settings } = await load('restore', flags, { files });
  expect([settings.tasks, settings.lineage, settings.concurrency, settings.stateDirLimit]).toEqual([
    { kind: 'list', tasks: ['0_0', '0_1', 'global'] },
    '0x10',
    4,
    1_048_576,
  ]);
});

test.each([
  ['maxage: 3h\nto: /x\n', ['maxage is not a setting', 'to is not a setting']],
  ['intervals: 3h\n', ['intervals is not a setting']],
  ['config: /x\n', ['config is not a setting']],
  ['maxAge: {h: 3}\n', ['maxAge is no single value']],
  ['- maxAge\n', ['it is no mapping of settings to values']],
  ['just words', ['it is no mapping of settings to values']],
  ['maxAge: 3h\nmaxAge: 4h\n', ['Map keys must be unique at line 2, column 1']],
  [
    'maxAge: [',
    ['Flow sequence in block collection must be sufficiently indented and end with a ] at line 1, column 10'],
  ],
])('the settings file %j is refused: %j', async (content, problems) => {
  const loaded = await load('list', REPOSITORY, { files: { [DEFAULT_FILE]: content } });
  expect(loaded.problems).toEqual(
    problems.map((problem) => `cannot use the settings file ${DEFAULT_FILE}: ${problem}`),
  );
});

const REPOSITORY = { '--destination': 'file:///repository' };

test('a settings file that is named must be there, the default one may be absent, an empty one says nothing', async () => {
  const absent = await load('list', REPOSITORY);
  const empty = await load('list', REPOSITORY, { files: { [DEFAULT_FILE]: '# nothing\n' } });
  const named = await load('list', { ...REPOSITORY, '--config': '/w.yaml' });
  expect([absent.problems, empty.problems, named.problems]).toEqual([
    [],
    [],
    ['cannot read the settings file /w.yaml: ENOENT'],
  ]);
});

test('the lineage of a pod is its namespace, elsewhere default with a warning', async () => {
  const { '--lineage': _, ...flags } = REQUIRED;
  const pod = await load('snapshot', flags, { files: { [NAMESPACE_FILE]: 'orders-prod\n' } });
  const laptop = await load('snapshot', flags);
  expect([pod, laptop].map(({ settings, warnings }) => [settings.lineage, warnings])).toEqual([
    ['orders-prod', []],
    ['default', ['no lineage is set: histories of several clusters would mix']],
  ]);
});

test('commands that only read take the only lineage and application there are, unless they are named', async () => {
  const files = { [NAMESPACE_FILE]: 'orders-prod\n' };
  const open = await load('list', REPOSITORY, { files });
  const named = await load('list', REPOSITORY, { files, env: { WARMSTATE_LINEAGE: 'prod' } });
  expect([open, named].map(({ settings }) => [settings.applicationId, settings.lineage])).toEqual([
    [undefined, undefined],
    [undefined, 'prod'],
  ]);
});

test('a restore without a guarantee says how it behaves', async () => {
  const { '--processing-guarantee': _, ...flags } = REQUIRED;
  const { kind, settings, warnings } = await load('restore', flags);
  expect([kind, settings.processingGuarantee, warnings]).toEqual([
    'loaded',
    undefined,
    ['--processing-guarantee is not set: restoring as under auto; set it once for both containers'],
  ]);
});

test('unknown variables are a warning; those of a Service get a hint of their own', async () => {
  const env = { WARMSTATE_MAXAGE: '1h', WARMSTATE_TO: '/x', WARMSTATE_PORT_10464_TCP_ADDR: '10.0.0.1', PATH: '/bin' };
  const { kind, warnings } = await load('list', REPOSITORY, { env });
  expect([kind, warnings]).toEqual([
    'loaded',
    [
      'WARMSTATE_MAXAGE in the environment is not a setting',
      'WARMSTATE_PORT_10464_TCP_ADDR in the environment is not a setting',
      'WARMSTATE_TO in the environment is not a setting',
    ],
  ]);
  expect(
    ['WARMSTATE_MAXAGE', 'WARMSTATE_PORT', 'WARMSTATE_SERVICE_HOST', 'WARMSTATE_DB_PORT_80_TCP'].map(hintOf),
  ).toEqual(['unset WARMSTATE_MAXAGE', SERVICE_HINT, SERVICE_HINT, SERVICE_HINT]);
});

const SERVICE_HINT = 'enableServiceLinks: false in the pod, or another name for that Service';

function hintOf(name: string): string | undefined {
  return unknownVariable(name).hint;
}

test('an examination finds everything that is wrong at once, and tells what is bad from what is not set', async () => {
  const env = { WARMSTATE_MAXAGE: '1h', WARMSTATE_MAX_AGE: 'soon' };
  const files = { [DEFAULT_FILE]: 'tasks: all\nmaxage: 3h\n' };
  const flags = flagsOf({ '--application-id': 'a/b', '--output': 'json' });
  const { settings, unset, problems, warnings } = await examineSettings(flags, worldOf({ env, files }));
  expect(problems.map(({ message }) => message)).toEqual([
    `cannot use the settings file ${DEFAULT_FILE}: maxage is not a setting`,
    'cannot use --application-id a/b: it is not an application.id of letters, digits, . _ and -',
    'cannot use WARMSTATE_MAX_AGE=soon: it is not a duration above zero such as 30s, 5m or 6h',
    'WARMSTATE_MAXAGE in the environment is not a setting',
  ]);
  expect(warnings).toEqual(['no lineage is set: histories of several clusters would mix']);
  expect([settings.output, settings.maxAge, settings.applicationId, settings.tasks]).toEqual([
    'json',
    undefined,
    undefined,
    { kind: 'all' },
  ]);
  expect([unset.has('applicationId'), unset.has('maxAge'), unset.has('destination')]).toEqual([false, false, true]);
});

test('settings of other commands in the environment and in the file are left alone', async () => {
  const env = { WARMSTATE_MAX_AGE: 'nonsense' };
  const { kind } = await load('list', REPOSITORY, { env, files: { [DEFAULT_FILE]: 'deadline: nonsense\n' } });
  expect(kind).toBe('loaded');
});

test('credentials in a destination are neither used nor shown', async () => {
  const { problems } = await load('list', { '--destination': 's3://key:secret@bucket/p?token=abc' });
  expect(problems).toEqual([
    'cannot use --destination s3://***@bucket/p?***: it holds credentials: they come from the environment',
  ]);
  expect(maskSecrets('file:///plain/path')).toBe('file:///plain/path');
});
