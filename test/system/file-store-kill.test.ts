import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { systemClock, systemRandom } from '../../src/base/clock.ts';
import { openFileStore } from '../../src/storage/file-store.ts';
import type { ObjectStore } from '../../src/storage/object-store.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { describesItself } from '../support/self-describing.ts';

const { signal } = new AbortController();
const ROUNDS = 12;
const TWO_DAYS_MS = 2 * 24 * 60 * 60 * 1000;

test('a file store whose writer is killed at any moment keeps what it promised, whole', async () => {
  const root = await mkdtemp(join(tmpdir(), 'warmstate-kill-'));
  onTestFinished(() => rm(root, { recursive: true }));
  let left = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const promised = keysAfter(await writeUntilKilled(root, `e${round}`, 20 + 17 * round));
    const store = await openFileStore(root, { clock: systemClock, random: systemRandom });
    const keys = await wholeKeys(store);
    expect(promised.filter((key) => !keys.includes(key))).toEqual([]);
    left += (await readdir(join(root, '.warmstate-tmp'))).length;
    await openFileStore(root, { clock: new ManualClock({ startMs: Date.now() + TWO_DAYS_MS }), random: systemRandom });
    expect(await readdir(join(root, '.warmstate-tmp'))).toEqual([]);
  }
  expect(left).toBeGreaterThan(0); // Else no kill ever met a put, and nothing was tested.
});

/** The lines that the writer printed before it was killed, some time after its first one. */
async function writeUntilKilled(root: string, epoch: string, afterMs: number): Promise<readonly string[]> {
  const program = join(import.meta.dirname, '../support/bin/put-forever.ts');
  const writer = spawn(process.execPath, [program, root, epoch], { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(writer, 'exit');
  const lines: string[] = [];
  const reader = createInterface(writer.stdout).on('line', (line) => lines.push(line));
  const closed = once(reader, 'close');
  await once(reader, 'line');
  await delay(afterMs);
  writer.kill('SIGKILL');
  expect(await exited).toEqual([null, 'SIGKILL']);
  await closed;
  return lines;
}

/** The keys that must be there; of a key deleted or replaced last either is right, so long as it is whole. */
function keysAfter(lines: readonly string[]): readonly string[] {
  const deleted = lines.filter((line) => line.startsWith('delete ')).map((line) => line.slice('delete '.length));
  const stored = lines.filter((line) => line.startsWith('put ')).map((line) => line.slice('put '.length));
  const last = stored.filter((key) => key.startsWith('data/')).length - 1;
  const maybeDeleted = (key: string): boolean => last % 5 === 4 && key.endsWith(`/${last - 2}`);
  return [...new Set(stored)].filter((key) => !deleted.includes(key) && !maybeDeleted(key));
}

async function wholeKeys(store: ObjectStore): Promise<readonly string[]> {
  const keys: string[] = [];
  for await (const page of store.list('', { signal })) {
    for (const { key } of page.objects) {
      await using opened = await store.get(key, { signal });
      const chunks: Uint8Array[] = [];
      for await (const chunk of opened.body) chunks.push(Uint8Array.from(chunk));
      expect([key, describesItself(key, Buffer.concat(chunks))]).toEqual([key, true]);
      keys.push(key);
    }
  }
  return keys;
}
