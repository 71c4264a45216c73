import { EXIT_CODES, type Failure, type FailureKind, messageOf } from '../base/failure.ts';
import { describeAge, describeBytes, describeDuration, describeRate } from '../base/quantity.ts';
import { type RestoredTask, type RestoreResult, restoreResultJson } from '../repository/restore-result.ts';
import type { Explanation, Reason } from '../streams/reason.ts';
import type { CommandContext } from './command.ts';
import { exitCodeOf } from './error-line.ts';
import { jsonLine } from './json.ts';
import { type Look, paint, type Tone } from './look.ts';
import { renderTable } from './table.ts';

const TONES: Readonly<Record<RestoredTask['decision'], Tone | undefined>> = {
  warm: 'good',
  local: undefined,
  cold: 'warning',
};

/** What was done, or with `isDryRun` what would be. */
export function renderRestore(result: RestoreResult, look: Look, options: { readonly isDryRun: boolean }): string {
  const isEstimated = result.tasks.some(({ replayRecords }) => replayRecords !== undefined);
  const columns = [
    { title: 'TASK' },
    { title: 'DECISION' },
    { title: 'QUALITY' },
    { title: 'STATE' },
    { title: 'SIZE', align: 'right' as const },
    ...(isEstimated ? [{ title: 'REPLAY', align: 'right' as const }] : []),
    { title: 'FROM, OR WHY NOT' },
  ];
  const rows = result.tasks.map(({ snapshot, why, ...task }) => {
    const { decision, quality, stateTimeMs, sizeBytes, replayRecords } = task;
    const tone = TONES[decision];
    return [
      task.task,
      tone === undefined ? decision : { text: decision, tone },
      quality,
      stateTimeMs === undefined ? undefined : describeAge(look.nowMs - stateTimeMs),
      decision === 'cold' ? undefined : describeBytes(sizeBytes),
      ...(isEstimated ? [replayRecords?.toLocaleString('en-US')] : []),
      originOf(decision, snapshot, why),
    ];
  });
  const table = rows.length === 0 ? '' : `${renderTable(columns, rows, look)}\n`;
  const summary = summarize(result);
  return `${table}${paint(options.isDryRun ? `dry run: ${summary}` : summary, 'heading', look)}\n`;
}

/** Also a warm task may have a reason: why a newer entry was passed over. */
function originOf(
  decision: RestoredTask['decision'],
  snapshot: string | undefined,
  why: Explanation | undefined,
): string {
  const origin = decision === 'local' ? 'this volume' : snapshot;
  const reason = why === undefined ? undefined : `${why.reason}: ${why.message}`;
  return [origin, reason].filter((part) => part !== undefined).join('; ');
}

/** `restored: 2 warm, 1 local, 1 cold; 8.0 GiB in 1 min 04 s (128 MiB/s)` */
function summarize({ outcome, tasks, bytesDownloaded, durationMs }: RestoreResult): string {
  const decisions = ['warm', 'local', 'cold'] as const;
  const counted = decisions.map((decision) => ({
    decision,
    count: tasks.filter((task) => task.decision === decision).length,
  }));
  const shares = counted.filter(({ count }) => count > 0).map(({ decision, count }) => `${count} ${decision}`);
  const took = describeDuration(durationMs);
  const rate = durationMs >= 1000 ? ` (${describeRate((bytesDownloaded / durationMs) * 1000)})` : '';
  const work = bytesDownloaded === 0 ? took : `${describeBytes(bytesDownloaded)} in ${took}${rate}`;
  const said = outcome === 'empty' && tasks.length > 0 ? 'nothing to restore, starting cold' : OUTCOMES[outcome];
  return `${[said, ...(shares.length === 0 ? [] : [shares.join(', ')])].join(': ')}; ${work}`;
}

const OUTCOMES: Readonly<Record<RestoreResult['outcome'], string>> = {
  restored: 'restored',
  partial: 'restored in part',
  local: 'nothing to restore, the volume is up to date',
  empty: 'nothing stored yet',
  failed: 'not restored',
};

const TERMINATION_BYTES_MAX = 4096; // What Kubernetes keeps of a container's termination message.

/** The summary, then the JSON with as much of it as fits into a termination message. */
export function terminationMessage(result: RestoreResult): string {
  const withoutOffsets = result.tasks.map((task) => ({ ...task, offsets: new Map<string, bigint>() }));
  const onlyCold = withoutOffsets.filter(({ decision }) => decision === 'cold');
  const summary = `${summarize(result)}\n`;
  const candidates = [result.tasks, withoutOffsets, onlyCold, []];
  const messages = candidates.map((tasks) => `${summary}${JSON.stringify(restoreResultJson({ ...result, tasks }))}\n`);
  return messages.find((message) => Buffer.byteLength(message) <= TERMINATION_BYTES_MAX) ?? summary;
}

/** Of a restore that came to no result: what kept it from one. */
export function failedTerminationMessage(errors: readonly unknown[]): string {
  const text = errors.map(messageOf).join('; ');
  return `${text.slice(0, TERMINATION_BYTES_MAX / 4)}\n`; // No character has more than four bytes.
}

/** Why a task is not warm, as far as that is a failure: what is too old, left out on purpose or not there is none. */
const FAILURES: Readonly<Partial<Record<Reason, FailureKind>>> = {
  unsupported_application: 'invalid',
  application_running: 'conflict',
  storage: 'unavailable',
  denied: 'unavailable',
  no_space: 'unavailable',
  damaged: 'corrupt',
  incomplete: 'corrupt',
  deadline: 'deadline',
};

/** 0 under `continue`; under `fail` the code of what kept a task from being warm, the smallest where there are several. */
export function restoreExitCode(result: RestoreResult, onFailure: 'continue' | 'fail'): number {
  if (onFailure === 'continue') return 0;
  const cold = result.tasks.filter(({ decision }) => decision === 'cold');
  const kinds = cold.flatMap(({ why }) => (why === undefined ? [] : (FAILURES[why.reason] ?? [])));
  return kinds.length === 0 ? 0 : Math.min(...kinds.map((kind) => EXIT_CODES[kind]));
}

/** The end of a restore whose settings cannot be used. */
export function refuseRestore(
  settings: Parameters<typeof printFailedRestore>[0],
  problems: readonly [Failure, ...Failure[]],
  context: Pick<CommandContext, 'print' | 'report'>,
): number {
  for (const problem of problems) context.report(problem);
  return printFailedRestore(settings, problems[0], context);
}

/** The end of a restore that came to no result, once its error is said: under `continue` the application starts cold. */
export function printFailedRestore(
  { output, onFailure }: { readonly output?: 'text' | 'json'; readonly onFailure?: 'continue' | 'fail' },
  error: unknown,
  { print }: Pick<CommandContext, 'print'>,
): number {
  const result: RestoreResult = { outcome: 'failed', tasks: [], bytesDownloaded: 0, requests: 0, durationMs: 0 };
  if (output === 'json') print(jsonLine(restoreResultJson(result)));
  else if (onFailure !== 'fail') print('not restored: the application starts cold\n');
  return onFailure === 'fail' ? exitCodeOf(error) : 0;
}
