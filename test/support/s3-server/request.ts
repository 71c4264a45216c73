import type { IncomingMessage } from 'node:http';
import { Refusal } from './refusal.ts';

export type S3Operation =
  | 'PutObject'
  | 'GetObject'
  | 'HeadObject'
  | 'DeleteObject'
  | 'ListObjectsV2'
  | 'CreateBucket'
  | 'HeadBucket'
  | 'GetBucketLocation'
  | 'GetBucketLifecycleConfiguration'
  | 'GetBucketVersioning';

/** What a request asks for; who sent it and whether its body is what it says is not known yet. */
export interface S3Request {
  readonly method: string;
  readonly operation: S3Operation;
  readonly bucket: string;
  /** Empty for requests about a bucket. */
  readonly key: string;
  /** As it was sent, without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
  /** Names in lower case; a header that came several times is joined by commas. */
  readonly headers: Readonly<Record<string, string>>;
}

/** Reads a request in path style (`/bucket/key`) or, where the host begins with a bucket's name, in virtual-host style. */
export function readRequest(message: IncomingMessage, buckets: ReadonlySet<string>): S3Request {
  const method = message.method ?? '';
  const [path = '/', search = ''] = (message.url ?? '/').split(/\?(.*)/s);
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(message.headers)) headers[name] = [value ?? ''].flat().join(',');
  const query = new URLSearchParams(search);
  const host = (headers['host'] ?? '').replace(/:\d+$/, '');
  const virtual = [...buckets].find((bucket) => host.startsWith(`${bucket}.`));
  const [, first = '', rest = ''] = /^\/([^/]*)\/?(.*)$/s.exec(path) ?? [];
  const bucket = virtual ?? decoded(first);
  const key = decoded(virtual === undefined ? rest : path.slice(1));
  return { method, operation: operationOf(method, key, query), bucket, key, path, query, headers };
}

function operationOf(method: string, key: string, query: URLSearchParams): S3Operation {
  if (key !== '') {
    const named = ({ PUT: 'PutObject', GET: 'GetObject', HEAD: 'HeadObject', DELETE: 'DeleteObject' } as const)[method];
    const plain = [...query.keys()].every((name) => name === 'x-id');
    if (named !== undefined && plain) return named;
  } else if (method === 'PUT') return 'CreateBucket';
  else if (method === 'HEAD') return 'HeadBucket';
  else if (method === 'GET' && query.has('location')) return 'GetBucketLocation';
  else if (method === 'GET' && query.has('lifecycle')) return 'GetBucketLifecycleConfiguration';
  else if (method === 'GET' && query.has('versioning')) return 'GetBucketVersioning';
  else if (method === 'GET' && query.get('list-type') === '2') return 'ListObjectsV2';
  throw new Refusal(501, 'NotImplemented', { message: `${method} with the query ${query.toString() || '(none)'}` });
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new Refusal(400, 'InvalidURI');
  }
}
