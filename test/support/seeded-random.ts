import type { Random } from '../../src/base/clock.ts';

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz0123456789';

/** Chance that is the same for the same seed (mulberry32). */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const fraction = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const letter = (): string => ALPHABET.charAt(Math.floor(fraction() * ALPHABET.length));
  return { fraction, token: (length) => Array.from({ length }, letter).join('') };
}
