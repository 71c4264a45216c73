import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { plainStore, SAMPLE_TIME_MS, sampleEntry, segmentedStore } from '../../test/support/sample-documents.ts';
import type { Explanation } from '../streams/reason.ts';
import { best, chooseCarried, hasProgressed, keepStateTime, type Offer, ranked, type Terms, whyNot } from './best.ts';

const MINUTE_MS = 60_000;
const NOW_MS = SAMPLE_TIME_MS;

const terms: Terms = {
  nowMs: NOW_MS,
  maxAgeMs: 60 * MINUTE_MS,
  guarantee: 'exactly_once_v2',
  layoutMax: 'column-family',
  objection: () => undefined,
};
const atLeastOnce: Terms = { ...terms, guarantee: 'at_least_once' };

/** An offer of state that is `ageMin` old. */
function offer(offsets: Record<string, number>, ageMin: number, change: Partial<Offer> = {}): Offer {
  return {
    quality: 'clean',
    layout: 'file',
    stateTimeMs: NOW_MS - ageMin * MINUTE_MS,
    offsets: new Map(Object.entries(offsets).map(([changelog, value]) => [changelog, BigInt(value)])),
    epoch: '1763854560123-orders-0-a1b2',
    n: 1,
    lives: true,
    ...change,
  };
}

describe('the best of several offers', () => {
  test('of none is none', () => {
    expect(best([], terms)).toBeUndefined();
  });

  test('is further everywhere, though it is older', () => {
    const [ahead, behind] = [offer({ a: 10, b: 10 }, 30), offer({ a: 10, b: 9 }, 1)];
    expect(best([behind, ahead], terms)).toBe(ahead);
  });

  test('is the younger where neither is further everywhere: offsets are never added up', () => {
    const [old, young] = [offer({ a: 1000, b: 1 }, 30), offer({ a: 2, b: 2 }, 1)];
    expect(best([old, young], terms)).toBe(young);
  });

  test('is the younger where the changelogs differ, whichever has more of them', () => {
    const [old, young] = [offer({ a: 1000, b: 1 }, 30), offer({ a: 2 }, 1)];
    expect(best([old, young], terms)).toBe(young);
    const grown = offer({ a: 2, b: 2 }, 1);
    expect(best([offer({ a: 1000 }, 30), grown], terms)).toBe(grown);
    const renamed = offer({ a: 2, c: 2 }, 1);
    expect(best([old, renamed], terms)).toBe(renamed);
  });

  test('is the owner that was closed together with a standby which had not begun one of its stores', () => {
    const [owner, standby] = [offer({ a: 1000, b: 1 }, 6), offer({ a: 1000 }, 1)];
    expect(best([standby, owner], terms)).toBe(owner);
    expect(best([offer({ a: 1001 }, 1), owner], terms)).not.toBe(owner);
    expect(best([standby, offer({ a: 1000, b: 1 }, 6 + 1 / MINUTE_MS)], terms)).toBe(standby);
    expect(best([standby, { ...owner, lives: false }], terms)).toBe(standby);
    expect(
      best(
        [
          { ...standby, lives: false },
          { ...owner, lives: false },
        ],
        terms,
      ),
    ).toEqual({ ...owner, lives: false });
  });

  test('of one age is the one of the better quality, then the one of the newer document', () => {
    const live = offer({ a: 1 }, 1, { quality: 'live' });
    const transactional = offer({ a: 1 }, 1, { quality: 'transactional' });
    const clean = offer({ a: 1 }, 1);
    expect([...ranked([live, transactional, clean], atLeastOnce)]).toEqual([clean, transactional, live]);

    const second = offer({ a: 1 }, 1, { n: 2 });
    const tenth = offer({ a: 1 }, 1, { n: 10 });
    const newer = offer({ a: 1 }, 1, { epoch: '1763854560124-a-a1b2' });
    expect([...ranked([second, newer, tenth], terms)]).toEqual([newer, tenth, second]);
  });

  test('is one that may be restored now, or the best of all where none may', () => {
    const [stale, fresh] = [offer({ a: 100 }, 61), offer({ a: 1 }, 59)];
    expect(best([stale, fresh], terms)).toBe(fresh);
    expect(best([stale, offer({ a: 50 }, 70)], terms)).toBe(stale);
  });
});

describe('an offer of a dead epoch, at-least-once,', () => {
  const living = offer({ a: 1040 }, 10, { epoch: '1763854560123-orders-1-a1b2' });
  const dead = (ageMin: number): Offer => offer({ a: 1050 }, ageMin, { lives: false });

  test('steps back behind a living one that is at most five minutes older, though it is further', () => {
    expect(best([dead(5), living], atLeastOnce)).toBe(living);
    expect(best([dead(12), living], atLeastOnce)).toBe(living);
  });

  test('comes first where the living one is older still', () => {
    const ahead = dead(5 - 1 / MINUTE_MS);
    expect(best([ahead, living], atLeastOnce)).toBe(ahead);
  });

  test('comes first where the living one has other changelogs, or may not be restored', () => {
    const ahead = dead(6);
    const other = offer({ b: 1 }, 10, { epoch: living.epoch });
    expect(best([ahead, other], atLeastOnce)).toBe(ahead);
    const objection: Terms['objection'] = (each) => (each === living ? { reason: 'damaged', message: '' } : undefined);
    expect(best([ahead, living], { ...atLeastOnce, objection })).toBe(ahead);
  });

  test('steps back too where nobody says which guarantee it is, but not under exactly-once, which fences producers', () => {
    expect(best([dead(6), living], { ...terms, guarantee: 'auto' })).toBe(living);
    const ahead = dead(6);
    expect(best([ahead, living], terms)).toBe(ahead);
  });
});

function damagedSeventh({ n }: Offer): Explanation | undefined {
  return n === 7 ? { reason: 'damaged', message: 'x is rotten' } : undefined;
}

describe('why an offer may not be restored', () => {
  test('is told by a code and a sentence with the values', () => {
    const limited: Terms = { ...terms, layoutMax: 'file', objection: damagedSeventh };
    expect(
      [
        offer({ a: 1 }, 60),
        offer({ a: 1 }, -60),
        offer({ a: 1 }, 61),
        offer({ a: 1 }, 1, { quality: 'live' }),
        offer({ a: 1 }, 1, { quality: 'transactional' }),
        offer({ a: 1 }, 1, { layout: 'column-family' }),
        offer({ a: 1 }, 61, { n: 7 }),
      ].map((each) => whyNot(each, limited)),
    ).toEqual([
      undefined,
      undefined,
      { reason: 'too_old', message: 'its state is 1h1m old, at most 1h is allowed' },
      {
        reason: 'guarantee_unknown',
        message: 'it was captured live, which is allowed under at_least_once alone, not under exactly_once_v2',
      },
      undefined,
      { reason: 'layout_too_new', message: 'its layout is column-family, at most file is allowed' },
      { reason: 'damaged', message: 'x is rotten' },
    ]);
    expect(whyNot(offer({ a: 1 }, 1, { quality: 'live' }), { ...terms, guarantee: 'auto' })?.reason).toBe(
      'guarantee_unknown',
    );
    expect(whyNot(offer({ a: 1 }, 1, { quality: 'live' }), atLeastOnce)).toBeUndefined();
  });

  test('is no age where brokers say that nothing was written since (A4)', () => {
    const isCurrent = ({ offsets }: Offer): boolean => offsets.get('a') === 9n;
    const told = [offer({ a: 9 }, 61), offer({ a: 8 }, 61)].map(
      (each) => whyNot(each, { ...terms, isCurrent })?.reason,
    );
    expect(told).toEqual([undefined, 'too_old']);
  });
});

const atLeastAsFar = (one: Offer, other: Offer): boolean =>
  one.offsets.size === other.offsets.size &&
  [...one.offsets].every(([changelog, value]) => value >= (other.offsets.get(changelog) ?? 99n));
const isFurther = (one: Offer, other: Offer): boolean => atLeastAsFar(one, other) && !atLeastAsFar(other, one);
const admissible = (offers: readonly Offer[], under: Terms): readonly Offer[] =>
  offers.filter((each) => whyNot(each, under) === undefined);

describe('law:', () => {
  const anyOffsets = fc.oneof(
    fc.record({ a: fc.nat({ max: 4 }), b: fc.nat({ max: 4 }) }),
    fc.record({ a: fc.nat({ max: 4 }) }),
    fc.record({ a: fc.nat({ max: 4 }), c: fc.nat({ max: 4 }) }),
  );
  const anyOffer = fc
    .record({
      offsets: anyOffsets,
      ageMin: fc.nat({ max: 20 }).map((value) => value * 4),
      quality: fc.constantFrom('clean', 'live', 'transactional'),
      layout: fc.constantFrom('file', 'column-family'),
      lives: fc.boolean(),
    } as const)
    .map(({ offsets, ageMin, ...rest }) => offer(offsets, ageMin, rest));
  /** Of different documents, as they are in a repository. */
  const anyOffers = fc.array(anyOffer, { maxLength: 7 }).map((offers) => offers.map((each, n) => ({ ...each, n })));
  const anyTerms = fc
    .record({
      guarantee: fc.constantFrom('at_least_once', 'exactly_once_v2', 'auto'),
      layoutMax: fc.constantFrom('file', 'column-family'),
    } as const)
    .map((change): Terms => ({ ...terms, ...change }));
  const runs = { numRuns: 2000 };

  test('the order of the offers does not matter', () => {
    const shuffled = anyOffers.chain((offers) =>
      fc.tuple(fc.constant(offers), fc.shuffledSubarray(offers, { minLength: offers.length })),
    );
    fc.assert(
      fc.property(shuffled, anyTerms, ([offers, others], under) => {
        expect(best(others, under)).toBe(best(offers, under));
        expect([...ranked(others, under)]).toEqual([...ranked(offers, under)]);
      }),
      runs,
    );
  });

  test('there is a best of any offers, and it may be restored if any of them may', () => {
    fc.assert(
      fc.property(anyOffers, anyTerms, (offers, under) => {
        const allowed = admissible(offers, under);
        expect(allowed.length > 0 ? allowed : offers.length > 0 ? offers : [undefined]).toContain(best(offers, under));
      }),
      runs,
    );
  });

  test('the best is never behind another, but for a dead epoch that a living one holds back', () => {
    fc.assert(
      fc.property(anyOffers, anyTerms, (offers, under) => {
        const chosen = best(admissible(offers, under), under);
        if (chosen === undefined) return;
        const further = admissible(offers, under).filter((each) => isFurther(each, chosen));
        expect(under.guarantee === 'exactly_once_v2' ? further : further.filter((each) => each.lives)).toEqual([]);
      }),
      runs,
    );
  });

  test('an offer that is worse changes nothing', () => {
    fc.assert(
      fc.property(anyOffers, anyOffer, anyTerms, (offers, extra, under) => {
        const chosen = best(offers, under);
        const worse = { ...extra, n: 99, lives: chosen?.lives === true && extra.lives };
        const isWorse =
          chosen !== undefined &&
          whyNot(chosen, under) === undefined &&
          (whyNot(worse, under) !== undefined || isFurther(chosen, worse));
        fc.pre(isWorse);
        expect(best([...offers, worse], under)).toBe(chosen);
      }),
      { numRuns: 1000 },
    );
  });

  test('the next best is the best without the best', () => {
    fc.assert(
      fc.property(anyOffers, anyTerms, (offers, under) => {
        const order = [...ranked(offers, under)];
        expect(new Set(order)).toEqual(new Set(admissible(offers, under)));
        for (const [index, each] of order.entries()) {
          const left = admissible(offers, under).filter((one) => !order.slice(0, index).includes(one));
          expect(best(left, under)).toBe(each);
        }
      }),
      { numRuns: 500 },
    );
  });

  test('of one thousand offers the best is found without holding each against each', () => {
    let looks = 0;
    const offers = Array.from({ length: 1000 }, (_, n) => {
      const one = offer({ a: n, b: 1000 - n, c: n % 7 }, n % 50, { n, lives: n % 2 === 0 });
      const { offsets } = one;
      return Object.defineProperty(one, 'offsets', { get: () => (looks += 1) && offsets });
    });
    expect(best(offers, atLeastOnce)?.n).toBe(950);
    expect(looks).toBeLessThan(5 * offers.length);
  });
});

describe('a task that was captured again', () => {
  const previous = sampleEntry({ offsets: new Map([['a', 10n]]), stateTimeMs: NOW_MS - 50 * MINUTE_MS });
  const captured = { ...previous, stateTimeMs: NOW_MS - MINUTE_MS, capturedBy: '1763854560123-orders-0-a1b2/13' };

  test('keeps its files where it made no progress', () => {
    expect(chooseCarried(previous, captured, terms)).toBe(previous);
    expect(chooseCarried(previous, { ...captured, quality: 'live' }, atLeastOnce)).toBe(previous);
  });

  test('gets new files of a better quality, but no younger state time, where it made no progress (A2)', () => {
    const live = { ...previous, quality: 'live' } as const;
    expect(chooseCarried(live, captured, atLeastOnce)).toEqual({ ...captured, stateTimeMs: previous.stateTimeMs });
  });

  test('keeps what is further, and takes what is further', () => {
    const ahead = { ...captured, offsets: new Map([['a', 11n]]) };
    const behind = { ...captured, offsets: new Map([['a', 9n]]) };
    expect(chooseCarried(previous, ahead, terms)).toBe(ahead);
    expect(chooseCarried(previous, behind, terms)).toBe(previous);
  });

  test('is taken as it is where what was kept may not be restored any more', () => {
    const behind = { ...captured, offsets: new Map([['a', 9n]]) };
    const old = { ...previous, stateTimeMs: NOW_MS - 61 * MINUTE_MS };
    expect(chooseCarried(old, behind, terms)).toBe(behind);
  });

  test('is taken as it is where its stores or changelogs changed', () => {
    const fewer = { ...captured, stores: [plainStore('0_3')] };
    const others = { ...captured, stores: [plainStore('0_3', 'new'), segmentedStore('0_3')] };
    const renamed = { ...captured, offsets: new Map([['b', 1n]]) };
    for (const changed of [fewer, others, renamed]) expect(chooseCarried(previous, changed, terms)).toBe(changed);
  });
});

const over = (stateTimeMs: number, offset = 10n): Pick<Offer, 'offsets' | 'stateTimeMs'> => ({
  stateTimeMs,
  offsets: new Map([['a', offset]]),
});

test('a capture without progress keeps the older state time, whichever of the two it is (A2)', () => {
  const captured = sampleEntry({ offsets: new Map([['a', 10n]]), stateTimeMs: 1000 });
  expect(keepStateTime(captured, over(900)).stateTimeMs).toBe(900);
  expect(keepStateTime(captured, over(1100)).stateTimeMs).toBe(1000);
  expect(keepStateTime(captured, over(900, 9n)).stateTimeMs).toBe(1000);
});

test.each([
  ['the same', { a: 10n, b: 5n }, false],
  ['of fewer stores', { a: 10n }, false],
  ['of fewer stores, one of which moved', { b: 6n }, true],
  ['thrown back', { a: 10n, b: 4n }, true],
  ['of another store as well', { a: 10n, b: 5n, c: 0n }, true],
])('progress, where offsets stood at a:10 and b:5: %s', (_name, offsets, expected) => {
  const of = (changelogs: Record<string, bigint>) => ({ offsets: new Map(Object.entries(changelogs)) });
  expect(hasProgressed(of(offsets), of({ a: 10n, b: 5n }))).toBe(expected);
});
