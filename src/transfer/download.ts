import { createHash } from 'node:crypto';
import { allDone, mapBounded } from '../base/concurrency.ts';
import { Failure, isFailure } from '../base/failure.ts';
import { openSha256 } from '../base/sha256.ts';
import type { Emit } from '../events/event.ts';
import type { StoredFile } from '../repository/document.ts';
import type { ObjectStore, OpenObject } from '../storage/object-store.ts';
import { type ArchiveEntry, readArchive } from './archive.ts';
import { Assembly } from './assembly.ts';
import { decompress } from './codec.ts';
import { type ArchiveJob, planDownload, type StretchJob } from './download-plan.ts';
import type { FileSink } from './sink.ts';

/** Where files come from, and with what means. */
export interface DownloadSource {
  readonly store: ObjectStore;
  /** Objects in flight at most. */
  readonly concurrency: number;
  /** What the bytes count as: `verify` where nothing is written. */
  readonly work: 'download' | 'verify';
  readonly emit: Emit;
  readonly signal: AbortSignal;
}

/**
 * Reads files back into `sink`, many objects at a time. Every byte is counted and hashed on its way, and
 * compared with what the document says. What is missing or wrong is told to `sink.reject` and the rest goes
 * on; a store or a disk that is unavailable ends everything with its Failure.
 */
export async function downloadFiles<F extends { readonly file: StoredFile }>(
  items: readonly F[],
  source: DownloadSource,
  sink: FileSink<F>,
): Promise<void> {
  await using open = new AsyncDisposableStack();
  const assemblies = items.map((item) => open.use(new Assembly(item, sink)));
  const { jobs, impossible } = planDownload(assemblies);
  for (const { item, failure } of impossible) item.reject({ key: undefined, failure });
  await mapBounded(jobs, { limit: source.concurrency, signal: source.signal }, (job, signal) =>
    job.kind === 'archive' ? fetchArchive(job, { ...source, signal }) : fetchStretch(job, { ...source, signal }),
  );
}

type AnyAssembly = Assembly<{ readonly file: StoredFile }>;

async function fetchStretch(job: StretchJob<AnyAssembly>, source: DownloadSource): Promise<void> {
  const { item, stretch } = job;
  if (item.isWanted()) {
    const failure = await failureOf(receiveStretch(job, source));
    if (failure !== undefined) item.reject({ key: stretch.key, failure });
  }
  await item.settle();
}

async function receiveStretch(
  { item, stretch, position }: StretchJob<AnyAssembly>,
  source: DownloadSource,
): Promise<void> {
  const what = `object ${stretch.key} of ${item.file.path}`;
  await using object = await openObject(stretch, what, source);
  const writer = await item.writer();
  using hash = await openSha256();
  let unpackedBytes = 0;
  const body = stretch.encoding === 'zstd' ? decompress(object.body, what) : object.body;
  for await (const chunk of body) {
    source.signal.throwIfAborted();
    if (unpackedBytes + chunk.byteLength > stretch.sizeBytes) {
      throw new Failure('corrupt', `cannot use ${what}: it unpacks to more than ${stretch.sizeBytes} bytes`);
    }
    await allDone([hash.update(chunk), writer.write(chunk, position + unpackedBytes)]);
    unpackedBytes += chunk.byteLength;
    source.emit({ kind: 'work-done', work: source.work, bytes: chunk.byteLength });
  }
  const failure = differenceOf(stretch, { sizeBytes: unpackedBytes, sha256: hash.digest() }, what);
  if (failure !== undefined) throw failure;
}

async function fetchArchive(job: ArchiveJob<AnyAssembly>, source: DownloadSource): Promise<void> {
  const members = [...job.members.values()].flat();
  const wanted = members.filter((member) => member.isWanted());
  if (wanted.length > 0) {
    const failure = await failureOf(receiveArchive(job, source));
    if (failure !== undefined) for (const member of wanted) member.reject({ key: job.key, failure });
  }
  // Only now, when the archive has proved sound to its end.
  await mapBounded(members, { limit: SETTLED_TOGETHER, signal: source.signal }, (member) => member.settle());
}

async function receiveArchive(job: ArchiveJob<AnyAssembly>, source: DownloadSource): Promise<void> {
  const what = `archive ${job.key}`;
  await using object = await openObject(job, what, source);
  const sizes = new Map([...job.members].map(([name, [first]]) => [name, first?.file.sizeBytes ?? 0]));
  for await (const entry of readArchive(decompress(object.body, what), sizes, job.key)) {
    for (const member of job.members.get(entry.name) ?? []) {
      source.signal.throwIfAborted();
      if (member.isWanted()) await receiveEntry(member, entry, { ...source, key: job.key });
    }
  }
}

async function receiveEntry(
  member: AnyAssembly,
  { name, bytes }: ArchiveEntry,
  source: DownloadSource & { readonly key: string },
): Promise<void> {
  const content = { sizeBytes: bytes.byteLength, sha256: createHash('sha256').update(bytes).digest('hex') };
  const failure = differenceOf(member.file, content, `${name} in archive ${source.key} for ${member.file.path}`);
  if (failure !== undefined) {
    member.reject({ key: source.key, failure });
    return;
  }
  const writer = await member.writer();
  await writer.write(bytes, 0);
  await member.close(); // Thousands of files may wait for the end of their archive.
  source.emit({ kind: 'work-done', work: source.work, bytes: bytes.byteLength });
}

/** Files of an archive that are synced together share commits of the file system's journal. */
const SETTLED_TOGETHER = 8;

/** An open object that is as large as the document says. */
async function openObject(
  expected: { readonly key: string; readonly storedBytes: number },
  what: string,
  source: DownloadSource,
): Promise<OpenObject> {
  const object = await source.store.get(expected.key, { signal: source.signal });
  if (object.sizeBytes === expected.storedBytes) return object;
  await object[Symbol.asyncDispose]();
  throw new Failure(
    'corrupt',
    `cannot use ${what}: it has ${object.sizeBytes} bytes in the store, not ${expected.storedBytes}`,
  );
}

interface Content {
  readonly sizeBytes: number;
  readonly sha256: string;
}

function differenceOf(expected: Content, actual: Content, what: string): Failure | undefined {
  if (actual.sizeBytes !== expected.sizeBytes) {
    return new Failure(
      'corrupt',
      `cannot use ${what}: it unpacks to ${actual.sizeBytes} bytes, not ${expected.sizeBytes}`,
    );
  }
  if (actual.sha256 !== expected.sha256) {
    return new Failure('corrupt', `cannot use ${what}: its sha256 is ${actual.sha256}, not ${expected.sha256}`);
  }
  return undefined;
}

/** What is wrong with an object, as against a store or a disk that cannot be asked. */
async function failureOf(receiving: Promise<void>): Promise<Failure | undefined> {
  try {
    await receiving;
    return undefined;
  } catch (error) {
    if (isFailure(error, 'corrupt', 'missing', 'invalid')) return error;
    throw error;
  }
}
