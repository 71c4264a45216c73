import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type LocalTask,
  type OfferedEntry,
  objectToNewerLayout,
  type PlanTerms,
  planRestore,
  type TaskPlan,
} from './plan.ts';

const NOW_MS = 1_800_000_000_000;
const HOUR_MS = 3_600_000;

const TERMS: PlanTerms = {
  nowMs: NOW_MS,
  maxAgeMs: 23 * HOUR_MS,
  guarantee: 'at_least_once',
  layoutMax: 'column-family',
  selection: { kind: 'all' },
  bytesMax: 1000,
  objection: () => undefined,
};

function offer(fields: Partial<OfferedEntry> & { readonly at?: bigint } = {}): OfferedEntry {
  const { at = 100n, ...rest } = fields;
  return {
    task: '0_0',
    quality: 'clean',
    layout: 'file',
    stateTimeMs: NOW_MS - HOUR_MS,
    capturedAtMs: NOW_MS - HOUR_MS,
    capturedBy: '1799999999000-a-aaaa/1',
    sizeBytes: 100,
    epoch: '1799999999000-a-aaaa',
    n: 1,
    lives: false,
    offsets: new Map([['app-agg-changelog-0', at]]),
    ...rest,
  };
}

function local(fields: Partial<LocalTask> & { readonly at?: bigint } = {}): LocalTask {
  const { at = 100n, ...rest } = fields;
  return {
    task: '0_0',
    verdict: { kind: 'valid', quality: 'clean' },
    offsets: new Map([['app-agg-changelog-0', at]]),
    unfilled: new Set(),
    stateTimeMs: NOW_MS - HOUR_MS,
    sizeBytes: 100,
    taint: undefined,
    onTrial: undefined,
    quarantine: undefined,
    leftIn: 'file',
    ...rest,
  };
}

function short(plans: readonly TaskPlan[]): readonly string[] {
  return plans.map(({ task, kind, why }) => (why === undefined ? `${task} ${kind}` : `${task} ${kind} ${why.reason}`));
}

const refused = { kind: 'refused', why: { reason: 'unclean_restart', message: 'tainted' } } as const;

const lost = { reason: 'quarantined', message: 'lost twice' } as const;

const rotten = () => ({ reason: 'damaged', message: 'rotten' }) as const;

describe('one task', () => {
  test.each([
    ['nothing anywhere, but named', [], [], { selection: { kind: 'list', tasks: ['0_0'] } }, '0_0 cold nothing_stored'],
    ['offered only', [offer()], [], {}, '0_0 warm'],
    ['on the volume only', [], [local()], {}, '0_0 local'],
    ['in quarantine on the volume only', [], [local({ quarantine: lost })], {}, '0_0 cold quarantined'],
    [
      'in quarantine everywhere',
      [offer()],
      [local({ quarantine: lost })],
      { objection: () => lost },
      '0_0 cold quarantined',
    ],
    ['in quarantine on the volume, and captured since', [offer()], [local({ quarantine: lost })], {}, '0_0 warm'],
    [
      'in quarantine on the volume, and too large to be fetched',
      [offer({ sizeBytes: 1001 })],
      [local({ quarantine: lost })],
      {},
      '0_0 cold no_space',
    ],
    [
      'in quarantine on the volume, and not selected',
      [],
      [local({ quarantine: lost })],
      { selection: { kind: 'none' } },
      '0_0 local not_selected',
    ],
    ['as far on the volume', [offer()], [local()], {}, '0_0 local'],
    ['further on the volume', [offer()], [local({ at: 101n })], {}, '0_0 local'],
    ['further in the repository', [offer({ at: 101n })], [local()], {}, '0_0 warm'],
    ['refused on the volume, and offered', [offer()], [local({ at: 900n, verdict: refused })], {}, '0_0 warm'],
    ['refused on the volume, and nothing offered', [], [local({ verdict: refused })], {}, '0_0 cold unclean_restart'],
    [
      'refused on the volume, and what is offered is damaged',
      [offer()],
      [local({ verdict: refused })],
      { objection: rotten },
      '0_0 cold damaged',
    ],
    [
      'further in the repository, but damaged there',
      [offer({ at: 101n })],
      [local()],
      { objection: rotten },
      '0_0 local',
    ],
    [
      'further in the repository, but too large to be fetched',
      [offer({ at: 101n, sizeBytes: 1001 })],
      [local()],
      {},
      '0_0 local no_space',
    ],
    [
      'further on the volume, but only half filled',
      [offer({ offsets: new Map([...offer().offsets, ['app-win-changelog-0', 7n]]) })],
      [local({ at: 101n, unfilled: new Set(['app-win-changelog-0']), stateTimeMs: NOW_MS })],
      {},
      '0_0 warm',
    ],
    [
      'on the volume with other stores, and younger',
      [offer({ offsets: new Map([...offer().offsets, ['app-win-changelog-0', 7n]]) })],
      [local({ stateTimeMs: NOW_MS })],
      {},
      '0_0 local',
    ],
    ['too old', [offer({ stateTimeMs: NOW_MS - 24 * HOUR_MS })], [], {}, '0_0 cold too_old'],
    [
      'live, for an exactly-once application',
      [offer({ quality: 'live' })],
      [],
      { guarantee: 'exactly_once_v2' },
      '0_0 cold guarantee_unknown',
    ],
    [
      'live, for one that did not say',
      [offer({ quality: 'live' })],
      [],
      { guarantee: 'auto' },
      '0_0 cold guarantee_unknown',
    ],
    ['of a newer layout', [offer({ layout: 'column-family' })], [], { layoutMax: 'file' }, '0_0 cold layout_too_new'],
    ['larger than what may be', [offer({ sizeBytes: 1001 })], [], {}, '0_0 cold no_space'],
    ['not selected', [offer()], [], { selection: { kind: 'none' } }, '0_0 cold not_selected'],
    [
      'not selected, on the volume',
      [offer({ at: 900n })],
      [local()],
      { selection: { kind: 'none' } },
      '0_0 local not_selected',
    ],
    [
      'a younger one that may not be',
      [offer(), offer({ quality: 'live', stateTimeMs: NOW_MS })],
      [],
      { guarantee: 'auto' },
      '0_0 warm guarantee_unknown',
    ],
  ] as const)('%s', (_case, offers, locals, terms, expected) => {
    expect(short(planRestore(offers, locals, { ...TERMS, ...terms }))).toEqual([expected]);
  });
});

describe('what lies on the volume', () => {
  const newer = offer({ task: '0_1', layout: 'column-family' });
  test.each([
    ['in the file layout keeps a newer one out', [local()], '0_1 cold layout_too_new'],
    ['is of an application that wrote the newer one', [local({ leftIn: 'column-family' })], '0_1 warm'],
    ['was installed, and nobody has opened it', [local({ leftIn: undefined })], '0_1 warm'],
    [
      'in the file layout counts among others',
      [local({ leftIn: undefined }), local({ task: '1_0', leftIn: 'column-family' }), local({ task: '1_1' })],
      '0_1 cold layout_too_new',
    ],
    ['is nothing', [], '0_1 warm'],
  ] as const)('%s', (_case, locals, expected) => {
    const terms = { ...TERMS, objection: objectToNewerLayout(locals) };
    expect(short(planRestore([newer], locals, terms))).toContain(expected);
    const older = offer({ task: '0_1', at: 90n });
    const kept = expected === '0_1 warm' ? newer : older;
    expect(planRestore([newer, older], locals, terms)).toContainEqual(
      expect.objectContaining({ task: '0_1', kind: 'warm', offer: kept }),
    );
  });
});

test('tasks come in their order, and what still fits comes after what no longer does', () => {
  const offers = ['global', '0_10', '0_2', '1_0'].map((task) =>
    offer({ task, sizeBytes: task === '0_10' ? 900 : 300 }),
  );
  expect(short(planRestore(offers, [], TERMS))).toEqual(['0_2 warm', '0_10 cold no_space', '1_0 warm', 'global warm']);
});

test('law: every task is decided once, nothing that is too old, foreign or too large is installed', () => {
  const tasks = fc.constantFrom('0_0', '0_1', '1_0', 'global');
  const offers = fc.array(
    fc.record({
      task: tasks,
      at: fc.bigInt({ min: 0n, max: 3n }),
      quality: fc.constantFrom('clean' as const, 'live' as const),
      stateTimeMs: fc.integer({ min: NOW_MS - 30 * HOUR_MS, max: NOW_MS }),
      sizeBytes: fc.integer({ min: 0, max: 600 }),
      n: fc.integer({ min: 1, max: 9 }),
    }),
  );
  const locals = fc.uniqueArray(fc.record({ task: tasks, at: fc.bigInt({ min: 0n, max: 3n }), valid: fc.boolean() }), {
    selector: ({ task }) => task,
  });
  const guarantee = fc.constantFrom('at_least_once' as const, 'exactly_once_v2' as const, 'auto' as const);
  fc.assert(
    fc.property(offers, locals, guarantee, (given, here, under) => {
      const volume = here.map(({ valid, ...fields }) => local({ ...fields, ...(valid ? {} : { verdict: refused }) }));
      const plans = planRestore(given.map(offer), volume, { ...TERMS, guarantee: under });
      const all = new Set([...given, ...here].map(({ task }) => task));
      expect([plans.length, new Set(plans.map(({ task }) => task))]).toEqual([all.size, all]);
      const warm = plans.flatMap((plan) => (plan.kind === 'warm' ? [plan.offer] : []));
      expect(warm.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)).toBeLessThanOrEqual(TERMS.bytesMax);
      for (const { stateTimeMs, quality } of warm) {
        expect(NOW_MS - stateTimeMs).toBeLessThanOrEqual(TERMS.maxAgeMs);
        expect(quality === 'clean' || under === 'at_least_once').toBe(true);
      }
      for (const plan of plans) if (plan.kind === 'local') expect(plan.local.verdict.kind).toBe('valid');
    }),
    { numRuns: 300 },
  );
});

test('law: what is installed is further than the volume, the best there is, and not what was objected to', () => {
  const offers = fc.array(
    fc.record({
      at: fc.bigInt({ min: 0n, max: 4n }),
      stateTimeMs: fc.integer({ min: NOW_MS - 24 * HOUR_MS, max: NOW_MS }),
      n: fc.integer({ min: 1, max: 6 }),
      lives: fc.boolean(),
    }),
    { minLength: 1 },
  );
  const here = fc.option(fc.bigInt({ min: 0n, max: 4n }), { nil: undefined });
  fc.assert(
    fc.property(offers, here, fc.uniqueArray(fc.integer({ min: 1, max: 6 })), (given, at, rotten) => {
      const objection = ({ n }: OfferedEntry) =>
        rotten.includes(n) ? ({ reason: 'damaged', message: `${n} is rotten` } as const) : undefined;
      const terms = { ...TERMS, guarantee: 'exactly_once_v2', objection } as const;
      const all = given.map(offer);
      const [plan] = planRestore(all, at === undefined ? [] : [local({ at })], terms);
      const offsetOf = (one: Pick<OfferedEntry, 'offsets'>): bigint => one.offsets.get('app-agg-changelog-0') ?? -1n;
      const allowed = all.filter((one) => NOW_MS - one.stateTimeMs <= TERMS.maxAgeMs && objection(one) === undefined);
      const furthest = allowed.reduce((most, one) => (offsetOf(one) > most ? offsetOf(one) : most), -1n);
      const expected = furthest > (at ?? -1n) ? 'warm' : at === undefined ? 'cold' : 'local';
      expect(plan?.kind).toBe(expected);
      if (plan?.kind === 'warm') expect([offsetOf(plan.offer), objection(plan.offer)]).toEqual([furthest, undefined]);
    }),
    { numRuns: 300 },
  );
});
