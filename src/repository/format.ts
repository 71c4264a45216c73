import { Failure, messageOf } from '../base/failure.ts';
import { type Codec, count, decodeWhole, object } from '../base/json-codec.ts';

/** A kind of JSON text that we write, with the one format number of it that this program knows. */
export interface Format<T> {
  readonly number: number;
  readonly shape: Codec<T>;
}

/** JSON text in UTF-8. Failure `invalid` for a value that `decodeText` would refuse: it is not written. */
export function encodeText<T>(value: T, format: Format<T>, what: string): Uint8Array {
  const json: unknown = Object.assign({ format: format.number }, format.shape.encode(value));
  try {
    decodeWhole(format.shape, json);
  } catch (error) {
    throw new Failure('invalid', `cannot write ${what}: ${messageOf(error)}`, { cause: error });
  }
  return Buffer.from(`${JSON.stringify(json)}\n`);
}

/**
 * The value in a JSON text. Failure `corrupt` where it is none that this format has, `invalid` where it is of another
 * format; fields that this format does not know are ignored. Messages begin with `cannot read <what>`.
 */
export function decodeText<T>(bytes: Uint8Array, format: Format<T>, what: string): T {
  const { json, number } = orCorrupt(what, () => {
    const parsed: unknown = JSON.parse(UTF8.decode(bytes));
    return { json: parsed, number: decodeWhole(formatNumber, parsed).format };
  });
  if (number === format.number) return orCorrupt(what, () => decodeWhole(format.shape, json));
  throw new Failure('invalid', `cannot read ${what}: it has format ${number}, this program reads ${format.number}`, {
    hint: 'use the version of warmstate that wrote it',
  });
}

const UTF8 = new TextDecoder('utf-8', { fatal: true });

const formatNumber = object<{ format: number }>({ format: count });

function orCorrupt<T>(what: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new Failure('corrupt', `cannot read ${what}: ${messageOf(error)}`, { cause: error });
  }
}
