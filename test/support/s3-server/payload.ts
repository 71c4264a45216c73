import { hash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { crc32c } from '../../../src/rocksdb/crc32c.ts';
import { Refusal } from './refusal.ts';
import type { S3Request } from './request.ts';

const CHUNKED = 'STREAMING-UNSIGNED-PAYLOAD-TRAILER';

/** Base64, as they are sent. */
const CHECKSUMS: Readonly<Record<string, (bytes: Uint8Array) => string>> = {
  'content-md5': (bytes) => hash('md5', bytes, 'base64'),
  'x-amz-checksum-sha256': (bytes) => hash('sha256', bytes, 'base64'),
  'x-amz-checksum-sha1': (bytes) => hash('sha1', bytes, 'base64'),
  'x-amz-checksum-crc32': (bytes) => base64Of(crc32(bytes)),
  'x-amz-checksum-crc32c': (bytes) => base64Of(crc32c(bytes)),
};

/** The bytes that a request carries, once they are all that it says of them: length, hash, checksums. */
export function verifiedPayload({ headers }: S3Request, sent: Uint8Array): Uint8Array {
  const announced = headers['x-amz-content-sha256'] ?? '';
  if (announced.startsWith('STREAMING-') && announced !== CHUNKED) throw new Refusal(501, 'NotImplemented');
  const isChunked = announced === CHUNKED;
  if (isChunked !== (headers['content-encoding'] ?? '').split(',').includes('aws-chunked')) {
    throw new Refusal(400, 'InvalidRequest', { message: 'aws-chunked, and a payload that is not, or the reverse' });
  }
  const { bytes, trailers } = isChunked ? readChunks(sent) : { bytes: sent, trailers: {} };
  if (isChunked && headers['x-amz-decoded-content-length'] !== String(bytes.byteLength)) {
    throw new Refusal(400, 'IncompleteBody');
  }
  if (!isChunked && announced !== 'UNSIGNED-PAYLOAD' && announced !== hash('sha256', bytes)) {
    throw new Refusal(400, 'XAmzContentSHA256Mismatch');
  }
  assertTrailers(headers['x-amz-trailer'], trailers);
  assertChecksums({ ...headers, ...trailers }, bytes);
  return bytes;
}

/** What of the checksums that were sent is kept with the object. */
export function checksumsOf(headers: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => /^x-amz-checksum-(?:crc|sha)/.test(name)));
}

/** `<size in hex>[;extensions]CRLF <bytes> CRLF`, a chunk of size 0, then trailers `name:value`. */
function readChunks(sent: Uint8Array): { readonly bytes: Uint8Array; readonly trailers: Record<string, string> } {
  const buffer = Buffer.from(sent.buffer, sent.byteOffset, sent.byteLength);
  const chunks: Uint8Array[] = [];
  let position = 0;
  for (;;) {
    const end = buffer.indexOf('\r\n', position);
    const [, hex] = /^([0-9a-fA-F]+)(?:;.*)?$/.exec(buffer.toString('latin1', position, Math.max(end, position))) ?? [];
    if (end < 0 || hex === undefined) throw new Refusal(400, 'IncompleteBody');
    const length = Number.parseInt(hex, 16);
    const start = end + 2;
    if (length === 0) return { bytes: Buffer.concat(chunks), trailers: readTrailers(buffer.toString('latin1', start)) };
    chunks.push(buffer.subarray(start, start + length));
    position = start + length + 2;
    if (position > buffer.byteLength) throw new Refusal(400, 'IncompleteBody');
  }
}

function readTrailers(text: string): Record<string, string> {
  const lines = text.split(/\r?\n/).filter((line) => line !== '');
  return Object.fromEntries(
    lines.map((line) => [line.split(':')[0]?.toLowerCase() ?? '', line.replace(/^.*?: ?/, '')]),
  );
}

function assertTrailers(announced: string | undefined, trailers: Readonly<Record<string, string>>): void {
  const names = (announced ?? '').split(',').filter((name) => name !== '');
  if (names.sort().join() !== Object.keys(trailers).sort().join()) throw new Refusal(400, 'MalformedTrailerError');
}

function assertChecksums(headers: Readonly<Record<string, string>>, bytes: Uint8Array): void {
  for (const [name, sent] of Object.entries(headers)) {
    if (name.startsWith('x-amz-checksum-crc64')) throw new Refusal(501, 'NotImplemented');
    const compute = CHECKSUMS[name];
    if (compute !== undefined && compute(bytes) !== sent) throw new Refusal(400, 'BadDigest', { message: name });
  }
}

function base64Of(number: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(number);
  return bytes.toString('base64');
}
