import { expect, test } from 'vitest';
import { documentedTable } from '../../test/support/documentation.ts';
import { ManualClock } from '../../test/support/manual-clock.ts';
import { type Event, NOTICE_NAMES } from './event.ts';
import { createLogger, type LoggerOptions } from './logger.ts';

const events: readonly Event[] = [
  { kind: 'notice', name: 'progress', level: 'info', message: 'watching', facts: { tasks: 12, path: '/state "x"' } },
  { kind: 'notice', name: 'setting-doubtful', level: 'warn', message: 'no lineage is set' },
  { kind: 'notice', name: 'filling-stopped', level: 'error', message: 'cannot publish', facts: { isFinal: true } },
  { kind: 'capture-retried', task: '0_0', why: { reason: 'changing', message: 'the manifest rolled' } },
  { kind: 'object-uploaded', key: 'orders/prod/data/1', storedBytes: 4096 },
  {
    kind: 'snapshot-finished',
    trigger: 'interval',
    result: 'published',
    snapshot: 'e/1',
    tasks: 3,
    uploadedBytes: 10,
    reusedBytes: 20,
    durationMs: 12.4,
  },
  { kind: 'phase-changed', phase: 'watching' },
  { kind: 'work-announced', work: 'upload', bytes: 10 },
  { kind: 'work-done', work: 'upload', bytes: 10 },
  { kind: 'work-finished', work: 'upload' },
];

function linesOf(
  options: Pick<LoggerOptions, 'format' | 'level'> & { readonly hasColour?: boolean },
): readonly string[] {
  const lines: string[] = [];
  const clock = new ManualClock({ startMs: Date.UTC(2026, 10, 22, 23, 41, 7, 89) });
  const emit = createLogger({ hasColour: false, ...options, clock, write: (line) => void lines.push(line) });
  for (const event of events) emit(event);
  return lines;
}

test('json lines have level, time, message and the facts of the event', () => {
  const time = '2026-11-22T23:41:07.089Z';
  const lines = linesOf({ format: 'json', level: 'debug' });
  expect(lines.map((line) => JSON.parse(line))).toEqual([
    { level: 'info', time, event: 'progress', tasks: 12, path: '/state "x"', msg: 'watching' },
    { level: 'warn', time, event: 'setting-doubtful', msg: 'no lineage is set' },
    { level: 'error', time, event: 'filling-stopped', isFinal: true, msg: 'cannot publish' },
    {
      level: 'debug',
      time,
      event: 'capture-retried',
      task: '0_0',
      reason: 'the manifest rolled',
      msg: 'capturing again',
    },
    {
      level: 'debug',
      time,
      event: 'object-uploaded',
      key: 'orders/prod/data/1',
      storedBytes: 4096,
      msg: 'object uploaded',
    },
    {
      level: 'info',
      time,
      event: 'snapshot-finished',
      snapshot: 'e/1',
      trigger: 'interval',
      result: 'published',
      tasks: 3,
      uploadedBytes: 10,
      reusedBytes: 20,
      durationMs: 12,
      msg: 'snapshot published',
    },
    { level: 'info', time, event: 'phase-changed', phase: 'watching', msg: 'phase watching' },
  ]);
  expect(lines.filter((line) => !line.endsWith('}\n'))).toEqual([]);
});

test('text lines have the time of day, the level, the message and the facts', () => {
  expect(linesOf({ format: 'text', level: 'debug' })).toEqual([
    '23:41:07 info  watching  tasks=12  path=/state "x"\n',
    '23:41:07 warn  no lineage is set\n',
    '23:41:07 error cannot publish  isFinal=true\n',
    '23:41:07 debug capturing again  task=0_0  reason=the manifest rolled\n',
    '23:41:07 debug object uploaded  key=orders/prod/data/1  storedBytes=4096\n',
    '23:41:07 info  snapshot published  snapshot=e/1  trigger=interval  result=published  tasks=3  uploadedBytes=10  reusedBytes=20  durationMs=12\n',
    '23:41:07 info  phase watching  phase=watching\n',
  ]);
});

test.each(['json', 'text'] as const)('in %s, what is less urgent than the level is dropped', (format) => {
  const count = (level: LoggerOptions['level']) => linesOf({ format, level }).length;
  expect([count('debug'), count('info'), count('warn'), count('error')]).toEqual([7, 5, 2, 1]);
});

test.each([
  ['interval', 'published', 'info'],
  ['interval', 'unchanged', 'debug'],
  ['final', 'unchanged', 'info'],
  ['interval', 'failed', 'debug'], // It is made again; the problem is said once.
  ['request', 'failed', 'warn'],
  ['final', 'failed', 'warn'],
] as const)('a round by %s that is %s is %s', (trigger, result, level) => {
  const lines: string[] = [];
  const clock = new ManualClock();
  const emit = createLogger({
    format: 'json',
    level: 'debug',
    hasColour: false,
    clock,
    write: (line) => void lines.push(line),
  });
  const amounts = { tasks: 1, uploadedBytes: 0, reusedBytes: 0, durationMs: 1 };
  emit({ kind: 'snapshot-finished', trigger, result, snapshot: undefined, ...amounts });
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({ level, trigger, result });
});

test('colours mark what is out of the ordinary', () => {
  const [info, warn] = linesOf({ format: 'text', level: 'info', hasColour: true });
  expect([info, warn]).toEqual([
    '23:41:07 info  watching  tasks=12  path=/state "x"\n',
    '23:41:07 \u001B[33mwarn\u001B[39m  no lineage is set\n',
  ]);
});

test('every name of a log line is in the documents, and none that there is not', () => {
  const documented = documentedTable('configuration.md', 'Log lines').map(([name]) => name?.replaceAll('`', ''));
  expect(documented).toEqual([
    'capture-retried',
    'object-uploaded',
    'phase-changed',
    'prune-finished',
    'snapshot-finished',
    ...NOTICE_NAMES,
  ]);
});
