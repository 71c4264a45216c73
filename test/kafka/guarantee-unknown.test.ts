import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Broker } from '../support/kafka/broker.ts';
import { departuresFromDelta } from '../support/kafka/delta.ts';
import { ImageChecker } from '../support/kafka/image-checker.ts';
import { ProtectedApp } from '../support/kafka/protected-app.ts';
import { checkAll, closedTasks } from '../support/kafka/published.ts';
import { SteadyLoad } from '../support/kafka/steady-load.ts';
import type { Load } from '../support/model.ts';

const LOAD: Load = { keys: 800, rows: 200, items: 80, stepMs: 150, payloadBytes: 60 };
const TASKS = ['0_0', '0_1', '1_0', '1_1', 'global'];
/** Every store of every task has some of them: what has no offset yet is not offered. */
const FED_MIN = 1000;
const AUTO = { 'processing-guarantee': 'auto' } as const;
const TEST_MS_MAX = 10 * 60_000;

const ended = new AbortController();
const signal = AbortSignal.any([ended.signal, AbortSignal.timeout(2 * TEST_MS_MAX)]);
const held = new AsyncDisposableStack();
let broker: Broker;
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'warmstate-auto-'));
  held.defer(() => rm(directory, { recursive: true, force: true }));
  broker = held.use(await Broker.start(signal));
});

afterAll(async () => {
  ended.abort();
  await held.disposeAsync();
});

// Under exactly-once 4.2.2 leaves no checkpoint beside a running task, so nothing of it is valid under either guarantee; what a
// compaction leaves after the close is not, either.
test.for([
  { guarantee: 'at_least_once', reason: 'guarantee_unknown', capturesRunning: true },
  { guarantee: 'exactly_once_v2', reason: 'exactly_once_running', capturesRunning: false },
] as const)(
  'who does not say that the application is $guarantee gets what is valid under both (4.2.2)',
  { timeout: TEST_MS_MAX },
  async ({ guarantee, reason, capturesRunning }) => {
    const place = { load: LOAD, partitions: 2, directory: join(directory, guarantee) };
    const app = await ProtectedApp.open({ name: guarantee, version: '4.2.2', guarantee, broker, ...place, signal });
    await using checker = await ImageChecker.start('4.2.2', broker, signal);
    let fed: number;
    {
      await using sidecar = app.sidecar({ ...AUTO, interval: '1s' });
      {
        await using application = await app.start({ isCalm: !capturesRunning });
        await using load = SteadyLoad.start(app, { from: 0, perSecond: 1000 });
        const seen = await sidecar.until('a task is refused, and one is offered', async () => {
          const { tasks } = await sidecar.status();
          const busy = tasks.filter(({ task }) => task.startsWith('0_'));
          const offered = busy.filter(({ entry }) => entry !== null);
          const isRefused = load.fed >= FED_MIN && busy.some((task) => task.reason === reason);
          return isRefused && (offered.length > 0 || !capturesRunning) ? offered : undefined;
        });
        expect(seen.map(({ entry }) => entry?.quality)).toEqual(seen.map(() => 'clean'));
        fed = await load.stop();
        await application.caughtUp(fed, LOAD);
        await application.close();
      }
      await closedTasks(sidecar, TASKS);
      expect(await sidecar.end(), sidecar.transcript).toBe(0);
    }
    const { wrong, counts } = await checkAll(app, checker, signal);
    console.log(guarantee, counts);
    expect({ wrong, live: counts['live'] }).toEqual({ wrong: [], live: 0 });

    await app.loseDisk();
    const restored = await app.restore({ ...AUTO, tasks: 'all' });
    expect(restored.map(({ task, decision }) => [task, decision])).toEqual(TASKS.map((task) => [task, 'warm']));
    await using application = await app.start();
    expect(departuresFromDelta(application.restorations, restored, guarantee)).toEqual([]);
    expect(await application.differencesFrom(fed, LOAD)).toEqual([]);
  },
);
