import { promisify } from 'node:util';
import { constants, zstdCompress, zstdCompressSync, zstdDecompress } from 'node:zlib';
import { Failure, messageOf } from '../base/failure.ts';
import { SMALL_BYTES_MAX, unpackSmall } from '../base/zstd.ts';
import type { FamilyOffsets } from '../streams/family-offsets.ts';
import type { Layout } from '../streams/offsets.ts';
import type { Guarantee, Quality, TaskMemory } from '../streams/quality.ts';
import { documentShape } from './document-shape.ts';
import { decodeText, encodeText } from './format.ts';
import { formatSnapshotName, repositoryKeys } from './keys.ts';

export type { Layout };

/** What one epoch published at one moment. Immutable; the commit point of a snapshot. See docs/format.md. */
export interface SnapshotDocument {
  readonly application: string;
  readonly lineage: string;
  readonly instance: string;
  readonly epoch: string;
  readonly n: number;
  /** By the store's clock. */
  readonly timeMs: number;
  /** The program that wrote it, `warmstate 0.1.0`. */
  readonly writer: string;
  readonly guarantee: Guarantee;
  readonly entries: readonly Entry[];
  /** Tables sent ahead for tasks that could not be captured yet. */
  readonly ahead: readonly StoredFile[];
  /** What the writer saw of each task directory of its volume, also of those it could not capture: for its successor. */
  readonly seen: ReadonlyMap<string, TaskMemory>;
}

/** One task in one document. */
export interface Entry {
  /** `0_3` or `global`. */
  readonly task: string;
  readonly quality: Quality;
  readonly layout: Layout;
  /** Up to this moment the state is known to be current, by the store's clock. */
  readonly stateTimeMs: number;
  readonly capturedAtMs: number;
  /** The snapshot that took the bytes, `<epoch>/<n>`; carrying forward keeps it. */
  readonly capturedBy: string;
  /** Offset per changelog partition, `<topic>-<partition>`: the last applied one, for `global` the next to read. */
  readonly offsets: ReadonlyMap<string, bigint>;
  /** The ids of their topics as brokers told them when it was captured, by topic; undefined where they were not asked. */
  readonly topicIds?: ReadonlyMap<string, string> | undefined;
  /** What lies in the task directory itself: `.checkpoint`, `*.position`. */
  readonly files: readonly StoredFile[];
  readonly stores: readonly StoredStore[];
}

export interface StoredStore {
  readonly name: string;
  readonly kind: 'rocksdb' | 'segmented' | 'other';
  /** As the OPTIONS file says, `9.7.3`; undefined where there is none. */
  readonly rocksdbVersion: string | undefined;
  readonly columnFamilies: readonly string[];
  /** What lies inside it where offsets do, for people to read: whether it was closed, and how far it was of its inputs. */
  readonly status?: FamilyOffsets['status'];
  readonly position?: FamilyOffsets['position'] | undefined;
  readonly files: readonly StoredFile[];
}

export interface StoredFile {
  /** Below the task directory, `/`-separated: `rocksdb/agg/000012.sst`. */
  readonly path: string;
  readonly sizeBytes: number;
  /** Of the whole file, hex. */
  readonly sha256: string;
  /** RocksDB's unique id of a table, 32 hex digits, where its manifest carries one. */
  readonly uid: string | undefined;
  /** What the file is made of, in its order: stretches of a large table, or one place in an archive. */
  readonly objects: readonly StoredObject[];
}

export type StoredObject = StoredStretch | ArchivedFile;

/** A whole object that holds one stretch of one file. */
export interface StoredStretch {
  readonly kind: 'stretch';
  readonly key: string;
  /** Of the stretch, unpacked. */
  readonly sizeBytes: number;
  /** Of the object as it lies in the store. */
  readonly storedBytes: number;
  /** Of the stretch, unpacked, hex. */
  readonly sha256: string;
  readonly encoding: 'none' | 'zstd';
}

/** A file inside an archive of small files; its hash is the file's own. */
export interface ArchivedFile {
  readonly kind: 'archived';
  /** The archive's key. */
  readonly key: string;
  /** Of the whole archive as it lies in the store. */
  readonly storedBytes: number;
  /** Of all files in the archive, unpacked: how much of it is still of use. */
  readonly contentBytes: number;
  /** The name of the file in the archive. */
  readonly entry: string;
}

/** Some 300,000 tables; a bound for memory, also against compression bombs. */
const DOCUMENT_BYTES_MAX = 128 * 1024 * 1024;
/** Of a document as it lies in the store. */
export const STORED_DOCUMENT_BYTES_MAX = 64 * 1024 * 1024;

/**
 * The bytes of a document: JSON, compressed by zstd with its checksum. Failure `invalid` for a document that
 * `decodeDocument` would refuse: what nobody can restore is never published.
 */
export async function encodeDocument(document: SnapshotDocument): Promise<Uint8Array> {
  const text = encodeText(document, FORMAT, formatSnapshotName(document));
  const options = { params: { [constants.ZSTD_c_checksumFlag]: 1 } };
  return text.byteLength <= SMALL_BYTES_MAX ? zstdCompressSync(text, options) : compress(text, options);
}

/**
 * The document that lies under `key`. Failure `corrupt` where the bytes are not what a writer of this format puts
 * under that key, `invalid` where their format is another one; both name the key.
 */
export async function decodeDocument(bytes: Uint8Array, key: string): Promise<SnapshotDocument> {
  const document = decodeText(await unpack(bytes, key), FORMAT, key);
  const own = repositoryKeys(document).snapshot(document);
  if (own !== key) throw new Failure('corrupt', `cannot read ${key}: it is ${own}`);
  return document;
}

/** The format that this program writes and the only one it reads. */
const FORMAT = { number: 1, shape: documentShape };

const compress = promisify(zstdCompress);
const decompress = promisify(zstdDecompress);

async function unpack(bytes: Uint8Array, key: string): Promise<Uint8Array> {
  try {
    const small = unpackSmall(bytes, { maxOutputLength: UNPACKED_HERE_BYTES_MAX });
    if (small !== undefined) return small.content;
    return await decompress(bytes, { maxOutputLength: DOCUMENT_BYTES_MAX, chunkSize: 1024 * 1024 });
  } catch (error) {
    throw new Failure('corrupt', `cannot read ${key}: ${messageOf(error)}`, { cause: error });
  }
}

/** Some milliseconds. */
const UNPACKED_HERE_BYTES_MAX = 512 * 1024;

/** Every file of an entry, those of the task directory first. */
export function filesOfEntry(of: Entry): readonly StoredFile[] {
  return [...of.files, ...of.stores.flatMap((store) => store.files)];
}
