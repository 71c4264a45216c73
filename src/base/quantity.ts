// Quantities as people write and read them. `parse…` and `format…` are exact and inverse; `describe…` rounds for the eye.

const UNIT_MS = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1_000, ms: 1 } as const;
const UNIT_BYTES: Readonly<Record<string, number>> = { TiB: 2 ** 40, GiB: 2 ** 30, MiB: 2 ** 20, KiB: 2 ** 10, B: 1 };

/** `30s`, `5m`, `1h30m`, `250ms` in milliseconds, units from large to small; undefined for anything else. */
export function parseDurationMs(text: string): number | undefined {
  const match = /^(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?$/.exec(text);
  if (match === null || text === '') return undefined;
  const units = Object.values(UNIT_MS);
  const ms = units.reduce((sum, unitMs, index) => sum + Number(match[index + 1] ?? 0) * unitMs, 0);
  return Number.isSafeInteger(ms) ? ms : undefined;
}

/** The shortest text that parses to exactly this whole number of milliseconds: `1h30m`. */
export function formatDuration(durationMs: number): string {
  let restMs = durationMs;
  let text = '';
  for (const [unit, unitMs] of Object.entries(UNIT_MS)) {
    const count = Math.floor(restMs / unitMs);
    if (count > 0) text += `${count}${unit}`;
    restMs -= count * unitMs;
  }
  return text === '' ? '0s' : text;
}

/** `64MiB`, `1.5GiB`, `4096B`, `4096`, and Kubernetes' own `64Mi`, in bytes; undefined for anything else. */
export function parseSizeBytes(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)([KMGT]i)?B?$/.exec(text);
  if (match === null) return undefined;
  const sizeBytes = Number(match[1]) * (UNIT_BYTES[`${match[2] ?? ''}B`] ?? Number.NaN);
  return Number.isSafeInteger(sizeBytes) ? sizeBytes : undefined;
}

/** `50MiB/s` in bytes per second; undefined for anything else. */
export function parseRate(text: string): number | undefined {
  return text.endsWith('/s') ? parseSizeBytes(text.slice(0, -2)) : undefined;
}

/** Text that parses to exactly this whole number of bytes, in the largest unit that divides it: `64MiB`, `1000B`. */
export function formatSize(sizeBytes: number): string {
  const units = Object.entries(UNIT_BYTES);
  const [unit, unitBytes] = units.find(([, bytes]) => sizeBytes >= bytes && sizeBytes % bytes === 0) ?? ['B', 1];
  return `${sizeBytes / unitBytes}${unit}`;
}

/** `812 B`, `1.2 GiB`, `64 MiB`. */
export function describeBytes(bytes: number): string {
  // From 1023.5 on a unit would be rounded to 1024: the next one takes over.
  const largest = Object.entries(UNIT_BYTES).find(([, size]) => bytes >= size * (1 - 1 / 2048));
  const [unit, size] = largest ?? ['B', 1];
  return `${describeNumber(bytes / size, size === 1 ? 0 : 1)} ${unit}`;
}

/** `128 MiB/s`. */
export function describeRate(bytesPerSecond: number): string {
  return `${describeBytes(bytesPerSecond)}/s`;
}

/** `12 ms`, `4.2 s`, `38 s`, `5 min 04 s`, `2 h 05 min`, `3 d 04 h`. */
export function describeDuration(durationMs: number): string {
  if (durationMs < 999.5) return `${Math.round(durationMs)} ms`;
  if (durationMs < 59_500) return `${describeNumber(durationMs / UNIT_MS.s, 1)} s`;
  const inUnits = (large: number, small: number): string => {
    const count = Math.round(durationMs / small);
    const perLarge = large / small;
    return `${Math.floor(count / perLarge)} ${SHORT_NAMES[large]} ${String(count % perLarge).padStart(2, '0')} ${SHORT_NAMES[small]}`;
  };
  if (durationMs < 59.5 * UNIT_MS.m) return inUnits(UNIT_MS.m, UNIT_MS.s);
  return durationMs < 23.5 * UNIT_MS.h ? inUnits(UNIT_MS.h, UNIT_MS.m) : inUnits(UNIT_MS.d, UNIT_MS.h);
}

const SHORT_NAMES: Readonly<Record<number, string>> = {
  [UNIT_MS.d]: 'd',
  [UNIT_MS.h]: 'h',
  [UNIT_MS.m]: 'min',
  [UNIT_MS.s]: 's',
};

/** `4 s ago`, `3 min ago`, `22 h ago`, `5 d ago`, always rounded down; `in 3 min` for what lies ahead. */
export function describeAge(ageMs: number): string {
  const distanceMs = Math.abs(ageMs);
  const isOver = (ms: number): boolean => distanceMs >= ms;
  const { d, h, m } = UNIT_MS;
  const unitMs = isOver(2 * d) ? d : isOver(h) ? h : isOver(m) ? m : UNIT_MS.s; // Hours count up to 47: max-age is in them.
  const count = `${Math.floor(distanceMs / unitMs)} ${SHORT_NAMES[unitMs]}`;
  return ageMs < 0 && distanceMs >= UNIT_MS.s ? `in ${count}` : `${count} ago`;
}

/** `1 task`, `12 tasks`, `1,312 tasks`. */
export function describeCount(count: number, noun: string): string {
  return `${count.toLocaleString('en-US')} ${noun}${count === 1 ? '' : 's'}`;
}

/** Below ten with decimals, from there on without: `4.2`, `38`. */
function describeNumber(value: number, decimals: number): string {
  return value.toFixed(value < 9.95 ? decimals : 0);
}
