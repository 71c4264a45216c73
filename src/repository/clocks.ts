import type { Clock } from '../base/clock.ts';
import { list, mapped, named, object, optional, signedDigits, time } from '../base/json-codec.ts';

/**
 * What the clock that stamps a volume was apart from the store's. Stamps say nothing of the clock that gave them: under
 * another one than today's they are of another moment, and all that may be known is up to when that was (A5).
 */
export interface ClockSighting {
  /** What to add to it for the store's. */
  readonly storeAheadMs: number;
  /** When it may last have been so, by the store's clock; undefined where that is now. */
  readonly untilMs: number | undefined;
}

/** What one prompt answer of the store tells of our clock. */
export interface ClockSample {
  readonly storeAheadMs: number;
  readonly storeTimeMs: number;
}

/** An answer that took longer tells too little: the store may have looked at its clock at any moment of it. */
const PROMPT_MS = 1000;
/** Clocks that keep time differ by less, as two prompt answers tell it that know the time to the second. */
export const AGREES_MS = 3000;
/** Of a clock that keeps no time at all. */
const SIGHTINGS_MAX = 16;

/** What an answer says that has just come; undefined where it took too long, or the clock was set meanwhile. */
export function sampleClock(
  clock: Pick<Clock, 'nowMs'>,
  { askedAtMs, storeTimeMs }: { readonly askedAtMs: number; readonly storeTimeMs: number },
): ClockSample | undefined {
  const nowMs = clock.nowMs();
  const tookMs = nowMs - askedAtMs;
  return tookMs < 0 || tookMs > PROMPT_MS ? undefined : { storeAheadMs: Math.floor(storeTimeMs - nowMs), storeTimeMs };
}

/** What is known after one more sample; the same list where it is nothing new. */
export function noteClock(known: readonly ClockSighting[], sample: ClockSample | undefined): readonly ClockSighting[] {
  if (sample === undefined) return known;
  const { storeAheadMs, storeTimeMs } = sample;
  const isNow = (one: ClockSighting): boolean => one.untilMs === undefined && agree(one, sample);
  const [current, ...others] = known.filter(isNow);
  if (current !== undefined && others.length === 0 && known.every((one) => one === current || isOver(one)))
    return known;
  const earlier = known.filter((one) => !isNow(one)).map((one) => ({ ...one, untilMs: one.untilMs ?? storeTimeMs }));
  return [...compact(earlier), current ?? { storeAheadMs, untilMs: undefined }];
}

/** What several processes left, each of its own life. */
export function mergeClocks(...left: readonly (readonly ClockSighting[] | undefined)[]): readonly ClockSighting[] {
  return left.flatMap((clocks) => clocks ?? []);
}

/**
 * By how much a stamp may be older than it is by today's clock: 0 unless a faster one can have given it while it was. What
 * samples leave open counts against it.
 */
export function mayBeOlderByMs(wallMs: number, known: readonly ClockSighting[], now: ClockSample): number {
  const faster = known.flatMap(({ storeAheadMs, untilMs = now.storeTimeMs }) => {
    const byMs = now.storeAheadMs - storeAheadMs;
    return byMs > AGREES_MS && wallMs + storeAheadMs - AGREES_MS <= untilMs ? [byMs + AGREES_MS] : [];
  });
  return Math.max(0, ...faster);
}

function isOver({ untilMs }: ClockSighting): boolean {
  return untilMs !== undefined;
}

function agree(one: Pick<ClockSighting, 'storeAheadMs'>, other: Pick<ClockSighting, 'storeAheadMs'>): boolean {
  return Math.abs(one.storeAheadMs - other.storeAheadMs) <= AGREES_MS;
}

/** Those that agree as one, and so the oldest where there are too many: as far from the store as any was, and as long. */
function compact(earlier: readonly ClockSighting[]): readonly ClockSighting[] {
  const kept: ClockSighting[] = [];
  for (const one of earlier) {
    const at = kept.findIndex((other) => agree(one, other));
    if (at < 0) kept.push(one);
    else kept.push(...kept.splice(at, 1).map((other) => join(other, one)));
  }
  const [oldest, next, ...others] = kept;
  return oldest === undefined || next === undefined || kept.length < SIGHTINGS_MAX
    ? kept
    : [join(oldest, next), ...others];
}

function join(one: ClockSighting, other: ClockSighting): ClockSighting {
  return {
    storeAheadMs: Math.min(one.storeAheadMs, other.storeAheadMs),
    untilMs: Math.max(one.untilMs ?? 0, other.untilMs ?? 0),
  };
}

/** Absent where nothing is known. */
export const clocksShape = optional(
  list(
    object<ClockSighting>({
      storeAheadMs: mapped(signedDigits, Number, BigInt),
      untilMs: named('until', optional(time)),
    }),
  ),
);
