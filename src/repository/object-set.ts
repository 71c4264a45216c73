import { parseKey, type RepositoryKeys } from './keys.ts';

/**
 * Keys of data, a hundred thousand and more of them in little memory: per epoch a number each. What is no key of data
 * is never in it.
 */
export class ObjectSet {
  readonly #ofEpoch = new Map<string, Set<number>>();

  add(key: string): void {
    const place = placeOf(key);
    if (place === undefined) return;
    const numbers = this.#ofEpoch.get(place.epoch) ?? new Set();
    this.#ofEpoch.set(place.epoch, numbers.add(place.number));
  }

  has(key: string): boolean {
    const place = placeOf(key);
    return place !== undefined && (this.#ofEpoch.get(place.epoch)?.has(place.number) ?? false);
  }

  /** The keys in it that another set has not. */
  *without(other: ObjectSet, keys: RepositoryKeys): Generator<string, void> {
    for (const [epoch, numbers] of this.#ofEpoch) {
      for (const number of numbers) {
        if (other.#ofEpoch.get(epoch)?.has(number)) continue;
        const place = Math.floor(number / 2);
        const name = { epoch, n: Math.floor(place / I_LIMIT) };
        yield number % 2 === 1 ? keys.archive(name, place % I_LIMIT) : keys.data(name, place % I_LIMIT);
      }
    }
  }
}

const I_LIMIT = 1_000_000;

/** Eight digits, six, and whether it is an archive: below 2^53. */
function placeOf(key: string): { readonly epoch: string; readonly number: number } | undefined {
  const parsed = parseKey(key);
  if (parsed?.kind !== 'data' && parsed?.kind !== 'archive') return undefined;
  const { epoch, n } = parsed.name;
  return { epoch, number: (n * I_LIMIT + parsed.i) * 2 + (parsed.kind === 'archive' ? 1 : 0) };
}
