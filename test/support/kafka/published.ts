import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { mapBounded } from '../../../src/base/concurrency.ts';
import type { Sidecar } from '../sidecar.ts';
import type { Broker } from './broker.ts';
import type { ImageChecker, ImageVerdict } from './image-checker.ts';
import type { PrintedTask, ProtectedApp } from './protected-app.ts';

/** What came of one restore. */
export interface RestoredElsewhere {
  readonly installed: readonly PrintedTask[];
  /** Undefined where nothing was offered. */
  readonly verdict: ImageVerdict | undefined;
}

/**
 * Restores a snapshot, or the best of every task, into a directory of its own and has it compared with the changelogs: what
 * is clean must be the very state of its offsets, what is live no state before them.
 */
export async function restoreElsewhere(
  app: ProtectedApp,
  checker: ImageChecker,
  options: {
    readonly snapshot?: string;
    readonly destination?: string;
    /** Done to the directory before the comparison. */
    readonly alter?: (stateDir: string) => Promise<void>;
  } = {},
): Promise<RestoredElsewhere> {
  const { alter, ...choice } = options;
  const to = await mkdtemp(`${app.stateDir}-elsewhere-`);
  try {
    const tasks = await app.restore({ ...choice, to, tasks: 'all' });
    const installed = tasks.filter(({ decision }) => decision === 'warm');
    if (installed.length === 0) return { installed, verdict: undefined };
    await alter?.(to);
    const exact = installed.filter(({ quality }) => quality === 'clean').map(({ task }) => task);
    const image = { applicationDirectory: join(to, app.name), applicationId: app.name, topics: app.name, exact };
    return { installed, verdict: await checker.check(image) };
  } finally {
    await rm(to, { recursive: true, force: true });
  }
}

/** What the run offers of each task once it has seen the application closed, and taken everything. */
export function closedTasks(
  sidecar: Sidecar,
  tasks: readonly string[],
): Promise<Readonly<Record<string, PrintedTask['offsets'] | undefined>>> {
  return sidecar.until('everything that was closed is offered', async () => {
    const status = await sidecar.status();
    const taken = status.tasks.filter(({ entry, pending }) => entry?.quality === 'clean' && !pending);
    if (status.applicationRunning !== false || taken.length < tasks.length) return undefined;
    return Object.fromEntries(taken.map(({ task, entry }) => [task, entry?.offsets]));
  });
}

/** What a checkpoint says that goes to the end: the last offset of each changelog; of a global topic the next one. */
export async function changelogEnds(app: ProtectedApp, broker: Broker): Promise<Readonly<Record<string, string>>> {
  const ends = [...(await broker.endOffsets())];
  const persistent = new RegExp(`^${app.name}-(agg|win|tab)-changelog-\\d+$`);
  const changelogs = ends.filter(([partition]) => persistent.test(partition));
  const globals = ends.filter(([partition]) => partition.startsWith(`${app.name}-global-`));
  return Object.fromEntries([
    ...changelogs.map(([partition, end]) => [partition, String(end - 1n)]),
    ...globals.map(([partition, end]) => [partition, String(end)]),
  ]);
}

/** Of what lies on disk: a release may name stores in memory, too. */
export function offsetsOf(tasks: readonly PrintedTask[]): Readonly<Record<string, string>> {
  const all = tasks.flatMap(({ offsets }) => Object.entries(offsets));
  return Object.fromEntries(all.filter(([changelog]) => !changelog.includes('-mem-changelog-')));
}

/** Every document that was ever published, restored elsewhere. */
export async function checkAll(
  app: ProtectedApp,
  checker: ImageChecker,
  signal: AbortSignal,
): Promise<{
  readonly snapshots: readonly string[];
  readonly wrong: readonly string[];
  readonly counts: Readonly<Record<string, number>>;
}> {
  const snapshots = await app.snapshots();
  const wrong: string[] = [];
  const counts: Record<string, number> = { snapshots: snapshots.length, clean: 0, live: 0, ahead: 0 };
  const restored = await mapBounded(snapshots, { limit: 2, signal }, async (snapshot) => ({
    snapshot,
    ...(await restoreElsewhere(app, checker, { snapshot })),
  }));
  for (const { snapshot, installed, verdict } of restored) {
    for (const { quality } of installed) counts[quality ?? ''] = (counts[quality ?? ''] ?? 0) + 1;
    counts['ahead'] = Math.max(counts['ahead'] ?? 0, verdict?.ahead ?? 0);
    wrong.push(...(verdict?.errors ?? []).map((error) => `${snapshot}: ${error}`));
  }
  return { snapshots, wrong, counts };
}
