import { writeFileSync } from 'node:fs';
import { readdir, readlink, rename, rm, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { AgentScenario } from '../../test/support/agent-scenario.ts';
import { hookedFiles } from '../../test/support/hooked-files.ts';
import { ModelDatabase } from '../../test/support/model-database.ts';
import { layOut } from '../../test/support/recorded.ts';
import { Failure } from '../base/failure.ts';
import { filesOfEntry } from '../repository/document.ts';

const CLOSED = '3.9.2-alos-closed';
const MINUTE_MS = 60_000;
const INTERVAL_MS = 5 * MINUTE_MS;

function results({ rounds }: AgentScenario): readonly string[] {
  return rounds.map(({ trigger, result }) => `${trigger} ${result}`);
}

describe('while the application runs', () => {
  test('a first snapshot follows soon, and one after each change, at most one per interval', async () => {
    await using scene = await AgentScenario.open();
    const database = await scene.disk.plantTask('0_0', [{ number: 7 }]);
    scene.start();
    await scene.untilRounds(1);
    const firstMs = scene.clock.monotonicMs();
    expect(firstMs).toBeLessThan(10_000);

    database.change({ add: [{ number: 8, sizeBytes: 300_000 }] });
    await scene.disk.checkpoint('0_0', 200);
    scene.hint('0_0');
    await scene.untilRounds(2);
    expect(scene.clock.monotonicMs() - firstMs).toBeGreaterThan(INTERVAL_MS * 0.9 - 2000);
    expect(results(scene)).toEqual(['interval published', 'interval published']);
    // Its first table was sent in the round before.
    expect(scene.rounds.map(({ reusedBytes }) => reusedBytes >= 300_000)).toEqual([false, true]);
    const [, second] = await scene.documents();
    expect(second?.entries.map(({ task, offsets }) => [task, offsets.get('orders-agg-changelog-0')])).toEqual([
      ['0_0', 200n],
    ]);
  });

  test('unchanged state costs no read of a file, and no request but the sign of life every minute', async () => {
    await using scene = await AgentScenario.open(CLOSED);
    scene.start();
    await scene.untilRounds(1);
    await scene.pass(15_000);
    const openedBefore = scene.opened;
    const requestsBefore = scene.store.log.length;
    await scene.pass(10 * 60_000);
    expect(scene.opened - openedBefore).toBe(0);
    const requests = scene.store.log.slice(requestsBefore);
    expect([...new Set(requests)]).toEqual([expect.stringMatching(/^put orders\/test\/records\//)]);
    expect(requests.length).toBeGreaterThanOrEqual(9);
    expect(requests.length).toBeLessThanOrEqual(11);
    expect(results(scene)).toEqual(['interval published']);
  });

  test('all rounds are of one epoch, and go on from the document before', async () => {
    await using scene = await AgentScenario.open(CLOSED);
    scene.start();
    await scene.untilRounds(1);
    await scene.disk.moveOffsets('0_1', 5);
    await scene.untilRounds(2);
    expect(scene.rounds.map(({ reusedBytes }) => reusedBytes > 300_000)).toEqual([false, true]);
    const [first, second] = await scene.documents();
    expect(second?.epoch).toBe(first?.epoch);
    const capturedBy = second?.entries.map((entry) => entry.capturedBy.split('/')[1]);
    expect(capturedBy).toEqual(['1', '2', '1', '1', '1']);
    expect(scene.records().map(({ role, state, newest }) => [role, state, newest])).toEqual([
      ['run', 'alive', second?.n],
    ]);
    // What the task that went on still has lies in the repository, sent by this very epoch.
    const [another = [], others = []] = [true, false].map((isMoved) =>
      (second?.entries ?? []).filter(({ task }) => (task === '0_1') === isMoved).flatMap(filesOfEntry),
    );
    const kept = another.filter(({ objects }) => objects.some(({ key }) => /\/data\/[^/]+\/0*1-/.test(key)));
    expect(kept.length).toBeGreaterThan(0);
    const reusedBytes = [...kept, ...others].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    expect(scene.rounds.map((round) => round.reusedBytes)).toEqual([0, reusedBytes]);
  });

  test('what its newest document does not name any more is sent again where it comes back', async () => {
    await using scene = await AgentScenario.open();
    const seven = { number: 7, sizeBytes: 300 * 1024 };
    const database = await scene.disk.plantTask('0_0', [seven]);
    scene.start();
    await scene.untilRounds(1);
    database.change({ remove: [7], add: [{ number: 8, sizeBytes: 300 * 1024 }] });
    await scene.disk.checkpoint('0_0', 200);
    await scene.untilRounds(2);
    database.change({ add: [seven] });
    await scene.disk.checkpoint('0_0', 300);
    await scene.untilRounds(3);
    const sent = scene.store.keys().filter((key) => /\/data\/.*\/\d+-\d+$/.test(key));
    expect(sent.map((key) => Number(key.split('/').at(-1)?.split('-')[0]))).toEqual([1, 2, 3]);
  });

  test('tasks appear, go and come back, and the directory itself need not be there yet', async () => {
    await using scene = await AgentScenario.open();
    scene.lock = 'stopped';
    scene.start();
    await scene.pass(5000);
    expect([scene.status.applicationFound, scene.status.problems, scene.rounds]).toEqual([false, [], []]);
    await scene.disk.plantTask('0_0', [{ number: 7 }]);
    await scene.untilRounds(1);
    await scene.disk.plantTask('0_1', [{ number: 7 }]);
    await scene.untilRounds(2);
    scene.lock = 'running';
    await scene.pass(90_000);
    await rm(join(scene.disk.applicationDirectory, '0_0'), { recursive: true });
    await scene.until('it is missed', () => scene.status.finalSnapshot.pendingBytes === 0);
    await scene.pass(5000);
    expect(scene.status.tasks.map(({ task, state, isPending }) => [task, state, isPending])).toEqual([
      ['0_0', 'restorable', false],
      ['0_1', 'restorable', false],
    ]);
    expect(scene.status.problems).toEqual([]);
  });

  test('a store that is thrown back while others are uploaded does not take the place of what is stored', async () => {
    await using scene = await AgentScenario.open();
    const { applicationDirectory } = scene.disk;
    const checkpoint = (...lines: readonly string[]): void =>
      writeFileSync(join(applicationDirectory, '0_0/.checkpoint'), `0\n${lines.length}\n${lines.join('\n')}\n`);
    const database = await scene.disk.plantTask('0_0', [{ number: 7 }]);
    new ModelDatabase(join(applicationDirectory, '0_0/rocksdb/other')).change({ add: [{ number: 7 }] });
    checkpoint('orders-agg-changelog 0 100', 'orders-other-changelog 0 100');
    const files = hookedFiles();
    files.once('before', 'hold agg/000008.sst', () => {
      database.change({ add: [{ number: 9, sizeBytes: 300_000 }] });
      checkpoint('orders-agg-changelog 0 300', 'orders-other-changelog 0 -4');
    });
    scene.start({ files });
    await scene.untilRounds(1);
    database.change({ add: [{ number: 8, sizeBytes: 300_000 }] });
    checkpoint('orders-agg-changelog 0 200', 'orders-other-changelog 0 200');
    await scene.untilRounds(2);
    const last = (await scene.documents()).at(-1)?.entries[0];
    expect(last?.stores.map(({ name }) => name)).toEqual(['agg', 'other']);
    expect(scene.taskStatus('0_0')?.why?.reason).toBe('no_offset');
  });

  test('nothing is kept open of a task that moved away', async () => {
    await using scene = await AgentScenario.open(CLOSED);
    const { applicationDirectory } = scene.disk;
    scene.start();
    await scene.untilRounds(1);
    await scene.pass(15_000);
    const openedOf = async (task: string): Promise<number> => {
      const links = await Promise.all(
        (await readdir('/proc/self/fd')).map((fd) => readlink(join('/proc/self/fd', fd)).catch(() => '')),
      );
      return links.filter((path) => path.startsWith(join(applicationDirectory, task, '/'))).length;
    };
    expect(await openedOf('0_1')).toBeGreaterThan(0);
    await rm(join(applicationDirectory, '0_1'), { recursive: true });
    await scene.pass(15_000);
    expect([await openedOf('0_1'), (await openedOf('0_0')) > 0]).toEqual([0, true]);
  });

  test('requests at the same time share one round, and what was asked for early goes at once', async () => {
    await using scene = await AgentScenario.open(CLOSED);
    const agent = scene.start();
    await scene.untilRounds(1);
    await scene.disk.moveOffsets('0_0', 5);
    const both = Promise.all([agent.requestSnapshot('request'), agent.requestSnapshot('pre_stop')]);
    await scene.untilRounds(2);
    const [one, other] = await both;
    expect([one?.snapshot, results(scene)]).toEqual([other?.snapshot, ['interval published', 'pre_stop published']]);
    expect(one?.tasks.map(({ task, outcome }) => [task, outcome])).toContainEqual(['0_0', 'captured']);
  });

  test('a store that cannot be captured does not stop the others', async () => {
    await using scene = await AgentScenario.open(CLOSED);
    await rm(join(scene.disk.applicationDirectory, '0_1/rocksdb/agg/CURRENT'));
    scene.start();
    await scene.untilRounds(1);
    await scene.pass(2000);
    expect(scene.taskStatus('0_1')).toMatchObject({ state: 'uncapturable', why: { reason: 'being_deleted' } });
    expect(scene.status.tasks.filter(({ state }) => state === 'restorable').length).toBe(4);
  });

  test('the application dies and comes back in its place: what it left is captured at once', async () => {
    await using scene = await AgentScenario.open(CLOSED);
    scene.start({ settings: { processingGuarantee: 'exactly_once_v2' } });
    await scene.untilRounds(1);
    await scene.disk.moveOffsets('0_0', 5);
    scene.lock = 'stopped';
    const beforeMs = scene.clock.monotonicMs();
    await scene.untilRounds(2);
    scene.lock = 'running';
    expect(scene.clock.monotonicMs() - beforeMs).toBeLessThan(30_000);
    await scene.pass(3000);
    const names = scene.events.flatMap((event) => (event.kind === 'notice' ? [event.name] : []));
    expect(names).toEqual(['application-ended', 'application-started']);
  });
});

describe('storage that is away', () => {
  test('for an hour: the agent lives, says so once, and catches up', async () => {
    await using scene = await AgentScenario.open(CLOSED);
    scene.start();
    await scene.untilRounds(1);
    scene.store.script({ kind: 'fail-before', times: Infinity });
    await scene.disk.moveOffsets('0_0', 5);
    await scene.pass(60 * 60_000, 10_000);
    expect(scene.status.problems.map(({ area }) => area)).toEqual(['storage']);
    const tries = scene.rounds.filter(({ result }) => result === 'failed').length;
    expect(tries).toBeGreaterThan(10);
    expect(tries).toBeLessThan(130);
    scene.store.heal();
    await scene.until('it catches up', () => scene.rounds.at(-1)?.result === 'published');
    expect(scene.status.problems).toEqual([]);
    expect((await scene.documents()).length).toBe(2);
  }, 60_000);

  test('for data alone: signs of life do not pass for recovery', async () => {
    await using scene = await AgentScenario.open(CLOSED);
    scene.start();
    await scene.untilRounds(1);
    scene.store.script({ kind: 'fail-before', operation: 'put', key: /\/(data|snapshots)\//, times: Infinity });
    await scene.disk.moveOffsets('0_0', 5);
    await scene.untilRounds(2);
    const sinceMs = scene.status.problems[0]?.sinceMs;
    await scene.pass(5 * 60_000, 10_000);
    expect(scene.status.problems).toMatchObject([{ area: 'storage', sinceMs }]);
  });

  test('from the start: nothing is lost by it', async () => {
    await using scene = await AgentScenario.open(CLOSED);
    scene.store.script({ kind: 'fail-before', times: Infinity });
    scene.start();
    await scene.pass(10_000);
    expect([scene.status.epoch, scene.status.problems[0]?.area]).toEqual([undefined, 'storage']);
    scene.store.heal();
    await scene.untilRounds(1);
    expect(scene.status.tasks.map(({ state }) => state)).toEqual(Array.from({ length: 5 }, () => 'restorable'));
  });

  test.each([
    ['back', [-30_000]],
    ['back and ahead again, as when a machine that was suspended wakes up', [-30_000, 60_000]],
    ['ahead, and so was behind before', [60_000]],
  ])('a clock that is set meanwhile is noticed: no stamp of before proves anything (Q5): %s', async (_name, steps) => {
    await using scene = await AgentScenario.open(CLOSED);
    scene.store.script({ kind: 'fail-before', times: Infinity });
    scene.start();
    await scene.pass(5000);
    for (const ms of steps) {
      scene.clock.jump(ms);
      await scene.pass(2000);
    }
    scene.store.heal();
    await scene.untilRounds(1);
    const [document] = await scene.documents();
    expect([...(document?.seen.keys() ?? [])]).toContain('0_0');
    expect(document?.entries).toEqual([]);
    await scene.disk.moveOffsets('0_0', 5);
    await scene.untilRounds(2);
    const offered = (await scene.documents()).at(-1)?.entries.map(({ task, quality }) => [task, quality]);
    expect(offered).toEqual([['0_0', 'clean']]);
  });

  test.each([
    ['back', -30_000],
    ['ahead', 60_000],
  ])(
    'once a clock was set %s, what is written later is believed, also where offsets lie inside RocksDB (Q5)',
    async (_name, ms) => {
      await using scene = await AgentScenario.open('4.3.1-eos-flushed');
      scene.start({ settings: { processingGuarantee: 'exactly_once_v2' } });
      await scene.untilRounds(1);
      scene.clock.jump(ms);
      await scene.pass(10 * 60_000, 10_000);
      await rm(scene.disk.applicationDirectory, { recursive: true });
      await layOut('4.3.1-eos-closed', scene.disk.stateDir);
      await stampAll(scene.disk.applicationDirectory, scene.clock.nowMs() - 60_000);
      scene.lock = 'stopped';
      await scene.pass(10 * 60_000, 10_000);
      expect(new Set(scene.status.tasks.map(({ entry }) => entry?.quality))).toEqual(new Set(['clean']));
    },
  );

  test('a request meanwhile fails with the reason', async () => {
    await using scene = await AgentScenario.open(CLOSED);
    const agent = scene.start();
    await scene.untilRounds(1);
    scene.store.script({ kind: 'fail-before', times: Infinity, failure: new Failure('unavailable', 'no route') });
    await scene.disk.moveOffsets('0_0', 5);
    const refused = expect(agent.requestSnapshot('request')).rejects.toThrow('no route');
    await scene.untilRounds(2);
    await refused;
  });

  test('when the application ends: the snapshot of that is taken as soon as it is back', async () => {
    await using scene = await AgentScenario.open(CLOSED);
    scene.start();
    await scene.untilRounds(1);
    scene.store.script({ kind: 'fail-before', times: Infinity });
    await scene.disk.moveOffsets('0_0', 5);
    scene.lock = 'stopped';
    await scene.untilRounds(2);
    scene.store.heal();
    const healedMs = scene.clock.monotonicMs();
    await scene.until('it catches up', () => scene.rounds.at(-1)?.result === 'published');
    expect(scene.rounds[1]?.result).toBe('failed');
    expect(scene.clock.monotonicMs() - healedMs).toBeLessThan(60_000);
  });

  test('is asked by small requests alone whether it is back', async () => {
    await using scene = await AgentScenario.open(CLOSED);
    scene.start();
    await scene.untilRounds(1);
    scene.store.script({ kind: 'fail-before', operation: 'put', key: /\/records\//, times: Infinity });
    await scene.until('it is missed', () => scene.status.problems.length > 0);
    const from = scene.store.log.length;
    await scene.disk.moveOffsets('0_0', 5);
    await scene.untilRounds(2);
    expect([scene.rounds[1]?.result, scene.store.log.slice(from)]).toEqual(['failed', []]);
  });

  test('what was sent half of --keep-within ago, and no document names, may be collected soon: it is sent again, once', async () => {
    await using scene = await AgentScenario.open();
    await scene.disk.plantTask('0_0', [{ number: 7 }]);
    scene.store.script({ kind: 'fail-before', operation: 'put', key: /\/snapshots\//, times: Infinity });
    scene.start({ settings: { keepWithinMs: 3_600_000 } });
    await scene.untilRounds(1);
    const tables = (): number => scene.store.keys().filter((key) => /\/data\/.*\/\d+-\d+$/.test(key)).length;
    await scene.pass(20 * 60_000, 10_000);
    expect(tables()).toBe(1);
    await scene.pass(15 * 60_000, 10_000);
    // Once in half an hour, not with every try.
    expect(tables()).toBe(2);
  });

  test('what was sent before it went away is not sent again', async () => {
    await using scene = await AgentScenario.open();
    await scene.disk.plantTask('0_0', [{ number: 7 }, { number: 8 }]);
    scene.store.script({ kind: 'fail-before', operation: 'put', key: /\/snapshots\// });
    scene.start();
    await scene.untilRounds(2);
    expect(results(scene)).toEqual(['interval failed', 'interval published']);
    const tables = scene.store.keys().filter((key) => /\/data\/.*\/\d+-\d+$/.test(key));
    expect(tables.length).toBe(2);
  });
});

describe('the end', () => {
  test('waits for the application, says that it is released, publishes, and seals', async () => {
    await using scene = await AgentScenario.open(CLOSED);
    scene.start({ settings: { terminationGracePeriodMs: 600_000 } });
    await scene.untilRounds(1);
    scene.stop();
    await scene.until('it is said', () => scene.records()[0]?.state === 'finishing');
    await scene.pass(5000);
    expect([scene.hasEnded, scene.status.phase]).toEqual([false, 'finishing']);
    await scene.disk.moveOffsets('0_0', 5);
    scene.lock = 'stopped';
    await scene.end();
    expect(results(scene)).toEqual(['interval published', 'final published']);
    expect(scene.records().map(({ state, newest }) => [state, newest])).toEqual([['sealed', 2]]);
    const order = scene.store.log.filter((line) => line.startsWith('put')).map((line) => line.split('/')[2]);
    expect(order.slice(-4)).toEqual(['records', 'data', 'snapshots', 'records']);
  });

  test('is announced by the preStop hook, and taken back where it does not come', async () => {
    await using scene = await AgentScenario.open(CLOSED);
    const agent = scene.start({ settings: { terminationGracePeriodMs: 120_000 } });
    await scene.untilRounds(1);
    await Promise.all([agent.requestSnapshot('pre_stop'), scene.untilRounds(2)]);
    expect(scene.records().map(({ state }) => state)).toEqual(['finishing']);
    await scene.pass(240_000);
    expect(scene.records().map(({ state }) => state)).toEqual(['alive']);
    await scene.end();
  });

  test('shows an application that was closed, though the last snapshot did not come through', async () => {
    await using scene = await AgentScenario.open(CLOSED);
    scene.start({ settings: { terminationGracePeriodMs: 30_000 } });
    await scene.untilRounds(1);
    scene.store.script({ kind: 'fail-before', operation: 'put', key: /\/(data|snapshots)\//, times: Infinity });
    await scene.disk.moveOffsets('0_0', 5);
    scene.stop();
    scene.lock = 'stopped';
    await scene.end();
    expect(scene.records().map(({ state, newest }) => [state, newest])).toEqual([['released', 1]]);
  });

  test('shows an application that was closed, though a snapshot that was begun before took all the time', async () => {
    await using scene = await AgentScenario.open(CLOSED);
    const agent = scene.start({ settings: { terminationGracePeriodMs: 30_000 } });
    await scene.untilRounds(1);
    const slow = {
      kind: 'delay',
      ms: 3_600_000,
      operation: 'put',
      key: /\/(data|snapshots)\//,
      times: Infinity,
    } as const;
    scene.store.script(slow);
    await scene.disk.moveOffsets('0_0', 5);
    const early = agent.requestSnapshot('pre_stop').catch((error: unknown) => error);
    await scene.pass(2000);
    scene.stop();
    await scene.pass(2000);
    expect(scene.records().map(({ state }) => state)).toEqual(['finishing']);
    scene.lock = 'stopped';
    await scene.end();
    expect(await early).toBeInstanceOf(Error);
    expect(scene.records().map(({ state, newest }) => [state, newest])).toEqual([['released', 1]]);
  });

  test('seals also where nothing had changed', async () => {
    await using scene = await AgentScenario.open(CLOSED);
    scene.lock = 'stopped';
    scene.start();
    await scene.untilRounds(1);
    await scene.end();
    expect(results(scene)).toEqual(['interval published', 'final unchanged']);
    expect(scene.records().map(({ state }) => state)).toEqual(['sealed']);
  });

  test('publishes once before the application has let go, for it may never see that', async () => {
    await using scene = await AgentScenario.open(CLOSED);
    scene.start({ settings: { terminationGracePeriodMs: 600_000 } });
    await scene.untilRounds(1);
    await scene.disk.moveOffsets('0_0', 5);
    scene.stop();
    await scene.pass(290_000, 10_000);
    expect(scene.rounds.length).toBe(1);
    await scene.untilRounds(2);
    const from = scene.store.log.length;
    await scene.pass(600_000, 10_000);
    expect(scene.hasEnded).toBe(true);
    // It gives signs of life until then.
    expect(scene.store.log.slice(from).filter((line) => line.includes('/records/')).length).toBeGreaterThan(3);
    expect(results(scene)).toEqual(['interval published', 'final published']);
    expect(scene.records().map(({ state, newest }) => [state, newest])).toEqual([['finishing', 2]]);
  });

  test('leaves within the grace period, and what was published before stands, where storage does not answer', async () => {
    await using scene = await AgentScenario.open(CLOSED);
    scene.lock = 'stopped';
    scene.start({ settings: { terminationGracePeriodMs: 30_000 } });
    await scene.untilRounds(1);
    scene.store.script({ kind: 'delay', ms: 3_600_000, operation: 'put', times: Infinity });
    await scene.disk.moveOffsets('0_0', 5);
    scene.stop();
    await scene.pass(29_000);
    expect([scene.hasEnded, (await scene.documents()).length]).toEqual([true, 1]);
    expect(scene.rounds.at(-1)).toMatchObject({ trigger: 'final', result: 'failed' });
    expect(scene.status.problems).toMatchObject([
      { area: 'storage', message: expect.stringContaining('before the last snapshot') },
    ]);
  });

  test.each([false, true])(
    'does not wait for a directory that cannot be read any more; storage away: %s',
    async (isAway) => {
      await using scene = await AgentScenario.open(CLOSED);
      const files = hookedFiles();
      let isReadable = true;
      files.always('stat state/orders', () => {
        if (!isReadable) throw new Failure('unavailable', 'cannot read state/orders: no such device');
      });
      scene.start({ files });
      await scene.untilRounds(1);
      isReadable = false;
      if (isAway) scene.store.script({ kind: 'fail-before', times: Infinity });
      scene.stop();
      await scene.pass(4000);
      expect(scene.hasEnded).toBe(false);
      const stoppedMs = scene.clock.monotonicMs();
      await scene.end();
      expect(scene.clock.monotonicMs() - stoppedMs).toBeLessThan(30_000);
    },
  );

  test('begins where storage was away until then, and refuses whoever asks for more afterwards', async () => {
    await using scene = await AgentScenario.open(CLOSED);
    scene.lock = 'stopped';
    scene.store.script({ kind: 'fail-before', times: Infinity });
    const agent = scene.start();
    await scene.pass(5000);
    scene.stop();
    await scene.pass(1000);
    scene.store.heal();
    await scene.end();
    expect(scene.records().map(({ state, newest }) => [state, newest])).toEqual([['sealed', 1]]);
    await expect(agent.requestSnapshot('request')).rejects.toThrow('cannot take a snapshot: warmstate run is ending');
  });

  test('without a lock to ask for it waits until nothing has changed for five seconds', async () => {
    await using scene = await AgentScenario.open(CLOSED);
    scene.lock = 'unknown';
    scene.start();
    await scene.untilRounds(1);
    scene.stop();
    await scene.pass(3000);
    await scene.disk.moveOffsets('0_0', 5);
    await scene.pass(3500);
    expect(scene.hasEnded).toBe(false);
    await scene.end();
    expect(results(scene)).toEqual(['interval published', 'final published']);
    expect(scene.records().map(({ state }) => state)).toEqual(['sealed']);
  });

  test('when killed it is over at once, and the record shows a life that was cut off', async () => {
    await using scene = await AgentScenario.open(CLOSED);
    scene.start();
    await scene.untilRounds(1);
    await scene.kill();
    expect(results(scene)).toEqual(['interval published']);
    scene.lock = 'stopped';
    scene.start();
    await scene.untilRounds(2);
    expect(scene.status.previousShutdown).toBe('killed');
    await scene.end();
    scene.start();
    await scene.until('it begins', () => scene.status.epoch !== undefined);
    expect(scene.status.previousShutdown).toBe('sealed');
  });
});

describe('an application that deletes its own state', () => {
  test('at its end is found out, and nothing that was stored is given up', async () => {
    await using scene = await AgentScenario.open(CLOSED);
    scene.start();
    await scene.untilRounds(1);
    await scene.pass(120_000);
    scene.lock = 'stopped';
    await rename(scene.disk.applicationDirectory, `${scene.disk.applicationDirectory}.gone`);
    await scene.pass(3000);
    expect(scene.status.problems).toMatchObject([{ area: 'state-dir' }]);
    expect(scene.status.problems[0]?.hint).toContain('spring.kafka.streams.cleanup.on-startup');
    expect(scene.taskStatus('0_0')).toMatchObject({ state: 'restorable', why: { reason: 'wiped_by_application' } });
    await scene.end();
    expect((await scene.documents()).at(-1)?.entries.length).toBe(5);
  });

  test('is told again once its directory, unreadable meanwhile, can be read', async () => {
    await using scene = await AgentScenario.open();
    await scene.disk.plantTask('0_0', [{ number: 7 }]);
    const files = hookedFiles();
    let isReadable = true;
    files.always('stat state/orders', () => {
      if (!isReadable) throw new Failure('unavailable', 'cannot read state/orders: permission denied');
    });
    scene.lock = 'stopped';
    scene.start({ files });
    await scene.untilRounds(1);
    await rm(join(scene.disk.applicationDirectory, '0_0'), { recursive: true });
    const problem = (): string | undefined => scene.status.problems[0]?.message;
    await scene.until('it is found out', () => problem()?.includes('0_0') === true);
    isReadable = false;
    await scene.until('it cannot be read', () => problem()?.includes('permission denied') === true);
    isReadable = true;
    await scene.until('it is told again', () => problem()?.includes('0_0') === true);
    await scene.disk.plantTask('0_0', [{ number: 7 }]);
    await scene.disk.checkpoint('0_0', 200);
    await scene.until('it is captured again', () => scene.status.problems.length === 0);
  });

  test('is not suspected where its tasks move away while it runs', async () => {
    await using scene = await AgentScenario.open(CLOSED);
    scene.start();
    await scene.untilRounds(1);
    await scene.pass(120_000);
    for (const task of ['0_0', '0_1', '1_0', '1_1', 'global']) {
      await rm(join(scene.disk.applicationDirectory, task), { recursive: true });
    }
    await scene.pass(5000);
    expect(scene.status.problems).toEqual([]);
  });
});

describe('limits', () => {
  const LARGE_BYTES = 20 * 1024 * 1024;

  test('what may not be held at once goes ahead, table by table, until little is left to hold', async () => {
    await using scene = await AgentScenario.open();
    // Compacted while it is sent ahead: then another large table is there that the repository lacks.
    const database = await scene.disk.plantTask('0_0', [{ number: 7, sizeBytes: LARGE_BYTES }]);
    const files = hookedFiles();
    files.once('before', 'hold agg/000007.sst', () =>
      database.change({ add: [{ number: 8, sizeBytes: LARGE_BYTES, largestSequence: 7n }], remove: [7] }),
    );
    scene.start({ files, askSpace: async () => ({ freeBytes: 1, sizeBytes: 100 }) });
    await scene.untilRounds(1);
    const [document] = await scene.documents();
    expect(files.trace.filter((line) => line === 'hold agg/000008.sst').length).toBe(1);
    expect(document?.entries[0]?.stores[0]?.files.map(({ path }) => path)).toContain('rocksdb/agg/000008.sst');
  });

  test('an upload that lasts for hours is published in parts, and goes on at once', async () => {
    await using scene = await AgentScenario.open();
    await scene.disk.plantTask(
      '0_0',
      [7, 8, 9].map((number) => ({ number })),
    );
    scene.store.script({ kind: 'delay', ms: 40 * 60_000, operation: 'put', key: /\/data\/.*-\d{6}$/, times: Infinity });
    scene.start({ settings: { keepWithinMs: 3_600_000, concurrency: 1 }, stallTimeoutMs: 36_000_000 });
    await scene.until('the first part', () => scene.rounds.length >= 1, MINUTE_MS / 2);
    const [part] = await scene.documents();
    expect([part?.entries.length, part?.ahead.length]).toEqual([0, 1]);
    await scene.until('the whole', () => scene.status.tasks[0]?.state === 'restorable', MINUTE_MS / 2);
    expect(scene.store.keys().filter((key) => /\/data\/.*-\d{6}$/.test(key)).length).toBe(3);
    // It was never silent for as long as others would take for death.
    expect(scene.records().map(({ state }) => state)).toEqual(['alive']);
  });

  test('interval rounds keep to the bandwidth; what is asked for early, and the last one, do not', async () => {
    await using scene = await AgentScenario.open();
    await scene.disk.plantTask('0_0', [{ number: 7, sizeBytes: 3_000_000 }]);
    const agent = scene.start({ settings: { bandwidthBytesPerSecond: 1000, compression: 'none' } });
    await scene.until('it has begun', () => scene.status.epoch !== undefined);
    await scene.pass(60_000, 10_000);
    expect(scene.rounds).toEqual([]);
    const result = agent.requestSnapshot('pre_stop');
    result.catch(() => undefined);
    // The limit is lifted for the round under way; the request has the next one.
    await scene.untilRounds(2);
    expect(scene.rounds[0]?.durationMs).toBeLessThan(20 * 60_000);
    expect((await result).tasks.map(({ outcome }) => outcome)).toEqual(['unchanged']);
  });
});

describe('where the guarantee is not known', () => {
  const AUTO = { processingGuarantee: 'auto' } as const;

  test('what both grant is captured right after its checkpoint, whenever the last round was', async () => {
    await using scenario = await AgentScenario.open();
    const database = await scenario.disk.plantTask('0_0', [{ number: 7 }]);
    scenario.start({ settings: AUTO });
    await scenario.untilRounds(1);
    // Written to, it is worth something under at-least-once alone: a round finds nothing to capture.
    await scenario.pass(6 * 60_000);
    database.change({ add: [{ number: 8, sizeBytes: 300 * 1024, largestSequence: 100n }] });
    await scenario.untilRounds(2);
    expect(scenario.taskStatus('0_0')?.why?.reason).toBe('guarantee_unknown');

    await scenario.disk.checkpoint('0_0', 200);
    const checkpointMs = scenario.clock.monotonicMs();
    scenario.hint('0_0');
    await scenario.untilRounds(3);
    expect(scenario.clock.monotonicMs() - checkpointMs).toBeLessThan(60_000);
    expect(scenario.taskStatus('0_0')?.entry).toMatchObject({
      quality: 'clean',
      offsets: new Map([['orders-agg-changelog-0', 200n]]),
    });
  });
});

/** Files as written at this moment, and directories a little before. */
async function stampAll(directory: string, ms: number): Promise<void> {
  for (const one of await readdir(directory, { recursive: true, withFileTypes: true })) {
    const at = new Date(one.isDirectory() ? ms - 5_000 : ms);
    await utimes(join(one.parentPath, one.name), at, at);
  }
}
