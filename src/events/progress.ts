import type { Clock } from '../base/clock.ts';
import { describeBytes, describeDuration, describeRate } from '../base/quantity.ts';
import type { Emit, Event, Work } from './event.ts';

export interface Progress {
  readonly emit: Emit;
  /** Writes a whole line, above the bar where one is drawn. */
  readonly writeLine: (line: string) => void;
  /** Takes the bar off the screen. */
  readonly end: () => void;
}

interface BarOptions {
  readonly clock: Clock;
  /** Of the terminal, asked anew for every bar: windows are resized. */
  readonly columns: () => number;
  readonly write: (text: string) => void;
}

const REDRAW_MS = 100;
/** The rate is that of the last seconds: what came before says little about the time that is left. */
const RATE_WINDOW_MS = 15_000;
const SAMPLE_MS = 500;

/** A bar on a terminal: bytes, rate and time left of the work that moved last. */
export function createProgressBar({ clock, columns, write }: BarOptions): Progress {
  const meter = createMeter(clock);
  let drawn = '';
  let drawnAtMs = Number.NEGATIVE_INFINITY;
  const draw = (bar: string): void => {
    if (bar !== drawn) write(`\r\u001B[K${bar}`);
    drawn = bar;
  };
  return {
    emit: (event) => {
      const state = meter.take(event);
      if (state === undefined) return;
      if (state === 'finished') return draw('');
      const nowMs = clock.monotonicMs();
      if (nowMs - drawnAtMs < REDRAW_MS) return;
      drawnAtMs = nowMs;
      draw(renderBar(state, columns()));
    },
    writeLine: (line) => {
      const bar = drawn;
      draw('');
      write(line);
      draw(bar);
    },
    end: () => draw(''),
  };
}

/** Where no terminal is: one notice every so often while work is going on. */
export function createProgressNotices(options: { readonly clock: Clock; readonly everyMs: number }, emit: Emit): Emit {
  const { clock, everyMs } = options;
  const meter = createMeter(clock);
  let saidAtMs: number | undefined;
  return (event) => {
    const state = meter.take(event);
    if (state === undefined) return;
    if (state === 'finished') {
      saidAtMs = undefined;
      return;
    }
    const nowMs = clock.monotonicMs();
    saidAtMs ??= nowMs;
    if (nowMs - saidAtMs < everyMs) return;
    saidAtMs = nowMs;
    const { work, doneBytes, totalBytes } = state;
    emit({
      kind: 'notice',
      name: 'progress',
      level: 'info',
      message: `${VERBS[work]} ${describe(state)}`,
      facts: { doneBytes, totalBytes },
    });
  };
}

const VERBS: Readonly<Record<Work, string>> = { upload: 'uploading', download: 'downloading', verify: 'verifying' };

interface Position {
  readonly work: Work;
  readonly doneBytes: number;
  readonly totalBytes: number;
  /** undefined until two samples lie far enough apart. */
  readonly bytesPerSecond: number | undefined;
}

/** Adds up the events of each work; undefined for an event that moves nothing. */
function createMeter(clock: Clock): { take(event: Event): Position | 'finished' | undefined } {
  const works = new Map<Work, Tally>();
  return {
    take: (event) => {
      if (event.kind !== 'work-announced' && event.kind !== 'work-done' && event.kind !== 'work-finished')
        return undefined;
      if (event.kind === 'work-finished') {
        works.delete(event.work);
        return 'finished';
      }
      const nowMs = clock.monotonicMs();
      const tally = works.get(event.work) ?? {
        doneBytes: 0,
        announcedBytes: 0,
        samples: [{ atMs: nowMs, doneBytes: 0 }],
      };
      works.set(event.work, tally);
      if (event.kind === 'work-announced') tally.announcedBytes += event.bytes;
      else tally.doneBytes += event.bytes;
      return positionOf(event.work, tally, nowMs);
    },
  };
}

interface Tally {
  doneBytes: number;
  announcedBytes: number;
  /** Oldest first, at least one. */
  samples: { readonly atMs: number; readonly doneBytes: number }[];
}

function positionOf(work: Work, tally: Tally, nowMs: number): Position {
  const newest = tally.samples.at(-1);
  if (newest === undefined || nowMs - newest.atMs >= SAMPLE_MS)
    tally.samples.push({ atMs: nowMs, doneBytes: tally.doneBytes });
  while (tally.samples.length > 2 && nowMs - (tally.samples[1]?.atMs ?? nowMs) >= RATE_WINDOW_MS) tally.samples.shift();
  const oldest = tally.samples[0] ?? { atMs: nowMs, doneBytes: 0 };
  const elapsedMs = nowMs - oldest.atMs;
  const bytesPerSecond = elapsedMs < SAMPLE_MS ? undefined : ((tally.doneBytes - oldest.doneBytes) / elapsedMs) * 1000;
  const totalBytes = Math.max(tally.announcedBytes, tally.doneBytes); // A file that grew, or was announced too late.
  return { work, doneBytes: tally.doneBytes, totalBytes, bytesPerSecond };
}

/** `1.2 GiB of 4.0 GiB (30 %), 128 MiB/s, 22 s left` */
function describe({ doneBytes, totalBytes, bytesPerSecond }: Position): string {
  const share = `${describeBytes(doneBytes)} of ${describeBytes(totalBytes)} (${percent(doneBytes, totalBytes)} %)`;
  if (bytesPerSecond === undefined || bytesPerSecond <= 0) return share;
  const leftSeconds = Math.ceil((totalBytes - doneBytes) / bytesPerSecond);
  const left = leftSeconds < 60 ? `${leftSeconds} s` : describeDuration(leftSeconds * 1000);
  return `${share}, ${describeRate(bytesPerSecond)}, ${left} left`;
}

const BAR_WIDTH_MAX = 40;

function renderBar(position: Position, columns: number): string {
  const lead = `${VERBS[position.work]} `;
  const tail = ` ${describe(position)}`;
  const width = Math.min(BAR_WIDTH_MAX, columns - lead.length - tail.length - 1);
  if (width < 5) return `${lead}${tail.trimStart()}`.slice(0, Math.max(0, columns - 1));
  const filled = Math.floor((width * percent(position.doneBytes, position.totalBytes)) / 100);
  return `${lead}${'█'.repeat(filled)}${'░'.repeat(width - filled)}${tail}`;
}

/** Rounded down: 100 is said when it is done. */
function percent(doneBytes: number, totalBytes: number): number {
  return totalBytes === 0 ? 100 : Math.floor((doneBytes / totalBytes) * 100);
}
