import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CAPTURE_TRIES_MAX } from '../../src/capture/capture.ts';
import { CaptureSession } from '../support/capture-session.ts';
import { deleteInDirectoryOrder, layOutAgain } from '../support/deletion.ts';
import { LiveWriter } from '../support/live-writer.ts';

/** They list a directory in different orders, so a deletion passes through other states. */
const VOLUMES = { disk: tmpdir(), tmpfs: '/dev/shm' } as const;
type Volume = keyof typeof VOLUMES;

/** Deletions under the eyes of a capture loop, on both volumes together; set DELETED_TASK_ROUNDS for another number. */
const ROUNDS = Number(process.env['DELETED_TASK_ROUNDS'] ?? 10_000);

const MODES = [
  { volume: 'disk', remembers: false },
  { volume: 'disk', remembers: true },
  { volume: 'tmpfs', remembers: false },
  { volume: 'tmpfs', remembers: true },
] as const;

const roots = new Map<Volume, string>();

/** A closed task with two plain stores and three segments, on each volume. */
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
    await cp(recorded, join(root, 'template'), { recursive: true, preserveTimestamps: true });
    await mkdir(join(root, 'state/orders'), { recursive: true });
  }
});

afterAll(async () => {
  for (const root of roots.values()) await rm(root, { recursive: true, force: true });
});

test.for(MODES)(
  'no step of a deletion on $volume is taken for a smaller task (looks remember: $remembers)',
  async ({ volume, remembers }) => {
    const task = join(rootOf(volume), 'state/orders/0_3');
    layOutAgain(join(rootOf(volume), 'template'), task);
    await using session = new CaptureSession(task, { remembers });
    const whole = imageOf(await lookAt(session, 1));

    const smaller: string[] = [];
    let beingDeleted = 0;
    for (const removed of deleteInDirectoryOrder(task)) {
      const found = await lookAt(session, 1);
      if (found.image !== undefined && found.image !== whole) smaller.push(`accepted without ${removed}`);
      if (found.outcome === 'being_deleted') beingDeleted += 1;
    }
    expect(smaller).toEqual([]);
    expect(beingDeleted).toBeGreaterThan(10);
  },
);

test.for(['disk', 'tmpfs'] as const)(
  'a capture loop beside deletions on %s accepts only whole tasks',
  async (volume) => {
    const task = join(rootOf(volume), 'state/orders/0_3');
    const template = join(rootOf(volume), 'template');
    layOutAgain(template, task);
    const whole = await imageOnce(task);
    for (const _ of deleteInDirectoryOrder(task));

    const program = resolve(import.meta.dirname, '../support/bin/delete-task.ts');
    const deleter = spawn(process.execPath, [program, template, task, String(ROUNDS / 2)], { stdio: 'inherit' });
    const exited = once(deleter, 'exit');
    const counts: Record<string, number> = {};
    const smaller = new Set<string>();
    try {
      await using forgetful = new CaptureSession(task, { remembers: false });
      await using remembering = new CaptureSession(task, { remembers: true });
      for (let turn = 0; deleter.exitCode === null && deleter.signalCode === null; turn++) {
        const session = turn % 2 === 0 ? forgetful : remembering;
        const { outcome, image } = await lookAt(session, turn % 3 === 0 ? CAPTURE_TRIES_MAX : 1);
        counts[outcome] = (counts[outcome] ?? 0) + 1;
        if (image !== undefined && image !== whole) smaller.add(image);
        await delay(outcome === 'gone' ? 1 : 0);
      }
      expect(await exited).toEqual([0, null]);
    } finally {
      deleter.kill('SIGKILL');
    }
    console.log(volume, ROUNDS / 2, JSON.stringify(counts));
    expect([...smaller]).toEqual([]);
    expect(counts['accepted']).toBeGreaterThan(ROUNDS / 100);
    expect(counts['being_deleted']).toBeGreaterThan(ROUNDS / 100);
  },
);

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

async function imageOnce(task: string): Promise<string> {
  await using session = new CaptureSession(task, { remembers: false });
  return imageOf(await lookAt(session, 1));
}

function rootOf(volume: Volume): string {
  const root = roots.get(volume);
  if (root === undefined) throw new Error(`there is no directory on ${volume}`);
  return root;
}
