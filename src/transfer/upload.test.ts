import { createHash, randomFillSync } from 'node:crypto';
import { zstdDecompressSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { SimulatedStore } from '../../test/support/simulated-store.ts';
import { Budget, mapBounded } from '../base/concurrency.ts';
import { Failure } from '../base/failure.ts';
import type { Event } from '../events/event.ts';
import type { StoredStretch } from '../repository/document.ts';
import type { ObjectStore } from '../storage/object-store.ts';
import { bytesSource, hashSource, type SourceFile } from './source-file.ts';
import { type UploadTarget, uploadTable } from './upload.ts';

const MIB = 1024 * 1024;

test('a table that compresses travels in stretches of 16 MiB, each hashed and compressed by itself', async () => {
  const bytes = rows(40 * MIB + 5);
  const { target, store, events } = targetOf();
  const sent = await uploadTable(bytesSource('000012.sst', bytes), target);
  expect(sent).toEqual({
    sha256: sha256(bytes),
    objects: [
      stretch(store, 1, bytes.subarray(0, 16 * MIB)),
      stretch(store, 2, bytes.subarray(16 * MIB, 32 * MIB)),
      stretch(store, 3, bytes.subarray(32 * MIB)),
    ],
  });
  expect(sent.objects.map(({ key }) => sha256(zstdDecompressSync(store.bytesOf(key))))).toEqual(
    sent.objects.map((object) => object.sha256),
  );
  expect(bytesDone(events)).toBe(bytes.byteLength);
  expect(events.filter(({ kind }) => kind === 'object-uploaded')).toEqual(
    sent.objects.map(({ key, storedBytes }) => ({ kind: 'object-uploaded', key, storedBytes })),
  );
});

test('a table that does not shrink is stored as it is, in stretches of 64 MiB', async () => {
  const bytes = noise(70 * MIB);
  const { target, store, events } = targetOf();
  const sent = await uploadTable(bytesSource('000012.sst', bytes), target);
  expect(sent).toEqual({
    sha256: sha256(bytes),
    objects: [
      { ...stretch(store, 1, bytes.subarray(0, 64 * MIB)), encoding: 'none' },
      { ...stretch(store, 2, bytes.subarray(64 * MIB)), encoding: 'none' },
    ],
  });
  expect(sent.objects.map(({ storedBytes }) => storedBytes)).toEqual([64 * MIB, 6 * MIB]);
  expect(bytesDone(events)).toBe(bytes.byteLength);
});

test('without compression the object is the table', async () => {
  const bytes = rows(1000);
  const { target, store } = targetOf({ compression: 'none' });
  const sent = await uploadTable(bytesSource('000012.sst', bytes), target);
  expect(sent).toEqual({
    sha256: sha256(bytes),
    objects: [{ ...stretch(store, 1, bytes), storedBytes: 1000, encoding: 'none' }],
  });
  expect(Buffer.from(store.bytesOf('data/e/1')).equals(bytes)).toBe(true);
});

test('an empty table is one empty object', async () => {
  const { target, store } = targetOf();
  const sent = await uploadTable(bytesSource('000012.sst', Buffer.alloc(0)), target);
  const empty = sha256(Buffer.alloc(0));
  expect(sent).toEqual({
    sha256: empty,
    objects: [{ kind: 'stretch', key: 'data/e/1', sizeBytes: 0, storedBytes: 0, sha256: empty, encoding: 'none' }],
  });
  expect(store.keys()).toEqual(['data/e/1']);
});

test.each(['zstd', 'none'] as const)('a source may give a few bytes at a time (%s)', async (compression) => {
  const bytes = rows(300_000);
  const whole = bytesSource('000012.sst', bytes);
  const slow: SourceFile = { ...whole, read: (buffer, position) => whole.read(buffer.subarray(0, 777), position) };
  const sent = await uploadTable(slow, targetOf({ compression }).target);
  expect(sent.sha256).toBe(sha256(bytes));
});

test.each(['zstd', 'none'] as const)('a table that ends before its time has moved (%s)', async (compression) => {
  const { target, store } = targetOf({ compression });
  const shorter: SourceFile = { ...bytesSource('0_3/orders/000012.sst', rows(2 * MIB)), sizeBytes: 2 * MIB + 1 };
  await expect(uploadTable(shorter, target)).rejects.toMatchObject({
    kind: 'moved',
    message: 'cannot read 0_3/orders/000012.sst: it ends at 2097152, its size is 2097153',
  });
  expect(store.keys()).toEqual([]);
});

test('a table that is another one after its last byte has moved', async () => {
  const moved = new Failure('moved', 'it was truncated');
  const source = { ...bytesSource('000012.sst', rows(1000)), assertUnchanged: () => Promise.reject(moved) };
  await expect(uploadTable(source, targetOf().target)).rejects.toBe(moved);
  await expect(hashSource(source, targetOf().target.signal)).rejects.toBe(moved);
});

test('hashing alone gives the hash that an upload gives', async () => {
  const bytes = rows(3 * MIB);
  const { signal } = new AbortController();
  expect(await hashSource(bytesSource('000012.sst', bytes), signal)).toBe(sha256(bytes));
});

test('a store may give up a try anywhere and read the body anew', async () => {
  const bytes = noise(3 * MIB);
  const { target, store, events } = targetOf({ compression: 'none' });
  const sent = await uploadTable(bytesSource('000012.sst', bytes), { ...target, store: givingUpTwice(store) });
  expect(sent.sha256).toBe(sha256(bytes));
  expect(Buffer.from(store.bytesOf('data/e/1')).equals(bytes)).toBe(true);
  expect(bytesDone(events)).toBe(bytes.byteLength); // What is read again is no new work.
});

test('the hash is that of the bytes which were sent, also when they change between two tries', async () => {
  const [before, after] = [noise(70 * MIB), noise(70 * MIB)];
  let reads = 0;
  const changing: SourceFile = {
    ...bytesSource('000012.sst', after),
    read: (buffer, position) => bytesSource('', reads++ < 4 ? before : after).read(buffer, position),
  };
  const { target, store } = targetOf({ compression: 'none' });
  const sent = await uploadTable(changing, { ...target, store: givingUpTwice(store) });
  const stored = Buffer.concat([store.bytesOf('data/e/1'), store.bytesOf('data/e/2')]);
  expect(sent.sha256).toBe(sha256(stored));
  expect(sent.objects[0]?.sha256).toBe(sha256(stored.subarray(0, 64 * MIB)));
});

test.each(['zstd', 'none'] as const)('the failure of a store is passed on (%s)', async (compression) => {
  const { target, store } = targetOf({ compression });
  const failure = new Failure('unavailable', 'the bucket is gone');
  store.script({ kind: 'fail-before', operation: 'put', failure });
  await expect(uploadTable(bytesSource('000012.sst', rows(1000)), target)).rejects.toBe(failure);
});

test.each(['zstd', 'none'] as const)('an upload ends when its signal aborts (%s)', async (compression) => {
  const abort = new AbortController();
  const { target } = targetOf({ compression });
  const whole = bytesSource('000012.sst', rows(20 * MIB));
  const source: SourceFile = {
    ...whole,
    read: (buffer, position) => {
      if (position > 2 * MIB) abort.abort(new Error('stop'));
      return whole.read(buffer, position);
    },
  };
  await expect(uploadTable(source, { ...target, signal: abort.signal })).rejects.toThrow('stop');
});

test('compressed objects on their way never take more memory than there is', async () => {
  const { target, store } = targetOf({ memory: new Budget(5 * MIB) });
  const load = { now: 0, most: 0 };
  const slow = withPut(store, async (key, body, options) => {
    load.now += body.sizeBytes;
    load.most = Math.max(load.most, load.now);
    await new Promise((resolve) => setTimeout(resolve, 20));
    load.now -= body.sizeBytes;
    return await store.put(key, body, options);
  });
  await mapBounded(Array(12).keys(), { limit: 12, signal: target.signal }, () =>
    uploadTable(bytesSource('000012.sst', halfNoise(3 * MIB)), { ...target, store: slow }),
  );
  expect(store.keys()).toHaveLength(12);
  expect(load.most).toBeGreaterThan(MIB); // Several at a time,
  expect(load.most).toBeLessThanOrEqual(5 * MIB); // but not all.
});

function targetOf(options: Partial<UploadTarget> & { readonly compression?: 'zstd' | 'none' } = {}) {
  const store = new SimulatedStore();
  const events: Event[] = [];
  let keys = 0;
  const target = {
    store,
    nextKey: () => `data/e/${++keys}`,
    compression: 'zstd' as const,
    memory: new Budget(32 * MIB),
    emit: (event: Event) => events.push(event),
    signal: new AbortController().signal,
    ...options,
  };
  return { store, events, target };
}

/** What the document should say of a compressed stretch. */
function stretch(store: SimulatedStore, n: number, bytes: Uint8Array): StoredStretch {
  const key = `data/e/${n}`;
  return {
    kind: 'stretch',
    key,
    sizeBytes: bytes.byteLength,
    storedBytes: store.bytesOf(key).byteLength,
    sha256: sha256(bytes),
    encoding: 'zstd',
  };
}

/** A store that twice begins to read a body and then turns away from it without a word. */
function givingUpTwice(store: SimulatedStore): ObjectStore {
  return withPut(store, async (key, body, options) => {
    await body.open()[Symbol.asyncIterator]().next();
    const pending = body.open()[Symbol.asyncIterator]();
    await pending.next();
    void pending.next();
    return await store.put(key, body, options);
  });
}

function withPut(store: ObjectStore, put: ObjectStore['put']): ObjectStore {
  return Object.assign(Object.create(store), { put });
}

function bytesDone(events: readonly Event[]): number {
  return events.reduce((sum, event) => sum + (event.kind === 'work-done' ? event.bytes : 0), 0);
}

function rows(length: number): Buffer {
  return Buffer.alloc(length, Array.from({ length: 5000 }, (_, index) => `row ${index * index};`).join(''));
}

function noise(length: number): Buffer {
  return randomFillSync(Buffer.alloc(length));
}

/** Compresses to half its size, everywhere alike. */
function halfNoise(length: number): Buffer {
  const bytes = noise(length);
  for (let position = 0; position < length; position += 2048) bytes.fill(0, position, position + 1024);
  return bytes;
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
