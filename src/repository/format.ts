import { Failure, isFailure, messageOf } from '../base/failure.ts';
import { type Codec, count, object } from '../base/json-codec.ts';

/** A kind of JSON text that we write, with the one format number of it that this program knows. */
export interface Format<T> {
  readonly number: number;
  readonly shape: Codec<T>;
}

/** JSON text in UTF-8. Failure `invalid` for a value that `decodeText` would refuse: it is not written. */
export function encodeText<T>(value: T, format: Format<T>, what: string): Uint8Array {
  const json: unknown = Object.assign({ format: format.number }, format.shape.encode(value));
  try {
    format.shape.decode(json, '');
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
  try {
    const json: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    const found = formatNumber.decode(json, '').format;
    if (found === format.number) return format.shape.decode(json, '');
    throw new Failure('invalid', `it has format ${found}, this program reads ${format.number}`);
  } catch (error) {
    const isForeign = isFailure(error, 'invalid');
    throw new Failure(isForeign ? 'invalid' : 'corrupt', `cannot read ${what}: ${messageOf(error)}`, {
      cause: error,
      ...(isForeign ? { hint: 'use the version of warmstate that wrote it' } : {}),
    });
  }
}

const formatNumber = object<{ format: number }>({ format: count });
