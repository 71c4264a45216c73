import { EXIT_CODES, type Failure, type FailureKind } from '../base/failure.ts';
import { describeCount } from '../base/quantity.ts';
import { type Look, paint, type Tone } from './look.ts';
import { type Cell, renderTable } from './table.ts';

/** What `doctor` looks at, in its order. Checked against docs/configuration.md. */
export const CHECK_NAMES = [
  'settings',
  'state-dir',
  'volume',
  'space',
  'user',
  'application',
  'lock',
  'watches',
  'listen',
  'store',
  'credentials',
  'put',
  'get',
  'range',
  'list',
  'delete',
  'clock',
  'encryption',
  'conditions',
  'lifecycle',
  'brokers',
] as const;

export type CheckName = (typeof CHECK_NAMES)[number];

/** One line of `doctor`: what was seen, and what mends it. */
export type Check = {
  readonly check: CheckName;
  readonly message: string;
  readonly hint: string | undefined;
} & ({ readonly outcome: 'ok' | 'warn' } | { readonly outcome: 'failed'; readonly kind: FailureKind });

/** As it should be; the hint is for what could be better all the same. */
export function ok(check: CheckName, message: string, hint?: string): Check {
  return { check, outcome: 'ok', message, hint };
}

/** It works, but less well than it could, or not for everything. */
export function warn(check: CheckName, message: string, hint?: string): Check {
  return { check, outcome: 'warn', message, hint };
}

/** Something will not work. */
export function failed(check: CheckName, { kind, message, hint }: Failure): Check {
  return { check, outcome: 'failed', kind, message, hint };
}

const TONES: Readonly<Record<Check['outcome'], Tone>> = { ok: 'good', warn: 'warning', failed: 'bad' };

/** A line per check, its mend below it, and a last line that counts. */
export function renderChecks(checks: readonly Check[], look: Look): string {
  const columns = ['', 'CHECK', 'SEEN'].map((title) => ({ title }));
  const rows = checks.flatMap(({ check, outcome, message, hint }): readonly (readonly Cell[])[] => [
    [{ text: outcome, tone: TONES[outcome] }, check, message],
    ...(hint === undefined ? [] : [['', '', { text: `try: ${hint}`, tone: 'quiet' as const }]]),
  ]);
  return `${renderTable(columns, rows, look)}\n${paint(summarize(checks), 'heading', look)}\n`;
}

function summarize(checks: readonly Check[]): string {
  const count = (outcome: Check['outcome']): number => checks.filter((check) => check.outcome === outcome).length;
  const troubles = [
    ...(count('failed') === 0 ? [] : [`${count('failed')} failed`]),
    ...(count('warn') === 0 ? [] : [describeCount(count('warn'), 'warning')]),
  ];
  const said = troubles.length === 0 ? 'nothing to mend' : troubles.join(', ');
  return `${describeCount(checks.length, 'check')}: ${said}`;
}

/** The shape of `doctor --output json`. */
export function checksJson(checks: readonly Check[]): object {
  return {
    checks: checks.map(({ check, outcome, message, hint }) => ({ check, outcome, message, hint: hint ?? null })),
  };
}

/** 0 where nothing failed, else the smallest code of what did: the first thing to mend. */
export function doctorExitCode(checks: readonly Check[]): number {
  const codes = checks.flatMap((check) => (check.outcome === 'failed' ? [EXIT_CODES[check.kind]] : []));
  return codes.length === 0 ? 0 : Math.min(...codes);
}
