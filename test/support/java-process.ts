import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { Failure, systemErrorCode } from '../../src/base/failure.ts';

/** What is kept of a JVM's standard error for the message of its failure. */
const STDERR_CHARACTERS_MAX = 8000;

/** A JVM that answers in lines. It ends with its standard input, so none outlives the test run. */
export class JavaProcess implements AsyncDisposable {
  readonly #mainClass: string;
  readonly #process: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #lines: AsyncIterator<string>;
  readonly #exited: Promise<unknown>;
  #stderr = '';

  private constructor(mainClass: string, process: ChildProcessByStdio<Writable, Readable, Readable>) {
    this.#mainClass = mainClass;
    this.#process = process;
    this.#lines = createInterface({ input: process.stdout })[Symbol.asyncIterator]();
    this.#exited = once(process, 'close');
    process.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_CHARACTERS_MAX);
    });
    process.stdin.on('error', () => undefined); // A JVM that died shows in nextLine.
  }

  static async start(
    mainClass: string,
    options: {
      readonly classPath: string;
      readonly args: readonly string[];
      /** Beyond the thrifty ones, which they override. */
      readonly jvmFlags?: readonly string[];
    },
  ): Promise<JavaProcess> {
    const thrifty = ['-Xmx256m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1'];
    const flags = [...thrifty, ...(options.jvmFlags ?? [])];
    const process = spawn('java', [...flags, '-cp', options.classPath, mainClass, ...options.args], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    try {
      await once(process, 'spawn');
    } catch (error) {
      if (systemErrorCode(error) !== 'ENOENT') throw error;
      throw new Failure('missing', 'cannot run java: it is not on the path', {
        cause: error,
        hint: 'install a JDK 17 and Maven; the kafka tests need them',
      });
    }
    return new JavaProcess(mainClass, process);
  }

  get pid(): number {
    return this.#process.pid ?? 0;
  }

  writeLine(line: string): void {
    this.#process.stdin.write(`${line}\n`);
  }

  /** Failure `unavailable`, with what it said last, if it ended instead. */
  async nextLine(): Promise<string> {
    const next = await this.#lines.next();
    if (next.done !== true) return next.value;
    await this.#exited;
    throw new Failure('unavailable', `${this.#mainClass} ended: ${this.#stderr.trim()}`);
  }

  /** Asks it to end in peace; the lines that it still says can be read. */
  endInput(): void {
    this.#process.stdin.end();
  }

  /** As `kill -9`; resolves when it is dead. */
  async kill(): Promise<void> {
    this.#process.kill('SIGKILL');
    await this.#exited;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.kill();
  }
}
