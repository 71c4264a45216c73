import type { Clock, Random } from '../base/clock.ts';
import { type Failure, isFailure } from '../base/failure.ts';
import { type ByteRange, bytesBody, type ObjectStore } from '../storage/object-store.ts';

/** What became of one request; undefined where another one before it left nothing to try. */
export type Tried<T> =
  | { readonly kind: 'done'; readonly value: T; readonly durationMs: number }
  | { readonly kind: 'failed'; readonly failure: Failure }
  | undefined;

/** What a store did with one object of ours, from its put to its end. */
export interface ProbeFacts {
  readonly key: string;
  readonly sizeBytes: number;
  readonly put: Tried<void>;
  /** Of the whole object, and of a stretch in its middle. */
  readonly get: Tried<{ readonly isSame: boolean }>;
  readonly range: Tried<{ readonly isSame: boolean }>;
  readonly list: Tried<Listed>;
  readonly delete: Tried<{ readonly isGone: boolean }>;
}

export interface Listed {
  /** As which the listing has the object; undefined where it has it not. */
  readonly sizeBytes: number | undefined;
  /** The store's clock less this machine's, in the middle of the request. */
  readonly clockAheadMs: number;
}

export interface ProbeWorld {
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
}

/** So much that its bytes, and not its round trip, take the time. */
const PROBE_BYTES = 1024 * 1024;
const STRETCH: ByteRange = { start: PROBE_BYTES / 2 - 1, length: 4096 };
/** For removing what was left, when there is no other time any more. */
const TIDY_UP_MS_MAX = 10_000;

/**
 * Puts one object under a key that nobody else uses, reads it in every way that warmstate reads, and deletes it. What a
 * store that cannot be reached would only fail to do again is not tried.
 */
export async function probeStore(
  store: ObjectStore,
  keyOf: (token: string) => string,
  { clock, random, signal }: ProbeWorld,
): Promise<ProbeFacts> {
  const token = random.token(16);
  const key = keyOf(token);
  const bytes = Buffer.alloc(PROBE_BYTES, token);
  const attempt = <T>(work: () => Promise<T>): Promise<Tried<T>> => attemptTimed(work, { clock, signal });

  const put = await attempt(async () => void (await store.put(key, bytesBody(bytes), { signal })));
  const isStored = put?.kind === 'done';
  const isDenied = put?.kind === 'failed' && put.failure.detail === 'denied';
  let isTidy = isDenied;
  try {
    const get = isStored ? await attempt(() => compare(store, key, { bytes, signal })) : undefined;
    const range = isStored ? await attempt(() => compare(store, key, { bytes, signal, range: STRETCH })) : undefined;
    const list = isStored || isDenied ? await attempt(() => find(store, key, { clock, signal })) : undefined;
    const deleted = isStored ? await attempt(() => remove(store, key, signal)) : undefined;
    isTidy ||= deleted?.kind === 'done';
    return { key, sizeBytes: PROBE_BYTES, put, get, range, list, delete: deleted };
  } finally {
    // Also what was put though its reply was lost. Who may not delete has been told.
    if (!isTidy) await store.delete(key, { signal: AbortSignal.timeout(TIDY_UP_MS_MAX) }).catch(() => undefined);
  }
}

async function attemptTimed<T>(
  work: () => Promise<T>,
  { clock, signal }: Pick<ProbeWorld, 'clock' | 'signal'>,
): Promise<Tried<T>> {
  const startedMs = clock.monotonicMs();
  try {
    return { kind: 'done', value: await work(), durationMs: clock.monotonicMs() - startedMs };
  } catch (error) {
    if (isFailure(error) && !signal.aborted) return { kind: 'failed', failure: error };
    throw error;
  }
}

async function compare(
  store: ObjectStore,
  key: string,
  options: { readonly bytes: Uint8Array; readonly signal: AbortSignal; readonly range?: ByteRange },
): Promise<{ readonly isSame: boolean }> {
  const { bytes, range = { start: 0, length: bytes.byteLength }, ...rest } = options;
  const wanted = Buffer.from(bytes).subarray(range.start, range.start + range.length);
  await using object = await store.get(key, options.range === undefined ? rest : { ...rest, range });
  let position = 0;
  let isSame = object.sizeBytes === bytes.byteLength;
  for await (const chunk of object.body) {
    isSame &&= wanted.subarray(position, position + chunk.byteLength).equals(chunk);
    position += chunk.byteLength;
  }
  return { isSame: isSame && position === wanted.byteLength };
}

async function find(
  store: ObjectStore,
  key: string,
  { clock, signal }: Pick<ProbeWorld, 'clock' | 'signal'>,
): Promise<Listed> {
  const startedMs = clock.nowMs();
  let storeTimeMs: number | undefined;
  let middleMs = startedMs;
  let sizeBytes: number | undefined;
  for await (const page of store.list(key, { signal })) {
    if (storeTimeMs === undefined) middleMs = (startedMs + clock.nowMs()) / 2;
    storeTimeMs ??= page.storeTimeMs;
    sizeBytes ??= page.objects.find((object) => object.key === key)?.sizeBytes;
  }
  return { sizeBytes, clockAheadMs: (storeTimeMs ?? middleMs) - middleMs };
}

async function remove(store: ObjectStore, key: string, signal: AbortSignal): Promise<{ readonly isGone: boolean }> {
  await store.delete(key, { signal });
  try {
    await store.head(key, { signal });
    return { isGone: false };
  } catch (error) {
    if (isFailure(error, 'missing')) return { isGone: true };
    throw error;
  }
}
