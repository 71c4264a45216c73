import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { holdLock } from '../support/held-lock.ts';
import { Scenario } from '../support/scenario.ts';
import { Sidecar } from '../support/sidecar.ts';
import { warmstate } from '../support/warmstate.ts';

const CLOSED = '3.9.2-alos-closed';
/** Longer than a turn of the loop takes on a busy machine. */
const A_WHILE_MS = 3000;

async function newestRecord(scenario: Scenario): Promise<{ readonly state: string; readonly newest?: number }> {
  const [path = ''] = (await scenario.objects('records')).slice(-1);
  return JSON.parse(await readFile(path, 'utf8'));
}

function published(sidecar: Sidecar, trigger: string): Promise<unknown> {
  return sidecar.logged('snapshot-finished', (line) => line['trigger'] === trigger && line['result'] === 'published');
}

test('SIGTERM waits for the application, a second one changes nothing, and the end is exit 0 with everything stored', async () => {
  await using scenario = await Scenario.open(CLOSED);
  await using application = await holdLock(scenario.applicationDirectory);
  await using sidecar = Sidecar.start([...scenario.flags, '--interval', '1h']);
  await published(sidecar, 'interval');
  sidecar.signal('SIGTERM');
  await sidecar.logged('phase-changed', ({ phase }) => phase === 'finishing');
  sidecar.signal('SIGTERM');
  await delay(A_WHILE_MS);
  expect([sidecar.isAlive, (await newestRecord(scenario)).state]).toEqual([true, 'finishing']);
  await scenario.moveOffsets('0_0', 7);
  const ended = sidecar.end();
  await application.release();
  expect(await ended).toBe(0);
  expect(sidecar.log.at(-1)).toMatchObject({ event: 'snapshot-finished', trigger: 'final', result: 'published' });
  expect(sidecar.other).toEqual([]);
  expect(await newestRecord(scenario)).toMatchObject({ state: 'sealed' });

  const hashes = await scenario.hashes();
  await scenario.loseDisk();
  await scenario.restore();
  expect(await scenario.hashes()).toEqual(hashes);
});

test('SIGINT twice, from somebody who waits at a terminal, ends it at once', async () => {
  await using scenario = await Scenario.open(CLOSED);
  await using application = await holdLock(scenario.applicationDirectory);
  await using sidecar = Sidecar.start([...scenario.flags, '--interval', '1h']);
  await published(sidecar, 'interval');
  sidecar.signal('SIGINT');
  await sidecar.logged('phase-changed', ({ phase }) => phase === 'finishing');
  expect(sidecar.isAlive).toBe(true);
  sidecar.signal('SIGINT');
  expect(await sidecar.exitCode()).toBe(130);
  expect((await newestRecord(scenario)).state).toBe('finishing');
  await application.release();
});

test('a new checkpoint is seen by the watch, and an application that dies is followed by a snapshot', async () => {
  await using scenario = await Scenario.open(CLOSED);
  await using first = await holdLock(scenario.applicationDirectory);
  await using sidecar = Sidecar.start([...scenario.flags, '--interval', '1h']);
  await published(sidecar, 'interval');
  await scenario.moveOffsets('0_0', 7);
  await sidecar.until('it is pending', async () =>
    (await sidecar.metric('warmstate_task_pending{task="0_0"}')) === 1 ? true : undefined,
  );
  await first.release();
  await sidecar.logged('application-ended');
  await sidecar.until('it is stored', async () =>
    (await sidecar.metric('warmstate_task_pending{task="0_0"}')) === 0 ? true : undefined,
  );
  await using second = await holdLock(scenario.applicationDirectory);
  await sidecar.logged('application-started');
  await second.release();
});

test('a snapshot beside a living run is done by it, with what it knows', async () => {
  await using scenario = await Scenario.open(CLOSED);
  await using sidecar = Sidecar.start([...scenario.flags, '--interval', '1h']);
  await published(sidecar, 'interval');
  await scenario.moveOffsets('0_0', 7);
  const listen = ['--listen', `127.0.0.1:${await sidecar.port()}`];
  const { code, stdout } = await warmstate(['snapshot', ...scenario.flags, ...listen]);
  const result = JSON.parse(stdout);
  expect([code, result.snapshot]).toEqual([0, expect.stringMatching(/\/2$/)]);
  expect(await published(sidecar, 'request')).toMatchObject({ snapshot: result.snapshot });
  expect((await scenario.objects('records')).length).toBe(1);
  expect(await sidecar.end()).toBe(0);
});
