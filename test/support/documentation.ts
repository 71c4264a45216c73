import { readFileSync } from 'node:fs';

/** The rows of the table that stands first under a heading of a page in docs/, each a list of cells. */
export function documentedTable(page: string, heading: string): readonly (readonly string[])[] {
  const document = readFileSync(new URL(`../../docs/${page}`, import.meta.url), 'utf8');
  const section = document.split(new RegExp(`\n##+ ${heading}\n`))[1]?.split(/\n##+ /)[0] ?? '';
  const rows = section.split('\n').filter((line) => line.startsWith('|'));
  return rows.slice(2).map((row) => row.slice(2, -2).split(' | '));
}
