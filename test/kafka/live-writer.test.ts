import { cp, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ImageChecker, type ImageVerdict, LiveWriter, type LiveWriterOptions } from '../support/live-writer.ts';

// What the tests of capture rely on: the checker accepts what the writer closed, and nothing else.

const MODES = ['timestamped'] as const;
let root: string;
let checker: ImageChecker;

/** The same task closed twice, the second time some thousand operations later. */
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'warmstate-writer-'));
  const options: LiveWriterOptions = {
    version: '7.9.2',
    taskDirectory: join(root, 'state/orders/0_3'),
    modes: MODES,
    operationsPerSecond: 8000,
    operationsPerCheckpoint: 1500,
  };
  await work(options, 'earlier');
  await work(options, 'later');
  checker = await ImageChecker.start('7.9.2');
});

afterAll(async () => {
  await checker[Symbol.asyncDispose]();
  await rm(root, { recursive: true, force: true });
});

async function work(options: LiveWriterOptions, copy: string): Promise<void> {
  await using writer = await LiveWriter.start(options);
  await delay(1500);
  await writer.stop();
  await cp(options.taskDirectory, join(root, copy), { recursive: true });
}

/** The later image, damaged. */
async function checkAfter(damage: (image: string) => Promise<void>): Promise<ImageVerdict> {
  const image = join(root, 'image');
  await rm(image, { recursive: true, force: true });
  await cp(join(root, 'later'), image, { recursive: true });
  await damage(image);
  return checker.check(image, MODES);
}

async function firstTable(database: string): Promise<string> {
  const tables = (await readdir(database)).filter((name) => name.endsWith('.sst')).sort();
  return join(database, tables[0] ?? '');
}

async function removePositions(image: string): Promise<void> {
  for (const store of ['agg', 'tab', 'win']) await rm(join(image, `${store}.position`));
}

function refusal(about: string): ImageVerdict {
  return { ok: false, error: expect.stringContaining(about) };
}

test('the checker accepts a closed task', async () => {
  const accepted = { ok: true, databases: expect.any(Number), entries: expect.any(Number), ahead: 0 };
  expect(await checkAfter(async () => {})).toEqual(accepted);
});

test('the checker accepts an image that is ahead of its offsets, and says how far', async () => {
  const verdict = await checkAfter(async (image) => {
    await cp(join(root, 'earlier/.checkpoint'), join(image, '.checkpoint'));
    await removePositions(image);
  });
  expect(verdict.ok && verdict.ahead > 1000).toBe(true);
});

test('the checker refuses a store that is behind the offsets', async () => {
  const verdict = await checkAfter(async (image) => {
    await rm(join(image, 'rocksdb/tab'), { recursive: true });
    await cp(join(root, 'earlier/rocksdb/tab'), join(image, 'rocksdb/tab'), { recursive: true });
  });
  expect(verdict).toEqual(refusal('rocksdb/tab holds operations up to'));
});

test('the checker refuses a missing store', async () => {
  const verdict = await checkAfter((image) => rm(join(image, 'rocksdb/agg'), { recursive: true }));
  expect(verdict).toEqual(refusal('agg has an offset and is not there'));
});

test('the checker refuses a missing segment', async () => {
  // The newest: how many there are, and which have expired, depends on how long the writer ran.
  const verdict = await checkAfter(async (image) => {
    const starts = (await readdir(join(image, 'win'))).map((name) => Number(name.slice('win.'.length)));
    await rm(join(image, `win/win.${Math.max(...starts)}`), { recursive: true });
  });
  expect(verdict).toEqual(refusal('win lacks segment'));
});

test('the checker refuses an empty store beside its offset', async () => {
  const verdict = await checkAfter(async (image) => {
    for (const name of await readdir(join(image, 'rocksdb/tab'))) await rm(join(image, 'rocksdb/tab', name));
  });
  expect(verdict).toEqual(refusal('rocksdb/tab holds operations up to 0 and lacks 1'));
});

test('the checker refuses a missing table', async () => {
  const verdict = await checkAfter(async (image) => rm(await firstTable(join(image, 'rocksdb/tab'))));
  expect(verdict).toEqual(refusal('No such file'));
});

test('the checker refuses a table that is cut', async () => {
  const verdict = await checkAfter(async (image) => truncate(await firstTable(join(image, 'rocksdb/tab')), 4096));
  expect(verdict).toEqual(refusal('too short'));
});

test('the checker refuses a flipped bit in a table', async () => {
  const verdict = await checkAfter(async (image) => {
    const table = await firstTable(join(image, 'rocksdb/tab'));
    const bytes = await readFile(table);
    bytes[100] = (bytes[100] ?? 0) ^ 1;
    await writeFile(table, bytes);
  });
  expect(verdict).toEqual(refusal('block checksum mismatch'));
});

test('the checker refuses the offsets of another incarnation of the task', async () => {
  const verdict = await checkAfter(async (image) => {
    const checkpoint = await readFile(join(image, '.checkpoint'), 'utf8');
    const other = checkpoint.replaceAll(/\d+$/gm, (offset) =>
      offset.length > 4 ? String(Number(offset) + 1) : offset,
    );
    await writeFile(join(image, '.checkpoint'), other);
    await removePositions(image);
  });
  expect(verdict).toEqual(refusal('incarnation'));
});
