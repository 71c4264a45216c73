import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { Failure, messageOf, systemErrorCode } from '../../../src/base/failure.ts';

/** One line that a program of test/streams-app wrote: its event, when it happened, and its facts. */
export interface JavaEvent {
  readonly event: string;
  readonly atMs: number;
  readonly [fact: string]: unknown;
}

// Small and quick to start; a test runs a broker and an application or two on two cores.
const JVM_FLAGS = [
  '-Xmx512m',
  '-Xms64m',
  '-XX:+UseSerialGC',
  '-XX:TieredStopAtLevel=1',
  '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn',
];
const LOG_TAIL_CHARACTERS = 4000;

/**
 * A running program of test/streams-app. It lives until it is disposed of or killed, at the latest until the process
 * that started it is gone: it ends with its standard input.
 */
export class JavaProcess {
  readonly events: JavaEvent[] = [];
  readonly #child: ChildProcess;
  readonly #name: string;
  readonly #logFile: string;
  #changed = Promise.withResolvers<void>();
  #ended = false;

  private constructor(name: string, child: ChildProcess, logFile: string) {
    this.#name = name;
    this.#child = child;
    this.#logFile = logFile;
    if (child.stdout !== null) createInterface({ input: child.stdout }).on('line', (line) => this.#take(line));
    child.stdin?.on('error', () => undefined); // It ended; the exit tells.
    child.once('exit', () => {
      this.#ended = true;
      this.#wake();
    });
  }

  /** Resolves when the process exists; `logFile` gets its standard error. Throws `missing` where there is no Java. */
  static async start(options: {
    readonly mainClass: string;
    readonly classPath: string;
    readonly arguments: Readonly<Record<string, string | number>>;
    readonly logFile: string;
  }): Promise<JavaProcess> {
    const named = Object.entries(options.arguments).map(([name, value]) => `${name}=${value}`);
    const log = openSync(options.logFile, 'a');
    try {
      const child = spawn('java', [...JVM_FLAGS, '-cp', options.classPath, options.mainClass, ...named], {
        stdio: ['pipe', 'pipe', log],
      });
      const java = new JavaProcess(options.mainClass, child, options.logFile);
      await once(child, 'spawn').catch((error: unknown) => {
        throw systemErrorCode(error) === 'ENOENT' ? notInstalled(error) : error;
      });
      return java;
    } finally {
      closeSync(log);
    }
  }

  get hasEnded(): boolean {
    return this.#ended;
  }

  /** Waits until `find` sees something in the events. Throws `unavailable` if the process ends before, `deadline` in time. */
  async waitFor<T>(
    find: (events: readonly JavaEvent[]) => T | undefined,
    options: { readonly what: string; readonly timeoutMs: number; readonly signal: AbortSignal },
  ): Promise<T> {
    const timeout = AbortSignal.timeout(options.timeoutMs);
    const signal = AbortSignal.any([options.signal, timeout]);
    const wake = (): void => this.#wake();
    signal.addEventListener('abort', wake, { once: true });
    try {
      for (;;) {
        const changed = this.#changed.promise;
        const found = find(this.events);
        if (found !== undefined) return found;
        options.signal.throwIfAborted();
        if (this.#ended) throw await this.#failure('unavailable', `${this.#name} ended before ${options.what}`);
        if (timeout.aborted) {
          throw await this.#failure(
            'deadline',
            `${this.#name} took more than ${options.timeoutMs} ms to ${options.what}`,
          );
        }
        await changed;
      }
    } finally {
      signal.removeEventListener('abort', wake);
    }
  }

  /** Sends a command and returns its answer. Throws `unavailable` with what the program said, if it failed. */
  async request(path: string, query: Readonly<Record<string, string | number>>, signal: AbortSignal): Promise<string> {
    const port = await this.waitFor((events) => events.find((event) => event.event === 'listening')?.['port'], {
      what: 'listening',
      timeoutMs: 180_000,
      signal,
    });
    const search = Object.entries(query).map(([name, value]) => `${name}=${value}`);
    const url = `http://127.0.0.1:${String(port)}${path}?${search.join('&')}`;
    const answer = await fetch(url, { signal });
    const text = await answer.text();
    if (!answer.ok) throw await this.#failure('unavailable', `cannot ask ${this.#name} for ${path}: ${text}`);
    return text;
  }

  /** Ends the process at once, as the kernel or a lost machine would, and waits until it is gone. */
  async kill(): Promise<void> {
    await this.#endBy('SIGKILL');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }

  async #endBy(signal: NodeJS.Signals): Promise<void> {
    if (this.#ended) return;
    const exit = once(this.#child, 'exit');
    this.#child.kill(signal);
    await exit;
  }

  #take(line: string): void {
    const event = eventOf(line);
    if (event === undefined) return; // Libraries write there too.
    this.events.push(event);
    this.#wake();
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }

  async #failure(kind: 'unavailable' | 'deadline', message: string): Promise<Failure> {
    const log = await readFile(this.#logFile, 'utf8').catch(() => '');
    const events = this.events.map((event) => JSON.stringify(event)).join('\n');
    return new Failure(kind, `${message}\n${events.slice(-LOG_TAIL_CHARACTERS)}\n${log.slice(-LOG_TAIL_CHARACTERS)}`);
  }
}

/** Runs a Java program that ends by itself. Throws `missing` where there is no Java, `unavailable` when it fails. */
export async function runJava(
  javaArguments: readonly string[],
  options: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<void> {
  try {
    await promisify(execFile)('java', [...javaArguments], { timeout: options.timeoutMs, signal: options.signal });
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') throw notInstalled(error);
    throw new Failure('unavailable', `cannot run java ${javaArguments.join(' ')}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

function notInstalled(cause: unknown): Failure {
  const hint = 'install a JDK 17 and Maven; the kafka tests need them';
  return new Failure('missing', 'cannot run java: it is not on the path', { cause, hint });
}

function eventOf(line: string): JavaEvent | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return isEvent(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isEvent(value: unknown): value is JavaEvent {
  return typeof value === 'object' && value !== null && 'event' in value && 'atMs' in value;
}
