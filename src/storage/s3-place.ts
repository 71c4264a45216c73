import type { Clock, Random } from '../base/clock.ts';
import { Failure } from '../base/failure.ts';
import type { AskServer, Probe } from './conformance.ts';
import type { BucketClient, Tried } from './s3-client.ts';
import type { AnswerHead } from './s3-exchange.ts';
import { failureOf, isTransient, type Place, saysMissing, type Trouble, troubleOf, waitMsOf } from './s3-failure.ts';

/** Tries of one request in all. With the pauses between them this takes half a minute, as long as a server restarts. */
const TRIES_MAX = 8;
const FIRST_PAUSE_MS = 200;
const PAUSE_MS_MAX = 10_000;

/** The part of a bucket that is a store, and how its requests are repeated. */
export class S3Place {
  readonly client: BucketClient;
  readonly #prefix: string;
  readonly #where: Place;
  readonly #clock: Clock;
  readonly #random: Random;
  #isBucketSeen = false;

  constructor(
    client: BucketClient,
    options: { readonly prefix: string; readonly where: Place; readonly clock: Clock; readonly random: Random },
  ) {
    this.client = client;
    this.#prefix = options.prefix === '' ? '' : `${options.prefix}/`;
    this.#where = options.where;
    this.#clock = options.clock;
    this.#random = options.random;
  }

  /** The key in the bucket. */
  fullKey(key: string): string {
    return `${this.#prefix}${key}`;
  }

  /** The key in the store; undefined for what lies elsewhere in the bucket. */
  shortKey(fullKey: string): string | undefined {
    return fullKey.startsWith(this.#prefix) ? fullKey.slice(this.#prefix.length) : undefined;
  }

  /** Tries until it is done; throws the Failure when it has been tried often enough. `doing` completes "cannot". */
  async repeat<T>(
    doing: string,
    signal: AbortSignal,
    work: () => Promise<Tried<T>>,
  ): Promise<Extract<Tried<T>, { readonly kind: 'done' }>> {
    for (let tries = 1; ; tries++) {
      const tried = await work();
      if (tried.kind === 'done') {
        this.#isBucketSeen = true;
        return tried;
      }
      await this.pause(doing, signal, { trouble: tried.trouble, tries });
    }
  }

  /** Waits before the next try, with full jitter; throws where there is none. */
  async pause(
    doing: string,
    signal: AbortSignal,
    { trouble, tries }: { readonly trouble: Trouble; readonly tries: number },
  ): Promise<void> {
    if (!isTransient(trouble) || tries >= TRIES_MAX) throw failureOf(trouble, doing, this.#where);
    if (trouble.code === 'ExpiredToken' || trouble.code === 'TokenRefreshRequired')
      await this.client.renewCredentials();
    const ceilingMs = Math.min(PAUSE_MS_MAX, FIRST_PAUSE_MS * 2 ** (tries - 1));
    await this.#clock.sleep((waitMsOf(trouble) ?? 0) + ceilingMs * this.#random.fraction(), signal);
    signal.throwIfAborted();
  }

  /** Throws what a trouble means that says that an object is not there; passes others on. */
  async assertNotMissing<T>(tried: Tried<T>, key: string, signal: AbortSignal): Promise<Tried<T>> {
    if (tried.kind === 'done' || !saysMissing(tried.trouble)) return tried;
    // An answer to HEAD has no body that would tell an object from a bucket.
    if (tried.trouble.code !== 'NoSuchKey' && !this.#isBucketSeen) {
      const bucket = await this.client.headBucket(signal);
      if (bucket.kind === 'trouble' && bucket.trouble.status === 404) {
        throw failureOf({ ...bucket.trouble, code: 'NoSuchBucket' }, `read ${key}`, this.#where);
      }
      this.#isBucketSeen = bucket.kind === 'done';
    }
    throw new Failure('missing', `no object ${key} in bucket ${this.#where.bucket}`, { cause: tried.trouble.cause });
  }

  /** Which source the credentials came from, in words; throws where there are none. */
  async credentialSource(): Promise<string> {
    try {
      return await this.client.credentialSource();
    } catch (error) {
      throw failureOf(troubleOf(error, undefined), 'sign requests', this.#where);
    }
  }

  /** What `probeServer` needs to look at the server below a prefix of the store. */
  probe(prefix: string, signal: AbortSignal): Probe {
    const ask: AskServer = async (request, askSignal) => {
      try {
        return await this.client.ask(request, askSignal);
      } catch (error) {
        askSignal.throwIfAborted();
        throw failureOf(troubleOf(error, undefined), `see what ${request.method} does`, this.#where);
      }
    };
    return { ask, prefix: this.fullKey(prefix), signal };
  }

  /** What the server's clock said; this machine's where the server does not tell. */
  timeOf(head: AnswerHead | undefined): number {
    const timeMs = Date.parse(head?.headers['date'] ?? '');
    return Number.isNaN(timeMs) ? this.#clock.nowMs() : timeMs;
  }
}

/** Some servers tell more digits in a list than with an object: all times are cut to the second. */
export function wholeSecondsMs(time: Date | undefined): number {
  return Math.floor((time?.getTime() ?? 0) / 1000) * 1000;
}
