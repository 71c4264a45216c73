/**
 * What a warm start saves: a real Kafka Streams application loses its disk, and is started without warmstate and with it, in turns.
 * `npm run bench:start`, with `-- --rounds N --records N --payload BYTES`. All its stores lie on disk: those in memory are replayed either way. Needs a JDK and Maven.
 */
import { mkdir, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Broker } from '../test/support/kafka/broker.ts';
import { StreamsApp, type StreamsAppOptions } from '../test/support/kafka/streams-app.ts';
import type { Load } from '../test/support/model.ts';
import { untilCommitted } from './committed.ts';
import { MAIN, START } from './installed.ts';
import { median, print } from './report.ts';
import { type Cost, measure } from './storage/measure.ts';
import { usageOf } from './usage.ts';

const VERSION = '4.2.2';
const NAME = 'bench';
const PARTITIONS = 4;
/** What arrives between the snapshot and the loss, as a part of all that arrived before. */
const DELTA = 0.01;
/** Of the records' timestamps: within the retention of the windows. */
const SPAN_MS = 20 * 3_600_000;
const MIB = 2 ** 20;

interface StartUp {
  /** From nothing on the disk to RUNNING. */
  readonly wallS: number;
  /** Of the application, and of the restore before it. */
  readonly cpuS: number;
  readonly restoreS: number;
  readonly replayed: bigint;
}

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    records: { type: 'string', default: '800000' },
    payload: { type: 'string', default: '400' },
  },
});
const rounds = Number(values.rounds);
const records = Number(values.records);
const load: Load = {
  keys: records / 4,
  rows: records / 40,
  items: 1000,
  stepMs: Math.floor(SPAN_MS / records),
  payloadBytes: Number(values.payload),
};
const ended = new AbortController();
const { signal } = ended;
const directory = await mkdtemp(join(process.env['WARMSTATE_BENCH_DIR'] ?? tmpdir(), 'warmstate-bench-'));
const stateDir = join(directory, 'state');
try {
  await using broker = await Broker.start(signal);
  await broker.createTopics(NAME, PARTITIONS);
  await mkdir(stateDir);
  const options: StreamsAppOptions = {
    version: VERSION,
    guarantee: 'at_least_once',
    release: 'WITHOUT_MEMORY',
    broker,
    applicationId: NAME,
    topics: NAME,
    stateDir,
    signal,
  };
  await broker.feed(NAME, load, { from: 0, to: records });
  await workThrough(options);
  const stateMib = (await bytesBelow(stateDir)) / MIB;
  const snapshot = await warmstate('snapshot');
  await broker.feed(NAME, load, { from: records, to: records * (1 + DELTA) });
  await workThrough(options);
  print(
    `Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown'}, ${new Date().toISOString().slice(0, 10)}; Kafka Streams ${VERSION}, ` +
      `${records} records, ${stateMib.toFixed(0)} MiB of state; its snapshot took ${snapshot.wallS.toFixed(1)} s; ${DELTA * 100} % more records came after it`,
  );
  const found: { readonly cold: StartUp; readonly warm: StartUp }[] = [];
  for (let round = 1; round <= rounds; round++) {
    // Each goes first in turn: what the machine does beside comes and goes.
    const first = round % 2 === 0 ? await startUp(options, { isWarm: true }) : undefined;
    const cold = await startUp(options, { isWarm: false });
    const warm = first ?? (await startUp(options, { isWarm: true }));
    found.push({ cold, warm });
    print(
      `round ${round}: cold ${cold.wallS.toFixed(1)} s, ${cold.cpuS.toFixed(1)} CPU s, ${cold.replayed} records replayed; ` +
        `warm ${warm.wallS.toFixed(1)} s (restore ${warm.restoreS.toFixed(1)}), ${warm.cpuS.toFixed(1)} CPU s, ${warm.replayed} records; ` +
        `cold takes ${(cold.wallS / warm.wallS).toFixed(1)} times as long`,
    );
  }
  const [wall, cpu] = [
    found.map(({ cold, warm }) => cold.wallS / warm.wallS),
    found.map(({ cold, warm }) => cold.cpuS / warm.cpuS),
  ];
  print(
    `median of ${rounds} rounds: cold takes ${median(wall).toFixed(1)} times as long, and ${median(cpu).toFixed(1)} times the CPU`,
  );
} finally {
  ended.abort();
  await rm(directory, { recursive: true, force: true });
}

/** One life of the application, until it has processed all that there is, and has closed. */
async function workThrough(options: StreamsAppOptions): Promise<void> {
  await using application = await StreamsApp.start(options);
  await untilCommitted(options.broker, { group: NAME, topics: NAME });
  await application.close();
}

/** On an empty disk. */
async function startUp(options: StreamsAppOptions, { isWarm }: { readonly isWarm: boolean }): Promise<StartUp> {
  await rm(stateDir, { recursive: true });
  await mkdir(stateDir);
  // How long the broker still believes in the killed process is its session timeout, and no part of starting.
  while ((await options.broker.memberCount(NAME)) > 0) await delay(100);
  const startedMs = performance.now();
  const restore = isWarm ? await warmstate('restore') : undefined;
  await using application = await StreamsApp.start(options);
  const wallS = (performance.now() - startedMs) / 1000;
  const { cpuS } = await usageOf(application.pid);
  const replayed = application.restorations.reduce((sum, { totalRestored }) => sum + totalRestored, 0n);
  await application.kill();
  return { wallS, cpuS: cpuS + (restore?.cpuS ?? 0), restoreS: restore?.wallS ?? 0, replayed };
}

function warmstate(command: 'snapshot' | 'restore'): Promise<Cost> {
  const flags = {
    'state-dir': stateDir,
    'application-id': NAME,
    'processing-guarantee': 'at_least_once',
    destination: `file://${join(directory, 'repository')}`,
    instance: 'bench',
    lineage: 'bench',
  };
  const args = Object.entries(flags).flatMap(([flag, value]) => [`--${flag}`, value]);
  return measure({ line: [...START, MAIN, command, ...args] }, join(directory, 'cost'));
}

async function bytesBelow(path: string): Promise<number> {
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  const sizes = await Promise.all(files.map(async (file) => (await stat(join(file.parentPath, file.name))).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}
