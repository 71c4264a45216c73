import { Failure } from './failure.ts';

/**
 * One declaration for both directions between a value and its JSON. Decoding trusts nothing: it throws a Failure
 * `corrupt` that begins with the place (`entries[3].files[0].path`) where it is given one; it ignores fields that it does
 * not know.
 */
export interface Codec<T> {
  decode(json: unknown, at: Place): T;
  /** undefined: the field is left out. */
  encode(value: T): unknown;
  /** The field's name in JSON where it is not the property's. */
  readonly name?: string;
}

/** Where a value stands, '' for the whole; undefined where nobody asks, as making the places of all costs more than all the rest. */
type Place = string | undefined;

/** Decodes a whole text; what is wrong in it is looked for once more, to say where. */
export function decodeWhole<T>(codec: Codec<T>, json: unknown): T {
  try {
    return codec.decode(json, undefined);
  } catch {
    return codec.decode(json, '');
  }
}

/** A JSON object; `fields` has a codec for every property. */
export function object<T extends object>(fields: { readonly [K in keyof T]-?: Codec<T[K]> }): Codec<T> {
  const all = Object.entries<Codec<unknown>>(fields).map(([key, codec]) => ({ key, codec, name: codec.name ?? key }));
  return {
    decode: (json, at) => {
      if (!isObject(json)) throw malformed(at, 'is no object', json);
      const inside = at === '' ? '' : at && `${at}.`;
      const properties: Record<string, unknown> = {};
      for (const { key, codec, name } of all)
        properties[key] = codec.decode(own(json, name), inside === undefined ? undefined : inside + name);
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the type of `fields` is that claim
      return properties as T;
    },
    encode: (value) => {
      const properties: Record<string, unknown> = {};
      for (const { key, codec, name } of all) properties[name] = codec.encode(Reflect.get(value, key));
      return properties;
    },
  };
}

/** The same codec under another name in JSON. */
export function named<T>(name: string, codec: Codec<T>): Codec<T> {
  return { ...codec, name };
}

/** A field that may be absent. */
export function optional<T>(codec: Codec<T>): Codec<T | undefined> {
  return {
    decode: (json, at) => (json === undefined ? undefined : codec.decode(json, at)),
    encode: (value) => (value === undefined ? undefined : codec.encode(value)),
  };
}

/** A field that is always there, `null` where there is no value. */
export function nullable<T>(codec: Codec<T>): Codec<T | undefined> {
  return {
    decode: (json, at) => (json === null ? undefined : codec.decode(json, at)),
    encode: (value) => (value === undefined ? null : codec.encode(value)),
  };
}

export function list<T>(item: Codec<T>): Codec<readonly T[]> {
  return {
    decode: (json, at) => {
      if (!Array.isArray(json)) throw malformed(at, 'is no list', json);
      return json.map((one: unknown, index) => item.decode(one, at === undefined ? undefined : `${at}[${index}]`));
    },
    encode: (value) => value.map((one) => item.encode(one)),
  };
}

/** A JSON object whose keys are data; written in their order, so that equal values give equal bytes. */
export function mapOf<T>(key: Codec<string>, item: Codec<T>): Codec<ReadonlyMap<string, T>> {
  return {
    decode: (json, at) => {
      if (!isObject(json)) throw malformed(at, 'is no object', json);
      return new Map(
        Object.entries(json).map(([name, one]) => {
          const place = at === undefined ? undefined : `${at}[${JSON.stringify(name)}]`;
          return [key.decode(name, place), item.decode(one, place)];
        }),
      );
    },
    encode: (value) => {
      const sorted = [...value].sort(([left], [right]) => (left < right ? -1 : 1));
      return Object.fromEntries(sorted.map(([name, one]) => [key.encode(name), item.encode(one)]));
    },
  };
}

/** One of several objects that their field `kind` tells apart. */
export function variants<T extends { readonly kind: string }>(codecs: Readonly<Record<T['kind'], Codec<T>>>): Codec<T> {
  const byKind = new Map<unknown, Codec<T>>(Object.entries<Codec<T>>(codecs));
  return {
    decode: (json, at) => {
      const kind = isObject(json) ? own(json, 'kind') : undefined;
      const codec = byKind.get(kind);
      if (codec === undefined) throw malformed(at, 'is of no known kind', kind);
      return codec.decode(json, at);
    },
    encode: (value) => byKind.get(value.kind)?.encode(value),
  };
}

/** Text of at most `lengthMax` UTF-16 units. */
export function text(lengthMax: number): Codec<string> {
  return {
    decode: (json, at) => {
      if (typeof json !== 'string') throw malformed(at, 'is no text', json);
      if (json.length > lengthMax) throw malformed(at, `is longer than ${lengthMax} characters`, json);
      return json;
    },
    encode: (value) => value,
  };
}

/** Text that `isFit` accepts; `what` ends the sentence "… is no". */
export function textThat(what: string, isFit: (value: string) => boolean): Codec<string> {
  return {
    decode: (json, at) => {
      if (typeof json !== 'string' || !isFit(json)) throw malformed(at, `is no ${what}`, json);
      return json;
    },
    encode: (value) => value,
  };
}

export function oneOf<const W extends string>(...words: readonly W[]): Codec<W> {
  const known = new Map<unknown, W>(words.map((word) => [word, word]));
  return {
    decode: (json, at) => {
      const word = known.get(json);
      if (word === undefined) throw malformed(at, `is none of ${words.join(', ')}`, json);
      return word;
    },
    encode: (value) => value,
  };
}

/** A whole number from 0 that JSON can carry exactly. */
export const count: Codec<number> = {
  decode: (json, at) => {
    if (typeof json !== 'number' || !Number.isSafeInteger(json) || json < 0)
      throw malformed(at, 'is no whole number', json);
    return json;
  },
  encode: (value) => value,
};

export const flag: Codec<boolean> = {
  decode: (json, at) => {
    if (typeof json !== 'boolean') throw malformed(at, 'is neither true nor false', json);
    return json;
  },
  encode: (value) => value,
};

/** A number from 0 that fits into 64 bits, as decimal digits: JSON numbers lose digits beyond 2^53. */
export const digits = bigintIn(/^(?:0|[1-9]\d{0,19})$/, 0n, 2n ** 64n - 1n);

/** A signed 64-bit number as decimal digits. */
export const signedDigits = bigintIn(/^(?:0|-?[1-9]\d{0,18})$/, -(2n ** 63n), 2n ** 63n - 1n);

function bigintIn(form: RegExp, min: bigint, max: bigint): Codec<bigint> {
  return {
    decode: (json, at) => {
      if (typeof json !== 'string' || !form.test(json)) throw malformed(at, 'is no text of digits', json);
      const value = BigInt(json);
      if (value < min || value > max) throw malformed(at, 'does not fit into 64 bits', json);
      return value;
    },
    encode: (value) => value.toString(),
  };
}

/** Milliseconds since 1970 as `2026-11-22T23:36:00.123Z`. */
export const time: Codec<number> = {
  decode: (json, at) => {
    const ms = typeof json === 'string' ? Date.parse(json) : Number.NaN;
    if (Number.isNaN(ms) || new Date(ms).toISOString() !== json) throw malformed(at, 'is no time', json);
    return ms;
  },
  encode: (value) => new Date(value).toISOString(),
};

/** A codec of values that have another form in the program than in JSON. */
export function mapped<J, T>(codec: Codec<J>, decode: (json: J) => T, encode: (value: T) => J): Codec<T> {
  return {
    decode: (json, at) => decode(codec.decode(json, at)),
    encode: (value) => codec.encode(encode(value)),
  };
}

/** The codec with one more condition: `complaint` says what is wrong with a decoded value, and where below it. */
export function checked<T>(codec: Codec<T>, complaint: (value: T) => string | undefined): Codec<T> {
  return {
    decode: (json, at) => {
      const value = codec.decode(json, at);
      const wrong = complaint(value);
      if (wrong === undefined) return value;
      throw new Failure('corrupt', at === '' || at === undefined ? wrong : `${at}: ${wrong}`);
    },
    encode: (value) => codec.encode(value),
  };
}

function isObject(json: unknown): json is Record<string, unknown> {
  return typeof json === 'object' && json !== null && !Array.isArray(json);
}

/** Never what every object inherits: a field may be called `constructor`. */
function own(json: Record<string, unknown>, name: string): unknown {
  return Object.hasOwn(json, name) ? json[name] : undefined;
}

function malformed(at: Place, what: string, json: unknown): Failure {
  return new Failure('corrupt', `${at === '' || at === undefined ? 'it' : at} ${what}: ${shown(json)}`);
}

function shown(json: unknown): string {
  if (json === undefined) return 'nothing';
  if (Array.isArray(json)) return `a list of ${json.length}`;
  if (isObject(json)) return 'an object';
  return typeof json === 'string' && json.length > 80 ? `${JSON.stringify(json.slice(0, 80))}…` : JSON.stringify(json);
}
