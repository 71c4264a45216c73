import { Failure, type FailureDetail, messageOf, systemErrorCode } from '../base/failure.ts';
import type { AnswerHead } from './s3-exchange.ts';

/** What went wrong with one try of a request, whoever noticed it: the server, the network or the SDK. */
export interface Trouble {
  /** Undefined when no answer came. */
  readonly status: number | undefined;
  /** `NoSuchKey`, `ECONNRESET`, `CredentialsProviderError`; the SDK's name for it where nothing better is known. */
  readonly code: string;
  readonly message: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly cause: unknown;
}

/** Where the request went; for messages. */
export interface Place {
  readonly bucket: string;
  readonly endpoint: string | undefined;
  readonly region: string | undefined;
}

export function troubleOf(cause: unknown, head: AnswerHead | undefined): Trouble {
  const system = systemCodeOf(cause);
  const name = cause instanceof Error ? cause.name : 'Error';
  return {
    status: head?.statusCode,
    code: head === undefined ? (system ?? name) : name,
    message: messageOf(cause),
    headers: head?.headers ?? {},
    cause,
  };
}

/** Connections to several addresses fail together, each with its own code. */
function systemCodeOf(error: unknown): string | undefined {
  if (error instanceof AggregateError) return systemErrorCode(error) ?? systemCodeOf(error.errors[0]);
  return systemErrorCode(error) ?? (error instanceof Error ? systemErrorCode(error.cause) : undefined);
}

/** Whether the same request may go well a little later. */
export function isTransient({ status, code }: Trouble): boolean {
  if (status === undefined) return NETWORK_CODES.has(code) || code === 'TimeoutError';
  return status >= 500 ? status !== 501 && status !== 505 : TRANSIENT_CODES.has(code) || TRANSIENT_STATUSES.has(status);
}

/** How long the server asks us to stay away, at most as long as is reasonable beside a deadline. */
export function waitMsOf({ headers }: Trouble): number | undefined {
  const seconds = headers['retry-after'];
  if (seconds === undefined || !/^\d{1,6}$/.test(seconds)) return undefined;
  return Math.min(Number(seconds) * 1000, WAIT_MS_MAX);
}

/** Beyond this a request counts as stalled. */
const WAIT_MS_MAX = 20_000;

/** `doing` completes "cannot": `store data/1`. */
export function failureOf(trouble: Trouble, doing: string, place: Place): Failure {
  const { words, hint, detail } = meaningOf(trouble, place);
  return new Failure('unavailable', `cannot ${doing} in bucket ${place.bucket}: ${words}`, {
    cause: trouble.cause,
    ...(hint === undefined ? {} : { hint }),
    ...(detail === undefined ? {} : { detail }),
  });
}

/** Whether the trouble says that just this object is not there. */
export function saysMissing({ status, code }: Trouble): boolean {
  return status === 404 && code !== 'NoSuchBucket';
}

interface Meaning {
  readonly words: string;
  readonly hint?: string;
  readonly detail?: FailureDetail;
}

function meaningOf(trouble: Trouble, place: Place): Meaning {
  const { status, code, message, headers } = trouble;
  const known = MEANINGS[code];
  if (known !== undefined) return known(trouble, place);
  const region = headers['x-amz-bucket-region'];
  if (status !== undefined && status >= 300 && status < 400) return elsewhere(region, place);
  if (status === 403) return denied(trouble);
  if (message === 'Region is missing') {
    return { words: 'no region is set', hint: '--s3-region, or AWS_REGION' };
  }
  if (status === undefined)
    return { words: `${message || code}${message.includes(code) ? '' : ` (${code})`}`, ...networkHint(code, place) };
  return { words: `the server answered ${status}${code === 'Error' ? '' : ` ${code}`}: ${message}` };
}

const CREDENTIALS_HINT =
  'give the pod a role (IRSA, EKS Pod Identity) or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; doctor says which source is used';

type Tell = (trouble: Trouble, place: Place) => Meaning;

const refused =
  (words: string, hint: string): Tell =>
  () => ({ words, hint, detail: 'denied' });

const MEANINGS: Readonly<Record<string, Tell>> = {
  NoSuchBucket: (_, { bucket, endpoint }) => ({
    words: `the bucket does not exist${endpoint === undefined ? '' : ` at ${endpoint}`}`,
    hint: `create the bucket ${bucket}, or correct --destination or --s3-endpoint`,
  }),
  InvalidAccessKeyId: refused('the store does not know the access key', CREDENTIALS_HINT),
  SignatureDoesNotMatch: refused(
    'the store rejects the signature',
    'check AWS_SECRET_ACCESS_KEY, and that no proxy changes requests',
  ),
  ExpiredToken: refused('the credentials have expired', 'renew them; a role of the pod renews itself'),
  TokenRefreshRequired: refused('the credentials have expired', 'renew them; a role of the pod renews itself'),
  InvalidToken: refused('the store does not accept the session token', CREDENTIALS_HINT),
  CredentialsProviderError: (trouble) => ({
    words: `no credentials were found: ${trouble.message}`,
    hint: CREDENTIALS_HINT,
    detail: 'denied',
  }),
  AccessDenied: (trouble) => denied(trouble),
  Forbidden: (trouble) => denied(trouble),
  AllAccessDisabled: (trouble) => denied(trouble),
  AccountProblem: (trouble) => denied(trouble),
  RequestTimeTooSkewed: ({ headers }) => ({
    words: `this machine's clock differs too much from the store's${headers['date'] === undefined ? '' : `, which says ${headers['date']}`}`,
    hint: 'set the clock of this machine (NTP)',
  }),
  PermanentRedirect: ({ headers }, place) => elsewhere(headers['x-amz-bucket-region'], place),
  TemporaryRedirect: ({ headers }, place) => elsewhere(headers['x-amz-bucket-region'], place),
  AuthorizationHeaderMalformed: ({ headers, message }, place) => {
    const [, region] = /expecting '([a-z0-9-]+)'/.exec(message) ?? [];
    return elsewhere(headers['x-amz-bucket-region'] ?? region, place);
  },
  IllegalLocationConstraintException: ({ headers }, place) => elsewhere(headers['x-amz-bucket-region'], place),
  InvalidObjectState: () => ({
    words: 'the object has been archived',
    hint: 'no lifecycle rule may move objects of the repository to GLACIER or DEEP_ARCHIVE',
  }),
  QuotaExceeded: full,
  XMinioStorageFull: full,
  InsufficientStorage: full,
  ObjectParentIsFile: ({ message }) => ({ words: `another object is in the way: ${message}` }),
};

function full({ message }: Trouble): Meaning {
  return {
    words: `the store is full: ${message}`,
    hint: 'free space or raise the quota of the bucket',
    detail: 'no_space',
  };
}

function denied({ message, code }: Trouble): Meaning {
  const said = message === '' || message === code || message === 'UnknownError' ? '' : ` (${message})`;
  return {
    words: `access denied${said}`,
    hint: 'allow s3:ListBucket on the bucket and s3:GetObject, s3:PutObject, s3:DeleteObject below the prefix, and the use of the KMS key if there is one',
    detail: 'denied',
  };
}

function elsewhere(region: string | undefined, place: Place): Meaning {
  const asked = place.region === undefined ? '' : `, not ${place.region}`;
  if (region === undefined) {
    return { words: 'the server sends requests for the bucket elsewhere', hint: 'check --s3-region and --s3-endpoint' };
  }
  return { words: `the bucket lies in the region ${region}${asked}`, hint: `--s3-region ${region}` };
}

function networkHint(code: string, { endpoint }: Place): { readonly hint?: string } {
  if (CERTIFICATE_CODES.test(code)) {
    return { hint: 'give the certificate authority of the store with --s3-ca-file' };
  }
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN')
    return { hint: 'check --s3-endpoint, --s3-region and name resolution' };
  if (code === 'ECONNREFUSED')
    return { hint: `check that ${endpoint ?? 'the store'} listens and may be reached from here` };
  return {};
}

const CERTIFICATE_CODES = /CERT|SELF_SIGNED|UNABLE_TO_VERIFY|UNABLE_TO_GET_ISSUER/;

/** Of the network: the server may have done the request or not, and it may be there again soon. */
const NETWORK_CODES: ReadonlySet<string> = new Set([
  'ECONNRESET',
  'ECONNREFUSED',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENETDOWN',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EADDRNOTAVAIL',
  'ERR_STREAM_PREMATURE_CLOSE',
  'ERR_STREAM_DESTROYED',
  'ERR_SSL_WRONG_VERSION_NUMBER',
  'HPE_INVALID_CONSTANT',
  'HPE_INVALID_EOF_STATE',
]);

const TRANSIENT_CODES: ReadonlySet<string> = new Set([
  'SlowDown',
  'RequestTimeout',
  'RequestTimeoutException',
  'Throttling',
  'ThrottlingException',
  'TooManyRequests',
  'TooManyRequestsException',
  'RequestLimitExceeded',
  'BandwidthLimitExceeded',
  'InternalError',
  'OperationAborted', // 409: somebody works on the same key or bucket. A 412 is never repeated.
  'ConditionalRequestConflict',
  'ConcurrentModification',
  'BadDigest', // The bytes were hurt on their way.
  'XAmzContentSHA256Mismatch',
  'IncompleteBody',
  'ExpiredToken', // New credentials are fetched before the next try.
  'TokenRefreshRequired',
  'RequestTimeTooSkewed', // The SDK has learned the difference from the answer.
]);
const TRANSIENT_STATUSES: ReadonlySet<number> = new Set([408, 409, 425, 429]);
