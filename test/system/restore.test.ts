import { copyFile, mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { type Clock, systemClock, systemRandom } from '../../src/base/clock.ts';
import { Failure, isFailure } from '../../src/base/failure.ts';
import type { RestoreResult } from '../../src/repository/restore-result.ts';
import { openFileStore } from '../../src/storage/file-store.ts';
import type { ObjectStore } from '../../src/storage/object-store.ts';
import { isTaskName } from '../../src/streams/state-directory.ts';
import { layOut } from '../support/recorded.ts';
import { APPLICATION, listFiles, Scenario } from '../support/scenario.ts';
import { SimulatedStore } from '../support/simulated-store.ts';

const CLOSED = '3.9.2-alos-closed';
/** Its offsets lie inside RocksDB. */
/** The clock of a store is known as well as an answer of it is quick. */
const SKEW_MS = 1000;
const INSIDE = '4.3.1-eos-closed';
const TASKS = ['0_0', '0_1', '1_0', '1_1', 'global'];

function decisions({ outcome, tasks }: RestoreResult): unknown {
  return {
    outcome,
    tasks: Object.fromEntries(
      tasks.map(({ task, decision, why }) => [task, why === undefined ? decision : `${decision}: ${why.reason}`]),
    ),
  };
}

function all(word: string): Record<string, string> {
  return Object.fromEntries(TASKS.map((task) => [task, word]));
}

async function failureOf(work: Promise<unknown>): Promise<Failure> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!isFailure(error)) throw new Error('did not fail', { cause: error });
  return error;
}

describe('a snapshot restored on an empty disk', () => {
  test.each([
    '2.8.2-alos-closed',
    '3.9.2-alos-closed',
    '3.9.2-eos-closed',
    '4.2.2-alos-closed',
    '4.2.2-eos-closed',
    '4.3.1-alos-closed',
    '4.3.1-eos-closed',
  ])('is what it was, byte for byte (%s)', async (recording) => {
    await using scenario = await Scenario.open(recording);
    const before = await scenario.hashes();
    await scenario.snapshot({ guarantee: 'exactly_once_v2' });
    await scenario.loseDisk();
    const result = await scenario.restore({ guarantee: 'exactly_once_v2' });
    expect(decisions(result)).toEqual({ outcome: 'restored', tasks: all('warm') });
    expect(await scenario.hashes()).toEqual(before);
    expect(await readdir(join(scenario.stateDir, '.warmstate'))).toEqual(['restore.json']);
  });

  test('A3: has the age of its state on the checkpoint and on every directory, and tables that were born now', async () => {
    await using scenario = await Scenario.open(CLOSED);
    const { tasks } = await scenario.snapshot();
    await scenario.loseDisk();
    await scenario.restore();
    for (const task of ['0_0', 'global']) {
      const stateTimeMs = tasks.find((one) => one.task === task)?.stateTimeMs ?? 0;
      const directory = join(scenario.applicationDirectory, task);
      const [stamp = 0, ...others] = await stampsOf(directory, ['.', '.checkpoint', 'rocksdb']);
      expect(others, task).toEqual([stamp, stamp]);
      expect(Math.abs(stamp - stateTimeMs), task).toBeLessThan(SKEW_MS);
      const table = (await listFiles(directory)).find((path) => path.endsWith('.sst')) ?? '';
      expect((await stat(join(directory, table))).mtimeMs).toBeGreaterThan(stamp);
    }
  });

  test('A3: has the age of its state on its tables as well, where they hold the offsets', async () => {
    await using scenario = await Scenario.open(INSIDE);
    const { tasks } = await scenario.snapshot();
    await scenario.loseDisk();
    await scenario.restore();
    for (const task of ['0_0', 'global']) {
      const stateTimeMs = tasks.find((one) => one.task === task)?.stateTimeMs ?? 0;
      const directory = join(scenario.applicationDirectory, task);
      const tables = (await listFiles(directory)).filter((path) => path.endsWith('.sst'));
      expect(tables.length).toBeGreaterThan(1);
      const [stamp = 0, ...others] = await stampsOf(directory, ['.', 'rocksdb', ...tables]);
      expect(new Set(others), task).toEqual(new Set([stamp]));
      expect(Math.abs(stamp - stateTimeMs), task).toBeLessThan(SKEW_MS);
    }
  });

  async function stampsOf(directory: string, paths: readonly string[]): Promise<readonly number[]> {
    return Promise.all(paths.map(async (path) => (await stat(join(directory, path))).mtimeMs));
  }

  test('is as old on the disk where offsets lie inside the tables, and is left there by the next restore', async () => {
    await using scenario = await Scenario.open(INSIDE);
    const { tasks: captured } = await scenario.snapshot({ guarantee: 'exactly_once_v2' });
    await scenario.loseDisk();
    await scenario.restore({ guarantee: 'exactly_once_v2' });
    const again = await scenario.restore({ guarantee: 'exactly_once_v2' });
    expect(decisions(again)).toEqual({ outcome: 'local', tasks: all('local') });
    for (const [index, { stateTimeMs, offsets }] of again.tasks.entries()) {
      expect(Math.abs((stateTimeMs ?? 0) - (captured[index]?.stateTimeMs ?? 0))).toBeLessThan(SKEW_MS);
      expect(offsets).toEqual(captured[index]?.offsets);
    }
  });

  test.each([CLOSED, INSIDE])(
    'is unchanged for the next snapshot, which reads and sends no table (%s)',
    async (recording) => {
      await using scenario = await Scenario.open(recording);
      await scenario.snapshot();
      await scenario.loseDisk();
      await scenario.restore({ instance: 'pod-1' });
      const { tasks, bytesRead, bytesUploaded } = await scenario.snapshot({ instance: 'pod-1' });
      expect([tasks.map(({ outcome }) => outcome), bytesRead, bytesUploaded]).toEqual([
        TASKS.map(() => 'unchanged'),
        0,
        0,
      ]);
    },
  );

  test('Q8: keeps the quality it was captured with, whatever its stamps say', async () => {
    await using scenario = await Scenario.open('3.9.2-alos-flushed');
    const captured = await scenario.snapshot();
    const live = captured.tasks.filter(({ quality }) => quality === 'live').map(({ task }) => task);
    expect(live).not.toEqual([]);
    await scenario.loseDisk();
    await scenario.restore();
    // Now its tables are older than its checkpoint, as those of a clean one.
    for (const path of await listFiles(scenario.applicationDirectory)) {
      if (path.endsWith('.sst')) await utimes(join(scenario.applicationDirectory, path), 1_600_000_000, 1_600_000_000);
    }
    const again = await scenario.snapshot();
    expect(again.tasks.filter(({ quality }) => quality === 'live').map(({ task }) => task)).toEqual(live);
  });

  test('Q8: is installed live only where restore itself was told at_least_once', async () => {
    await using scenario = await Scenario.open('3.9.2-alos-flushed');
    const { tasks } = await scenario.snapshot();
    await scenario.loseDisk();
    const expected = tasks.flatMap(({ task, quality }) =>
      quality === undefined ? [] : [[task, quality === 'live' ? 'cold: guarantee_unknown' : 'warm']],
    );
    expect(new Set(expected.map(([, decision]) => decision)).size).toBe(2);
    for (const guarantee of ['auto', 'exactly_once_v2'] as const) {
      const result = decisions(await scenario.restore({ guarantee, isDryRun: true }));
      expect(result).toMatchObject({ tasks: Object.fromEntries(expected) });
    }
  });
});

describe('what lies on the volume', () => {
  test('stays where it is as good', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    const inode = (await stat(join(scenario.applicationDirectory, '0_0'))).ino;
    expect(decisions(await scenario.restore())).toEqual({ outcome: 'local', tasks: all('local') });
    expect((await stat(join(scenario.applicationDirectory, '0_0'))).ino).toBe(inode);
  });

  test('is replaced where it is worse, and its tables serve again', async () => {
    await using scenario = await Scenario.open(CLOSED);
    const before = await scenario.hashes();
    await scenario.snapshot();
    // A table is gone: whoever opens this directory dies.
    const directory = join(scenario.applicationDirectory, '0_0');
    const [table = ''] = (await listFiles(directory)).filter((path) => path.endsWith('.sst'));
    await rm(join(directory, table));
    const result = await scenario.restore();
    expect(decisions(result)).toEqual({ outcome: 'restored', tasks: { ...all('local'), '0_0': 'warm' } });
    expect(await scenario.hashes()).toEqual(before);
  });

  test('is taken away where the application cannot open it, and nothing that it could open is offered', async () => {
    await using scenario = await Scenario.open(INSIDE);
    await scenario.snapshot();
    const planned = decisions(await scenario.restore({ layoutMax: 'file' }));
    expect(planned).toEqual({ outcome: 'failed', tasks: all('cold: layout_too_new') });
    expect((await readdir(scenario.applicationDirectory)).filter(isTaskName)).toEqual([]);
  });

  test('was left by an application that could not open what 4.3 stored: nothing of that comes beside it', async () => {
    await using scenario = await Scenario.open('4.3.1-alos-closed');
    await scenario.snapshot();
    await scenario.loseDisk();
    await layOut('4.2.2-alos-closed', scenario.stateDir);
    for (const task of ['0_1', 'global']) await rm(join(scenario.applicationDirectory, task), { recursive: true });
    const volume = await scenario.hashes();
    expect(decisions(await scenario.restore({ selection: { kind: 'all' } }))).toEqual({
      outcome: 'partial',
      tasks: { ...all('local'), '0_1': 'cold: layout_too_new', global: 'cold: layout_too_new' },
    });
    expect(await scenario.hashes()).toEqual(volume);
  });

  test('was installed in the file layout and opened by nobody: what 4.3 stored may come beside it', async () => {
    await using scenario = await Scenario.open('4.2.2-alos-closed');
    await scenario.snapshot({ instance: 'pod-1' });
    await scenario.loseDisk();
    await layOut('4.3.1-alos-closed', scenario.stateDir);
    await rm(join(scenario.applicationDirectory, '0_0'), { recursive: true });
    await scenario.snapshot();
    await scenario.loseDisk();
    await scenario.restore({ selection: { kind: 'list', tasks: ['0_0'] } });
    const again = decisions(await scenario.restore({ selection: { kind: 'all' } }));
    expect(again).toEqual({ outcome: 'restored', tasks: { ...all('warm'), '0_0': 'local' } });
  });

  test('is left alone while an application holds it', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    const failure = await failureOf(scenario.restore({ state: 'running' }));
    expect([failure.kind, failure.message]).toEqual([
      'conflict',
      `cannot fill ${scenario.applicationDirectory}: an application holds it`,
    ]);
    expect((await failureOf(scenario.restore({ state: 'unknown' }))).kind).toBe('conflict');
  });

  test('may be the staging of a restore that was killed: it is gone after the next', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    await scenario.loseDisk();
    await mkdir(join(scenario.stateDir, '.warmstate/restore-killed/tasks/0_0'), { recursive: true });
    await writeFile(join(scenario.stateDir, '.warmstate/restore-killed/tasks/0_0/.checkpoint'), 'half');
    await scenario.restore();
    expect(await readdir(join(scenario.stateDir, '.warmstate'))).toEqual(['restore.json']);
  });
});

describe('what a restore is told', () => {
  test('nothing stored is no failure', async () => {
    await using scenario = await Scenario.open();
    await mkdir(scenario.stateDir);
    expect(decisions(await scenario.restore())).toEqual({ outcome: 'empty', tasks: {} });
  });

  test('tasks that are not selected stay cold', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    await scenario.loseDisk();
    const selection = { kind: 'list', tasks: ['0_1', '7_7'] } as const;
    const cold = Object.fromEntries(TASKS.map((task) => [task, 'cold: not_selected']));
    expect(decisions(await scenario.restore({ selection }))).toEqual({
      outcome: 'restored',
      tasks: { ...cold, '0_1': 'warm', '7_7': 'cold: nothing_stored' },
    });
    expect(decisions(await scenario.restore({ selection: { kind: 'none' } }))).toEqual({
      outcome: 'local',
      tasks: { ...cold, '0_1': 'local: not_selected' },
    });
  });

  test('nothing older than max-age is installed', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    await scenario.loseDisk();
    expect(decisions(await scenario.restore({ maxAgeMs: 1 }))).toEqual({
      outcome: 'empty',
      tasks: all('cold: too_old'),
    });
    expect(await readdir(scenario.stateDir)).toEqual(['.warmstate']);
  });

  const DAY_MS = 24 * 3_600_000;
  test.each([
    ['its process, whose clocks go on', { wallMs: DAY_MS, steadyMs: DAY_MS }],
    ['its machine, whose steady clock stands still', { wallMs: DAY_MS, steadyMs: 0 }],
    ['its process, and the wall clock is set back', { wallMs: 0, steadyMs: DAY_MS }],
  ])('nor what grew older while the restore stood still: %s', async (_what, passed) => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    await scenario.loseDisk();
    const since = { wallMs: 0, steadyMs: 0 };
    const clock: Clock = {
      ...systemClock,
      nowMs: () => systemClock.nowMs() + since.wallMs,
      monotonicMs: () => systemClock.monotonicMs() + since.steadyMs,
    };
    const store = await openFileStore(scenario.repositoryDir, { clock, random: systemRandom });
    const slow: ObjectStore = {
      put: (key, body, options) => store.put(key, body, options),
      get: (key, options) => {
        if (key.includes('/data/')) Object.assign(since, passed);
        return store.get(key, options);
      },
      head: (key, options) => store.head(key, options),
      list: (prefix, options) => store.list(prefix, options),
      delete: (key, options) => store.delete(key, options),
    };
    expect(decisions(await scenario.restore({ clock, store: slow }))).toEqual({
      outcome: 'empty',
      tasks: all('cold: too_old'),
    });
    expect(await scenario.hashes()).toEqual({});
    // Nor does anybody hear of it from this restore.
    expect(decisions(await scenario.restore())).toEqual({ outcome: 'restored', tasks: all('warm') });
  });

  test('max-bytes and the limit of the volume are kept; what still fits comes', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    await scenario.loseDisk();
    const result = await scenario.restore({ bytesMax: 100 * 1024, isDryRun: true });
    expect(decisions(result)).toEqual({
      outcome: 'partial',
      tasks: { ...all('warm'), '0_0': 'cold: no_space', '0_1': 'cold: no_space' },
    });
    const limited = await scenario.restore({ stateDirLimitBytes: 1000, isDryRun: true });
    expect(decisions(limited)).toEqual({ outcome: 'failed', tasks: all('cold: no_space') });
  });

  test('a dry run writes nothing', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    await scenario.loseDisk();
    const before = await listFiles(scenario.repositoryDir);
    expect(decisions(await scenario.restore({ isDryRun: true }))).toEqual({ outcome: 'restored', tasks: all('warm') });
    expect([await readdir(scenario.stateDir), await listFiles(scenario.repositoryDir)]).toEqual([[], before]);
  });

  test('a drill fills another directory and leaves no trace in the repository', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    const before = await listFiles(scenario.repositoryDir);
    const stateDir = join(scenario.path, 'drill/here');
    expect(decisions(await scenario.restore({ stateDir, isDrill: true }))).toEqual({
      outcome: 'restored',
      tasks: all('warm'),
    });
    expect(await listFiles(scenario.repositoryDir)).toEqual(before);
    expect((await readdir(join(stateDir, APPLICATION))).sort()).toEqual(TASKS);
  });

  test('a named snapshot is taken, also an older one; one that is not there is missing', async () => {
    await using scenario = await Scenario.open(CLOSED);
    const { snapshot } = await scenario.snapshot();
    await scenario.snapshot();
    await scenario.loseDisk();
    const { tasks } = await scenario.restore({ snapshot });
    expect(new Set(tasks.map((task) => task.snapshot))).toEqual(new Set([snapshot]));
    const failure = await failureOf(scenario.restore({ snapshot: '1700000000000-pod-0-aaaa/1' }));
    expect([failure.kind, failure.message]).toEqual(['missing', 'there is no snapshot 1700000000000-pod-0-aaaa/1']);
  });

  test('the deadline ends the waiting: what is installed stays, the rest starts cold', async () => {
    await using scenario = await Scenario.open(CLOSED);
    const store = new SimulatedStore();
    await scenario.snapshot({ store });
    await scenario.loseDisk();
    store.script({ operation: 'get', key: /data/, kind: 'stall', keptBytes: 10, times: Infinity });
    const signal = AbortSignal.timeout(60_000);
    const late = new AbortController();
    const ended = scenario.restore({ store, signal: AbortSignal.any([signal, late.signal]) });
    await vi.waitUntil(() => store.log.some((line) => /^get .*data/.test(line)), { timeout: 60_000 });
    late.abort(new Failure('deadline', 'the time is up'));
    const result = await ended;
    expect(decisions(result)).toEqual({ outcome: 'failed', tasks: all('cold: deadline') });
    expect(await readdir(join(scenario.stateDir, '.warmstate'))).toEqual(['restore.json']);
  });
});

describe('a damaged repository', () => {
  const damages: readonly (readonly [string, (archive: string, scenario: Scenario) => Promise<void>])[] = [
    ['truncated', async (archive) => writeFile(archive, (await readFile(archive)).subarray(0, 1000))],
    ['empty', async (archive) => writeFile(archive, '')],
    ['missing', async (archive) => rm(archive)],
    ['longer', async (archive) => writeFile(archive, Buffer.concat([await readFile(archive), Buffer.from('more')]))],
    [
      'swapped for rubbish of its size',
      async (archive) => writeFile(archive, Buffer.alloc((await stat(archive)).size, 7)),
    ],
    [
      'bit-flipped',
      async (archive) => {
        const bytes = await readFile(archive);
        const middle = bytes.length >> 1;
        bytes[middle] = (bytes[middle] ?? 0) ^ 1;
        await writeFile(archive, bytes);
      },
    ],
  ];

  test.each(damages)(
    'an object that is %s means a cold start with its reason, never a wrong directory',
    async (_how, damage) => {
      await using scenario = await Scenario.open(CLOSED);
      await scenario.snapshot();
      const before = await scenario.hashes();
      const [archive = ''] = await scenario.objects('data');
      await damage(archive, scenario);
      await scenario.loseDisk();
      const result = await scenario.restore();
      // A flipped bit may hit one file of the archive; whatever is warm is whole.
      for (const { task, decision, why } of result.tasks) {
        expect([decision, why?.reason], task).toEqual(decision === 'warm' ? ['warm', undefined] : ['cold', 'damaged']);
      }
      expect(result.tasks.some(({ decision }) => decision === 'cold')).toBe(true);
      for (const [path, hash] of Object.entries(await scenario.hashes())) expect(hash, path).toBe(before[path]);
      expect(await readdir(join(scenario.stateDir, '.warmstate'))).toEqual(['restore.json']);
    },
  );

  test('the next best entry is taken where the best is damaged', async () => {
    await using scenario = await Scenario.open(CLOSED);
    const first = await scenario.snapshot();
    // 0_0 goes on by one record: its small files are sent again, its tables are the same.
    const checkpoint = join(scenario.applicationDirectory, '0_0/.checkpoint');
    const text = (await readFile(checkpoint, 'utf8')).replace(
      /(agg-changelog 0 )(\d+)/,
      (_, head: string, offset: string) => `${head}${Number(offset) + 1}`,
    );
    await writeFile(`${checkpoint}.tmp`, text);
    await rename(`${checkpoint}.tmp`, checkpoint);
    const second = await scenario.snapshot();
    expect(second.tasks.map(({ outcome }) => outcome)).toEqual([
      'captured',
      'unchanged',
      'unchanged',
      'unchanged',
      'unchanged',
    ]);
    const archives = await scenario.objects('data');
    expect(archives).toHaveLength(2);
    await rm(archives[1] ?? '');
    await scenario.loseDisk();
    const result = await scenario.restore();
    const task = result.tasks.find((one) => one.task === '0_0');
    expect([task?.decision, task?.why?.reason, task?.snapshot]).toEqual(['warm', 'damaged', first.snapshot]);
    expect(result.tasks.filter(({ decision }) => decision === 'warm')).toHaveLength(TASKS.length);
  });

  test('local state that is worth something stays where the better entry is damaged', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    await scenario.loseDisk();
    await scenario.restore();
    for (const document of await scenario.objects('snapshots')) await writeFile(document, 'rubbish');
    for (const record of await scenario.objects('records')) await rm(record);
    expect(decisions(await scenario.restore())).toEqual({ outcome: 'local', tasks: all('local') });
  });

  test.each(['snapshots', 'records'])(
    'rubbish in %s is passed over, and what else is offered comes',
    async (folder) => {
      await using scenario = await Scenario.open(CLOSED);
      await scenario.snapshot();
      await scenario.snapshot();
      await writeFile((await scenario.objects(folder))[1] ?? '', 'rubbish');
      await scenario.loseDisk();
      expect(decisions(await scenario.restore())).toMatchObject({
        tasks: Object.fromEntries(TASKS.map((task) => [task, expect.stringMatching(/^warm/)])),
      });
    },
  );

  test('a repository of a format from the future is refused with its number', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await scenario.snapshot();
    await writeFile(join(scenario.repositoryDir, APPLICATION, 'test/repository.json'), '{"format":99}');
    const failure = await failureOf(scenario.restore());
    expect([failure.kind, failure.message.includes('99')]).toEqual(['invalid', true]);
  });

  test('a storage that is down leaves everything cold with the reason storage', async () => {
    await using scenario = await Scenario.open(CLOSED);
    const store = new SimulatedStore();
    await scenario.snapshot({ store });
    await scenario.loseDisk();
    store.script({ operation: 'get', key: /data/, kind: 'fail-before', times: Infinity });
    expect(decisions(await scenario.restore({ store }))).toEqual({ outcome: 'failed', tasks: all('cold: storage') });
    expect(await readdir(scenario.stateDir)).toEqual(['.warmstate']);
  });
});

describe('a state directory that is none', () => {
  test('absent, or a file', async () => {
    await using scenario = await Scenario.open();
    expect((await failureOf(scenario.restore())).kind).toBe('missing');
    await writeFile(scenario.stateDir, '');
    expect((await failureOf(scenario.restore())).kind).toBe('invalid');
    expect((await failureOf(scenario.snapshot())).kind).toMatch(/missing|invalid/);
  });

  test('of another application', async () => {
    await using scenario = await Scenario.open(CLOSED);
    await rename(scenario.applicationDirectory, join(scenario.stateDir, 'payments'));
    const failure = await failureOf(scenario.snapshot());
    expect([failure.kind, failure.message]).toEqual([
      'missing',
      `cannot find the application orders in ${scenario.stateDir}: it holds payments`,
    ]);
    await copyFile(import.meta.filename, join(scenario.stateDir, 'README'));
    expect(decisions(await scenario.restore())).toEqual({ outcome: 'empty', tasks: {} });
  });
});
