import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { type Answer, refusalAnswer } from './answer.ts';
import { Bucket } from './bucket.ts';
import { FaultScripts, type S3Fault, type S3FaultScript } from './faults.ts';
import { type ServerHabits, serve } from './operations.ts';
import { verifiedPayload } from './payload.ts';
import { Refusal } from './refusal.ts';
import { readRequest, type S3Operation, type S3Request } from './request.ts';
import { type Identity, verifySignature } from './signature.ts';

const KEEP_ALIVE_MS = 60_000;

export interface S3ServerOptions extends Partial<ServerHabits> {
  readonly identity?: Identity;
  readonly region?: string;
  /** The bucket that there is from the start; others are missing until they are created. */
  readonly bucket?: string;
  /** The server's clock is so much ahead of this machine's. */
  readonly clockAheadMs?: number;
  /** A connection without a request is ended after so long. */
  readonly keepAliveMs?: number;
  /** PEM; then it speaks TLS. */
  readonly tls?: { readonly key: string; readonly cert: string };
}

/** One request as it came, also when it was refused. */
export interface LoggedRequest {
  readonly operation: S3Operation;
  readonly bucket: string;
  readonly key: string;
  readonly query: Readonly<Record<string, string>>;
  readonly headers: Readonly<Record<string, string>>;
  /** Counts from 1; requests with the same number came over the same connection. */
  readonly connection: number;
  /** Of its body. */
  receivedBytes: number;
  /** What was answered; undefined while nothing was, and for good where a fault kept the answer. */
  status: number | undefined;
  /** The code of the error, if it was one. */
  code: string | undefined;
}

/**
 * An S3 server in this process that takes nothing on trust: signatures, payload hashes, checksums, conditions and
 * the clock are verified as AWS documents them, what it does not know is 501. Faults are scripted per request, and
 * every request is logged. `src/storage/conformance.ts` holds it to what real servers do.
 */
export class S3Server implements AsyncDisposable {
  /** `http://127.0.0.1:<port>` */
  readonly endpoint: string;
  readonly identity: Identity;
  readonly region: string;
  readonly bucket: string;
  readonly log: LoggedRequest[] = [];
  readonly #server: Server;
  readonly #buckets = new Map<string, Bucket>();
  readonly #faults = new FaultScripts();
  readonly #habits: ServerHabits;
  readonly #clockAheadMs: number;
  readonly #connections = new WeakMap<Socket, number>();
  readonly #sockets = new Set<Socket>();
  #connectionCount = 0;

  private constructor(options: S3ServerOptions, makeServer: (listener: RequestListener) => Server) {
    this.identity = options.identity ?? { accessKeyId: 'test', secretAccessKey: 'testtest' };
    this.region = options.region ?? 'us-east-1';
    this.bucket = options.bucket ?? 'bucket';
    this.#buckets.set(this.bucket, new Bucket());
    this.#habits = {
      conditions: options.conditions ?? 'aws',
      encryption: options.encryption ?? 'echoed',
      pageKeysMax: options.pageKeysMax ?? 1000,
      lifecycle: options.lifecycle,
    };
    this.#clockAheadMs = options.clockAheadMs ?? 0;
    this.#server = makeServer((message, response) => void this.#take(message, response));
    this.#server.keepAliveTimeout = options.keepAliveMs ?? KEEP_ALIVE_MS;
    this.#server.on(options.tls === undefined ? 'connection' : 'secureConnection', (socket: Socket) => {
      this.#connections.set(socket, ++this.#connectionCount);
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
    this.#server.listen(0, '127.0.0.1');
    this.endpoint = '';
  }

  static async open(options: S3ServerOptions = {}): Promise<S3Server> {
    const { tls } = options;
    const make = (listener: RequestListener): Server =>
      tls === undefined ? createServer(listener) : createSecureServer(tls, listener);
    const server = new S3Server(options, make);
    await once(server.#server, 'listening');
    const address = server.#server.address();
    if (address === null || typeof address === 'string') throw new Error(`it listens on ${address}`);
    const scheme = tls === undefined ? 'http' : 'https';
    return Object.assign(server, { endpoint: `${scheme}://127.0.0.1:${address.port}` });
  }

  /** Adds a script of faults to those that are in force. */
  script(fault: S3FaultScript): void {
    this.#faults.add(fault);
  }

  /** From now on nothing goes wrong. */
  heal(): void {
    this.#faults.clear();
  }

  /** How many connections were ever opened. */
  get connectionCount(): number {
    return this.#connectionCount;
  }

  /** How many are open now. */
  get openConnectionCount(): number {
    return this.#sockets.size;
  }

  /** Ends the connections on which no request is being answered, as a load balancer does. */
  endIdleConnections(): void {
    this.#server.closeIdleConnections();
  }

  /** Every key of the bucket, sorted. */
  keys(): readonly string[] {
    return this.#bucketOf(this.bucket).keys();
  }

  bytesOf(key: string): Uint8Array {
    return Uint8Array.from(this.#existing(key).bytes);
  }

  /** What came with an object and is told of it again: encryption, storage class, checksums. */
  headersOf(key: string): Readonly<Record<string, string>> {
    return this.#existing(key).headers;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  async #take(message: IncomingMessage, response: ServerResponse): Promise<void> {
    message.on('error', () => undefined); // Whoever hung up is not answered.
    response.on('error', () => undefined);
    response.setHeader('date', new Date(this.#nowMs()).toUTCString());
    response.setHeader('x-amz-request-id', String(this.log.length + 1).padStart(16, '0'));
    try {
      const request = readRequest(message, new Set(this.#buckets.keys()));
      const logged = this.#note(request, message.socket);
      const fault = this.#faults.next(request);
      const answer = await this.#answer(request, { message, fault, logged });
      if (answer === undefined) return;
      await send(response, answer, { request, fault });
    } catch (error) {
      if (message.destroyed && !message.complete) return;
      if (!(error instanceof Refusal)) throw error;
      const answer = refusalAnswer(error, message.url ?? '');
      response.writeHead(answer.status, answer.headers).end(message.method === 'HEAD' ? undefined : answer.body);
    }
  }

  /** Undefined where nothing shall be answered. */
  async #answer(
    request: S3Request,
    at: { readonly message: IncomingMessage; readonly fault: S3Fault | undefined; readonly logged: LoggedRequest },
  ): Promise<Answer | undefined> {
    const { message, fault, logged } = at;
    if (fault?.kind === 'reset' && fault.at === 'before') return void message.socket.resetAndDestroy();
    if (fault?.kind === 'silence' && fault.at === 'before') return undefined;
    if (fault?.kind === 'delay') await delay(fault.ms);
    try {
      if (fault?.kind === 'answer' && fault.after !== true) throw scripted(fault);
      if (fault?.kind === 'redirect') throw redirected(fault.region, request.bucket);
      verifySignature(request, { identity: this.identity, region: this.region, nowMs: this.#nowMs() });
      const sent = await readBody(message, { fault, logged });
      if (sent === undefined) return undefined;
      const payload = verifiedPayload(request, sent);
      const served = { buckets: this.#buckets, habits: this.#habits, nowMs: this.#nowMs(), fault };
      const answer = serve(request, payload, served);
      if (fault?.kind === 'answer') throw scripted(fault);
      if (fault?.kind === 'reset') return void message.socket.resetAndDestroy();
      if (fault?.kind === 'silence') return undefined;
      logged.status = answer.status;
      return answer;
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      Object.assign(logged, { status: error.status, code: error.code });
      return refusalAnswer(error, `/${request.bucket}/${request.key}`);
    }
  }

  #note(request: S3Request, socket: Socket): LoggedRequest {
    const { operation, bucket, key, query, headers } = request;
    const logged: LoggedRequest = {
      operation,
      bucket,
      key,
      query: Object.fromEntries(query),
      headers,
      connection: this.#connections.get(socket) ?? 0,
      receivedBytes: 0,
      status: undefined,
      code: undefined,
    };
    this.log.push(logged);
    return logged;
  }

  #nowMs(): number {
    return Date.now() + this.#clockAheadMs;
  }

  #bucketOf(name: string): Bucket {
    const bucket = this.#buckets.get(name);
    if (bucket === undefined) throw new Error(`no bucket ${name}`);
    return bucket;
  }

  #existing(key: string) {
    const object = this.#bucketOf(this.bucket).find(key);
    if (object === undefined) throw new Error(`no object ${key}`);
    return object;
  }
}

/** Undefined when a fault ended the connection meanwhile. */
async function readBody(
  message: IncomingMessage,
  { fault, logged }: { readonly fault: S3Fault | undefined; readonly logged: LoggedRequest },
): Promise<Uint8Array | undefined> {
  const length = message.headers['content-length'] ?? message.headers['x-amz-decoded-content-length'];
  if (message.method === 'PUT' && length === undefined) {
    throw new Refusal(411, 'MissingContentLength');
  }
  const resetAt = fault?.kind === 'reset' && typeof fault.at === 'object' ? fault.at.receivedBytes : undefined;
  const chunks: Uint8Array[] = [];
  for await (const chunk of message as AsyncIterable<Uint8Array>) {
    chunks.push(chunk);
    logged.receivedBytes += chunk.byteLength;
    if (resetAt !== undefined && logged.receivedBytes >= resetAt) return void message.socket.resetAndDestroy();
  }
  return Buffer.concat(chunks);
}

async function send(
  response: ServerResponse,
  answer: Answer,
  { request, fault }: { readonly request: S3Request; readonly fault: S3Fault | undefined },
): Promise<void> {
  const { status, headers } = answer;
  const body = fault?.kind === 'flip' ? flipped(answer.body) : answer.body;
  const hasBody = request.method !== 'HEAD' && status !== 204 && status !== 304;
  if (fault?.kind === 'close') response.setHeader('connection', 'close');
  if (fault?.kind !== 'chunked' && status !== 204 && status !== 304) {
    response.setHeader('content-length', body.byteLength);
  }
  response.writeHead(status, headers);
  if (!hasBody) return void response.end();
  if (fault?.kind === 'truncate') {
    response.write(body.subarray(0, fault.keptBytes), () => response.socket?.end());
  } else if (fault?.kind === 'stall') {
    response.flushHeaders();
    response.write(body.subarray(0, fault.keptBytes));
  } else if (fault?.kind === 'slow') {
    for (let at = 0; at < body.byteLength && !response.destroyed; at += fault.pieceBytes) {
      response.write(body.subarray(at, at + fault.pieceBytes));
      await delay(fault.everyMs);
    }
    response.end();
  } else {
    response.end(body);
  }
}

function flipped(bytes: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(bytes);
  const middle = Math.floor(copy.byteLength / 2);
  copy[middle] = (copy[middle] ?? 0) ^ 1;
  return copy;
}

function scripted({ status, code, message, headers }: S3Fault & { kind: 'answer' }): Refusal {
  return new Refusal(status, code, { message: message ?? code, headers: headers ?? {} });
}

function redirected(region: string, bucket: string): Refusal {
  return new Refusal(301, 'PermanentRedirect', {
    message: 'The bucket you are attempting to access must be addressed using the specified endpoint.',
    headers: { 'x-amz-bucket-region': region },
    elements: { Bucket: bucket, Endpoint: `${bucket}.s3.${region}.amazonaws.com` },
  });
}
