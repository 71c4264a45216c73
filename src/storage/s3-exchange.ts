/** One request as the SDK has built and signed it; the parts that go over the wire. */
export interface SignedRequest {
  /** `http:` or `https:` */
  readonly protocol: string;
  readonly hostname: string;
  readonly port?: number | undefined;
  readonly method: string;
  /** Percent-encoded, without the query. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string | string[] | null>> | undefined;
  readonly headers: Readonly<Record<string, string>>;
}

/** The beginning of an answer; names of headers in lower case. */
export interface AnswerHead {
  readonly statusCode: number;
  readonly headers: Readonly<Record<string, string>>;
}

/** Bytes that are on their way from the server. */
export interface IncomingContent {
  /** Read once. A chunk is valid until the next one is asked for. */
  readonly chunks: AsyncIterable<Uint8Array>;
  /** Ends what was not read to its end; harmless afterwards. */
  close(): void;
}

/**
 * What travels beside one request through the SDK: the SDK signs the head, the bytes go past it. Filled by the
 * transport with what came back.
 */
export class Exchange {
  readonly signal: AbortSignal;
  /** What is sent as the body, as many bytes as the request announces. */
  readonly body: (() => AsyncIterable<Uint8Array>) | undefined;
  /** Whether the body of a good answer goes to `content` rather than to the SDK. */
  readonly wantsContent: boolean;
  head: AnswerHead | undefined;
  content: IncomingContent | undefined;
  /** What `body` threw: none of the store's troubles. */
  bodyFailure: { readonly error: unknown } | undefined;

  constructor(options: {
    readonly signal: AbortSignal;
    readonly body?: () => AsyncIterable<Uint8Array>;
    readonly wantsContent?: boolean;
  }) {
    this.signal = options.signal;
    this.body = options.body;
    this.wantsContent = options.wantsContent ?? false;
  }
}

/** Path and query as they stand in the first line of a request. */
export function targetOf({ path, query }: SignedRequest): string {
  const pairs = Object.entries(query ?? {}).flatMap(([name, value]) => {
    const values = Array.isArray(value) ? value : [value];
    return values.map((one) => (one === null ? encoded(name) : `${encoded(name)}=${encoded(one)}`));
  });
  return pairs.length === 0 ? path : `${path}?${pairs.join('&')}`;
}

/** As signatures want it: all but the unreserved characters of RFC 3986. */
function encoded(text: string): string {
  return encodeURIComponent(text).replaceAll(/[!'()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** Of an error: it says in a sentence what is wrong. */
export const ERROR_BODY_BYTES_MAX = 64 * 1024;
/** How long a request waits for the network, in ms; the time in which a caller makes or holds bytes does not count. */
export interface Timeouts {
  /** To reach a server and agree on TLS. */
  readonly connectMs: number;
  /** For the first byte of an answer. */
  readonly answerMs: number;
  /** In which no byte moves, either way. */
  readonly idleMs: number;
}

export const TIMEOUTS: Timeouts = {
  connectMs: 10_000, // What takes longer to a server that is there is dropped packets.
  answerMs: 45_000, // A server that checks and stores 64 MiB is silent meanwhile.
  idleMs: 20_000,
};

/** As Node names it when a network times out. */
export function timedOut(message: string): Error {
  return Object.assign(new Error(message), { code: 'ETIMEDOUT' });
}
