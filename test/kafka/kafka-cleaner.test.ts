import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CaptureSession } from '../support/capture-session.ts';
import { layOutAgain } from '../support/deletion.ts';
import { Broker } from '../support/kafka/broker.ts';
import { ProtectedApp } from '../support/kafka/protected-app.ts';
import type { Load } from '../support/model.ts';

/** Twenty-two hours in the records' own time: three segments. */
const LOAD: Load = { keys: 300, rows: 200, items: 40, stepMs: 20_000, payloadBytes: 60 };
const SOME = 4_000;
/** Tasks that no instance has, laid out for the cleaner at once, and how often at least, and at most until one was seen half deleted. */
const TASKS = 8;
const ROUNDS_MIN = 10;
const ROUNDS_MAX = 30;
const TEST_MS_MAX = 10 * 60_000;

const ended = new AbortController();
const signal = AbortSignal.any([ended.signal, AbortSignal.timeout(TEST_MS_MAX)]);
const held = new AsyncDisposableStack();
let broker: Broker;
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'warmstate-cleaner-'));
  held.defer(() => rm(directory, { recursive: true, force: true }));
  broker = held.use(await Broker.start(signal));
});

afterAll(async () => {
  ended.abort();
  await held.disposeAsync();
});

test("a look beside Kafka's own cleaner accepts nothing but the whole task (4.2.2)", {
  timeout: TEST_MS_MAX,
}, async () => {
  const app = await ProtectedApp.open({
    name: 'cleaned',
    version: '4.2.2',
    guarantee: 'at_least_once',
    broker,
    load: LOAD,
    partitions: 1,
    directory,
    signal,
  });
  await app.feed(0, SOME);
  {
    await using application = await app.start({ isCalm: true });
    await application.caughtUp(SOME, LOAD);
    await application.close();
  }
  const template = join(directory, 'template');
  await cp(join(app.stateDir, app.name, '0_0'), template, { recursive: true, preserveTimestamps: true });
  await mkdir(join(directory, 'ready'));

  await using application = await app.start({ streams: { 'state.cleanup.delay.ms': 1000 } });
  const counts: Record<string, number> = {};
  const images = new Set<string>();
  for (let round = 0; round < ROUNDS_MAX && (round < ROUNDS_MIN || counts['being_deleted'] === undefined); round++) {
    const tasks = Array.from({ length: TASKS }, (_, i) => join(app.stateDir, app.name, `9_${i}`));
    for (const task of tasks) {
      const ready = join(directory, 'ready', '9_0');
      layOutAgain(template, ready);
      await rename(ready, task); // The cleaner must not meet one that is half there.
    }
    const found = await Promise.all(tasks.map((task, i) => lookUntilGone(task, i % 2 === 0)));
    for (const { outcome, image } of found.flat()) {
      counts[outcome] = (counts[outcome] ?? 0) + 1;
      if (image !== undefined) images.add(image);
    }
  }
  console.log(counts);
  // One look may be over before the cleaner comes: then it is the whole.
  expect(images.size).toBe(1);
  expect([...images][0]).toMatch(/win\/win\.\d+\/CURRENT/);
  expect(counts['being_deleted'] ?? 0).toBeGreaterThan(0);
  // It had nothing to do with the tasks that the application has.
  expect(await application.differencesFrom(SOME, LOAD)).toEqual([]);
});

interface Found {
  /** `accepted`, or the reason of the refusal. */
  readonly outcome: string;
  /** Every file of an accepted capture with its size. */
  readonly image: string | undefined;
}

async function lookUntilGone(task: string, remembers: boolean): Promise<readonly Found[]> {
  await using session = new CaptureSession(task, { remembers });
  const found: Found[] = [];
  while (existsSync(task)) {
    signal.throwIfAborted();
    const look = await session.look(1, signal);
    if (look.kind === 'gone') break;
    if (look.kind === 'refused') {
      found.push({ outcome: look.reason, image: undefined });
      continue;
    }
    await using capture = look.capture;
    const stores = capture.stores.filter((store) => look.stores.has(store.name));
    const tables = stores.flatMap((store) => store.tables.map(({ path, sizeBytes }) => `${path} ${sizeBytes}`));
    // RocksDB opens without its OPTIONS file.
    const small = stores.flatMap((store) => store.files.filter(({ path }) => !path.includes('/OPTIONS-')));
    const files = small.map(({ path, bytes }) => `${path} ${bytes.byteLength}`);
    found.push({ outcome: 'accepted', image: [...tables, ...files].sort().join('\n') });
  }
  return found;
}
