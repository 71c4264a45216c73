/**
 * `npm run demo:kafka`: a real broker and a real Kafka Streams application lose a pod, once without warmstate and once
 * with it. Prints what was replayed and how long it took; ends everything that it started. Needs a JDK and Maven.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isFailure } from '../../src/base/failure.ts';
import { Broker } from '../support/kafka/broker.ts';
import { StreamsApp, type StreamsAppOptions } from '../support/kafka/streams-app.ts';
import type { Load } from '../support/model.ts';
import { warmstate } from '../support/warmstate.ts';

const LOAD: Load = { keys: 8000, rows: 3000, items: 500, stepMs: 800, payloadBytes: 300 };
const VERSION = '3.9.2';
const NAME = 'orders';
const PARTITIONS = 4;
const FIRST = 60_000;
const MORE = 3000;
const TIMEOUT_MS = 20 * 60_000;

try {
  await tell();
} catch (error) {
  if (!isFailure(error)) throw error;
  process.stderr.write(
    `cannot run the demo: ${error.message}\n${error.hint === undefined ? '' : `try: ${error.hint}\n`}`,
  );
  process.exitCode = 1;
}

async function tell(): Promise<void> {
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  await using held = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'warmstate-demo-'));
  held.defer(() => rm(directory, { recursive: true, force: true }));
  say('Starting a broker (the first time Maven fetches it and the application: a minute or two)');
  const broker = held.use(await Broker.start(signal));
  const stateDir = join(directory, 'state');
  const options: StreamsAppOptions = {
    version: VERSION,
    guarantee: 'at_least_once',
    broker,
    applicationId: NAME,
    topics: NAME,
    stateDir,
    signal,
  };
  await mkdir(stateDir);
  await broker.createTopics(NAME, PARTITIONS);

  say(
    `The application (Kafka Streams ${VERSION}) processes ${FIRST.toLocaleString('en-US')} records, and is closed for a new version`,
  );
  await broker.feed(NAME, LOAD, { from: 0, to: FIRST });
  {
    await using application = await StreamsApp.start(options);
    await application.caughtUp(FIRST, LOAD);
    await application.close();
  }
  const flags = ['--state-dir', stateDir, '--application-id', NAME, '--processing-guarantee', 'at_least_once'];
  const rest = ['--destination', `file://${directory}/repository`, '--instance', 'pod-0', '--lineage', 'demo'];
  const command = async (name: 'snapshot' | 'restore'): Promise<void> => {
    const { stdout, stderr, code } = await warmstate([name, ...flags, ...rest]);
    if (code !== 0) throw new Error(`warmstate ${name} ended with ${code}: ${stderr}`);
    process.stdout.write(`\n$ warmstate ${name} …\n${stdout}`);
  };
  await command('snapshot');

  say(`It goes on with ${MORE.toLocaleString('en-US')} records more, and is killed (kill -9)`);
  await broker.feed(NAME, LOAD, { from: FIRST, to: FIRST + MORE });
  {
    await using application = await StreamsApp.start(options);
    await application.caughtUp(FIRST + MORE, LOAD);
    await application.kill();
  }
  const loseDisk = async (): Promise<void> => {
    await rm(stateDir, { recursive: true });
    await mkdir(stateDir);
  };
  say('The disk is lost. Once without warmstate …');
  await loseDisk();
  const cold = await startUp(options);
  say('… and once with it');
  await loseDisk();
  const startedMs = performance.now();
  await command('restore');
  const restoreS = (performance.now() - startedMs) / 1000;
  const warm = await startUp(options);

  process.stdout.write(`\n${'store'.padEnd(10)}${'cold'.padStart(10)}${'warm'.padStart(10)}   records replayed\n`);
  for (const store of ['agg', 'win', 'tab', 'glob', 'mem']) {
    const [before, after] = [cold.replayed.get(store) ?? 0n, warm.replayed.get(store) ?? 0n];
    process.stdout.write(
      `${store.padEnd(10)}${String(before).padStart(10)}${String(after).padStart(10)}${store === 'mem' ? '   in memory: always in full' : ''}\n`,
    );
  }
  process.stdout.write(
    `${'seconds'.padEnd(10)}${cold.seconds.toFixed(1).padStart(10)}${warm.seconds.toFixed(1).padStart(10)}   to RUNNING, and ${restoreS.toFixed(1)} s of restore before\n`,
  );
  process.stdout.write(
    '\nEvery store equals what its records make of it, both times. Of so small a state the start of the JVM is most.\n',
  );
}

async function startUp(
  options: StreamsAppOptions,
): Promise<{ readonly seconds: number; readonly replayed: ReadonlyMap<string, bigint> }> {
  const startedMs = performance.now();
  await using application = await StreamsApp.start(options);
  const seconds = (performance.now() - startedMs) / 1000;
  await application.caughtUp(FIRST + MORE, LOAD);
  const wrong = await application.differencesFrom(FIRST + MORE, LOAD);
  if (wrong.length > 0) throw new Error(`the stores are wrong: ${wrong.slice(0, 5).join('; ')}`);
  const replayed = new Map<string, bigint>();
  for (const { store, totalRestored } of application.restorations)
    replayed.set(store, (replayed.get(store) ?? 0n) + totalRestored);
  await application.kill();
  return { seconds, replayed };
}

function say(text: string): void {
  process.stdout.write(`\n${text}\n`);
}
