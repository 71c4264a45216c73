import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemRandom } from '../../src/base/clock.ts';
import { mapBounded } from '../../src/base/concurrency.ts';
import { openRepository } from '../../src/repository/repository.ts';
import { verify } from '../../src/restore/verify.ts';
import { startServer, type TestServer } from '../support/s3-server/real-servers.ts';
import { destinationOn, openStoreOn } from '../support/s3-server/s3-destination.ts';
import { APPLICATION, hashesOf, Scenario } from '../support/scenario.ts';
import { openTempDirectory, type TempDirectory } from '../support/temp-directory.ts';
import { TROUBLES, type Trouble, TroubleProxy } from '../support/trouble-proxy.ts';
import { type Ended, warmstate } from '../support/warmstate.ts';

type Hashes = Readonly<Record<string, string>>;
type Passed = TroubleProxy['passedBytes'];
type Kind = Trouble['kind'];

const TASKS = ['0_0', '0_1', '0_2'];
const TABLE_BYTES = 300 * 1024;
const signal = AbortSignal.timeout(15 * 60_000);
const PUBLISHED_AT_ONCE = 4;
/** A request that moves no byte is given up after a minute; one before it may have come through late. */
const SNAPSHOT_MS_MAX = 180_000;
/** A restore that has not ended ten seconds after its deadline is ended with 14. */
const DEADLINE = '60s';
/** Longer than a busy machine keeps a program from the processor. */
const STALL_TIMEOUT = '15s';
/** Of all the bytes that pass in a direction: from the first request to the last answer. */
const SNAPSHOT_MOMENTS = [
  ['up', 0],
  ['up', 0.4],
  ['up', 0.95],
  ['down', 0.8],
] as const;
const RESTORE_MOMENTS = [
  ['up', 0.6],
  ['down', 0],
  ['down', 0.4],
  ['down', 0.95],
] as const;
const SLOW: readonly Kind[] = ['delay', 'throttle'];
const UNTOLD: readonly Kind[] = ['blackhole', 'halve'];

interface Case {
  readonly name: string;
  /** Its part of the bucket, for nobody else. */
  readonly part: string;
  readonly trouble: Omit<Trouble, 'afterBytes'> & { readonly fraction: number };
}

const snapshotCases = TROUBLES.flatMap((kind) => casesOf(kind, 'snapshot', SNAPSHOT_MOMENTS));
const restoreCases = TROUBLES.flatMap((kind) => casesOf(kind, 'restore', RESTORE_MOMENTS));

let server: TestServer;
let scenario: Scenario;
let scratch: TempDirectory;
let first: Hashes;
let second: Hashes;
let whole: { readonly snapshot: Passed; readonly restore: Passed };

/** Every part of a snapshot holds the first state, every part of a restore the second, which lies on the disk. */
beforeAll(async () => {
  server = await startServer('versitygw');
  scenario = await Scenario.open();
  scratch = await openTempDirectory();
  const databases = [];
  for (const [index, task] of TASKS.entries()) databases.push(await scenario.plantTask(task, tablesFrom(10 * index)));
  first = await scenario.hashes();
  await publish(['whole', ...snapshotCases.map(({ part }) => part)]);
  for (const [index, database] of databases.entries()) database.change({ add: tablesFrom(100 + 10 * index) });
  for (const task of TASKS) await scenario.checkpoint(task, 200);
  second = await scenario.hashes();
  await publish(restoreCases.map(({ part }) => part));
  const snapshot = await throughProxy(undefined, (endpoint) => run('snapshot', { endpoint, part: 'whole' }));
  const to = join(scratch.path, 'whole');
  const restore = await throughProxy(undefined, (endpoint) => run('restore', { endpoint, part: 'whole', to }));
  expect([snapshot.ended, restore.ended]).toMatchObject([{ code: 0 }, { code: 0 }]);
  whole = { snapshot: snapshot.passed, restore: restore.passed };
});

afterAll(async () => {
  await scratch?.[Symbol.asyncDispose]();
  await scenario?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

describe.concurrent('a snapshot ends well or with 6 or 8, and offered is the state before or the new one, where the network does', () => {
  test.for(longestFirst(snapshotCases))('$name', async ({ part, trouble }) => {
    const { ended, durationMs } = await throughProxy(troubleIn('snapshot', trouble), (endpoint) =>
      run('snapshot', { endpoint, part }),
    );
    const isSurvived = trouble.meets === 'one' || SLOW.includes(trouble.kind);
    expect(isSurvived ? [0] : [6, 8], ended.stderr).toContain(ended.code);
    expect(durationMs).toBeLessThan(SNAPSHOT_MS_MAX);
    expect(await problemsOf(part)).toEqual([]);
    const restored = await restoreFrom(part, join(scratch.path, part));
    const isNew = isDeepStrictEqual(restored, second);
    expect(restored).toEqual(isNew ? second : first);
    expect(isNew || !isSurvived).toBe(true);
  });
});

describe.concurrent('a restore ends well or with 6 or 8 in its time, with whole tasks or none, where the network does', () => {
  test.for(longestFirst(restoreCases))('$name', async ({ part, trouble }) => {
    const to = join(scratch.path, part);
    const { ended } = await throughProxy(troubleIn('restore', trouble), (endpoint) =>
      run('restore', { endpoint, part, to }),
    );
    const isSurvived = SLOW.includes(trouble.kind) || (trouble.meets === 'one' && !UNTOLD.includes(trouble.kind));
    const codes = isSurvived ? [0] : trouble.meets === 'one' ? [0, 6, 8] : [6, 8];
    expect(codes, ended.stderr).toContain(ended.code);
    const tasks = await expectWholeTasks(to);
    expect(tasks.size === TASKS.length || ended.code !== 0).toBe(true);
    expect(await restoreFrom(part, to)).toEqual(second); // The next one fills it.
  });
});

test('a restore for which the network is too slow ends with 8 at its deadline, and keeps what is whole', async () => {
  const to = join(scratch.path, 'late');
  const trouble = { kind: 'throttle', meets: 'all', direction: 'down', afterBytes: 0 } as const;
  const env = { WARMSTATE_DEADLINE: '3s', WARMSTATE_CONCURRENCY: '1' };
  const { ended } = await throughProxy(trouble, (endpoint) => run('restore', { endpoint, part: 'whole', to, env }));
  expect(ended.code, ended.stderr).toBe(8);
  await expectWholeTasks(to);
  expect(await restoreFrom('whole', to)).toEqual(second);
});

async function expectWholeTasks(stateDir: string): Promise<ReadonlySet<string | undefined>> {
  const left = await hashesOf(stateDir);
  const tasks = new Set(Object.keys(left).map(taskOf));
  expect(left).toEqual(Object.fromEntries(Object.entries(second).filter(([path]) => tasks.has(taskOf(path)))));
  expect(await stagingIn(stateDir)).toEqual([]);
  return tasks;
}

/** Those in which a program waits for a long time begin first. */
function longestFirst(cases: readonly Case[]): readonly Case[] {
  const waits = ({ trouble }: Case): number => Number(UNTOLD.includes(trouble.kind)) + Number(trouble.meets === 'all');
  return cases.toSorted((a, b) => waits(b) - waits(a));
}

function taskOf(path: string): string | undefined {
  return path.split('/')[1];
}

function casesOf(
  kind: Kind,
  command: string,
  moments: typeof SNAPSHOT_MOMENTS | typeof RESTORE_MOMENTS,
): readonly Case[] {
  const meetings = SLOW.includes(kind) ? (['all'] as const) : (['one', 'all'] as const);
  return meetings.flatMap((meets) =>
    moments.map(([direction, fraction], index) => {
      const name = `${kind} ${meets} after ${fraction * 100} % ${direction}`;
      return { name, part: `${command}-${kind}-${meets}-${index}`, trouble: { kind, meets, direction, fraction } };
    }),
  );
}

function troubleIn(command: 'snapshot' | 'restore', { fraction, ...trouble }: Case['trouble']): Trouble {
  return { ...trouble, afterBytes: Math.floor(whole[command][trouble.direction] * fraction) };
}

function tablesFrom(number: number): readonly { readonly number: number; readonly sizeBytes: number }[] {
  return [1, 2, 3].map((index) => ({ number: number + index, sizeBytes: TABLE_BYTES }));
}

async function publish(parts: readonly string[]): Promise<void> {
  await mapBounded(parts, { limit: PUBLISHED_AT_ONCE, signal }, (part) =>
    scenario.snapshot({ store: openStoreOn(server, part), compression: 'none' }),
  );
}

async function throughProxy(
  trouble: Trouble | undefined,
  work: (endpoint: string) => Promise<Ended>,
): Promise<{ readonly ended: Ended; readonly passed: Passed; readonly durationMs: number }> {
  await using proxy = await TroubleProxy.open(server.endpoint);
  proxy.script(trouble);
  const startedAtMs = performance.now();
  const ended = await work(proxy.endpoint);
  expect(proxy.hasBegun, JSON.stringify(trouble)).toBe(trouble !== undefined);
  return { ended, passed: proxy.passedBytes, durationMs: performance.now() - startedAtMs };
}

interface RunOptions {
  readonly endpoint: string;
  readonly part: string;
  /** The state directory, where it is not that of the scenario. */
  readonly to?: string;
  readonly env?: Readonly<Record<string, string>>;
}

async function run(command: 'snapshot' | 'restore', { endpoint, part, to, env = {} }: RunOptions): Promise<Ended> {
  if (to !== undefined) await mkdir(to);
  return warmstate([command], {
    env: {
      ...scenario.environment,
      ...destinationOn({ ...server, endpoint }, part),
      WARMSTATE_COMPRESSION: 'none',
      WARMSTATE_DEADLINE: DEADLINE,
      WARMSTATE_STALL_TIMEOUT: STALL_TIMEOUT,
      WARMSTATE_ON_FAILURE: 'fail',
      ...(to === undefined ? {} : { WARMSTATE_STATE_DIR: to }),
      ...env,
    },
  });
}

/** What a pod finds that starts when the network is well again. */
async function restoreFrom(part: string, stateDir: string): Promise<Hashes> {
  await mkdir(stateDir, { recursive: true });
  await scenario.restore({ store: openStoreOn(server, part), stateDir });
  return hashesOf(stateDir);
}

async function problemsOf(part: string): Promise<readonly unknown[]> {
  const location = { application: APPLICATION, lineage: 'test' };
  const nothing = (): void => undefined;
  const repository = await openRepository(openStoreOn(server, part), { ...location, notice: nothing, signal });
  return (
    await verify(repository, {
      names: [],
      concurrency: 4,
      program: 'test',
      random: systemRandom,
      emit: nothing,
      signal,
    })
  ).problems;
}

async function stagingIn(stateDir: string): Promise<readonly string[]> {
  const names = await readdir(join(stateDir, '.warmstate')).catch(() => []);
  return names.filter((name) => name !== 'restore.json');
}
