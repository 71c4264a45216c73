import { expect, test } from 'vitest';
import { readRocksDbVersion } from './options-file.ts';

test('the version of RocksDB is read from the head of an OPTIONS file', () => {
  const text =
    '# This is a RocksDB option file.\n\n[Version]\n  rocksdb_version=9.7.3\n  options_file_version=1.1\n\n[DBOptions]\n';
  expect(readRocksDbVersion(Buffer.from(text))).toBe('9.7.3');
});

test.each(['', 'rocksdb_version=', '[Version]\n  rocksdb_version=9.7\n', '\0\0'])('%j has none', (text) => {
  expect(readRocksDbVersion(Buffer.from(text))).toBeUndefined();
});
