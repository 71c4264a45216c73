import { execFileSync } from 'node:child_process';
import { appendFile, rename, symlink, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { openTempDirectory, plant } from '../../test/support/temp-directory.ts';
import { isFailure } from './failure.ts';
import { type FileFacts, type HeldPath, readHeld, readWhole, realFiles } from './file-access.ts';

describe('the files of a directory that somebody else changes', () => {
  test('are listed by name', async () => {
    await using root = await openTempDirectory();
    await plant(root.path, ['a', 'b/c', '.hidden']);
    expect((await realFiles.list(root.path))?.toSorted()).toEqual(['.hidden', 'a', 'b']);
  });

  test('are gone where there is nothing, or no directory on the way', async () => {
    await using root = await openTempDirectory();
    await plant(root.path, ['file']);
    for (const path of ['absent', 'absent/x', 'file/x'].map((name) => join(root.path, name))) {
      expect([await realFiles.list(path), await realFiles.stat(path), await realFiles.hold(path)]).toEqual([
        undefined,
        undefined,
        undefined,
      ]);
      expect(await readWhole(realFiles, path, 10)).toBeUndefined();
    }
    expect(await realFiles.list(join(root.path, 'file'))).toBeUndefined();
  });

  test('are not looked for behind links', async () => {
    await using root = await openTempDirectory();
    await plant(root.path, ['file']);
    const path = join(root.path, 'link');
    await symlink('file', path);
    expect((await realFiles.stat(path))?.kind).toBe('other');
    await expect(realFiles.hold(path)).rejects.toSatisfy(
      (error) => isFailure(error, 'invalid') && error.message === `cannot open ${path}: it is a symbolic link`,
    );
  });

  test('that cannot be reached are a failure with the path', async () => {
    await using root = await openTempDirectory();
    const path = join(root.path, 'x'.repeat(300));
    await expect(realFiles.stat(path)).rejects.toSatisfy(
      (error) => isFailure(error, 'unavailable') && error.message === `cannot look at ${path}: ENAMETOOLONG`,
    );
  });
});

describe('a file that is held', () => {
  test('stays the same file when its name is taken away or given to another', async () => {
    await using root = await openTempDirectory();
    const path = join(root.path, 'file');
    await writeFile(path, 'first');
    await using held = await realFiles.hold(path);
    await writeFile(join(root.path, 'next'), 'second');
    await rename(join(root.path, 'next'), path);
    expect(await textOf(held)).toBe('first');
    expect((await realFiles.stat(path))?.inode).not.toBe(held?.facts.inode);
    await unlink(path);
    expect(await textOf(held)).toBe('first');
  });

  test('tells what it was when it was opened and what it is now', async () => {
    await using root = await openTempDirectory();
    const path = join(root.path, 'file');
    await writeFile(path, 'four');
    await using held = await realFiles.hold(path);
    await appendFile(path, 'teen');
    expect([held?.facts.sizeBytes, (await held?.stat())?.sizeBytes]).toEqual([4, 8]);
    expect(await held?.stat()).toEqual(await realFiles.stat(path));
  });
});

describe('reading a file whole', () => {
  test('gives its bytes and the facts of the file that was read', async () => {
    await using root = await openTempDirectory();
    await plant(root.path, ['file']);
    const path = join(root.path, 'file');
    expect(await readWhole(realFiles, path, 7)).toEqual({
      bytes: new Uint8Array(Buffer.from('content')),
      facts: await realFiles.stat(path),
    });
  });

  test.each([
    ['a longer file', 'file', 'it is longer than 6 bytes'],
    ['a directory', 'directory', 'it is no regular file'],
    ['a pipe to which nobody writes', 'pipe', 'it is no regular file'],
  ])('refuses %s', async (_name, name, what) => {
    await using root = await openTempDirectory();
    await plant(root.path, ['file', 'directory/']);
    execFileSync('mkfifo', [join(root.path, 'pipe')]);
    const path = join(root.path, name);
    await expect(readWhole(realFiles, path, 6)).rejects.toSatisfy(
      (error) => isFailure(error, 'invalid') && error.message === `cannot read ${path}: ${what}`,
    );
  });

  test('takes a stretch of whatever the file has become meanwhile, in however many reads', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ maxLength: 60 }),
        fc.record({
          knownBytes: fc.nat(60),
          start: fc.nat(70),
          length: fc.nat(70),
          atOnce: fc.integer({ min: 1, max: 9 }),
        }),
        async (content, { knownBytes, start, length, atOnce }) => {
          const held = heldBytes(content, { knownBytes, atOnce });
          expect(await readHeld(held, start, length)).toEqual(content.slice(start, start + length));
        },
      ),
      { numRuns: 500 },
    );
  });
});

async function textOf(held: HeldPath | undefined): Promise<string | undefined> {
  return held === undefined ? undefined : Buffer.from(await readHeld(held, 0, 100)).toString();
}

/** A held file of these bytes, of which fewer were known when it was opened, and which is read in small pieces. */
function heldBytes(content: Uint8Array, options: { readonly knownBytes: number; readonly atOnce: number }): HeldPath {
  const facts: FileFacts = {
    kind: 'file',
    device: 1n,
    inode: 1n,
    sizeBytes: Math.min(options.knownBytes, content.byteLength),
    mtimeNs: 0n,
    ctimeNs: 0n,
    birthtimeNs: 0n,
  };
  return {
    facts,
    stat: async () => ({ ...facts, sizeBytes: content.byteLength }),
    read: async (buffer, position) => {
      const piece = content.subarray(position, position + Math.min(buffer.byteLength, options.atOnce));
      buffer.set(piece);
      return piece.byteLength;
    },
    [Symbol.asyncDispose]: async () => {},
  };
}
