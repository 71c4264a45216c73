import { createHash } from 'node:crypto';
import { zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { SimulatedStore } from '../../test/support/simulated-store.ts';
import { Budget } from '../base/concurrency.ts';
import { Failure } from '../base/failure.ts';
import type { Event } from '../events/event.ts';
import type { StoredFile, StoredStretch } from '../repository/document.ts';
import { bytesBody } from '../storage/object-store.ts';
import { downloadFiles } from './download.ts';
import type { Damage, FileSink, FileWriter } from './sink.ts';
import { bytesSource } from './source-file.ts';
import { uploadTable } from './upload.ts';
import { uploadArchives } from './upload-archive.ts';

const { signal } = new AbortController();

describe('a set of files', () => {
  test('comes back as it was sent, whatever the store delays', async () => {
    await fc.assert(
      fc.asyncProperty(fileSets, fc.integer({ min: 1, max: 9 }), fc.integer(), async (contents, concurrency, seed) => {
        const { store, items } = await stored(contents, seed);
        const sink = new MemorySink();
        const events: Event[] = [];
        await downloadFiles(items, { ...from(store), concurrency, emit: (event) => events.push(event) }, sink);
        expect(sink.outcome()).toEqual(new Map(contents.map(({ path, bytes }) => [path, sha256(bytes)])));
        expect(bytesDone(events)).toBe(contents.reduce((sum, { bytes }) => sum + bytes.byteLength, 0));
        expect(sink.left).toBe(0);
        const gets = store.log.filter((line) => line.startsWith('get '));
        expect(new Set(gets).size).toBe(gets.length); // Each object once, also an archive of many files.
      }),
      { numRuns: 60 },
    );
  });

  test('is complete but for the files of one damaged object, which are named with its key', async () => {
    await fc.assert(
      fc.asyncProperty(fileSets, damages, fc.nat(), fc.integer(), async (contents, damage, choice, seed) => {
        const { store, items } = await stored(contents, seed);
        const keys = store.keys();
        const key = keys[choice % keys.length] ?? '';
        fc.pre(await damage.apply(store, key, keys[(choice + 1) % keys.length] ?? ''));
        const sink = new MemorySink();
        await downloadFiles(items, from(store), sink);
        const hit = items.filter(({ file }) => file.objects.some((object) => object.key === key));
        const sound = items.filter((item) => !hit.includes(item));
        expect([...sink.rejected.keys()].sort()).toEqual(hit.map(({ file }) => file.path).sort());
        expect([...sink.outcome().keys()].sort()).toEqual(sound.map(({ file }) => file.path).sort());
        for (const { key: named, failure } of sink.rejected.values()) {
          expect([named, failure.kind]).toEqual([key, damage.kind]);
        }
        expect(sink.left).toBe(0);
      }),
      { numRuns: 120 },
    );
  });

  test('with a flipped bit anywhere never yields a wrong file', async () => {
    await fc.assert(
      fc.asyncProperty(fileSets, fc.nat(), fc.nat(), fc.integer(), async (contents, choice, place, seed) => {
        const { store, items } = await stored(contents, seed);
        const keys = store.keys().filter((key) => store.bytesOf(key).byteLength > 0);
        fc.pre(keys.length > 0);
        const key = keys[choice % keys.length] ?? '';
        store.tamper(key, (bytes) => {
          const at = place % (bytes.byteLength * 8);
          bytes[at >> 3] = (bytes[at >> 3] ?? 0) ^ (1 << (at & 7));
          return bytes;
        });
        const sink = new MemorySink();
        await downloadFiles(items, from(store), sink);
        const wanted = new Map(contents.map(({ path, bytes }) => [path, sha256(bytes)]));
        for (const [path, hash] of sink.outcome()) expect(hash).toBe(wanted.get(path));
        expect(sink.outcome().size + sink.rejected.size).toBe(contents.length);
      }),
      { numRuns: 120 },
    );
  });
});

describe('a file of many stretches', () => {
  test('is whole whatever the order in which they come', async () => {
    await fc.assert(
      fc.asyncProperty(stretchSets, fc.integer({ min: 1, max: 6 }), fc.integer(), async (parts, concurrency, seed) => {
        const { store, item, bytes } = await storedInStretches(parts, seed);
        for (const { key } of item.file.objects) {
          store.script({ kind: 'delay', ms: 5, operation: 'get', key: new RegExp(`^${key}$`), probability: 0.5 });
        }
        const sink = new MemorySink();
        await downloadFiles([item], { ...from(store), concurrency }, sink);
        expect(sink.outcome()).toEqual(new Map([['000012.sst', sha256(bytes)]]));
      }),
      { numRuns: 60 },
    );
  });

  test('is refused when they do not make the file, before anything is read', async () => {
    const { store, item } = await storedInStretches([
      { bytes: Buffer.from('one'), encoding: 'none' },
      { bytes: Buffer.from('two'), encoding: 'zstd' },
    ]);
    for (const [file, message] of [
      [{ ...item.file, sizeBytes: 5 }, 'cannot read 000012.sst: its stretches make 6 bytes, it has 5'],
      [{ ...item.file, sizeBytes: 7 }, 'cannot read 000012.sst: its stretches make 6 bytes, it has 7'],
      [{ ...item.file, objects: [] }, 'cannot read 000012.sst: its document names no object'],
      [
        { ...item.file, sizeBytes: 3, objects: item.file.objects.slice(1) },
        'cannot read 000012.sst: its only stretch has another hash than the file',
      ],
      [
        { ...item.file, objects: [archived, ...item.file.objects] },
        'cannot read 000012.sst: it lies in an archive and elsewhere',
      ],
      [{ ...item.file, objects: [archived, archived] }, 'cannot read 000012.sst: it lies in an archive and elsewhere'],
    ] as const) {
      const sink = new MemorySink();
      await downloadFiles([{ file }], from(store), sink);
      expect([...sink.rejected]).toEqual([
        ['000012.sst', { key: undefined, failure: new Failure('corrupt', message) }],
      ]);
    }
    expect(store.log.filter((line) => line.startsWith('get'))).toEqual([]);
  });

  test('that was damaged is not read on', async () => {
    const parts = Array.from({ length: 50 }, () => ({ bytes: Buffer.from('x'), encoding: 'none' as const }));
    const { store, item } = await storedInStretches(parts);
    await store.delete('data/s/0', { signal });
    const sink = new MemorySink();
    await downloadFiles([item], { ...from(store), concurrency: 2 }, sink);
    expect([...sink.rejected.values()].map(({ failure }) => failure.kind)).toEqual(['missing']);
    expect(store.log.filter((line) => line.startsWith('get')).length).toBeLessThan(5);
  });
});

test('a bomb is refused at the size that was promised', async () => {
  const { store, item } = await storedInStretches([{ bytes: Buffer.alloc(1000), encoding: 'zstd' }]);
  const bomb = zstdCompressSync(Buffer.alloc(64 * 1024 * 1024));
  const file = replaced(item.file, { storedBytes: bomb.byteLength });
  store.tamper('data/s/0', () => bomb);
  const sink = new MemorySink();
  await downloadFiles([{ file }], from(store), sink);
  expect(sink.rejected.get('000012.sst')).toEqual({
    key: 'data/s/0',
    failure: new Failure('corrupt', 'cannot use object data/s/0 of 000012.sst: it unpacks to more than 1000 bytes'),
  });
  expect(sink.bytesWritten).toBe(0);
});

test('a bomb in the place of an archive is refused', async () => {
  const { store, items } = await stored([{ path: 'CURRENT', bytes: Buffer.from('MANIFEST-000004\n'), isSmall: true }]);
  const bomb = zstdCompressSync(Buffer.alloc(64 * 1024 * 1024));
  const [key = ''] = store.keys();
  store.tamper(key, () => bomb);
  const sink = new MemorySink();
  await downloadFiles([{ file: replaced(items[0]?.file, { storedBytes: bomb.byteLength }) }], from(store), sink);
  expect(sink.rejected.get('CURRENT')?.failure.kind).toBe('corrupt');
});

test('an object of another size than the document says is not read at all', async () => {
  const { store, item } = await storedInStretches([{ bytes: Buffer.from('one'), encoding: 'none' }]);
  const sink = new MemorySink();
  const events: Event[] = [];
  const source = { ...from(store), emit: (event: Event) => events.push(event) };
  await downloadFiles([{ file: replaced(item.file, { storedBytes: 4 }) }], source, sink);
  expect(sink.rejected.get('000012.sst')).toEqual({
    key: 'data/s/0',
    failure: new Failure('corrupt', 'cannot use object data/s/0 of 000012.sst: it has 3 bytes in the store, not 4'),
  });
  expect([sink.bytesWritten, events]).toEqual([0, []]);
});

test('an object that unpacks to less than the document says is refused', async () => {
  const { store, item } = await storedInStretches([{ bytes: Buffer.from('one'), encoding: 'zstd' }]);
  const sink = new MemorySink();
  await downloadFiles([{ file: { ...replaced(item.file, { sizeBytes: 4 }), sizeBytes: 4 } }], from(store), sink);
  expect(sink.rejected.get('000012.sst')).toEqual({
    key: 'data/s/0',
    failure: new Failure('corrupt', 'cannot use object data/s/0 of 000012.sst: it unpacks to 3 bytes, not 4'),
  });
});

test('a document that names an impossible key damages only the file', async () => {
  const { store, item } = await storedInStretches([{ bytes: Buffer.from('one'), encoding: 'none' }]);
  const sink = new MemorySink();
  const hostile = { file: { ...replaced(item.file, { key: '../../etc/passwd' }), path: 'hostile' } };
  await downloadFiles([hostile, item], from(store), sink);
  expect(sink.rejected.get('hostile')).toMatchObject({ key: '../../etc/passwd', failure: { kind: 'invalid' } });
  expect([...sink.outcome().keys()]).toEqual(['000012.sst']);
});

test('files of two snapshots may be the same place in an archive', async () => {
  const { store, items } = await stored([{ path: 'CURRENT', bytes: Buffer.from('MANIFEST-000004\n'), isSmall: true }]);
  const again = items.map(({ file }) => ({ file: { ...file, path: 'CURRENT of an older snapshot' } }));
  const sink = new MemorySink();
  await downloadFiles([...items, ...again], from(store), sink);
  expect([...sink.outcome().keys()]).toEqual(['CURRENT', 'CURRENT of an older snapshot']);
});

test('one wrong file in a sound archive leaves the others', async () => {
  const { store, items } = await stored([
    { path: 'a', bytes: Buffer.from('one'), isSmall: true },
    { path: 'b', bytes: Buffer.from('two'), isSmall: true },
  ]);
  const claims = items.map(({ file }) => ({
    file: file.path === 'a' ? { ...file, sha256: sha256(Buffer.from('no')) } : file,
  }));
  const sink = new MemorySink();
  await downloadFiles(claims, from(store), sink);
  expect([...sink.rejected.keys()]).toEqual(['a']);
  expect([...sink.outcome().keys()]).toEqual(['b']);
});

test('nothing of an archive is finished before its end has proved sound', async () => {
  const { store, items } = await stored([
    { path: 'a', bytes: Buffer.from('one'), isSmall: true },
    { path: 'b', bytes: Buffer.alloc(200_000, 'two'), isSmall: true },
  ]);
  const sink = new MemorySink();
  const lost = items.map(({ file }) => ({ file: file.path === 'b' ? replaced(file, { entry: 'c' }) : file }));
  await downloadFiles(lost, from(store), sink);
  expect([...sink.rejected.keys()]).toEqual(['a', 'b']);
  expect(sink.outcome().size).toBe(0);
});

test('a file that is not wanted is not fetched', async () => {
  const { store, items } = await stored([
    { path: 'a', bytes: Buffer.from('one'), isSmall: true },
    { path: 'b', bytes: Buffer.from('two'), isSmall: false },
    { path: 'c', bytes: Buffer.from('three'), isSmall: false },
  ]);
  const sink = new MemorySink({ isWanted: (path) => path === 'c' });
  const before = store.log.length;
  await downloadFiles(items, from(store), sink);
  expect([...sink.outcome().keys()]).toEqual(['c']);
  expect(store.log.slice(before)).toEqual([`get ${items[2]?.file.objects[0]?.key}`]);
});

test('archives come first, and then the files in their order', async () => {
  const { store, items } = await stored([
    { path: 'a', bytes: Buffer.from('one'), isSmall: false },
    { path: 'b', bytes: Buffer.from('two'), isSmall: false },
    { path: 'c', bytes: Buffer.from('three'), isSmall: true },
  ]);
  const sink = new MemorySink();
  await downloadFiles(items, { ...from(store), concurrency: 1 }, sink);
  expect([...sink.outcome().keys()]).toEqual(['c', 'a', 'b']);
});

describe('everything ends, and every writer is closed,', () => {
  const contents = Array.from({ length: 20 }, (_, index) => ({
    path: `${index}`,
    bytes: Buffer.alloc(5000, index),
    isSmall: false,
  }));

  test('when the store is unavailable', async () => {
    const { store, items } = await stored(contents);
    const failure = new Failure('unavailable', 'the bucket is gone');
    store.script({ kind: 'fail-before', operation: 'get', skip: 7, failure });
    const sink = new MemorySink();
    await expect(downloadFiles(items, from(store), sink)).rejects.toBe(failure);
    expect(sink.left).toBe(0);
    expect(sink.rejected.size).toBe(0);
  });

  test('when the reply to a whole object is lost', async () => {
    const { store, items } = await stored(contents);
    store.script({ kind: 'fail-after', operation: 'get', skip: 3 });
    const sink = new MemorySink();
    await expect(downloadFiles(items, from(store), sink)).rejects.toMatchObject({ kind: 'unavailable' });
    expect(sink.left).toBe(0);
  });

  test('when the disk is full', async () => {
    const { store, items } = await stored(contents);
    const failure = new Failure('unavailable', 'no space');
    const sink = new MemorySink({ failingWrite: { path: '4', failure } });
    await expect(downloadFiles(items, from(store), sink)).rejects.toBe(failure);
    expect(sink.left).toBe(0);
  });

  test('when the signal aborts, also while an object stalls', async () => {
    const { store, items } = await stored(contents);
    const abort = new AbortController();
    store.script({ kind: 'stall', keptBytes: 3, operation: 'get', skip: 5 });
    const sink = new MemorySink();
    const emit = (): void => void (sink.outcome().size >= 10 && abort.abort(new Error('deadline')));
    await expect(downloadFiles(items, { ...from(store), signal: abort.signal, emit }, sink)).rejects.toThrow(
      'deadline',
    );
    expect(sink.left).toBe(0);
  });
});

interface Content {
  readonly path: string;
  readonly bytes: Buffer;
  /** Travels in an archive. */
  readonly isSmall: boolean;
}

interface Item {
  readonly file: StoredFile;
}

const archived = { kind: 'archived', key: 'data/a', storedBytes: 1, contentBytes: 1, entry: 'x' } as const;

const bytesOfAFile = fc.oneof(
  fc.uint8Array({ maxLength: 2000 }).map((bytes) => Buffer.from(bytes)),
  fc.integer({ min: 0, max: 400_000 }).map((length) => Buffer.alloc(length, 'a row of a table; ')),
);
const fileSets: fc.Arbitrary<readonly Content[]> = fc
  .array(fc.record({ bytes: bytesOfAFile, isSmall: fc.boolean() }), { minLength: 1, maxLength: 10 })
  .map((files) => files.map((file, index) => ({ ...file, path: `rocksdb/orders/${index}` })));
const stretchSets = fc.array(fc.record({ bytes: bytesOfAFile, encoding: fc.constantFrom('none', 'zstd') }), {
  minLength: 2,
  maxLength: 8,
});

/** What befalls an object; false where it would change nothing. */
interface Harm {
  readonly kind: 'missing' | 'corrupt';
  apply(store: SimulatedStore, key: string, other: string): Promise<boolean>;
}
const damages = fc.constantFrom<Harm>(
  { kind: 'missing', apply: async (store, key) => (await store.delete(key, { signal }), true) },
  { kind: 'corrupt', apply: tampering((bytes) => bytes.subarray(0, bytes.byteLength - 1)) },
  { kind: 'corrupt', apply: tampering((bytes) => Buffer.concat([bytes, Buffer.from('x')])) },
  { kind: 'corrupt', apply: tampering(() => Buffer.alloc(0)) },
  { kind: 'corrupt', apply: tampering((bytes) => Buffer.alloc(bytes.byteLength, 'other')) },
  { kind: 'corrupt', apply: tampering((bytes, other) => Buffer.concat([other, bytes]).subarray(0, bytes.byteLength)) },
  { kind: 'corrupt', apply: tampering((_, other) => other) },
);

function tampering(change: (bytes: Uint8Array, other: Uint8Array) => Uint8Array): Harm['apply'] {
  return async (store, key, otherKey) => {
    const before = store.bytesOf(key);
    const after = change(before, store.bytesOf(otherKey));
    store.tamper(key, () => after.slice());
    return !Buffer.from(before).equals(after);
  };
}

/** Files as an upload leaves them. */
async function stored(
  contents: readonly Content[],
  seed = 1,
): Promise<{ store: SimulatedStore; items: readonly Item[] }> {
  const store = new SimulatedStore({ seed });
  let keys = 0;
  const target = {
    store,
    nextKey: () => `data/e/${String(++keys).padStart(3, '0')}`,
    memory: new Budget(2 ** 25),
    compression: 'zstd' as const,
    emit: () => {},
    signal,
  };
  const small = contents.filter(({ isSmall }) => isSmall);
  const inArchives = await uploadArchives(
    small.map(({ path, bytes }) => ({ entry: path, source: bytesSource(path, bytes) })),
    target,
  );
  const items: Item[] = [];
  for (const { path, bytes } of contents) {
    const sent = inArchives.get(path) ?? (await uploadTable(bytesSource(path, bytes), target));
    items.push({ file: { path, sizeBytes: bytes.byteLength, uid: undefined, ...sent } });
  }
  return { store, items };
}

/** One file as another writer might have cut it. */
async function storedInStretches(
  parts: readonly { readonly bytes: Buffer; readonly encoding: 'none' | 'zstd' }[],
  seed = 1,
): Promise<{ store: SimulatedStore; item: Item; bytes: Buffer }> {
  const store = new SimulatedStore({ seed });
  const objects: StoredStretch[] = [];
  for (const [index, { bytes, encoding }] of parts.entries()) {
    const packed = encoding === 'zstd' ? zstdCompressSync(bytes) : bytes;
    const key = `data/s/${index}`;
    await store.put(key, bytesBody(packed), { signal });
    const facts = { key, encoding, sizeBytes: bytes.byteLength, storedBytes: packed.byteLength, sha256: sha256(bytes) };
    objects.push({ kind: 'stretch', ...facts });
  }
  const bytes = Buffer.concat(parts.map((part) => part.bytes));
  const file = { path: '000012.sst', sizeBytes: bytes.byteLength, sha256: sha256(bytes), uid: undefined, objects };
  return { store, item: { file }, bytes };
}

/** The file with other facts about its one object. */
function replaced(
  file: StoredFile | undefined,
  facts: { sizeBytes?: number; storedBytes?: number; key?: string; entry?: string },
): StoredFile {
  if (file === undefined) throw new Error('no such file');
  return { ...file, objects: file.objects.map((object) => Object.assign({ ...object }, facts)) };
}

function from(store: SimulatedStore) {
  return { store, concurrency: 4, work: 'download', emit: () => {}, signal } as const;
}

function bytesDone(events: readonly Event[]): number {
  return events.reduce((sum, event) => sum + (event.kind === 'work-done' ? event.bytes : 0), 0);
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

interface SinkOptions {
  readonly isWanted?: (path: string) => boolean;
  readonly failingWrite?: { readonly path: string; readonly failure: Failure };
}

/** Keeps what comes, and holds the download to the order of calls that a sink is promised. */
class MemorySink implements FileSink<Item> {
  readonly rejected = new Map<string, Damage>();
  readonly #contents = new Map<string, Buffer>();
  readonly #closed = new Set<string>();
  readonly #finished = new Map<string, string>();
  readonly #options: SinkOptions;
  bytesWritten = 0;

  constructor(options: SinkOptions = {}) {
    this.#options = options;
  }

  /** Writers that are not closed. */
  get left(): number {
    return this.#contents.size - this.#closed.size;
  }

  /** The hash of every file that was finished, by its path, in that order. */
  outcome(): ReadonlyMap<string, string> {
    return this.#finished;
  }

  isWanted({ file }: Item): boolean {
    expect(this.rejected.has(file.path)).toBe(false);
    return this.#options.isWanted?.(file.path) ?? true;
  }

  async open({ file }: Item): Promise<FileWriter> {
    expect(this.#contents.has(file.path)).toBe(false);
    const content = Buffer.alloc(file.sizeBytes, 0xaa);
    this.#contents.set(file.path, content);
    const write = async (bytes: Uint8Array, position: number): Promise<void> => {
      expect(this.#closed.has(file.path)).toBe(false);
      if (this.#options.failingWrite?.path === file.path) throw this.#options.failingWrite.failure;
      await new Promise((resolve) => setImmediate(resolve));
      expect(position + bytes.byteLength).toBeLessThanOrEqual(content.byteLength);
      content.set(bytes, position);
      this.bytesWritten += bytes.byteLength;
    };
    return { write, [Symbol.asyncDispose]: async () => void this.#closed.add(file.path) };
  }

  async finish({ file }: Item): Promise<void> {
    expect(this.#closed.has(file.path) && !this.rejected.has(file.path) && !this.#finished.has(file.path)).toBe(true);
    this.#finished.set(file.path, sha256(this.#contents.get(file.path) ?? Buffer.from('never written')));
  }

  reject({ file }: Item, damage: Damage): void {
    expect(this.#finished.has(file.path) || this.rejected.has(file.path)).toBe(false);
    this.rejected.set(file.path, damage);
  }
}
