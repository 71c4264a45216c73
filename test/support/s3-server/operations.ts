import { hash } from 'node:crypto';
import { type Answer, documentAnswer, element, emptyAnswer } from './answer.ts';
import { Bucket, type StoredObject } from './bucket.ts';
import type { S3Fault } from './faults.ts';
import { checksumsOf } from './payload.ts';
import { Refusal } from './refusal.ts';
import type { S3Request } from './request.ts';

export interface ServerHabits {
  /** `aws`: If-Match and If-None-Match count. `ignored`: as if they had not been sent, as some servers do. */
  readonly conditions: 'aws' | 'ignored';
  /** What becomes of a wish for encryption: done and told, 200 without doing it, or 501. */
  readonly encryption: 'echoed' | 'ignored' | 'refused';
  /** At most so many keys in a page of a list. */
  readonly pageKeysMax: number;
  /** The rules of every bucket, as the XML that was put; undefined for none. */
  readonly lifecycle?: string | undefined;
}

export interface Served {
  readonly buckets: Map<string, Bucket>;
  readonly habits: ServerHabits;
  readonly nowMs: number;
  readonly fault: S3Fault | undefined;
}

const OBJECT_BYTES_MAX = 5 * 1024 ** 3;
const KEY_BYTES_MAX = 1024;
const STORAGE_CLASSES =
  /^(?:STANDARD|STANDARD_IA|ONEZONE_IA|INTELLIGENT_TIERING|GLACIER|GLACIER_IR|DEEP_ARCHIVE|REDUCED_REDUNDANCY|EXPRESS_ONEZONE)$/;

/** Does what a request asks for, whose signature and payload were verified. Errors are Refusals. */
export function serve(request: S3Request, payload: Uint8Array, served: Served): Answer {
  if (request.operation === 'CreateBucket') return createBucket(request, served);
  const bucket = served.buckets.get(request.bucket);
  if (bucket === undefined) throw new Refusal(404, 'NoSuchBucket', { elements: { BucketName: request.bucket } });
  switch (request.operation) {
    case 'PutObject':
      return putObject(request, payload, { bucket, served });
    case 'GetObject':
    case 'HeadObject':
      return getObject(request, bucket, served.habits);
    case 'DeleteObject':
      return deleteObject(request, bucket, served.habits);
    case 'ListObjectsV2':
      return listObjects(request, bucket, served);
    case 'HeadBucket':
      return emptyAnswer(200);
    case 'GetBucketLocation':
      return documentAnswer(200, 'LocationConstraint', '');
    case 'GetBucketVersioning':
      return documentAnswer(200, 'VersioningConfiguration', '');
    case 'GetBucketLifecycleConfiguration':
      if (served.habits.lifecycle === undefined) throw new Refusal(404, 'NoSuchLifecycleConfiguration');
      return documentAnswer(200, 'LifecycleConfiguration', served.habits.lifecycle);
  }
}

function createBucket({ bucket }: S3Request, { buckets }: Served): Answer {
  if (buckets.has(bucket)) throw new Refusal(409, 'BucketAlreadyOwnedByYou');
  buckets.set(bucket, new Bucket());
  return emptyAnswer(200, { location: `/${bucket}` });
}

function putObject(
  { key, headers }: S3Request,
  bytes: Uint8Array,
  { bucket, served }: { readonly bucket: Bucket; readonly served: Served },
): Answer {
  if (Buffer.byteLength(key) > KEY_BYTES_MAX) throw new Refusal(400, 'KeyTooLongError');
  if (bytes.byteLength > OBJECT_BYTES_MAX) throw new Refusal(400, 'EntityTooLarge');
  if (!STORAGE_CLASSES.test(headers['x-amz-storage-class'] ?? 'STANDARD'))
    throw new Refusal(400, 'InvalidStorageClass');
  const old = bucket.find(key);
  if (served.habits.conditions === 'aws') {
    if (headers['if-match'] !== undefined && old === undefined) throw new Refusal(404, 'NoSuchKey');
    assertMatch(headers['if-match'], old);
    assertNoneMatch(headers['if-none-match'], old, 412);
  }
  const kept = { ...encryptionOf(headers, served), ...checksumsOf(headers), ...metadataOf(headers) };
  const etag = `"${hash('md5', bytes)}"`;
  const modifiedMs = Math.floor(served.nowMs / 1000) * 1000;
  bucket.change(key, { key, bytes: Uint8Array.from(bytes), etag, modifiedMs, headers: kept });
  return emptyAnswer(200, { etag, ...encryptionOf(headers, served), ...checksumsOf(headers) });
}

function encryptionOf(headers: S3Request['headers'], { habits, fault }: Served): Record<string, string> {
  const algorithm = headers['x-amz-server-side-encryption'];
  const keyId = headers['x-amz-server-side-encryption-aws-kms-key-id'];
  if (keyId !== undefined && algorithm !== 'aws:kms') throw new Refusal(400, 'InvalidArgument');
  if (algorithm === undefined) return {};
  if (!/^(?:AES256|aws:kms)$/.test(algorithm)) throw new Refusal(400, 'InvalidEncryptionAlgorithmError');
  if (habits.encryption === 'refused') throw new Refusal(501, 'NotImplemented');
  if (habits.encryption === 'ignored' || fault?.kind === 'store-plain') return {};
  const echo = { 'x-amz-server-side-encryption': algorithm };
  return keyId === undefined ? echo : { ...echo, 'x-amz-server-side-encryption-aws-kms-key-id': keyId };
}

function metadataOf(headers: S3Request['headers']): Record<string, string> {
  const kept = Object.fromEntries(
    Object.entries(headers).filter(([name]) => /^(?:x-amz-meta-.*|content-type)$/.test(name)),
  );
  const storageClass = headers['x-amz-storage-class'] ?? 'STANDARD';
  return storageClass === 'STANDARD' ? kept : { ...kept, 'x-amz-storage-class': storageClass };
}

function getObject({ key, headers }: S3Request, bucket: Bucket, habits: ServerHabits): Answer {
  const object = bucket.find(key);
  if (object === undefined) throw new Refusal(404, 'NoSuchKey', { elements: { Key: key } });
  if (habits.conditions === 'aws') {
    assertMatch(headers['if-match'], object);
    assertNoneMatch(headers['if-none-match'], object, 304);
  }
  const range = rangeOf(headers['range'], object.bytes.byteLength);
  const checksums = checksumsOf(object.headers);
  const tellsChecksums = range === undefined && headers['x-amz-checksum-mode'] === 'ENABLED';
  const told = Object.entries(object.headers).filter(([name]) => tellsChecksums || !(name in checksums));
  const facts = {
    'content-type': 'binary/octet-stream',
    'accept-ranges': 'bytes',
    'last-modified': new Date(object.modifiedMs).toUTCString(),
    etag: object.etag,
    ...Object.fromEntries(told),
  };
  if (range === undefined) return { status: 200, headers: facts, body: object.bytes };
  const contentRange = `bytes ${range.start}-${range.end - 1}/${object.bytes.byteLength}`;
  const headersOfRange = { ...facts, 'content-range': contentRange };
  return { status: 206, headers: headersOfRange, body: object.bytes.subarray(range.start, range.end) };
}

/** `bytes=a-b`, `bytes=a-` and `bytes=-n`; what is no range of bytes is passed over, as HTTP wants it. */
function rangeOf(
  header: string | undefined,
  sizeBytes: number,
): { readonly start: number; readonly end: number } | undefined {
  const [, first = '', last = ''] = /^bytes=(\d*)-(\d*)$/.exec(header ?? '') ?? [];
  if (first === '' && last === '') return undefined;
  const start = first === '' ? Math.max(0, sizeBytes - Number(last)) : Number(first);
  const end = first === '' || last === '' ? sizeBytes : Math.min(sizeBytes, Number(last) + 1);
  if (start < sizeBytes && start < end) return { start, end };
  throw new Refusal(416, 'InvalidRange', {
    headers: { 'content-range': `bytes */${sizeBytes}` },
    elements: { ActualObjectSize: String(sizeBytes), RangeRequested: header ?? '' },
  });
}

function deleteObject({ key, headers }: S3Request, bucket: Bucket, habits: ServerHabits): Answer {
  const old = bucket.find(key);
  if (habits.conditions === 'aws' && old !== undefined) assertMatch(headers['if-match'], old);
  if (old !== undefined) bucket.change(key, undefined);
  return emptyAnswer(204);
}

function listObjects({ query, bucket: name }: S3Request, bucket: Bucket, { habits, fault }: Served): Answer {
  if (query.has('delimiter')) throw new Refusal(501, 'NotImplemented', { message: 'delimiter' });
  const wanted = Number(query.get('max-keys') ?? 1000);
  if (!Number.isInteger(wanted) || wanted < 0) throw new Refusal(400, 'InvalidArgument', { message: 'max-keys' });
  const keysMax = Math.min(wanted, habits.pageKeysMax, 1000);
  const prefix = query.get('prefix') ?? '';
  const token = query.get('continuation-token');
  const after = token === null ? (query.get('start-after') ?? '') : keyOfToken(token);
  const changesAgo = fault?.kind === 'stale' ? fault.changesAgo : 0;
  const { objects, isTruncated } = bucket.list({ prefix, after, keysMax, changesAgo });
  const shown = (key: string): string => (query.get('encoding-type') === 'url' ? encodeURIComponent(key) : key);
  const next = Buffer.from(objects.at(-1)?.key ?? '').toString('base64url');
  const content = [
    element('Name', name),
    element('Prefix', shown(prefix)),
    element('KeyCount', String(objects.length)),
    element('MaxKeys', String(keysMax)),
    ...(token === null ? [] : [element('ContinuationToken', token)]),
    element('IsTruncated', String(isTruncated)),
    ...(isTruncated ? [element('NextContinuationToken', next)] : []),
    ...objects.map((object) => `<Contents>${contentsOf(object, shown(object.key))}</Contents>`),
  ];
  return documentAnswer(200, 'ListBucketResult', content.join(''));
}

function contentsOf({ etag, modifiedMs, bytes, headers }: StoredObject, key: string): string {
  return [
    element('Key', key),
    element('LastModified', new Date(modifiedMs).toISOString()),
    element('ETag', etag),
    element('Size', String(bytes.byteLength)),
    element('StorageClass', headers['x-amz-storage-class'] ?? 'STANDARD'),
  ].join('');
}

function keyOfToken(token: string): string {
  const key = Buffer.from(token, 'base64url').toString();
  if (Buffer.from(key).toString('base64url') === token) return key;
  throw new Refusal(400, 'InvalidArgument', { message: 'The continuation token provided is incorrect' });
}

function assertMatch(header: string | undefined, object: StoredObject | undefined): void {
  if (header === undefined || header === '*' || unquoted(header) === unquoted(object?.etag ?? '')) return;
  throw new Refusal(412, 'PreconditionFailed', { elements: { Condition: 'If-Match' } });
}

function assertNoneMatch(header: string | undefined, object: StoredObject | undefined, status: 304 | 412): void {
  if (header === undefined || object === undefined) return;
  if (header !== '*' && unquoted(header) !== unquoted(object.etag)) return;
  if (status === 304) throw new Refusal(304, 'NotModified');
  throw new Refusal(412, 'PreconditionFailed', { elements: { Condition: 'If-None-Match' } });
}

function unquoted(etag: string): string {
  return etag.replaceAll('"', '');
}
