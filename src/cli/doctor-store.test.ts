import { expect, test } from 'vitest';
import { seededRandom } from '../../test/support/seeded-random.ts';
import { type FaultScript, SimulatedStore } from '../../test/support/simulated-store.ts';
import { Failure } from '../base/failure.ts';
import type { ObjectStore } from '../storage/object-store.ts';
import { diagnoseStore } from './doctor.ts';
import type { Check } from './doctor-check.ts';

const KEY = 'orders/prod/doctor/';

async function diagnose(simulated: SimulatedStore, change: Partial<ObjectStore> = {}): Promise<readonly Check[]> {
  const store = { ...bound(simulated), ...change };
  const { signal } = new AbortController();
  return diagnoseStore(
    { name: 'the store', open: async () => store, location: { application: 'orders', lineage: 'prod' } },
    { clock: simulated.clock, random: seededRandom(1), signal },
  );
}

/** `put: ok`, `get: failed corrupt`, … */
function inShort(checks: readonly Check[]): readonly string[] {
  return checks.map(
    (check) => `${check.check}: ${check.outcome === 'failed' ? `failed ${check.kind}` : check.outcome}`,
  );
}

test('a store that does what it promises is seen to do so, and is left as it was', async () => {
  const store = new SimulatedStore();
  expect(inShort(await diagnose(store))).toEqual([
    'store: ok',
    'put: ok',
    'get: ok',
    'range: ok',
    'list: ok',
    'delete: ok',
    'clock: ok',
  ]);
  expect(store.keys()).toEqual([]);
  expect(store.log.map((line) => line.replace(/doctor\/.*/, 'doctor/TOKEN'))).toEqual([
    'put orders/prod/doctor/TOKEN',
    'get orders/prod/doctor/TOKEN',
    'get orders/prod/doctor/TOKEN',
    'list orders/prod/doctor/TOKEN',
    'delete orders/prod/doctor/TOKEN',
    'head orders/prod/doctor/TOKEN',
  ]);
});

const denied = new Failure('unavailable', 'access denied', { detail: 'denied', hint: 'allow it' });

test.each<[string, FaultScript, readonly string[]]>([
  ['that cannot be reached', { kind: 'fail-before', operation: 'put' }, ['put: failed unavailable']],
  [
    'that allows no writing',
    { kind: 'fail-before', operation: 'put', failure: denied },
    ['put: failed unavailable', 'list: ok', 'clock: ok'],
  ],
  ['that loses the reply of the put', { kind: 'fail-after', operation: 'put' }, ['put: failed unavailable']],
  [
    'that changes a bit',
    { kind: 'flip', operation: 'get' },
    ['put: ok', 'get: failed corrupt', 'range: ok', 'list: ok', 'delete: ok', 'clock: ok'],
  ],
  [
    'that changes a bit of a range',
    { kind: 'flip', operation: 'get', skip: 1 },
    ['put: ok', 'get: ok', 'range: failed corrupt', 'list: ok', 'delete: ok', 'clock: ok'],
  ],
  [
    'that allows no listing',
    { kind: 'fail-before', operation: 'list', failure: denied },
    ['put: ok', 'get: ok', 'range: ok', 'list: failed unavailable', 'delete: ok'],
  ],
  [
    'whose listings are old',
    { kind: 'stale', operation: 'list', ageMs: 60_000 },
    ['put: ok', 'get: ok', 'range: ok', 'list: failed corrupt', 'delete: ok', 'clock: ok'],
  ],
  [
    'that fails once to delete',
    { kind: 'fail-before', operation: 'delete' },
    ['put: ok', 'get: ok', 'range: ok', 'list: ok', 'delete: failed unavailable', 'clock: ok'],
  ],
])('a store %s', async (_, fault, expected) => {
  const store = new SimulatedStore();
  await store.clock.sleep(120_000, new AbortController().signal);
  store.script(fault);
  expect(inShort(await diagnose(store))).toEqual(['store: ok', ...expected]);
  expect(store.keys()).toEqual([]);
});

test('who may not delete is told what stays and who needs the right', async () => {
  const store = new SimulatedStore();
  store.script({ kind: 'fail-before', operation: 'delete', failure: denied, times: Number.POSITIVE_INFINITY });
  const [key = ''] = [(await diagnose(store)).find(({ check }) => check === 'delete')].flatMap((check) => {
    expect(check?.outcome).toBe('warn');
    return /orders\/prod\/doctor\/\w+/.exec(check?.message ?? '') ?? [];
  });
  expect(store.keys()).toEqual([key]);
  expect(key.startsWith(KEY)).toBe(true);
});

test('a store that keeps what was deleted, or answers another size', async () => {
  const kept = new SimulatedStore();
  expect(inShort(await diagnose(kept, { delete: async () => {} }))).toContain('delete: failed corrupt');
  const other = new SimulatedStore();
  const get: ObjectStore['get'] = async (key, options) => {
    const object = await other.get(key, options);
    return { ...object, [Symbol.asyncDispose]: () => object[Symbol.asyncDispose](), sizeBytes: object.sizeBytes + 1 };
  };
  expect(inShort(await diagnose(other, { get }))).toContain('get: failed corrupt');
});

test.each([
  [90_000, "1 min 30 s behind the store's"],
  [-3_600_000, "1 h 00 min ahead of the store's"],
  [30_000, "within a minute of the store's"],
])('a clock %i ms behind the store: %s', async (aheadMs, message) => {
  const store = new SimulatedStore();
  const list: ObjectStore['list'] = async function* (prefix, options) {
    for await (const page of store.list(prefix, options)) yield { ...page, storeTimeMs: store.clock.nowMs() + aheadMs };
  };
  expect((await diagnose(store, { list })).find(({ check }) => check === 'clock')?.message).toBe(message);
});

test('a store that cannot be opened is one failed check', async () => {
  const { signal } = new AbortController();
  const { clock } = new SimulatedStore();
  const open = async (): Promise<never> => {
    throw new Failure('invalid', 'cannot open /repository: it is not a directory');
  };
  const checks = await diagnoseStore(
    { name: 'x', open, location: undefined },
    { clock, random: seededRandom(1), signal },
  );
  expect(inShort(checks)).toEqual(['store: failed invalid']);
});

test('a program that is told to end leaves nothing behind', async () => {
  const store = new SimulatedStore();
  const controller = new AbortController();
  const get: ObjectStore['get'] = async () => {
    controller.abort(new Error('ended by SIGTERM'));
    throw controller.signal.reason;
  };
  const probing = diagnoseStore(
    {
      name: 'x',
      open: async () => ({ ...bound(store), get }),
      location: undefined,
    },
    { clock: store.clock, random: seededRandom(1), signal: controller.signal },
  );
  await expect(probing).rejects.toThrow('ended by SIGTERM');
  expect(store.keys()).toEqual([]);
  expect(store.log.at(-1)).toMatch(/^delete doctor\//);
});

function bound(store: SimulatedStore): ObjectStore {
  return {
    put: (key, body, options) => store.put(key, body, options),
    get: (key, options) => store.get(key, options),
    head: (key, options) => store.head(key, options),
    list: (prefix, options) => store.list(prefix, options),
    delete: (key, options) => store.delete(key, options),
  };
}
