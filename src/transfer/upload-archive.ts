import { createHash } from 'node:crypto';
import { Failure } from '../base/failure.ts';
import type { ArchivedFile } from '../repository/document.ts';
import { ARCHIVE_BYTES_MAX, ARCHIVE_ENTRIES_MAX, type ArchiveEntry, writeArchive } from './archive.ts';
import { compress, packedBytesMax } from './codec.ts';
import { readWhole, type SourceFile } from './source-file.ts';
import { putPacked, type Uploaded, type UploadTarget } from './upload.ts';

/** A file for an archive. */
export interface SmallFile {
  /** Its name in the archive. */
  readonly entry: string;
  readonly source: SourceFile;
}

/**
 * Sends small files, many in one archive, and says for each entry name where it lies. The names are the
 * caller's, each given once (else a Failure `invalid`). One file that moved spoils the call.
 */
export async function uploadArchives(
  files: readonly SmallFile[],
  target: UploadTarget,
): Promise<ReadonlyMap<string, Uploaded<ArchivedFile>>> {
  assertArchivable(files);
  const uploaded = new Map<string, Uploaded<ArchivedFile>>();
  for (const batch of batchesOf(files)) {
    const hashes = new Map<string, string>();
    using memory = await target.memory.acquire(packedBytesMax(sizeOf(batch)), target.signal);
    const packed = await compress(writeArchive(contentsOf(batch, hashes, target)));
    memory.shrinkTo(packedBytesMax(packed.sizeBytes));
    const key = await putPacked(packed, target);
    for (const [entry, sha256] of hashes) {
      uploaded.set(entry, {
        sha256,
        objects: [{ kind: 'archived', key, storedBytes: packed.sizeBytes, contentBytes: sizeOf(batch), entry }],
      });
    }
  }
  return uploaded;
}

function assertArchivable(files: readonly SmallFile[]): void {
  const names = new Set<string>();
  for (const { entry, source } of files) {
    if (names.has(entry)) throw new Failure('invalid', `cannot archive ${entry}: the name is given twice`);
    if (source.sizeBytes > ARCHIVE_BYTES_MAX) {
      throw new Failure('invalid', `cannot archive ${entry}: ${source.sizeBytes} bytes are more than an archive holds`);
    }
    names.add(entry);
  }
}

/** Files in their order, as many to an archive as it takes. */
function batchesOf(files: readonly SmallFile[]): readonly (readonly SmallFile[])[] {
  const batches: SmallFile[][] = [];
  let freeBytes = 0;
  for (const file of files) {
    const batch = batches.at(-1);
    if (batch === undefined || batch.length === ARCHIVE_ENTRIES_MAX || file.source.sizeBytes > freeBytes) {
      batches.push([file]);
      freeBytes = ARCHIVE_BYTES_MAX - file.source.sizeBytes;
    } else {
      batch.push(file);
      freeBytes -= file.source.sizeBytes;
    }
  }
  return batches;
}

function sizeOf(batch: readonly SmallFile[]): number {
  return batch.reduce((sum, file) => sum + file.source.sizeBytes, 0);
}

/** Reads one file after another, leaving the hash of each by its entry name. */
async function* contentsOf(
  batch: readonly SmallFile[],
  hashes: Map<string, string>,
  target: UploadTarget,
): AsyncGenerator<ArchiveEntry> {
  for (const { entry, source } of batch) {
    const bytes = await readWhole(source, target.signal);
    hashes.set(entry, createHash('sha256').update(bytes).digest('hex'));
    target.emit({ kind: 'work-done', work: 'upload', bytes: bytes.byteLength });
    yield { name: entry, bytes };
  }
}
