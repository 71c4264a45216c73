import type { Clock, Random } from '../base/clock.ts';
import { Failure } from '../base/failure.ts';
import type { Probe } from './conformance.ts';
import { isObjectKey, objectKeySegments, objectPrefixParts } from './object-key.ts';
import type { ObjectFacts, ObjectPage, ObjectStore } from './object-store.ts';
import { BucketClient } from './s3-client.ts';
import { TIMEOUTS, type Timeouts } from './s3-exchange.ts';
import { getObject } from './s3-get.ts';
import type { S3Location, S3Options } from './s3-location.ts';
import { S3Place, wholeSecondsMs } from './s3-place.ts';
import type { ProxyVariables } from './s3-proxy.ts';
import { putObject } from './s3-put.ts';

export interface S3World {
  readonly clock: Clock;
  readonly random: Random;
  /** Trusted certificates, when not the usual ones. */
  readonly ca?: readonly string[] | undefined;
  readonly proxies?: ProxyVariables;
  readonly timeouts?: Timeouts;
}

export interface S3Store extends ObjectStore {
  /** Which source the credentials came from, in words; a Failure when there are none. */
  credentialSource(): Promise<string>;
  /** What `probeServer` needs to look at the server itself. */
  probe(prefix: string, signal: AbortSignal): Probe;
}

/**
 * A bucket, or a prefix of one, on S3 and what speaks like it. Nothing is asked before the first request. Relied on:
 * an object is there whole after its PUT was answered, and seen by every later request. Conditional writes are not
 * used. The store's clock is the server's, in whole seconds.
 */
export function openS3Store(location: S3Location, options: S3Options, world: S3World): S3Store {
  const { clock, random, ca, proxies = {}, timeouts = TIMEOUTS } = world;
  const { bucket, prefix } = location;
  const { endpoint, sse } = options;
  const region = options.region ?? (endpoint === undefined ? undefined : REGION_OF_COMPATIBLE_SERVERS);
  const client = new BucketClient(bucket, { ...options, region }, { clock, ca, proxies, timeouts });
  const place = new S3Place(client, { prefix, where: { bucket, endpoint, region }, clock, random });
  const isSecure = endpoint?.startsWith('http://') !== true;
  return {
    put: async (key, body, { signal }) => {
      objectKeySegments(key);
      return await putObject(place, key, { body, isSecure, sse, signal });
    },
    get: async (key, { range, signal }) => {
      objectKeySegments(key);
      return await getObject(place, key, { ...(range === undefined ? {} : { range }), signal });
    },
    head: (key, { signal }) => headObject(place, key, signal),
    list: (listPrefix, { signal }) => listObjects(place, listPrefix, signal),
    delete: async (key, { signal }) => {
      objectKeySegments(key);
      await place.repeat(`delete ${key}`, signal, () => client.delete(place.fullKey(key), signal));
    },
    credentialSource: () => place.credentialSource(),
    probe: (prefix, signal) => place.probe(prefix, signal),
  };
}

/** They have none, but a signature names one. */
const REGION_OF_COMPATIBLE_SERVERS = 'us-east-1';

async function headObject(place: S3Place, key: string, signal: AbortSignal): Promise<ObjectFacts> {
  objectKeySegments(key);
  const { answer, exchange } = await place.repeat(`look at ${key}`, signal, async () =>
    place.assertNotMissing(await place.client.head(place.fullKey(key), signal), key, signal),
  );
  const { ContentLength: sizeBytes = 0, LastModified } = answer;
  return { key, sizeBytes, modifiedMs: wholeSecondsMs(LastModified), storeTimeMs: place.timeOf(exchange.head) };
}

async function* listObjects(place: S3Place, prefix: string, signal: AbortSignal): AsyncGenerator<ObjectPage> {
  objectPrefixParts(prefix);
  const doing = prefix === '' ? 'list objects' : `list ${prefix}`;
  for (let token: string | undefined; ; ) {
    const { answer, exchange } = await place.repeat(doing, signal, () =>
      place.client.list(place.fullKey(prefix), token, signal),
    );
    const objects = (answer.Contents ?? []).flatMap(({ Key = '', Size, LastModified }) => {
      const key = place.shortKey(Key);
      if (key === undefined || !isObjectKey(key)) return []; // Not ours.
      return [{ key, sizeBytes: Size ?? 0, modifiedMs: wholeSecondsMs(LastModified) }];
    });
    signal.throwIfAborted();
    yield { storeTimeMs: place.timeOf(exchange.head), objects };
    signal.throwIfAborted();
    const next = answer.NextContinuationToken;
    if (answer.IsTruncated !== true) return;
    // What a list lacks may be taken for deleted.
    if (next === undefined || next === token) {
      throw new Failure('unavailable', `cannot ${doing} to its end: the server does not say how it goes on`);
    }
    token = next;
  }
}
