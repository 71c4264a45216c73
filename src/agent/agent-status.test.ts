import { expect, test } from 'vitest';
import { ManualClock } from '../../test/support/manual-clock.ts';
import { sampleEntry } from '../../test/support/sample-documents.ts';
import type { AgentStatus, TaskStatus } from '../events/agent-status.ts';
import type { Entry } from '../repository/document.ts';
import { summarise } from '../repository/record.ts';
import type { ApplicationState } from '../streams/app-lock.ts';
import type { Explanation } from '../streams/reason.ts';
import { type AgentFacts, describeAgent } from './agent-status.ts';
import type { TaskFinding } from './round-parts.ts';
import type { Glance } from './task-views.ts';
import { WIPED } from './wipe.ts';

const HOUR_MS = 3_600_000;
/** The store's clock runs ahead of ours. */
const STORE_AHEAD_MS = 60_000;
const clock = new ManualClock();
const NOW_MS = clock.nowMs();
/** By the store's clock: what is older than this is not restored any more. */
const OLDEST_MS = NOW_MS + STORE_AHEAD_MS - HOUR_MS;

const fresh = sampleEntry({ task: '0_0', stateTimeMs: OLDEST_MS });
const old = sampleEntry({ task: '0_0', stateTimeMs: OLDEST_MS - 1 });
const still: Glance = { why: undefined, isPending: false, liveBytes: 1000, missingBytes: 0 };
const moved: Glance = { ...still, isPending: true, missingBytes: 300 };
const running: Explanation = { reason: 'exactly_once_running', message: 'it writes' };
const changing: Explanation = { reason: 'changing', message: 'it changes' };

interface Known {
  readonly isPresent?: boolean;
  readonly entry?: Entry;
  readonly glance?: Glance;
  readonly found?: Explanation;
  readonly isWiped?: boolean;
  /** As brokers said. */
  readonly isCurrent?: boolean;
}

/** What an agent in the middle of its life knows, of these tasks and otherwise as given. */
function factsOf(tasks: Readonly<Record<string, Known>>, given: Partial<AgentFacts> = {}): AgentFacts {
  const known = Object.entries(tasks);
  const finding = (task: string, why: Explanation): TaskFinding => {
    const nothing = { quality: undefined, stateTimeMs: undefined, offsets: new Map<string, bigint>() };
    return { result: { task, outcome: 'uncapturable', ...nothing, why }, ahead: [] };
  };
  return {
    settings: {
      applicationId: 'orders',
      lineage: 'prod',
      instance: 'orders-0',
      processingGuarantee: 'at_least_once',
      maxAgeMs: HOUR_MS,
      stateDirLimitBytes: 5000,
    },
    clock,
    phase: 'watching',
    turnedAtMs: NOW_MS - 500,
    problems: [],
    application: {
      isFound: true,
      lock: 'running',
      wiped: new Set(known.flatMap(([task, { isWiped }]) => (isWiped ? [task] : []))),
    },
    publisher: {
      lastSuccessMs: NOW_MS - 3000,
      bytesPerSecond: undefined,
      epoch: {
        name: 'E',
        snapshot: 'E/3',
        previousShutdown: 'sealed',
        entries: new Map(known.flatMap(([task, { entry }]) => (entry === undefined ? [] : [[task, entry]]))),
        findings: new Map(
          known.flatMap(([task, { found }]) => (found === undefined ? [] : [[task, finding(task, found)]])),
        ),
        current: new Set(known.flatMap(([task, { isCurrent }]) => (isCurrent ? [task] : []))),
        toStoreTimeMs: (wallMs) => wallMs + STORE_AHEAD_MS,
      },
    },
    views: {
      present: new Set(known.flatMap(([task, { isPresent = true }]) => (isPresent ? [task] : []))),
      glanceOf: (task) => tasks[task]?.glance,
    },
    report: undefined,
    space: undefined,
    roundDueMs: undefined,
    ...given,
  };
}

/** A task in words: its state, whether more is pending, and why not. */
function told({ state, entry, isPending, why }: TaskStatus): string {
  const words = [state, entry === undefined ? [] : 'warm', isPending ? 'pending' : [], why?.reason ?? []].flat();
  return words.join(', ');
}

test.each<[string, Known, string]>([
  ['on disk, not yet looked at', {}, 'pending, pending'],
  ['on disk, looked at, never stored', { glance: moved }, 'pending, pending'],
  ['on disk, not to be captured', { glance: { ...still, why: running } }, 'uncapturable, exactly_once_running'],
  ['stored as it is', { entry: fresh, glance: still }, 'restorable, warm'],
  ['stored, not yet looked at', { entry: fresh }, 'restorable, warm'],
  ['stored, and further by now', { entry: fresh, glance: moved }, 'restorable, warm, pending'],
  [
    'stored, and not to be captured now',
    { entry: fresh, glance: { ...still, why: running } },
    'restorable, warm, exactly_once_running',
  ],
  ['stored, and moved away', { entry: fresh, isPresent: false }, 'restorable, warm'],
  [
    'moved away, with more to send at its last look',
    { entry: fresh, isPresent: false, glance: moved },
    'restorable, warm',
  ],
  ['stored too long ago, and moved away', { entry: old, isPresent: false }, 'uncapturable, too_old'],
  [
    'stored long ago, and nothing was written since',
    { entry: old, glance: still, isCurrent: true },
    'restorable, warm',
  ],
  ['refused by the last round', { found: changing }, 'uncapturable, pending, changing'],
  [
    'refused by the last round, and by a look since',
    { found: changing, glance: { ...still, why: running } },
    'uncapturable, exactly_once_running',
  ],
  [
    'deleted by the application',
    { entry: fresh, isPresent: false, glance: { ...still, why: running }, isWiped: true },
    'restorable, warm, wiped_by_application',
  ],
])('a task %s', (_what, known, words) => {
  expect(describeAgent(factsOf({ '0_0': known })).tasks.map(told)).toEqual([words]);
});

test('the advice of a task that was deleted is that of the wipe', () => {
  const [task] = describeAgent(factsOf({ '0_0': { isPresent: false, entry: fresh, isWiped: true } })).tasks;
  expect(task?.why).toEqual(WIPED);
});

test('tasks are in their order, with what is stored of each, whether on disk or not', () => {
  const status = describeAgent(
    factsOf({
      '0_10': { glance: moved },
      '0_2': { entry: { ...fresh, task: '0_2' }, isPresent: false },
      '0_1': { entry: { ...old, task: '0_1' } },
    }),
  );
  expect(status.tasks.map(({ task }) => task)).toEqual(['0_1', '0_2', '0_10']);
  const { capturedBy, quality, stateTimeMs, sizeBytes, offsets } = summarise(fresh);
  expect(status.tasks[1]?.entry).toEqual({ snapshot: capturedBy, quality, stateTimeMs, sizeBytes, offsets });
  // What is too old does not come back.
  expect(status.restorableBytes).toBe(sizeBytes);
});

test('before storage has answered our own clock tells what is too old, and nothing is known to be stored', () => {
  const publisher = { lastSuccessMs: undefined, bytesPerSecond: undefined, epoch: undefined };
  const status = describeAgent(factsOf({ '0_0': { glance: moved } }, { publisher }));
  expect(status).toMatchObject({ epoch: undefined, snapshot: undefined, previousShutdown: undefined });
  expect(status.tasks.map(told)).toEqual(['pending, pending']);
});

test.each<[ApplicationState | undefined, boolean | undefined]>([
  ['running', true],
  ['stopped', false],
  ['unknown', undefined],
  [undefined, undefined],
])('an application whose lock is %s runs: %s', (lock, applicationRunning) => {
  const application = { isFound: true, lock, wiped: new Set<string>() };
  expect(describeAgent(factsOf({}, { application })).applicationRunning).toBe(applicationRunning);
});

test('the disk is what was last seen of the tasks that are there, its limit and its free space', () => {
  const tasks = {
    '0_0': { glance: moved },
    '0_1': { glance: still },
    '0_2': {},
    '0_3': { entry: fresh, glance: moved, isPresent: false },
  };
  const status = describeAgent(factsOf(tasks, { space: { freeBytes: 7000, sizeBytes: 9000 } }));
  expect(status.stateDir).toEqual({ bytes: 2000, limitBytes: 5000, availableBytes: 7000 });
});

test.each<[string, number | undefined, AgentStatus['finalSnapshot']]>([
  ['as fast as the limit is by default', undefined, { pendingBytes: 100 * 1024 * 1024, estimatedMs: 2500 }],
  ['as fast as the last upload went', 10 * 1024 * 1024, { pendingBytes: 100 * 1024 * 1024, estimatedMs: 10_500 }],
])('the last snapshot is expected to go %s', (_what, bytesPerSecond, finalSnapshot) => {
  const glance = { ...moved, missingBytes: 50 * 1024 * 1024 };
  const facts = factsOf({ '0_0': { glance }, '0_1': { glance }, '0_2': {} });
  const publisher = { ...facts.publisher, bytesPerSecond };
  expect(describeAgent({ ...facts, publisher }).finalSnapshot).toEqual(finalSnapshot);
});

test('the next round is foretold by the wall clock', async () => {
  const later = new ManualClock({ startMs: NOW_MS });
  await later.advance(10_000);
  later.jump(-4000);
  const due = (roundDueMs: number | undefined) => describeAgent(factsOf({}, { clock: later, roundDueMs })).dueMs;
  expect([due(12_000), due(undefined)]).toEqual([NOW_MS + 10_000 - 4000 + 2000, undefined]);
});
