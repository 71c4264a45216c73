import { rmSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { hookedFiles } from '../../test/support/hooked-files.ts';
import { ManualClock } from '../../test/support/manual-clock.ts';
import { openTempDirectory } from '../../test/support/temp-directory.ts';
import { Failure } from '../base/failure.ts';
import type { Event } from '../events/event.ts';
import type { ApplicationState } from '../streams/app-lock.ts';
import { Application } from './application.ts';
import type { SnapshotTask } from './snapshot-result.ts';
import { Troubles } from './troubles.ts';

test('an application that ends while its directory cannot be listed has ended all the same', async () => {
  await using root = await openTempDirectory();
  await mkdir(join(root.path, 'orders/0_0'), { recursive: true });
  const files = hookedFiles();
  let lock: ApplicationState = 'running';
  const world = { files, askLock: async () => lock, emit: () => {}, troubles: new Troubles(new ManualClock()) };
  const application = new Application({ stateDir: root.path, applicationId: 'orders' }, world, []);
  const listing = `list ${root.path.split('/').at(-1)}/orders`;
  expect(await application.observe(0)).toEqual({ hasEnded: false });
  lock = 'stopped';
  files.once('before', listing, () => {
    throw new Failure('unavailable', 'cannot list it: too many open files');
  });
  await expect(application.observe(1000)).rejects.toThrow('too many open files');
  expect(await application.observe(2000)).toEqual({ hasEnded: true });
  expect(await application.observe(3000)).toEqual({ hasEnded: false });
});

test('one whose lock cannot be asked for any more has not ended', async () => {
  await using root = await openTempDirectory();
  let lock: ApplicationState = 'running';
  const troubles = new Troubles(new ManualClock());
  const world = { files: hookedFiles(), askLock: async () => lock, emit: () => {}, troubles };
  const application = new Application({ stateDir: root.path, applicationId: 'orders' }, world, []);
  await application.observe(0);
  lock = 'unknown';
  expect(await application.observe(1000)).toEqual({ hasEnded: false });
});

test('what it deleted stands in the way until all of it that comes back is captured again', async () => {
  await using root = await openTempDirectory();
  const place = (task: string): string => join(root.path, 'orders', task);
  const troubles = new Troubles(new ManualClock());
  const askLock = async (): Promise<ApplicationState> => 'stopped';
  const world = { files: hookedFiles(), askLock, emit: () => {}, troubles };
  const application = new Application({ stateDir: root.path, applicationId: 'orders' }, world, ['0_0', '0_1']);
  await mkdir(join(root.path, 'orders'));
  await application.observe(0);
  expect([...application.wiped]).toEqual(['0_0', '0_1']);
  expect(troubles.problems).toMatchObject([{ area: 'state-dir', message: expect.stringContaining('0_0, 0_1') }]);

  // Carried is what is still lost; and what is not there was not captured, whatever a round says of it.
  await mkdir(place('0_0'));
  await application.observe(1000);
  application.noteCaptured({ tasks: [outcome('0_0', 'carried'), outcome('0_1', 'unchanged')] });
  expect([...application.wiped]).toEqual(['0_0', '0_1']);
  application.noteCaptured({ tasks: [outcome('0_0', 'captured')] });
  expect([[...application.wiped], troubles.has('wipe')]).toEqual([['0_1'], true]);
  await mkdir(place('0_1'));
  await application.observe(2000);
  application.noteCaptured({ tasks: [outcome('0_1', 'captured')] });
  expect([[...application.wiped], troubles.has('wipe')]).toEqual([[], false]);
});

test('a look into the midst of a deletion hides nothing of it', async () => {
  await using root = await openTempDirectory();
  const place = (task: string): string => join(root.path, 'orders', task);
  const files = hookedFiles();
  const askLock = async (): Promise<ApplicationState> => 'running';
  const world = { files, askLock, emit: () => {}, troubles: new Troubles(new ManualClock()) };
  const application = new Application({ stateDir: root.path, applicationId: 'orders' }, world, []);
  for (const task of ['0_0', '0_1', 'global']) await mkdir(place(task), { recursive: true });
  await application.observe(0);
  await rm(place('0_0'), { recursive: true });
  await application.observe(1000);
  // The rest goes while it is looked at: listed, and gone when its directory is asked for.
  files.once('after', 'stat orders/global', () => {
    for (const task of ['0_1', 'global']) rmSync(place(task), { recursive: true });
  });
  await application.observe(2000);
  await mkdir(place('global'));
  await application.observe(3000);
  expect([...application.wiped]).toEqual(['0_0', '0_1', 'global']);
});

test('it is at work a minute after it took its lock, and a lock that was there from the start is no news', async () => {
  await using root = await openTempDirectory();
  const events: Event[] = [];
  let lock: ApplicationState = 'running';
  const troubles = new Troubles(new ManualClock());
  const world = {
    files: hookedFiles(),
    askLock: async () => lock,
    emit: (event: Event) => void events.push(event),
    troubles,
  };
  const application = new Application({ stateDir: root.path, applicationId: 'orders' }, world, []);
  const directory = join(root.path, 'orders/0_0');
  const deletedAt = async (nowMs: number): Promise<boolean> => {
    await mkdir(directory, { recursive: true });
    await application.observe(nowMs - 1);
    await rm(directory, { recursive: true });
    await application.observe(nowMs);
    return application.wiped.size > 0;
  };
  await application.observe(0);
  await application.observe(50_000);
  expect(events).toEqual([]);
  expect(await deletedAt(60_001)).toBe(false);
  // Its next start is the start of another minute.
  lock = 'stopped';
  await application.observe(70_000);
  lock = 'running';
  await application.observe(80_000);
  expect(await deletedAt(90_000)).toBe(true);
  expect(events.map((event) => (event.kind === 'notice' ? event.name : event.kind))).toEqual([
    'application-ended',
    'application-started',
  ]);
});

function outcome(task: string, word: SnapshotTask['outcome']): SnapshotTask {
  return { task, outcome: word, quality: undefined, stateTimeMs: undefined, offsets: new Map(), why: undefined };
}
