import { Failure, messageOf } from '../../../src/base/failure.ts';
import { JavaProcess } from '../java-process.ts';

/** One line that a program of test/streams-app said: its event, when it happened, and its facts. */
export interface ProcessEvent {
  readonly event: string;
  readonly atMs: number;
  readonly [fact: string]: unknown;
}

// A broker or an application with five stores; quieter and roomier than what drives a single database.
const JVM_FLAGS = ['-Xmx512m', '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn'];
const LISTENING_TIMEOUT_MS = 180_000;
const EVENTS_SHOWN = 40;

/** Where a program runs that is not a process of this one. */
export interface Remote extends Pick<JavaProcess, 'pid' | 'nextLine' | 'kill'> {
  /** Its answer to a GET of a path with its query; throws where it refuses. */
  ask(pathAndQuery: string, signal: AbortSignal): Promise<string>;
}

/** A running program of test/streams-app: it says events and takes commands over HTTP. */
export class ControlledProcess implements AsyncDisposable {
  readonly events: ProcessEvent[] = [];
  readonly #mainClass: string;
  readonly #java: JavaProcess | Remote;
  readonly #listening: Promise<void>;
  #changed = Promise.withResolvers<void>();
  #end: unknown;

  private constructor(mainClass: string, java: JavaProcess | Remote) {
    this.#mainClass = mainClass;
    this.#java = java;
    this.#listening = this.#listen();
  }

  /** Resolves when the process exists. Throws `missing` where there is no Java. */
  static async start(
    mainClass: string,
    options: { readonly classPath: string; readonly settings: Readonly<Record<string, string | number>> },
  ): Promise<ControlledProcess> {
    const args = Object.entries(options.settings).map(([name, value]) => `${name}=${value}`);
    const java = await JavaProcess.start(mainClass, { classPath: options.classPath, args, jvmFlags: JVM_FLAGS });
    return new ControlledProcess(mainClass, java);
  }

  /** One that runs elsewhere; its end ends only the following. */
  static follow(mainClass: string, remote: Remote): ControlledProcess {
    return new ControlledProcess(mainClass, remote);
  }

  get pid(): number {
    return this.#java.pid;
  }

  /** Waits until `find` sees something in the events. Throws `unavailable` if the process ends first, `deadline` in time. */
  async waitFor<T>(
    find: (events: readonly ProcessEvent[]) => T | undefined,
    options: { readonly what: string; readonly timeoutMs: number; readonly signal: AbortSignal },
  ): Promise<T> {
    const timeout = AbortSignal.timeout(options.timeoutMs);
    const either = AbortSignal.any([options.signal, timeout]);
    const wake = (): void => this.#wake();
    either.addEventListener('abort', wake, { once: true });
    try {
      for (;;) {
        const changed = this.#changed.promise;
        const found = find(this.events);
        if (found !== undefined) return found;
        options.signal.throwIfAborted();
        if (this.#end !== undefined) throw this.#failure('unavailable', `ended before it could ${options.what}`);
        if (timeout.aborted)
          throw this.#failure('deadline', `took more than ${options.timeoutMs} ms to ${options.what}`);
        await changed;
      }
    } finally {
      either.removeEventListener('abort', wake);
    }
  }

  /** Sends a command and returns its answer. Throws `unavailable` with what the program says where it fails. */
  async request(path: string, query: Readonly<Record<string, string | number>>, signal: AbortSignal): Promise<string> {
    const port = await this.waitFor((events) => events.find(({ event }) => event === 'listening')?.['port'], {
      what: 'listen',
      timeoutMs: LISTENING_TIMEOUT_MS,
      signal,
    });
    const search = Object.entries(query).map(([name, value]) => `${name}=${value}`);
    const pathAndQuery = `${path}?${search.join('&')}`;
    if ('ask' in this.#java) return this.#java.ask(pathAndQuery, signal);
    const answer = await fetch(`http://127.0.0.1:${String(port)}${pathAndQuery}`, { signal });
    const text = await answer.text();
    if (!answer.ok) throw this.#failure('unavailable', `cannot answer ${path}: ${text}`);
    return text;
  }

  /** Ends the process at once, as the kernel or a lost machine would, and waits until it is gone. */
  async kill(): Promise<void> {
    await this.#java.kill();
    await this.#listening;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.kill();
  }

  async #listen(): Promise<void> {
    try {
      for (;;) {
        const event = eventOf(await this.#java.nextLine());
        if (event === undefined) continue; // Libraries write there, too.
        this.events.push(event);
        this.#wake();
      }
    } catch (error) {
      this.#end = error;
      this.#wake();
    }
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }

  #failure(kind: 'unavailable' | 'deadline', message: string): Failure {
    const events = this.events.slice(-EVENTS_SHOWN).map((event) => JSON.stringify(event));
    const end = this.#end === undefined ? [] : [messageOf(this.#end)];
    return new Failure(kind, [`${this.#mainClass} ${message}`, ...events, ...end].join('\n'));
  }
}

function eventOf(line: string): ProcessEvent | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return isEvent(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isEvent(value: unknown): value is ProcessEvent {
  return typeof value === 'object' && value !== null && 'event' in value && 'atMs' in value;
}
