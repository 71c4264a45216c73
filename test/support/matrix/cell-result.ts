import { z } from 'zod';

const taskSeen = z.object({
  task: z.string(),
  quality: z.string().nullable(),
  reason: z.string().nullable(),
  /** Whether its offsets are those of the close that came first, or go beyond. */
  state: z.enum(['as-closed', 'since-the-close', 'none']),
});

const installedTask = taskSeen.extend({ decision: z.enum(['warm', 'local', 'cold']) });

const replayedStore = z.object({
  store: z.string(),
  /** Of each partition of its changelog: where the restore listener says that restoring began and where it ended. */
  from: z.array(z.string()),
  to: z.array(z.string()),
  records: z.number(),
});

const cellResult = z.object({
  cell: z.string(),
  /** Of warmstate. */
  commit: z.string(),
  date: z.string(),
  seconds: z.number(),
  /** What snapshots said of the tasks in question, by the moment at which they were taken. */
  captured: z.record(z.string(), z.array(taskSeen)),
  installed: z.array(installedTask),
  replayed: z.array(replayedStore),
  /** What else was seen, in words. */
  facts: z.array(z.string()),
  /** Anything that must not be: restored from another offset, wiped, unlike the model. */
  wrong: z.array(z.string()),
});

/** What one cell of the matrix showed. */
export type CellResult = z.infer<typeof cellResult>;
export type InstalledTask = z.infer<typeof installedTask>;
export type TaskSeen = z.infer<typeof taskSeen>;
export type ReplayedStore = z.infer<typeof replayedStore>;

/** Throws what zod throws where it is none. */
export function decodeResult(json: string): CellResult {
  return cellResult.parse(JSON.parse(json));
}

export function decodeResults(json: string): readonly CellResult[] {
  return z.array(cellResult).parse(JSON.parse(json));
}

/** One line for one cell. */
export function describeResult(result: CellResult): string {
  const warm = result.installed.filter(({ decision }) => decision === 'warm');
  const qualities = [...new Set(warm.map(({ quality }) => quality))].join(', ');
  const replays = result.replayed.map(
    ({ store, from, records }) => `${store} from ${from.join(', ')}: ${records} records`,
  );
  return [
    `${result.cell}: ${warm.length} of ${result.installed.length} warm${qualities === '' ? '' : ` (${qualities})`}`,
    ...replays,
    ...result.facts,
    result.wrong.length === 0 ? 'nothing wiped, all stores equal the model' : `WRONG: ${result.wrong.join('; ')}`,
    `${Math.round(result.seconds)} s`,
  ].join(' · ');
}
