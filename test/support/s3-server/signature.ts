import { createHmac, hash, timingSafeEqual } from 'node:crypto';
import { Refusal } from './refusal.ts';
import type { S3Request } from './request.ts';

/** Whose requests are taken. */
export interface Identity {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Undefined for keys that do not expire; then none may be sent. */
  readonly sessionToken?: string | undefined;
}

export interface Verifier {
  readonly identity: Identity;
  readonly region: string;
  readonly nowMs: number;
}

const SKEW_MS_MAX = 15 * 60_000;
const AUTHORIZATION =
  /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})$/;

/**
 * Throws a Refusal unless the request carries a signature, version 4, of its method, path, query, and of every header
 * that AWS, or the strictest of the compatible servers, wants signed. The payload's hash is among the headers; whether
 * it is the payload's is not looked at here.
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
 */
export function verifySignature(request: S3Request, verifier: Verifier): void {
  const { headers } = request;
  const authorization = headers['authorization'];
  if (authorization === undefined) throw new Refusal(403, 'AccessDenied', { message: 'Access Denied.' });
  const [, accessKeyId = '', day = '', region = '', names = '', signature = ''] =
    AUTHORIZATION.exec(authorization) ?? [];
  if (signature === '') throw malformed('The authorization header is malformed.');
  if (region !== verifier.region) {
    const message = `The authorization header is malformed; the region '${region}' is wrong; expecting '${verifier.region}'`;
    throw malformed(message, { Region: verifier.region });
  }
  if (accessKeyId !== verifier.identity.accessKeyId) throw new Refusal(403, 'InvalidAccessKeyId');
  assertToken(headers['x-amz-security-token'], verifier.identity.sessionToken);
  if (headers['x-amz-content-sha256'] === undefined) {
    const message = 'Missing required header for this request: x-amz-content-sha256';
    throw new Refusal(400, 'InvalidRequest', { message });
  }
  const stamp = headers['x-amz-date'];
  if (stamp === undefined) {
    throw new Refusal(403, 'AccessDenied', {
      message: 'AWS authentication requires a valid Date or x-amz-date header',
    });
  }
  assertNow(stamp, day, verifier.nowMs);
  const signed = names.split(';');
  assertAllSigned(request, signed);
  const scope = `${day}/${region}/s3/aws4_request`;
  const text = ['AWS4-HMAC-SHA256', stamp, scope, hash('sha256', canonicalRequest(request, signed))].join('\n');
  const expected = hmac(signingKey(verifier.identity.secretAccessKey, day, region), text);
  if (!timingSafeEqual(expected, Buffer.from(signature, 'hex'))) {
    throw new Refusal(403, 'SignatureDoesNotMatch', { elements: { StringToSign: text } });
  }
}

function assertToken(sent: string | undefined, expected: string | undefined): void {
  if (sent === expected) return;
  throw new Refusal(sent === undefined ? 403 : 400, sent === undefined ? 'InvalidAccessKeyId' : 'InvalidToken');
}

function assertNow(stamp: string, day: string, nowMs: number): void {
  const [, ...parts] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(stamp) ?? [];
  if (parts.length !== 6 || !stamp.startsWith(day)) throw malformed('x-amz-date is of another day than the credential');
  const [year, month, date, hour, minute, second] = parts.map(Number);
  const sentMs = Date.UTC(year ?? 0, (month ?? 0) - 1, date, hour, minute, second);
  if (Math.abs(sentMs - nowMs) <= SKEW_MS_MAX) return;
  throw new Refusal(403, 'RequestTimeTooSkewed', {
    message: 'The difference between the request time and the current time is too large.',
    elements: {
      RequestTime: stamp,
      ServerTime: new Date(nowMs).toISOString(),
      MaxAllowedSkewMilliseconds: String(SKEW_MS_MAX),
    },
  });
}

/** AWS wants host and x-amz-*; radosgw 20 refuses requests whose content-type is not signed. */
const SIGNED_ALWAYS = /^(?:host|content-type|content-md5|x-amz-.*)$/;

function assertAllSigned({ headers }: S3Request, signed: readonly string[]): void {
  const missing = Object.keys(headers).filter((name) => SIGNED_ALWAYS.test(name) && !signed.includes(name));
  const absent = signed.filter((name) => headers[name] === undefined);
  if (missing.length + absent.length === 0 && signed.includes('host')) return;
  throw new Refusal(403, 'AccessDenied', {
    message: 'There were headers present in the request which were not signed',
    elements: { HeadersNotSigned: [...missing, ...absent].join(', ') },
  });
}

function canonicalRequest({ method, path, query, headers }: S3Request, signed: readonly string[]): string {
  const pairs = [...query].map(([name, value]) => `${encoded(name)}=${encoded(value)}`);
  return [
    method,
    path
      .split('/')
      .map((segment) => encoded(decodeURIComponent(segment)))
      .join('/'),
    pairs.sort().join('&'),
    ...signed.map((name) => `${name}:${(headers[name] ?? '').trim().replaceAll(/ +/g, ' ')}`),
    '',
    signed.join(';'),
    headers['x-amz-content-sha256'],
  ].join('\n');
}

/** As AWS encodes: everything but the unreserved characters of RFC 3986. */
function encoded(text: string): string {
  return encodeURIComponent(text).replaceAll(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
}

function signingKey(secret: string, day: string, region: string): Buffer {
  return [day, region, 's3', 'aws4_request'].reduce<Buffer>(hmac, Buffer.from(`AWS4${secret}`));
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}

function malformed(message: string, elements: Readonly<Record<string, string>> = {}): Refusal {
  return new Refusal(400, 'AuthorizationHeaderMalformed', { message, elements });
}
