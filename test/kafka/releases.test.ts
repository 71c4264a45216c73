import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Broker } from '../support/kafka/broker.ts';
import { departuresFromDelta } from '../support/kafka/delta.ts';
import { type Guarantee, type PrintedTask, ProtectedApp } from '../support/kafka/protected-app.ts';
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

/** What comes after the first release, and does not start over what that left. */
type Next = NonNullable<Parameters<ProtectedApp['start']>[0]>;

/** The life of a pod whose application cannot start over what was restored; it is started again until the run says so. */
async function loop(app: ProtectedApp, next: Next, says: RegExp): Promise<void> {
  await using sidecar = app.sidecar(FLAGS);
  await sidecar.until('it has an epoch', async () => (await sidecar.metric('warmstate_phase{phase="watching"}')) === 1);
  let starts = 0;
  for (; starts < STARTS_MAX && !condemned(sidecar); starts++) {
    await expect(app.start(next)).rejects.toThrow(says);
    await delay(BACK_OFF_MS, undefined, { signal });
  }
  await sidecar.logged('problem-appeared', ({ area }) => area === 'trial');
  console.log(app.name, starts, 'starts');
  expect(await sidecar.end(), sidecar.transcript).toBe(0);
}

const LOOPS: readonly { name: string; title: string; version: string; next: Next; says: RegExp }[] = [
  {
    name: 'moved',
    title: '4.2.2 without the global topic that 4.2.2 had',
    version: '4.2.2',
    next: { release: 'OTHER_GLOBAL' },
    says: /not associated with any global state store/,
  },
  {
    name: 'shrunk',
    title: '4.3.1 without a sub-topology that 4.3.1 had',
    version: '4.3.1',
    next: { release: 'WITHOUT_TABLE' },
    says: /Metrics recorder is re-initialised with different task/,
  },
  {
    name: 'rolled-back',
    title: '4.2.2 over what 4.3.1 left',
    version: '4.3.1',
    next: { version: '4.2.2' },
    says: /Column families not opened: .*offsets/,
  },
];

describe('a release that cannot start over what another left is started cold by the third pod', () => {
  test.for(LOOPS)('$title', { timeout: TEST_MS_MAX }, async ({ name, version, next, says }) => {
    const app = await openApp(name, version);
    await runFirst(app);
    for (const pod of ['pod-a', 'pod-b']) {
      expect(decisions(await restoreAs(app.as(pod), 'v2'))).toEqual(all('warm'));
      await loop(app.as(pod), next, says);
    }
    expect(decisions(await restoreAs(app.as('pod-c'), 'v2'))).toEqual(all('cold: quarantined'));
    await expectToRun(app, next);
    // Who goes back to the first release is not concerned.
    const restored = await restoreAs(app.as('pod-d'), 'v1');
    expect(decisions(restored)).toEqual(all('warm'));
    await using application = await app.start();
    expect(departuresFromDelta(application.restorations, restored, 'at_least_once')).toEqual([]);
    expect(await application.differencesFrom(SOME, LOAD)).toEqual([]);
  });

  test('and by the first one that is told of the older release', { timeout: TEST_MS_MAX }, async () => {
    const app = await openApp('told', '4.3.1');
    await runFirst(app);
    await app.loseDisk();
    const restored = await app.restore({ tasks: 'all', 'max-layout': 'file', 'on-failure': 'continue' });
    expect(decisions(restored)).toEqual(all('cold: layout_too_new'));
    await expectToRun(app, { version: '4.2.2' });
  });
});

/** It starts, and has what its changelogs hold. */
async function expectToRun(app: ProtectedApp, next: Next): Promise<void> {
  await using application = await app.start(next);
  const { tab, glob, agg } = contentsAfter(SOME, LOAD);
  const global = next.release === 'OTHER_GLOBAL' ? tab : glob;
  expect(differences(await application.contentsOf('glob'), global)).toEqual([]);
  expect(differences(await application.contentsOf('agg'), agg)).toEqual([]);
}

// Task 0_1 is 1_1 from then on, and the other way round: what was restored of it belongs to stores that it no longer has.
test.for(
  ['4.2.2', '4.3.1'].flatMap((version) =>
    (['at_least_once', 'exactly_once_v2'] as const).map((guarantee) => ({ version, guarantee })),
  ),
)(
  'a release in which the tasks are numbered anew is right over what another left, and is warm the next time ($version, $guarantee)',
  { timeout: TEST_MS_MAX },
  async ({ version, guarantee }) => {
    const app = await openApp(`shifted-${version}-${guarantee}`, version, guarantee);
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
