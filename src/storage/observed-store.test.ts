import { expect, test } from 'vitest';
import { ManualClock } from '../../test/support/manual-clock.ts';
import { SimulatedStore } from '../../test/support/simulated-store.ts';
import { describeStoreContract } from '../../test/support/store-contract.ts';
import { systemClock } from '../base/clock.ts';
import { isFailure } from '../base/failure.ts';
import { bytesBody, type ObjectBody, type ObjectStore } from './object-store.ts';
import { observeStore, type StoreRequest } from './observed-store.ts';

const { signal } = new AbortController();
const STALL_MS = 60_000;

describeStoreContract('an observed store', async () =>
  observeStore(new SimulatedStore(), { clock: systemClock, stallTimeoutMs: STALL_MS, onRequest: () => undefined }),
);

test('each request is reported once, with its bytes and its time on the clock', async () => {
  const { store, simulated, clock, requests } = observed();
  simulated.script({ kind: 'delay', ms: 250, operation: 'put' });
  const put = store.put('a/b', bytesBody(Buffer.from('hello')), { signal });
  await clock.advance(250);
  await put;
  await readAll(store, 'a/b');
  await store.head('a/b', { signal });
  for await (const _ of store.list('a/', { signal })) await clock.advance(10);
  await store.delete('a/b', { signal });
  expect(requests).toEqual([
    { operation: 'put', key: 'a/b', durationMs: 250, sizeBytes: 5, failure: undefined },
    { operation: 'get', key: 'a/b', durationMs: 0, sizeBytes: 5, failure: undefined },
    { operation: 'head', key: 'a/b', durationMs: 0, sizeBytes: 0, failure: undefined },
    { operation: 'list', key: 'a/', durationMs: 0, sizeBytes: 0, failure: undefined },
    { operation: 'delete', key: 'a/b', durationMs: 0, sizeBytes: 0, failure: undefined },
  ]);
});

test('a failed request is reported with its kind, and its error comes out as it was', async () => {
  const { store, simulated, requests } = observed();
  await simulated.put('k', bytesBody(Buffer.from('hello')), { signal });
  await expect(store.head('absent', { signal })).rejects.toMatchObject({ kind: 'missing' });
  simulated.script({ kind: 'fail-after', operation: 'delete' });
  await expect(store.delete('other', { signal })).rejects.toMatchObject({ kind: 'unavailable' });
  simulated.script({ kind: 'truncate', keptBytes: 2 });
  await expect(readAll(store, 'k')).rejects.toMatchObject({ kind: 'corrupt' });
  const reason = new Error('enough');
  await expect(store.head('k', { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  expect(requests).toEqual([
    { operation: 'head', key: 'absent', durationMs: 0, sizeBytes: 0, failure: 'missing' },
    { operation: 'delete', key: 'other', durationMs: 0, sizeBytes: 0, failure: 'unavailable' },
    { operation: 'get', key: 'k', durationMs: 0, sizeBytes: 2, failure: 'corrupt' },
    { operation: 'head', key: 'k', durationMs: 0, sizeBytes: 0, failure: 'aborted' },
  ]);
});

test('an object that is left unread or half read is reported when it is let go', async () => {
  const { store, simulated, requests } = observed();
  await simulated.put('k', bytesBody(new Uint8Array(1_000_000)), { signal });
  const unread = await store.get('k', { signal });
  expect(requests).toEqual([]);
  await unread[Symbol.asyncDispose]();
  await unread[Symbol.asyncDispose]();
  const half = await store.get('k', { signal });
  for await (const _ of half.body) break;
  await half[Symbol.asyncDispose]();
  expect(requests).toEqual([
    { operation: 'get', key: 'k', durationMs: 0, sizeBytes: 0, failure: undefined },
    { operation: 'get', key: 'k', durationMs: 0, sizeBytes: expect.any(Number), failure: undefined },
  ]);
  expect(requests[1]?.sizeBytes).toBeGreaterThan(0);
});

test('a get of which no more bytes come ends at the stall timeout', async () => {
  const { store, simulated, clock, requests } = observed();
  await simulated.put('k', bytesBody(new Uint8Array(1000)), { signal });
  simulated.script({ kind: 'stall', operation: 'get', keptBytes: 300 });
  const reading = readAll(store, 'k').catch((error: unknown) => error);
  await clock.advance(STALL_MS - 1);
  expect(requests).toEqual([]);
  await clock.advance(1);
  expect(await reading).toMatchObject({ kind: 'deadline', message: `cannot get k: no byte moved for ${STALL_MS} ms` });
  expect(requests).toEqual([{ operation: 'get', key: 'k', durationMs: STALL_MS, sizeBytes: 300, failure: 'deadline' }]);
});

test('a put whose body stalls, and requests that are never answered, end at the stall timeout', async () => {
  const { store, simulated, clock, requests } = observed();
  const stuck: ObjectBody = {
    sizeBytes: 2,
    open: async function* () {
      yield Buffer.from('a');
      await new Promise(() => undefined);
    },
  };
  simulated.script({ kind: 'delay', ms: 3_600_000, key: /unanswered/, times: Number.POSITIVE_INFINITY });
  const calls = [
    store.put('k', stuck, { signal }),
    store.put('unanswered', bytesBody(Buffer.from('x')), { signal }),
    store.get('unanswered', { signal }),
    store.head('unanswered', { signal }),
    store.delete('unanswered', { signal }),
    listAll(store, 'unanswered'),
  ].map((call) => call.then(() => 'done').catch((error: unknown) => (isFailure(error) ? error.kind : error)));
  await clock.advance(STALL_MS);
  expect(await Promise.all(calls)).toEqual(calls.map(() => 'deadline'));
  expect(requests.map(({ failure }) => failure)).toEqual(calls.map(() => 'deadline'));
  expect(simulated.keys()).toEqual([]);
});

test('a body that moves slowly, and a reader who takes long, do not stall', async () => {
  const { store, clock, requests } = observed();
  const slow: ObjectBody = {
    sizeBytes: 5,
    open: async function* () {
      for (const letter of 'hello') {
        await clock.sleep(STALL_MS - 1, signal);
        yield Buffer.from(letter);
      }
    },
  };
  const putting = store.put('k', slow, { signal });
  await clock.advance(5 * STALL_MS);
  await putting;
  await using opened = await store.get('k', { signal });
  for await (const _ of opened.body) await clock.advance(10 * STALL_MS);
  expect(requests).toEqual([
    { operation: 'put', key: 'k', durationMs: 5 * (STALL_MS - 1), sizeBytes: 5, failure: undefined },
    { operation: 'get', key: 'k', durationMs: 0, sizeBytes: 5, failure: undefined },
  ]);
});

function observed(): { store: ObjectStore; simulated: SimulatedStore; clock: ManualClock; requests: StoreRequest[] } {
  const clock = new ManualClock();
  const simulated = new SimulatedStore({ clock });
  const requests: StoreRequest[] = [];
  const onRequest = (request: StoreRequest): void => void requests.push(request);
  return { store: observeStore(simulated, { clock, stallTimeoutMs: STALL_MS, onRequest }), simulated, clock, requests };
}

async function readAll(store: ObjectStore, key: string): Promise<void> {
  await using opened = await store.get(key, { signal });
  for await (const _ of opened.body);
}

async function listAll(store: ObjectStore, prefix: string): Promise<void> {
  for await (const _ of store.list(prefix, { signal }));
}
