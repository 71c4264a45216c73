import { z } from 'zod';
import type { Broker } from './broker.ts';
import { ControlledProcess } from './controlled-process.ts';
import { checkerClassPath } from './java-programs.ts';

/** What the checker says of one image. */
export interface ImageVerdict {
  readonly tasks: number;
  readonly databases: number;
  readonly entries: number;
  /** The most records by which a database is ahead of its checkpoint. */
  readonly ahead: number;
  /** Where it is no state that the application had; none means right. */
  readonly errors: readonly string[];
}

/** A JVM that opens images of the application's state in real RocksDB and compares them with the application's changelogs. */
export class ImageChecker implements AsyncDisposable {
  readonly #java: ControlledProcess;
  readonly #signal: AbortSignal;

  private constructor(java: ControlledProcess, signal: AbortSignal) {
    this.#java = java;
    this.#signal = signal;
  }

  /** With the RocksDB of a release of Kafka Streams. */
  static async start(version: string, broker: Broker, signal: AbortSignal): Promise<ImageChecker> {
    const classPath = await checkerClassPath(version);
    const settings = { bootstrap: broker.bootstrap };
    return new ImageChecker(await ControlledProcess.start('warmstate.ImageChecker', { classPath, settings }), signal);
  }

  /**
   * Every database must be what its changelog leaves at some offset not before the checkpoint, and that of a task in `exact`
   * at the very one. The application must have sent what it had written when the image was taken.
   */
  async check(image: {
    readonly applicationDirectory: string;
    readonly applicationId: string;
    readonly topics: string;
    readonly exact: readonly string[];
  }): Promise<ImageVerdict> {
    const { applicationDirectory: directory, exact, ...application } = image;
    const query = { ...application, directory, exact: exact.join(',') };
    return verdict.parse(JSON.parse(await this.#java.request('/check', query, this.#signal)));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#java.kill();
  }
}

const verdict = z.object({
  tasks: z.number(),
  databases: z.number(),
  entries: z.number(),
  ahead: z.number(),
  errors: z.string().transform((lines) => lines.split('\n').filter((line) => line !== '')),
});
