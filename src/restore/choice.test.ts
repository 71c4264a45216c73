import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compareEpochs, parseEpoch } from '../repository/keys.ts';
import type { Claim } from '../repository/record.ts';
import { type Chooser, chooseNext, explainLeft } from './choice.ts';
import type { Life, Scene } from './scene.ts';
import { fairShare } from './share.ts';

const NOW_MS = 1_800_000_000_000;
const MINUTE_MS = 60_000;

/** `run a 10`: began ten minutes ago. */
function epoch(instance: string, agoMinutes: number): string {
  return `${NOW_MS - agoMinutes * MINUTE_MS}-${instance}-aaaa`;
}

type Facts = Partial<Omit<Life, 'epoch' | 'tasks'>> & { readonly ago?: number; readonly tasks?: string };

/** `tasks` is `0_0 0_1@200`: offset 100 where none is given. */
function life(instance: string, { ago = 60, tasks = '', ...facts }: Facts = {}): Life {
  return {
    epoch: epoch(instance, ago),
    role: 'run',
    state: 'gone',
    silentMs: 10 * MINUTE_MS,
    after: undefined,
    appVersion: undefined,
    claims: [],
    tasks: tasks
      .split(' ')
      .filter((text) => text !== '')
      .map((text) => {
        const [task = '', offset = '100'] = text.split('@');
        return { task, offsets: new Map([['app-agg-changelog-0', BigInt(offset)]]) };
      }),
    ...facts,
  };
}

const gone = (instance: string, tasks: string, facts: Facts = {}): Life => life(instance, { tasks, ...facts });
const alive = (instance: string, tasks: string, facts: Facts = {}): Life =>
  life(instance, { tasks, state: 'alive', silentMs: 30_000, ...facts });

/** A restore that claims: `adopted a:60`, or `settled a:60` where it is in place. */
function restoring(instance: string, claims: readonly string[], facts: Facts = {}): Life {
  return life(instance, {
    ago: 1,
    role: 'restore',
    state: 'alive',
    silentMs: 1000,
    claims: claims.map((text) => claim(text)),
    ...facts,
  });
}

function claim(text: string): Claim {
  const [word = '', of = ''] = text.split(' ');
  const [instance = '', ago = '60'] = of.split(':');
  const kind = word === 'own' || word === 'copied' ? word : 'adopted';
  return { epoch: epoch(instance, Number(ago)), kind, isSettled: word === 'settled' };
}

function scene(lives: readonly Life[]): Scene {
  const sorted = lives.toSorted((left, right) => compareEpochs(left.epoch, right.epoch));
  const bestOf = new Map<string, { readonly epoch: string; readonly offsets: ReadonlyMap<string, bigint> }>();
  const far = (offsets: ReadonlyMap<string, bigint> | undefined): bigint => offsets?.get('app-agg-changelog-0') ?? 0n;
  for (const { epoch, tasks } of sorted) {
    for (const { task, offsets } of tasks) {
      if (far(offsets) >= far(bestOf.get(task)?.offsets)) bestOf.set(task, { epoch, offsets });
    }
  }
  return { nowMs: NOW_MS, lives: sorted, bestOf };
}

function chooser(fields: Partial<Chooser> & { readonly ago?: number } = {}): Chooser {
  const { ago = 0, ...rest } = fields;
  const instance = rest.instance ?? 'me';
  return {
    epoch: epoch(instance, ago),
    instance,
    appVersion: undefined,
    claims: [],
    futile: [],
    present: [],
    replicas: undefined,
    ...rest,
  };
}

/** `adopted a,b: 0_0 0_1` */
function chosen(lives: readonly Life[], me: Chooser = chooser()): string {
  const choice = chooseNext(scene(lives), me);
  if (choice === undefined) return 'nothing';
  const of = choice.epochs.map((each) => parseEpoch(each)?.instance).join(',');
  return `${choice.kind} ${of}: ${choice.tasks.toSorted().join(' ')}${choice.isFinishing ? ', finishing' : ''}`;
}

describe('who has nothing yet', () => {
  test.each<[string, readonly Life[], Partial<Chooser> & { readonly ago?: number }, string]>([
    ['finds nothing where nothing is', [], {}, 'nothing'],
    ['goes on under its own name', [gone('me', '0_0'), gone('a', '0_1')], {}, 'own me: 0_0'],
    [
      'goes on under its own name with the newest that had tasks',
      [gone('me', '0_0 0_1', { ago: 90 }), gone('me', '0_0', { ago: 60 }), gone('me', '', { ago: 30 })],
      {},
      'own me: 0_0',
    ],
    [
      'goes on with what its own restore before had claimed',
      [gone('a', '0_0'), restoring('me', ['adopted a'], { state: 'gone' })],
      {},
      'own a: 0_0',
    ],
    [
      'keeps its own though somebody else adopted it',
      [gone('me', '0_0'), restoring('b', ['settled me'])],
      {},
      'own me: 0_0',
    ],
    ['takes the global stores for nobody’s', [gone('a', 'global')], {}, 'nothing'],
    ['adopts whom nobody replaces', [gone('a', '0_0'), alive('b', '0_1')], {}, 'adopted a: 0_0'],
    ['adopts all that it held', [gone('a', '0_0 0_1'), alive('b', '0_1')], {}, 'adopted a: 0_0 0_1'],
    [
      'adopts nobody whose tasks the living have, as far or further',
      [gone('a', '0_0 0_1'), alive('b', '0_0@100 0_1@200')],
      {},
      'copied b: 0_0 0_1',
    ],
    ['adopts what the living have begun to fill', [gone('a', '0_0'), alive('b', '0_0@99 0_1')], {}, 'adopted a: 0_0'],
    [
      'adopts what one who lives let go of and nobody took',
      [gone('a', '0_0 0_1', { ago: 90 }), gone('a', '0_0', { ago: 60 }), alive('b', '0_0')],
      {},
      'adopted a: 0_0 0_1',
    ],
    ['adopts the later one of two who had it', [gone('a', '0_0', { ago: 90 }), gone('b', '0_0')], {}, 'adopted b: 0_0'],
    [
      'adopts nobody who is claimed',
      [gone('a', '0_0'), gone('b', '0_1'), restoring('c', ['adopted a'])],
      {},
      'adopted b: 0_1',
    ],
    [
      'adopts nobody who is claimed by a restore that has ended well a moment ago',
      [gone('a', '0_0'), gone('b', '0_1'), restoring('c', ['settled a'], { state: 'gone' })],
      {},
      'adopted b: 0_1',
    ],
    [
      'adopts again what a restore claimed that died',
      [gone('a', '0_0'), restoring('c', ['adopted a'], { silentMs: 4 * MINUTE_MS, state: 'gone' })],
      {},
      'adopted a: 0_0',
    ],
    [
      'adopts again what a restore had in place whose pod never came to run',
      [gone('a', '0_0'), restoring('c', ['settled a'], { silentMs: 4 * MINUTE_MS, state: 'gone' })],
      {},
      'adopted a: 0_0',
    ],
    [
      'adopts again what a restore had announced that ended without it',
      [
        gone('a', '0_0'),
        restoring('c', ['adopted a', 'own c'], { ago: 30, silentMs: 29 * MINUTE_MS, state: 'gone' }),
        alive('c', '', { ago: 29, after: epoch('c', 30) }),
      ],
      {},
      'adopted a: 0_0',
    ],
    [
      'adopts nobody whose heir runs and has not published yet',
      [
        gone('a', '0_0'),
        restoring('c', ['settled a'], { ago: 30, silentMs: 29 * MINUTE_MS, state: 'gone' }),
        alive('c', '', { ago: 29, after: epoch('c', 30) }),
      ],
      {},
      'copied a: 0_0',
    ],
    [
      'adopts what is left of who was adopted, once the heir has published and has not all of it',
      [
        gone('a', '0_0 0_1'),
        restoring('c', ['settled a'], { ago: 30, silentMs: 29 * MINUTE_MS, state: 'gone' }),
        alive('c', '0_0@200', { ago: 29, after: epoch('c', 30) }),
      ],
      {},
      'adopted a: 0_0 0_1',
    ],
    [
      'adopts the heir who published and died, not whom it had adopted',
      [
        gone('a', '0_0'),
        restoring('c', ['settled a'], { ago: 30, silentMs: 29 * MINUTE_MS, state: 'gone' }),
        gone('c', '0_0', { ago: 29, after: epoch('c', 30) }),
      ],
      {},
      'adopted c: 0_0',
    ],
    [
      'adopts whom an heir adopted that died before it published',
      [
        gone('a', '0_0'),
        restoring('c', ['settled a'], { ago: 30, silentMs: 29 * MINUTE_MS, state: 'gone' }),
        gone('c', '', { ago: 29, after: epoch('c', 30) }),
      ],
      {},
      'adopted a: 0_0',
    ],
    [
      'adopts who is finishing, after those who are gone',
      [alive('a', '0_0', { state: 'finishing' }), gone('b', '0_1'), restoring('c', ['adopted b'])],
      {},
      'adopted a: 0_0, finishing',
    ],
    [
      'leaves who is finishing while there are those who are gone',
      [alive('a', '0_0', { state: 'finishing' }), gone('b', '0_1')],
      {},
      'adopted b: 0_1',
    ],
    [
      'copies the longest silent of the living',
      [alive('a', '0_0 0_1', { silentMs: 20_000 }), alive('b', '0_2', { silentMs: 50_000 })],
      {},
      'copied b: 0_2',
    ],
    [
      'copies the one with most of two that are as silent',
      [alive('a', '0_0'), alive('b', '0_1 0_2'), alive('c', '0_3')],
      {},
      'copied b: 0_1 0_2',
    ],
    [
      'copies one of another version first: these are about to go',
      [
        alive('a', '0_0 0_1', { after: epoch('a', 61) }),
        life('a', { role: 'restore', ago: 61, appVersion: 'new', silentMs: 60 * MINUTE_MS }),
        alive('b', '0_2', { after: epoch('b', 61) }),
        life('b', { role: 'restore', ago: 61, appVersion: 'old', silentMs: 60 * MINUTE_MS }),
      ],
      { appVersion: 'new' },
      'copied b: 0_2',
    ],
    [
      'copies nobody who is copied while there are others',
      [alive('a', '0_0 0_1'), alive('b', '0_2'), restoring('c', ['copied a'])],
      {},
      'copied b: 0_2',
    ],
    [
      'copies what was adopted a moment ago where nobody else is there',
      [gone('a', '0_0'), restoring('c', ['settled a'])],
      {},
      'copied a: 0_0',
    ],
    [
      'copies what is about to be adopted where nothing else is there',
      [gone('a', '0_0'), restoring('c', ['adopted a'])],
      {},
      'copied a: 0_0',
    ],
    [
      'passes over who is gone where nothing of that could be restored',
      [gone('a', '0_0'), gone('b', '0_1')],
      { futile: [epoch('a', 60)] },
      'adopted b: 0_1',
    ],
    [
      'passes over who lives where nothing of that could be restored',
      [alive('a', '0_0 0_1'), alive('b', '0_2')],
      { futile: [epoch('a', 60)] },
      'copied b: 0_2',
    ],
    ['takes a volume with tasks for its own', [gone('a', '0_0'), alive('b', '0_1')], { present: ['0_0'] }, 'nothing'],
  ])('%s', (_, lives, me, expected) => {
    expect(chosen(lives, chooser(me))).toBe(expected);
  });

  test('begins in another place than others', () => {
    const lives = Array.from({ length: 20 }, (_, n) => gone(`pod-${n}`, `0_${n}`));
    const firsts = Array.from({ length: 20 }, (_, n) => chosen(lives, chooser({ instance: `new-${n}` })));
    expect(new Set(firsts).size).toBeGreaterThan(8);
  });
});

describe('what was announced', () => {
  const two = [gone('a', '0_0'), gone('b', '0_1')];

  test.each<[string, readonly Life[], readonly string[], string]>([
    ['stands where nobody wants it', two, ['adopted a'], 'adopted a: 0_0'],
    [
      'stands against a later epoch',
      [...two, restoring('z', ['adopted a'], { ago: 0.5 })],
      ['adopted a'],
      'adopted a: 0_0',
    ],
    ['yields to a smaller epoch', [...two, restoring('z', ['adopted a'], { ago: 2 })], ['adopted a'], 'adopted b: 0_1'],
    [
      'yields to a later one that has it in place',
      [...two, restoring('z', ['settled a'], { ago: 0.5 })],
      ['adopted a'],
      'adopted b: 0_1',
    ],
    ['yields to whose it was', [...two, restoring('a', ['own a'], { ago: 0.5 })], ['adopted a'], 'adopted b: 0_1'],
    [
      'is no more to be had where a smaller epoch is about to choose it, having lost its own',
      [
        gone('a', '0_0'),
        gone('b', '0_1'),
        gone('c', '0_2'),
        restoring('x', ['adopted a'], { ago: 3 }),
        restoring('y', ['adopted a'], { ago: 2 }),
      ],
      ['adopted a'],
      // y is left with one of b and c, and this one with the other.
      'adopted c: 0_2',
    ],
    [
      'is kept, though a smaller epoch that lost its own may be about to choose it',
      [
        gone('a', '0_0'),
        gone('b', '0_1'),
        restoring('x', ['settled a'], { ago: 3 }),
        restoring('y', ['adopted a'], { ago: 2 }),
      ],
      ['adopted b'],
      'adopted b: 0_1',
    ],
    [
      'is kept by who has its fair share by now: somebody looked elsewhere for its sake',
      [...two, gone('c', '0_2'), gone('d', '0_3')],
      ['settled a', 'adopted b'],
      'adopted b: 0_1',
    ],
    [
      'of the living is kept, whichever else would come first now',
      [alive('a', '0_0'), alive('b', '0_1 0_2')],
      ['copied a'],
      'copied a: 0_0',
    ],
    [
      'of the living stands against a later copy, and yields to an earlier one',
      [alive('a', '0_0'), alive('b', '0_1'), restoring('z', ['copied a'], { ago: 0.5 })],
      ['copied a'],
      'copied a: 0_0',
    ],
    [
      'of the living yields to an earlier copy',
      [alive('a', '0_0'), alive('b', '0_1'), restoring('z', ['copied a'], { ago: 2 })],
      ['copied a'],
      'copied b: 0_1',
    ],
  ])('%s', (_, lives, claims, expected) => {
    expect(chosen(lives, chooser({ ago: 1, claims: claims.map(claim) }))).toBe(expected);
  });

  test('of the living is kept where all of them have been copied as often', () => {
    const copier = (instance: string, of: string): Life =>
      restoring(instance, [], { ago: 2, claims: [{ ...claim(`copied ${of}`), isSettled: true }] });
    const lives = [alive('a', '0_0'), alive('b', '0_1'), copier('y', 'a'), copier('z', 'b')];
    const kept = ['copied a', 'copied b'].map((word) => chosen(lives, chooser({ ago: 1, claims: [claim(word)] })));
    expect(kept).toEqual(['copied a: 0_0', 'copied b: 0_1']);
  });
});

describe('who has some', () => {
  const four = ['a', 'b', 'c', 'd'].map((name, n) => gone(name, `0_${n} 1_${n}`));

  test.each<[string, readonly Life[], Partial<Chooser>, string | RegExp]>([
    ['has enough with its fair share', four, { claims: [claim('settled a')], replicas: 4 }, 'nothing'],
    ['goes on up to the fair share', four, { claims: [claim('settled a')], replicas: 2 }, /^adopted [bcd]: /],
    [
      'goes on beyond it by less than one instance',
      four,
      { claims: [claim('settled a')], replicas: 3 },
      /^adopted [bcd]: /,
    ],
    ['under its own name only within it', four, { claims: [claim('own a')], replicas: 3 }, 'nothing'],
    ['under its own name up to it', four, { claims: [claim('own a')], replicas: 2 }, /^adopted [bcd]: /],
    ['on its volume only within it', four, { present: ['0_0', '1_0'], replicas: 3 }, 'nothing'],
    [
      'goes on where it turned out to have come too late',
      [...four, restoring('z', ['settled a'], { ago: 2 })],
      { claims: [claim('settled a')], replicas: 4 },
      /^adopted [bcd]: /,
    ],
    [
      'rests where somebody has the same who came later, and chooses again',
      [...four, restoring('z', ['settled a'], { ago: 0.5 })],
      { claims: [claim('settled a')], replicas: 4 },
      'nothing',
    ],
    [
      'goes on where somebody has the same who came later, and has ended',
      [...four, restoring('z', ['settled a'], { ago: 0.5, state: 'gone' })],
      { claims: [claim('settled a')], replicas: 4 },
      /^adopted [bcd]: /,
    ],
    [
      'goes on to what others only might choose: they may choose something else',
      [
        ...four.slice(0, 3),
        restoring('x', ['settled b'], { ago: 3 }),
        restoring('y', ['adopted b'], { ago: 2 }),
        restoring('z', ['settled a'], { ago: 2 }),
      ],
      { claims: [claim('settled a')], replicas: 3 },
      'adopted c: 0_2 1_2',
    ],
    [
      'copies nobody once more who has one that nobody was first with',
      [alive('a', '0_0'), alive('b', '0_1'), restoring('z', ['settled c', 'copied a'], { ago: 0.5 })],
      { claims: [{ ...claim('copied a'), isSettled: true }] },
      'nothing',
    ],
    [
      'copies once more where somebody else was first with what it copied',
      [alive('a', '0_0'), alive('b', '0_1'), restoring('z', ['copied a'], { ago: 2 })],
      { claims: [{ ...claim('copied a'), isSettled: true }] },
      'copied b: 0_1',
    ],
    [
      'copies whom it announced, though it was first with what it has: somebody looked elsewhere for its sake',
      [alive('a', '0_0'), alive('b', '0_1')],
      { claims: [{ ...claim('copied a'), isSettled: true }, claim('copied b')] },
      'copied b: 0_1',
    ],
    [
      'copies once more nobody whom somebody has copied',
      [alive('a', '0_0'), restoring('z', ['copied a'], { ago: 2 })],
      { claims: [{ ...claim('copied a'), isSettled: true }] },
      'nothing',
    ],
    ['copies nobody', [alive('b', '0_1'), gone('a', '0_0')], { claims: [claim('settled a')] }, 'nothing'],
  ])('%s', (_, lives, me, expected) => {
    const text = chosen(lives, chooser({ ago: 1, ...me }));
    if (typeof expected === 'string') expect(text).toBe(expected);
    else expect(text).toMatch(expected);
  });
});

describe('the fair share', () => {
  test.each<[string, readonly Life[], number | undefined, number]>([
    ['is one of nothing', [], undefined, 1],
    ['is rounded up', [gone('a', '0_0 0_1 0_2 global')], 2, 2],
    [
      'goes by how many were alive together',
      [gone('a', '0_0 0_1 0_2', { ago: 60 }), gone('b', '0_3', { ago: 59 }), gone('c', '0_4', { ago: 5, silentMs: 0 })],
      undefined,
      3,
    ],
    [
      'takes the lives of one instance for one, and a snapshot for none',
      [gone('a', '0_0 0_1', { ago: 60 }), gone('a', '', { ago: 59 }), gone('b', '', { ago: 59, role: 'snapshot' })],
      undefined,
      2,
    ],
  ])('%s', (_, lives, replicas, expected) => {
    expect(fairShare(scene(lives), replicas)).toBe(expected);
  });
});

test('of a task that is left to others it is said who has it', () => {
  const lives = [gone('a', '0_0'), alive('b', '0_1'), gone('c', '0_2'), restoring('d', ['adopted a'])];
  const reasons = explainLeft(scene(lives), chooser({ replicas: 3 }));
  expect(['0_0', '0_1', '0_2'].map((task) => reasons.get(task))).toEqual([
    { reason: 'claimed_elsewhere', message: 'd restores it, or did a moment ago' },
    { reason: 'not_selected', message: 'b has it, and lives' },
    { reason: 'not_selected', message: 'it is left to others: the fair share is 1 of 3 tasks, see --replicas' },
  ]);
});

/** Fleets of which some are gone, and some of them claimed. */
const anyFleet = fc
  .array(
    fc.record({ state: fc.constantFrom('gone', 'alive', 'finishing'), size: fc.integer({ min: 0, max: 4 }) } as const),
    {
      maxLength: 12,
    },
  )
  .map((pods) =>
    pods.map(({ state, size }, n) => {
      const tasks = Array.from({ length: size }, (_, i) => `${n}_${i}`).join(' ');
      return life(`pod-${n}`, { tasks, state, silentMs: state === 'gone' ? 10 * MINUTE_MS : 1000 * n });
    }),
  );

test('law: those who see the same and choose in the order of their epochs leave nothing, and nobody with nothing', () => {
  fc.assert(
    fc.property(anyFleet, fc.integer({ min: 1, max: 12 }), (fleet, replicas) => {
      const restores: Life[] = [];
      for (let n = 0; n < replicas; n++) {
        const claims: Claim[] = [];
        for (;;) {
          const me = chooser({ instance: `new-${n}`, ago: 1 - n / 100, replicas, claims });
          const choice = chooseNext(scene([...fleet, ...restores]), me);
          if (choice === undefined) break;
          claims.push(...choice.epochs.map((each) => ({ epoch: each, kind: choice.kind, isSettled: true })));
        }
        restores.push(restoring(`new-${n}`, [], { ago: 1 - n / 100, claims }));
      }
      const held = new Map(fleet.map(({ epoch, tasks }) => [epoch, tasks.map(({ task }) => task)]));
      const claimed = new Set(restores.flatMap(({ claims }) => claims.flatMap(({ epoch }) => held.get(epoch) ?? [])));
      const staying = fleet.filter(({ state }) => state === 'alive');
      const there = new Set([...claimed, ...staying.flatMap(({ tasks }) => tasks.map(({ task }) => task))]);
      expect(there).toEqual(new Set(fleet.flatMap(({ tasks }) => tasks.map(({ task }) => task))));
      if (there.size > 0) expect(restores.filter(({ claims }) => claims.length === 0)).toEqual([]);
    }),
  );
});

test('law: those who announce at once choose differently in the end, and nobody is left', () => {
  fc.assert(
    fc.property(anyFleet, fc.integer({ min: 1, max: 12 }), (fleet, replicas) => {
      const names = Array.from({ length: replicas }, (_, n) => `new-${n}`);
      const agoOf = (n: number): number => 1 - n / 100;
      let claims = names.map((): readonly Claim[] => []);
      for (let round = 1; round <= names.length + 1; round++) {
        claims = names.map((instance, n) => {
          const others = names.flatMap((name, m) =>
            m === n ? [] : [restoring(name, [], { ago: agoOf(m), claims: claims[m] ?? [] })],
          );
          const me = chooser({ instance, ago: agoOf(n), replicas, claims: claims[n] ?? [] });
          const choice = chooseNext(scene([...fleet, ...others]), me);
          return choice?.epochs.map((each) => ({ epoch: each, kind: choice.kind, isSettled: false })) ?? [];
        });
      }
      const adopted = claims.flat().flatMap(({ kind, epoch }) => (kind === 'adopted' ? [epoch] : []));
      expect(adopted).toEqual([...new Set(adopted)]);
      const orphaned = fleet.filter(({ state, tasks }) => state !== 'alive' && tasks.length > 0).length;
      expect(adopted.length).toBe(Math.min(orphaned, replicas));
    }),
  );
});
