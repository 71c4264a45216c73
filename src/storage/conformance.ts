import { hash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { mapBounded } from '../base/concurrency.ts';

/** A request as S3 knows it; whoever sends it adds host, length, date and signature. */
export interface PlainRequest {
  readonly method: 'GET' | 'HEAD' | 'PUT' | 'DELETE';
  /** Left out for the bucket itself. */
  readonly key?: string;
  readonly query?: Readonly<Record<string, string>>;
  /** Names in lower case. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
}

export interface PlainAnswer {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

/** Sends one request to one bucket, once; fails only where no answer came. */
export type AskServer = (request: PlainRequest, signal: AbortSignal) => Promise<PlainAnswer>;

export interface Finding {
  readonly question: string;
  /** `412 PreconditionFailed`, `206 bytes 0-0/5 h`: what a client sees of the answer that it may rely on. */
  readonly answer: string;
}

export interface Probe {
  readonly ask: AskServer;
  /** Every key that is used begins with it; nothing else may lie there. Ends with a slash. */
  readonly prefix: string;
  readonly signal: AbortSignal;
}

type Question = (probe: Probing) => Promise<string>;

/** Text, so that answers can be read. */
const HELLO = Buffer.from('hello');
const OTHER = Buffer.from('other');
const RACERS = 8;
const DELETES_AT_ONCE = 8;

/**
 * What a server does with each kind of request that warmstate sends, and with those that it could send. `doctor`
 * tells what it finds of them; the strict server of our tests is held to what real servers answer.
 */
const QUESTIONS = {
  'put an object': (probe) => probe.put('k', HELLO),
  'put an empty object, and get it': async (probe) => `${await probe.put('k', Buffer.of())}, ${await probe.get('k')}`,
  'put over an object, and get it': async (probe) => {
    await probe.put('k', HELLO);
    return `${await probe.put('k', OTHER)}, ${await probe.get('k')}`;
  },
  'put a payload that is not signed': async (probe) => {
    return `${await probe.put('k', HELLO, { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' })}, ${await probe.get('k')}`;
  },
  'put a payload that is not the signed one': async (probe) => {
    return `${await probe.put('k', HELLO, { 'x-amz-content-sha256': hash('sha256', OTHER) })}, ${await probe.get('k')}`;
  },
  'put with the right checksum': (probe) => probe.put('k', HELLO, sha256Header(HELLO)),
  'put with a wrong checksum': async (probe) => {
    return `${await probe.put('k', HELLO, sha256Header(OTHER))}, ${await probe.get('k')}`;
  },
  'put with a wrong MD5': (probe) => probe.put('k', HELLO, { 'content-md5': hash('md5', OTHER, 'base64') }),
  'put in chunks, with the right checksum behind them': async (probe) => {
    return `${await probe.putInChunks('k', HELLO, crc32(HELLO))}, ${await probe.get('k')}`;
  },
  'put in chunks, with a wrong checksum behind them': async (probe) => {
    return `${await probe.putInChunks('k', HELLO, crc32(OTHER))}, ${await probe.get('k')}`;
  },
  'put in a storage class': (probe) => probe.put('k', HELLO, { 'x-amz-storage-class': 'STANDARD' }),
  'put, encrypted at rest': async (probe) => {
    const { status, headers } = await probe.ask('PUT', 'k', {
      body: HELLO,
      headers: { 'x-amz-server-side-encryption': 'AES256' },
    });
    return `${status}, ${headers['x-amz-server-side-encryption'] ?? 'says nothing of it'}`;
  },
  'put what is not there, under If-None-Match: *': (probe) => probe.put('k', HELLO, { 'if-none-match': '*' }),
  'put what is there, under If-None-Match: *': async (probe) => {
    await probe.put('k', HELLO);
    return `${await probe.put('k', OTHER, { 'if-none-match': '*' })}, ${await probe.get('k')}`;
  },
  'put over what it should be, under If-Match': async (probe) => {
    const { headers } = await probe.ask('PUT', 'k', { body: HELLO });
    return probe.put('k', OTHER, { 'if-match': headers['etag'] ?? '' });
  },
  'put over something else, under If-Match': async (probe) => {
    await probe.put('k', HELLO);
    return `${await probe.put('k', OTHER, { 'if-match': `"${hash('md5', OTHER)}"` })}, ${await probe.get('k')}`;
  },
  'put what is not there, under If-Match': (probe) => probe.put('k', HELLO, { 'if-match': `"${hash('md5', HELLO)}"` }),
  [`${RACERS} put one key at once, under If-None-Match: *`]: async (probe) => {
    const racers = Array.from({ length: RACERS }, (_, index) => Buffer.from(`racer ${index}`));
    const answers = await Promise.all(racers.map((body) => probe.put('k', body, { 'if-none-match': '*' })));
    return `${answers.filter((answer) => answer === '200').length} won`;
  },
  'what the ETag of a put is': async (probe) => {
    const { headers } = await probe.ask('PUT', 'k', { body: HELLO });
    const digest = hash('md5', HELLO);
    return { [`"${digest}"`]: 'the MD5, in quotes', [digest]: 'the MD5' }[headers['etag'] ?? ''] ?? 'something else';
  },

  'get what is not there': (probe) => probe.get('k'),
  'head what is not there': async (probe) => String((await probe.ask('HEAD', 'k')).status),
  'head an object': async (probe) => {
    await probe.put('k', HELLO);
    const { status, headers } = await probe.ask('HEAD', 'k');
    return `${status}, ${headers['content-length']} bytes`;
  },
  'get the first byte': (probe) => probe.getStretch('bytes=0-0'),
  'get from the third byte on': (probe) => probe.getStretch('bytes=2-'),
  'get the last two bytes': (probe) => probe.getStretch('bytes=-2'),
  'get a stretch that ends behind the object': (probe) => probe.getStretch('bytes=3-99'),
  'get a stretch that begins behind the object': (probe) => probe.getStretch('bytes=5-9'),
  'get a stretch of an empty object': async (probe) => {
    await probe.put('k', Buffer.of());
    return probe.get('k', { range: 'bytes=0-0' });
  },
  'get what it should be, under If-Match': async (probe) => {
    const { headers } = await probe.ask('PUT', 'k', { body: HELLO });
    return probe.get('k', { 'if-match': headers['etag'] ?? '' });
  },
  'get something else, under If-Match': async (probe) => {
    await probe.put('k', HELLO);
    return probe.get('k', { 'if-match': `"${hash('md5', OTHER)}"` });
  },
  'get what is known, under If-None-Match': async (probe) => {
    const { headers } = await probe.ask('PUT', 'k', { body: HELLO });
    return probe.get('k', { 'if-none-match': headers['etag'] ?? '' });
  },
  'whether a get dates the object to the second': async (probe) => {
    await probe.put('k', HELLO);
    const { headers } = await probe.ask('GET', 'k');
    const ms = Date.parse(headers['last-modified'] ?? '');
    return Number.isNaN(ms) ? 'not at all' : ms % 1000 === 0 ? 'yes' : 'finer';
  },

  'delete an object, and get it': async (probe) => {
    await probe.put('k', HELLO);
    return `${codeOf(await probe.ask('DELETE', 'k'))}, ${await probe.get('k')}`;
  },
  'delete what is not there': async (probe) => codeOf(await probe.ask('DELETE', 'k')),

  'list by prefix': async (probe) => {
    for (const key of ['a/1', 'a/2', 'b']) await probe.put(key, HELLO);
    return probe.list({ prefix: `${probe.prefix}a/` });
  },
  'list what is not there': (probe) => probe.list({ prefix: `${probe.prefix}x` }),
  'list a prefix that ends within a name': async (probe) => {
    for (const key of ['part-1', 'part-2', 'pa', 'q']) await probe.put(key, HELLO);
    return probe.list({ prefix: `${probe.prefix}part` });
  },
  'list in the order of bytes': async (probe) => {
    for (const key of ['o/a/1', 'o/a-', 'o/a.b', 'o/B']) await probe.put(key, HELLO);
    return probe.list({ prefix: `${probe.prefix}o/` });
  },
  'list in pages of two': async (probe) => {
    for (const key of ['p/1', 'p/2', 'p/3']) await probe.put(key, HELLO);
    return probe.list({ prefix: `${probe.prefix}p/`, 'max-keys': '2' });
  },
  'list after a name that is between two': async (probe) => {
    for (const key of ['s/1', 's/3']) await probe.put(key, HELLO);
    return probe.list({ prefix: `${probe.prefix}s/`, 'start-after': `${probe.prefix}s/2` });
  },
  'how a list dates objects': async (probe) => {
    for (const key of ['d/1', 'd/2', 'd/3']) await probe.put(key, HELLO);
    const query = { 'list-type': '2', prefix: `${probe.prefix}d/` };
    const dates = textOf(await probe.ask('GET', undefined, { query })).matchAll(/<LastModified>(.*?)<\/LastModified>/g);
    return [...dates].every(([, date = '']) => Date.parse(date) % 1000 === 0) ? 'to the second' : 'finer';
  },

  'a name of 200 bytes in a key of 900': async (probe) => {
    const longest = [...Array.from({ length: 9 }, () => 'k'.repeat(200)), 'k'.repeat(900)].join('/');
    const key = longest.slice(0, 900 - Buffer.byteLength(probe.prefix));
    return `${await probe.put(key, HELLO)}, ${await probe.get(key)}`;
  },
  'a name with a percent sign and dots': async (probe) => {
    return `${await probe.put('%/a%2Fb/a..b', HELLO)}, ${await probe.get('%/a%2Fb/a..b')}`;
  },
  'the lifecycle of the bucket': async (probe) =>
    codeOf(await probe.ask('GET', undefined, { query: { lifecycle: '' } })),
  'head the bucket': async (probe) => codeOf(await probe.ask('HEAD', undefined)),
  'whether it tells the time': async (probe) => {
    const { headers } = await probe.ask('HEAD', undefined);
    return Number.isNaN(Date.parse(headers['date'] ?? '')) ? 'no' : 'yes';
  },
} satisfies Readonly<Record<string, Question>>;

export type QuestionName = keyof typeof QUESTIONS;

/** Puts the questions, all of them if none are named, and removes what it stored, unless the signal aborts. */
export async function probeServer(probe: Probe, names?: readonly QuestionName[]): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  for (const [question, put] of Object.entries<Question>(QUESTIONS)) {
    if (names !== undefined && !names.some((name) => name === question)) continue;
    const probing = new Probing(probe);
    try {
      findings.push({ question, answer: await put(probing) });
    } finally {
      await probing.clean();
    }
  }
  return findings;
}

/** The requests of one question; remembers which keys it used. */
class Probing {
  readonly prefix: string;
  readonly #probe: Probe;
  readonly #keys = new Set<string>();

  constructor(probe: Probe) {
    this.prefix = probe.prefix;
    this.#probe = probe;
  }

  ask(method: PlainRequest['method'], key: string | undefined, more: Partial<PlainRequest> = {}): Promise<PlainAnswer> {
    if (key !== undefined && method === 'PUT') this.#keys.add(key);
    const named = key === undefined ? {} : { key: this.prefix + key };
    return this.#probe.ask({ method, ...named, ...more }, this.#probe.signal);
  }

  async put(key: string, body: Uint8Array, headers: Readonly<Record<string, string>> = {}): Promise<string> {
    return codeOf(await this.ask('PUT', key, { body, headers }));
  }

  /** As the SDK sends a stream by default: aws-chunked, its checksum in a trailer. */
  async putInChunks(key: string, bytes: Uint8Array, checksum: number): Promise<string> {
    const base64 = Buffer.from(checksum.toString(16).padStart(8, '0'), 'hex').toString('base64');
    const trailer = `x-amz-checksum-crc32:${base64}`;
    const body = Buffer.from(
      `${bytes.byteLength.toString(16)}\r\n${textOf({ body: bytes })}\r\n0\r\n${trailer}\r\n\r\n`,
    );
    return this.put(key, body, {
      'content-encoding': 'aws-chunked',
      'x-amz-content-sha256': 'STREAMING-UNSIGNED-PAYLOAD-TRAILER',
      'x-amz-decoded-content-length': String(bytes.byteLength),
      'x-amz-trailer': 'x-amz-checksum-crc32',
    });
  }

  async get(key: string, headers: Readonly<Record<string, string>> = {}): Promise<string> {
    const answer = await this.ask('GET', key, { headers });
    const range = answer.headers['content-range'];
    return answer.status < 300
      ? [answer.status, range, `'${textOf(answer)}'`].filter((part) => part !== undefined).join(' ')
      : codeOf(answer);
  }

  async getStretch(range: string): Promise<string> {
    await this.put('k', HELLO);
    return this.get('k', { range });
  }

  /** The keys of every page, below the prefix; pages are set apart by bars. */
  async list(query: Readonly<Record<string, string>>): Promise<string> {
    const pages: string[] = [];
    for (let token: string | undefined = ''; token !== undefined; ) {
      const more: Record<string, string> = token === '' ? {} : { 'continuation-token': token };
      const answer = await this.ask('GET', undefined, { query: { 'list-type': '2', ...query, ...more } });
      if (answer.status !== 200) return codeOf(answer);
      const text = textOf(answer);
      const keys = [...text.matchAll(/<Key>(.*?)<\/Key>/g)].map(([, key = '']) => key.slice(this.prefix.length));
      pages.push(keys.join(' '));
      token = /<NextContinuationToken>(.*?)<\/NextContinuationToken>/.exec(text)?.[1];
    }
    return pages.join(' | ');
  }

  async clean(): Promise<void> {
    const { signal } = this.#probe;
    await mapBounded([...this.#keys], { limit: DELETES_AT_ONCE, signal }, (key) => this.ask('DELETE', key));
  }
}

function sha256Header(bytes: Uint8Array): Readonly<Record<string, string>> {
  return { 'x-amz-checksum-sha256': hash('sha256', bytes, 'base64') };
}

/** The status, and the code of the error where there is one. */
export function codeOf(answer: PlainAnswer): string {
  const code = answer.status < 300 ? undefined : /<Code>(.*?)<\/Code>/.exec(textOf(answer))?.[1];
  return code === undefined ? String(answer.status) : `${answer.status} ${code}`;
}

function textOf({ body }: Pick<PlainAnswer, 'body'>): string {
  return Buffer.from(body).toString();
}
