import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CAPTURE_TRIES_MAX } from '../../src/capture/capture.ts';
import { CaptureSession } from '../support/capture-session.ts';
import { Deleter, type Deletion } from '../support/deleter.ts';
import { deleteInDirectoryOrder, layOutAgain } from '../support/deletion.ts';
import { LiveWriter } from '../support/live-writer.ts';
import { layOut } from '../support/recorded.ts';

/** They list a directory in different orders, so a deletion passes through other states. */
const VOLUMES = { disk: tmpdir(), tmpfs: '/dev/shm' } as const;
type Volume = keyof typeof VOLUMES;

/** Deletions, of three tasks on both volumes together, each with a look that falls into it; set DELETED_TASK_ROUNDS for another number. */
const ROUNDS = Number(process.env['DELETED_TASK_ROUNDS'] ?? 10_000);

/**
 * In the mixed task a plain store goes first, in the orders that we meet, and from then on the checkpoint names a store
 * that is missing. In the windowed one a segment that is gone leaves nothing behind but the stamp of its parent. Where
 * offsets lie inside RocksDB no store that is gone leaves more than that.
 */
const LAYOUTS = ['mixed', 'windowed', 'mixed-inside', 'windowed-inside'] as const;
/** Of Kafka Streams 4.3.1, with a plain store and three segments. */
const INSIDE = '4.3.1-alos-closed';

const CASES = LAYOUTS.flatMap((layout) =>
  (['disk', 'tmpfs'] as const).flatMap((volume) =>
    (['listed', 'oldest-first'] as const).flatMap((order) =>
      [false, true].map((remembers) => ({ layout, volume, order, remembers })),
    ),
  ),
);

const roots = new Map<Volume, string>();

/** Closed tasks with plain stores and three segments, and the segments alone, on each volume. */
beforeAll(async () => {
  for (const volume of ['disk', 'tmpfs'] as const) {
    roots.set(volume, await mkdtemp(join(VOLUMES[volume], 'warmstate-deleted-')));
  }
  const recorded = join(rootOf('disk'), 'recorded/orders/0_3');
  await using writer = await LiveWriter.start({
    version: '7.9.2',
    taskDirectory: recorded,
    modes: ['timestamped'],
    operationsPerSecond: 8000,
    operationsPerCheckpoint: 2000,
  });
  while (!existsSync(join(recorded, 'win/win.7200000'))) await delay(50); // The third segment.
  await writer.stop();
  for (const root of roots.values()) {
    await cp(recorded, join(root, 'mixed'), { recursive: true, preserveTimestamps: true });
    await cp(recorded, join(root, 'windowed'), { recursive: true, preserveTimestamps: true });
    await removePlainStores(join(root, 'windowed'));
    for (const layout of ['mixed-inside', 'windowed-inside']) {
      await layOut(INSIDE, join(root, 'inside'));
      await rename(join(root, 'inside/orders/0_0'), join(root, layout));
      await rm(join(root, 'inside'), { recursive: true });
    }
    const windowed = join(root, 'windowed-inside');
    const { atime, mtime } = await stat(windowed);
    await rm(join(windowed, 'rocksdb'), { recursive: true });
    await utimes(windowed, atime, mtime);
    await mkdir(join(root, 'state/orders'), { recursive: true });
  }
});

afterAll(async () => {
  for (const root of roots.values()) await rm(root, { recursive: true, force: true });
});

async function removePlainStores(task: string): Promise<void> {
  for (const name of ['rocksdb', 'agg.position', 'tab.position']) await rm(join(task, name), { recursive: true });
  const checkpoint = join(task, '.checkpoint');
  const { mtime } = await stat(checkpoint);
  const entry = (await readFile(checkpoint, 'utf8')).split('\n').filter((line) => line.includes('-win-changelog'));
  await writeFile(checkpoint, `0\n${entry.length}\n${entry.join('\n')}\n`);
  await utimes(checkpoint, mtime, mtime);
}

test.for(CASES)(
  'no step of a deletion of a $layout task on $volume is taken for a smaller one ($order, looks remember: $remembers)',
  async ({ layout, volume, order, remembers }) => {
    const task = join(rootOf(volume), 'state/orders/0_3');
    layOutAgain(join(rootOf(volume), layout), task);
    await using session = new CaptureSession(task, { remembers });
    const whole = imageOf(await lookAt(session, 1));

    const smaller: string[] = [];
    let beingDeleted = 0;
    for (const removed of deleteInDirectoryOrder(task, { order })) {
      const found = await lookAt(session, 1);
      if (found.image !== undefined && found.image !== whole) smaller.push(`accepted without ${removed}`);
      if (found.outcome === 'being_deleted') beingDeleted += 1;
    }
    expect(smaller).toEqual([]);
    expect(beingDeleted).toBeGreaterThan(10);
  },
);

/** So often the whole directory is looked at in peace, which must be accepted. */
const ROUNDS_PER_PEACE = 100;

test.for(
  (['disk', 'tmpfs'] as const).flatMap((volume) => [
    { volume, layout: 'windowed' } as const,
    { volume, layout: 'windowed-inside' } as const,
    { volume, layout: 'mixed-inside' } as const,
  ]),
)('a look beside a deletion of a $layout task on $volume accepts nothing but the whole', async ({ volume, layout }) => {
  const task = join(rootOf(volume), 'state/orders/0_3');
  for (const left of [task, `${task}.staged`]) await rm(left, { recursive: true, force: true });
  await using deleter = new Deleter(join(rootOf(volume), layout), task);
  await using forgetful = new CaptureSession(task, { remembers: false });
  await using remembering = new CaptureSession(task, { remembers: true });
  const counts: Record<string, number> = {};
  const smaller = new Set<string>();
  const unseen: number[] = [];
  let whole = '';
  for (let round = 0; round < ROUNDS / 6; round++) {
    await deleter.awaitWhole();
    const session = round % 2 === 0 ? forgetful : remembering;
    if (round % ROUNDS_PER_PEACE === 0) {
      const image = imageOf(await lookAt(session, 1));
      expect(image).toBe(whole || image);
      whole = image;
    }
    const seen = await lookDuring(deleter.delete(), () => lookAt(session, round % 3 === 0 ? CAPTURE_TRIES_MAX : 1));
    if (!seen.duringDeletion) unseen.push(round);
    for (const { outcome, image } of seen.found) {
      counts[outcome] = (counts[outcome] ?? 0) + 1;
      if (image !== undefined && image !== whole) smaller.add(image);
    }
  }
  console.log(volume, layout, ROUNDS / 6, JSON.stringify(counts));
  expect({ smaller: [...smaller], unseen }).toEqual({ smaller: [], unseen: [] });
});

/** Looks again and again until the deletion is over; says whether some look fell, at least in part, into it. */
async function lookDuring(
  deletion: Promise<Deletion>,
  look: () => Promise<Found>,
): Promise<{ readonly found: readonly Found[]; readonly duringDeletion: boolean }> {
  const found: Found[] = [];
  const spans: { readonly fromMs: number; readonly toMs: number }[] = [];
  const over = new AbortController();
  const lookUntilOver = async (): Promise<void> => {
    while (!over.signal.aborted) {
      const fromMs = performance.timeOrigin + performance.now();
      found.push(await look());
      spans.push({ fromMs, toMs: performance.timeOrigin + performance.now() });
    }
  };
  const [{ beganMs, endedMs }] = await Promise.all([deletion.finally(() => over.abort()), lookUntilOver()]);
  return { found, duringDeletion: spans.some(({ fromMs, toMs }) => fromMs < endedMs && toMs > beganMs) };
}

interface Found {
  /** `accepted`, `gone`, or the reason of the refusal. */
  readonly outcome: string;
  /** Every table and every small file of an accepted capture with its size. */
  readonly image: string | undefined;
}

async function lookAt(session: CaptureSession, triesMax: number): Promise<Found> {
  const look = await session.look(triesMax, new AbortController().signal);
  if (look.kind === 'gone') return { outcome: 'gone', image: undefined };
  if (look.kind === 'refused') return { outcome: look.reason, image: undefined };
  await using capture = look.capture;
  const stores = capture.stores.filter((store) => look.stores.has(store.name));
  const tables = stores.flatMap((store) => store.tables.map(({ path, sizeBytes }) => `${path} ${sizeBytes}`));
  // RocksDB opens without its OPTIONS file, Kafka Streams restores without the position files.
  const small = stores.flatMap((store) => store.files.filter(({ path }) => !path.includes('/OPTIONS-')));
  const image = [...tables, ...small.map(({ path, bytes }) => `${path} ${bytes.byteLength}`)].sort().join('\n');
  return { outcome: 'accepted', image };
}

function imageOf(found: Found): string {
  if (found.image === undefined) throw new Error(`the whole task is not accepted: ${found.outcome}`);
  return found.image;
}

function rootOf(volume: Volume): string {
  const root = roots.get(volume);
  if (root === undefined) throw new Error(`there is no directory on ${volume}`);
  return root;
}
