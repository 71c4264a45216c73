import type { Random } from '../../../src/base/clock.ts';
import { seededRandom } from '../seeded-random.ts';

/** Chance of one seed, in the shapes in which a simulation asks for it. */
export class Chance implements Random {
  readonly #random: Random;

  constructor(seed: number) {
    this.#random = seededRandom(seed);
  }

  fraction(): number {
    return this.#random.fraction();
  }

  token(length: number): string {
    return this.#random.token(length);
  }

  /** A whole number from 0, below `end`. */
  below(end: number): number {
    return Math.floor(this.#random.fraction() * end);
  }

  /** Whether something happens that happens so often. */
  happens(probability: number): boolean {
    return probability > 0 && this.#random.fraction() < probability;
  }

  pick<T>(items: readonly T[]): T | undefined {
    return items[this.below(items.length)];
  }

  /** Between two durations, each order of magnitude alike. */
  durationMs(leastMs: number, mostMs: number): number {
    return Math.round(leastMs * (mostMs / leastMs) ** this.#random.fraction());
  }

  /** One of the keys, each as often as its weight says. */
  weighted<T extends string>(weights: Readonly<Record<T, number>>): T {
    let left = this.#random.fraction() * Object.values<number>(weights).reduce((sum, weight) => sum + weight, 0);
    for (const key in weights) {
      left -= weights[key];
      if (left < 0) return key;
    }
    throw new Error('bug: nothing has a weight');
  }
}
