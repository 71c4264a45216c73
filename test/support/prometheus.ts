import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Failure, messageOf } from '../../src/base/failure.ts';
import { openTempDirectory } from './temp-directory.ts';

const CACHE_DIRECTORY = resolve(import.meta.dirname, '../../.cache/prometheus');
const PROGRAMS = join(CACHE_DIRECTORY, 'usr/bin');

/** Unpacks the Debian package beside the checkout, where it is not there yet: no service is started, and no right of root is needed. */
export async function installPrometheus(): Promise<void> {
  if (await isThere(join(PROGRAMS, 'promtool'))) return;
  const unfinished = `${CACHE_DIRECTORY}.${process.pid}`;
  await mkdir(unfinished, { recursive: true });
  try {
    await run('apt-get', ['download', '-qq', 'prometheus'], unfinished).catch(async () => {
      await run('apt-get', ['update', '-qq'], unfinished);
      await run('apt-get', ['download', '-qq', 'prometheus'], unfinished);
    });
    const [packageFile = ''] = (await readdir(unfinished)).filter((name) => name.endsWith('.deb'));
    await run('dpkg-deb', ['-x', packageFile, '.'], unfinished);
    await rm(join(unfinished, packageFile));
    await rm(CACHE_DIRECTORY, { recursive: true, force: true });
    await rename(unfinished, CACHE_DIRECTORY);
  } finally {
    await rm(unfinished, { recursive: true, force: true });
  }
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

async function run(command: string, args: readonly string[], cwd: string): Promise<void> {
  await promisify(execFile)(command, args, { cwd }).catch((cause: unknown) => {
    throw new Failure('missing', `cannot install Prometheus for the tests of services: ${messageOf(cause)}`, {
      cause,
      hint: 'they need Debian or Ubuntu, apt-get, and the network once',
    });
  });
}

/** What promtool has to say of the text of a scrape; empty where it likes it. */
export async function lintMetrics(text: string): Promise<string> {
  const { code, said } = await runPromtool(['check', 'metrics'], { input: text });
  return code === 0 ? said : `${said}promtool exits with ${code}`;
}

/** Runs a command of promtool on files; what it says where it fails. */
export async function promtool(command: readonly string[], files: Readonly<Record<string, string>>): Promise<string> {
  await using directory = await openTempDirectory();
  for (const [name, text] of Object.entries(files)) await writeFile(join(directory.path, name), text);
  const { code, said } = await runPromtool(command, { cwd: directory.path });
  return code === 0 ? '' : `${said}promtool exits with ${code}`;
}

async function runPromtool(
  command: readonly string[],
  { cwd, input = '' }: { readonly cwd?: string; readonly input?: string },
): Promise<{ readonly code: number | null; readonly said: string }> {
  const child = spawn(join(PROGRAMS, 'promtool'), command, { cwd, stdio: ['pipe', 'pipe', 'pipe'] });
  let said = '';
  child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  child.stdin.end(input);
  await once(child, 'close');
  return { code: child.exitCode, said };
}

export interface ScrapeTarget {
  readonly address: string;
  readonly labels?: Readonly<Record<string, string>>;
}

const PATIENCE_MS = 60_000;

/** A Prometheus on the loopback address that scrapes its targets every second. */
export class Prometheus implements AsyncDisposable {
  readonly #url: string;
  readonly #parts: AsyncDisposableStack;

  private constructor(url: string, parts: AsyncDisposableStack) {
    this.#url = url;
    this.#parts = parts;
  }

  /** `rules`: the text of a file of rules, evaluated every second. */
  static async start(targets: readonly ScrapeTarget[], rules = 'groups: []\n'): Promise<Prometheus> {
    await using parts = new AsyncDisposableStack();
    const directory = parts.use(await openTempDirectory());
    const config = join(directory.path, 'prometheus.yml');
    await writeFile(join(directory.path, 'rules.yml'), rules);
    const static_configs = targets.map(({ address, labels = {} }) => ({ targets: [address], labels }));
    await writeFile(
      config,
      JSON.stringify({
        global: { scrape_interval: '1s', evaluation_interval: '1s' },
        rule_files: ['rules.yml'],
        scrape_configs: [{ job_name: 'warmstate', honor_labels: true, static_configs }],
      }),
    );
    const port = await findFreePort();
    const flags = {
      'config.file': config,
      'storage.tsdb.path': join(directory.path, 'data'),
      'web.listen-address': `127.0.0.1:${port}`,
    };
    const child = spawn(
      join(PROGRAMS, 'prometheus'),
      Object.entries(flags).map(([name, value]) => `--${name}=${value}`),
      { stdio: 'ignore' },
    );
    const exited = once(child, 'exit');
    parts.defer(async () => {
      child.kill('SIGTERM');
      await exited;
    });
    return new Prometheus(`http://127.0.0.1:${port}`, parts.move());
  }

  /** The values of an instant query by their labels, without `__name__`, `instance` and `job`; once there are any. */
  async query(expression: string): Promise<Readonly<Record<string, number>>> {
    const url = `${this.#url}/api/v1/query?query=${encodeURIComponent(expression)}`;
    const limitMs = performance.now() + PATIENCE_MS;
    for (;;) {
      const found = await fetch(url).then(
        async (response) => valuesIn(await response.json()),
        () => ({}),
      );
      if (Object.keys(found).length > 0) return found;
      if (performance.now() > limitMs) throw new Error(`Prometheus has no answer to ${expression}`);
      await delay(250);
    }
  }

  /** What it objects to in an expression; undefined where it evaluates it. */
  async objection(expression: string): Promise<string | undefined> {
    const response = await fetch(`${this.#url}/api/v1/query?query=${encodeURIComponent(expression)}`);
    return response.ok ? undefined : response.text();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts.disposeAsync();
  }
}

interface QueryAnswer {
  readonly data: {
    readonly result: readonly {
      readonly metric: Readonly<Record<string, string>>;
      readonly value: readonly [number, string];
    }[];
  };
}

function valuesIn(json: unknown): Readonly<Record<string, number>> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- as Prometheus documents its API
  const { data } = json as QueryAnswer;
  const entries = data.result.map(({ metric, value }) => {
    const { __name__: _name, instance: _instance, job: _job, ...labels } = metric;
    return [Object.values(labels).join(' '), Number(value[1])] as const;
  });
  return Object.fromEntries(entries);
}

async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  return typeof address === 'object' && address !== null ? address.port : 0;
}
