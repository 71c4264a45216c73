import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isFailure } from '../base/failure.ts';
import { ARCHIVE_ENTRIES_MAX, type ArchiveEntry, readArchive, writeArchive } from './archive.ts';

test('what was archived is read back, in its order, however it is cut into chunks', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(entries, { selector: ({ name }) => name, minLength: 1, maxLength: 12 }),
      cut,
      async (files, cut) => {
        const archive = await archiveOf(files);
        expect(await read(archive, { wanted: files, cut })).toEqual(files);
      },
    ),
    { numRuns: 150 },
  );
});

test('only what is wanted is read', async () => {
  const [first, second, third] = [file('0_0/a', 'one'), file('0_0/b', 'two'), file('0_1/a', 'three')];
  const archive = await archiveOf([first, second, third]);
  expect(await read(archive, { wanted: [second] })).toEqual([second]);
});

test('the memory of a file is given back when the next one is asked for', async () => {
  const files = [file('0_0/a', 'one'), file('0_0/b', 'two')];
  const chunks = async function* (): AsyncGenerator<Uint8Array> {
    yield await archiveOf(files);
  };
  const held: Uint8Array[] = [];
  for await (const { bytes } of readArchive(chunks(), new Map(files.map(({ name }) => [name, 3])), 'x')) {
    expect(held.map(({ byteLength }) => byteLength)).toEqual(held.map(() => 0));
    expect(bytes.byteLength).toBe(3);
    held.push(bytes);
  }
  expect(held.length).toBe(2);
});

test('an archive is plain ustar with no time and no owner', async () => {
  const archive = await archiveOf([file('0_0/.checkpoint', '0\n0\n')]);
  expect(archive.subarray(0, 512).toString('latin1').replaceAll('\0', '.')).toBe(
    `0_0/.checkpoint${'.'.repeat(85)}000644 .${'.'.repeat(16)}0000000004 .0000000000 .010325 .0${'.'.repeat(100)}ustar.00${'.'.repeat(64)}000000 .000000 .${'.'.repeat(167)}`,
  );
  expect(archive.subarray(512, 1024).toString('latin1').replaceAll('\0', '')).toBe('0\n0\n');
  expect(archive.subarray(1024)).toEqual(Buffer.alloc(1024));
});

test.each(['', '/etc/passwd', '../x', 'a/../b', 'a//b', './a', 'a/', 'a\\b', 'a\nb', 'a\0b'])(
  'nothing is archived under the name %j',
  async (name) => {
    await expect(archiveOf([file(name, 'x')])).rejects.toMatchObject({ kind: 'invalid' });
  },
);

describe('refused as corrupt:', () => {
  const wanted = [file('0_0/a', 'content')];
  const good = member({ name: '0_0/a', content: 'content' });
  const zeros = Buffer.alloc(1024);
  test.each<[string, Buffer]>([
    ['nothing', Buffer.alloc(0)],
    ['an archive without its end', good],
    ['an archive without what is wanted', zeros],
    ['an archive that ends in a header', good.subarray(0, 300)],
    ['an archive that ends in a file', good.subarray(0, 515)],
    ['a file with more bytes than wanted', Buffer.concat([member({ name: '0_0/a', content: 'content+' }), zeros])],
    ['a file with fewer bytes than wanted', Buffer.concat([member({ name: '0_0/a', content: 'conten' }), zeros])],
    ['a file that is there twice', Buffer.concat([good, good, zeros])],
    ['another file that is there twice', Buffer.concat([good, ...twice(member({ name: 'b', content: '' })), zeros])],
    ['a symbolic link', Buffer.concat([member({ name: '0_0/a', type: '2', link: '/etc/passwd' }), zeros])],
    ['a hard link', Buffer.concat([member({ name: '0_0/a', type: '1', link: '/etc/passwd' }), zeros])],
    ['a link beside what is wanted', Buffer.concat([good, member({ name: 'b', type: '2', link: 'a' }), zeros])],
    ['a directory', Buffer.concat([good, member({ name: 'dir', type: '5' }), zeros])],
    ['a device', Buffer.concat([good, member({ name: 'null', type: '3' }), zeros])],
    ['a pipe', Buffer.concat([good, member({ name: 'pipe', type: '6' }), zeros])],
    ['a type nobody knows', Buffer.concat([good, member({ name: 'b', type: 'Z' }), zeros])],
    ['a name that leads upwards', Buffer.concat([good, member({ name: '../../etc/passwd', content: 'x' }), zeros])],
    ['an absolute name', Buffer.concat([good, member({ name: '/etc/passwd', content: 'x' }), zeros])],
    ['a name that leads upwards, in a pax header', Buffer.concat([pax('path', '../x'), good, zeros])],
    ['a size in a pax header', Buffer.concat([pax('size', '3'), good, zeros])],
    ['a link in a pax header', Buffer.concat([pax('linkpath', '/etc/passwd'), good, zeros])],
    ['a huge pax header', Buffer.concat([pax('comment', 'x'.repeat(10_000)), good, zeros])],
    ['a gzip bomb', Buffer.concat([Buffer.from([0x1f, 0x8b, 8, 0]), Buffer.alloc(2000)])],
    ['a zstd frame', Buffer.concat([Buffer.from([0x28, 0xb5, 0x2f, 0xfd]), Buffer.alloc(2000)])],
    ['a wrong checksum', Buffer.concat([damaged(good, 3), zeros])],
  ])('%s', async (_, archive) => {
    for (const cut of [1, 100, 1 << 20]) {
      await expect(read(archive, { wanted, cut })).rejects.toMatchObject({
        kind: 'corrupt',
        message: expect.stringMatching(/^cannot read archive data\/e\/1-1\.tar\.zst: /),
      });
    }
  });

  test('more files than an archive holds', async () => {
    const files = Array.from({ length: ARCHIVE_ENTRIES_MAX + 1 }, (_, index) =>
      member({ name: `f${index}`, content: '' }),
    );
    const archive = Buffer.concat([...files, zeros]);
    await expect(read(archive, { wanted: [] })).rejects.toMatchObject({ kind: 'corrupt' });
    const shorter = Buffer.concat([...files.slice(1), zeros]);
    expect(await read(shorter, { wanted: [] })).toEqual([]);
  });

  test('more bytes than an archive holds, at once', async () => {
    let given = 0;
    const endless = async function* (): AsyncGenerator<Uint8Array> {
      yield member({ name: 'b', size: 2 ** 33 - 1 });
      for (;;) {
        given += 1024 * 1024;
        yield new Uint8Array(1024 * 1024);
      }
    };
    const reading = readArchive(endless(), new Map(), 'x');
    await expect(reading.next()).rejects.toMatchObject({ kind: 'corrupt' });
    expect(given).toBeLessThan(64 * 1024 * 1024);
  });

  test('a file that is larger than an archive, before memory is taken for it', async () => {
    const sizeBytes = 2 ** 33 - 1;
    const begin = async function* (): AsyncGenerator<Uint8Array> {
      yield member({ name: 'b', size: sizeBytes });
    };
    const reading = readArchive(begin(), new Map([['b', sizeBytes]]), 'x');
    await expect(reading.next()).rejects.toThrow(`"b" has ${sizeBytes} bytes, more than an archive`);
  });
});

test('an archive with a flipped bit gives its files, other bytes, or is corrupt, and nothing else happens', async () => {
  const files = [file('0_0/a', 'content of a'), file('0_0/b', 'x'.repeat(700))];
  const archive = await archiveOf(files);
  await fc.assert(
    fc.asyncProperty(fc.nat(archive.byteLength - 1), fc.nat(7), async (at, bit) => {
      try {
        const entries = await read(damaged(archive, at, 1 << bit), { wanted: files });
        expect(entries.map(({ name, bytes }) => [name, bytes.byteLength])).toEqual([
          ['0_0/a', 12],
          ['0_0/b', 700],
        ]);
      } catch (error) {
        expect(isFailure(error, 'corrupt') ? undefined : error).toBeUndefined();
      }
    }),
    { numRuns: 500 },
  );
});

const segment = fc.stringMatching(/^[A-Za-z0-9_.%-]{1,90}$/).filter((text) => text !== '.' && text !== '..');
const entries: fc.Arbitrary<ArchiveEntry> = fc.record({
  name: fc
    .array(fc.oneof({ weight: 9, arbitrary: segment }, fc.constant('größe')), { minLength: 1, maxLength: 6 })
    .map((segments) => segments.join('/')),
  bytes: fc.uint8Array({ maxLength: 1500 }).map((bytes) => Buffer.from(bytes)),
});
const cut = fc.integer({ min: 1, max: 3000 });

function file(name: string, content: string): ArchiveEntry {
  return { name, bytes: Buffer.from(content) };
}

async function archiveOf(files: readonly ArchiveEntry[]): Promise<Buffer> {
  const given = async function* (): AsyncGenerator<ArchiveEntry> {
    yield* files;
  };
  const parts: Uint8Array[] = [];
  for await (const part of writeArchive(given())) parts.push(part);
  return Buffer.concat(parts);
}

async function read(
  archive: Buffer,
  { wanted, cut = 1000 }: { readonly wanted: readonly ArchiveEntry[]; readonly cut?: number },
): Promise<readonly ArchiveEntry[]> {
  const sizes = new Map(wanted.map(({ name, bytes }) => [name, bytes.byteLength]));
  const chunks = async function* (): AsyncGenerator<Uint8Array> {
    const buffer = new Uint8Array(cut);
    for (let position = 0; position < archive.byteLength; position += cut) {
      const part = archive.subarray(position, position + cut);
      buffer.set(part);
      yield buffer.subarray(0, part.byteLength);
      buffer.fill(0xee);
    }
  };
  const found: ArchiveEntry[] = [];
  for await (const { name, bytes } of readArchive(chunks(), sizes, 'data/e/1-1.tar.zst')) {
    found.push({ name, bytes: Buffer.from(bytes) });
  }
  return found;
}

/** One member of a tar archive as POSIX describes it, with whatever an intruder would write into it. */
function member(facts: {
  readonly name: string;
  readonly content?: string;
  readonly size?: number;
  readonly type?: string;
  readonly link?: string;
}): Buffer {
  const content = Buffer.from(facts.content ?? '');
  const header = Buffer.alloc(512);
  header.write(facts.name, 0);
  header.write('0000644\0', 100);
  header.write(`${(facts.size ?? content.byteLength).toString(8).padStart(11, '0')}\0`, 124);
  header.write('00000000000\0', 136);
  header.write('        ', 148);
  header.write(facts.type ?? '0', 156);
  header.write(facts.link ?? '', 157);
  header.write('ustar\x0000', 257);
  const sum = header.reduce((sum, byte) => sum + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return Buffer.concat([header, content, Buffer.alloc(-content.byteLength & 511)]);
}

function pax(field: string, value: string): Buffer {
  const rest = ` ${field}=${value}\n`;
  const length = [1, 2, 3, 4, 5]
    .map((digits) => rest.length + digits)
    .find((sum, index) => `${sum}`.length === index + 1);
  return member({ name: 'PaxHeader/x', content: `${length}${rest}`, type: 'x' });
}

function twice<T>(value: T): readonly T[] {
  return [value, value];
}

function damaged(bytes: Buffer, at: number, mask = 1): Buffer {
  const copy = Buffer.from(bytes);
  copy[at] = (copy[at] ?? 0) ^ mask;
  return copy;
}
