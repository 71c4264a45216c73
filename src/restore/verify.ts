import type { Random } from '../base/clock.ts';
import { type Failure, isFailure, messageOf } from '../base/failure.ts';
import type { Emit } from '../events/event.ts';
import { type Entry, filesOfEntry, type SnapshotDocument, type StoredFile } from '../repository/document.ts';
import { type Fence, stemsFrom, whyFenced } from '../repository/fence.ts';
import { createEpoch, formatSnapshotName, type SnapshotName } from '../repository/keys.ts';
import { listRepository, loadDocument, newestSnapshots, type Repository } from '../repository/repository.ts';
import { loadWithdrawals, tellDamage, type Withdrawals } from '../repository/withdrawals.ts';
import { blobFileName, parseCurrent, parseFileName, tableFileName } from '../rocksdb/file-name.ts';
import { ManifestReplay } from '../rocksdb/live-files.ts';
import { decodeCheckpoint } from '../streams/checkpoint-file.ts';
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
 * Reads back every object of the snapshots, compares every hash, and holds every manifest and checkpoint against its
 * entry. What several snapshots share is read once. Failure `missing` for a named snapshot that is not there; what is
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
  await readBack([...contents.values()], repository, options);
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
  /** Of manifests, CURRENT and checkpoints, which are looked into. */
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

async function readBack(contents: readonly Content[], { store }: Repository, options: VerifyOptions): Promise<void> {
  const { concurrency, emit, signal } = options;
  emit({ kind: 'work-announced', work: 'verify', bytes: contents.reduce((sum, { file }) => sum + file.sizeBytes, 0) });
  await downloadFiles<Content>(
    contents,
    { store, concurrency, work: 'verify', emit, signal },
    {
      isWanted: ({ failure }) => failure === undefined,
      open: async (content) =>
        isLookedInto(content.file.path) ? keepingWriter(content) : await emptySink.open(content),
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
    write: async (chunk, position) => bytes.set(chunk.subarray(0, bytes.byteLength - position), position),
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
  const files = new Map(filesOfEntry(entry).map((file) => [file.path, file]));
  const bytesOf = (path: string): Uint8Array | undefined => {
    const file = files.get(path);
    return file === undefined ? undefined : contents.get(contentKey(file))?.small;
  };
  const directories = new Set(
    [...files.keys()].filter((path) => path.includes('/')).map((path) => path.slice(0, path.lastIndexOf('/'))),
  );
  const ofDatabases = [...directories].flatMap((directory) =>
    attempt(directory, () => checkDatabase(directory, files, bytesOf)),
  );
  return [...attempt(CHECKPOINT_FILE, () => checkOffsets(entry, bytesOf(CHECKPOINT_FILE))), ...ofDatabases];
}

function attempt(path: string, check: () => string | undefined): readonly Contradiction[] {
  try {
    const problem = check();
    return problem === undefined ? [] : [[path, problem]];
  } catch (error) {
    if (!isFailure(error)) throw error;
    return [[path, messageOf(error)]];
  }
}

function checkOffsets(entry: Entry, checkpoint: Uint8Array | undefined): string | undefined {
  if (entry.layout !== 'file' || checkpoint === undefined) return undefined;
  const { offsets } = decodeCheckpoint(checkpoint);
  const isSame =
    offsets.size === entry.offsets.size && [...offsets].every(([key, offset]) => entry.offsets.get(key) === offset);
  return isSame ? undefined : 'its offsets are not those of its entry';
}

function checkDatabase(
  directory: string,
  files: ReadonlyMap<string, StoredFile>,
  bytesOf: (path: string) => Uint8Array | undefined,
): string | undefined {
  const current = bytesOf(`${directory}/CURRENT`);
  if (current === undefined) return 'it has no CURRENT';
  const name = parseCurrent(current);
  const manifest = bytesOf(`${directory}/${name}`);
  if (manifest === undefined) return `it has no ${name}`;
  const replay = new ManifestReplay();
  replay.feed(manifest);
  const live = replay.live();
  if (live === undefined || replay.trustedBytes !== manifest.byteLength) return `${name} is incomplete`;
  const named = [
    ...live.tables.map(({ number, sizeBytes }) => ({ name: tableFileName(number), sizeBytes })),
    ...live.blobFiles.map(({ number, sizeBytes }) => ({ name: blobFileName(number), sizeBytes })),
  ];
  const missing = named.find((table) => files.get(`${directory}/${table.name}`)?.sizeBytes !== table.sizeBytes);
  return missing === undefined ? undefined : `${missing.name} with ${missing.sizeBytes} bytes is missing`;
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
