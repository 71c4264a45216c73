import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Broker } from '../support/kafka/broker.ts';
import { type Guarantee, type PrintedTask, ProtectedApp } from '../support/kafka/protected-app.ts';
import type { Load } from '../support/model.ts';
import { warmstate } from '../support/warmstate.ts';

const LOAD: Load = { keys: 300, rows: 200, items: 40, stepMs: 2_000, payloadBytes: 60 };
const FIRST = 3_000;
const MORE = 9_000;
const PARTITIONS = 2;
const TASKS = ['0_0', '0_1', '1_0', '1_1', 'global'];
/** Of these changelogs are the application's own: no reset touches what a global table reads. */
const OWN = ['0_0', '0_1', '1_0', '1_1'];
const CHANGELOGS = ['agg', 'win', 'mem', 'tab'];
const TEST_MS_MAX = 12 * 60_000;

const ended = new AbortController();
const signal = AbortSignal.any([ended.signal, AbortSignal.timeout(3 * TEST_MS_MAX)]);
const held = new AsyncDisposableStack();
let broker: Broker;
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'warmstate-history-'));
  held.defer(() => rm(directory, { recursive: true, force: true }));
  broker = held.use(await Broker.start(signal));
});

afterAll(async () => {
  ended.abort();
  await held.disposeAsync();
});

function open(name: string, guarantee: Guarantee, changes: { readonly broker?: Broker } = {}): Promise<ProtectedApp> {
  const options = { name, version: '4.2.2', guarantee, broker, load: LOAD, partitions: PARTITIONS, asksBrokers: true };
  return ProtectedApp.open({ ...options, directory, signal, ...changes });
}

/** A life that ends with everything on disk. */
async function live(app: ProtectedApp, records: number): Promise<void> {
  await using application = await app.start({ isCalm: true });
  await application.caughtUp(records, LOAD);
  expect(await application.differencesFrom(records, LOAD)).toEqual([]);
  await application.close();
}

async function restoreAfresh(
  app: ProtectedApp,
  flags: Parameters<ProtectedApp['restore']>[0] = {},
): Promise<readonly PrintedTask[]> {
  await app.loseDisk();
  return app.restore(flags);
}

/** The task with its decision and, where there is one, the reason. */
function decisions(tasks: readonly PrintedTask[]): readonly string[] {
  return tasks.map(({ task, decision, reason }) => [task, decision, reason].filter((part) => part !== null).join(' '));
}

const NOBODY = '127.0.0.1:1';

describe('with brokers that may be asked', () => {
  test('a reset, a changelog created anew, empty and longer than before: none of it comes back warm', {
    timeout: TEST_MS_MAX,
  }, async () => {
    const app = await open('reset', 'at_least_once');
    await app.feed(0, FIRST);
    await live(app, FIRST);
    expect((await app.snapshot()).tasks.map(({ task, quality }) => `${task} ${quality}`)).toEqual(
      TASKS.map((task) => `${task} clean`),
    );
    const listed = await warmstate(
      [
        'list',
        '--destination',
        `file://${app.repository}`,
        '--application-id',
        app.name,
        '--bootstrap-servers',
        broker.bootstrap,
      ],
      { signal },
    );
    expect(listed).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/STATE .* REPLAY .*BEST IN\n(?:.* 0  +\d+-pod-0-.*\n){5}/),
    });
    const untouched = await restoreAfresh(app);
    expect(decisions(untouched)).toEqual(TASKS.map((task) => `${task} warm`));
    expect(untouched.map(({ replayRecords }) => replayRecords)).toEqual(TASKS.map(() => 0));

    // What kafka-streams-application-reset does to them.
    for (const store of CHANGELOGS) await broker.deleteTopic(`${app.name}-${store}-changelog`);
    const gone = await restoreAfresh(app);
    expect(decisions(gone)).toEqual([...OWN.map((task) => `${task} cold topic_changed`), 'global warm']);
    expect(gone[0]?.message).toMatch(/^the topic reset-\w+-changelog does not exist$/);

    // A new life creates them: empty, for nothing is left to read.
    await app.loseDisk();
    {
      await using application = await app.start({ isCalm: true });
      await application.close();
    }
    const empty = await restoreAfresh(app);
    expect(decisions(empty)).toEqual([...OWN.map((task) => `${task} cold topic_changed`), 'global warm']);
    expect(empty[0]?.message).toMatch(
      /^the topic reset-\w+-changelog is another one now: its id was .{22} and is .{22}$/,
    );

    // Longer than ever: from offsets alone nobody would see it.
    await app.loseDisk();
    await app.feed(FIRST, FIRST + MORE);
    {
      await using application = await app.start({ isCalm: true });
      await application.caughtUp(FIRST + MORE, LOAD);
      await application.close();
    }
    const blind = await restoreAfresh(app, { 'bootstrap-servers': NOBODY });
    expect(decisions(blind)).toEqual(TASKS.map((task) => `${task} warm`));
    const longer = await restoreAfresh(app);
    expect(decisions(longer)).toEqual([...OWN.map((task) => `${task} cold topic_changed`), 'global warm']);

    // What is on disk after it is stored in place of what was further.
    {
      await using application = await app.start({ isCalm: true });
      await application.close();
    }
    const anew = await app.snapshot();
    expect(
      anew.tasks.map(({ task, outcome }) => `${task} ${outcome}`).filter((line) => !line.startsWith('global')),
    ).toEqual(OWN.map((task) => `${task} captured`));
    const back = await restoreAfresh(app);
    expect(decisions(back)).toEqual(TASKS.map((task) => `${task} warm`));
    expect(back.filter(({ task }) => task !== 'global').map(({ snapshot }) => snapshot)).toEqual(
      OWN.map(() => anew.snapshot),
    );
  });

  test('a directory on the volume whose topics became others is taken away, and is not captured', {
    timeout: TEST_MS_MAX,
  }, async () => {
    const app = await open('volume', 'at_least_once');
    await app.feed(0, FIRST);
    await live(app, FIRST);
    await app.snapshot();
    for (const store of CHANGELOGS) await broker.deleteTopic(`${app.name}-${store}-changelog`);
    const again = await app.snapshot();
    expect(again.tasks.map(({ task, outcome, reason }) => `${task} ${outcome} ${reason}`)).toEqual([
      ...OWN.map((task) => `${task} uncapturable topic_changed`),
      'global unchanged null',
    ]);
    expect(decisions(await app.restore())).toEqual([
      ...OWN.map((task) => `${task} cold topic_changed`),
      'global local',
    ]);
    expect((await app.inspect()).tasks.map(({ task }) => task)).toEqual(['global']);
  });

  test('state of another cluster is not this one’s, and deletions are not kept for longer than brokers keep them', {
    timeout: TEST_MS_MAX,
  }, async () => {
    await using other = await Broker.start(signal, { 'log.cleaner.delete.retention.ms': 1000 });
    const app = await open('cluster', 'at_least_once');
    await app.feed(0, FIRST);
    await live(app, FIRST);
    await app.snapshot();

    const there = await open('cluster', 'at_least_once', { broker: other });
    await there.feed(0, FIRST + MORE);
    await there.loseDisk();
    {
      await using application = await there.start({ isCalm: true });
      await application.caughtUp(FIRST + MORE, LOAD);
      await application.close();
    }
    expect(decisions(await restoreAfresh(there))).toEqual(TASKS.map((task) => `${task} cold topic_changed`));

    await live(there, FIRST + MORE);
    await there.snapshot();
    await delay(2000);
    // Nothing came since: it has no age.
    expect(decisions(await restoreAfresh(there, { 'max-age': '1s' }))).toEqual(TASKS.map((task) => `${task} warm`));
    expect(decisions(await restoreAfresh(there, { 'max-age': '1s', 'bootstrap-servers': NOBODY }))).toEqual(
      TASKS.map((task) => `${task} cold too_old`),
    );
    await there.feed(FIRST + MORE, FIRST + 2 * MORE);
    {
      await using application = await there.start({ isCalm: true });
      await application.caughtUp(FIRST + 2 * MORE, LOAD);
      await application.kill();
    }
    const old = await restoreAfresh(there);
    expect(decisions(old)).toEqual([...OWN.map((task) => `${task} cold too_old`), 'global warm']);
    expect(old[0]?.message).toMatch(/keeps deletions for 1.0 s \(delete.retention.ms\)$/);
    expect(old[0]?.replayRecords).toBeGreaterThan(0);
    // For the first cluster what is newer is of another history; its own state comes back.
    expect(decisions(await restoreAfresh(app))).toEqual(TASKS.map((task) => `${task} warm topic_changed`));
  });

  test('idle state of an exactly-once application has no age, and its guarantee shows', {
    timeout: TEST_MS_MAX,
  }, async () => {
    const app = await open('idle', 'exactly_once_v2');
    await app.feed(0, FIRST);
    await live(app, FIRST);
    await app.snapshot();
    await delay(2000);
    const idle = await restoreAfresh(app, { 'max-age': '1s' });
    expect(decisions(idle)).toEqual(TASKS.map((task) => `${task} warm`));
    // The marks of its last transactions.
    expect(idle.filter(({ replayRecords = 99 }) => replayRecords > 4)).toEqual([]);

    const flags = [
      '--state-dir',
      app.stateDir,
      '--application-id',
      app.name,
      '--destination',
      `file://${app.repository}`,
    ];
    const asked = [...flags, '--lineage', 'test', '--bootstrap-servers', broker.bootstrap];
    const doctor = (guarantee: Guarantee) =>
      warmstate(['doctor', ...asked, '--processing-guarantee', guarantee], { signal });
    expect((await doctor('exactly_once_v2')).stdout).toMatch(/ok +brokers +they answer, and show 4 topics/);
    expect((await doctor('at_least_once')).stdout).toContain(
      'they know transactional ids of the application, and --processing-guarantee is at_least_once',
    );
    const doubtful = await warmstate(
      [
        'restore',
        ...asked,
        '--instance',
        'other',
        '--processing-guarantee',
        'at_least_once',
        '--dry-run',
        '--log-format',
        'json',
      ],
      { signal },
    );
    expect(doubtful.stderr.split('\n').filter((line) => line.includes('"guarantee-doubtful"'))).toHaveLength(1);
  });
});

test('brokers that are silent keep nobody from starting, and are told of once', { timeout: TEST_MS_MAX }, async () => {
  const app = await open('silent', 'at_least_once');
  await app.feed(0, FIRST);
  await live(app, FIRST);
  await app.snapshot();
  expect(decisions(await restoreAfresh(app, { 'bootstrap-servers': NOBODY }))).toEqual(
    TASKS.map((task) => `${task} warm`),
  );
});
