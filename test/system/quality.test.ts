import { existsSync, readdirSync, rmdirSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, relative } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { describe, expect, test } from 'vitest';
import type { Random } from '../../src/base/clock.ts';
import { realFiles } from '../../src/base/file-access.ts';
import type { TaskMemory, TaskSight } from '../../src/streams/quality.ts';
import { listTasks } from '../../src/streams/state-directory.ts';
import { deleteInDirectoryOrder } from '../support/deletion.ts';
import { layOut, RECORDINGS, readRecording } from '../support/recorded.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { openTempDirectory } from '../support/temp-directory.ts';
import { type Judged, judgeSight, lookAtTask } from '../support/verdicts.ts';

/** Each lists its directories in an order of its own, and stamps in ticks of its own. */
const VOLUMES = [tmpdir(), '/dev/shm'].filter((path) => existsSync(path));

const CLEAN = ['clean', 'clean'];
const LIVE = ['live', 'exactly_once_running'];
/** At the first look nothing tells new segments from a deletion (D2). */
const WAITS = ['changing', 'changing'];
const NO_CHECKPOINT = ['no_offset', 'exactly_once_running'];
const IS_OPEN = ['segmented', 'exactly_once_running'];
interface Row {
  /** Tasks 0_0 and 0_1 (agg, win) at the first look, and when the parents of their stores were seen before. */
  readonly windowed: readonly [readonly string[], readonly string[]];
  /** Tasks 1_0 and 1_1 (tab). */
  readonly plain: readonly string[];
  readonly global: readonly string[];
}

const ALL_CLEAN: Row = { windowed: [CLEAN, CLEAN], plain: CLEAN, global: CLEAN };
const FLUSHED: Row = { windowed: [WAITS, LIVE], plain: CLEAN, global: LIVE };
const WITHOUT_CHECKPOINT: Row = { windowed: [NO_CHECKPOINT, NO_CHECKPOINT], plain: NO_CHECKPOINT, global: CLEAN };

/** Of what lies inside RocksDB nothing that has segments, and nothing global, is worth anything while it is open. */
const OPEN: Row = { windowed: [IS_OPEN, IS_OPEN], plain: CLEAN, global: IS_OPEN };

const CLOSED = [
  '2.8.2-alos-closed',
  '2.8.2-eos-closed',
  '3.9.2-alos-closed',
  '3.9.2-eos-closed',
  '4.2.2-alos-closed',
  '4.2.2-eos-closed',
];

/** Their offsets lie inside RocksDB, and nothing names the stores that there must be. */
const CLOSED_INSIDE = ['4.3.1-alos-closed', '4.3.1-eos-closed'];

/** Under at-least-once and under exactly-once. */
const EXPECTED: readonly (readonly [string, Row])[] = [
  ...CLOSED.map((name) => [name, ALL_CLEAN] as const),
  // Nothing was flushed since the checkpoint that every start under at-least-once rewrites, and 3.9 under any guarantee.
  ['2.8.2-alos-killed', ALL_CLEAN],
  ['3.9.2-alos-killed', ALL_CLEAN],
  ['3.9.2-eos-killed', ALL_CLEAN],
  ['4.2.2-alos-killed', ALL_CLEAN],
  ['2.8.2-eos-killed', WITHOUT_CHECKPOINT],
  ['4.2.2-eos-killed', WITHOUT_CHECKPOINT],
  // 2.8 writes the checkpoint of global stores at every commit.
  ['2.8.2-alos-flushed', { ...FLUSHED, global: CLEAN }],
  ['3.9.2-alos-flushed', FLUSHED],
  ['3.9.2-eos-flushed', FLUSHED],
  ['4.2.2-alos-flushed', FLUSHED],
  ['2.8.2-eos-flushed', WITHOUT_CHECKPOINT],
  ['4.2.2-eos-flushed', { ...WITHOUT_CHECKPOINT, global: LIVE }],
  ...CLOSED_INSIDE.map((name) => [name, ALL_CLEAN] as const),
  ['4.3.1-alos-killed', ALL_CLEAN],
  ['4.3.1-eos-killed', ALL_CLEAN],
  ['4.3.1-alos-flushed', OPEN],
  ['4.3.1-eos-flushed', OPEN],
];

test('every recorded directory has its row', () => {
  const recorded = readdirSync(RECORDINGS).filter((name) => /^\d/.test(name));
  expect(EXPECTED.map(([name]) => name).sort()).toEqual(recorded.sort());
});

describe.each(VOLUMES)('a recorded directory on %s', (volume) => {
  test.each(EXPECTED)('%s is worth what it is worth, task by task', async (name, row) => {
    await using root = await openTempDirectory(volume);
    const { applicationId } = await layOut(name, root.path);
    const application = join(root.path, applicationId);
    const found: Record<string, unknown> = {};
    for (const task of await listTasks(realFiles, application)) {
      const sight = await look(application, task);
      const first = judgeSight(sight, { applicationId });
      const second = judgeSight(sight, { applicationId, memory: memoryOfParents(sight, applicationId) });
      found[task] = [first.verdicts, second.verdicts];
    }
    const [plain, global] = [row.plain, row.global].map((verdicts) => [verdicts, verdicts]);
    expect(found).toEqual({ '0_0': row.windowed, '0_1': row.windowed, '1_0': plain, '1_1': plain, global });
  });
});

test('in every directory that was closed there are manifests younger than the checkpoint', async () => {
  for (const name of CLOSED) {
    const { entries } = await readRecording(name);
    const stampOf = (path: string): bigint => BigInt(entries.find((entry) => entry.path === path)?.mtimeNs ?? 0);
    const younger = entries.filter(({ path, mtimeNs }) => {
      const [application, task] = path.split('/');
      return path.includes('/MANIFEST-') && BigInt(mtimeNs) > stampOf(`${application}/${task}/.checkpoint`);
    });
    expect([name, younger.length > 0]).toEqual([name, true]);
  }
});

describe.each(VOLUMES)('a task directory on %s that is being deleted', (volume) => {
  test.each([...CLOSED, ...CLOSED_INSIDE])(
    '%s is refused from the first loss to the last, in directory order',
    async (name) => {
      await using root = await openTempDirectory(volume);
      const { applicationId } = await layOut(name, root.path);
      for (const task of ['0_0', '0_1', '1_0', 'global']) {
        const application = join(root.path, applicationId);
        expect(await deleteWatched(application, task, deleteInDirectoryOrder(join(application, task)))).toEqual([]);
      }
    },
  );

  // Another file system lists in another order.
  test.each(
    Array.from({ length: 32 }, (_, seed) => [seed % 2 === 0 ? '3.9.2-eos-closed' : '4.3.1-eos-closed', seed] as const),
  )('%s is refused in the order %i too', async (name, seed) => {
    await using root = await openTempDirectory(volume);
    const { applicationId } = await layOut(name, root.path);
    const application = join(root.path, applicationId);
    const steps = deleteInOrder(join(application, '0_0'), seededRandom(seed));
    expect(await deleteWatched(application, '0_0', steps)).toEqual([]);
  });
});

/** Judges a task after each step of its deletion; returns what was lacking of those that were accepted. */
async function deleteWatched(application: string, task: string, steps: Iterable<string>): Promise<readonly string[]> {
  const applicationId = basename(application);
  const whole = await look(application, task);
  const known = judgeSight(whole, { applicationId });
  expect(known.verdicts).toEqual(CLEAN);
  const lost = new Set<string>();
  const accepted: string[] = [];
  let { memory } = known;
  for (const path of steps) {
    if (isEssential(path)) lost.add(relative(join(application, task), path));
    const seen = lost.size === 0 ? undefined : await lookAtTask(application, task);
    if (seen?.kind !== 'seen') continue;
    const { sight } = seen;
    const first = judgeSight(sight, { applicationId });
    const next = judgeSight(sight, { applicationId, memory });
    const later = judgeSight(sight, { applicationId, memory, laterMs: 3_600_000 });
    if (hasValid(first)) accepted.push(`at first sight without ${[...lost].join()}`);
    if (hasValid(next)) accepted.push(`with memory without ${[...lost].join()}`);
    // What is deleted up to there and no further is what an expiry leaves.
    if (hasValid(later) && !isExpiry(whole, sight)) accepted.push(`an hour later without ${[...lost].join()}`);
    memory = next.memory;
  }
  expect(lost.size).toBeGreaterThan(3);
  return accepted;
}

/** Deletes depth first, in an order of its own. */
function* deleteInOrder(directory: string, random: Random): Generator<string, void> {
  const names = readdirSync(directory, { withFileTypes: true }).map((entry) => ({ entry, rank: random.fraction() }));
  for (const { entry } of names.sort((left, right) => left.rank - right.rank)) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) {
      yield* deleteInOrder(path, random);
      continue;
    }
    unlinkSync(path);
    yield path;
  }
  rmdirSync(directory);
  yield directory;
}

/** Without these a task is not what it was; the others RocksDB and Kafka Streams make anew. */
function isEssential(path: string): boolean {
  return /\/(\.checkpoint|CURRENT|MANIFEST-\d+|\d+\.sst)$/.test(path);
}

/** Nothing is gone but the oldest segments, each of them whole. */
function isExpiry(whole: TaskSight, now: TaskSight): boolean {
  const paths = new Set(now.databases.map(({ path }) => path));
  const gone = whole.databases.filter(({ path }) => !paths.has(path)).map(({ path }) => path);
  const tablesOf = (sight: TaskSight): unknown =>
    sight.databases.filter(({ path }) => paths.has(path)).map(({ path, tables }) => [path, tables.length]);
  const oldest = whole.databases.filter(({ store }) => store === 'win').map(({ path }) => path);
  return gone.every((path, index) => path === oldest[index]) && isDeepStrictEqual(tablesOf(now), tablesOf(whole));
}

function hasValid({ verdicts }: Judged): boolean {
  return verdicts.some((verdict) => ['clean', 'live'].includes(verdict));
}

/** Of a look that saw the directories as they are, before the checkpoint. */
function memoryOfParents(sight: TaskSight, applicationId: string): TaskMemory {
  return judgeSight({ ...sight, checkpoint: undefined }, { applicationId }).memory;
}

async function look(applicationDirectory: string, task: string): Promise<TaskSight> {
  const seen = await lookAtTask(applicationDirectory, task);
  if (seen.kind === 'refused') throw new Error(`${task} was not captured: ${seen.why.message}`);
  return seen.sight;
}
