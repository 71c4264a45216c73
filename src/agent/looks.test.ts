import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { hookedFiles } from '../../test/support/hooked-files.ts';
import { Scenario } from '../../test/support/scenario.ts';
import { systemClock } from '../base/clock.ts';
import type { RestoreReport } from '../repository/restore-result.ts';
import type { TaskMemory } from '../streams/quality.ts';
import { Looks } from './looks.ts';

const { signal } = new AbortController();
const options = { isKnown: () => true, triesMax: 1, signal };

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
  const second = await looks.look('0_0', options);
  expect([first, second].map((look) => (look.kind === 'refused' ? look.why.reason : look.kind))).toEqual([
    'being_deleted',
    'unclean_restart',
  ]);
});
