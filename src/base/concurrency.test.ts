import { setImmediate as turn } from 'node:timers/promises';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ManualClock } from '../../test/support/manual-clock.ts';
import { allDone, Budget, mapBounded, type Reservation, type RetryPolicy, retry } from './concurrency.ts';

const NEVER = new AbortController().signal;

describe('mapBounded', () => {
  test('gives the results in the order of the items, and never works on more than the limit', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 12 }),
        fc.integer({ min: 1, max: 15 }),
        async (turns, limit) => {
          let working = 0;
          let most = 0;
          const results = await mapBounded(turns.entries(), { limit, signal: NEVER }, async ([index, count]) => {
            working += 1;
            most = Math.max(most, working);
            for (let i = 0; i < count; i++) await turn();
            working -= 1;
            return index;
          });
          expect(results).toEqual([...turns.keys()]);
          expect(most).toBe(Math.min(limit, turns.length));
        },
      ),
      { numRuns: 50 },
    );
  });

  test('refuses a limit under which nothing would be done', async () => {
    await expect(mapBounded([1], { limit: 0, signal: NEVER }, async () => 1)).rejects.toThrow('limit of 0');
  });

  test('throws the first failure, stops the others, and leaves none behind', async () => {
    const begun: number[] = [];
    const ended: number[] = [];
    const work = async (item: number, signal: AbortSignal): Promise<void> => {
      begun.push(item);
      if (item === 1) throw new Error('first');
      await untilAborted(signal);
      await turn();
      ended.push(item);
      throw new Error('later');
    };
    await expect(mapBounded([0, 1, 2, 3], { limit: 3, signal: NEVER }, work)).rejects.toThrow('first');
    expect({ begun, ended }).toEqual({ begun: [0, 1, 2], ended: [0, 2] });
  });

  test('ends with the reason of its signal, after its work', async () => {
    const controller = new AbortController();
    let ended = 0;
    const running = mapBounded([1, 2, 3], { limit: 2, signal: controller.signal }, async (_item, signal) => {
      await untilAborted(signal);
      ended += 1;
    });
    controller.abort(new Error('enough'));
    await expect(running).rejects.toThrow('enough');
    expect(ended).toBe(2);
  });

  test('does nothing under a signal that was aborted before', async () => {
    const begun: number[] = [];
    const signal = AbortSignal.abort(new Error('enough'));
    const work = async (item: number): Promise<void> => void begun.push(item);
    await expect(mapBounded([1, 2], { limit: 2, signal }, work)).rejects.toThrow('enough');
    await expect(mapBounded([], { limit: 2, signal }, work)).rejects.toThrow('enough');
    expect(begun).toEqual([]);
  });
});

describe('allDone', () => {
  test('waits for all, then throws the first failure in their order', async () => {
    let isDone = false;
    const slow = async (): Promise<void> => {
      for (let turns = 0; turns < 20; turns++) await turn();
      isDone = true;
      throw new Error('slow');
    };
    const quick = Promise.reject(new Error('quick'));
    await expect(allDone([slow(), quick])).rejects.toThrow('slow');
    expect(isDone).toBe(true);
    isDone = false;
    await expect(allDone([quick, slow()])).rejects.toThrow('quick');
    expect(isDone).toBe(true);
    expect(await allDone([Promise.resolve()])).toBeUndefined();
  });
});

describe('retry', () => {
  const policy: RetryPolicy = { triesMax: 6, firstDelayMs: 100, delayMsMax: 500 };

  test('waits longer each time, up to the greatest delay, and then throws the last error', async () => {
    const { world, clock } = worldOf({ fraction: 1 });
    const startsMs: number[] = [];
    const failing = async (attempt: number): Promise<never> => {
      startsMs.push(clock.monotonicMs());
      throw new Error(`attempt ${attempt}`);
    };
    await expect(retry(failing, policy, world)).rejects.toThrow('attempt 6');
    expect(startsMs).toEqual([0, 100, 300, 700, 1_200, 1_700]);
  });

  test('waits any part of that, by chance', async () => {
    const { world, clock } = worldOf({ fraction: 0.25 });
    const result = await retry(async (attempt) => (attempt < 3 ? fail('again') : attempt), policy, world);
    expect([result, clock.monotonicMs()]).toEqual([3, 75]);
  });

  test('does not repeat what will not pass', async () => {
    const { world, clock } = worldOf({ fraction: 1 });
    await expect(retry(async () => fail('for good'), policy, world)).rejects.toThrow('for good');
    expect(clock.monotonicMs()).toBe(0);
  });

  test('is over as soon as its signal says so, while it waits', async () => {
    const controller = new AbortController();
    const clock = new ManualClock();
    const { world } = worldOf({ fraction: 1 });
    let attempts = 0;
    const failing = async (): Promise<never> => {
      attempts += 1;
      return fail('again');
    };
    const running = retry(failing, policy, { ...world, clock, signal: controller.signal });
    await turn();
    controller.abort(new Error('enough'));
    await expect(running).rejects.toThrow('enough');
    expect(attempts).toBe(1);
  });

  test('does not begin to wait under a signal that was aborted during the work', async () => {
    const controller = new AbortController();
    const { world, clock } = worldOf({ fraction: 1 });
    const failing = async (): Promise<never> => {
      controller.abort(new Error('enough'));
      return fail('again');
    };
    await expect(retry(failing, policy, { ...world, signal: controller.signal })).rejects.toThrow('again');
    expect(clock.monotonicMs()).toBe(0);
  });
});

describe('a budget', () => {
  test('lets in as many as it has room for, the others in the order in which they came', async () => {
    const budget = new Budget(10);
    const first = await budget.acquire(6, NEVER);
    const log: string[] = [];
    const waiting = ['second 8', 'third 2', 'fourth 2'].map(async (name) => {
      const reservation = await budget.acquire(Number(name.split(' ')[1]), NEVER);
      log.push(name);
      return reservation;
    });
    await turn();
    expect(log).toEqual([]);
    first.shrinkTo(2);
    await turn();
    expect(log).toEqual(['second 8']);
    first[Symbol.dispose]();
    await turn();
    expect(log).toEqual(['second 8', 'third 2']);
    (await waiting[0])?.[Symbol.dispose]();
    await turn();
    expect(log).toEqual(['second 8', 'third 2', 'fourth 2']);
  });

  test('gives all it has for what is larger', async () => {
    const budget = new Budget(10);
    const all = await budget.acquire(1_000, NEVER);
    const next = budget.acquire(1, NEVER);
    all.shrinkTo(10);
    expect(await isSettled(next)).toBe(false);
    all.shrinkTo(9);
    expect(await isSettled(next)).toBe(true);
  });

  test('takes nothing back twice, and never gives more for a growing wish', async () => {
    const budget = new Budget(10);
    const reservation = await budget.acquire(4, NEVER);
    reservation.shrinkTo(8);
    const rest = await budget.acquire(6, NEVER);
    for (const one of [reservation, reservation, rest]) one[Symbol.dispose]();
    const all = await budget.acquire(10, NEVER);
    expect(await isSettled(budget.acquire(1, NEVER))).toBe(false);
    all[Symbol.dispose]();
  });

  test('forgets who no longer waits, and lets in whom that one kept out', async () => {
    const budget = new Budget(10);
    await budget.acquire(6, NEVER);
    const controller = new AbortController();
    const large = budget.acquire(8, controller.signal);
    const small = budget.acquire(4, NEVER);
    expect(await isSettled(small)).toBe(false);
    controller.abort(new Error('enough'));
    await expect(large).rejects.toThrow('enough');
    expect(await isSettled(small)).toBe(true);
  });

  test('refuses at once under an aborted signal', async () => {
    const budget = new Budget(10);
    await expect(budget.acquire(1, AbortSignal.abort(new Error('enough')))).rejects.toThrow('enough');
    expect(await isSettled(budget.acquire(10, NEVER))).toBe(true);
  });

  test('never hands out more than it has, and at the end has all of it again', async () => {
    const step = fc.record({
      act: fc.constantFrom('acquire', 'shrink', 'dispose', 'abort'),
      amount: fc.nat(12),
      which: fc.nat(5),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
        const budget = new Budget(10);
        const held: { amount: number; readonly reservation: Reservation }[] = [];
        const waiting: { readonly controller: AbortController; readonly ended: Promise<void> }[] = [];
        for (const { act, amount, which } of steps) {
          const one = held[which];
          if (act === 'acquire') {
            const controller = new AbortController();
            const needed = Math.min(amount, 10);
            const ended = budget.acquire(amount, controller.signal).then(
              (reservation) => void held.push({ amount: needed, reservation }),
              () => undefined,
            );
            waiting.push({ controller, ended });
          } else if (act === 'abort') {
            waiting[which]?.controller.abort();
          } else if (one !== undefined) {
            const left = act === 'dispose' ? 0 : Math.min(one.amount, amount);
            one.reservation.shrinkTo(left);
            one.amount = left;
          }
          await turn();
          expect(held.reduce((sum, { amount: part }) => sum + part, 0)).toBeLessThanOrEqual(10);
        }
        for (const { controller } of waiting) controller.abort();
        await Promise.all(waiting.map(({ ended }) => ended));
        for (const { reservation } of held) reservation[Symbol.dispose]();
        expect(await isSettled(budget.acquire(10, NEVER))).toBe(true);
      }),
      { numRuns: 100 },
    );
  });
});

function worldOf(chance: { readonly fraction: number }): {
  readonly clock: ManualClock;
  readonly world: Parameters<typeof retry>[2];
} {
  const clock = new ManualClock({ sleepsPass: true });
  const random = { fraction: () => chance.fraction, token: () => '' };
  return { clock, world: { clock, random, signal: NEVER, isTransient } };
}

function isTransient(error: unknown): boolean {
  return error instanceof Error && error.message !== 'for good';
}

function fail(message: string): never {
  throw new Error(message);
}

async function untilAborted(signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  signal.addEventListener('abort', () => resolve(), { once: true });
  if (!signal.aborted) await promise;
}

async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  void promise.then(
    () => (settled = true),
    () => (settled = true),
  );
  await turn();
  return settled;
}
