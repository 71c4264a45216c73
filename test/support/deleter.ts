import { type ChildProcess, fork } from 'node:child_process';
import { on } from 'node:events';
import { resolve } from 'node:path';
import { z } from 'zod';
import { Failure } from '../../src/base/failure.ts';

/** When a deletion began and ended, in milliseconds since 1970 with fractions. */
export interface Deletion {
  readonly beganMs: number;
  readonly endedMs: number;
}

const deletion = z.object({ beganMs: z.number(), endedMs: z.number() });

/** A process of its own that deletes a task directory on demand and lays it out again, see bin/delete-task.ts. */
export class Deleter implements AsyncDisposable {
  readonly #process: ChildProcess;
  readonly #messages: AsyncIterator<unknown>;

  constructor(template: string, task: string) {
    this.#process = fork(resolve(import.meta.dirname, 'bin/delete-task.ts'), [template, task]);
    this.#messages = on(this.#process, 'message', { close: ['exit'] });
  }

  /** Resolves when the directory is whole. */
  async awaitWhole(): Promise<void> {
    await this.#next();
  }

  /** Begins a deletion within milliseconds; resolves when it is over. */
  async delete(): Promise<Deletion> {
    this.#process.send('delete');
    return deletion.parse(await this.#next());
  }

  async #next(): Promise<unknown> {
    const next = await this.#messages.next();
    if (next.done === true) throw new Failure('unavailable', 'the deleting process ended');
    return z.tuple([z.unknown()]).rest(z.unknown()).parse(next.value)[0];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill('SIGKILL');
    while ((await this.#messages.next()).done !== true); // What it still said, until it has ended.
  }
}
