import { connect as connectPlain, isIP, type Socket } from 'node:net';
import { connect as connectSecure } from 'node:tls';
import type { Clock } from '../base/clock.ts';
import {
  type AnswerHead,
  ERROR_BODY_BYTES_MAX,
  type IncomingContent,
  type SignedRequest,
  type Timeouts,
  targetOf,
  timedOut,
} from './s3-exchange.ts';

// GET over plain sockets. Node's http client allots 64 KiB for each read and hands it through streams; that, not the
// network and not TLS, is what limits it. A socket that reads into buffers of ours gives their bytes as they lie.

/** Where requests go. */
export interface Server {
  readonly isSecure: boolean;
  readonly host: string;
  readonly port: number;
  /** Trusted certificates, when not the usual ones. */
  readonly ca: readonly string[] | undefined;
  readonly timeouts: Timeouts;
}

/** An answer to a GET; `content` of a good one is open, of a bad one read. */
export type PlainAnswer =
  | { readonly kind: 'good'; readonly head: AnswerHead; readonly content: IncomingContent }
  | { readonly kind: 'bad'; readonly head: AnswerHead; readonly body: Uint8Array }
  /** In a form that is not read here: the request must go another way. */
  | { readonly kind: 'unusual' };

/** Kept for the next request at most this long: servers close silent connections, some after five seconds. */
const KEPT_MS_MAX = 4_000;

/** Connections to one server, reused one request after the other. */
export class SocketPool {
  readonly #server: Server;
  readonly #clock: Clock;
  readonly #free: PlainSocket[] = [];

  constructor(server: Server, clock: Clock) {
    this.#server = server;
    this.#clock = clock;
  }

  /** Sends a request without a body. Rejects with errors of the network, or the signal's reason. */
  async get(request: SignedRequest, signal: AbortSignal): Promise<PlainAnswer> {
    for (;;) {
      signal.throwIfAborted();
      const kept = this.#takeFree();
      const socket = kept ?? new PlainSocket(this.#server);
      try {
        return await this.#ask(socket, request, signal);
      } catch (error) {
        // A server may close a kept connection just when the next request goes out.
        const isUnheard = kept !== undefined && !socket.hasAnswered;
        if (!isUnheard || signal.aborted) throw error;
      }
    }
  }

  async #ask(socket: PlainSocket, request: SignedRequest, signal: AbortSignal): Promise<PlainAnswer> {
    const abort = (): void => socket.fail(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    let isReleased = false;
    const release = (): void => {
      if (isReleased) return;
      isReleased = true;
      signal.removeEventListener('abort', abort);
      if (socket.isReusable) this.#keep(socket);
      else socket.fail(new Error('the connection is not used any more'));
    };
    try {
      const head = await socket.request(request);
      const isGood = head.statusCode >= 200 && head.statusCode < 300;
      if (isGood && head.lengthBytes !== undefined) {
        return { kind: 'good', head, content: { chunks: socket.chunks(release), close: release } };
      }
      const body = isGood ? undefined : await socket.errorBody();
      release();
      return body === undefined ? { kind: 'unusual' } : { kind: 'bad', head, body };
    } catch (error) {
      release();
      throw error;
    }
  }

  #takeFree(): PlainSocket | undefined {
    for (let socket = this.#free.pop(); socket !== undefined; socket = this.#free.pop()) {
      if (socket.isReusable && this.#clock.monotonicMs() - socket.keptSinceMs <= KEPT_MS_MAX) {
        return socket;
      }
      socket.fail(new Error('kept for too long'));
    }
    return undefined;
  }

  #keep(socket: PlainSocket): void {
    socket.keep(this.#clock.monotonicMs());
    this.#free.push(socket);
  }
}

/** Three of them go round: one at the caller, one full, one being filled. Small enough for a processor's cache. */
const BLOCK_BYTES = 256 * 1024;
/** A block with less room than a TLS record is full. */
const ROOM_BYTES_MIN = 16 * 1024;
const HEAD_BYTES_MAX = 64 * 1024;

interface Block {
  readonly bytes: Buffer;
  start: number;
  end: number;
}

/** One connection, one request at a time. */
class PlainSocket {
  /** Of the present request. */
  hasAnswered = false;
  keptSinceMs = 0;
  readonly #socket: Socket;
  readonly #host: string;
  readonly #timeouts: Timeouts;
  readonly #spare: Block[] = [];
  #filling = newBlock();
  /** The block that the next read was told to fill: Node asks where to before it is known whether blocks move on. */
  #target = this.#filling;
  #full: Block | undefined;
  #lent: Block | undefined;
  #head: ParsedHead | undefined;
  /** Bytes of the body that have not come yet; Infinity where their number was not said. */
  #missingBytes = 0;
  #isReusable = true;
  #failure: { readonly error: unknown } | undefined;
  #waiting: { readonly resolve: () => void; readonly reject: (error: unknown) => void } | undefined;

  constructor({ isSecure, host, port, ca, timeouts }: Server) {
    this.#host = host;
    this.#timeouts = timeouts;
    const onread = {
      buffer: (): Uint8Array => this.#space(),
      callback: (count: number, view: Uint8Array): boolean => this.#received(count, view),
    };
    const options = { host, port, onread, noDelay: true };
    const names = isIP(host) === 0 ? { servername: host } : {};
    this.#socket = isSecure
      ? connectSecure({ ...options, ...names, ...(ca === undefined ? {} : { ca: [...ca] }) })
      : connectPlain(options);
    this.#socket.setTimeout(timeouts.connectMs);
    this.#socket.once(isSecure ? 'secureConnect' : 'connect', () => this.#socket.setTimeout(timeouts.answerMs));
    this.#socket.on('timeout', () => this.fail(timedOut(`no byte from ${host} for ${this.#socket.timeout} ms`)));
    this.#socket.on('error', (error) => this.fail(error));
    this.#socket.on('close', () => this.fail(closedEarly(host)));
  }

  get isReusable(): boolean {
    return this.#isReusable && this.#failure === undefined && this.#missingBytes === 0 && this.#full === undefined;
  }

  keep(nowMs: number): void {
    this.#head = undefined;
    this.keptSinceMs = nowMs;
    this.#socket.setTimeout(0);
    this.#socket.unref(); // A connection that nobody uses keeps no process alive.
    this.#socket.resume(); // So that its end is noticed.
  }

  async request(request: SignedRequest): Promise<ParsedHead> {
    this.#socket.ref();
    this.hasAnswered = false;
    this.#missingBytes = Number.POSITIVE_INFINITY;
    if (!this.#socket.connecting) this.#socket.setTimeout(this.#timeouts.answerMs);
    this.#socket.write(requestHead(request));
    while (this.#head === undefined) await this.#moved();
    this.#socket.setTimeout(0);
    return this.#head;
  }

  /** The body, its length known; `ended` is called when no more is read. */
  async *chunks(ended: () => void): AsyncGenerator<Uint8Array> {
    try {
      for (let block = await this.#nextBlock(); block !== undefined; block = await this.#nextBlock()) {
        if (block.end > block.start) yield block.bytes.subarray(block.start, block.end);
      }
    } finally {
      ended();
    }
  }

  /** What a bad answer says, as far as it is of use. */
  async errorBody(): Promise<Uint8Array> {
    const { lengthBytes, isChunked } = this.#head ?? NO_HEAD;
    if (lengthBytes !== undefined && lengthBytes <= ERROR_BODY_BYTES_MAX) {
      const block = await this.#nextBlock();
      return Uint8Array.from(block?.bytes.subarray(block.start, block.end) ?? []);
    }
    this.#isReusable = false;
    const { bytes, start } = this.#filling;
    const arrived = (): Buffer => bytes.subarray(start, this.#filling.end);
    const isWhole = (): boolean => isChunked && joinChunks(arrived()).isWhole;
    while (this.#failure === undefined && arrived().byteLength < ERROR_BODY_BYTES_MAX && !isWhole()) {
      await this.#idleUntilMoved().catch(() => undefined); // The end of the connection may be the end of the body.
    }
    return Uint8Array.from(isChunked ? joinChunks(arrived()).bytes : arrived());
  }

  /** Ends the connection; what has come is still given. */
  fail(error: unknown): void {
    this.#failure ??= { error };
    this.#socket.destroy();
    this.#waiting?.reject(this.#failure.error);
    this.#waiting = undefined;
  }

  /** The next block that is full, or the last one; undefined after that. The one before is not the caller's any more. */
  async #nextBlock(): Promise<Block | undefined> {
    if (this.#lent !== undefined) this.#spare.push(this.#lent);
    this.#lent = undefined;
    while (this.#full === undefined && this.#missingBytes > 0) await this.#idleUntilMoved();
    this.#lent = this.#full;
    this.#full = undefined;
    this.#passOn();
    return this.#lent;
  }

  async #idleUntilMoved(): Promise<void> {
    this.#socket.setTimeout(this.#timeouts.idleMs);
    await this.#moved();
    this.#socket.setTimeout(0);
  }

  /** Resolves when there is something to look at, rejects when nothing can come. */
  async #moved(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure.error;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#waiting = { resolve, reject };
    this.#socket.resume();
    await promise;
  }

  #space(): Uint8Array {
    this.#target = this.#filling;
    return this.#filling.bytes.subarray(this.#filling.end);
  }

  /** False stops the reading until somebody waits again. */
  #received(count: number, view: Uint8Array): boolean {
    const block = this.#filling;
    if (this.#target !== block) block.bytes.set(view.subarray(0, count), block.end);
    block.end += count;
    if (this.#missingBytes === 0) {
      this.fail(new Error(`${this.#host} sent more than it announced`));
      return false;
    }
    this.hasAnswered = true;
    if (this.#head === undefined) this.#readHead(block);
    else this.#count(block, count);
    this.#passOn();
    if (this.#full !== undefined || this.#head?.lengthBytes === undefined) this.#wake();
    return this.#full === undefined;
  }

  #wake(): void {
    this.#waiting?.resolve();
    this.#waiting = undefined;
  }

  #readHead(block: Block): void {
    const end = block.bytes.subarray(block.start, block.end).indexOf('\r\n\r\n');
    if (end < 0) {
      if (block.end - block.start > HEAD_BYTES_MAX) this.fail(new Error(`${this.#host} sent a head without end`));
      return;
    }
    const head = parseHead(block.bytes.toString('latin1', block.start, block.start + end));
    if (head === undefined) return this.fail(new Error(`${this.#host} does not speak HTTP/1.1`));
    block.start += end + 4;
    if (head.statusCode < 200) return this.#readHead(block); // An interim answer.
    this.#head = head;
    this.#isReusable = !head.closes;
    this.#missingBytes = head.lengthBytes ?? Number.POSITIVE_INFINITY;
    this.#count(block, block.end - block.start);
    this.#wake();
  }

  #count(block: Block, count: number): void {
    this.#missingBytes -= count;
    if (this.#missingBytes >= 0) return;
    block.end += this.#missingBytes;
    this.#missingBytes = 0;
    this.#isReusable = false;
  }

  /** Makes the block that is being filled the full one, if it is and the place is free. */
  #passOn(): void {
    const { bytes, start, end } = this.#filling;
    const isFull = bytes.byteLength - end < ROOM_BYTES_MIN || (this.#missingBytes === 0 && end > start);
    if (this.#head?.lengthBytes === undefined || !isFull || this.#full !== undefined) return;
    this.#full = this.#filling;
    this.#filling = this.#spare.pop() ?? newBlock();
    this.#filling.start = 0;
    this.#filling.end = 0;
  }
}

function newBlock(): Block {
  return { bytes: Buffer.allocUnsafeSlow(BLOCK_BYTES), start: 0, end: 0 };
}

function closedEarly(host: string): Error {
  return Object.assign(new Error(`${host} closed the connection early`), { code: 'ECONNRESET' });
}

function requestHead(request: SignedRequest): string {
  const { headers, method } = request;
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${targetOf(request)} HTTP/1.1\r\n${lines.join('')}connection: keep-alive\r\n\r\n`;
}

interface ParsedHead extends AnswerHead {
  /** Undefined where the body ends otherwise. */
  readonly lengthBytes: number | undefined;
  readonly isChunked: boolean;
  readonly closes: boolean;
}

const NO_HEAD: ParsedHead = { statusCode: 0, headers: {}, lengthBytes: 0, isChunked: false, closes: true };

/** RFC 9112, as far as answers to GET need it. */
function parseHead(text: string): ParsedHead | undefined {
  const [statusLine = '', ...lines] = text.split('\r\n');
  const [, minor, status] = /^HTTP\/1\.(\d) (\d{3})(?: |$)/.exec(statusLine) ?? [];
  if (status === undefined) return undefined;
  const headers: Record<string, string> = Object.create(null);
  for (const line of lines) {
    const colon = line.indexOf(':');
    if (colon < 1) return undefined;
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).trim();
    const earlier = headers[name];
    headers[name] = earlier === undefined ? value : `${earlier}, ${value}`;
  }
  const length = headers['content-length'];
  const isChunked = headers['transfer-encoding'] !== undefined;
  const hasLength = !isChunked && length !== undefined && /^\d{1,15}$/.test(length);
  return {
    statusCode: Number(status),
    headers,
    lengthBytes: hasLength ? Number(length) : undefined,
    isChunked,
    closes: minor === '0' || /\bclose\b/i.test(headers['connection'] ?? ''),
  };
}

/** What is in a body of the encoding `chunked`, as far as it has come. */
function joinChunks(body: Buffer): { readonly bytes: Uint8Array; readonly isWhole: boolean } {
  const parts: Uint8Array[] = [];
  for (let at = 0; ; ) {
    const end = body.indexOf('\r\n', at);
    const [size] = /^[0-9a-f]{1,8}/i.exec(body.toString('latin1', at, Math.max(at, end))) ?? [];
    if (end < 0 || size === undefined) return { bytes: Buffer.concat(parts), isWhole: false };
    const start = end + 2;
    const length = Number.parseInt(size, 16);
    if (length === 0) return { bytes: Buffer.concat(parts), isWhole: true };
    parts.push(body.subarray(start, start + length));
    at = start + length + 2;
  }
}
