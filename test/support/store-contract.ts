import { hash, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { mapBounded } from '../../src/base/concurrency.ts';
import { Failure } from '../../src/base/failure.ts';
import {
  bytesBody,
  type ObjectBody,
  type ObjectFacts,
  type ObjectPage,
  type ObjectStore,
  type StoreTime,
} from '../../src/storage/object-store.ts';

const signal = AbortSignal.timeout(10 * 60_000);

/** What a server behind a store does not keep, whatever the store does. */
export interface Departures {
  /** Who reads an object while it is replaced may get a part of it or a mixture, who lists it may see it twice. */
  readonly tearsWhatIsReplaced?: boolean;
  /** Who deletes a key that is a folder of others deletes them; none of ours ever is. */
  readonly deletesFolders?: boolean;
  /** Who puts an object while the folder of it is made for, or goes with, another one may not find it at once. */
  readonly losesNeighbours?: boolean;
}

/** Server times are told in whole seconds, from stamps that were taken a moment apart. */
const CLOCK_STEP_MS = 1000;

/**
 * What `src/storage/object-store.ts` promises, one test per promise. `openStore` gives an empty store for each
 * test and says in `scope` what must be released after it.
 */
export function describeStoreContract(
  name: string,
  openStore: (scope: AsyncDisposableStack) => Promise<ObjectStore>,
  departures: Departures = {},
): void {
  const promise = (sentence: string, check: (store: ObjectStore) => Promise<void>): void => {
    test(sentence, async () => {
      await using scope = new AsyncDisposableStack();
      await check(await openStore(scope));
    });
  };

  describe(`${name} keeps the contract of object stores:`, () => {
    describe('put and get', () => describePutAndGet(promise));
    describe('ranges', () => describeRanges(promise));
    describe('what is not announced', () => describeAnnouncedSizes(promise));
    describe('list', () => describeLists(promise, departures));
    describe('delete', () => describeDelete(promise, departures));
    describe('keys', () => describeKeys(promise));
    describe('signals', () => describeSignals(promise));
    describe('side by side', () => describeSideBySide(promise, departures));
  });
}

type StorePromise = (sentence: string, check: (store: ObjectStore) => Promise<void>) => void;

function describePutAndGet(promise: StorePromise): void {
  for (const sizeBytes of [0, 1, 4096, 3 * 1024 * 1024 + 7]) {
    promise(`an object of ${sizeBytes} bytes comes back as it went in`, async (store) => {
      const bytes = randomBytes(sizeBytes);
      await store.put('data/e1/1-0', bytesBody(bytes), { signal });
      expect(hashOf(await readAll(store, 'data/e1/1-0'))).toBe(hashOf(bytes));
    });
  }

  promise('any sequence of chunks arrives in its order, empty ones and a reused buffer included', async (store) => {
    const law = fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 50 }), { maxLength: 8 }), async (chunks) => {
      await store.put('chunks', reusedBufferBody(chunks), { signal });
      expect(hashOf(await readAll(store, 'chunks'))).toBe(hashOf(Buffer.concat(chunks)));
    });
    await fc.assert(law, { numRuns: 25 });
  });

  promise('head, get and list tell the same facts', async (store) => {
    await store.put('a/b', bytesBody(Buffer.from('abc')), { signal });
    const { modifiedMs } = await store.head('a/b', { signal });
    const expected = { key: 'a/b', sizeBytes: 3, modifiedMs };
    await using opened = await store.get('a/b', { signal });
    expect(timeless(await store.head('a/b', { signal }))).toEqual(expected);
    expect(timeless(opened)).toEqual(expected);
    expect((await pagesOf(store, 'a/'))[0]?.objects).toEqual([expected]);
  });

  promise('every answer tells the time of the clock that also dates the objects', async (store) => {
    const put = await store.put('k', bytesBody(Buffer.from('x')), { signal });
    await using opened = await store.get('k', { signal });
    const head = await store.head('k', { signal });
    const page = (await pagesOf(store, ''))[0];
    const timesMs = [put, head, opened, page].map((answer) => answer?.storeTimeMs ?? 0);
    for (const timeMs of timesMs) {
      expect(timeMs - head.modifiedMs).toBeGreaterThanOrEqual(-CLOCK_STEP_MS);
      expect(timeMs - head.modifiedMs).toBeLessThan(60_000);
    }
  });

  promise('a put replaces what is there', async (store) => {
    await store.put('records/e1.json', bytesBody(Buffer.from('the longer first one')), { signal });
    await store.put('records/e1.json', bytesBody(Buffer.from('second')), { signal });
    expect(String(await readAll(store, 'records/e1.json'))).toBe('second');
    expect(await keysOf(store, '')).toEqual(['records/e1.json']);
  });

  promise('a body that was opened before a put or delete gives the old bytes, or fails', async (store) => {
    const old = randomBytes(2 * 1024 * 1024);
    for (const change of ['put', 'delete'] as const) {
      await store.put('k', bytesBody(old), { signal });
      await using opened = await store.get('k', { signal });
      if (change === 'put') await store.put('k', bytesBody(randomBytes(old.length)), { signal });
      else await store.delete('k', { signal });
      const read = await collect(opened.body).catch((error: unknown) => error);
      if (read instanceof Uint8Array) expect(hashOf(read)).toBe(hashOf(old));
      else expect(read).toBeInstanceOf(Failure);
    }
  });

  promise('get and head of what is not there are missing', async (store) => {
    await store.put('a/b/c', bytesBody(Buffer.from('x')), { signal });
    for (const key of ['b', 'a', 'a/b', 'a/b/d', 'a/b/c/d', 'a/b/c-']) {
      expect(await kindOf(store.get(key, { signal }))).toBe('missing');
      expect(await kindOf(store.head(key, { signal }))).toBe('missing');
    }
  });

  promise('an opened object can be left unread or half read', async (store) => {
    const bytes = randomBytes(1024 * 1024);
    await store.put('k', bytesBody(bytes), { signal });
    for (let round = 0; round < 50; round++) {
      const opened = await store.get('k', { signal });
      if (round % 2 === 0) for await (const _ of opened.body) break;
      await opened[Symbol.asyncDispose]();
      await opened[Symbol.asyncDispose]();
    }
    expect(hashOf(await readAll(store, 'k'))).toBe(hashOf(bytes));
  });
}

function describeRanges(promise: StorePromise): void {
  promise('any range within an object gives just its bytes, and tells the size of the whole', async (store) => {
    const bytes = randomBytes(700_000);
    await store.put('k', bytesBody(bytes), { signal });
    const start = fc.nat({ max: bytes.length - 1 });
    const range = start.chain((at) => fc.tuple(fc.constant(at), fc.integer({ min: 1, max: bytes.length - at })));
    const law = fc.asyncProperty(range, async ([start, length]) => {
      await using opened = await store.get('k', { signal, range: { start, length } });
      expect(opened.sizeBytes).toBe(bytes.length);
      expect(hashOf(await collect(opened.body))).toBe(hashOf(bytes.subarray(start, start + length)));
    });
    await fc.assert(law, { numRuns: 30, examples: [[[0, 700_000]], [[699_999, 1]], [[262_144, 262_144]]] });
  });

  promise('a range that does not lie within the object is corrupt', async (store) => {
    await store.put('k', bytesBody(randomBytes(10)), { signal });
    for (const range of [
      { start: 0, length: 11 },
      { start: 9, length: 2 },
      { start: 10, length: 1 },
      { start: 99, length: 5 },
    ]) {
      expect(await kindOf(store.get('k', { signal, range }))).toBe('corrupt');
    }
  });

  promise('what is no range is invalid', async (store) => {
    await store.put('k', bytesBody(randomBytes(10)), { signal });
    for (const range of [
      { start: 0, length: 0 },
      { start: -1, length: 2 },
      { start: 0.5, length: 1 },
      { start: 0, length: NaN },
    ]) {
      expect(await kindOf(store.get('k', { signal, range }))).toBe('invalid');
    }
  });
}

function describeAnnouncedSizes(promise: StorePromise): void {
  for (const [given, announced] of [
    [9, 10],
    [11, 10],
    [0, 1],
    [1, 0],
  ] as const) {
    promise(`a body of ${given} bytes that announced ${announced} is corrupt and stores nothing`, async (store) => {
      await store.put('old', bytesBody(Buffer.from('old')), { signal });
      const body = { ...bytesBody(randomBytes(given)), sizeBytes: announced };
      expect(await kindOf(store.put('new', body, { signal }))).toBe('corrupt');
      expect(await kindOf(store.put('old', body, { signal }))).toBe('corrupt');
      expect(await keysOf(store, '')).toEqual(['old']);
      expect(String(await readAll(store, 'old'))).toBe('old');
    });
  }

  promise('a body without end is given up as soon as it gives more than it announced, and is closed', async (store) => {
    let isClosed = false;
    const endless: ObjectBody = {
      sizeBytes: 100_000,
      open: async function* () {
        try {
          for (;;) yield new Uint8Array(30_000);
        } finally {
          isClosed = true;
        }
      },
    };
    expect(await kindOf(store.put('k', endless, { signal }))).toBe('corrupt');
    expect([isClosed, await keysOf(store, '')]).toEqual([true, []]);
  });

  promise('an error of the body comes out as it is and stores nothing', async (store) => {
    const error = new Failure('moved', 'table 000007.sst changed while it was read');
    const failing: ObjectBody = {
      sizeBytes: 2,
      open: async function* () {
        yield Buffer.from('a');
        throw error;
      },
    };
    await expect(store.put('k', failing, { signal })).rejects.toBe(error);
    expect(await keysOf(store, '')).toEqual([]);
  });
}

function describeLists(promise: StorePromise, { losesNeighbours = false }: Departures): void {
  promise(
    'a prefix gives every key that begins with it and no other, also when it ends inside a segment',
    async (store) => {
      const keys = ['a', 'b/1', 'b/10', 'b/2/x', 'b/2/y', 'b-1', 'bb/1', 'c/d/e/f', 'B/1'];
      for (const key of keys) await store.put(key, bytesBody(Buffer.from(key)), { signal });
      for (const prefix of [
        '',
        'a',
        'a/',
        'b',
        'b/',
        'b/1',
        'b/2',
        'b/2/',
        'b/2/y',
        'b/2/y/',
        'c/d',
        'c/x',
        'z',
        'z/z/',
      ]) {
        expect([prefix, await keysOf(store, prefix)]).toEqual([
          prefix,
          keys.filter((key) => key.startsWith(prefix)).sort(),
        ]);
      }
    },
  );

  promise('more objects than a page holds are all listed, each once', async (store) => {
    const keys = Array.from({ length: 1001 }, (_, index) => `data/e${index % 3}/${String(index).padStart(8, '0')}`);
    const limit = losesNeighbours ? 1 : 16;
    await mapBounded(keys, { limit, signal }, (key) => store.put(key, bytesBody(Buffer.from('x')), { signal }));
    const pages = await pagesOf(store, 'data/');
    expect(pages.flatMap((page) => page.objects.map(({ key }) => key)).sort()).toEqual(keys.toSorted());
    expect(Math.max(...pages.map((page) => page.objects.length))).toBeLessThanOrEqual(1000);
  });

  promise('an empty store lists one empty page, which tells the time', async (store) => {
    const [page, ...more] = await pagesOf(store, 'any/prefix');
    expect({ objects: page?.objects, more }).toEqual({ objects: [], more: [] });
    expect(page?.storeTimeMs).toBeGreaterThan(0);
  });
}

function describeDelete(promise: StorePromise, { deletesFolders = false }: Departures): void {
  promise('what was deleted is gone for get, head and list, and its neighbours are not', async (store) => {
    for (const key of ['a/b/1', 'a/b/2', 'a/c']) await store.put(key, bytesBody(Buffer.from(key)), { signal });
    await store.delete('a/b/1', { signal });
    expect(await kindOf(store.get('a/b/1', { signal }))).toBe('missing');
    expect(await kindOf(store.head('a/b/1', { signal }))).toBe('missing');
    expect(await keysOf(store, '')).toEqual(['a/b/2', 'a/c']);
  });

  promise('deleting what is not there is no error and touches nothing', async (store) => {
    await store.put('a/b', bytesBody(Buffer.from('x')), { signal });
    const folders = deletesFolders ? [] : ['a', 'a/b/c'];
    for (const key of ['b', 'a/c', 'c/d/e', ...folders]) await store.delete(key, { signal });
    expect(await keysOf(store, '')).toEqual(['a/b']);
  });

  promise('a key can be stored again after its delete, and be deleted again', async (store) => {
    for (const round of ['first', 'second']) {
      await store.put('a/b/c', bytesBody(Buffer.from(round)), { signal });
      expect(String(await readAll(store, 'a/b/c'))).toBe(round);
      await store.delete('a/b/c', { signal });
      await store.delete('a/b/c', { signal });
      expect(await keysOf(store, '')).toEqual([]);
    }
  });
}

const KEY_CHARACTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_%-';

function describeKeys(promise: StorePromise): void {
  promise('every key of the grammar is stored under itself, the longest ones too', async (store) => {
    const longest = [...Array.from({ length: 4 }, () => 'k'.repeat(200)), 'k'.repeat(96)].join('/');
    expect(longest.length).toBe(900);
    const keys = [longest, 'a%2Fb', '%', '-', '_', 'a..b', 'a.', 'x/0', KEY_CHARACTERS, `${KEY_CHARACTERS}.`].sort();
    for (const key of keys) await store.put(key, bytesBody(Buffer.from(key)), { signal });
    for (const key of keys) expect(String(await readAll(store, key))).toBe(key);
    expect(await keysOf(store, '')).toEqual(keys);
  });

  const noKeys = [
    '',
    '/',
    '/a',
    'a/',
    'a//b',
    '.',
    '..',
    '../a',
    'a/../b',
    'a/./b',
    '.a',
    'a/.b',
    'a b',
    'a\\b',
    'a\0',
    'ä',
  ];
  const tooLong = ['k'.repeat(201), Array.from({ length: 6 }, () => 'k'.repeat(150)).join('/')];
  for (const key of [...noKeys, ...tooLong]) {
    const shown = key.length > 20 ? `of ${key.length} characters` : JSON.stringify(key);
    promise(`the key ${shown} is invalid for every verb`, async (store) => {
      expect(await kindOf(store.put(key, bytesBody(Buffer.from('x')), { signal }))).toBe('invalid');
      expect(await kindOf(store.get(key, { signal }))).toBe('invalid');
      expect(await kindOf(store.head(key, { signal }))).toBe('invalid');
      expect(await kindOf(store.delete(key, { signal }))).toBe('invalid');
    });
  }

  for (const prefix of ['/', '/a', 'a//b', '..', '../', 'a/..', 'a/../b', '.', '.a', 'a/.b', 'a b', 'k'.repeat(201)]) {
    promise(`the prefix ${prefix.slice(0, 20)} is invalid`, async (store) => {
      expect(await kindOf(pagesOf(store, prefix))).toBe('invalid');
    });
  }
}

function describeSignals(promise: StorePromise): void {
  const reason = new Error('stopped by the test');
  const aborted = AbortSignal.abort(reason);

  promise('a signal that has aborted stops every verb with its reason, and nothing is done', async (store) => {
    await store.put('k', bytesBody(Buffer.from('x')), { signal });
    const calls = [
      store.put('new', bytesBody(Buffer.from('y')), { signal: aborted }),
      store.get('k', { signal: aborted }),
      store.head('k', { signal: aborted }),
      store.delete('k', { signal: aborted }),
      pagesOf(store, '', aborted),
    ];
    expect(await Promise.all(calls.map((call) => call.catch((error: unknown) => error)))).toEqual(
      calls.map(() => reason),
    );
    expect(await keysOf(store, '')).toEqual(['k']);
  });

  promise('a put whose body waits for ever ends with the reason and stores nothing', async (store) => {
    const controller = new AbortController();
    const stuck: ObjectBody = {
      sizeBytes: 2,
      open: async function* () {
        yield Buffer.from('a');
        setImmediate(() => controller.abort(reason));
        await new Promise(() => undefined);
      },
    };
    await expect(store.put('k', stuck, { signal: controller.signal })).rejects.toBe(reason);
    expect(await keysOf(store, '')).toEqual([]);
  });

  promise('a put that is aborted after the last byte came stores the whole object or nothing', async (store) => {
    const controller = new AbortController();
    const bytes = randomBytes(100_000);
    const body: ObjectBody = {
      sizeBytes: bytes.length,
      open: async function* () {
        yield bytes;
        controller.abort(reason);
      },
    };
    await store.put('k', body, { signal: controller.signal }).catch((error: unknown) => expect(error).toBe(reason));
    const read = await readAll(store, 'k').catch((error: unknown) => error);
    if (read instanceof Uint8Array) expect(hashOf(read)).toBe(hashOf(bytes));
    else expect(read).toMatchObject({ kind: 'missing' });
  });

  promise('a body that is being read ends with the reason', async (store) => {
    await store.put('k', bytesBody(randomBytes(5 * 1024 * 1024)), { signal });
    const controller = new AbortController();
    await using opened = await store.get('k', { signal: controller.signal });
    const read = async (): Promise<void> => {
      for await (const _ of opened.body) controller.abort(reason);
    };
    await expect(read()).rejects.toBe(reason);
  });

  promise('a list that is being read ends with the reason', async (store) => {
    const keys = Array.from({ length: 1001 }, (_, index) => `k/${index}`);
    await mapBounded(keys, { limit: 16, signal }, (key) => store.put(key, bytesBody(Buffer.from('x')), { signal }));
    const controller = new AbortController();
    const read = async (): Promise<void> => {
      for await (const _ of store.list('', { signal: controller.signal })) controller.abort(reason);
    };
    await expect(read()).rejects.toBe(reason);
  });
}

function describeSideBySide(promise: StorePromise, departures: Departures): void {
  const { tearsWhatIsReplaced = false, losesNeighbours = false } = departures;
  const always = tearsWhatIsReplaced ? 'in the end' : 'always';
  promise(`a reader of a key that is replaced all the time ${always} sees one whole object`, async (store) => {
    const versions = ['first', 'second', 'third'].map((text) => Buffer.from(text.repeat(40_000)));
    const put = (version: number): Promise<StoreTime> =>
      store.put('r/k', bytesBody(versions[version % 3] ?? Buffer.of()), { signal });
    await put(0);
    const writing = (async () => {
      for (let round = 1; round < 60; round++) await put(round);
    })();
    const hashes = versions.map(hashOf);
    for (let round = 0; round < 60; round++) {
      const read = readAll(store, 'r/k').then(hashOf);
      if (tearsWhatIsReplaced) await read.catch((error: unknown) => expect(error).toBeInstanceOf(Failure));
      else expect(hashes).toContain(await read);
      const listed = await keysOf(store, 'r/');
      expect(tearsWhatIsReplaced ? [...new Set(listed)] : listed).toEqual(['r/k']);
    }
    await writing;
    expect(hashOf(await readAll(store, 'r/k'))).toBe(hashes[59 % 3]);
  });

  promise('puts and deletes of neighbours do not disturb one another', async (store) => {
    const neighbours = Array.from({ length: 8 }, (_, index) => `shared/folder/${index % 3}/${index}`);
    await mapBounded(neighbours, { limit: losesNeighbours ? 1 : 8, signal }, async (key) => {
      for (let round = 0; round < 25; round++) {
        await store.put(key, bytesBody(Buffer.from(`${key} ${round}`)), { signal });
        expect(String(await readAll(store, key))).toBe(`${key} ${round}`);
        await store.delete(key, { signal });
        expect(await kindOf(store.head(key, { signal }))).toBe('missing');
      }
    });
    expect(await keysOf(store, '')).toEqual([]);
  });

  promise('many objects are stored and read at once without mixing their bytes', async (store) => {
    const objects = Array.from({ length: 24 }, (_, index) => ({
      key: `k${index}`,
      bytes: randomBytes(300_000 + index),
    }));
    await mapBounded(objects, { limit: 24, signal }, ({ key, bytes }) => store.put(key, bytesBody(bytes), { signal }));
    const read = await mapBounded(objects, { limit: 24, signal }, async ({ key }) => hashOf(await readAll(store, key)));
    expect(read).toEqual(objects.map(({ bytes }) => hashOf(bytes)));
  });
}

/** Gives every chunk in the same buffer, as a reader of files does. */
function reusedBufferBody(chunks: readonly Uint8Array[]): ObjectBody {
  return {
    sizeBytes: chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0),
    open: async function* () {
      const buffer = new Uint8Array(50);
      for (const chunk of chunks) {
        buffer.set(chunk);
        yield buffer.subarray(0, chunk.byteLength);
        buffer.fill(0xdb);
      }
    },
  };
}

async function readAll(store: ObjectStore, key: string): Promise<Uint8Array> {
  await using opened = await store.get(key, { signal });
  return await collect(opened.body);
}

async function collect(body: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of body) chunks.push(Uint8Array.from(chunk));
  return Buffer.concat(chunks);
}

async function pagesOf(store: ObjectStore, prefix: string, listSignal = signal): Promise<readonly ObjectPage[]> {
  const pages: ObjectPage[] = [];
  for await (const page of store.list(prefix, { signal: listSignal })) pages.push(page);
  return pages;
}

async function keysOf(store: ObjectStore, prefix: string): Promise<readonly string[]> {
  return (await pagesOf(store, prefix)).flatMap((page) => page.objects.map(({ key }) => key)).sort();
}

async function kindOf(call: Promise<unknown>): Promise<string> {
  return await call.then(
    () => 'done',
    (error: unknown) => (error instanceof Failure ? error.kind : `not a Failure: ${String(error)}`),
  );
}

function timeless({ key, sizeBytes, modifiedMs }: ObjectFacts): Omit<ObjectFacts, 'storeTimeMs'> {
  return { key, sizeBytes, modifiedMs };
}

function hashOf(bytes: Uint8Array): string {
  return hash('sha256', bytes);
}
