import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { hookedFiles } from '../../test/support/hooked-files.ts';
import { ModelDatabase } from '../../test/support/model-database.ts';
import { SimulatedStore } from '../../test/support/simulated-store.ts';
import { openTempDirectory } from '../../test/support/temp-directory.ts';
import { systemClock } from '../base/clock.ts';
import { Budget } from '../base/concurrency.ts';
import { KnownTables } from './known-tables.ts';
import { Looks } from './looks.ts';
import { takeTask } from './task-snapshot.ts';

/** Large enough to be sent by itself, before the task is captured. */
const TABLE_BYTES = 300 * 1024;
/** Longer than the ticks in which file systems stamp. */
const TICK_MS = 20;

test('Q2: a task that was clean before its tables were sent stays so, though they are compacted meanwhile', async () => {
  await using root = await openTempDirectory();
  const database = new ModelDatabase(join(root.path, '0_0/rocksdb/agg'));
  database.change({ add: [7, 8].map((number) => ({ number, sizeBytes: TABLE_BYTES })) });
  await delay(TICK_MS);
  writeFileSync(join(root.path, '0_0/.checkpoint'), '0\n1\norders-agg-changelog 0 100\n');
  await delay(TICK_MS);
  const files = hookedFiles();
  files.once('before', 'hold agg/000007.sst', () =>
    database.change({ add: [{ number: 9, sizeBytes: TABLE_BYTES, largestSequence: 8n }], remove: [7, 8] }),
  );

  await using looks = new Looks(
    {
      applicationDirectory: root.path,
      applicationId: 'orders',
      guarantee: 'exactly_once_v2',
      passesOverUnreadable: false,
    },
    { files, clock: systemClock, emit: () => {} },
    { base: undefined, report: undefined },
  );
  let keys = 0;
  const outcome = await takeTask(
    '0_0',
    {
      applicationDirectory: root.path,
      isProgress: () => true,
      previous: undefined,
      archiveUse: new Map(),
    },
    {
      files,
      look: (options) => looks.look('0_0', options),
      pinnedBytesMax: async () => 2 ** 30,
      isLate: () => false,
      emit: () => {},
      signal: new AbortController().signal,
      store: new SimulatedStore(),
      nextDataKey: () => `data/${(keys += 1)}`,
      compression: 'none',
      concurrency: 2,
      memory: new Budget(64 * 1024 * 1024),
      known: new KnownTables(),
    },
  );
  if (outcome.kind !== 'taken') throw new Error(JSON.stringify(outcome));
  await using taken = outcome.taken;
  expect([taken.quality, [...taken.stored.keys()]]).toEqual(['clean', ['rocksdb/agg/000009.sst']]);
});
