import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Broker } from '../support/kafka/broker.ts';
import { ProtectedApp } from '../support/kafka/protected-app.ts';
import { changelogEnds, closedTasks, offsetsOf } from '../support/kafka/published.ts';
import type { Load } from '../support/model.ts';

const LOAD: Load = { keys: 300, rows: 200, items: 40, stepMs: 2_000, payloadBytes: 60 };
const SOME = 4_000;
const LESS = 1_000;
const TASKS = ['0_0', '0_1', '1_0', '1_1', 'global'];
const TEST_MS_MAX = 10 * 60_000;

const ended = new AbortController();
const signal = AbortSignal.any([ended.signal, AbortSignal.timeout(2 * TEST_MS_MAX)]);
const held = new AsyncDisposableStack();
let broker: Broker;
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'warmstate-thrown-'));
  held.defer(() => rm(directory, { recursive: true, force: true }));
  broker = held.use(await Broker.start(signal));
});

afterAll(async () => {
  ended.abort();
  await held.disposeAsync();
});

// Kafka Streams takes an offset beyond the end of the new topic for restored, and counts from its beginning on.
test.for(['4.2.2', '4.3.1'])(
  'a changelog that is recreated under a task is told, and what was stored of it goes (%s)',
  {
    timeout: TEST_MS_MAX,
  },
  async (version) => {
    const app = await ProtectedApp.open({
      name: `recreated-${version}`,
      version,
      guarantee: 'at_least_once',
      broker,
      load: LOAD,
      partitions: 2,
      directory: join(directory, version),
      signal,
    });
    await using sidecar = app.sidecar({ interval: '1s', 'log-level': 'debug' });
    await app.feed(0, SOME);
    {
      await using application = await app.start({ isCalm: true });
      await application.caughtUp(SOME, LOAD);
      await application.close();
    }
    await closedTasks(sidecar, TASKS);
    await broker.deleteTopic(`${app.name}-agg-changelog`);
    await app.feed(SOME, SOME + LESS);
    {
      await using application = await app.start({ isCalm: true });
      await application.caughtUp(SOME + LESS, LOAD);
      await application.close();
    }
    for (const task of ['0_0', '0_1']) {
      await sidecar.logged(
        'task-regressed',
        ({ level, msg }) => level === 'error' && msg.startsWith(`${task} was thrown`),
      );
    }
    const ends = await changelogEnds(app, broker);
    const offered = await sidecar.until('what stands there now is offered', async () => {
      const tasks = await closedTasks(sidecar, TASKS);
      const merged = Object.assign({}, ...Object.values(tasks));
      return Object.entries(ends).every(([changelog, end]) => merged[changelog] === end) ? tasks : undefined;
    });
    expect(Object.keys(offered).sort()).toEqual(TASKS);
    expect(await sidecar.metric('warmstate_task_uncapturable{task="0_0",reason="regressed"}')).toBe(1);
    expect(sidecar.log.filter(({ event, msg }) => event === 'task-regressed' && msg.startsWith('1_'))).toEqual([]);
    expect(await sidecar.end(), sidecar.transcript).toBe(0);
    await app.loseDisk();
    const restored = await app.as('pod-1').restore({ tasks: 'all' });
    expect(restored.map(({ task, decision }) => [task, decision])).toEqual(TASKS.map((task) => [task, 'warm']));
    expect(offsetsOf(restored)).toEqual(ends);
  },
);
