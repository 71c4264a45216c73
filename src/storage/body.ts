import { Failure } from '../base/failure.ts';
import type { ObjectBody } from './object-store.ts';

/**
 * The chunks of `body` while it is stored under `key`; ends in Failure `corrupt` unless they are as many bytes
 * as it announced, and never gives more than that.
 */
export async function* announcedChunks(key: string, body: ObjectBody, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  let givenBytes = 0;
  for await (const chunk of untilAborted(body.open(), signal)) {
    givenBytes += chunk.byteLength;
    if (givenBytes > body.sizeBytes) break;
    yield chunk;
  }
  if (givenBytes !== body.sizeBytes) {
    const given = givenBytes > body.sizeBytes ? `more than that` : `${givenBytes}`;
    throw new Failure('corrupt', `cannot store ${key}: its body announced ${body.sizeBytes} bytes and gave ${given}`);
  }
}

/**
 * The items of `source`; rejects with the signal's reason as soon as it aborts, also while `source` waits. A
 * source that never ends its wait is left to its maker, who has the same signal.
 */
export async function* untilAborted<T>(source: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T> {
  const iterator = source[Symbol.asyncIterator]();
  const at = { end: false, wait: false };
  const advance = async (): Promise<IteratorResult<T>> => {
    Object.assign(at, { end: true, wait: true }); // An iterator that throws is at its end.
    const next = await iterator.next().finally(() => (at.wait = false));
    at.end = next.done === true;
    return next;
  };
  try {
    for (;;) {
      signal.throwIfAborted();
      const next = await settledOrAborted(advance(), signal);
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    if (!at.end) await iterator.return?.();
    if (at.wait) iterator.return?.().catch(() => undefined); // Queued behind the wait that was given up.
  }
}

/** What `work` gives, or the signal's reason if that comes first; `work` then ends unheard. */
export async function settledOrAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const giveUp = (): void => aborted.reject(signal.reason);
  signal.addEventListener('abort', giveUp, { once: true });
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', giveUp);
  }
}
