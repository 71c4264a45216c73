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

test('every rule is taken out by at least one mutation, and every mutation is of a rule', () => {
  expect([...new Set(MUTATIONS.map(({ rule }) => rule))].sort()).toEqual(RULES.map(([rule = '']) => rule).sort());
});

test.each(MUTATIONS)('$rule without $without: the text that goes is there exactly once', (mutation) => {
  const text = read(mutation.file);
  expect(mutateText(text, mutation)).not.toBe(text);
  for (const path of mutation.tests) expect(read(path)).toContain(mutation.only ?? '');
});
