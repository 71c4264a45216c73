import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import { mutateText } from './mutations/mutation.ts';
import { MUTATIONS } from './mutations/mutations.ts';
import { documentedTable } from './support/documentation.ts';

const ROOT = resolve(import.meta.dirname, '..');
const PAGES = ['quality.md', 'format.md'];
const RULES = documentedTable('rules.md', 'By name');

function read(path: string): string {
  return readFileSync(resolve(ROOT, path), 'utf8');
}

test('every rule that a page tells is in the list of rules, and no other', () => {
  const told = PAGES.flatMap((page) =>
    [...read(`docs/${page}`).matchAll(/\*\*([A-Z]\d+)\./g)].map(([, rule]) => `${rule} ${page}`),
  );
  expect(RULES.map(([rule, , page]) => `${rule} ${page}`).sort()).toEqual(told.sort());
});

test('every mutation is of a rule', () => {
  const rules = new Set(RULES.map(([rule]) => rule));
  expect(MUTATIONS.filter(({ rule }) => !rules.has(rule))).toEqual([]);
});

test.each(MUTATIONS)('what $rule would be without $without is there exactly once', (mutation) => {
  const text = read(mutation.file);
  expect(mutateText(text, mutation)).not.toBe(text);
  for (const path of mutation.tests) expect(read(path)).toContain(mutation.only ?? '');
});
