import type { Agent as PlainAgent } from 'node:http';
import { Agent as SecureAgent } from 'node:https';
import { Readable } from 'node:stream';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import type { Clock } from '../base/clock.ts';
import { http } from '../base/http.ts';
import { type AnswerHead, Exchange, type Timeouts } from './s3-exchange.ts';
import { isProxied, type ProxyVariables } from './s3-proxy.ts';
import { sendBody } from './s3-send.ts';
import { type PlainAnswer, SocketPool } from './s3-socket.ts';

type SdkHandler = InstanceType<typeof NodeHttpHandler>;
type SdkRequest = Parameters<SdkHandler['handle']>[0];
type SdkOptions = Parameters<SdkHandler['handle']>[1] & { readonly exchange?: unknown };
type SdkAnswer = Awaited<ReturnType<SdkHandler['handle']>>;

/** How the SDK reaches the network, apart from what goes past it. */
export interface TransportOptions {
  readonly clock: Clock;
  /** Trusted certificates, when not the usual ones. */
  readonly ca: readonly string[] | undefined;
  readonly proxies: ProxyVariables;
  readonly timeouts: Timeouts;
}

/**
 * What the SDK is given to send its signed requests with. Bodies of objects go past the SDK: what is sent over
 * node:http(s) from the caller's buffers, what is fetched over sockets that read into buffers of ours. Everything
 * else, and everything that goes through a proxy or comes in an unusual form, goes the SDK's own way.
 */
export class S3Transport {
  readonly metadata = { handlerProtocol: 'http/1.1' };
  readonly #options: TransportOptions;
  readonly #usual: SdkHandler;
  readonly #plainAgent: PlainAgent;
  readonly #secureAgent: SecureAgent;
  readonly #pools = new Map<string, SocketPool>();
  /** Servers whose answers cannot be read from a plain socket. */
  readonly #unusual = new Set<string>();

  constructor(options: TransportOptions) {
    this.#options = options;
    const { ca, proxies, timeouts } = options;
    const agent = { keepAlive: true, proxyEnv: { ...proxies } };
    this.#plainAgent = new http.Agent(agent);
    this.#secureAgent = new SecureAgent({ ...agent, ...(ca === undefined ? {} : { ca: [...ca] }) });
    this.#usual = new NodeHttpHandler({
      httpAgent: this.#plainAgent,
      httpsAgent: this.#secureAgent,
      connectionTimeout: timeouts.connectMs,
      requestTimeout: timeouts.answerMs,
      throwOnRequestTimeout: true,
      socketTimeout: timeouts.idleMs,
    });
  }

  async handle(request: SdkRequest, options: SdkOptions = {}): Promise<SdkAnswer> {
    const { exchange } = options;
    if (!(exchange instanceof Exchange)) return await this.#usual.handle(request, options); // Of a source of credentials.
    if (exchange.body !== undefined) {
      const agent = request.protocol === 'https:' ? this.#secureAgent : this.#plainAgent;
      const { head, body } = await sendBody(request, exchange, { agent, timeouts: this.#options.timeouts });
      exchange.head = head;
      return answerOf(head, body);
    }
    const answer = exchange.wantsContent ? await this.#fetch(request, exchange) : undefined;
    return answer ?? (await this.#sendUsually(request, exchange));
  }

  updateHttpClientConfig(): void {} // The timeouts are ours.

  httpHandlerConfigs(): object {
    return {};
  }

  async #fetch(request: SdkRequest, exchange: Exchange): Promise<SdkAnswer | undefined> {
    const pool = this.#poolFor(request);
    if (pool === undefined) return undefined;
    const answer = await pool.get(request, exchange.signal);
    if (answer.kind === 'unusual') {
      this.#unusual.add(originOf(request));
      return undefined;
    }
    return taken(answer, exchange);
  }

  #poolFor(request: SdkRequest): SocketPool | undefined {
    const origin = originOf(request);
    const { protocol, hostname, port } = request;
    const isSecure = protocol === 'https:';
    const server = { isSecure, host: hostname.replace(/^\[(.*)\]$/, '$1'), port: port ?? (isSecure ? 443 : 80) };
    if (this.#unusual.has(origin) || isProxied(server, this.#options.proxies)) return undefined;
    const { ca, clock, timeouts } = this.#options;
    const pool = this.#pools.get(origin) ?? new SocketPool({ ...server, ca, timeouts }, clock);
    this.#pools.set(origin, pool);
    return pool;
  }

  async #sendUsually(request: SdkRequest, exchange: Exchange): Promise<SdkAnswer> {
    const answer = await this.#usual.handle(request, { abortSignal: exchange.signal });
    const { statusCode, headers } = answer.response;
    exchange.head = { statusCode, headers };
    const content: unknown = answer.response.body;
    if (!exchange.wantsContent || statusCode < 200 || statusCode >= 300 || !(content instanceof Readable))
      return answer;
    exchange.content = { chunks: content, close: () => void content.destroy() };
    return answerOf(exchange.head, new Uint8Array());
  }
}

function taken(answer: Exclude<PlainAnswer, { readonly kind: 'unusual' }>, exchange: Exchange): SdkAnswer {
  exchange.head = answer.head;
  if (answer.kind === 'bad') return answerOf(answer.head, answer.body);
  exchange.content = answer.content;
  return answerOf(answer.head, new Uint8Array());
}

/** The SDK wants a stream where it knows one. */
function answerOf({ statusCode, headers }: AnswerHead, body: Uint8Array): SdkAnswer {
  return {
    response: { statusCode, headers: { ...headers }, body: Readable.from([Buffer.from(body)], { objectMode: false }) },
  };
}

function originOf({ protocol, hostname, port }: SdkRequest): string {
  return `${protocol}//${hostname}:${port ?? ''}`;
}
