import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
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
