import { readFile, rm, writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { systemClock, systemRandom } from '../../src/base/clock.ts';
import { openFileStore } from '../../src/storage/file-store.ts';
import { rewriteDocument } from '../support/hostile.ts';
import { Scenario } from '../support/scenario.ts';
import { warmstate } from '../support/warmstate.ts';

const CLOSED = '3.9.2-alos-closed';
const TABLES = [
  { number: 7, uid: new Uint8Array(16).fill(7) },
  { number: 8, uid: new Uint8Array(16).fill(8) },
];

async function damaged(scenario: Scenario): Promise<readonly { readonly key: string; readonly problem: string }[]> {
  const paths = await scenario.objects('damaged').catch(() => []);
  const reports = await Promise.all(paths.map(async (path) => JSON.parse(await readFile(path, 'utf8'))));
  return reports.flatMap(({ objects }) => objects);
}

async function tablesOf(scenario: Scenario): Promise<readonly string[]> {
  return (await scenario.objects('data')).filter((path) => /-\d{6}$/.test(path));
}

async function spoil(path: string): Promise<void> {
  const bytes = await readFile(path);
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
  await writeFile(path, bytes);
}

/** Which data it asks for. */
async function restoreWatched(scenario: Scenario) {
  const store = await openFileStore(scenario.repositoryDir, { clock: systemClock, random: systemRandom });
  const get = store.get.bind(store);
  const fetched: string[] = [];
  store.get = (key, options) => {
    if (key.includes('/data/')) fetched.push(key);
    return get(key, options);
  };
  return { result: await scenario.restore({ store }), fetched };
}

function decisionsOf({ tasks }: Awaited<ReturnType<Scenario['restore']>>): readonly string[] {
  return tasks.map(({ task, decision, why }) => `${task} ${decision}${why === undefined ? '' : ` ${why.reason}`}`);
}

test('what a restore finds missing or wrong it tells, and the next one does not fetch it', async () => {
  await using scenario = await Scenario.open();
  await scenario.plantTask('0_0', TABLES);
  await scenario.snapshot();
  const [first = '', second = ''] = await tablesOf(scenario);
  await rm(first);
  await spoil(second);
  await scenario.loseDisk();
  expect(decisionsOf(await scenario.restore())).toEqual(['0_0 cold damaged']);
  const told = await damaged(scenario);
  expect(told.length).toBeGreaterThan(0);
  for (const { key, problem } of told) expect(problem).toBe(first.endsWith(key) ? 'missing' : 'wrong');

  const { result, fetched } = await restoreWatched(scenario);
  expect([decisionsOf(result), fetched]).toEqual([['0_0 cold damaged'], []]);
  expect(await damaged(scenario)).toEqual(told);
});

test('an entry that needs what is known to be damaged is passed over, whoever found it and wherever', async () => {
  await using scenario = await Scenario.open();
  await scenario.plantTask('0_0', TABLES);
  await scenario.snapshot();
  const [first = ''] = await tablesOf(scenario);
  // The same tables, further on, under another name of the snapshot.
  await scenario.checkpoint('0_0', 200);
  await scenario.snapshot();
  await rm(first);
  const destination = ['--destination', `file://${scenario.repositoryDir}`];
  const { code } = await warmstate(['prune', ...destination]);
  expect(code).toBe(7);
  // Who found it saw none of these entries: they were published since.
  for (const path of await scenario.objects('damaged')) {
    const report = JSON.parse(await readFile(path, 'utf8'));
    await writeFile(path, JSON.stringify({ ...report, entries: [] }));
  }
  await scenario.loseDisk();
  const { result, fetched } = await restoreWatched(scenario);
  expect([decisionsOf(result), fetched]).toEqual([['0_0 cold damaged'], []]);
});

test('verify tells what it finds, and the next snapshot sends again what the disk still has', async () => {
  await using scenario = await Scenario.open(CLOSED);
  await scenario.snapshot();
  const before = await scenario.hashes();
  for (const path of await scenario.objects('data')) await spoil(path);
  const verify = (): ReturnType<typeof warmstate> =>
    warmstate(['verify', '--destination', `file://${scenario.repositoryDir}`]);
  expect((await verify()).code).toBe(7);
  expect((await damaged(scenario)).map(({ problem }) => problem)).toContain('wrong');
  await scenario.snapshot();
  await scenario.loseDisk();
  expect((await scenario.restore()).outcome).toBe('restored');
  expect(await scenario.hashes()).toEqual(before);
});

test('a drill leaves no trace of what it finds', async () => {
  await using scenario = await Scenario.open();
  await scenario.plantTask('0_0', TABLES);
  await scenario.snapshot();
  for (const path of await tablesOf(scenario)) await spoil(path);
  await scenario.loseDisk();
  await scenario.restore({ isDrill: true });
  expect(await damaged(scenario)).toEqual([]);
});

test.for(['3.9.2-alos-closed', '4.3.1-alos-closed'])(
  'verify holds the offsets of an entry against those that are stored: %s',
  async (recording) => {
    await using scenario = await Scenario.open(recording);
    await scenario.snapshot();
    const verify = async (): Promise<readonly unknown[]> => {
      const { stdout } = await warmstate([
        'verify',
        '--output',
        'json',
        '--destination',
        `file://${scenario.repositoryDir}`,
      ]);
      return JSON.parse(stdout).problems;
    };
    expect(await verify()).toEqual([]);
    await rewriteDocument(scenario, (text) => {
      const document = JSON.parse(text);
      const { offsets } = document.entries.find(({ task }: { readonly task: string }) => task === '0_0');
      for (const [changelog, offset] of Object.entries(offsets)) offsets[changelog] = String(Number(offset) + 1);
      return JSON.stringify(document);
    });
    expect(await verify()).toEqual([
      {
        snapshot: expect.any(String),
        task: '0_0',
        path: recording.startsWith('3.9') ? '.checkpoint' : null,
        problem: 'its offsets are not those of its entry',
      },
    ]);
  },
);
