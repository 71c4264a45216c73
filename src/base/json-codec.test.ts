import { describe, expect, test } from 'vitest';
import { Failure } from './failure.ts';
import {
  type Codec,
  checked,
  count,
  digits,
  flag,
  list,
  mapOf,
  mapped,
  named,
  nullable,
  object,
  oneOf,
  optional,
  signedDigits,
  text,
  textThat,
  time,
  variants,
} from './json-codec.ts';

type Shape = { readonly kind: 'circle'; readonly radius: number } | { readonly kind: 'square'; readonly side: number };

interface Drawing {
  readonly title: string;
  readonly drawnAtMs: number;
  readonly note: string | undefined;
  readonly owner: string | undefined;
  readonly isFinished: boolean;
  readonly shapes: readonly Shape[];
  readonly colours: ReadonlyMap<string, bigint>;
  readonly constructor: 'pen' | 'brush';
}

const drawing = object<Drawing>({
  title: text(10),
  drawnAtMs: named('drawnAt', time),
  note: optional(text(10)),
  owner: nullable(text(10)),
  isFinished: flag,
  shapes: list(
    variants<Shape>({
      circle: object({ kind: oneOf('circle'), radius: count }),
      square: object({ kind: oneOf('square'), side: count }),
    }),
  ),
  colours: mapOf(
    textThat('colour', (value) => value !== 'none'),
    digits,
  ),
  constructor: oneOf('pen', 'brush'),
});

const value: Drawing = {
  title: 'a',
  drawnAtMs: 1_763_854_600_123,
  note: undefined,
  owner: undefined,
  isFinished: true,
  shapes: [
    { kind: 'circle', radius: 1 },
    { kind: 'square', side: 2 },
  ],
  colours: new Map([
    ['red', 2n ** 64n - 1n],
    ['__proto__', 0n],
  ]),
  constructor: 'pen',
};

const json = {
  title: 'a',
  drawnAt: '2025-11-22T23:36:40.123Z',
  owner: null,
  isFinished: true,
  shapes: [
    { kind: 'circle', radius: 1 },
    { kind: 'square', side: 2 },
  ],
  colours: JSON.parse('{"__proto__":"0","red":"18446744073709551615"}'),
  constructor: 'pen',
};

describe('one declaration', () => {
  test('writes', () => {
    expect(JSON.stringify(drawing.encode(value))).toBe(JSON.stringify(json));
  });

  test('reads, and passes over what it does not know', () => {
    expect(drawing.decode({ ...json, unknown: 1 }, '')).toEqual(value);
  });
});

test.each<[string, Codec<unknown>, unknown, string]>([
  ['a list for an object', drawing, [], 'x is no object: a list of 0'],
  ['null for an object', drawing, null, 'x is no object: null'],
  ['what every object inherits', object({ toString: text(9) }), {}, 'x.toString is no text: nothing'],
  ['an object for a list', list(count), {}, 'x is no list: an object'],
  ['a wrong item', list(count), [1, '2'], 'x[1] is no whole number: "2"'],
  ['a list for a map', mapOf(text(9), count), [], 'x is no object: a list of 0'],
  ['a wrong key', drawing, { ...json, colours: { none: '1' } }, 'x.colours["none"] is no colour: "none"'],
  ['an absent kind', drawing, { ...json, shapes: [{}] }, 'x.shapes[0] is of no known kind: nothing'],
  [
    'an inherited kind',
    drawing,
    { ...json, shapes: [{ kind: 'toString' }] },
    'x.shapes[0] is of no known kind: "toString"',
  ],
  ['long text', text(3), 'abcd', 'x is longer than 3 characters: "abcd"'],
  ['very long text', oneOf('a'), 'b'.repeat(100), `x is none of a: "${'b'.repeat(80)}"…`],
  ['an absent value', nullable(count), undefined, 'x is no whole number: nothing'],
  ['null for an absent value', optional(count), null, 'x is no whole number: null'],
  ['a fraction', count, 1.5, 'x is no whole number: 1.5'],
  ['a number below nothing', count, -1, 'x is no whole number: -1'],
  ['a number that is not exact', count, 2 ** 53, 'x is no whole number: 9007199254740992'],
  ['a word for a flag', flag, 'true', 'x is neither true nor false: "true"'],
  ['a number for digits', digits, 1, 'x is no text of digits: 1'],
  ['digits with a sign', digits, '-1', 'x is no text of digits: "-1"'],
  ['digits with a zero in front', digits, '01', 'x is no text of digits: "01"'],
  ['digits beyond 64 bits', digits, '18446744073709551616', 'x does not fit into 64 bits: "18446744073709551616"'],
  [
    'signed digits beyond 64 bits',
    signedDigits,
    '-9223372036854775809',
    'x does not fit into 64 bits: "-9223372036854775809"',
  ],
  ['no zero below nothing', signedDigits, '-0', 'x is no text of digits: "-0"'],
  ['a time with an offset', time, '2025-11-22T23:36:40.123+01:00', 'x is no time: "2025-11-22T23:36:40.123+01:00"'],
  ['a day that is none', time, '2025-02-30T00:00:00.000Z', 'x is no time: "2025-02-30T00:00:00.000Z"'],
  ['what a condition excludes', checked(count, (n) => (n > 5 ? 'is too much' : undefined)), 6, 'x: is too much'],
])('%s is refused with its place', (_, codec, wrong, message) => {
  expect(() => codec.decode(wrong, 'x')).toThrow(new Failure('corrupt', message));
});

test('a value may have another form in JSON', () => {
  const doubled = mapped(
    count,
    (n) => n * 2,
    (n: number) => n / 2,
  );
  expect([doubled.decode(4, ''), doubled.encode(8)]).toEqual([8, 4]);
});

test('signed digits carry every 64-bit number', () => {
  for (const each of [-(2n ** 63n), -1n, 0n, 2n ** 63n - 1n]) {
    expect(signedDigits.decode(signedDigits.encode(each), '')).toBe(each);
  }
});
