import fc from 'fast-check';
import { expect, test } from 'vitest';
import { renderTable, wrap } from './table.ts';

const plain = { columns: Number.POSITIVE_INFINITY, hasColour: false, nowMs: 0 };
const columns = [{ title: 'TASK' }, { title: 'SIZE', align: 'right' as const }, { title: 'WHY' }];

test('cells stand under their titles, sizes to the right, gaps as a dash', () => {
  const rows = [
    ['0_0', '1.2 GiB', undefined],
    ['global', undefined, 'too_old: 31 h'],
  ];
  expect(renderTable(columns, rows, plain)).toBe(
    ['TASK       SIZE  WHY', '0_0     1.2 GiB', 'global        -  too_old: 31 h', ''].join('\n'),
  );
});

test('a column in which no row says anything is left out', () => {
  const rows = [
    ['0_0', '1 B', undefined],
    ['0_1', '12 B', undefined],
  ];
  expect(renderTable(columns, rows, plain)).toBe(['TASK  SIZE', '0_0    1 B', '0_1   12 B', ''].join('\n'));
});

test('the last column is wrapped under itself where the terminal ends', () => {
  const rows = [['0_0', '1 B', 'changing: rocksdb/agg changed less than 10 s ago']];
  expect(renderTable(columns, rows, { ...plain, columns: 40 })).toBe(
    ['TASK  SIZE  WHY', '0_0    1 B  changing: rocksdb/agg', '            changed less than 10 s ago', ''].join('\n'),
  );
});

test('what others wrote stays within its cell', () => {
  expect(renderTable([{ title: 'A' }, { title: 'B' }], [['x\n  y', '\u001B[1mz\u0007']], plain)).toBe(
    'A    B\nx y  \u{fffd}[1mz\u{fffd}\n',
  );
});

test('as many rows as there are files are no trouble', () => {
  const rows = Array.from({ length: 200_000 }, (_, index) => [String(index), 'file']);
  expect(renderTable([{ title: 'SIZE' }, { title: 'FILE' }], rows, plain)).toHaveLength(200_001 * 13);
});

test('colours change nothing but the colours', () => {
  const rows = [['0_0', { text: 'refused', tone: 'bad' as const }, { text: 'a b', tone: 'quiet' as const }]];
  const coloured = renderTable(columns, rows, { ...plain, hasColour: true });
  expect(coloured).toContain('\u001B[31mrefused\u001B[39m');
  // oxlint-disable-next-line no-control-regex -- Colours are control sequences.
  expect(coloured.replaceAll(/\u001B\[\d+m/g, '')).toBe(renderTable(columns, rows, plain));
});

test('wrapping loses no word and breaks none', () => {
  const texts = fc.array(fc.stringMatching(/^[a-z:/.]{1,30}$/), { minLength: 1 }).map((words) => words.join(' '));
  fc.assert(
    fc.property(texts, fc.integer({ min: 1, max: 60 }), (text, width) => {
      const lines = wrap(text, width);
      expect(lines.join(' ')).toBe(text);
      expect(lines.filter((line) => line.length > width && line.includes(' '))).toEqual([]);
    }),
  );
});
