/**
 * `npm run demo:kafka`: a real broker and a real Kafka Streams application lose a pod, once without warmstate and once
 * with it. Prints what was replayed and how long it took; ends everything that it started. Needs a JDK and Maven.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isFailure } from '../../src/base/failure.ts';
import { describeCount } from '../../src/base/quantity.ts';
import { Broker } from '../support/kafka/broker.ts';
import { StreamsApp, type StreamsAppOptions } from '../support/kafka/streams-app.ts';
import type { Load } from '../support/model.ts';
import { warmstate } from '../support/warmstate.ts';

const LOAD: Load = { keys: 8000, rows: 3000, items: 500, stepMs: 800, payloadBytes: 300 };
const VERSION = '3.9.2';
const NAME = 'orders';
const PARTITIONS = 4;
const FIRST = 60_000;
/** 12,000 changelog records in each task of agg and win: Kafka Streams writes a checkpoint after 10,000. */
const WHILE_RUNNING = 30_000;
const AFTER_THE_LOSS = 3000;
const ALL = FIRST + WHILE_RUNNING + AFTER_THE_LOSS;
const TIMEOUT_MS = 20 * 60_000;
const POLL_MS = 200;

const interrupted = new AbortController();
let endedBy: 'SIGINT' | 'SIGTERM' | undefined;
for (const name of ['SIGINT', 'SIGTERM'] as const) {
  process.once(name, () => {
    endedBy = name;
    interrupted.abort(new Error(`ended by ${name}`));
  });
}
try {
  await tell(AbortSignal.any([interrupted.signal, AbortSignal.timeout(TIMEOUT_MS)]));
} catch (error) {
  if (endedBy === undefined && !isFailure(error)) throw error;
  const message = endedBy === undefined && isFailure(error) ? error.message : `ended by ${endedBy}`;
  const hint = isFailure(error) && endedBy === undefined ? error.hint : undefined;
  process.stderr.write(`cannot run the demo: ${message}\n${hint === undefined ? '' : `try: ${hint}\n`}`);
  process.exitCode = endedBy === undefined ? 1 : 128 + constants.signals[endedBy];
}

async function tell(signal: AbortSignal): Promise<void> {
  await using held = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'warmstate-demo-'));
  held.defer(() => rm(directory, { recursive: true, force: true }));
  say('Starting a broker (the first time Maven fetches it and the application: a minute or two)');
  const broker = held.use(await Broker.start(signal));
  const stateDir = join(directory, 'state');
  const options = {
    version: VERSION,
    guarantee: 'at_least_once',
    broker,
    applicationId: NAME,
    topics: NAME,
    stateDir,
    signal,
  } as const;
  const command = commandOn({ stateDir, repositoryDir: join(directory, 'repository'), signal });
  await mkdir(stateDir);
  await broker.createTopics(NAME, PARTITIONS);

  say(`The application (Kafka Streams ${VERSION}) processes ${describeCount(FIRST, 'record')}, and is closed`);
  await broker.feed(NAME, LOAD, { from: 0, to: FIRST });
  {
    await using application = await StreamsApp.start(options);
    await application.caughtUp(FIRST, LOAD);
    await application.close();
  }
  process.stdout.write(`  snapshot: ${lastLine(await command('snapshot'))}\n`);

  say(
    `It is started again, and ${describeCount(WHILE_RUNNING, 'record')} more arrive; snapshots beside it, while it runs and writes`,
  );
  {
    await using application = await StreamsApp.start(options);
    await runAndSnapshot(application, options.broker, command);
    say('It is killed (kill -9), and its disk is lost');
    await application.kill();
  }
  const loseDisk = async (): Promise<void> => {
    await rm(stateDir, { recursive: true });
    await mkdir(stateDir);
  };
  await loseDisk();
  say(`${describeCount(AFTER_THE_LOSS, 'record')} more arrive. It starts: once without warmstate …`);
  await broker.feed(NAME, LOAD, { from: FIRST + WHILE_RUNNING, to: ALL });
  const cold = await startUp(options);
  say('… and, after its disk is lost again, once with it');
  await loseDisk();
  const startedMs = performance.now();
  const restored = await command('restore');
  const restoreS = (performance.now() - startedMs) / 1000;
  process.stdout.write(`\n$ warmstate restore …\n${restored}`);
  const warm = await startUp(options);
  process.stdout.write(renderComparison(cold, warm, restoreS));
}

type Command = (name: 'snapshot' | 'restore') => Promise<string>;

/** The program itself; answers what it printed. */
function commandOn(where: {
  readonly stateDir: string;
  readonly repositoryDir: string;
  readonly signal: AbortSignal;
}): Command {
  const { stateDir, repositoryDir, signal } = where;
  const flags = ['--state-dir', stateDir, '--application-id', NAME, '--processing-guarantee', 'at_least_once'];
  const rest = ['--destination', `file://${repositoryDir}`, '--instance', 'pod-0', '--lineage', 'demo'];
  return async (name) => {
    const { stdout, stderr, code } = await warmstate([name, ...flags, ...rest], { signal });
    if (code !== 0) throw new Error(`warmstate ${name} ended with ${code}: ${stderr}`);
    return stdout;
  };
}

/** One snapshot after the other, as long as records arrive that are not processed yet. */
async function runAndSnapshot(application: StreamsApp, broker: Broker, command: Command): Promise<void> {
  const state = { isDone: false };
  const processing = (async () => {
    try {
      await broker.feed(NAME, LOAD, { from: FIRST, to: FIRST + WHILE_RUNNING });
      await application.caughtUp(FIRST + WHILE_RUNNING, LOAD);
    } finally {
      state.isDone = true;
    }
  })();
  const snapshots = (async () => {
    do process.stdout.write(`  snapshot: ${lastLine(await command('snapshot'))}\n`);
    while (!state.isDone);
  })();
  const outcomes = await Promise.allSettled([processing, snapshots]);
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
}

interface StartUp {
  /** From the start of the JVM to RUNNING. */
  readonly seconds: number;
  /** By store. */
  readonly replayed: ReadonlyMap<string, bigint>;
}

async function startUp(options: StreamsAppOptions): Promise<StartUp> {
  // How long the broker still believes in the killed process is its session timeout, and no part of starting.
  while ((await options.broker.memberCount(NAME)) > 0) await delay(POLL_MS, undefined, { signal: options.signal });
  const startedMs = performance.now();
  await using application = await StreamsApp.start(options);
  const seconds = (performance.now() - startedMs) / 1000;
  // Those of the start alone: what is processed from here on is not replayed.
  const replayed = new Map<string, bigint>();
  for (const { store, totalRestored } of application.restorations)
    replayed.set(store, (replayed.get(store) ?? 0n) + totalRestored);
  await application.caughtUp(ALL, LOAD);
  const wrong = await application.differencesFrom(ALL, LOAD);
  if (wrong.length > 0) throw new Error(`the stores are wrong: ${wrong.slice(0, 5).join('; ')}`);
  await application.kill();
  return { seconds, replayed };
}

function renderComparison(cold: StartUp, warm: StartUp, restoreS: number): string {
  const stores = ['agg', 'win', 'tab', 'glob', 'mem'].map((store) => {
    const [before, after] = [cold, warm].map(({ replayed }) => String(replayed.get(store) ?? 0n));
    return renderRow([store, before, after], store === 'mem' ? 'in memory: always in full' : '');
  });
  return [
    '',
    renderRow(['store', 'cold', 'warm'], 'records replayed'),
    ...stores,
    renderRow(['seconds', cold.seconds.toFixed(1), warm.seconds.toFixed(1)], 'from the start of the JVM to RUNNING'),
    renderRow(['', '', restoreS.toFixed(1)], 'of restore before that'),
    '',
    'Every store equals what its records make of it, both times.',
    `Warm came second: what arrived after the loss (${describeCount(AFTER_THE_LOSS, 'record')}) is part of its replay.`,
    // Five runs on two busy cores: cold 5.1 to 7.7 s; warm 5.1 to 9.5 s, after 1.1 to 2.5 s of restore.
    'With so little state the seconds decide nothing, and warm may be the slower: mem is replayed both times.',
    '',
  ].join('\n');
}

function renderRow([name = '', before = '', after = '']: readonly (string | undefined)[], what: string): string {
  return `${name.padEnd(10)}${before.padStart(10)}${after.padStart(10)}   ${what}`.trimEnd();
}

function lastLine(text: string): string {
  return text.trimEnd().split('\n').at(-1) ?? '';
}

function say(text: string): void {
  process.stdout.write(`\n${text}\n`);
}
