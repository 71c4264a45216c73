import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import type { Clock } from '../base/clock.ts';
import { Failure, type FailureKind, isFailure, messageOf, systemErrorCode } from '../base/failure.ts';
import type { Check } from './health.ts';
import type { ListenAddress } from './listen-address.ts';
import { refuseForeign } from './origin.ts';

/** What the routes answer with. */
export interface Served {
  readonly metrics: () => Promise<{ readonly contentType: string; readonly text: string }>;
  readonly liveness: () => readonly Check[];
  readonly readiness: () => readonly Check[];
  /** As JSON. */
  readonly status: () => unknown;
  /** Takes a snapshot; its result as JSON. */
  readonly snapshot: () => Promise<unknown>;
  /** Starts a snapshot and returns. */
  readonly preStop: () => void;
  /** Who asks may say for which application and repository (`?for=`): another one is refused. */
  readonly identity: string;
  /** Of what no answer explains: a bug of ours. */
  readonly report: (error: unknown) => void;
}

export interface HttpServer extends AsyncDisposable {
  /** On which it really listens. */
  readonly port: number;
}

/** Nobody has anything to say to us. */
const BODY_BYTES_MAX = 1024;
const HEADER_BYTES_MAX = 8 * 1024;
const CONNECTIONS_MAX = 64;
/** A request must have come whole within this time. */
const REQUEST_MS_MAX = 10_000;
const IDLE_MS_MAX = 30_000;
/** Anybody on the pod network may call it, and it costs an upload. */
const PRE_STOP_INTERVAL_MS = 60_000;

/** Serves metrics and probes to everybody, and what acts or reveals to this machine. Failure `unavailable` where the address cannot be had. */
export async function openServer(
  address: ListenAddress,
  served: Served,
  { clock }: { readonly clock: Clock },
): Promise<HttpServer> {
  const app = fastify({
    bodyLimit: BODY_BYTES_MAX,
    exposeHeadRoutes: false, // HEAD would act as GET does.
    forceCloseConnections: true,
    requestTimeout: REQUEST_MS_MAX,
    keepAliveTimeout: IDLE_MS_MAX,
    http: { maxHeaderSize: HEADER_BYTES_MAX },
  });
  app.server.maxConnections = CONNECTIONS_MAX;
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, _body, done) => done(null, undefined));
  app.setErrorHandler((error, _request, reply) => answerError(error, reply, served.report));
  app.setNotFoundHandler((_request, reply) => void reply.code(404).type(TEXT).send('not found\n'));
  addOpenRoutes(app, served, clock);
  addLocalRoutes(app, served);
  try {
    await listen(app, address);
  } catch (error) {
    await app.close();
    throw error;
  }
  return { port: portOf(app), [Symbol.asyncDispose]: () => app.close() };
}

function portOf(app: FastifyInstance): number {
  const address = app.server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

const TEXT = 'text/plain; charset=utf-8';

function addOpenRoutes(app: FastifyInstance, served: Served, clock: Clock): void {
  app.get('/metrics', async (_request, reply) => {
    const { contentType, text } = await served.metrics();
    return reply.type(contentType).send(text);
  });
  app.get('/livez', (request, reply) => answerChecks('livez', served.liveness(), { request, reply }));
  app.get('/readyz', (request, reply) => answerChecks('readyz', served.readiness(), { request, reply }));
  let preStopAtMs: number | undefined;
  app.route({
    method: ['GET', 'POST'],
    url: '/-/pre-stop',
    handler: (_request, reply) => {
      const nowMs = clock.monotonicMs();
      const isEarly = preStopAtMs !== undefined && nowMs - preStopAtMs < PRE_STOP_INTERVAL_MS;
      if (!isEarly) {
        preStopAtMs = nowMs;
        served.preStop();
      }
      return reply
        .code(202)
        .type(TEXT)
        .send(isEarly ? 'a snapshot was begun already\n' : 'a snapshot has begun\n');
    },
  });
}

/** What acts or reveals. */
function addLocalRoutes(app: FastifyInstance, served: Served): void {
  const onRequest = async (request: FastifyRequest): Promise<void> => {
    const why = foreignness(request);
    if (why !== undefined) {
      throw new RefusedRequest(403, `cannot answer ${request.method} ${request.routeOptions.url}: ${why}`);
    }
    const wanted: unknown = Object(request.query).for;
    if (wanted !== undefined && wanted !== served.identity) {
      throw new Failure('conflict', 'this run serves another application, state directory or repository');
    }
  };
  app.get('/api/v1/status', { onRequest }, async (_request, reply) => answerJson(served.status(), reply));
  app.post('/-/snapshot', { onRequest }, async (_request, reply) => answerJson(await served.snapshot(), reply));
}

class RefusedRequest extends Error {
  readonly statusCode: number;

  constructor(statusCode: number, message: string) {
    super(message);
    this.statusCode = statusCode;
  }
}

function foreignness({ raw }: FastifyRequest): string | undefined {
  const { remoteAddress, localAddress } = raw.socket;
  return refuseForeign({ remoteAddress, localAddress, headers: raw.headers });
}

function answerJson(json: unknown, reply: FastifyReply): FastifyReply {
  return reply.type('application/json; charset=utf-8').send(`${JSON.stringify(json)}\n`);
}

/** As Kubernetes answers: `[+]settings ok`. What is wrong may name paths: only this machine is told. */
function answerChecks(
  name: string,
  checks: readonly Check[],
  { request, reply }: { readonly request: FastifyRequest; readonly reply: FastifyReply },
): FastifyReply {
  const isHealthy = checks.every(({ complaint }) => complaint === undefined);
  const isTold = foreignness(request) === undefined;
  const lines = checks.map(({ name: check, complaint }) =>
    complaint === undefined ? `[+]${check} ok` : `[-]${check} failed: ${isTold ? complaint : 'reason withheld'}`,
  );
  const verdict = isHealthy ? 'ok' : `${name} check failed`;
  const isVerbose = Object.hasOwn(Object(request.query), 'verbose') || !isHealthy;
  return reply
    .code(isHealthy ? 200 : 503)
    .type(TEXT)
    .send(`${[...(isVerbose ? lines : []), verdict].join('\n')}\n`);
}

const STATUS_CODES: Readonly<Record<FailureKind, number>> = {
  invalid: 400,
  missing: 404,
  conflict: 409,
  moved: 503,
  unavailable: 503,
  corrupt: 500,
  deadline: 504,
};

function answerError(error: unknown, reply: FastifyReply, report: (error: unknown) => void): FastifyReply {
  if (isFailure(error)) {
    const { kind, message, hint } = error;
    return answerJson({ kind, message, hint: hint ?? null }, reply.code(STATUS_CODES[kind]));
  }
  const code = error instanceof Error && 'statusCode' in error ? Number(error.statusCode) : 500; // As fastify's own errors have it.
  if (code < 500)
    return reply
      .code(code)
      .type(TEXT)
      .send(`${messageOf(error)}\n`);
  report(error);
  return reply.code(500).type(TEXT).send('this is a bug: its stack is in the log\n');
}

/** Both families where there are both. */
async function listen(app: FastifyInstance, { host, port }: ListenAddress): Promise<void> {
  try {
    await app.listen({ host: host ?? '::', port });
  } catch (cause) {
    const code = systemErrorCode(cause);
    if (host === undefined && (code === 'EAFNOSUPPORT' || code === 'EADDRNOTAVAIL')) {
      return listen(app, { host: '0.0.0.0', port });
    }
    const where = `${host?.includes(':') === true ? `[${host}]` : (host ?? '')}:${port}`;
    const why = code === 'EADDRINUSE' ? 'another process has it' : (code ?? messageOf(cause));
    throw new Failure('unavailable', `cannot listen on ${where}: ${why}`, {
      cause,
      hint: 'another port with --listen, and the same in probes and the PodMonitor',
    });
  }
}
