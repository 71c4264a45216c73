import { buffer } from 'node:stream/consumers';
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { settledOrAborted } from './body.ts';
import type { PlainAnswer, PlainRequest } from './conformance.ts';
import { Exchange } from './s3-exchange.ts';
import { type Trouble, troubleOf } from './s3-failure.ts';
import type { S3Options } from './s3-location.ts';
import { S3Transport, type TransportOptions } from './s3-transport.ts';

/** One try of a request. A trouble is for the caller to repeat or to tell. */
export type Tried<T> =
  | { readonly kind: 'done'; readonly answer: T; readonly exchange: Exchange }
  | { readonly kind: 'trouble'; readonly trouble: Trouble };

/** One bucket through the AWS SDK: requests are built and signed there, and sent by `S3Transport`. Tries once. */
export class BucketClient {
  readonly bucket: string;
  readonly #options: S3Options;
  readonly #transport: S3Transport;
  readonly #client: S3Client;

  constructor(bucket: string, options: S3Options, transport: TransportOptions) {
    this.bucket = bucket;
    this.#options = options;
    this.#transport = new S3Transport(transport);
    const { endpoint, region, pathStyle } = options;
    this.#client = new S3Client({
      ...(endpoint === undefined ? {} : { endpoint }),
      ...(region === undefined ? {} : { region }),
      forcePathStyle: pathStyle ?? endpoint !== undefined,
      requestHandler: this.#transport,
      maxAttempts: 1,
      // Many compatible servers refuse the checksums that the SDK adds by itself.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
    });
  }

  /** `sha256` in hex is what the body is; without it the body is not signed. */
  async put(
    key: string,
    body: {
      readonly sizeBytes: number;
      readonly open: () => AsyncIterable<Uint8Array>;
      readonly sha256: string | undefined;
    },
    signal: AbortSignal,
  ): Promise<Tried<{ readonly encryption: string | undefined }>> {
    const { sse, kmsKeyId, storageClass } = this.#options;
    const command = new PutObjectCommand({
      ...this.#object(key),
      ContentLength: body.sizeBytes,
      ContentType: 'application/octet-stream',
      ...(sse === undefined ? {} : { ServerSideEncryption: sse }),
      ...(kmsKeyId === undefined ? {} : { SSEKMSKeyId: kmsKeyId }),
      ...(storageClass === undefined ? {} : { StorageClass: storageClass }),
    });
    command.middlewareStack.add(
      (next) => async (call) => {
        // oxlint-disable-next-line no-unsafe-type-assertion -- A request at this step, as the SDK documents it.
        const request = call.request as { readonly headers: Record<string, string> };
        request.headers['x-amz-content-sha256'] = body.sha256 ?? 'UNSIGNED-PAYLOAD';
        return await next(call);
      },
      { step: 'build' },
    );
    return await this.#try(new Exchange({ signal, body: body.open }), async (options) => {
      const { ServerSideEncryption: encryption } = await this.#client.send(command, options);
      return { encryption };
    });
  }

  /** The body is in `exchange.content`, to be read or closed. `etag` is what the object must still be. */
  async get(
    key: string,
    options: { readonly range: string | undefined; readonly etag: string | undefined; readonly signal: AbortSignal },
  ): Promise<Tried<ObjectHead>> {
    const { range, etag, signal } = options;
    const command = new GetObjectCommand({
      ...this.#object(key),
      ...(range === undefined ? {} : { Range: range }),
      ...(etag === undefined ? {} : { IfMatch: etag }),
    });
    return await this.#try(new Exchange({ signal, wantsContent: true }), (sendOptions) =>
      this.#client.send(command, sendOptions),
    );
  }

  async head(key: string, signal: AbortSignal): Promise<Tried<ObjectHead>> {
    const command = new HeadObjectCommand(this.#object(key));
    return await this.#try(new Exchange({ signal }), (options) => this.#client.send(command, options));
  }

  async headBucket(signal: AbortSignal): Promise<Tried<object>> {
    const command = new HeadBucketCommand({ Bucket: this.bucket });
    return await this.#try(new Exchange({ signal }), (options) => this.#client.send(command, options));
  }

  async list(prefix: string, token: string | undefined, signal: AbortSignal): Promise<Tried<ListedObjects>> {
    const command = new ListObjectsV2Command({
      Bucket: this.bucket,
      Prefix: prefix,
      ...(token === undefined ? {} : { ContinuationToken: token }),
    });
    return await this.#try(new Exchange({ signal }), (options) => this.#client.send(command, options));
  }

  async delete(key: string, signal: AbortSignal): Promise<Tried<object>> {
    const command = new DeleteObjectCommand(this.#object(key));
    return await this.#try(new Exchange({ signal }), (options) => this.#client.send(command, options));
  }

  /**
   * One request as it is, signed, and the answer as it came: for looking at what a server does. Fails only where no
   * answer came.
   */
  async ask({ method, key, query = {}, headers = {}, body }: PlainRequest, signal: AbortSignal): Promise<PlainAnswer> {
    const command = new HeadBucketCommand({ Bucket: this.bucket });
    let answer: PlainAnswer | undefined;
    command.middlewareStack.add(
      (next) => async (call) => {
        const request = requestOf(call.request);
        const path = key === undefined ? '' : `/${key.split('/').map(encodeURIComponent).join('/')}`;
        const length = body === undefined ? {} : { 'content-length': String(body.byteLength) };
        Object.assign(request, { method, path: request.path.replace(/\/$/, '') + path, query, body });
        Object.assign(request.headers, length, headers);
        return await next(call);
      },
      { step: 'build', priority: 'low' },
    );
    command.middlewareStack.add(
      () => async (call) => {
        const { response } = await this.#transport.handle(requestOf(call.request), { abortSignal: signal });
        const content: Uint8Array = await buffer(response.body);
        answer = { status: response.statusCode, headers: response.headers, body: content };
        return { response, output: { $metadata: {} } };
      },
      { step: 'deserialize', priority: 'high' },
    );
    await this.#client.send(command, { abortSignal: signal });
    if (answer === undefined) throw new Error('the SDK came to an end without an answer');
    return answer;
  }

  /** Asks the source of the credentials for new ones. Tells by itself no failure: the next request will. */
  async renewCredentials(): Promise<void> {
    await this.#client.config.credentials({ forceRefresh: true }).catch(() => undefined);
  }

  /** Which source gave the credentials, in words. */
  async credentialSource(): Promise<string> {
    const credentials = await this.#client.config.credentials();
    const marks: unknown = '$source' in credentials ? credentials.$source : undefined;
    const isMarked = (mark: string): boolean => typeof marks === 'object' && marks !== null && mark in marks;
    return CREDENTIAL_SOURCES.find(([mark]) => isMarked(mark))?.[1] ?? 'the instance (IMDS)';
  }

  #object(key: string): { readonly Bucket: string; readonly Key: string } {
    return { Bucket: this.bucket, Key: key };
  }

  async #try<T>(exchange: Exchange, send: (options: SendOptions) => Promise<T>): Promise<Tried<T>> {
    exchange.signal.throwIfAborted();
    try {
      const answer = await settledOrAborted(send({ exchange }), exchange.signal);
      return { kind: 'done', answer, exchange };
    } catch (error) {
      exchange.content?.close();
      exchange.signal.throwIfAborted();
      if (exchange.bodyFailure !== undefined) throw exchange.bodyFailure.error;
      return { kind: 'trouble', trouble: troubleOf(error, exchange.head) };
    }
  }
}

interface SendOptions {
  readonly abortSignal?: AbortSignal;
  readonly exchange: Exchange;
}

export interface ObjectHead {
  readonly ContentLength?: number | undefined;
  readonly ContentRange?: string | undefined;
  readonly LastModified?: Date | undefined;
  readonly ETag?: string | undefined;
}

interface ListedObjects {
  readonly Contents?:
    | readonly {
        readonly Key?: string | undefined;
        readonly Size?: number | undefined;
        readonly LastModified?: Date | undefined;
      }[]
    | undefined;
  readonly IsTruncated?: boolean | undefined;
  readonly NextContinuationToken?: string | undefined;
}

/** The SDK's marks of its sources, those first that tell how the others came about. IMDS has none. */
const CREDENTIAL_SOURCES: readonly (readonly [string, string])[] = [
  ['CREDENTIALS_ENV_VARS_STS_WEB_ID_TOKEN', 'web identity of the service account (AWS_WEB_IDENTITY_TOKEN_FILE)'],
  ['CREDENTIALS_PROFILE_STS_WEB_ID_TOKEN', 'web identity of a profile'],
  ['CREDENTIALS_PROFILE_SOURCE_PROFILE', 'a role assumed by a profile'],
  ['CREDENTIALS_PROFILE_NAMED_PROVIDER', 'a role assumed by a profile'],
  ['CREDENTIALS_PROFILE_SSO', 'single sign-on of a profile'],
  ['CREDENTIALS_PROFILE_SSO_LEGACY', 'single sign-on of a profile'],
  ['CREDENTIALS_PROFILE_PROCESS', 'a process of a profile'],
  ['CREDENTIALS_PROFILE', 'a profile of the shared credentials file'],
  ['CREDENTIALS_ENV_VARS', 'the environment (AWS_ACCESS_KEY_ID)'],
  ['CREDENTIALS_HTTP', 'the container (AWS_CONTAINER_CREDENTIALS_FULL_URI)'],
];

type SdkRequest = Parameters<S3Transport['handle']>[0];

function requestOf(request: unknown): SdkRequest {
  // oxlint-disable-next-line no-unsafe-type-assertion -- A request at these steps, as the SDK documents it.
  return request as SdkRequest;
}
