import { describeAge, describeBytes } from '../base/quantity.ts';
import type { BrokerFacts, ConsultBrokers } from '../kafka/broker-facts.ts';
import { best } from '../repository/best.ts';
import { replayRecords, standsAtEnd, topicsOf, whyDeletionsLost, whyOtherHistory } from '../repository/broker-word.ts';
import type { Fence } from '../repository/fence.ts';
import { formatSnapshotName, parseEpoch, type RepositoryLocation } from '../repository/keys.ts';
import type { EpochRecord, TaskSummary } from '../repository/record.ts';
import {
  listRepository,
  loadRecords,
  type NewestSnapshot,
  newestSnapshots,
  type Repository,
} from '../repository/repository.ts';
import { findQuarantines, type Quarantine } from '../repository/trial.ts';
import { loadWithdrawals, type Withdrawals, whyWithdrawn } from '../repository/withdrawals.ts';
import type { ObjectStore } from '../storage/object-store.ts';
import type { Quality } from '../streams/quality.ts';
import type { Explanation } from '../streams/reason.ts';
import { compareTasks } from '../streams/state-directory.ts';
import type { CommandContext } from './command.ts';
import { describeScope, fenceJson } from './fence.ts';
import { jsonTime } from './json.ts';
import { type Look, paint } from './look.ts';
import { findRepositories, openOnlyRepository, type RepositoryChoice } from './repository-choice.ts';
import { renderTable } from './table.ts';

/** What lies in a repository: all its applications, or one of them. */
export type Listing =
  | { readonly kind: 'applications'; readonly applications: readonly ListedApplication[] }
  | {
      readonly kind: 'application';
      readonly application: string;
      /** undefined where none was named and nothing is stored. */
      readonly lineage: string | undefined;
      /** Oldest first. */
      readonly snapshots: readonly ListedSnapshot[];
      /** The best entry of each task that is offered, whatever its age. */
      readonly tasks: readonly ListedTask[];
      /** What withdrew others, oldest first. */
      readonly fences: readonly Fence[];
      readonly quarantines: readonly ListedQuarantine[];
    };

interface ListedApplication {
  readonly application: string;
  readonly lineage: string;
  readonly instances: number;
  readonly snapshots: number;
  readonly newestMs: number | undefined;
}

interface ListedSnapshot {
  /** `<epoch>/<n>` */
  readonly snapshot: string;
  readonly instance: string;
  readonly timeMs: number;
  /** Known of the newest of each epoch; of the files, unpacked. */
  readonly contents: { readonly tasks: number; readonly sizeBytes: number } | undefined;
}

interface ListedTask {
  readonly task: string;
  readonly quality: Quality;
  readonly layout: 'file' | 'column-family';
  readonly stateTimeMs: number;
  readonly sizeBytes: number;
  readonly snapshot: string;
  /** What brokers say of it; undefined where they are not asked. */
  readonly word?: BrokerWord | undefined;
}

interface BrokerWord {
  /** Changelog records that a restore of it would leave to replay, at most. */
  readonly replayRecords: number | undefined;
  /** Why it is not restored. */
  readonly why: Explanation | undefined;
}

/** What is not restored for one version of the application, or for all. */
interface ListedQuarantine extends Quarantine {
  readonly appVersion: string | undefined;
}

type ListContext = Pick<CommandContext, 'signal' | 'emit'> & { readonly consultBrokers?: ConsultBrokers | undefined };

/** Without an application named, all of them; else what is stored of that one. */
export async function listStored(store: ObjectStore, choice: RepositoryChoice, context: ListContext): Promise<Listing> {
  if (choice.applicationId === undefined) {
    const locations = await findRepositories(store, choice, context);
    const applications: ListedApplication[] = [];
    for (const location of locations) applications.push(await countStored(store, location, context));
    return { kind: 'applications', applications };
  }
  const application = choice.applicationId;
  const repository = await openOnlyRepository(store, choice, context);
  if (repository === undefined)
    return {
      kind: 'application',
      application,
      lineage: choice.lineage,
      snapshots: [],
      tasks: [],
      fences: [],
      quarantines: [],
    };
  const { lineage } = repository.keys;
  const stored = await listOne(repository, context);
  if (stored.snapshots.length === 0) await tellOtherLineages(store, { application, lineage }, context);
  return { kind: 'application', application, lineage, ...stored };
}

/** Who looks for state that is not there has most often named another history than the one that it lies in. */
async function tellOtherLineages(
  store: ObjectStore,
  { application, lineage }: RepositoryLocation,
  context: Pick<CommandContext, 'signal' | 'emit'>,
): Promise<void> {
  const found = await findRepositories(store, { applicationId: application, lineage: undefined }, context);
  const others = found.map((location) => location.lineage).filter((other) => other !== lineage);
  if (others.length === 0) return;
  const message = `nothing is stored of ${application} under --lineage ${lineage}, but under ${others.join(', ')}`;
  context.emit({ kind: 'notice', name: 'stored-elsewhere', level: 'warn', message });
}

async function countStored(
  store: ObjectStore,
  location: RepositoryLocation,
  context: Pick<CommandContext, 'signal' | 'emit'>,
): Promise<ListedApplication> {
  const choice = { applicationId: location.application, lineage: location.lineage };
  const repository = await openOnlyRepository(store, choice, context);
  const documents = repository === undefined ? [] : (await listRepository(repository, context)).documents;
  const newestMs = documents.length === 0 ? undefined : Math.max(...documents.map(({ modifiedMs }) => modifiedMs));
  const instances = new Set(documents.map(({ name }) => parseEpoch(name.epoch)?.instance)).size;
  return { ...location, instances, snapshots: documents.length, newestMs };
}

async function listOne(
  repository: Repository,
  { signal, consultBrokers }: ListContext,
): Promise<Pick<Extract<Listing, { kind: 'application' }>, 'snapshots' | 'tasks' | 'fences' | 'quarantines'>> {
  const listing = await listRepository(repository, { signal });
  const records = await loadRecords(repository, listing, { signal });
  const newest = await newestSnapshots(repository, listing, { records, signal });
  const newestOf = new Map(newest.map((snapshot) => [snapshot.name.epoch, snapshot]));
  const snapshots = listing.documents.map(({ name, modifiedMs }): ListedSnapshot => {
    const known = newestOf.get(name.epoch);
    const instance = known?.record?.instance ?? parseEpoch(name.epoch)?.instance ?? '';
    const tasks = known?.name.n === name.n ? known.tasks : undefined;
    const contents = tasks && { tasks: tasks.length, sizeBytes: sumSizes(tasks) };
    return { snapshot: formatSnapshotName(name), instance, timeMs: modifiedMs, contents };
  });
  const withdrawals = await loadWithdrawals(repository, { signal });
  const { fences } = withdrawals;
  const quarantines = listQuarantines(
    records.map(({ record }) => record),
    fences,
  );
  const offers = bestOfEach(newest, listing.storeTimeMs, withdrawals);
  const topics = topicsOf(offers);
  const facts = topics.size === 0 ? undefined : await consultBrokers?.(topics, { signal });
  const tasks = offers.map((offer) => listTask(offer, facts && judgeByBrokers(offer, facts, listing.storeTimeMs)));
  return { snapshots, tasks, fences, quarantines };
}

function listQuarantines(records: readonly EpochRecord[], fences: readonly Fence[]): readonly ListedQuarantine[] {
  const versions = new Set(records.flatMap(({ role, appVersion }) => (role === 'restore' ? [appVersion] : [])));
  return [...versions]
    .flatMap((appVersion) => findQuarantines(records, appVersion, fences).map((one) => ({ ...one, appVersion })))
    .sort((left, right) => compareTasks(left.task, right.task) || right.untilMs - left.untilMs);
}

type StoredOffer = TaskSummary & NewestSnapshot['name'] & { readonly lives: boolean };

function judgeByBrokers(offer: StoredOffer, facts: BrokerFacts, nowMs: number): BrokerWord {
  const age = { ...offer, ageMs: nowMs - offer.stateTimeMs };
  const why = whyOtherHistory(offer, facts) ?? (standsAtEnd(offer, facts) ? undefined : whyDeletionsLost(age, facts));
  return { replayRecords: replayRecords(offer, facts), why };
}

function listTask(offer: StoredOffer, word: BrokerWord | undefined): ListedTask {
  const { task, quality, layout, stateTimeMs, sizeBytes } = offer;
  return { task, quality, layout, stateTimeMs, sizeBytes, snapshot: formatSnapshotName(offer), word };
}

function bestOfEach(
  snapshots: readonly NewestSnapshot[],
  nowMs: number,
  withdrawals: Withdrawals,
): readonly StoredOffer[] {
  const offers = snapshots
    .flatMap(({ name, lives, tasks }) => tasks.map((task) => ({ ...task, ...name, lives })))
    .filter((offer) => whyWithdrawn(withdrawals, offer) === undefined);
  const everything = {
    nowMs,
    maxAgeMs: Number.POSITIVE_INFINITY,
    guarantee: 'at_least_once' as const,
    layoutMax: 'column-family' as const,
    objection: () => undefined,
  };
  return [...Map.groupBy(offers, ({ task }) => task)]
    .sort(([left], [right]) => compareTasks(left, right))
    .flatMap(([, ofTask]) => best(ofTask, everything) ?? []);
}

function sumSizes(tasks: readonly TaskSummary[]): number {
  return tasks.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

const right = 'right' as const;

export function renderListing(listing: Listing, look: Look): string {
  if (listing.kind === 'applications') return renderApplications(listing.applications, look);
  const { application, lineage, snapshots, tasks, fences, quarantines } = listing;
  const head = `${paint(application, 'heading', look)}${lineage === undefined ? '' : `, lineage ${lineage}`}\n`;
  const shut = fences.length === 0 ? [] : [renderFences(fences, look)];
  if (snapshots.length === 0) return [`${head}nothing stored yet\n`, ...shut].join('\n');
  const lists = [renderSnapshots(snapshots, look), renderTasks(tasks, look), ...shut];
  if (quarantines.length > 0) lists.push(renderQuarantines(quarantines, look));
  return `${head}\n${lists.join('\n')}`;
}

function renderApplications(applications: readonly ListedApplication[], look: Look): string {
  if (applications.length === 0) return 'nothing stored yet\n';
  const columns = [
    { title: 'APPLICATION' },
    { title: 'LINEAGE' },
    { title: 'INSTANCES', align: right },
    { title: 'SNAPSHOTS', align: right },
    { title: 'NEWEST' },
  ];
  const rows = applications.map(({ application, lineage, instances, snapshots, newestMs }) => {
    const newest = newestMs === undefined ? undefined : describeAge(look.nowMs - newestMs);
    return [application, lineage, String(instances), String(snapshots), newest];
  });
  return renderTable(columns, rows, look);
}

function renderSnapshots(snapshots: readonly ListedSnapshot[], look: Look): string {
  const columns = [
    { title: 'INSTANCE' },
    { title: 'TAKEN' },
    { title: 'TASKS', align: right },
    { title: 'SIZE', align: right },
    { title: 'SNAPSHOT' },
  ];
  const rows = snapshots.map(({ snapshot, instance, timeMs, contents }) => {
    const size = contents && describeBytes(contents.sizeBytes);
    return [instance, describeAge(look.nowMs - timeMs), contents && String(contents.tasks), size, snapshot];
  });
  return renderTable(columns, rows, look);
}

function renderTasks(tasks: readonly ListedTask[], look: Look): string {
  if (tasks.length === 0) return 'no task could be restored from them\n';
  const isAsked = tasks.some(({ word }) => word !== undefined);
  const columns = [
    { title: 'TASK' },
    { title: 'QUALITY' },
    { title: 'LAYOUT' },
    { title: 'STATE' },
    { title: 'SIZE', align: right },
    ...(isAsked ? [{ title: 'REPLAY', align: right }] : []),
    { title: 'BEST IN' },
  ];
  const rows = tasks.map(({ task, quality, layout, stateTimeMs, sizeBytes, snapshot, word }) => {
    const replay = word?.why?.reason ?? word?.replayRecords?.toLocaleString('en-US');
    const age = describeAge(look.nowMs - stateTimeMs);
    return [task, quality, layout, age, describeBytes(sizeBytes), ...(isAsked ? [replay] : []), snapshot];
  });
  return renderTable(columns, rows, look);
}

function renderFences(fences: readonly Fence[], look: Look): string {
  const columns = [{ title: 'FENCE' }, { title: 'BECAUSE' }, { title: 'STATE BEFORE' }, { title: 'OF' }];
  const rows = fences.map((fence) => {
    const put = describeAge(look.nowMs - fence.timeMs);
    return [put, fence.reason, describeAge(look.nowMs - fence.beforeMs), describeScope(fence)];
  });
  return renderTable(columns, rows, look);
}

function renderQuarantines(quarantines: readonly ListedQuarantine[], look: Look): string {
  const columns = [
    { title: 'IN QUARANTINE' },
    { title: 'LAYOUT' },
    { title: 'FOR VERSION' },
    { title: 'WHAT WAS CAPTURED BEFORE' },
    { title: 'SINCE THE RESTORES' },
  ];
  const rows = quarantines.map(({ task, layout, appVersion = 'any', untilMs, epochs }) => {
    return [task, layout, appVersion, describeAge(look.nowMs - untilMs), epochs.join(', ')];
  });
  return renderTable(columns, rows, look);
}

/** The lines of `list --output json`, each an object that says its `kind`. */
export function listingJson(listing: Listing): readonly object[] {
  if (listing.kind === 'applications') {
    return listing.applications.map(({ newestMs, ...application }) => {
      return { kind: 'application', ...application, newest: jsonTime(newestMs) };
    });
  }
  const { application, lineage = null } = listing;
  return [
    ...listing.snapshots.map(({ snapshot, instance, timeMs, contents }) => {
      const { tasks = null, sizeBytes: bytes = null } = contents ?? {};
      return { kind: 'snapshot', application, lineage, snapshot, instance, time: jsonTime(timeMs), tasks, bytes };
    }),
    ...listing.tasks.map(({ task, quality, layout, stateTimeMs, sizeBytes, snapshot, word }) => {
      const stateTime = jsonTime(stateTimeMs);
      const stored = {
        kind: 'task',
        application,
        lineage,
        task,
        quality,
        layout,
        stateTime,
        bytes: sizeBytes,
        snapshot,
      };
      if (word === undefined) return stored;
      const { replayRecords = null, why } = word;
      return { ...stored, replayRecords, reason: why?.reason ?? null, message: why?.message ?? null };
    }),
    ...listing.fences.map((fence) => ({ kind: 'fence', application, lineage, ...fenceJson(fence) })),
    ...listing.quarantines.map(({ task, layout, appVersion = null, untilMs, epochs: restores }) => {
      return { kind: 'quarantine', application, lineage, task, layout, appVersion, until: jsonTime(untilMs), restores };
    }),
  ];
}
