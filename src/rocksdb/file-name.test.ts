import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isFailure } from '../base/failure.ts';
import { blobFileName, manifestFileName, parseCurrent, parseFileName, tableFileName } from './file-name.ts';

describe('file names', () => {
  test.each([
    ['000012.sst', { kind: 'table', number: 12 }],
    ['1234567.sst', { kind: 'table', number: 1_234_567 }],
    ['000007.blob', { kind: 'blob', number: 7 }],
    ['000004.log', { kind: 'wal', number: 4 }],
    ['MANIFEST-000005', { kind: 'manifest', number: 5 }],
    ['OPTIONS-000009', { kind: 'options', number: 9 }],
    ['OPTIONS-000009.dbtmp', { kind: 'temporary' }],
    ['000009.dbtmp', { kind: 'temporary' }],
    ['COMPACTION_PROGRESS-1719000000', { kind: 'temporary' }],
    ['COMPACTION_PROGRESS-1719000000.dbtmp', { kind: 'temporary' }],
    ['CURRENT', { kind: 'current' }],
    ['LOCK', { kind: 'lock' }],
    ['IDENTITY', { kind: 'identity' }],
    ['LOG', { kind: 'info-log' }],
    ['LOG.old', { kind: 'info-log' }],
    ['LOG.old.1719000000123456', { kind: 'info-log' }],
    ['000012.sst.trash', { kind: 'trash' }],
    ['000012.sst1.trash', { kind: 'trash' }],
  ])('%s is recognised', (name, expected) => {
    expect(parseFileName(name)).toEqual(expected);
  });

  test.each([
    '',
    '12.sst',
    '0000012.sst',
    '000012.ldb',
    '000012.SST',
    ' 000012.sst',
    '000012.sst\n',
    '000012.sst/',
    '99999999999999999999.sst',
    'MANIFEST-',
    'MANIFEST-12',
    'LOG.old.',
    '.checkpoint',
    'offsets',
  ])('%j is not a name of RocksDB', (name) => {
    expect(parseFileName(name)).toBeUndefined();
  });

  test('every built name is parsed back to its number', () => {
    fc.assert(
      fc.property(fc.nat({ max: Number.MAX_SAFE_INTEGER }), (number) => {
        expect(parseFileName(tableFileName(number))).toEqual({ kind: 'table', number });
        expect(parseFileName(blobFileName(number))).toEqual({ kind: 'blob', number });
        expect(parseFileName(manifestFileName(number))).toEqual({ kind: 'manifest', number });
      }),
    );
  });
});

describe('CURRENT', () => {
  test('names the manifest', () => {
    expect(current('MANIFEST-000005\n')).toBe('MANIFEST-000005');
    expect(current('MANIFEST-1234567\n')).toBe('MANIFEST-1234567');
  });

  test.each([
    '',
    '\n',
    'MANIFEST-000005',
    'MANIFEST-00005\n',
    'MANIFEST-000005\n\n',
    '../MANIFEST-000005\n',
    ' MANIFEST-000005\n',
    'MANIFEST-000005\r\n',
    `MANIFEST-${'0'.repeat(100)}\n`,
  ])('content %j is corrupt', (text) => {
    expect(() => current(text)).toThrow(expect.toSatisfy((error) => isFailure(error, 'corrupt')));
  });
});

function current(text: string): string {
  return parseCurrent(Buffer.from(text, 'latin1'));
}
