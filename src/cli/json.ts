// The forms that every `--output json` shares: lists are never null, times are ISO 8601, offsets strings of digits.

/** One object on one line. */
export function jsonLine(value: unknown): string {
  return `${JSON.stringify(value)}\n`;
}

export function jsonTime(timeMs: number | undefined): string | null {
  return timeMs === undefined ? null : new Date(timeMs).toISOString();
}

/** Sorted by changelog partition. */
export function jsonOffsets(offsets: ReadonlyMap<string, bigint>): Readonly<Record<string, string>> {
  const sorted = [...offsets].sort(([left], [right]) => (left < right ? -1 : 1));
  return Object.fromEntries(sorted.map(([partition, offset]) => [partition, String(offset)]));
}
