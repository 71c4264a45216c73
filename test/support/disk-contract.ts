import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { isFailure, systemErrorCode } from '../../src/base/failure.ts';
import type { FileAccess, FileFacts, HeldPath } from '../../src/base/file-access.ts';
import type { DiskOperations } from '../../src/restore/disk.ts';
import type { ApplicationFiles } from './application-files.ts';

/** A disk as its three users see it, with a directory on it that is the test's alone. */
export interface DiskUnderTest {
  readonly root: string;
  readonly files: FileAccess;
  readonly operations: DiskOperations;
  readonly application: ApplicationFiles;
  /** Makes a symbolic link. */
  readonly link: (target: string, path: string) => void;
  /** Lets so much time go by that stamps differ. */
  readonly tick: () => Promise<void>;
}

/** What whoever looks, restores and writes may rely on, of every disk. */
export function describeDiskContract(name: string, open: () => Promise<DiskUnderTest>): void {
  let disk: DiskUnderTest;
  beforeEach(async () => {
    disk = await open();
  });
  const at = (path: string): string => join(disk.root, path);
  const plant = (...paths: readonly string[]): void => {
    for (const path of paths) {
      disk.application.makeDirectory(join(at(path), path.endsWith('/') ? '.' : '..'));
      if (!path.endsWith('/')) disk.application.write(at(path), path);
    }
  };
  const factsOf = async (path: string): Promise<FileFacts> => {
    const facts = await disk.files.stat(at(path));
    if (facts === undefined) throw new Error(`there is no ${path}`);
    return facts;
  };
  const textOf = async (path: string): Promise<string | undefined> => {
    await using held = await disk.files.hold(at(path));
    return held === undefined ? undefined : textIn(held);
  };

  describe(`${name}: whoever looks`, () => {
    test('lists names', async () => {
      plant('a', 'b/c', '.hidden', 'empty/');
      expect((await disk.files.list(disk.root))?.toSorted()).toEqual(['.hidden', 'a', 'b', 'empty']);
      expect(await disk.files.list(at('empty'))).toEqual([]);
    });

    test('finds nothing where nothing lies, or where a file is on the way', async () => {
      plant('file');
      for (const path of ['absent', 'absent/x', 'file/x'].map(at)) {
        const found = [await disk.files.list(path), await disk.files.stat(path), await disk.files.hold(path)];
        expect(found).toEqual([undefined, undefined, undefined]);
      }
      expect(await disk.files.list(at('file'))).toBeUndefined();
    });

    test('sees a link as what it is, and cannot hold it; on the way and for a list it is followed', async () => {
      plant('to/file');
      disk.link('to', at('link'));
      disk.link('nowhere', at('dangling'));
      expect([(await factsOf('link')).kind, (await factsOf('dangling')).kind]).toEqual(['other', 'other']);
      await expect(disk.files.hold(at('link'))).rejects.toSatisfy(
        (error) => isFailure(error, 'invalid') && error.message === `cannot open ${at('link')}: it is a symbolic link`,
      );
      expect(await disk.files.list(at('link'))).toEqual(['file']);
      expect(await disk.files.list(at('dangling'))).toBeUndefined();
      expect(await textOf('link/file')).toBe('to/file');
    });

    test('reads stretches of a file, up to its end', async () => {
      disk.application.write(at('file'), '0123456789');
      await using held = await disk.files.hold(at('file'));
      const buffer = new Uint8Array(4);
      expect([await held?.read(buffer, 3), Buffer.from(buffer).toString()]).toEqual([4, '3456']);
      expect([await held?.read(buffer, 8), Buffer.from(buffer).toString()]).toEqual([2, '8956']);
      expect([await held?.read(buffer, 10), await held?.read(buffer, 99)]).toEqual([0, 0]);
    });

    test('cannot read a directory', async () => {
      plant('directory/');
      await using held = await disk.files.hold(at('directory'));
      expect(held?.facts.kind).toBe('directory');
      await expect(held?.read(new Uint8Array(1), 0)).rejects.toSatisfy(
        (error) => isFailure(error, 'unavailable') && error.message === `cannot read ${at('directory')}: EISDIR`,
      );
    });
  });

  describe(`${name}: what is held`, () => {
    test('stays the same file when its name is given to another, and when that is taken away', async () => {
      plant('file', 'next');
      await using held = await disk.files.hold(at('file'));
      disk.application.rename(at('next'), at('file'));
      expect([await textIn(held), await textOf('file')]).toEqual(['file', 'next']);
      expect((await factsOf('file')).inode).not.toBe(held?.facts.inode);
      disk.application.unlink(at('file'));
      expect(await textIn(held)).toBe('file');
      expect(await disk.files.stat(at('file'))).toBeUndefined();
    });

    test('stays readable in a directory that is removed or moved', async () => {
      plant('a/b/file');
      await using file = await disk.files.hold(at('a/b/file'));
      await using directory = await disk.files.hold(at('a/b'));
      disk.application.rename(at('a'), at('moved'));
      expect([await textOf('moved/b/file'), (await factsOf('moved/b')).inode]).toEqual([
        'a/b/file',
        directory?.facts.inode,
      ]);
      disk.application.removeTree(at('moved'));
      expect([await textIn(file), (await directory?.stat())?.inode]).toEqual(['a/b/file', directory?.facts.inode]);
    });

    test('tells what it was when it was opened, and what it is now', async () => {
      plant('file');
      await using held = await disk.files.hold(at('file'));
      await disk.tick();
      disk.application.append(at('file'), 'more');
      expect([held?.facts.sizeBytes, (await held?.stat())?.sizeBytes, await textIn(held)]).toEqual([4, 8, 'filemore']);
      expect(await held?.stat()).toEqual(await factsOf('file'));
    });

    test('changes with its file where that is overwritten in its place', async () => {
      disk.application.write(at('file'), 'long content');
      await using held = await disk.files.hold(at('file'));
      disk.application.write(at('file'), 'short');
      expect(await textIn(held)).toBe('short');
    });
  });

  describe(`${name}: stamps`, () => {
    test('of a file move when it is written, and its birth stays', async () => {
      plant('file');
      const before = await factsOf('file');
      await disk.tick();
      disk.application.append(at('file'), 'more');
      const after = await factsOf('file');
      expect(after.mtimeNs).toBeGreaterThan(before.mtimeNs);
      expect(after.ctimeNs).toBeGreaterThan(before.ctimeNs);
      expect([after.birthtimeNs, after.inode]).toEqual([before.birthtimeNs, before.inode]);
    });

    test.each([
      ['comes', (files: ApplicationFiles) => files.write(at('directory/new'), 'x')],
      ['goes', (files: ApplicationFiles) => files.unlink(at('directory/file'))],
      ['is renamed', (files: ApplicationFiles) => files.rename(at('directory/file'), at('directory/renamed'))],
      ['moves out', (files: ApplicationFiles) => files.rename(at('directory/file'), at('renamed'))],
      ['moves in', (files: ApplicationFiles) => files.rename(at('file'), at('directory/moved'))],
      ['is replaced', (files: ApplicationFiles) => files.rename(at('file'), at('directory/file'))],
      ['is made', (files: ApplicationFiles) => files.makeDirectory(at('directory/new'))],
      ['is removed', (files: ApplicationFiles) => files.removeDirectory(at('directory/empty'))],
    ])('of a directory move when something in it %s', async (_what, change) => {
      plant('file', 'directory/file', 'directory/empty/');
      const before = await factsOf('directory');
      await disk.tick();
      change(disk.application);
      const after = await factsOf('directory');
      expect(after.mtimeNs).toBeGreaterThan(before.mtimeNs);
      expect(after.ctimeNs).toBe(after.mtimeNs);
      expect([after.birthtimeNs, after.inode]).toEqual([before.birthtimeNs, before.inode]);
    });

    test('of a directory stay when something in it is written or stamped, or lies deeper', async () => {
      plant('directory/file', 'directory/deeper/');
      const before = await factsOf('directory');
      await disk.tick();
      disk.application.append(at('directory/file'), 'more');
      disk.application.stamp(at('directory/file'), 1);
      plant('directory/deeper/new');
      expect(await factsOf('directory')).toEqual(before);
    });

    test('of what is renamed stay, but for that of its inode', async () => {
      plant('file', 'directory/');
      for (const path of ['file', 'directory']) {
        const before = await factsOf(path);
        await disk.tick();
        disk.application.rename(at(path), at(`${path}-moved`));
        const { ctimeNs, ...after } = await factsOf(`${path}-moved`);
        expect({ ...after, ctimeNs: before.ctimeNs }).toEqual(before);
        expect(ctimeNs).toBeGreaterThan(before.ctimeNs);
      }
    });

    test('are set to the millisecond', async () => {
      plant('file', 'directory/');
      for (const path of ['file', 'directory']) {
        const before = await factsOf(path);
        await disk.tick();
        await disk.operations.stamp(at(path), (1_750_000_000_123 + 0.3) / 1000);
        const after = await factsOf(path);
        expect(after.mtimeNs / 1_000_000n).toBe(1_750_000_000_123n);
        expect(after.ctimeNs).toBeGreaterThan(before.ctimeNs);
        expect(disk.application.mtimeNs(at(path))).toBe(after.mtimeNs);
      }
      expect(disk.application.mtimeNs(at('absent'))).toBeUndefined();
    });
  });

  describe(`${name}: whoever restores`, () => {
    test('makes directories with their parents, also where they are', async () => {
      await disk.operations.makeDirectory(at('a/b/c'));
      const before = await factsOf('a/b/c');
      await disk.operations.makeDirectory(at('a/b/c'), 0o750);
      expect(await factsOf('a/b/c')).toEqual(before);
      expect(await disk.operations.list(at('a/b'))).toEqual(['c']);
    });

    test('fills a new file from its stretches, in whatever order', async () => {
      {
        await using writer = await disk.operations.create(at('file'));
        await writer.write(Buffer.from('def'), 3);
        await writer.write(Buffer.from('abc'), 0);
        await writer.write(Buffer.from('ghi'), 6);
      }
      await disk.operations.sync(at('file'));
      expect(await textOf('file')).toBe('abcdefghi');
    });

    test('may use what it wrote again', async () => {
      const bytes = Buffer.from('first');
      await using writer = await disk.operations.create(at('created'));
      await writer.write(bytes, 0);
      await disk.operations.write(at('written'), bytes);
      bytes.fill('x');
      expect([await textOf('created'), await textOf('written')]).toEqual(['first', 'first']);
    });

    test('copies into a file of its own, born now', async () => {
      plant('file');
      await disk.operations.stamp(at('file'), 1);
      await disk.tick();
      await disk.operations.copy(at('file'), at('copy'));
      expect(await textOf('copy')).toBe('file');
      const [file, copy] = [await factsOf('file'), await factsOf('copy')];
      expect(copy.birthtimeNs).toBeGreaterThan(file.birthtimeNs);
      expect(copy.mtimeNs).toBeGreaterThanOrEqual(copy.birthtimeNs);
      disk.application.append(at('file'), 'more');
      expect(await textOf('copy')).toBe('file');
    });

    test('removes a tree, a file, a link but not what it leads to, and nothing', async () => {
      plant('tree/a/b', 'tree/c', 'file', 'kept/file');
      disk.link('kept', at('link'));
      disk.link(at('kept'), at('tree/link'));
      for (const path of ['tree', 'file', 'link', 'absent']) await disk.operations.remove(at(path));
      expect(await disk.operations.list(disk.root)).toEqual(['kept']);
      expect(await textOf('kept/file')).toBe('kept/file');
    });

    test('renames a directory over an empty one, and a file over a file', async () => {
      plant('full/file', 'empty/', 'file', 'other');
      await disk.operations.rename(at('full'), at('empty'));
      await disk.operations.rename(at('file'), at('other'));
      await disk.operations.rename(at('other'), at('other'));
      expect([...(await disk.operations.list(disk.root))].sort()).toEqual(['empty', 'other']);
      expect([await textOf('empty/file'), await textOf('other')]).toEqual(['full/file', 'file']);
    });

    test.each<[string, string, (operations: DiskOperations) => Promise<unknown>]>([
      ['ENOENT', 'lists what is not there', (to) => to.list(at('absent'))],
      ['ENOTDIR', 'lists a file', (to) => to.list(at('file'))],
      ['EEXIST', 'makes a directory where a file is', (to) => to.makeDirectory(at('file'))],
      ['ENOTDIR', 'makes a directory below a file', (to) => to.makeDirectory(at('file/x'))],
      ['ENOTDIR', 'removes what would be below a file', (to) => to.remove(at('file/x'))],
      ['ENOENT', 'renames what is not there', (to) => to.rename(at('absent'), at('x'))],
      ['ENOENT', 'renames into what is not there', (to) => to.rename(at('file'), at('absent/x'))],
      ['ENOTEMPTY', 'renames over a directory that holds something', (to) => to.rename(at('empty'), at('full'))],
      ['EISDIR', 'renames a file over a directory', (to) => to.rename(at('file'), at('empty'))],
      ['ENOTDIR', 'renames a directory over a file', (to) => to.rename(at('empty'), at('file'))],
      ['EINVAL', 'renames a directory into itself', (to) => to.rename(at('full'), at('full/x'))],
      ['ENOENT', 'copies what is not there', (to) => to.copy(at('absent'), at('x'))],
      ['EEXIST', 'copies over a file', (to) => to.copy(at('file'), at('full/file'))],
      ['EEXIST', 'creates a file that is there', (to) => to.create(at('file'))],
      ['EEXIST', 'creates a directory that is there', (to) => to.create(at('empty'))],
      ['EEXIST', 'creates a file through a link', (to) => to.create(at('dangling'))],
      ['ENOENT', 'creates a file in no directory', (to) => to.create(at('absent/x'))],
      ['ENOENT', 'writes in no directory', (to) => to.write(at('absent/x'), new Uint8Array(1))],
      ['EISDIR', 'writes over a directory', (to) => to.write(at('empty'), new Uint8Array(1))],
      ['ENOENT', 'stamps what is not there', (to) => to.stamp(at('absent'), 1)],
      ['ENOENT', 'syncs what is not there', (to) => to.sync(at('absent'))],
      ['ELOOP', 'syncs a link', (to) => to.sync(at('link'))],
    ])('fails with %s where it %s', async (code, _what, work) => {
      plant('file', 'full/file', 'empty/');
      disk.link('file', at('link'));
      disk.link('nowhere', at('dangling'));
      const before = await names(disk);
      await expect(work(disk.operations)).rejects.toSatisfy((error) => systemErrorCode(error) === code);
      expect(await names(disk)).toEqual(before);
    });
  });

  describe(`${name}: an application`, () => {
    test('lists what lies in a directory, as it comes or sorted', () => {
      plant('b', 'a/x', 'c');
      const entries = [
        { name: 'a', isDirectory: true },
        { name: 'b', isDirectory: false },
        { name: 'c', isDirectory: false },
      ];
      expect(disk.application.entries(disk.root, 'sorted')).toEqual(entries);
      expect(disk.application.entries(disk.root, 'listed')).toEqual(expect.arrayContaining(entries));
    });

    test('overwrites, appends to what is there or not, and writes bytes as well as text', async () => {
      disk.application.write(at('file'), 'long content');
      disk.application.write(at('file'), Buffer.from('short'));
      disk.application.append(at('file'), ' and more');
      disk.application.append(at('new'), Buffer.from('x'));
      expect([await textOf('file'), await textOf('new')]).toEqual(['short and more', 'x']);
    });

    test.each<[string, string, (files: ApplicationFiles) => void]>([
      ['ENOENT', 'unlinks what is not there', (files) => files.unlink(at('absent'))],
      ['EISDIR', 'unlinks a directory', (files) => files.unlink(at('empty'))],
      ['ENOTEMPTY', 'removes a directory that holds something', (files) => files.removeDirectory(at('full'))],
      ['ENOTDIR', 'removes a file as a directory', (files) => files.removeDirectory(at('file'))],
      ['ENOENT', 'removes a directory that is not there', (files) => files.removeDirectory(at('absent'))],
      ['ENOENT', 'appends in no directory', (files) => files.append(at('absent/x'), 'x')],
      ['ENOENT', 'lists no directory', (files) => files.entries(at('absent'), 'sorted')],
    ])('fails with %s where it %s', async (code, _what, work) => {
      plant('file', 'full/file', 'empty/');
      const before = await names(disk);
      expect(() => work(disk.application)).toThrow(expect.objectContaining({ code }));
      expect(await names(disk)).toEqual(before);
    });
  });
}

async function textIn(held: HeldPath | undefined): Promise<string> {
  const buffer = Buffer.alloc(100);
  return buffer.toString('utf8', 0, (await held?.read(buffer, 0)) ?? 0);
}

async function names({ root, files }: DiskUnderTest): Promise<readonly string[]> {
  const found: string[] = [];
  for (const name of (await files.list(root)) ?? []) {
    found.push(name, ...((await files.list(join(root, name))) ?? []).map((below) => `${name}/${below}`));
  }
  return found.sort();
}
