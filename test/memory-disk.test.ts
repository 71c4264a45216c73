import { symlinkSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { realFiles } from '../src/base/file-access.ts';
import { nodeDisk } from '../src/restore/disk.ts';
import { nodeApplicationFiles } from './support/application-files.ts';
import { describeDiskContract } from './support/disk-contract.ts';
import { ManualClock } from './support/manual-clock.ts';
import { MemoryDisk } from './support/memory-disk.ts';
import { openTempDirectory, type TempDirectory } from './support/temp-directory.ts';

/** Longer than the ticks in which file systems stamp. */
const TICK_MS = 20;
const ROOT = '/state';

let directory: TempDirectory | undefined;
afterEach(() => directory?.[Symbol.asyncDispose]());

describeDiskContract('the real disk', async () => {
  directory = await openTempDirectory();
  return {
    root: directory.path,
    files: realFiles,
    operations: nodeDisk,
    application: nodeApplicationFiles,
    link: symlinkSync,
    tick: () => delay(TICK_MS),
  };
});

describeDiskContract('the disk in memory', async () => {
  directory = undefined;
  const clock = new ManualClock();
  const disk = new MemoryDisk({ clock, seed: 7 });
  disk.makeDirectory(ROOT);
  return {
    root: ROOT,
    files: disk.files,
    operations: disk.operations,
    application: disk,
    link: (target, path) => disk.link(target, path),
    tick: () => clock.advance(TICK_MS),
  };
});

describe('the disk in memory', () => {
  test('is full where it has no room, until what lay on it is gone and nobody holds it', async () => {
    const disk = new MemoryDisk({ clock: new ManualClock(), sizeBytes: 10 });
    disk.write('/a', '123456');
    expect(() => disk.append('/a', '78901')).toThrow(expect.objectContaining({ code: 'ENOSPC' }));
    await expect(disk.operations.copy('/a', '/b')).rejects.toMatchObject({ code: 'ENOSPC' });
    const held = await disk.files.hold('/a');
    disk.unlink('/a');
    expect(await disk.askSpace()).toEqual({ freeBytes: 4, sizeBytes: 10 });
    expect(disk.held).toBe(1);
    await held?.[Symbol.asyncDispose]();
    expect(await disk.askSpace()).toEqual({ freeBytes: 10, sizeBytes: 10 });
    expect(disk.held).toBe(0);
  });

  test('gives the number of an inode that is gone to the next, and not of one that is held', async () => {
    const disk = new MemoryDisk({ clock: new ManualClock() });
    disk.write('/a', 'a');
    const held = await disk.files.hold('/a');
    disk.unlink('/a');
    disk.write('/b', 'b');
    const inodeOf = async (path: string): Promise<bigint | undefined> => (await disk.files.stat(path))?.inode;
    expect(await inodeOf('/b')).not.toBe(held?.facts.inode);
    await held?.[Symbol.asyncDispose]();
    disk.write('/c', 'c');
    expect(await inodeOf('/c')).toBe(held?.facts.inode);
  });

  test('stamps by its clock: later with each change, and earlier where that steps back', async () => {
    const clock = new ManualClock({ startMs: 1_750_000_000_000 });
    const disk = new MemoryDisk({ clock });
    disk.write('/a', 'a');
    disk.write('/b', 'b');
    clock.jump(-3_600_000);
    disk.write('/c', 'c');
    const [a = 0n, b = 0n, c = 0n] = ['/a', '/b', '/c'].map((path) => disk.mtimeNs(path));
    expect([a, b, c].map((stamp) => Number(stamp / 1_000_000n))).toEqual([
      1_750_000_000_000, 1_750_000_000_000, 1_749_996_400_000,
    ]);
    expect(b).toBeGreaterThan(a);
  });

  test('lists in the order of its seed, or as things came', async () => {
    const listed = async (seed?: number): Promise<string> => {
      const disk = new MemoryDisk({ clock: new ManualClock(), ...(seed === undefined ? {} : { seed }) });
      for (const name of 'fedcba') disk.write(`/${name}`, name);
      return (await disk.operations.list('/')).join('');
    };
    expect(await listed()).toBe('fedcba');
    expect(await listed(1)).toBe(await listed(1));
    expect(new Set([await listed(1), await listed(2), await listed(3)]).size).toBe(3);
  });

  test('is mounted anew with another device number', async () => {
    const disk = new MemoryDisk({ clock: new ManualClock() });
    disk.write('/a', 'a');
    disk.device = 2n;
    expect(await disk.files.stat('/a')).toMatchObject({ device: 2n });
  });

  test('does everything within microtasks', async () => {
    const disk = new MemoryDisk({ clock: new ManualClock() });
    let hasTurned = false;
    setImmediate(() => {
      hasTurned = true;
    });
    for (let round = 0; round < 100; round++) {
      await disk.operations.makeDirectory('/a/b');
      await using writer = await disk.operations.create(`/a/b/${round}`);
      await writer.write(Buffer.from('x'), 0);
      await using held = await disk.files.hold(`/a/b/${round}`);
      await held?.read(new Uint8Array(1), 0);
    }
    expect(hasTurned).toBe(false);
  });
});
