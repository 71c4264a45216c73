import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Broker } from '../support/kafka/broker.ts';
import { departuresFromDelta } from '../support/kafka/delta.ts';
import { type Guarantee, type PrintedTask, ProtectedApp } from '../support/kafka/protected-app.ts';
import type { Release } from '../support/kafka/streams-app.ts';
import { contentsAfter, differences, type Load } from '../support/model.ts';
import type { Sidecar } from '../support/sidecar.ts';

const LOAD: Load = { keys: 300, rows: 200, items: 40, stepMs: 2_000, payloadBytes: 60 };
const SOME = 4_000;
const FLAGS = { interval: '1s', 'log-level': 'debug' };
const TASKS = ['0_0', '0_1', '1_0', '1_1', 'global'];
/** A crash loop goes on until somebody ends it; a start or an end may be missed by who looks once a second. */
const STARTS_MAX = 8;
/** Kubernetes waits longer. */
const BACK_OFF_MS = 3_000;
const TEST_MS_MAX = 10 * 60_000;

const ended = new AbortController();
const signal = AbortSignal.any([ended.signal, AbortSignal.timeout(8 * TEST_MS_MAX)]);
const held = new AsyncDisposableStack();
let broker: Broker;
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'warmstate-releases-'));
  held.defer(() => rm(directory, { recursive: true, force: true }));
  broker = held.use(await Broker.start(signal));
});

afterAll(async () => {
  ended.abort();
  await held.disposeAsync();
});

function openApp(name: string, version: string, guarantee: Guarantee = 'at_least_once'): Promise<ProtectedApp> {
  const shape = { load: LOAD, partitions: 2, directory: join(directory, name) };
  return ProtectedApp.open({ name, version, guarantee, broker, ...shape, signal });
}

/** The first release takes its records, is closed and captured. */
async function runFirst(app: ProtectedApp): Promise<void> {
  await app.feed(0, SOME);
  await using application = await app.start({ isCalm: true });
  await application.caughtUp(SOME, LOAD);
  await application.close();
  await app.snapshot();
}

function decisions(tasks: readonly PrintedTask[]): Record<string, string> {
  return Object.fromEntries(
    tasks.map(({ task, decision, reason }) => [task, reason === null ? `${decision}` : `${decision}: ${reason}`]),
  );
}

function all(word: string): Record<string, string> {
  return Object.fromEntries(TASKS.map((task) => [task, word]));
}

/** A new pod on an empty disk. */
async function restoreAs(app: ProtectedApp, version: string): Promise<readonly PrintedTask[]> {
  await app.loseDisk();
  return app.restore({ tasks: 'all', 'app-version': version, 'on-failure': 'continue' });
}

function condemned({ log }: Sidecar): boolean {
  return log.some(({ event, area }) => event === 'problem-appeared' && area === 'trial');
}

/** The life of a pod whose application cannot start over what was restored; it is started again until the run says so. */
async function loop(app: ProtectedApp, release: Release, says: RegExp): Promise<void> {
  await using sidecar = app.sidecar(FLAGS);
  await sidecar.until('it has an epoch', async () => (await sidecar.metric('warmstate_phase{phase="watching"}')) === 1);
  let starts = 0;
  for (; starts < STARTS_MAX && !condemned(sidecar); starts++) {
    await expect(app.start({ release })).rejects.toThrow(says);
    await delay(BACK_OFF_MS, undefined, { signal });
  }
  await sidecar.logged('problem-appeared', ({ area }) => area === 'trial');
  console.log(app.name, starts, 'starts');
  expect(await sidecar.end(), sidecar.transcript).toBe(0);
}

describe('a release that cannot start over what another left', () => {
  test('is started cold by the third pod: up to 4.2 a global topic that is gone (4.2.2)', {
    timeout: TEST_MS_MAX,
  }, async () => {
    const app = await openApp('moved', '4.2.2');
    await runFirst(app);
    for (const pod of ['pod-a', 'pod-b']) {
      expect(decisions(await restoreAs(app.as(pod), 'v2'))).toEqual(all('warm'));
      await loop(app.as(pod), 'OTHER_GLOBAL', /not associated with any global state store/);
    }
    expect(decisions(await restoreAs(app.as('pod-c'), 'v2'))).toEqual(all('cold: quarantined'));
    {
      await using application = await app.start({ release: 'OTHER_GLOBAL' });
      const { tab } = contentsAfter(SOME, LOAD);
      expect(differences(await application.contentsOf('glob'), tab)).toEqual([]);
    }
    // Who goes back to the first release is not concerned.
    const restored = await restoreAs(app.as('pod-d'), 'v1');
    expect(decisions(restored)).toEqual(all('warm'));
    await using application = await app.start();
    expect(departuresFromDelta(application.restorations, restored, 'at_least_once')).toEqual([]);
    expect(await application.differencesFrom(SOME, LOAD)).toEqual([]);
  });
});

// Task 0_1 is 1_1 from then on, and the other way round: what was restored of it belongs to stores that it no longer has.
test.for(['at_least_once', 'exactly_once_v2'] as const)(
  'a release in which the tasks are numbered anew is right over what another left, and is warm the next time (4.2.2, %s)',
  { timeout: TEST_MS_MAX },
  async (guarantee) => {
    const app = await openApp(`shifted-${guarantee}`, '4.2.2', guarantee);
    await runFirst(app);
    expect(decisions(await restoreAs(app, 'v2'))).toEqual(all('warm'));
    {
      await using application = await app.start({ release: 'TABLE_FIRST', isCalm: true });
      await app.feed(SOME, 2 * SOME);
      await application.caughtUp(2 * SOME, LOAD);
      expect(await application.differencesFrom(2 * SOME, LOAD)).toEqual([]);
      await application.close();
    }
    const { tasks } = await app.snapshot();
    const changelogs = tasks.map(({ task, offsets }) => [task, Object.keys(offsets).map(storeOf).sort()]);
    expect(Object.fromEntries(changelogs)).toMatchObject({ '0_0': ['tab'], '1_0': ['agg', 'win'] });

    const restored = await restoreAs(app, 'v2');
    expect(decisions(restored)).toEqual(all('warm'));
    {
      await using application = await app.start({ release: 'TABLE_FIRST' });
      expect(departuresFromDelta(application.restorations, restored, guarantee)).toEqual([]);
      expect(await application.differencesFrom(2 * SOME, LOAD)).toEqual([]);
    }
    // And back.
    expect(decisions(await restoreAs(app, 'v1'))).toEqual(all('warm'));
    await using application = await app.start();
    await application.caughtUp(2 * SOME, LOAD);
    expect(await application.differencesFrom(2 * SOME, LOAD)).toEqual([]);
  },
);

/** `<application>-<store>-changelog-<partition>` */
function storeOf(changelog: string): string {
  return changelog.split('-').at(-3) ?? changelog;
}
