import { createHash, hash } from 'node:crypto';
import { Failure } from '../base/failure.ts';
import { announcedChunks } from './body.ts';
import { bytesBody, type ObjectBody, type StoreTime } from './object-store.ts';
import type { S3Place } from './s3-place.ts';

/** Read before it is sent, so that the signature covers it: documents and records are smaller, stretches larger. */
const SIGNED_BYTES_MAX = 1024 * 1024;

/**
 * Stores one object with one request, each try with the body opened anew. A try that may have been done all the same
 * is repeated: same key, same bytes, one writer.
 *
 * What the signature covers the server has checked. A large body is covered over plain HTTP, at the price of a
 * second reading; over TLS the connection guards it.
 */
export async function putObject(
  place: S3Place,
  key: string,
  options: {
    readonly body: ObjectBody;
    readonly isSecure: boolean;
    readonly sse: string | undefined;
    readonly signal: AbortSignal;
  },
): Promise<StoreTime> {
  const { sse, signal } = options;
  signal.throwIfAborted();
  const body = await signable(key, options);
  const doing = `store ${key}`;
  const { answer, exchange } = await place.repeat(doing, signal, () =>
    place.client.put(place.fullKey(key), body, signal),
  );
  if (sse !== undefined && answer.encryption !== sse) {
    throw new Failure(
      'unavailable',
      `cannot ${doing} encrypted: the server answered ${answer.encryption ?? 'nothing'} to ${sse}`,
      {
        hint: 'this store does not encrypt as --s3-sse asks, and has stored the object in the plain: leave the setting out or choose another store',
      },
    );
  }
  return { storeTimeMs: place.timeOf(exchange.head) };
}

interface SignableBody {
  readonly sizeBytes: number;
  readonly open: () => AsyncIterable<Uint8Array>;
  readonly sha256: string | undefined;
}

async function signable(
  key: string,
  { body, isSecure, signal }: { readonly body: ObjectBody; readonly isSecure: boolean; readonly signal: AbortSignal },
): Promise<SignableBody> {
  const { sizeBytes } = body;
  const open = (): AsyncIterable<Uint8Array> => announcedChunks(key, body, signal);
  if (sizeBytes <= SIGNED_BYTES_MAX) {
    const parts: Uint8Array[] = [];
    for await (const chunk of open()) parts.push(Uint8Array.from(chunk));
    const bytes = Buffer.concat(parts);
    return { ...bytesBody(bytes), sha256: hash('sha256', bytes) };
  }
  if (isSecure) return { sizeBytes, open, sha256: undefined };
  return { sizeBytes, open, sha256: (await body.sha256?.()) ?? (await hashOf(open())) };
}

async function hashOf(chunks: AsyncIterable<Uint8Array>): Promise<string> {
  const sum = createHash('sha256');
  for await (const chunk of chunks) sum.update(chunk);
  return sum.digest('hex');
}
