import { pathToFileURL } from 'node:url';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseDestination } from './open-store.ts';

const directories: readonly (readonly [string, string])[] = [
  ['file:///var/backups', '/var/backups'],
  ['file:///var/backups/', '/var/backups'],
  ['FILE:///a/../b//c/./d', '/b/c/d'],
  ['file://localhost/a', '/a'],
  ['file:///with%20space/%C3%A4%3F%23%25', '/with space/ä?#%'],
  ['file:///plus+and&and;', '/plus+and&and;'],
];
for (const [text, directory] of directories) {
  test(`${text} is the directory ${directory}`, () => {
    expect(parseDestination(text)).toEqual({ kind: 'file', directory });
  });
}

test('the file URL that Node makes of an absolute path leads back to it', () => {
  const segment = fc
    .string({ minLength: 1, maxLength: 12, unit: 'grapheme' })
    .filter((text) => !/[/\0]|^\.\.?$/.test(text));
  const law = fc.property(fc.array(segment, { minLength: 1, maxLength: 4 }), (segments) => {
    const path = `/${segments.join('/')}`;
    expect(parseDestination(pathToFileURL(path).href)).toEqual({ kind: 'file', directory: path });
  });
  fc.assert(law, { numRuns: 300 });
});

const buckets: readonly (readonly [string, string, string])[] = [
  ['s3://bucket', 'bucket', ''],
  ['s3://bucket/', 'bucket', ''],
  ['S3://my.bucket-1/prefix', 'my.bucket-1', 'prefix'],
  ['s3://bucket/a/b_c/d.e/', 'bucket', 'a/b_c/d.e'],
];
for (const [text, bucket, prefix] of buckets) {
  test(`${text} is the bucket ${bucket}, under ${prefix || 'no prefix'}`, () => {
    expect(parseDestination(text)).toEqual({ kind: 's3', bucket, prefix });
  });
}

const BOTH = 's3://bucket/prefix or file:///directory';
const refused: readonly (readonly [string, string, string])[] = [
  ['', 'it has no scheme', BOTH],
  ['/var/my backups', 'it has no scheme', 'file:///var/my%20backups'],
  ['./backups', 'it has no scheme', BOTH],
  ['s3://', 'it names no bucket', BOTH],
  ['s3:bucket/prefix', 'it names no bucket', BOTH],
  ['s3:///prefix', 'it names no bucket', BOTH],
  ['s3://b', 'no bucket can be called b', BOTH],
  ['s3://bucket:9000/prefix', 'no bucket can be called bucket:9000', BOTH],
  ['s3://bucket/a//b', 'a prefix has segments of letters, digits, . _ - that do not begin with a dot', BOTH],
  ['s3://bucket/a/../b', 'a prefix has segments of letters, digits, . _ - that do not begin with a dot', BOTH],
  ['s3://bucket/a?versionId=1', 'a prefix has segments of letters, digits, . _ - that do not begin with a dot', BOTH],
  [`s3://bucket/${'p'.repeat(121)}`, 'its prefix is longer than 120 characters', BOTH],
  ['gs://bucket', 'it has the unknown scheme gs', BOTH],
  ['file://nas/share', 'it names the host nas, not a directory here', BOTH],
  ['file:relative', 'a directory is given by its whole path, with ? and # written as %3F and %23', BOTH],
  ['file://host', 'a directory is given by its whole path, with ? and # written as %3F and %23', BOTH],
  ['file:///a?b', 'a directory is given by its whole path, with ? and # written as %3F and %23', BOTH],
  ['file:///a#b', 'a directory is given by its whole path, with ? and # written as %3F and %23', BOTH],
  ['file:///a%zz', 'a % is written as %25', BOTH],
  ['file:///a%00b', 'a path has no zero byte', BOTH],
  ['file:///', 'it is the root directory', BOTH],
  ['file:///a/..', 'it is the root directory', BOTH],
];
for (const [text, why, example] of refused) {
  test(`${JSON.stringify(text)} is refused: ${why}`, () => {
    expect(() => parseDestination(text)).toThrow(
      expect.objectContaining({ kind: 'invalid', message: `not a destination such as ${example}: ${why}` }),
    );
  });
}
