import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { hookedFiles } from '../../test/support/hooked-files.ts';
import { Scenario } from '../../test/support/scenario.ts';
import { systemClock } from '../base/clock.ts';
import { realFiles } from '../base/file-access.ts';
import type { Event } from '../events/event.ts';
import type { RestoreReport } from '../repository/restore-result.ts';
import type { TaskMemory } from '../streams/quality.ts';
import { Looks } from './looks.ts';

const { signal } = new AbortController();
const options = { isKnown: () => true, triesMax: 1, signal };

describe('a directory that stood further before', () => {
  /** Looks that begin with what earlier processes knew. */
  function openLooks(
    { applicationDirectory }: Scenario,
    { events = [], standing = [] }: { events?: Event[]; standing?: readonly (readonly [string, bigint])[] } = {},
  ): Looks {
    return new Looks(
      {
        applicationDirectory,
        applicationId: 'orders',
        guarantee: 'exactly_once_v2',
        transactionalStores: false,
        passesOverUnreadable: false,
      },
      { files: realFiles, clock: systemClock, emit: (event) => void events.push(event) },
      { base: undefined, report: undefined, standingOf: () => new Map(standing) },
    );
  }

  async function lookAt(looks: Looks): Promise<void> {
    const look = await looks.look('0_0', options);
    if (look.kind !== 'gone') await (look.kind === 'looked' ? look.look : look).capture?.[Symbol.asyncDispose]();
  }

  const agg = 'orders-agg-changelog-0';

  test('was thrown back, also where nothing was captured in between: told once, with the time of what stands there now', async () => {
    await using scenario = await Scenario.open();
    await scenario.plantTask('0_0', []);
    const events: Event[] = [];
    await using looks = openLooks(scenario, { events });
    for (const offset of [100, 700, 300, 300, 301]) {
      await scenario.checkpoint('0_0', offset);
      await lookAt(looks);
      if (offset === 700) expect(looks.regressions.size).toBe(0);
    }
    const [regression] = looks.regressions.values();
    expect(regression?.why).toEqual({
      reason: 'regressed',
      message: `${agg} stood at 700 in this directory and stands at 300 now: its topic was recreated or cut`,
    });
    const { mtimeMs } = await stat(join(scenario.applicationDirectory, '0_0/.checkpoint'));
    expect(regression?.stateTimeMs).toBeLessThan(mtimeMs);
    expect(events).toMatchObject([{ name: 'task-regressed', level: 'error' }]);
  });

  test('before this process did is known from what was captured or installed', async () => {
    await using scenario = await Scenario.open();
    await scenario.plantTask('0_0', []);
    const standing = [
      [agg, 101n],
      ['orders-win-changelog-0', 5n],
    ] as const;
    await using looks = openLooks(scenario, { standing });
    await lookAt(looks);
    expect([...looks.regressions.keys()]).toEqual(['0_0']);
  });

  test('is another one where it was deleted and made anew, and stands nowhere while it has no offset', async () => {
    await using scenario = await Scenario.open();
    await scenario.plantTask('0_0', []);
    const events: Event[] = [];
    await using looks = openLooks(scenario, { events });
    await lookAt(looks);
    await scenario.checkpoint('0_0', -4);
    await lookAt(looks);
    expect(looks.regressions.size).toBe(0);
    await scenario.checkpoint('0_0', 3);
    await lookAt(looks);
    expect(looks.regressions.size).toBe(1);
    await rename(join(scenario.applicationDirectory, '0_0'), join(scenario.stateDir, 'old'));
    await scenario.plantTask('0_0', []);
    await scenario.checkpoint('0_0', 1);
    await lookAt(looks);
    expect([looks.regressions.size, events.length]).toEqual([0, 1]);
  });
});

test('what a restore knew of a directory holds also after a look at which it would not hold still (Q6)', async () => {
  await using scenario = await Scenario.open('3.9.2-eos-closed');
  const { applicationDirectory } = scenario;
  const { dev, ino, birthtimeNs } = await stat(join(applicationDirectory, '0_0'), { bigint: true });
  // The last snapshot saw it whole; then it was killed over writes of a transaction, which the restore noticed.
  const seen: TaskMemory = {
    device: dev,
    inode: ino,
    birthtimeNs,
    checkpoint: undefined,
    passed: true,
    tainted: false,
    databases: new Map(),
    parents: new Map(),
    watch: { sinceMs: 0, writes: 0n, looksExactlyOnce: false },
  };
  const report: RestoreReport = {
    application: 'orders',
    lineage: 'test',
    instance: 'pod-0',
    epoch: undefined,
    writer: 'warmstate test',
    timeMs: Date.now(),
    guarantee: 'exactly_once_v2',
    appVersion: undefined,
    result: { outcome: 'local', tasks: [], bytesDownloaded: 0, requests: 0, durationMs: 0 },
    installed: [],
    taints: [{ task: '0_0', device: dev, inode: ino }],
  };
  const files = hookedFiles();
  const where = {
    applicationDirectory,
    applicationId: 'orders',
    guarantee: 'exactly_once_v2',
    transactionalStores: false,
    passesOverUnreadable: false,
  } as const;
  const world = { files, clock: systemClock, emit: () => {} };
  await using looks = new Looks(where, world, { base: { seen: new Map([['0_0', seen]]) }, report });
  looks.isRunning = false;

  const current = join(applicationDirectory, '0_0/rocksdb/agg/CURRENT');
  let text: Buffer | undefined;
  files.once('before', 'list 0_0/rocksdb', () => {
    text = readFileSync(current);
    rmSync(current);
  });
  const first = await looks.look('0_0', options);
  if (text !== undefined) writeFileSync(current, text);
  // The document of this round says it as well.
  expect([looks.memories.get('0_0')?.tainted, looks.taints.length]).toEqual([true, 1]);
  const second = await looks.look('0_0', options);
  expect([first, second].map((look) => (look.kind === 'refused' ? look.why.reason : look.kind))).toEqual([
    'being_deleted',
    'unclean_restart',
  ]);
});
