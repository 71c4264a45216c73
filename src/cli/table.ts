import { oneLine } from '../base/one-line.ts';
import { type Look, paint, type Tone } from './look.ts';

export interface Column {
  readonly title: string;
  readonly align?: 'right';
}

/** A cell; undefined where there is nothing to say: a dash, or nothing at the end of a line. */
export type Cell = string | undefined | { readonly text: string; readonly tone: Tone };

const GAP = '  ';
const LAST_COLUMN_MIN = 24;

/**
 * Rows under their titles, aligned; columns in which no row says anything are left out. The last column is wrapped
 * where the line would be wider than the terminal. Ends with a line feed.
 */
export function renderTable(columns: readonly Column[], rows: readonly (readonly Cell[])[], look: Look): string {
  const used = columns.flatMap((column, index) =>
    rows.some((row) => row[index] !== undefined) ? { column, index } : [],
  );
  const widths = used.map(({ column, index }) =>
    rows.reduce((width, row) => Math.max(width, textOf(row[index]).length), column.title.length),
  );
  const beforeLast = widths.slice(0, -1).reduce((sum, width) => sum + width + GAP.length, 0);
  const lastWidth = Math.max(LAST_COLUMN_MIN, look.columns - beforeLast);
  const titles = used.map(({ column }): Cell => ({ text: column.title, tone: 'quiet' }));
  const lines = [titles, ...rows.map((row) => used.map(({ index }) => row[index]))].flatMap((cells) => {
    const lead = cells
      .slice(0, -1)
      .map((cell, at) => renderCell(cell, { width: widths[at] ?? 0, align: used[at]?.column.align, look }) + GAP);
    const [first = '', ...more] = wrap(cells.at(-1) === undefined ? '' : textOf(cells.at(-1)), lastWidth);
    const width = used.at(-1)?.column.align === 'right' ? (widths.at(-1) ?? 0) : 0;
    const tone = toneOf(cells.at(-1));
    const head = lead.join('') + paint(first.padStart(width), tone, look);
    return [head.trimEnd(), ...more.map((line) => ' '.repeat(beforeLast) + paint(line, tone, look))];
  });
  return `${lines.join('\n')}\n`;
}

function renderCell(
  cell: Cell,
  { width, align, look }: { readonly width: number; readonly align: 'right' | undefined; readonly look: Look },
): string {
  const text = textOf(cell);
  const padding = ' '.repeat(width - text.length);
  const painted = paint(text, toneOf(cell), look);
  return align === 'right' ? padding + painted : painted + padding;
}

function textOf(cell: Cell): string {
  return oneLine(typeof cell === 'object' ? cell.text : (cell ?? '-'));
}

function toneOf(cell: Cell): Tone | undefined {
  return typeof cell === 'object' ? cell.tone : cell === undefined ? 'quiet' : undefined;
}

/** Breaks at spaces; a word that is longer than a line stays whole, so that it can be copied. */
export function wrap(text: string, width: number): readonly string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, line];
}

/** Cells of offsets, in the order of what they are of. */
export function offsetCells(offsets: ReadonlyMap<string, bigint>): readonly (readonly [string, string])[] {
  return [...offsets]
    .sort(([left], [right]) => (left < right ? -1 : 1))
    .map(([partition, offset]) => [partition, String(offset)]);
}
