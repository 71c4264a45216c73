/**
 * What `warmstate run` costs the application beside it: a real Kafka Streams application works through the same records
 * alone and with the compiled sidecar, in turns. `npm run bench:sidecar`, with `-- --rounds N --records N --interval 5s`. Needs a JDK and
 * Maven. Unless told otherwise the sidecar publishes every five seconds, sixty times as often as by default; at rest it has its defaults.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Broker } from '../test/support/kafka/broker.ts';
import { StreamsApp } from '../test/support/kafka/streams-app.ts';
import type { Load } from '../test/support/model.ts';
import { untilCommitted } from './committed.ts';
import { MAIN, START } from './installed.ts';
import { median, print } from './report.ts';
import { type Usage, usageOf } from './usage.ts';

const VERSION = '4.2.2';
const TOPICS = 'bench';
const PARTITIONS = 4;
const LOAD: Load = { keys: 50_000, rows: 10_000, items: 1000, stepMs: 100, payloadBytes: 200 };
/** Tables of the size that Kafka Streams' own default makes would come too rarely in so short a time. */
const WRITE_BUFFER_BYTES = 1024 * 1024;
const SETTLE_MS = 15_000;
const REST_MS = 60_000;

interface Measured {
  readonly recordsPerSecond: number;
  /** Of the application, for the same records. */
  readonly cpuS: number;
  /** Of the sidecar, while the application worked. */
  readonly sidecar: (Usage & { readonly wallS: number; readonly snapshots: number }) | undefined;
}

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    records: { type: 'string', default: '250000' },
    interval: { type: 'string', default: '5s' },
  },
});
const rounds = Number(values.rounds);
const records = Number(values.records);
const ended = new AbortController();
const directory = await mkdtemp(join(process.env['WARMSTATE_BENCH_DIR'] ?? tmpdir(), 'warmstate-bench-'));
try {
  await using broker = await Broker.start(ended.signal);
  await broker.createTopics(TOPICS, PARTITIONS);
  await broker.feed(TOPICS, LOAD, { from: 0, to: records });
  print(
    `Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown'}, ${new Date().toISOString().slice(0, 10)}; Kafka Streams ${VERSION}, ${records} records, every ${values.interval}`,
  );
  await measure(broker, { name: 'warm-up', hasSidecar: false });
  const ratios: { readonly throughput: number; readonly cpu: number; readonly share: number }[] = [];
  for (let round = 1; round <= rounds; round++) {
    // Each goes first in turn: what the machine does beside comes and goes.
    const order = round % 2 === 0 ? [true, false] : [false, true];
    const both = new Map<boolean, Measured>();
    for (const hasSidecar of order)
      both.set(hasSidecar, await measure(broker, { name: `round-${round}-${String(hasSidecar)}`, hasSidecar }));
    const [alone, beside] = [both.get(false), both.get(true)];
    if (alone === undefined || beside?.sidecar === undefined) continue;
    const { cpuS, wallS, peakMb, snapshots } = beside.sidecar;
    const ratio = {
      throughput: beside.recordsPerSecond / alone.recordsPerSecond,
      cpu: beside.cpuS / alone.cpuS,
      share: cpuS / beside.cpuS,
    };
    ratios.push(ratio);
    print(
      `round ${round}: alone ${alone.recordsPerSecond.toFixed(0)}/s, beside run ${beside.recordsPerSecond.toFixed(0)}/s: ${percent(ratio.throughput)}; ` +
        `CPU of the application ${alone.cpuS.toFixed(1)} and ${beside.cpuS.toFixed(1)} s: ${percent(ratio.cpu)}; ` +
        `run: ${cpuS.toFixed(1)} s, ${percent(cpuS / wallS)} of a core, peak ${peakMb.toFixed(0)} MB, ${snapshots} snapshots`,
    );
  }
  print(
    `median of ${rounds} rounds: throughput beside run ${percent(median(ratios.map(({ throughput }) => throughput)))}, ` +
      `CPU of the application ${percent(median(ratios.map(({ cpu }) => cpu)))}, ` +
      `CPU of run ${percent(median(ratios.map(({ share }) => share)))} of the application's`,
  );
  await measureRest(broker);
} finally {
  ended.abort();
  await rm(directory, { recursive: true, force: true });
}

/** One application of its own, from RUNNING until everything in its topics is committed. */
async function measure(
  broker: Broker,
  { name, hasSidecar }: { readonly name: string; readonly hasSidecar: boolean },
): Promise<Measured> {
  const stateDir = join(directory, name, 'state');
  await mkdir(stateDir, { recursive: true });
  const log: string[] = [];
  await using sidecar = hasSidecar ? await startSidecar(name, { stateDir, interval: values.interval, log }) : undefined;
  await using application = await startApplication(broker, { name, stateDir });
  const before = sidecar === undefined ? undefined : await usageOf(sidecar.pid);
  const started = await usageOf(application.pid);
  const startedMs = performance.now();
  await untilCommitted(broker, { group: name, topics: TOPICS });
  const wallS = (performance.now() - startedMs) / 1000;
  const cpuS = (await usageOf(application.pid)).cpuS - started.cpuS;
  const after = sidecar === undefined ? undefined : await usageOf(sidecar.pid);
  await application.kill();
  const usage =
    before === undefined || after === undefined
      ? undefined
      : {
          cpuS: after.cpuS - before.cpuS,
          peakMb: after.peakMb,
          wallS,
          snapshots: log.join('').split('"published"').length - 1,
        };
  await sidecar?.[Symbol.asyncDispose]();
  await rm(join(directory, name), { recursive: true });
  return { recordsPerSecond: records / wallS, cpuS, sidecar: usage };
}

/** With everything done and nothing to do, and the settings that nobody changed. */
async function measureRest(broker: Broker): Promise<void> {
  const name = 'rest';
  const stateDir = join(directory, name, 'state');
  await mkdir(stateDir, { recursive: true });
  await using application = await startApplication(broker, { name, stateDir });
  await untilCommitted(broker, { group: name, topics: TOPICS });
  await using sidecar = await startSidecar(name, { stateDir, interval: '5m', log: [] });
  await delay(SETTLE_MS);
  const before = await usageOf(sidecar.pid);
  const startedMs = performance.now();
  await delay(REST_MS);
  const wallS = (performance.now() - startedMs) / 1000;
  const after = await usageOf(sidecar.pid);
  print(
    `at rest, ${2 * PARTITIONS + 1} tasks: ${percent((after.cpuS - before.cpuS) / wallS)} of a core, peak ${after.peakMb.toFixed(0)} MB`,
  );
  await application.kill();
}

function startApplication(
  broker: Broker,
  { name, stateDir }: { readonly name: string; readonly stateDir: string },
): Promise<StreamsApp> {
  return StreamsApp.start({
    version: VERSION,
    guarantee: 'at_least_once',
    broker,
    applicationId: name,
    topics: TOPICS,
    stateDir,
    writeBufferBytes: WRITE_BUFFER_BYTES,
    signal: ended.signal,
  });
}

async function startSidecar(
  name: string,
  { stateDir, interval, log }: { readonly stateDir: string; readonly interval: string; readonly log: string[] },
): Promise<AsyncDisposable & { readonly pid: number }> {
  const flags = {
    'state-dir': stateDir,
    'application-id': name,
    'processing-guarantee': 'at_least_once',
    destination: `file://${join(directory, name, 'repository')}`,
    instance: 'bench',
    lineage: 'bench',
    listen: '127.0.0.1:0',
    'log-format': 'json',
    interval,
  };
  const args = Object.entries(flags).flatMap(([flag, value]) => [`--${flag}`, value]);
  const [program = '', ...start] = START;
  const child = spawn(program, [...start, MAIN, 'run', ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
  const exited = once(child, 'exit');
  child.stderr.setEncoding('utf8').on('data', (text: string) => log.push(text));
  await once(child.stderr, 'data'); // It has begun.
  return {
    pid: child.pid ?? 0,
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

function percent(ratio: number): string {
  return `${(ratio * 100).toFixed(1)} %`;
}
