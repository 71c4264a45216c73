import { randomBytes, randomInt } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';

/** Time as a parameter. */
export interface Clock {
  /** Wall clock, milliseconds since 1970; may jump. */
  nowMs(): number;
  /** Never goes back; for durations and deadlines only. */
  monotonicMs(): number;
  /** Resolves after `ms`, or at once when `signal` aborts; the caller looks at the signal. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

/** Chance as a parameter. */
export interface Random {
  /** `length` characters of `a-z0-9`. */
  token(length: number): string;
  /** Uniform in [0, 1). */
  fraction(): number;
}

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  sleep: async (ms, signal) => {
    if (signal.aborted) return;
    // Node complains of what is below zero: a moment that has passed already.
    await delay(Math.max(0, ms), undefined, { signal }).catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
  },
};

const TOKEN_ALPHABET = 'abcdefghijklmnopqrstuvwxyz0123456789';

export const systemRandom: Random = {
  token: (length) => Array.from({ length }, () => TOKEN_ALPHABET.charAt(randomInt(TOKEN_ALPHABET.length))).join(''),
  fraction: () => randomBytes(4).readUInt32LE(0) / 2 ** 32,
};
