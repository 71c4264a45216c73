import { extract, Header, Parser, Pax, type ReadEntry } from 'tar';
import { Failure, messageOf } from '../base/failure.ts';
import { freeMemory } from './codec.ts';

/** Content of one archive at most: what is packed and unpacked at a time. */
export const ARCHIVE_BYTES_MAX = 16 * 1024 * 1024;
/** Files in one archive at most: a reader refuses more. */
export const ARCHIVE_ENTRIES_MAX = 4096;

/** One file of an archive with its content. */
export interface ArchiveEntry {
  readonly name: string;
  /** Of what is read valid until the next entry is asked for. */
  readonly bytes: Uint8Array;
}

/** The bytes of a tar archive (POSIX ustar, with a pax header where a name needs one) with the files in their order. */
export async function* writeArchive(entries: AsyncIterable<ArchiveEntry>): AsyncGenerator<Uint8Array> {
  for await (const entry of entries) {
    if (!isEntryName(entry.name))
      throw new Failure('invalid', `cannot archive ${JSON.stringify(entry.name)}: bad name`);
    const padding = new Uint8Array(-entry.bytes.byteLength & (BLOCK_BYTES - 1));
    yield Buffer.concat([headerOf(entry.name, entry.bytes.byteLength), entry.bytes, padding]);
  }
  yield new Uint8Array(2 * BLOCK_BYTES);
}

/**
 * Reads the files named in `wanted` (name → size in bytes) out of an unpacked archive and skips the others.
 * Archives are hostile input: regular files only, names without tricks, none twice, every size as wanted,
 * everything wanted there, limits on files and bytes. Anything else is a Failure `corrupt` that names `what`.
 */
export async function* readArchive(
  chunks: AsyncIterable<Uint8Array>,
  wanted: ReadonlyMap<string, number>,
  what: string,
): AsyncGenerator<ArchiveEntry> {
  const reader = new ArchiveReader(wanted, what);
  let unpackedBytes = 0;
  let before: Uint8Array | undefined;
  for await (const chunk of chunks) {
    unpackedBytes += chunk.byteLength;
    if (unpackedBytes > UNPACKED_BYTES_MAX) throw corrupt(what, `it unpacks to more than ${UNPACKED_BYTES_MAX} bytes`);
    const copy = ownMemory(chunk.byteLength);
    copy.set(chunk);
    yield* thenFreed(reader.read(copy));
    // The parser keeps the end of a chunk that it cannot use yet, until it has the next one.
    if (before !== undefined) freeMemory(before);
    before = copy;
  }
  yield* thenFreed(reader.end());
}

function* thenFreed(entries: Iterable<ArchiveEntry>): Generator<ArchiveEntry> {
  for (const entry of entries) {
    yield entry;
    freeMemory(entry.bytes);
  }
}

/** Bytes that share their memory with no others. */
function ownMemory(sizeBytes: number): Buffer {
  return Buffer.allocUnsafeSlow(sizeBytes);
}

/** Unpacks a `.tar.gz` that came with this program into a directory that is there. */
export async function unpackShipped(archive: string, directory: string): Promise<void> {
  await extract({ file: archive, cwd: directory, strict: true });
}

/** Below the archive's root, `/`-separated, without anything that a file system or a terminal would read otherwise. */
function isEntryName(name: string): boolean {
  if (name.length > 1024 || /[\p{Cc}\\]/u.test(name)) return false;
  return name.split('/').every((segment) => segment !== '' && segment !== '.' && segment !== '..');
}

const BLOCK_BYTES = 512;

/** Content, and for each file a header, a pax header with its body (a name of 1,024 bytes at most) and padding. */
const UNPACKED_BYTES_MAX = ARCHIVE_BYTES_MAX + ARCHIVE_ENTRIES_MAX * 8 * BLOCK_BYTES;

const PAX_BYTES_MAX = 4096;

function headerOf(path: string, size: number): Uint8Array {
  const facts = { path, size, mode: 0o644, mtime: new Date(0), type: 'File' } as const;
  const header = new Header(facts);
  const block = Buffer.alloc(BLOCK_BYTES);
  return header.encode(block) ? Buffer.concat([new Pax({ path }).encode(), block]) : block;
}

/** tar's parser as a function from a chunk to the files that it completes. */
class ArchiveReader {
  readonly #parser = new Parser({
    strict: true,
    gzip: false,
    brotli: false,
    zstd: false,
    maxMetaEntrySize: PAX_BYTES_MAX,
  });
  readonly #wanted: ReadonlyMap<string, number>;
  readonly #what: string;
  readonly #seen = new Set<string>();
  #completed: ArchiveEntry[] = [];
  #failure: Failure | undefined;
  #sawEnd = false;

  constructor(wanted: ReadonlyMap<string, number>, what: string) {
    this.#wanted = wanted;
    this.#what = what;
    this.#parser.on('entry', (entry: ReadEntry) => this.#begin(entry));
    this.#parser.on('ignoredEntry', (entry: ReadEntry) => this.#fail(`${JSON.stringify(entry.path)} is no file`));
    this.#parser.on('error', (error: Error) => this.#fail(messageOf(error), error));
    this.#parser.on('eof', () => {
      this.#sawEnd = true;
    });
  }

  *read(chunk: Buffer): Generator<ArchiveEntry> {
    if (!this.#sawEnd) this.#parser.write(chunk); // It would keep all that follows the end.
    yield* this.#take();
  }

  *end(): Generator<ArchiveEntry> {
    this.#parser.end();
    yield* this.#take();
    if (!this.#sawEnd) throw corrupt(this.#what, 'it ends too early');
    const lost = [...this.#wanted.keys()].filter((name) => !this.#seen.has(name));
    if (lost.length > 0)
      throw corrupt(this.#what, `it lacks ${lost.length} files, among them ${JSON.stringify(lost[0])}`);
  }

  *#take(): Generator<ArchiveEntry> {
    const completed = this.#completed;
    this.#completed = [];
    yield* completed;
    if (this.#failure !== undefined) throw this.#failure;
  }

  #begin(entry: ReadEntry): void {
    const name = entry.path;
    const sizeBytes = this.#wanted.get(name);
    const objection = this.#objectionTo(entry, sizeBytes);
    this.#seen.add(name);
    if (objection !== undefined) this.#fail(`${JSON.stringify(name)} ${objection}`);
    if (objection !== undefined || sizeBytes === undefined) {
      entry.resume();
      return;
    }
    const bytes = ownMemory(sizeBytes);
    let filledBytes = 0;
    entry.on('data', (part: Buffer) => {
      bytes.set(part, filledBytes);
      filledBytes += part.byteLength;
    });
    entry.on('end', () => this.#completed.push({ name, bytes: bytes.subarray(0, filledBytes) }));
  }

  #objectionTo(entry: ReadEntry, wantedBytes: number | undefined): string | undefined {
    if (entry.type !== 'File' && entry.type !== 'OldFile') return `is a ${entry.type}`;
    if (entry.linkpath) return 'is a link';
    if (!isEntryName(entry.path)) return 'is no name for a file';
    if (this.#seen.has(entry.path)) return 'is there twice';
    if (this.#seen.size >= ARCHIVE_ENTRIES_MAX) return `comes after ${ARCHIVE_ENTRIES_MAX} others`;
    if (entry.size > UNPACKED_BYTES_MAX) return `has ${entry.size} bytes, more than an archive`; // Before memory is taken.
    if (wantedBytes !== undefined && entry.size !== wantedBytes) return `has ${entry.size} bytes, not ${wantedBytes}`;
    return undefined;
  }

  #fail(reason: string, cause?: unknown): void {
    this.#failure ??= corrupt(this.#what, reason, cause);
  }
}

function corrupt(what: string, reason: string, cause?: unknown): Failure {
  return new Failure('corrupt', `cannot read archive ${what}: ${reason}`, cause === undefined ? {} : { cause });
}
