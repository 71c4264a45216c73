import { Failure } from '../base/failure.ts';
import { describeAge, describeBytes, describeCount } from '../base/quantity.ts';
import { type Fence, type FenceScope, NOW_LASTS_MS, stemsFrom, whyFenced } from '../repository/fence.ts';
import { formatSnapshotName } from '../repository/keys.ts';
import type { TaskSummary } from '../repository/record.ts';
import { listRepository, newestSnapshots, type Repository } from '../repository/repository.ts';
import { loadWithdrawals, whyWithdrawn, writeFence } from '../repository/withdrawals.ts';
import type { ObjectStore } from '../storage/object-store.ts';
import { compareTasks } from '../streams/state-directory.ts';
import type { CommandContext } from './command.ts';
import { describeScope, fenceJson } from './fence.ts';
import { jsonTime } from './json.ts';
import { type Look, paint } from './look.ts';
import { openOnlyRepository, type RepositoryChoice } from './repository-choice.ts';
import { renderTable } from './table.ts';

export interface ForgetSettings extends RepositoryChoice {
  readonly all: boolean;
  readonly task: readonly string[] | undefined;
  readonly instance: string | undefined;
  readonly layout: FenceScope['layout'];
  /** By default now, by the store's clock. */
  readonly before: number | undefined;
  readonly dryRun: boolean;
}

export interface ForgetResult {
  readonly fence: Fence;
  /** Whether it stands. */
  readonly isPut: boolean;
  /** What was offered until now and is not any more. */
  readonly entries: readonly ForgottenEntry[];
}

interface ForgottenEntry extends TaskSummary {
  readonly snapshot: string;
}

/**
 * Puts up a fence: nothing in its scope that was current before it is offered any more, whoever captured it or will.
 * Failure `missing` where nothing lies in the scope: a fence for nothing is most likely a name that was misspelt. For all of an
 * application it is put up all the same: what was never stored, or is long gone, may lie on volumes that wake up later.
 */
export async function forget(
  store: ObjectStore,
  settings: ForgetSettings,
  context: Pick<CommandContext, 'signal' | 'emit' | 'random'> & { readonly program: string },
): Promise<ForgetResult> {
  assertScope(settings);
  const { signal, random, program } = context;
  const repository = await openOnlyRepository(store, settings, context);
  if (repository === undefined) {
    const hint = 'name --application-id and --lineage: then --all fences the volumes too';
    throw new Failure('missing', 'cannot forget: nothing is stored yet, and no fence is up', { hint });
  }
  const withdrawals = await loadWithdrawals(repository, { signal });
  const { storeTimeMs } = withdrawals;
  if (settings.before !== undefined && settings.before > storeTimeMs) {
    throw new Failure(
      'invalid',
      `cannot forget what is older than ${jsonTime(settings.before)}: it is ${jsonTime(storeTimeMs)} by the store's clock`,
    );
  }
  const scope: FenceScope = {
    beforeMs: settings.before ?? storeTimeMs + NOW_LASTS_MS,
    tasks: settings.task,
    instance: settings.instance,
    layout: settings.layout,
    quality: undefined,
  };
  const stored = await findStored(repository, signal);
  const { application, lineage } = repository.keys;
  const draft: Fence = {
    application,
    lineage,
    ...scope,
    timeMs: storeTimeMs,
    token: '',
    writer: program,
    reason: 'forgotten',
  };
  const inScope = stored.filter((entry) => isIn(draft, entry));
  const isKnown = inScope.length > 0 || (await isThere(repository, signal));
  const isWhole = settings.all && settings.before === undefined;
  if (isWhole ? settings.dryRun && !isKnown : inScope.length === 0)
    throw nothingStored(`nothing is stored of ${describeScope(scope)} from before ${jsonTime(scope.beforeMs)}`);
  const entries = inScope.filter((entry) => whyWithdrawn(withdrawals, entry) === undefined);
  if (settings.dryRun) return { fence: draft, isPut: false, entries };
  const fence = await writeFence(
    repository,
    { ...scope, reason: 'forgotten' },
    { random, program, withdrawals, signal },
  );
  if (!isKnown)
    throw new Failure(
      'missing',
      `nothing was ever stored of ${application} in ${lineage}: a fence is up for its volumes only`,
      { hint: 'warmstate list, where the name may be misspelt' },
    );
  return { fence, isPut: true, entries };
}

function assertScope({ all, task, instance, layout, before }: ForgetSettings): void {
  const isNarrow = task !== undefined || instance !== undefined || layout !== undefined;
  if (all && isNarrow)
    throw new Failure('invalid', 'cannot forget all and only a part of it', { hint: 'leave out --all' });
  if (all || isNarrow || before !== undefined) return;
  throw new Failure('invalid', 'cannot forget: nothing says what', {
    hint: '--all, --task, --instance, --layout or --before; with --dry-run it only says what that would be',
  });
}

function nothingStored(why: string): Failure {
  return new Failure('missing', `cannot forget: ${why}`, { hint: 'warmstate list' });
}

type StoredEntry = ForgottenEntry & { readonly epoch: string; readonly n: number };

/** What the newest documents offer, or would if nothing stood against it. */
async function findStored(repository: Repository, signal: AbortSignal): Promise<readonly StoredEntry[]> {
  const listing = await listRepository(repository, { signal });
  const newest = await newestSnapshots(repository, listing, { signal });
  return newest
    .flatMap(({ name, tasks }) => tasks.map((task) => ({ ...task, ...name, snapshot: formatSnapshotName(name) })))
    .sort((left, right) => compareTasks(left.task, right.task) || right.stateTimeMs - left.stateTimeMs);
}

/** Whether anything ever was. */
async function isThere(repository: Repository, signal: AbortSignal): Promise<boolean> {
  if (repository.isMarked) return true;
  const { epochs } = await listRepository(repository, { signal });
  return epochs.length > 0;
}

function isIn(fence: Fence, entry: StoredEntry): boolean {
  return whyFenced([fence], { ...entry, isOf: (instance) => stemsFrom(entry, instance) }) !== undefined;
}

export function renderForget({ fence, isPut, entries }: ForgetResult, look: Look): string {
  const columns = [
    { title: 'TASK' },
    { title: 'QUALITY' },
    { title: 'LAYOUT' },
    { title: 'STATE' },
    { title: 'SIZE', align: 'right' as const },
    { title: 'SNAPSHOT' },
  ];
  const rows = entries.map(({ task, quality, layout, stateTimeMs, sizeBytes, snapshot }) => {
    return [task, quality, layout, describeAge(look.nowMs - stateTimeMs), describeBytes(sizeBytes), snapshot];
  });
  const table = rows.length === 0 ? '' : `${renderTable(columns, rows, look)}\n`;
  const what = `${describeScope(fence)} with a state from before ${jsonTime(fence.beforeMs)}`;
  const count = describeCount(entries.length, 'stored state');
  const said = isPut ? `forgotten: ${what}, ${count}` : `would be forgotten: ${what}, ${count}`;
  return `${table}${paint(said, isPut ? 'good' : 'warning', look)}\n`;
}

/** What `forget --output json` prints; without a time where no fence was put up. */
export function forgetJson({ fence, isPut, entries }: ForgetResult): object {
  return {
    fence: { ...fenceJson(fence), time: jsonTime(isPut ? fence.timeMs : undefined) },
    entries: entries.map(({ task, quality, layout, stateTimeMs, sizeBytes, snapshot }) => {
      return { task, quality, layout, stateTime: jsonTime(stateTimeMs), bytes: sizeBytes, snapshot };
    }),
  };
}
