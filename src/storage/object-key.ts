import { Failure } from '../base/failure.ts';

const KEY_BYTES_MAX = 900;
const SEGMENT_BYTES_MAX = 200;

const SEGMENT = /^[A-Za-z0-9_%-][A-Za-z0-9._%-]*$/;

/** True for what may stand between two slashes of a key. */
export function isKeySegment(segment: string): boolean {
  return segment.length <= SEGMENT_BYTES_MAX && SEGMENT.test(segment);
}

export function isObjectKey(text: string): boolean {
  return text.length <= KEY_BYTES_MAX && text.split('/').every(isKeySegment);
}

/** The segments of a key; throws `invalid` for what is none. */
export function objectKeySegments(key: string): readonly string[] {
  if (!isObjectKey(key)) throw notAKey('key', key);
  return key.split('/');
}

/** A prefix as the folders that it names in full and the beginning of the name below them; throws `invalid`. */
export function objectPrefixParts(prefix: string): { readonly folders: readonly string[]; readonly begin: string } {
  const folders = prefix.split('/');
  const begin = folders.pop() ?? '';
  const fits = prefix.length <= KEY_BYTES_MAX && folders.every(isKeySegment) && (begin === '' || isKeySegment(begin));
  if (!fits) throw notAKey('prefix', prefix);
  return { folders, begin };
}

function notAKey(what: string, text: string): Failure {
  const shown = text.length > 120 ? `${text.slice(0, 120)}…` : text;
  return new Failure('invalid', `not an object ${what}: ${JSON.stringify(shown)} has ${text.length} characters`, {
    hint: `segments of A-Z a-z 0-9 . _ % - that do not begin with a dot, ${SEGMENT_BYTES_MAX} bytes each, ${KEY_BYTES_MAX} in all`,
  });
}
