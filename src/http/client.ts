import type { IncomingMessage } from 'node:http';
import { Failure, type FailureKind, isFailure, messageOf, systemErrorCode } from '../base/failure.ts';
import { http } from '../base/http.ts';
import { nullable, object, oneOf, text } from '../base/json-codec.ts';
import type { ListenAddress } from './listen-address.ts';

/** What to ask of the `run` beside us. */
export interface Question {
  readonly method: 'GET' | 'POST';
  /** With its query. */
  readonly path: string;
  /** The answer must have come within this time; undefined: as long as it takes. */
  readonly timeoutMs: number | undefined;
}

const ANSWER_BYTES_MAX = 64 * 2 ** 20;

/**
 * Asks the `run` of this machine over the loopback address: its answer as JSON, or undefined where none listens. What it
 * answers as a Failure is thrown as that; Failure `conflict` where something else listens there.
 */
export async function askRun(
  { host, port }: ListenAddress,
  question: Question,
  { signal }: { readonly signal: AbortSignal },
): Promise<unknown> {
  const name = host === undefined ? '127.0.0.1' : host.includes(':') ? `[${host}]` : host;
  const url = `http://${name}:${port}${question.path}`;
  const { timeoutMs } = question;
  const timeout = timeoutMs === undefined ? [] : [AbortSignal.timeout(timeoutMs)];
  try {
    const { status, body } = await exchange(url, question.method, AbortSignal.any([signal, ...timeout]));
    if (status === 200) return parseAnswer(url, body);
    throw failureIn(url, status, body);
  } catch (error) {
    if (isFailure(error)) throw error;
    signal.throwIfAborted();
    if (NOBODY.has(systemErrorCode(error) ?? '')) return undefined;
    const isLate = timeout.some(({ aborted }) => aborted);
    const why = isLate ? `it has not answered within ${timeoutMs} ms` : messageOf(error);
    throw new Failure('unavailable', `cannot ask the run at ${url}: ${why}`, { cause: error });
  }
}

const NOBODY = new Set(['ECONNREFUSED', 'EADDRNOTAVAIL', 'ENETUNREACH', 'EHOSTUNREACH']);

async function exchange(
  url: string,
  method: string,
  signal: AbortSignal,
): Promise<{ readonly status: number; readonly body: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  http.request(url, { method, signal, agent: false }, resolve).on('error', reject).end();
  const response = await promise;
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of response) {
    if (!Buffer.isBuffer(chunk)) continue;
    chunks.push(chunk);
    sizeBytes += chunk.byteLength;
    if (sizeBytes > ANSWER_BYTES_MAX) throw notOurs(url, `its answer is longer than ${ANSWER_BYTES_MAX} bytes`);
  }
  return { status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() };
}

function parseAnswer(url: string, body: string): unknown {
  try {
    return JSON.parse(body);
  } catch (cause) {
    throw notOurs(url, 'its answer is no JSON', cause);
  }
}

const failureShape = object<{
  readonly kind: FailureKind;
  readonly message: string;
  readonly hint: string | undefined;
}>({
  kind: oneOf('invalid', 'missing', 'conflict', 'moved', 'unavailable', 'corrupt', 'deadline'),
  message: text(64 * 1024),
  hint: nullable(text(64 * 1024)),
});

function failureIn(url: string, status: number, body: string): Failure {
  try {
    const { kind, message, hint } = failureShape.decode(JSON.parse(body), '');
    return new Failure(kind, message, hint === undefined ? {} : { hint });
  } catch (cause) {
    return notOurs(url, `it answers ${status} ${body.slice(0, 200).trim()}`, cause);
  }
}

function notOurs(url: string, why: string, cause?: unknown): Failure {
  const hint = 'compare --listen with what run was started with';
  return new Failure('conflict', `cannot ask the run at ${url}: ${why}`, { cause, hint });
}
