import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { type CellResult, decodeResults } from './support/matrix/cell-result.ts';
import { cellName, isChosen, LINES } from './support/matrix/cells.ts';
import { renderCompatibility } from './support/matrix/compatibility.ts';

const read = (name: string): string => readFileSync(new URL(`../docs/${name}`, import.meta.url), 'utf8');

describe('docs/compatibility.md', () => {
  test('is what the program makes of the results that were committed with it', () => {
    expect(read('compatibility.md')).toBe(renderCompatibility(decodeResults(read('compatibility.json'))));
  });

  test('rests on results in which nothing is wrong', () => {
    const wrong = decodeResults(read('compatibility.json')).filter((result) => result.wrong.length > 0);
    expect(wrong.map(({ cell }) => cell)).toEqual([]);
  });
});

const SEEN = { task: '0_0', quality: 'clean', reason: null, state: 'as-closed' } as const;

function resultOf(cell: string, changes: Partial<CellResult> = {}): CellResult {
  const installed = [{ ...SEEN, decision: 'warm' } as const];
  const replayed = [{ store: 'agg', from: ['5', '7'], to: ['9', '7'], records: 4 }];
  const run = { commit: 'c0ffee', date: '2026-11-28T16:00:00.000Z', seconds: 7, facts: [] };
  return { cell, ...run, captured: {}, installed, replayed, wrong: [], ...changes };
}

describe('what a user gets', () => {
  const rowOf = (results: readonly CellResult[], cells: string): string | undefined =>
    renderCompatibility(results)
      .split('\n')
      .find((line) => line.startsWith(`| ${cells}`));
  const killed = (state: 'as-closed' | 'since-the-close', quality: string | null = 'live'): Partial<CellResult> => ({
    installed: [{ ...SEEN, state, quality, decision: quality === null ? 'cold' : 'warm' }],
    captured: { 'before the kill': [SEEN] },
  });

  test('is said of what has run only', () => {
    const results = [resultOf('3.9.2/at_least_once/clean-close')];
    expect(rowOf(results, '3.9.2 | at_least_once |')).toBe(
      '| 3.9.2 | at_least_once | **warm as of the close** | not run | not run | not run |',
    );
    expect(rowOf(results, '3.9.2 | exactly_once_v2 |')).toBeUndefined();
  });

  test.for([
    ['3.9.2', killed('since-the-close'), '**warm as of the last checkpoint** | **warm as of the last close**'],
    ['4.3.1', killed('since-the-close'), '**warm as of the last flush** | **warm as of the last close**'],
    ['4.3.1', killed('as-closed', 'clean'), '**warm as of the last close** | **warm as of the last close**'],
    ['4.0.2', killed('as-closed', null), '**cold** | **warm as of the last close**'],
  ] as const)(
    'after a kill and a lost node is told from the offsets that came back: %s',
    ([version, changes, words]) => {
      const row = rowOf([resultOf(`${version}/at_least_once/killed`, changes)], `${version} | at_least_once |`);
      expect(row).toBe(`| ${version} | at_least_once | not run | ${words} | not run |`);
    },
  );

  test('says how many of the tasks, where they differ', () => {
    const installed = [
      { ...SEEN, state: 'since-the-close', quality: 'live', decision: 'warm' },
      { ...SEEN, task: '0_1', decision: 'warm' },
      { ...SEEN, task: '1_0', decision: 'warm' },
    ] as const;
    const row = rowOf([resultOf('3.9.2/at_least_once/killed', { installed: [...installed] })], '3.9.2 |');
    expect(row).toContain('1 of 3 **warm as of the last checkpoint**, 2 of 3 **warm as of the last close**');
  });

  test('hides nothing that was wrong', () => {
    const wrong = ['0_0/rocksdb/agg: wiped', 'agg key-1: absent, not 3'];
    const row = rowOf(
      [resultOf('3.9.2/at_least_once/two-pods', { wrong })],
      '3.9.2 | at_least_once | restored twice |',
    );
    expect(row).toContain('| 1 | WRONG: 2 |');
    expect(row).toContain('| 4 from 5, 7 |');
  });
});

describe('cells', () => {
  test('are chosen by the first parts of their names, or by whole ones', () => {
    const all = LINES.map((line) => cellName(line, 'killed'));
    const chosen = (names: readonly string[]): readonly string[] => all.filter((cell) => isChosen(cell, names));
    expect(chosen(['4.4.0'])).toEqual(['4.4.0/at_least_once/killed', '4.4.0/exactly_once_v2/killed']);
    expect(chosen(['4.4.0-transactional/exactly_once_v2/killed'])).toEqual([
      '4.4.0-transactional/exactly_once_v2/killed',
    ]);
    expect(chosen(['4.4', '3.9.2/at_least_once/clean-close'])).toEqual([]);
    expect(chosen([])).toEqual(all);
  });
});
