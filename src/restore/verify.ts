import { basename } from 'node:path';
import type { Random } from '../base/clock.ts';
import { Failure, isFailure, messageOf } from '../base/failure.ts';
import type { Emit } from '../events/event.ts';
import { type Entry, filesOfEntry, type SnapshotDocument, type StoredFile } from '../repository/document.ts';
import { type Fence, stemsFrom, whyFenced } from '../repository/fence.ts';
import { createEpoch, formatSnapshotName, type SnapshotName } from '../repository/keys.ts';
import { listRepository, loadDocument, newestSnapshots, type Repository } from '../repository/repository.ts';
import { loadWithdrawals, tellDamage, type Withdrawals } from '../repository/withdrawals.ts';
import { blobFileName, parseCurrent, parseFileName, tableFileName } from '../rocksdb/file-name.ts';
import { type LiveFiles, ManifestReplay } from '../rocksdb/live-files.ts';
import { newestValues } from '../rocksdb/newest-values.ts';
import { readTable, TABLE_BYTES_MAX } from '../rocksdb/table-reader.ts';
import { decodeCheckpoint } from '../streams/checkpoint-file.ts';
import { decodeFamilyOffsets, type FamilyOffsets, leastOffsets } from '../streams/family-offsets.ts';
import { keepsOwnOffsets, OFFSETS_COLUMN_FAMILY } from '../streams/offsets.ts';
import { CHECKPOINT_FILE } from '../streams/state-directory.ts';
import { downloadFiles } from '../transfer/download.ts';
import { emptySink, type FileWriter } from '../transfer/sink.ts';
import { Doubts } from './damage.ts';

/** What reading back came to. */
export interface VerifyResult {
  readonly snapshots: number;
  readonly objects: number;
  /** As they lie in the store. */
  readonly bytes: number;
  readonly problems: readonly VerifyProblem[];
}

export interface VerifyProblem {
  readonly snapshot: string;
  /** undefined where the document itself is damaged. */
  readonly task: string | undefined;
  /** Below the task directory; undefined where it is about the task as a whole. */
  readonly path: string | undefined;
  readonly problem: string;
}

export interface VerifyOptions {
  /** What to read back; everything that is offered where nothing is named. */
  readonly names: readonly SnapshotName[];
  readonly concurrency: number;
  readonly program: string;
  readonly random: Random;
  readonly emit: Emit;
  readonly signal: AbortSignal;
}

/** What the damage that a reading back finds is called by, where a pod has its name. */
const FINDER = 'verify';

/**
 * Reads back every object of the snapshots, compares every hash, and holds every manifest and all offsets against their
 * entry. What several snapshots share is read once; the small tables that hold offsets, which only manifests tell, twice. Failure `missing` for a named snapshot that is not there; what is
 * damaged is a problem of the result.
 */
export async function verify(repository: Repository, options: VerifyOptions): Promise<VerifyResult> {
  const isNamed = options.names.length > 0;
  const names = isNamed ? options.names : await findOffered(repository, options.signal);
  const withdrawals = await loadWithdrawals(repository, options);
  const problems: VerifyProblem[] = [];
  const documents: SnapshotDocument[] = [];
  for (const name of names) {
    const document = await loadDocument(repository, name, options).catch((error: unknown) => {
      if (!isFailure(error, 'corrupt', 'invalid')) throw error;
      problems.push({ snapshot: formatSnapshotName(name), task: undefined, path: undefined, problem: error.message });
      return undefined;
    });
    if (document !== undefined) documents.push(isNamed ? document : withoutFenced(document, withdrawals.fences));
  }
  const contents = new Map<string, Content>();
  for (const file of documents.flatMap(filesOf)) {
    if (!contents.has(contentKey(file)))
      contents.set(contentKey(file), { file, small: undefined, failure: undefined, key: undefined });
  }
  await readBack([...contents.values()], repository, { ...options, isKept: isLookedInto });
  const offsetTables = findOffsetTables(documents, contents);
  await readBack(offsetTables, repository, { ...options, isKept: () => true });
  for (const document of documents) problems.push(...findProblems(document, contents));
  await tell(repository, findDoubts(documents, contents), { ...options, withdrawals });
  return { snapshots: documents.length, ...measureObjects([...contents.values()]), problems };
}

/** Tells others, so that they need not find it out on the day of need. Whoever may only read says it here alone. */
async function tell(
  repository: Repository,
  doubts: Doubts,
  { withdrawals, concurrency, program, random, emit, signal }: VerifyOptions & { readonly withdrawals: Withdrawals },
): Promise<void> {
  const { storeTimeMs } = withdrawals;
  const epoch = createEpoch({ storeTimeMs, instance: FINDER, random, after: [] });
  try {
    const damage = await doubts.confirm({ store: repository.store, concurrency, signal });
    await tellDamage(repository, damage, { epoch, program, withdrawals, signal });
  } catch (error) {
    if (!isFailure(error)) throw error;
    const message = `cannot say in the repository what is damaged: ${messageOf(error)}`;
    emit({ kind: 'notice', name: 'step-left-out', level: 'warn', message });
  }
}

function findDoubts(documents: readonly SnapshotDocument[], contents: ReadonlyMap<string, Content>): Doubts {
  const doubts = new Doubts();
  for (const { task, capturedBy, file } of documents.flatMap(filesWithEntries)) {
    const key = contents.get(contentKey(file))?.key;
    if (key !== undefined) doubts.add(key, { file, task, capturedBy });
  }
  return doubts;
}

function filesWithEntries({ entries }: SnapshotDocument) {
  return entries.flatMap((entry) => filesOfEntry(entry).map((file) => ({ ...entry, file })));
}

/** What is forgotten is nobody's loss. */
function withoutFenced(document: SnapshotDocument, fences: readonly Fence[]): SnapshotDocument {
  const { epoch } = document;
  const isOffered = (entry: Entry): boolean =>
    whyFenced(fences, { ...entry, isOf: (instance) => stemsFrom({ ...entry, epoch }, instance) }) === undefined;
  return { ...document, entries: document.entries.filter(isOffered) };
}

/** The newest document of every epoch: what a restore may choose from. */
async function findOffered(repository: Repository, signal: AbortSignal): Promise<readonly SnapshotName[]> {
  const listing = await listRepository(repository, { signal });
  return (await newestSnapshots(repository, listing, { signal })).map(({ name }) => name);
}

/** Stored bytes that are read once, whoever refers to them. */
interface Content {
  readonly file: StoredFile;
  /** Of manifests, CURRENT, checkpoints and tables of offsets, which are looked into. */
  small: Uint8Array | undefined;
  failure: Failure | undefined;
  /** The object that it is about. */
  key: string | undefined;
}

function contentKey({ sha256, objects }: StoredFile): string {
  return [
    sha256,
    ...objects.map((object) => (object.kind === 'archived' ? `${object.key} ${object.entry}` : object.key)),
  ].join(' ');
}

async function readBack(
  contents: readonly Content[],
  { store }: Repository,
  options: Pick<VerifyOptions, 'concurrency' | 'emit' | 'signal'> & {
    readonly isKept: (path: string) => boolean;
  },
): Promise<void> {
  const { concurrency, emit, signal, isKept } = options;
  emit({ kind: 'work-announced', work: 'verify', bytes: contents.reduce((sum, { file }) => sum + file.sizeBytes, 0) });
  await downloadFiles<Content>(
    contents,
    { store, concurrency, work: 'verify', emit, signal },
    {
      isWanted: ({ failure }) => failure === undefined,
      open: async (content) => (isKept(content.file.path) ? keepingWriter(content) : await emptySink.open(content)),
      finish: async () => {},
      reject: (content, { key, failure }) => {
        content.key ??= key;
        content.failure ??= failure;
      },
    },
  );
  emit({ kind: 'work-finished', work: 'verify' });
}

/** Larger ones are written in a short form, so this bounds memory. */
const MANIFEST_BYTES_MAX = 64 * 1024 * 1024;

function isLookedInto(path: string): boolean {
  const kind = parseFileName(path.split('/').at(-1) ?? '')?.kind;
  return path === CHECKPOINT_FILE || kind === 'manifest' || kind === 'current';
}

function keepingWriter(content: Content): FileWriter {
  const bytes = new Uint8Array(Math.min(content.file.sizeBytes, MANIFEST_BYTES_MAX));
  content.small = bytes;
  return {
    write: async (chunk, position) => {
      if (position < bytes.byteLength) bytes.set(chunk.subarray(0, bytes.byteLength - position), position);
    },
    [Symbol.asyncDispose]: async () => {},
  };
}

function findProblems(document: SnapshotDocument, contents: ReadonlyMap<string, Content>): readonly VerifyProblem[] {
  const snapshot = formatSnapshotName(document);
  const damaged = (task: string | undefined, file: StoredFile): readonly VerifyProblem[] => {
    const failure = contents.get(contentKey(file))?.failure;
    return failure === undefined ? [] : [{ snapshot, task, path: file.path, problem: failure.message }];
  };
  const ofEntries = document.entries.flatMap((entry) => {
    const broken = filesOfEntry(entry).flatMap((file) => damaged(entry.task, file));
    if (broken.length > 0) return broken;
    return contradictionsIn(entry, contents).map(([path, problem]) => ({ snapshot, task: entry.task, path, problem }));
  });
  return [...ofEntries, ...document.ahead.flatMap((file) => damaged(undefined, file))];
}

type Contradiction = readonly [path: string | undefined, problem: string];

/** What is whole, byte for byte, and still would not open to what its entry says. */
function contradictionsIn(entry: Entry, contents: ReadonlyMap<string, Content>): readonly Contradiction[] {
  const stored = new StoredImage(entry, contents);
  const ofDatabases = stored.databases.flatMap((database) => attempt(database, () => checkDatabase(database, stored)));
  if (entry.layout === 'file') return [...attempt(CHECKPOINT_FILE, () => checkOffsets(entry, stored)), ...ofDatabases];
  return ofDatabases.length > 0 ? ofDatabases : attempt(undefined, () => checkOffsets(entry, stored));
}

function attempt(path: string | undefined, check: () => string | undefined): readonly Contradiction[] {
  try {
    const problem = check();
    return problem === undefined ? [] : [[path, problem]];
  } catch (error) {
    if (!isFailure(error)) throw error;
    return [[path, messageOf(error)]];
  }
}

/** The files of an entry, with the bytes of those that are looked into. */
class StoredImage {
  /** The directories of its databases. */
  readonly databases: readonly string[];
  readonly #files: ReadonlyMap<string, StoredFile>;
  readonly #contents: ReadonlyMap<string, Content>;

  constructor(entry: Entry, contents: ReadonlyMap<string, Content>) {
    this.#files = new Map(filesOfEntry(entry).map((file) => [file.path, file]));
    this.#contents = contents;
    const inside = [...this.#files.keys()].filter((path) => path.includes('/'));
    this.databases = [...new Set(inside.map((path) => path.slice(0, path.lastIndexOf('/'))))];
  }

  contentOf(path: string): Content | undefined {
    const file = this.#files.get(path);
    return file === undefined ? undefined : this.#contents.get(contentKey(file));
  }

  /** What its manifest says of a database. Failure `corrupt` where it says nothing whole. */
  liveIn(database: string): LiveFiles {
    const manifest = `${database}/${parseCurrent(this.#bytesOf(database, 'CURRENT'))}`;
    const bytes = this.#bytesOf(database, basename(manifest));
    const replay = new ManifestReplay();
    replay.feed(bytes);
    const live = replay.live();
    if (live !== undefined && replay.trustedBytes === bytes.byteLength) return live;
    throw new Failure('corrupt', `${basename(manifest)} is incomplete`);
  }

  #bytesOf(database: string, name: string): Uint8Array {
    const bytes = this.contentOf(`${database}/${name}`)?.small;
    if (bytes === undefined) throw new Failure('corrupt', `it has no ${name}`);
    return bytes;
  }
}

function checkDatabase(database: string, stored: StoredImage): string | undefined {
  const { tables, blobFiles } = stored.liveIn(database);
  const named = [
    ...tables.map(({ number, sizeBytes }) => ({ name: tableFileName(number), sizeBytes })),
    ...blobFiles.map(({ number, sizeBytes }) => ({ name: blobFileName(number), sizeBytes })),
  ];
  const missing = named.find(({ name, sizeBytes }) => {
    return stored.contentOf(`${database}/${name}`)?.file.sizeBytes !== sizeBytes;
  });
  return missing === undefined ? undefined : `${missing.name} with ${missing.sizeBytes} bytes is missing`;
}

function checkOffsets(entry: Entry, stored: StoredImage): string | undefined {
  const offsets =
    entry.layout === 'file'
      ? decodeCheckpoint(stored.contentOf(CHECKPOINT_FILE)?.small ?? new Uint8Array()).offsets
      : leastOffsets(stored.databases.flatMap((database) => ownOffsetsIn(database, stored)));
  const isSame =
    offsets.size === entry.offsets.size && [...offsets].every(([key, offset]) => entry.offsets.get(key) === offset);
  return isSame ? undefined : 'its offsets are not those of its entry';
}

/** What a database that keeps its offsets inside says of them. */
function ownOffsetsIn(database: string, stored: StoredImage): readonly FamilyOffsets[] {
  const paths = offsetTablesIn(database, stored);
  if (paths === undefined) return [];
  const tables = paths.map((path) => readTable(stored.contentOf(path)?.small ?? new Uint8Array()));
  return [decodeFamilyOffsets(newestValues(tables))];
}

/** Undefined where a database keeps no offsets. */
function offsetTablesIn(database: string, stored: StoredImage): readonly string[] | undefined {
  const { columnFamilies, tables } = stored.liveIn(database);
  if (!keepsOwnOffsets(columnFamilies)) return undefined;
  const ofOffsets = tables.filter(({ columnFamily }) => columnFamily === OFFSETS_COLUMN_FAMILY);
  return ofOffsets.map(({ number }) => `${database}/${tableFileName(number)}`);
}

/** Of all databases whose manifests can be read; larger ones than a capture would read are none that it wrote. */
function findOffsetTables(
  documents: readonly SnapshotDocument[],
  contents: ReadonlyMap<string, Content>,
): readonly Content[] {
  const entries = documents.flatMap((document) => document.entries).filter(({ layout }) => layout === 'column-family');
  const found = entries.flatMap((entry) => {
    const stored = new StoredImage(entry, contents);
    return stored.databases.flatMap((database) => {
      try {
        return (offsetTablesIn(database, stored) ?? []).map((path) => stored.contentOf(path));
      } catch (error) {
        if (!isFailure(error)) throw error;
        return []; // What is wrong with it is told with the others.
      }
    });
  });
  const readable = found.flatMap((content) =>
    content === undefined || content.failure !== undefined ? [] : [content],
  );
  return [...new Set(readable)].filter(({ file }) => file.sizeBytes <= TABLE_BYTES_MAX);
}

function filesOf(document: SnapshotDocument): readonly StoredFile[] {
  return [...document.entries.flatMap(filesOfEntry), ...document.ahead];
}

function measureObjects(contents: readonly Content[]): Pick<VerifyResult, 'objects' | 'bytes'> {
  const sizes = new Map(
    contents.flatMap(({ file }) => file.objects.map((object) => [object.key, object.storedBytes] as const)),
  );
  return { objects: sizes.size, bytes: [...sizes.values()].reduce((sum, bytes) => sum + bytes, 0) };
}
