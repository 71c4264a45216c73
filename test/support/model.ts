/**
 * What the stores of the application in test/streams-app hold, computed from the numbers of the records alone. Record n
 * is a function of n; test/streams-app/README.md has it in words, `Feed.java` is the other implementation.
 */

/** How the records of one feed vary. Feeds of one application must agree on it. */
export interface Load {
  /** Different keys of the input (agg, win, mem). */
  readonly keys: number;
  /** Different keys of the table (tab). */
  readonly rows: number;
  /** Different keys of the global table (glob). */
  readonly items: number;
  /** Time between the stamps of a record and the next, in the records' own time. */
  readonly stepMs: number;
  readonly payloadBytes: number;
}

export const STORES = ['agg', 'win', 'mem', 'tab', 'glob'] as const;
export type StoreName = (typeof STORES)[number];

/** Contents as text, in the form in which the application dumps them; a window's key is `key@startMs`. */
export type StoreContents = ReadonlyMap<string, string>;

const FIRST_TIMESTAMP_MS = Date.UTC(2026, 0, 5, 11);
/** How long the windowed store keeps its windows, in the records' own time. */
export const RETENTION_MS = 24 * 60 * 60_000;
const WINDOW_MS = 10 * 60_000;
const WORDS = 'amber birch cedar delta ember frost grove heron inlet jetty kelp larch maple north ochre pearl'.split(
  ' ',
);

/** The timestamp of record n. */
export function timestampOf(n: number, { stepMs }: Load): number {
  return FIRST_TIMESTAMP_MS + n * stepMs;
}

/**
 * The contents of every store after the records 0 to `records` - 1. They must span less than the application's retention:
 * when exactly a window goes is Kafka's business, and differs from release to release.
 */
export function contentsAfter(records: number, load: Load): Readonly<Record<StoreName, StoreContents>> {
  if (records * load.stepMs >= RETENTION_MS)
    throw new RangeError(`${records} records every ${load.stepMs} ms outlive ${RETENTION_MS} ms`);
  const agg = new Map<string, { count: number; sum: number; last: string }>();
  const win = new Map<string, number>();
  const tab = new Map<string, string>();
  const glob = new Map<string, string>();
  for (let n = 0; n < records; n++) {
    const text = payload(n, load.payloadBytes);
    if (n % 10 === 8) {
      put(tab, `row-${chance(n, 0) % load.rows}`, chance(n, 1) % 5 === 0 ? undefined : `${n} ${text}`);
    } else if (n % 10 === 9) {
      put(glob, `item-${chance(n, 0) % load.items}`, chance(n, 1) % 10 === 0 ? undefined : `${n} ${text}`);
    } else {
      const key = `key-${chance(n, 0) % load.keys}`;
      const before = agg.get(key) ?? { count: 0, sum: 0, last: '' };
      agg.set(key, { count: before.count + 1, sum: before.sum + (chance(n, 1) % 1000), last: `${n} ${text}` });
      const timestampMs = timestampOf(n, load);
      const window = `${key}@${timestampMs - (timestampMs % WINDOW_MS)}`;
      win.set(window, (win.get(window) ?? 0) + 1);
    }
  }
  return {
    agg: mapValues(agg, ({ count, sum, last }) => `count=${count} sum=${sum} last=${last}`),
    win: mapValues(win, String),
    mem: mapValues(agg, ({ count }) => String(count)),
    tab,
    glob,
  };
}

/** Where two contents differ, at most ten of the places in words; empty means equal. */
export function differences(actual: StoreContents, expected: StoreContents): readonly string[] {
  const keys = [...new Set([...actual.keys(), ...expected.keys()])].filter(
    (key) => actual.get(key) !== expected.get(key),
  );
  const shown = keys
    .slice(0, 10)
    .map((key) => `${key}: ${actual.get(key) ?? 'absent'}, not ${expected.get(key) ?? 'absent'}`);
  return keys.length > shown.length ? [...shown, `and ${keys.length - shown.length} more`] : shown;
}

function put(store: Map<string, string>, key: string, value: string | undefined): void {
  if (value === undefined) store.delete(key);
  else store.set(key, value);
}

function mapValues<T>(map: ReadonlyMap<string, T>, text: (value: T) => string): StoreContents {
  return new Map(Array.from(map, ([key, value]) => [key, text(value)]));
}

function payload(n: number, bytes: number): string {
  let text = '';
  let state = chance(n, 2);
  for (let i = 0; text.length < bytes; i++) {
    text += `${WORDS[state & 15]} `;
    state = mix((state + i) | 0);
  }
  return text.slice(0, bytes);
}

function chance(n: number, salt: number): number {
  return mix(n * 8 + salt);
}

/** The finalizer of MurmurHash3, as an unsigned number. */
function mix(value: number): number {
  let h = Math.imul(value, 0x9e3779b1);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
