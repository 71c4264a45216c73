import type { Explanation } from '../streams/reason.ts';
import type { Layout } from './document.ts';
import type { Fence } from './fence.ts';
import { compareEpochs } from './keys.ts';
import type { EpochRecord, InstalledSummary, Trial } from './record.ts';

/** What one restore installed, for whom, and what became of it. */
interface JudgedInstall {
  readonly epoch: string;
  readonly installed: readonly InstalledSummary[];
  readonly outcome: Trial;
}

/** Entries that a version of the application was seen not to live with. */
export interface Quarantine {
  readonly task: string;
  readonly layout: Layout;
  /** What was captured later is offered. */
  readonly untilMs: number;
  /** The restores after which the application was lost, oldest first. */
  readonly epochs: readonly string[];
}

/** A process may end for many reasons; one that ends again and again is not living with what it was given. */
export const LOSSES_MIN = 2;
/** One pod may be unlucky with its node. */
const FAILED_TRIALS_MIN = 2;

/**
 * What is not offered to this version of the application: tasks that each of two restores installed, in one layout,
 * after which it was lost. That it was later seen to live with the same task in the same layout ends it, and so does a
 * fence: what failed is not offered any more. A version that is not known is every version.
 */
export function findQuarantines(
  records: readonly EpochRecord[],
  appVersion: string | undefined,
  fences: readonly Fence[] = [],
): readonly Quarantine[] {
  const installs = records.flatMap((record) => judgeInstall(record, { records, appVersion }));
  const trials = installs.flatMap(({ epoch, installed, outcome }) =>
    installed.flatMap(({ task, layout }) => (layout === undefined ? [] : [{ epoch, task, layout, outcome }])),
  );
  return [...Map.groupBy(trials, ({ task, layout }) => `${layout} ${task}`).values()].flatMap((alike) => {
    const [{ task, layout } = { task: '', layout: 'file' as const }] = alike;
    const livedMs = latest(alike.filter(({ outcome }) => outcome.state === 'confirmed'));
    const fencedMs = Math.max(...fences.filter((fence) => isOfAll(fence, { task, layout })).map((one) => one.beforeMs));
    const failed = alike.filter(
      ({ outcome }) => outcome.state === 'failed' && outcome.atMs > livedMs && outcome.atMs >= fencedMs,
    );
    if (failed.length < FAILED_TRIALS_MIN) return [];
    const epochs = failed.map(({ epoch }) => epoch).sort(compareEpochs);
    return [{ task, layout, untilMs: latest(failed), epochs }];
  });
}

/** Whether a fence withdraws a task of a layout whoever captured it, in whatever quality. */
function isOfAll(
  { tasks, layout, instance, quality }: Fence,
  of: { readonly task: string; readonly layout: Layout },
): boolean {
  const hasTask = tasks === undefined || tasks.includes(of.task);
  return hasTask && (layout ?? of.layout) === of.layout && instance === undefined && quality === undefined;
}

/** Why an entry may not be installed for the version that these quarantines are of, or undefined when it may. */
export function whyQuarantined(
  quarantines: readonly Quarantine[],
  offer: { readonly task: string; readonly layout: Layout; readonly capturedAtMs: number },
): Explanation | undefined {
  const found = quarantines.find(({ task, layout }) => task === offer.task && layout === offer.layout);
  if (found === undefined || offer.capturedAtMs > found.untilMs) return undefined;
  const until = new Date(found.untilMs).toISOString();
  const message =
    `the application was lost again and again after the restores ${found.epochs.join(' and ')} had installed it: ` +
    `until another --app-version is deployed, only what is captured after ${until} is installed`;
  return { reason: 'quarantined', message };
}

/** What a restore has on trial still: nothing, once the application was seen to live with it. */
export function tasksOnTrial(records: readonly EpochRecord[], epoch: string | undefined): ReadonlySet<string> {
  const record = records.find((one) => one.epoch === epoch);
  if (record === undefined || judgeTrial(records, record.epoch)?.state === 'confirmed') return new Set();
  return new Set(record.installed.map(({ task }) => task));
}

/** What all processes that ran after one restore saw together; undefined where none of them did. */
export function judgeTrial(records: readonly EpochRecord[], restoreEpoch: string): Trial | undefined {
  const trials = records.flatMap(({ after, trial }) => (after === restoreEpoch && trial !== undefined ? [trial] : []));
  if (trials.length === 0) return undefined;
  const lockLost = sum(trials.map((trial) => trial.lockLost));
  const confirmed = trials.filter(({ state }) => state === 'confirmed');
  const hasFailed = lockLost >= LOSSES_MIN;
  return {
    state: confirmed.length > 0 ? 'confirmed' : hasFailed ? 'failed' : 'undecided',
    atMs: Math.max(...(confirmed.length > 0 ? confirmed : trials).map(({ atMs }) => atMs)),
    lockTaken: sum(trials.map((trial) => trial.lockTaken)),
    lockLost,
  };
}

function judgeInstall(
  { epoch, installed, appVersion }: EpochRecord,
  asked: { readonly records: readonly EpochRecord[]; readonly appVersion: string | undefined },
): readonly JudgedInstall[] {
  const isAlike = appVersion === undefined || asked.appVersion === undefined || appVersion === asked.appVersion;
  if (installed.length === 0 || !isAlike) return [];
  const outcome = judgeTrial(asked.records, epoch);
  return outcome === undefined ? [] : [{ epoch, installed, outcome }];
}

function latest(trials: readonly { readonly outcome: Trial }[]): number {
  return Math.max(Number.NEGATIVE_INFINITY, ...trials.map(({ outcome }) => outcome.atMs));
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}
