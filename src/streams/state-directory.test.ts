import { mkdir, rename, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openTempDirectory, plant } from '../../test/support/temp-directory.ts';
import { isFailure } from '../base/failure.ts';
import { type FileAccess, realFiles } from '../base/file-access.ts';
import {
  assertSupportedApplication,
  compareTasks,
  isTaskName,
  listApplications,
  listTask,
  listTasks,
  segmentStart,
  type TaskListing,
} from './state-directory.ts';

test('a task is named by its subtopology and partition, or is global', () => {
  const names = ['0_0', '12_34', 'global', '', '0', '0_', '_0', '0_0_0', '0_a', '-1_0', '0_0.tmp', 'Global', '.lock'];
  expect(names.filter(isTaskName)).toEqual(['0_0', '12_34', 'global']);
});

test('tasks are sorted by number, global last', () => {
  const tasks = ['1_0', 'global', '0_10', '10_0', '0_2'];
  expect(tasks.sort(compareTasks)).toEqual(['0_2', '0_10', '1_0', '10_0', 'global']);
});

test('a segment starts at the time in its name', () => {
  expect(segmentStart('win', 'win.0')).toBe(0n);
  expect(segmentStart('a.b', 'a.b.1700000000000')).toBe(1_700_000_000_000n);
  for (const name of ['win', 'win.', 'win.x', 'win-197001010000', 'wine.0', 'win.0.tmp', 'other.0']) {
    expect(segmentStart('win', name)).toBeUndefined();
  }
});

describe('an application.id', () => {
  test.each(['orders', 'orders-v2', 'a.b_c-D9', '.hidden', 'x'.repeat(200)])('%s is served', (name) => {
    expect(() => assertSupportedApplication(name)).not.toThrow();
  });

  test.each(['', '.', '..', 'a/b', '../x', 'a b', 'ä', '.warmstate', 'x'.repeat(201)])(
    '%j is no valid name',
    (name) => {
      expect(() => assertSupportedApplication(name)).toThrow(
        expect.toSatisfy((error) => isFailure(error, 'invalid') && error.message.endsWith('it is no valid name')),
      );
    },
  );

  test('of ksqlDB is refused', () => {
    expect(() => assertSupportedApplication('_confluent-ksql-default_query_CTAS_T_1')).toThrow(
      expect.toSatisfy((error) => isFailure(error, 'invalid') && error.message.includes('ksqlDB deletes')),
    );
  });
});

describe('the applications of a state directory', () => {
  test('are the directories that hold a lock or a task', async () => {
    await using root = await openTempDirectory();
    await plant(root.path, [
      'orders/.lock',
      'billing/0_0/',
      'countries/global/',
      'empty/',
      'backup/notes.txt',
      '.warmstate/restore.json',
      '.warmstate/global/',
      'lost+found/0_0/',
      'README',
    ]);
    expect(await listApplications(realFiles, root.path)).toEqual(['billing', 'countries', 'orders']);
  });

  test('are found through a link to the directory', async () => {
    await using root = await openTempDirectory();
    await plant(root.path, ['volume/orders/0_0/']);
    await symlink('volume', join(root.path, 'state'));
    expect(await listApplications(realFiles, join(root.path, 'state'))).toEqual(['orders']);
  });

  test.each([
    ['absent', 'missing', 'it does not exist'],
    ['file', 'invalid', 'it is no directory'],
  ] as const)('cannot be listed where the directory is %s', async (name, kind, what) => {
    await using root = await openTempDirectory();
    await plant(root.path, ['file']);
    const path = join(root.path, name);
    await expect(listApplications(realFiles, path)).rejects.toSatisfy(
      (error) => isFailure(error, kind) && error.message === `cannot read the state directory ${path}: ${what}`,
    );
  });
});

describe('the tasks of an application', () => {
  test('are its directories with the names of tasks', async () => {
    await using root = await openTempDirectory();
    await plant(root.path, [
      '.lock',
      'kafka-streams-process-metadata',
      '0_10/',
      '0_2/',
      'global/',
      '1_0',
      'foo/',
      '0_0.tmp/',
      '__named__/0_0/',
    ]);
    await symlink('0_2', join(root.path, '3_0'));
    expect(await listTasks(realFiles, root.path)).toEqual(['0_2', '0_10', 'global']);
  });

  test('are none where it never ran', async () => {
    await using root = await openTempDirectory();
    expect(await listTasks(realFiles, join(root.path, 'absent'))).toEqual([]);
  });

  test('cannot be listed where it is a file', async () => {
    await using root = await openTempDirectory();
    await plant(root.path, ['orders']);
    await expect(listTasks(realFiles, join(root.path, 'orders'))).rejects.toSatisfy(
      (error) => isFailure(error, 'invalid') && error.message === `cannot read ${root.path}/orders: it is no directory`,
    );
  });
});

describe('a task directory', () => {
  test('holds plain stores side by side and windowed ones by segment', async () => {
    const listing = await listPlanted([
      '.checkpoint',
      '.lock',
      'tab.position',
      'agg.position',
      'rocksdb/tab/CURRENT',
      'rocksdb/agg/CURRENT',
      'win/win.7200000/CURRENT',
      'win/win.0/CURRENT',
      'win/win.36000000/CURRENT',
      'idle/',
    ]);
    expect(simplified(listing)).toEqual({
      task: '0_0',
      positions: ['agg.position', 'tab.position'],
      databases: [
        { store: 'agg', kind: 'rocksdb', path: 'rocksdb/agg' },
        { store: 'tab', kind: 'rocksdb', path: 'rocksdb/tab' },
        { store: 'win', kind: 'segmented', path: 'win/win.0' },
        { store: 'win', kind: 'segmented', path: 'win/win.7200000' },
        { store: 'win', kind: 'segmented', path: 'win/win.36000000' },
      ],
      customStores: [],
      parents: {
        idle: { kind: 'segments', children: [] },
        rocksdb: { kind: 'stores', children: ['agg', 'tab'] },
        win: { kind: 'segments', children: ['win.0', 'win.7200000', 'win.36000000'] },
      },
    });
  });

  test('tells what its directories were at that moment', async () => {
    await using root = await openTempDirectory();
    await plant(root.path, ['0_0/rocksdb/agg/CURRENT']);
    const path = join(root.path, '0_0');
    const [task, parent, database] = await Promise.all(
      [path, join(path, 'rocksdb'), join(path, 'rocksdb/agg')].map((one) => realFiles.stat(one)),
    );
    const listing = await listTask(realFiles, root.path, '0_0');
    expect([listing?.path, listing?.facts]).toEqual([path, task]);
    expect(listing?.parents.get('rocksdb')?.facts).toEqual(parent);
    expect(listing?.databases.map((one) => one.facts)).toEqual([database]);
  });

  test('lists a database that is being deleted or made like any other', async () => {
    const { databases } = simplified(await listPlanted(['rocksdb/agg/', 'win/win.0/LOG']));
    expect(databases.map(({ path }) => path)).toEqual(['rocksdb/agg', 'win/win.0']);
  });

  test.each([
    ['whatever a custom store keeps there', ['lucene/segments_1', 'lucene/write.lock']],
    ['a foreign file beside segments', ['win/win.0/CURRENT', 'win/marker']],
    ['a foreign directory beside segments', ['win/win.0/CURRENT', 'win/lost+found/']],
    ['segments under the name of another store', ['win/window.0/CURRENT']],
  ])('has a custom store where a directory holds %s', async (_name, paths) => {
    const { customStores, databases } = simplified(await listPlanted(['rocksdb/agg/CURRENT', ...paths]));
    expect({ customStores, databases: databases.map(({ path }) => path) }).toEqual({
      customStores: [paths[0]?.split('/')[0]],
      databases: ['rocksdb/agg'],
    });
  });

  test.each([
    ['rocksdb/a b/CURRENT', 'rocksdb'],
    ['a b/a b.0/CURRENT', 'a b'],
  ])('with a database that no release would name so (%s) is one with a custom store', async (path, store) => {
    const { customStores } = simplified(await listPlanted(['rocksdb/agg/CURRENT', path]));
    expect(customStores).toEqual([store]);
  });

  test('has position files of stores only', async () => {
    const { positions } = simplified(
      await listPlanted(['agg.position', 'a b.position', '.position', 'agg.position.tmp']),
    );
    expect(positions).toEqual(['agg.position']);
  });

  test('may have foreign files that Kafka Streams passes over', async () => {
    const listing = await listPlanted(['notes.txt', '.hidden', 'rocksdb/agg/CURRENT', 'rocksdb/README', 'win.tmp']);
    expect(simplified(listing)).toMatchObject({
      customStores: [],
      databases: [{ path: 'rocksdb/agg' }],
      parents: { rocksdb: { children: ['agg'] } },
    });
  });

  test('does not follow links', async () => {
    await using root = await openTempDirectory();
    await plant(root.path, ['0_0/rocksdb/agg/', 'elsewhere/win.0/CURRENT', 'elsewhere/db/CURRENT']);
    await symlink('../elsewhere', join(root.path, '0_0/win'));
    await symlink('../../elsewhere/db', join(root.path, '0_0/rocksdb/tab'));
    await symlink('0_0', join(root.path, '0_1'));
    const listing = await listTask(realFiles, root.path, '0_0');
    expect(listing?.databases.map(({ path }) => path)).toEqual(['rocksdb/agg']);
    expect(await listTask(realFiles, root.path, '0_1')).toBeUndefined();
  });

  test.each(['absent', 'file'])('is none where it is %s', async (name) => {
    await using root = await openTempDirectory();
    await plant(root.path, ['file']);
    expect(await listTask(realFiles, root.path, name)).toBeUndefined();
  });

  test.each(['rocksdb', 'rocksdb/agg', 'win', 'win/win.0', '.checkpoint'])(
    'is none when %s goes while it is listed',
    async (going) => {
      await using root = await openTempDirectory();
      await plant(root.path, ['0_0/rocksdb/agg/CURRENT', '0_0/win/win.0/CURRENT', '0_0/.checkpoint']);
      const path = join(root.path, '0_0', going);
      const files = beforeStat(path, () => rename(path, join(root.path, 'gone')));
      expect(await listTask(files, root.path, '0_0')).toBeUndefined();
    },
  );

  test('is whole though a temporary file gets its name while it is listed', async () => {
    await using root = await openTempDirectory();
    await plant(root.path, ['0_0/rocksdb/agg/CURRENT', '0_0/.checkpoint.tmp']);
    const path = join(root.path, '0_0/.checkpoint.tmp');
    const files = beforeStat(path, () => rename(path, join(root.path, '0_0/.checkpoint')));
    const listing = await listTask(files, root.path, '0_0');
    expect(listing?.databases.map((database) => database.path)).toEqual(['rocksdb/agg']);
  });

  test('that came while the application was listed is listed the next time', async () => {
    await using root = await openTempDirectory();
    expect(await listTask(realFiles, root.path, '0_0')).toBeUndefined();
    await mkdir(join(root.path, '0_0'));
    await writeFile(join(root.path, '0_0/.checkpoint'), '0\n0\n');
    expect(simplified(await listTask(realFiles, root.path, '0_0')).databases).toEqual([]);
  });
});

async function listPlanted(paths: readonly string[]): Promise<TaskListing | undefined> {
  await using root = await openTempDirectory();
  await plant(join(root.path, '0_0'), paths);
  return await listTask(realFiles, root.path, '0_0');
}

/** Without what differs from run to run. */
function simplified(listing: TaskListing | undefined): {
  readonly task: string | undefined;
  readonly positions: readonly string[];
  readonly databases: readonly { readonly store: string; readonly kind: string; readonly path: string }[];
  readonly customStores: readonly string[];
  readonly parents: Readonly<Record<string, { readonly kind: string; readonly children: readonly string[] }>>;
} {
  const { task, positions = [], databases = [], customStores = [], parents = new Map() } = listing ?? {};
  return {
    task,
    positions,
    databases: databases.map(({ store, kind, path }) => ({ store, kind, path })),
    customStores,
    parents: Object.fromEntries([...parents].map(([name, { kind, children }]) => [name, { kind, children }])),
  };
}

/** The real files, but somebody is quicker with one of them. */
function beforeStat(path: string, intervene: () => Promise<void>): FileAccess {
  let isDone = false;
  return {
    ...realFiles,
    stat: async (wanted) => {
      if (wanted === path && !isDone) {
        isDone = true;
        await intervene();
      }
      return realFiles.stat(wanted);
    },
  };
}
