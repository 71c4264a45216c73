import type { SnapshotResult, SnapshotTask } from '../agent/snapshot-result.ts';
import { EXIT_CODES } from '../base/failure.ts';
import { describeAge, describeBytes, describeCount, describeDuration } from '../base/quantity.ts';
import { type Look, paint, type Tone } from './look.ts';
import { renderTable } from './table.ts';

const TONES: Readonly<Record<SnapshotTask['outcome'], Tone | undefined>> = {
  captured: 'good',
  unchanged: undefined,
  carried: 'warning',
  uncapturable: 'bad',
};

export function renderSnapshot(result: SnapshotResult, look: Look): string {
  const columns = ['TASK', 'OUTCOME', 'QUALITY', 'STATE', 'WHY'].map((title) => ({ title }));
  const rows = result.tasks.map(({ task, outcome, quality, stateTimeMs, why }) => {
    const tone = TONES[outcome];
    return [
      task,
      tone === undefined ? outcome : { text: outcome, tone },
      quality,
      stateTimeMs === undefined ? undefined : describeAge(look.nowMs - stateTimeMs),
      why === undefined ? undefined : `${why.reason}: ${why.message}`,
    ];
  });
  const table = rows.length === 0 ? '' : `${renderTable(columns, rows, look)}\n`;
  return `${table}${paint(summarize(result), 'heading', look)}\n`;
}

/** `published <name>: 11 of 12 tasks, 12 MiB sent, 4.1 GiB reused, 1.2 s` */
function summarize(result: SnapshotResult): string {
  const took = describeDuration(result.durationMs);
  if (result.tasks.length === 0) return `nothing to store: no task in the state directory (${took})`;
  const stored = result.tasks.filter(({ outcome }) => outcome !== 'uncapturable').length;
  const share = `${stored} of ${describeCount(result.tasks.length, 'task')}`;
  if (result.snapshot === undefined) return `nothing to publish: ${share} stored already (${took})`;
  const sent = `${describeBytes(result.bytesUploaded)} sent, ${describeBytes(result.bytesReused)} reused`;
  return `published ${result.snapshot}: ${share}, ${sent}, ${took}`;
}

/** 5 where nothing is stored because the state directory kept changing: another try may do. A part that is stored is a success. */
export function snapshotExitCode({ tasks }: SnapshotResult): number {
  const isNothingStored = tasks.every(({ outcome }) => outcome === 'uncapturable');
  return isNothingStored && tasks.some(({ why }) => why?.reason === 'changing') ? EXIT_CODES.moved : 0;
}
