import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { COMPILE_CACHE } from './warmstate.ts';

const LINES_SHOWN = 40;
const MAIN = resolve(import.meta.dirname, '../../src/main.ts');

export interface LogLine {
  readonly level: string;
  readonly event: string;
  readonly msg: string;
  readonly [fact: string]: unknown;
}

/** Of what `/api/v1/status` answers, what tests look at. */
export interface PrintedStatus {
  readonly applicationRunning: boolean | null;
  readonly problems: readonly { readonly area: string; readonly message: string }[];
  readonly tasks: readonly {
    readonly task: string;
    readonly state: string;
    readonly pending: boolean;
    readonly reason: string | null;
    readonly message: string | null;
    readonly entry: { readonly quality: string; readonly offsets: Readonly<Record<string, string>> } | null;
  }[];
}

interface Options {
  readonly env?: Readonly<Record<string, string>>;
  /** As which user; that of this process, if left out. */
  readonly uid?: number;
  /** A command that runs the program in its place, with its arguments. */
  readonly prefix?: readonly string[];
  /** The program's file, when not that of the checkout. */
  readonly main?: string;
  /** Where it listens; a free port of the loopback address, if left out. */
  readonly listen?: string;
}

/** `warmstate run` as a pod starts it: a process of its own that logs lines of JSON. */
export class Sidecar implements AsyncDisposable {
  readonly log: LogLine[] = [];
  /** What was written to standard error and is no line of the log. */
  readonly other: string[] = [];
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown>;

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#exited = once(child, 'close'); // Then its last line has come too.
  }

  static start(
    flags: readonly string[],
    { env = {}, uid, listen = '127.0.0.1:0', prefix = [], main = MAIN }: Options = {},
  ): Sidecar {
    const [command = '', ...args] = [...prefix, process.execPath, main, 'run', '--listen', listen, ...flags];
    const child = spawn(command, args, {
      env: { PATH: process.env['PATH'], ...COMPILE_CACHE, ...env },
      stdio: ['ignore', 'ignore', 'pipe'],
      ...(uid === undefined ? {} : { uid, gid: uid }),
    });
    const sidecar = new Sidecar(child);
    if (child.stderr !== null) createInterface(child.stderr).on('line', (line) => sidecar.#take(line));
    return sidecar;
  }

  get isAlive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** What it said last, for the message of what was expected of it. */
  get transcript(): string {
    return [...this.other, ...this.log.slice(-LINES_SHOWN).map((line) => JSON.stringify(line))].join('\n');
  }

  /** Where it says that it listens. */
  async port(): Promise<number> {
    return Number((await this.logged('listening'))['port']);
  }

  /** The first line with this name that `is` accepts, once there is one. */
  async logged(event: string, is: (line: LogLine) => boolean = () => true): Promise<LogLine> {
    return this.until(`it logs ${event}`, async () => this.log.find((line) => line.event === event && is(line)));
  }

  async get(path: string): Promise<{ readonly code: number; readonly body: string }> {
    const response = await fetch(`http://127.0.0.1:${await this.port()}${path}`);
    return { code: response.status, body: await response.text() };
  }

  /** The value of one series of `/metrics`. */
  async metric(series: string): Promise<number | undefined> {
    const { body } = await this.get('/metrics');
    const line = body.split('\n').find((one) => one.startsWith(`${series} `));
    return line === undefined ? undefined : Number(line.slice(series.length + 1));
  }

  async status(): Promise<PrintedStatus> {
    return JSON.parse((await this.get('/api/v1/status')).body);
  }

  /** What `look` finds, once it finds something. Fails when the process ends, or after a minute. */
  async until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
    const limitMs = performance.now() + 60_000;
    for (;;) {
      const found = await look();
      if (found !== undefined && found !== false) return found;
      const said = [...this.other, ...this.log.map((line) => JSON.stringify(line))].join('\n');
      if (!this.isAlive) throw new Error(`run has ended before ${what}:\n${said}`);
      if (performance.now() > limitMs) {
        const status = await this.get('/api/v1/status').then(({ body }) => body, String);
        throw new Error(`a minute has passed before ${what}:\n${status}\n${said}`);
      }
      await delay(50);
    }
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** Tells it to end, as the kubelet does; its exit code. */
  async end(): Promise<number | null> {
    this.signal('SIGTERM');
    return this.exitCode();
  }

  /** Once it has ended. */
  async exitCode(): Promise<number | null> {
    await this.#exited;
    return this.#child.exitCode;
  }

  /** As `kill -9`; resolves when it is dead. */
  async kill(): Promise<void> {
    if (this.isAlive) this.signal('SIGKILL');
    await this.#exited;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.kill();
  }

  #take(line: string): void {
    const isLog = line.startsWith('{');
    if (isLog) this.log.push(JSON.parse(line));
    else this.other.push(line);
  }
}
