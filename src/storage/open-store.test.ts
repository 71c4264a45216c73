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

const refused: readonly (readonly [string, string, string])[] = [
  ['', 'it has no scheme', 'file:///directory'],
  ['/var/my backups', 'it has no scheme', 'file:///var/my%20backups'],
  ['./backups', 'it has no scheme', 'file:///directory'],
  ['s3://bucket/prefix', 'this build has no S3 store yet', 'file:///directory'],
  ['gs://bucket', 'it has the unknown scheme gs', 'file:///directory'],
  ['file://nas/share', 'it names the host nas, not a directory here', 'file:///directory'],
  ['file:relative', 'a directory is given by its whole path, with ? and # written as %3F and %23', 'file:///directory'],
  ['file://host', 'a directory is given by its whole path, with ? and # written as %3F and %23', 'file:///directory'],
  ['file:///a?b', 'a directory is given by its whole path, with ? and # written as %3F and %23', 'file:///directory'],
  ['file:///a#b', 'a directory is given by its whole path, with ? and # written as %3F and %23', 'file:///directory'],
  ['file:///a%zz', 'a % is written as %25', 'file:///directory'],
  ['file:///a%00b', 'a path has no zero byte', 'file:///directory'],
  ['file:///', 'it is the root directory', 'file:///directory'],
  ['file:///a/..', 'it is the root directory', 'file:///directory'],
];
for (const [text, why, hint] of refused) {
  test(`${JSON.stringify(text)} is refused: ${why}`, () => {
    expect(() => parseDestination(text)).toThrow(
      expect.objectContaining({ kind: 'invalid', message: `not a destination: ${JSON.stringify(text)}: ${why}`, hint }),
    );
  });
}
