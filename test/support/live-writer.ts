import { mkdir } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import type { Clock } from '../../src/base/clock.ts';
import { JavaProcess } from './java-process.ts';
import { buildJava } from './maven.ts';

/** Those of Kafka Streams 2.6 to 2.8, 3.5.2 to 3.9, 4.0, and 4.1 and later. */
export type RocksDbVersion = '5.18.4' | '7.9.2' | '9.7.3' | '10.1.3';

/** What the writer does besides writing, see rocksdbwriter.LiveWriter. */
export type WriterMode = 'timestamped' | 'churn' | 'roll' | 'reopen' | 'wipe' | 'blobs';

export interface LiveWriterOptions {
  readonly version: RocksDbVersion;
  /** `<state.dir>/<application.id>/<task>`, made if absent. The writer's journal lies beside `<state.dir>`. */
  readonly taskDirectory: string;
  readonly modes: readonly WriterMode[];
  /** Operations on each of its three stores. */
  readonly operationsPerSecond: number;
  readonly operationsPerCheckpoint: number;
}

/** What it did until it was stopped: checkpoints, operations, wipedTasks, … */
export type WriterCounts = Readonly<Record<string, number>>;

/** A JVM that works like one Kafka Streams task at high rate, from its first checkpoint on. */
export class LiveWriter implements AsyncDisposable {
  readonly #process: JavaProcess;

  private constructor(process: JavaProcess) {
    this.#process = process;
  }

  /** On a directory that another one left, however that ended, it goes on like Kafka Streams. */
  static async start(options: LiveWriterOptions): Promise<LiveWriter> {
    const process = await startJava('LiveWriter', options.version, [
      `task=${options.taskDirectory}`,
      `journal=${await journalOf(options.taskDirectory)}`,
      `modes=${options.modes.join(',')}`,
      `rate=${options.operationsPerSecond}`,
      `checkpoint=${options.operationsPerCheckpoint}`,
    ]);
    const writer = new LiveWriter(process);
    await writer.#process.nextLine();
    return writer;
  }

  /** Closes the task cleanly. */
  async stop(): Promise<WriterCounts> {
    this.#process.endInput();
    const { event: _, ...counts } = stoppedLine.parse(JSON.parse(await this.#process.nextLine()));
    return counts;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#process.kill();
  }
}

const stoppedLine = z.object({ event: z.literal('stopped') }).catchall(z.number());

/** Starts a writer, kills it as `kill -9` does, starts the next, until the signal; answers how many it killed. */
export async function keepKilling(
  options: LiveWriterOptions,
  world: { readonly clock: Clock; readonly signal: AbortSignal; readonly lifeMs: () => number },
): Promise<number> {
  for (let killed = 0; ; killed++) {
    await using _ = await LiveWriter.start(options);
    await world.clock.sleep(world.lifeMs(), world.signal);
    if (world.signal.aborted) return killed;
  }
}

/** What the checker says of one image; `ahead` counts the operations that it holds beyond its offsets. */
export type ImageVerdict =
  | { readonly ok: true; readonly databases: number; readonly entries: number; readonly ahead: number }
  | { readonly ok: false; readonly error: string };

/** A JVM that opens images of a live writer's task in real RocksDB and compares them with its model. */
export class ImageChecker implements AsyncDisposable {
  readonly #process: JavaProcess;

  private constructor(process: JavaProcess) {
    this.#process = process;
  }

  static async start(version: RocksDbVersion): Promise<ImageChecker> {
    return new ImageChecker(await startJava('Checker', version, []));
  }

  /** The databases of the directory are opened for writing. One question at a time. */
  async check(taskDirectory: string, modes: readonly WriterMode[]): Promise<ImageVerdict> {
    this.#process.writeLine(`${modes.includes('timestamped') ? 'timestamped' : 'plain'}\t${taskDirectory}`);
    return verdictLine.parse(JSON.parse(await this.#process.nextLine()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#process.kill();
  }
}

const verdictLine = z.discriminatedUnion('ok', [
  z.object({ ok: z.literal(true), databases: z.number(), entries: z.number(), ahead: z.number() }),
  z.object({ ok: z.literal(false), error: z.string() }),
]);

async function journalOf(taskDirectory: string): Promise<string> {
  const stateDirectory = dirname(dirname(taskDirectory));
  await mkdir(stateDirectory, { recursive: true });
  return `${stateDirectory}.journal`;
}

async function startJava(mainClass: string, version: RocksDbVersion, args: readonly string[]): Promise<JavaProcess> {
  const classPath = await buildJava(resolve(import.meta.dirname, '../rocksdb-writer'), {
    properties: { 'rocksdb.version': version },
    classesDirectory: `target/${version}/classes`,
  });
  return JavaProcess.start(`rocksdbwriter.${mainClass}`, { classPath, args });
}
