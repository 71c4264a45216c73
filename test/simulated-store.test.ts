import { describe, expect, test } from 'vitest';
import { isFailure } from '../src/base/failure.ts';
import { bytesBody } from '../src/storage/object-store.ts';
import { ManualClock } from './support/manual-clock.ts';
import { SimulatedStore } from './support/simulated-store.ts';
import { describeStoreContract } from './support/store-contract.ts';

const { signal } = new AbortController();
const x = bytesBody(Buffer.from('x'));

describeStoreContract('the simulated store', async () => new SimulatedStore());

describe('scripted faults', () => {
  test('what fails before is not done, what fails after is done', async () => {
    const store = new SimulatedStore();
    store.script({ kind: 'fail-before', operation: 'put', key: /^a$/ });
    store.script({ kind: 'fail-after', operation: 'put', key: /^b$/ });
    expect(await kindOf(store.put('a', x, { signal }))).toBe('unavailable');
    expect(await kindOf(store.put('b', x, { signal }))).toBe('unavailable');
    expect(await kindOf(store.put('c', x, { signal }))).toBe('done');
    expect(store.keys()).toEqual(['b', 'c']);
    expect(store.log).toEqual(['put b', 'put c']);
  });

  test('a script can let some requests pass, fail some, and end', async () => {
    const store = new SimulatedStore();
    store.script({ kind: 'fail-before', skip: 2, times: 3 });
    const outcomes: string[] = [];
    for (let request = 0; request < 7; request++) outcomes.push(await kindOf(store.put(`k${request}`, x, { signal })));
    expect(outcomes).toEqual(['done', 'done', 'unavailable', 'unavailable', 'unavailable', 'done', 'done']);
  });

  test('what fails for ever works again once healed', async () => {
    const store = new SimulatedStore();
    store.script({ kind: 'fail-before', times: Number.POSITIVE_INFINITY });
    expect(await kindOf(store.put('k', x, { signal }))).toBe('unavailable');
    store.heal();
    expect(await kindOf(store.put('k', x, { signal }))).toBe('done');
  });

  test('a delay passes on the clock of the store before anything is done', async () => {
    const clock = new ManualClock();
    const store = new SimulatedStore({ clock });
    store.script({ kind: 'delay', ms: 500 });
    const put = store.put('k', x, { signal });
    await clock.advance(499);
    expect(store.keys()).toEqual([]);
    await clock.advance(1);
    expect((await put).modifiedMs).toBe(clock.nowMs());
  });

  test('a truncated get ends as corrupt after the bytes that came', async () => {
    const store = await storeWith('k', 1000);
    store.script({ kind: 'truncate', keptBytes: 400 });
    const { bytes, kind } = await readAll(store, 'k');
    expect({ length: bytes.length, kind }).toEqual({ length: 400, kind: 'corrupt' });
  });

  test('a flipped get has one wrong bit, the next one none', async () => {
    const store = await storeWith('k', 1000);
    store.script({ kind: 'flip' });
    const { bytes, kind } = await readAll(store, 'k');
    expect({ kind, wrong: bytes.filter((byte) => byte !== 7).length }).toEqual({ kind: 'done', wrong: 1 });
    expect((await readAll(store, 'k')).bytes).toEqual(Buffer.alloc(1000, 7));
  });

  test('an object that was tampered with gives other bytes at its old time', async () => {
    const store = await storeWith('k', 1000);
    const { modifiedMs } = await store.head('k', { signal });
    await store.clock.sleep(5000, signal);
    store.tamper('k', (bytes) => bytes.subarray(0, 10));
    expect(await store.head('k', { signal })).toMatchObject({ sizeBytes: 10, modifiedMs });
    expect(store.bytesOf('k')).toEqual(new Uint8Array(10).fill(7));
  });

  test('a stale list shows what was there so long ago', async () => {
    const store = await storeWith('old', 1);
    await store.clock.sleep(60_000, signal);
    await store.put('new', x, { signal });
    await store.delete('old', { signal });
    store.script({ kind: 'stale', operation: 'list', ageMs: 30_000 });
    expect(await keysOf(store)).toEqual(['old']);
    expect(await keysOf(store)).toEqual(['new']);
  });

  test('chance and the order of listings are the same for the same seed, and others for another', async () => {
    expect(await story(1)).toBe(await story(1));
    expect(await story(1)).not.toBe(await story(2));
  });

  test('a store may know times to the second only', async () => {
    const store = new SimulatedStore({ clock: new ManualClock({ startMs: 1_750_000_000_999 }), wholeSeconds: true });
    expect(await store.put('k', x, { signal })).toMatchObject({
      modifiedMs: 1_750_000_000_000,
      storeTimeMs: 1_750_000_000_999,
    });
  });

  test('a chunk is rubbish once the next one was asked for', async () => {
    const store = await storeWith('k', 300_000);
    const opened = await store.get('k', { signal });
    const kept: Uint8Array[] = [];
    for await (const chunk of opened.body) kept.push(chunk);
    expect(kept.every((chunk) => chunk.every((byte) => byte === 0xdb))).toBe(true);
  });
});

/** What such a store with such a seed holds and how it lists it, after puts of which about half fail. */
async function story(seed: number): Promise<string> {
  const store = new SimulatedStore({ seed });
  store.script({ kind: 'fail-before', probability: 0.5, times: Number.POSITIVE_INFINITY });
  for (let key = 0; key < 40; key++) await kindOf(store.put(`k${key}`, x, { signal }));
  store.heal();
  return (await keysOf(store)).join(' ');
}

async function storeWith(key: string, length: number): Promise<SimulatedStore> {
  const store = new SimulatedStore();
  await store.put(key, bytesBody(Buffer.alloc(length, 7)), { signal });
  return store;
}

async function readAll(store: SimulatedStore, key: string): Promise<{ bytes: Buffer; kind: string }> {
  const chunks: Uint8Array[] = [];
  const read = async (): Promise<void> => {
    await using opened = await store.get(key, { signal });
    for await (const chunk of opened.body) chunks.push(Uint8Array.from(chunk));
  };
  const kind = await kindOf(read());
  return { bytes: Buffer.concat(chunks), kind };
}

async function keysOf(store: SimulatedStore): Promise<readonly string[]> {
  const keys: string[] = [];
  for await (const page of store.list('', { signal })) keys.push(...page.objects.map(({ key }) => key));
  return keys;
}

async function kindOf(call: Promise<unknown>): Promise<string> {
  return await call.then(
    () => 'done',
    (error: unknown) => (isFailure(error) ? error.kind : String(error)),
  );
}
