import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ManualClock } from '../../test/support/manual-clock.ts';
import type { Event } from './event.ts';
import { createProgressBar, createProgressNotices } from './progress.ts';

const MIB = 2 ** 20;
const CLEAR = '\r\u001B[K';

function announced(bytes: number): Event {
  return { kind: 'work-announced', work: 'upload', bytes };
}

function done(bytes: number): Event {
  return { kind: 'work-done', work: 'upload', bytes };
}

const finished: Event = { kind: 'work-finished', work: 'upload' };

function openBar(columns: number) {
  const clock = new ManualClock();
  const written: string[] = [];
  const bar = createProgressBar({ clock, columns: () => columns, write: (text) => void written.push(text) });
  return { clock, written, bar };
}

test('the bar shows bytes, share, rate and the time left, and goes when the work is done', async () => {
  const { clock, written, bar } = openBar(90);
  bar.emit(announced(100 * MIB));
  for (let second = 1; second <= 2; second++) {
    await clock.advance(1_000);
    bar.emit(done(10 * MIB));
  }
  bar.emit(finished);
  expect(written).toEqual([
    `${CLEAR}uploading ${'░'.repeat(40)} 0 B of 100 MiB (0 %)`,
    `${CLEAR}uploading ███${'░'.repeat(31)} 10 MiB of 100 MiB (10 %), 10 MiB/s, 9 s left`,
    `${CLEAR}uploading ██████${'░'.repeat(28)} 20 MiB of 100 MiB (20 %), 10 MiB/s, 8 s left`,
    CLEAR,
  ]);
});

test('the bar is drawn at most ten times a second', async () => {
  const { clock, written, bar } = openBar(80);
  for (let step = 0; step < 1_000; step++) {
    bar.emit(done(MIB));
    await clock.advance(1);
  }
  expect(written.length).toBe(10);
});

test('a line is written above the bar', () => {
  const { written, bar } = openBar(80);
  bar.writeLine('before\n');
  bar.emit(announced(MIB));
  const drawn = written.at(-1) ?? '';
  bar.writeLine('a line\n');
  bar.end();
  bar.writeLine('after\n');
  expect(written).toEqual(['before\n', drawn, CLEAR, 'a line\n', drawn, CLEAR, 'after\n']);
});

test('no bar is wider than the terminal or says more than there is', async () => {
  const steps = fc.array(
    fc.record({ announce: fc.nat(10 ** 9), work: fc.nat(10 ** 9), ms: fc.integer({ min: 100, max: 60_000 }) }),
    { maxLength: 20 },
  );
  await fc.assert(
    fc.asyncProperty(steps, fc.integer({ min: 1, max: 200 }), async (moves, columns) => {
      const { clock, written, bar } = openBar(columns);
      for (const { announce, work, ms } of moves) {
        bar.emit(announced(announce));
        bar.emit(done(work));
        await clock.advance(ms);
      }
      for (const text of written.map((bar) => bar.slice(CLEAR.length))) {
        expect(text.length).toBeLessThan(Math.max(columns, 1));
        expect(Number(/\((\d+) %\)/.exec(text)?.[1] ?? 0)).toBeLessThanOrEqual(100);
      }
    }),
    { numRuns: 50 },
  );
});

test('without a terminal, long work is a notice every ten seconds', async () => {
  const clock = new ManualClock();
  const notices: Event[] = [];
  const emit = createProgressNotices({ clock, everyMs: 10_000 }, (event) => void notices.push(event));
  emit(announced(100 * MIB));
  for (let second = 1; second <= 25; second++) {
    await clock.advance(1_000);
    emit(done(2 * MIB));
  }
  emit(finished);
  emit(done(MIB));
  expect(notices).toEqual([
    {
      kind: 'notice',
      name: 'progress',
      level: 'info',
      message: 'uploading 20 MiB of 100 MiB (20 %), 2.0 MiB/s, 40 s left',
      facts: { doneBytes: 20 * MIB, totalBytes: 100 * MIB },
    },
    {
      kind: 'notice',
      name: 'progress',
      level: 'info',
      message: 'uploading 40 MiB of 100 MiB (40 %), 2.0 MiB/s, 30 s left',
      facts: { doneBytes: 40 * MIB, totalBytes: 100 * MIB },
    },
  ]);
});

test('short work is no notice', async () => {
  const clock = new ManualClock();
  const notices: Event[] = [];
  const emit = createProgressNotices({ clock, everyMs: 10_000 }, (event) => void notices.push(event));
  for (let round = 0; round < 5; round++) {
    emit(announced(MIB));
    await clock.advance(9_000);
    emit(done(MIB));
    emit(finished);
  }
  expect(notices).toEqual([]);
});

test('the rate is that of the last seconds', async () => {
  const { clock, written, bar } = openBar(120);
  bar.emit(announced(1_000 * MIB));
  for (let second = 0; second < 20; second++) {
    await clock.advance(1_000);
    bar.emit(done(second < 5 ? 100 * MIB : MIB));
  }
  expect(written.at(-1)).toContain('1.0 MiB/s');
});
