import type { Guarantee } from '../kafka/protected-app.ts';

/** One release under one guarantee. */
export interface Line {
  readonly version: string;
  readonly guarantee: Guarantee;
  readonly transactionalStores: boolean;
}

/**
 * In this order the scenarios of a line follow each other: at the first one its changelogs have not gone on, and two pods share
 * the tasks while none is far behind.
 */
export const SCENARIOS = [
  'clean-close',
  'two-pods',
  'other-instance',
  'killed',
  'standby',
  'changelog-went-on',
] as const;
export type Scenario = (typeof SCENARIOS)[number];

export const SCENARIO_TITLES: Readonly<Record<Scenario, string>> = {
  'clean-close': 'clean close',
  killed: 'kill -9 while running',
  standby: 'standby as the source',
  'other-instance': 'restored on another instance',
  'two-pods': 'restored twice',
  'changelog-went-on': 'restored after the changelog went on',
};

const PLAIN = ['2.8.2', '3.5.2', '3.9.2', '4.0.2', '4.2.2', '4.3.1', '4.4.0'];
/** The releases that have `enable.transactional.statestores`. */
const TRANSACTIONAL = ['4.4.0'];
const GUARANTEES = ['at_least_once', 'exactly_once_v2'] as const;

export const LINES: readonly Line[] = [
  ...PLAIN.map((version) => ({ version, transactionalStores: false })),
  ...TRANSACTIONAL.map((version) => ({ version, transactionalStores: true })),
].flatMap((release) => GUARANTEES.map((guarantee) => ({ ...release, guarantee })));

/** `4.4.0-transactional/exactly_once_v2` */
export function lineName({ version, guarantee, transactionalStores }: Line): string {
  return `${version}${transactionalStores ? '-transactional' : ''}/${guarantee}`;
}

/** `3.9.2/at_least_once/clean-close` */
export function cellName(line: Line, scenario: Scenario): string {
  return `${lineName(line)}/${scenario}`;
}

/** Whether a cell is among those that are named, each by its whole name or by the first parts of it; none names all. */
export function isChosen(cell: string, names: readonly string[]): boolean {
  return names.length === 0 || names.some((name) => `${cell}/`.startsWith(`${name}/`));
}
