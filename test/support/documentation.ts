import { readFileSync } from 'node:fs';

/** The rows of the table that stands first under a heading of a page in docs/, each a list of cells. */
export function documentedTable(page: string, heading: string): readonly (readonly string[])[] {
  const rows = sectionOf(page, heading)
    .split('\n')
    .filter((line) => line.startsWith('|'));
  return rows.slice(2).map((row) => row.slice(2, -2).split(' | '));
}

/** The lines of the first block of code under a heading of a page in docs/. */
export function documentedCommands(page: string, heading: string): readonly string[] {
  return sectionOf(page, heading).split('```')[1]?.trim().split('\n') ?? [];
}

function sectionOf(page: string, heading: string): string {
  const document = readFileSync(new URL(`../../docs/${page}`, import.meta.url), 'utf8');
  return document.split(new RegExp(`\n##+ ${heading}\n`))[1]?.split(/\n##+ /)[0] ?? '';
}
