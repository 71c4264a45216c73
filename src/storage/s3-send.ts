import type { ClientRequest, IncomingMessage, Agent as PlainAgent } from 'node:http';
import { request as requestSecure } from 'node:https';
import type { Socket } from 'node:net';
import { http } from '../base/http.ts';
import {
  type AnswerHead,
  ERROR_BODY_BYTES_MAX,
  type Exchange,
  type SignedRequest,
  type Timeouts,
  targetOf,
  timedOut,
} from './s3-exchange.ts';

/**
 * Sends a request with a body of announced length. Each chunk is handed to the kernel before the next one is asked
 * for, so one buffer serves a whole body. An answer that comes early, as a refusal does, ends the sending. Rejects
 * with errors of the network, the signal's reason, or what the body threw.
 */
export async function sendBody(
  request: SignedRequest,
  exchange: Exchange,
  { agent, timeouts }: { readonly agent: PlainAgent; readonly timeouts: Timeouts },
): Promise<{ readonly head: AnswerHead; readonly body: Uint8Array }> {
  const { protocol, hostname, port, method, headers } = request;
  const send = protocol === 'https:' ? requestSecure : http.request;
  const outgoing = send({ host: hostname, port, method, path: targetOf(request), headers, agent });
  await using sending = new Sending(outgoing, exchange.signal, timeouts);
  await sending.write(bodyOf(exchange));
  const incoming = await sending.answered();
  return { head: headOf(incoming), body: await sending.read(incoming) };
}

async function* bodyOf(exchange: Exchange): AsyncGenerator<Uint8Array> {
  try {
    yield* exchange.body?.() ?? [];
  } catch (error) {
    exchange.bodyFailure = { error };
    throw error;
  }
}

/** One request from its first byte to its answer. */
class Sending implements AsyncDisposable {
  readonly #outgoing: ClientRequest;
  readonly #signal: AbortSignal;
  readonly #timeouts: Timeouts;
  readonly #failed = Promise.withResolvers<never>();
  readonly #answer = Promise.withResolvers<IncomingMessage>();
  readonly #abort = (): void => void this.#outgoing.destroy(asError(this.#signal.reason));
  readonly #onTimeout = (): void => this.#give(`no byte moved for ${this.#socket?.timeout} ms`);
  readonly #connecting: NodeJS.Timeout;
  #socket: Socket | undefined;
  #hasAnswer = false;
  #isOver = false;

  constructor(outgoing: ClientRequest, signal: AbortSignal, timeouts: Timeouts) {
    this.#timeouts = timeouts;
    this.#outgoing = outgoing;
    this.#signal = signal;
    this.#failed.promise.catch(() => undefined); // Heard where somebody waits.
    const { connectMs } = timeouts;
    this.#connecting = setTimeout(() => this.#give(`no connection after ${connectMs} ms`), connectMs);
    outgoing.on('error', (error) => this.#failed.reject(error));
    outgoing.on('close', () => this.#hasAnswer || this.#failed.reject(closedEarly())); // What follows an answer is the answer's.
    outgoing.once('socket', (socket) => this.#watch(socket));
    outgoing.once('response', (incoming) => {
      this.#hasAnswer = true;
      this.#answer.resolve(incoming);
    });
    signal.addEventListener('abort', this.#abort, { once: true });
    if (signal.aborted) this.#abort();
  }

  /** All of `body`, or less if the answer is there before its end. */
  async write(body: AsyncIterable<Uint8Array>): Promise<void> {
    for await (const chunk of body) {
      if (chunk.byteLength > 0) await this.#written(chunk);
      if (this.#hasAnswer) return;
    }
    this.#outgoing.end();
  }

  async answered(): Promise<IncomingMessage> {
    return await this.#within(this.#timeouts.answerMs, this.#answer.promise);
  }

  /** The body of the answer, as far as it is of use. */
  async read(incoming: IncomingMessage): Promise<Uint8Array> {
    const parts: Uint8Array[] = [];
    const collect = async (): Promise<void> => {
      let sizeBytes = 0;
      for await (const part of incoming) {
        parts.push(part);
        sizeBytes += part.byteLength;
        if (sizeBytes >= ERROR_BODY_BYTES_MAX) return;
      }
    };
    await this.#within(this.#timeouts.idleMs, collect());
    this.#isOver = this.#outgoing.writableFinished;
    return Buffer.concat(parts);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#connecting);
    this.#signal.removeEventListener('abort', this.#abort);
    this.#socket?.off('timeout', this.#onTimeout);
    if (this.#isOver) this.#socket?.setTimeout(0);
    else this.#outgoing.destroy();
  }

  async #written(chunk: Uint8Array): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#outgoing.write(chunk, () => resolve()); // What went wrong comes as an error of the request.
    await this.#within(this.#timeouts.idleMs, Promise.race([promise, this.#answer.promise]));
  }

  /** Waits for bytes to move; the time in which the body is made does not count. */
  async #within<T>(ms: number, work: Promise<T>): Promise<T> {
    this.#socket?.setTimeout(ms);
    try {
      return await Promise.race([work, this.#failed.promise]);
    } finally {
      this.#socket?.setTimeout(0);
    }
  }

  #watch(socket: Socket): void {
    this.#socket = socket;
    socket.on('timeout', this.#onTimeout);
    const connected = (): void => {
      clearTimeout(this.#connecting);
      socket.setTimeout(this.#timeouts.idleMs);
    };
    if (socket.connecting) socket.once('encrypted' in socket ? 'secureConnect' : 'connect', connected);
    else connected();
  }

  #give(message: string): void {
    this.#outgoing.destroy(timedOut(message));
  }
}

function headOf({ statusCode, headers }: IncomingMessage): AnswerHead {
  const texts = Object.entries(headers).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, Array.isArray(value) ? value.join(', ') : value] as const],
  );
  return { statusCode: statusCode ?? 0, headers: Object.fromEntries(texts) };
}

function closedEarly(): Error {
  return Object.assign(new Error('the connection was closed early'), { code: 'ECONNRESET' });
}

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error(String(reason));
}
