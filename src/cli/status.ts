import { describeAge, describeBytes, describeCount, describeDuration } from '../base/quantity.ts';
import {
  type AgentProblem,
  type AgentStatus,
  isWarm,
  type RestoreStatus,
  type TaskStatus,
} from '../events/agent-status.ts';
import type { Reason } from '../streams/reason.ts';
import { ADVICE } from './advice.ts';
import { type Look, paint, type Tone } from './look.ts';
import { type Cell, renderTable, wrap } from './table.ts';

/** For somebody under pressure: the answer first, then task by task, then what stands in the way and what changes it. */
export function renderStatus(status: AgentStatus, look: Look): string {
  const parts = [
    `${renderVerdict(status.tasks, look)}${renderParagraph({ text: describeSelf(status, look), indent: 0 }, look)}`,
    status.tasks.length === 0 ? '' : renderTasks(status.tasks, look),
    renderProblems(status.problems, look),
    renderReasons(status.tasks, look),
    renderHistory(status, look),
  ];
  return parts.filter((part) => part !== '').join('\n');
}

function renderVerdict(tasks: readonly TaskStatus[], look: Look): string {
  const warm = tasks.filter(isWarm).length;
  const cold = tasks.length - warm;
  const tone: Tone = cold === 0 ? (warm === 0 ? 'warning' : 'good') : warm === 0 ? 'bad' : 'warning';
  return `${paint('if this pod died now:', 'heading', look)} ${paint(`${warm} warm, ${cold} cold`, tone, look)}\n`;
}

/** `orders-0 of orders (lineage prod, at_least_once) is watching; the application runs` */
function describeSelf(status: AgentStatus, look: Look): string {
  const { instance, application, lineage, guarantee, phase, applicationFound, dueMs, tasks } = status;
  const next = dueMs === undefined || phase !== 'watching' ? '' : `; next snapshot ${describeAge(look.nowMs - dueMs)}`;
  const isBlind = status.problems.some(({ area }) => area === 'settings');
  const missing = isBlind ? 'was not looked for' : NOT_FOUND;
  const found = applicationFound ? APPLICATION[String(status.applicationRunning)] : missing;
  const none = applicationFound && tasks.length === 0 ? ', without a task on its disk' : '';
  return `${instance} of ${application} (lineage ${lineage}, ${guarantee}) is ${phase}; the application ${found}${none}${next}`;
}

const NOT_FOUND =
  'has no directory here: compare --state-dir and --application-id with its state.dir and application.id';
const APPLICATION: Readonly<Record<string, string>> = {
  true: 'runs',
  false: 'is down',
  undefined: 'may run: this platform cannot tell',
};

function renderTasks(tasks: readonly TaskStatus[], look: Look): string {
  const columns = [
    { title: 'TASK' },
    { title: 'NOW' },
    { title: 'QUALITY' },
    { title: 'STATE' },
    { title: 'SIZE', align: 'right' as const },
    { title: 'ON THE DISK' },
  ];
  const rows = tasks.map((task): readonly Cell[] => [
    task.task,
    isWarm(task) ? { text: 'warm', tone: 'good' } : { text: 'cold', tone: 'bad' },
    task.entry?.quality,
    task.entry === undefined ? undefined : describeAge(look.nowMs - task.entry.stateTimeMs),
    task.entry === undefined ? undefined : describeBytes(task.entry.sizeBytes),
    describeDisk(task),
  ]);
  return renderTable(columns, rows, look);
}

function describeDisk({ why, isPending, entry }: TaskStatus): string {
  if (why !== undefined) return `not captured: ${why.reason}`;
  if (entry === undefined) return 'goes with the next snapshot';
  return isPending ? 'newer, goes with the next snapshot' : 'stored';
}

/** What failed last, and still does. */
function renderProblems(problems: readonly AgentProblem[], look: Look): string {
  const blocks = problems.map(({ area, message, hint, sinceMs }) => {
    const text = `, since ${describeAge(look.nowMs - sinceMs)}: ${message}`;
    return renderParagraph({ lead: area, tone: 'bad', text, indent: 2 }, look) + renderHint(hint, look);
  });
  return blocks.length === 0 ? '' : `${paint('in the way', 'heading', look)}\n${blocks.join('')}`;
}

/** Each reason once, with the tasks that it keeps from being captured, worst first: those that would be cold. */
function renderReasons(tasks: readonly TaskStatus[], look: Look): string {
  const byReason = Map.groupBy(
    tasks.filter(({ why }) => why !== undefined),
    ({ why }) => why?.reason,
  );
  const groups = [...byReason].flatMap(([reason, group]) => (reason === undefined ? [] : { reason, group }));
  const sorted = groups.toSorted((left, right) => coldOf(right.group) - coldOf(left.group));
  const blocks = sorted.map(({ reason, group }) => renderReason(reason, group, look));
  return blocks.length === 0 ? '' : `${paint('not captured', 'heading', look)}\n${blocks.join('')}`;
}

function coldOf(group: readonly TaskStatus[]): number {
  return group.filter((task) => !isWarm(task)).length;
}

/** So many different messages of a reason are told. */
const MESSAGES_MAX = 2;

function renderReason(reason: Reason, group: readonly TaskStatus[], look: Look): string {
  const names = group.map(({ task }) => task).join(', ');
  const messages = [...Map.groupBy(group, ({ why }) => why?.message)];
  const said = messages.slice(0, MESSAGES_MAX).map(([message, [first]]) => {
    return messages.length === 1 ? `${message}` : `${first?.task}: ${message}`;
  });
  const more = messages.length > MESSAGES_MAX ? ['and so on: `--output json` has them all'] : [];
  const head = renderParagraph({ lead: reason, tone: 'warning', text: ` (${names})`, indent: 2 }, look);
  const told = [...said, ...more].map((text) => renderParagraph({ text, indent: 4 }, look)).join('');
  return head + told + renderHint(ADVICE[reason], look);
}

function renderHint(hint: string | undefined, look: Look): string {
  return hint === undefined ? '' : renderParagraph({ lead: 'try:', tone: 'quiet', text: ` ${hint}`, indent: 4 }, look);
}

function renderHistory(status: AgentStatus, look: Look): string {
  const { lastSuccessMs, snapshot, finalSnapshot, previousShutdown, restore, stateDir, restorableBytes } = status;
  const ago = (ms: number): string => describeAge(look.nowMs - ms);
  const none = lastSuccessMs === undefined ? 'none yet' : `ended well ${ago(lastSuccessMs)}`;
  const limit = stateDir.limitBytes === undefined ? '' : ` of ${describeBytes(stateDir.limitBytes)}`;
  const free = stateDir.availableBytes === undefined ? '' : `, ${describeBytes(stateDir.availableBytes)} free`;
  const pending = `${describeBytes(finalSnapshot.pendingBytes)} to send, about ${describeDuration(finalSnapshot.estimatedMs)}`;
  const rows = [
    ['last round', snapshot === undefined ? none : `${none}; newest snapshot ${snapshot}`],
    ['at the end', pending],
    ['restore', restore === undefined ? 'none before this run' : describeRestore(restore, ago(restore.completedMs))],
    ['shutdown before', previousShutdown === undefined ? 'not known yet' : SHUTDOWNS[previousShutdown]],
    [
      'state directory',
      `${describeBytes(stateDir.bytes)}${limit}, ${describeBytes(restorableBytes)} restorable${free}`,
    ],
  ] as const;
  return rows
    .map(([title, text]) => {
      const lines = renderParagraph({ text, indent: TITLE_WIDTH }, look);
      return paint(title.padEnd(TITLE_WIDTH), 'quiet', look) + lines.slice(TITLE_WIDTH);
    })
    .join('');
}

const TITLE_WIDTH = 17;

const SHUTDOWNS: Readonly<Record<NonNullable<AgentStatus['previousShutdown']>, string>> = {
  sealed: 'sealed: the last snapshot was complete',
  partial: 'partial: the last snapshot did not get done in time',
  killed: 'killed: what the last interval had published was all there was',
  none: 'none: this instance is new',
};

/** `partial 3 h ago: 9 warm, 2 cold (1 damaged, 1 too_old); 1.0 GiB in 12 s; 1,204 records to replay` */
function describeRestore({ outcome, tasks, downloadedBytes, durationMs }: RestoreStatus, ago: string): string {
  const counted = (['warm', 'local', 'cold'] as const).flatMap((decision) => {
    const { length } = tasks.filter((task) => task.decision === decision);
    return length === 0 ? [] : `${length} ${decision}`;
  });
  const reasons = Map.groupBy(
    tasks.flatMap(({ decision, why }) => (decision === 'cold' && why !== undefined ? why.reason : [])),
    (reason) => reason,
  );
  const why = [...reasons].map(([reason, { length }]) => `${length} ${reason}`).join(', ');
  const work = downloadedBytes === 0 ? '' : `; ${describeBytes(downloadedBytes)} in ${describeDuration(durationMs)}`;
  const share = counted.length === 0 ? '' : `: ${counted.join(', ')}${why === '' ? '' : ` (${why})`}`;
  const left = tasks.flatMap(({ replayRecords }) => replayRecords ?? []);
  const records = left.reduce((sum, count) => sum + count, 0);
  const replay = left.length === 0 ? '' : `; ${describeCount(records, 'record')} to replay`;
  return `${outcome} ${ago}${share}${work}${replay}`;
}

interface Paragraph {
  /** Painted, and never broken. */
  readonly lead?: string;
  readonly tone?: Tone;
  readonly text: string;
  readonly indent: number;
}

const COLUMNS_MIN = 24;

function renderParagraph({ lead = '', tone, text, indent }: Paragraph, look: Look): string {
  const [first = '', ...more] = wrap(`${lead}${text}`, Math.max(COLUMNS_MIN, look.columns - indent));
  const painted = paint(first.slice(0, lead.length), tone, look) + first.slice(lead.length);
  return [painted, ...more].map((line) => `${' '.repeat(indent)}${line}\n`).join('');
}
