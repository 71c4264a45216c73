import { buffer } from 'node:stream/consumers';
import { HeadBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import type { AskServer, PlainAnswer } from '../../../src/storage/conformance.ts';
import type { TestServer } from './real-servers.ts';

/** What is wrong with every request of a client. */
export interface Flaw {
  readonly accessKeyId?: string;
  readonly secretAccessKey?: string;
  readonly region?: string;
  readonly clockAheadMs?: number;
  readonly bucket?: string;
  /** Changed or added when all was signed; undefined takes a header away. */
  readonly unsignedHeaders?: Readonly<Record<string, string | undefined>>;
}

type Headers = Record<string, string>;

/** Signed requests as plain as they go on the wire: the SDK builds and signs them, and reads nothing into the answers. */
export function openPlainClient(
  server: Omit<TestServer, keyof AsyncDisposable>,
  flaw: Flaw = {},
): { readonly ask: AskServer } & Disposable {
  const { accessKeyId = server.identity.accessKeyId, secretAccessKey = server.identity.secretAccessKey } = flaw;
  const handler = new NodeHttpHandler();
  const client = new S3Client({
    endpoint: server.endpoint,
    region: flaw.region ?? server.region,
    credentials: { accessKeyId, secretAccessKey },
    systemClockOffset: flaw.clockAheadMs ?? 0,
    forcePathStyle: true,
    maxAttempts: 1,
    requestHandler: handler,
  });
  const ask: AskServer = async ({ method, key, query = {}, headers = {}, body = Buffer.of() }, signal) => {
    const command = new HeadBucketCommand({ Bucket: flaw.bucket ?? server.bucket });
    let answer: PlainAnswer | undefined;
    command.middlewareStack.add(
      (next) => async (call) => {
        const request = requestOf(call.request);
        const path = key === undefined ? '' : `/${key.split('/').map(encodeURIComponent).join('/')}`;
        const sized: Headers = method === 'PUT' ? { 'content-length': String(body.byteLength) } : {};
        Object.assign(request, { method, path: request.path.replace(/\/$/, '') + path, query, body });
        Object.assign(request.headers, sized, headers);
        return next(call);
      },
      { step: 'build', priority: 'low' },
    );
    command.middlewareStack.add(
      () => async (call) => {
        const request = requestOf(call.request);
        for (const [name, value] of Object.entries(flaw.unsignedHeaders ?? {})) {
          if (value === undefined) delete request.headers[name];
          else request.headers[name] = value;
        }
        const { response } = await handler.handle(request, { abortSignal: signal });
        answer = {
          status: response.statusCode,
          headers: response.headers,
          body: Uint8Array.from(await buffer(response.body)),
        };
        return { response, output: { $metadata: {} } };
      },
      { step: 'deserialize', priority: 'high' },
    );
    await client.send(command, { abortSignal: signal });
    if (answer === undefined) throw new Error('no answer');
    return answer;
  };
  return { ask, [Symbol.dispose]: () => client.destroy() };
}

type SignedRequest = Parameters<NodeHttpHandler['handle']>[0];

function requestOf(request: unknown): SignedRequest {
  // oxlint-disable-next-line no-unsafe-type-assertion -- A request at these steps, as the SDK documents it.
  return request as SignedRequest;
}
