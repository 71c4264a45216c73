/**
 * What most programs write with the AWS SDK: a stream in, a stream out, eight at a time, everything by default.
 * `node bench/storage/sdk.ts send|fetch DIR s3://BUCKET/PREFIX`.
 */
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, readdir, stat } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import {
  GetObjectCommand,
  ListObjectsV2Command,
  type ListObjectsV2CommandOutput,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { mapBounded } from '../../src/base/concurrency.ts';

const AT_ONCE = { limit: 8, signal: new AbortController().signal };
const [direction, directory = '', destination = ''] = process.argv.slice(2);
const [, bucket = '', prefix = ''] = /^s3:\/\/([^/]+)\/(.*)$/.exec(destination) ?? [];
const client = new S3Client({ endpoint: process.env['AWS_ENDPOINT_URL'] ?? '', forcePathStyle: true });
await (direction === 'send' ? send() : fetchAll());

async function send(): Promise<void> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  await mapBounded(paths, AT_ONCE, async (path) => {
    const { size } = await stat(path);
    const Key = `${prefix}/${relative(directory, path)}`;
    await client.send(new PutObjectCommand({ Bucket: bucket, Key, Body: createReadStream(path), ContentLength: size }));
  });
}

async function fetchAll(): Promise<void> {
  const keys: string[] = [];
  for (let token: string | undefined = ''; token !== undefined; ) {
    const more: { ContinuationToken?: string } = token === '' ? {} : { ContinuationToken: token };
    const page: ListObjectsV2CommandOutput = await client.send(
      new ListObjectsV2Command({ Bucket: bucket, Prefix: `${prefix}/`, ...more }),
    );
    keys.push(...(page.Contents ?? []).flatMap(({ Key }) => Key ?? []));
    token = page.NextContinuationToken;
  }
  await mapBounded(keys, AT_ONCE, async (Key) => {
    const path = join(directory, Key.slice(prefix.length + 1));
    await mkdir(dirname(path), { recursive: true });
    const { Body } = await client.send(new GetObjectCommand({ Bucket: bucket, Key }));
    if (!(Body instanceof Readable)) throw new Error(`no body of ${Key}`);
    await pipeline(Body, createWriteStream(path));
  });
}
