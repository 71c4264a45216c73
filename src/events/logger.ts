import { pino } from 'pino';
import type { Clock } from '../base/clock.ts';
import { oneLine } from '../base/one-line.ts';
import type { Emit, Event, Facts } from './event.ts';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

export interface LoggerOptions {
  readonly format: 'json' | 'text';
  /** What is less urgent is dropped. */
  readonly level: LogLevel;
  readonly hasColour: boolean;
  readonly clock: Clock;
  /** Takes whole lines with their line feed, at once. */
  readonly write: (line: string) => void;
}

/** Turns events into log lines: one JSON object a line for machines, time, level, message and facts for people. */
export function createLogger(options: LoggerOptions): Emit {
  const write = options.format === 'json' ? jsonLines(options) : textLines(options);
  return (event) => {
    const entry = entryOf(event);
    if (entry !== undefined && LEVELS.indexOf(entry.level) >= LEVELS.indexOf(options.level)) write(entry);
  };
}

const LEVELS: readonly LogLevel[] = ['debug', 'info', 'warn', 'error'];

interface Entry {
  readonly level: LogLevel;
  /** The name of a notice, else the kind of the event: what those search for who read logs. */
  readonly event: string;
  readonly message: string;
  readonly facts: Facts;
}

/** The bytes of work are for the progress, which says them in sum. */
function entryOf(event: Event): Entry | undefined {
  switch (event.kind) {
    case 'notice':
      return { level: event.level, event: event.name, message: event.message, facts: event.facts ?? {} };
    case 'capture-retried': {
      const { task, why } = event;
      return { level: 'debug', event: event.kind, message: 'capturing again', facts: { task, reason: why.message } };
    }
    case 'object-uploaded': {
      const { key, storedBytes } = event;
      return { level: 'debug', event: event.kind, message: 'object uploaded', facts: { key, storedBytes } };
    }
    case 'snapshot-finished': {
      const { kind, snapshot, durationMs, ...facts } = event;
      const level = levelOfRound(event);
      const named = snapshot === undefined ? {} : { snapshot };
      const all = { ...named, ...facts, durationMs: Math.round(durationMs) };
      return { level, event: kind, message: `snapshot ${event.result}`, facts: all };
    }
    case 'prune-finished': {
      const { kind, durationMs, ...counts } = event;
      const level = counts.documents + counts.objects + counts.missing > 0 ? 'info' : 'debug';
      return {
        level,
        event: kind,
        message: 'repository pruned',
        facts: { ...counts, durationMs: Math.round(durationMs) },
      };
    }
    case 'phase-changed':
      return { level: 'info', event: event.kind, message: `phase ${event.phase}`, facts: { phase: event.phase } };
    case 'storage-request':
    case 'work-announced':
    case 'work-done':
    case 'work-finished':
      return undefined;
  }
}

/** An interval round that fails is made again, and again: what it fails of is a problem, which is said once. */
function levelOfRound({ result, trigger }: Extract<Event, { kind: 'snapshot-finished' }>): LogLevel {
  if (trigger === 'interval' && result !== 'published') return 'debug';
  return result === 'failed' ? 'warn' : 'info';
}

function jsonLines({ level, clock, write }: LoggerOptions): (entry: Entry) => void {
  const logger = pino(
    {
      base: null,
      level,
      formatters: { level: (label) => ({ level: label }) },
      timestamp: () => `,"time":"${new Date(clock.nowMs()).toISOString()}"`,
    },
    { write },
  );
  return ({ level, event, message, facts }) => logger[level]({ event, ...facts }, message);
}

const ESCAPE = '\u001B';
const PAINTED: Readonly<Record<LogLevel, string>> = {
  debug: `${ESCAPE}[2mdebug${ESCAPE}[22m`,
  info: 'info ',
  warn: `${ESCAPE}[33mwarn${ESCAPE}[39m `,
  error: `${ESCAPE}[31merror${ESCAPE}[39m`,
};

/** `23:41:07 warn  no lineage is set  file=/etc/…` in UTC, as all times of this program. */
function textLines({ hasColour, clock, write }: LoggerOptions): (entry: Entry) => void {
  return ({ level, message, facts }) => {
    const time = new Date(clock.nowMs()).toISOString().slice(11, 19);
    const pairs = Object.entries(facts).map(([name, value]) => `  ${name}=${value}`);
    const said = oneLine(`${message}${pairs.join('')}`);
    write(`${time} ${hasColour ? PAINTED[level] : level.padEnd(5)} ${said}\n`);
  };
}
