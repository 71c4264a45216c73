import {
  type Codec,
  checked,
  count,
  digits,
  flag,
  list,
  mapOf,
  mapped,
  named,
  nullable,
  object,
  oneOf,
  optional,
  signedDigits,
  text,
  textThat,
  time,
  variants,
} from '../base/json-codec.ts';
import type { CheckpointWatch, OffsetsSince, TaskMemory } from '../streams/quality.ts';
import { type Explanation, REASONS, type Reason } from '../streams/reason.ts';
import { CHECKPOINT_FILE, isStoreName, isTaskName } from '../streams/state-directory.ts';
import type {
  ArchivedFile,
  Entry,
  SnapshotDocument,
  StoredFile,
  StoredObject,
  StoredStore,
  StoredStretch,
} from './document.ts';
import { formatSnapshotName, parseEpoch, parseKey, parseSnapshotName, repositoryKeys } from './keys.ts';
import { isStoreFilePath, isTablePath, isTaskFilePath } from './stored-path.ts';

/*
 * What a document looks like in JSON, and everything that makes one wrong. The small shapes are shared with records
 * and restore.json, so that one thing is spelled in one way.
 */

export const nameText = text(1024);
export const epochText = textThat('epoch', (value) => parseEpoch(value) !== undefined);
export const taskName = textThat('task', isTaskName);
export const guaranteeWord = oneOf('at_least_once', 'exactly_once_v2', 'auto');
export const qualityWord = oneOf('clean', 'live', 'transactional');
export const layoutWord = oneOf('file', 'column-family');
const sha256Text = textThat('sha256', (value) => /^[0-9a-f]{64}$/.test(value));
const uidText = textThat('unique id', (value) => /^[0-9a-f]{32}$/.test(value));
export const snapshotNameText = textThat('name of a snapshot', isSnapshotName);
/** An attempt of an epoch, from 1. */
export const attemptNumber = checked(count, (value) => (value === 0 ? 'is 0, but counts from 1' : undefined));

/** `<topic>-<partition>` → an offset that a Kafka log can have. */
export const offsetMap = mapOf(
  textThat('changelog partition', (value) => /^[A-Za-z0-9._-]{1,249}-(?:0|[1-9]\d{0,9})$/.test(value)),
  checked(digits, (value) => (value < 2n ** 63n ? undefined : 'does not fit into 63 bits')),
);

/** Topic → its id, as Kafka's tools print it. */
export const topicIdMap = mapOf(
  textThat('topic', (value) => /^[A-Za-z0-9._-]{1,249}$/.test(value)),
  textThat('id of a topic', (value) => /^[A-Za-z0-9_-]{22}$/.test(value)),
);

const MESSAGE_LENGTH_MAX = 64 * 1024;

/** Beside the fields of `rest`, why: `reason` and `message`, both null where there is nothing to explain. */
export function explained<T extends object>(rest: Codec<T>): Codec<T & { readonly why: Explanation | undefined }> {
  return {
    decode: (json, at) => ({ ...rest.decode(json, at), why: explanation.decode(json, at) }),
    encode: (value) => Object.assign({}, rest.encode(value), explanation.encode(value.why)),
  };
}

const explanation = mapped(
  object<{ readonly reason: Reason | undefined; readonly message: string | undefined }>({
    reason: nullable(oneOf(...REASONS)),
    message: nullable(text(MESSAGE_LENGTH_MAX)),
  }),
  ({ reason, message }): Explanation | undefined =>
    reason === undefined ? undefined : { reason, message: message ?? '' },
  (why) => ({ reason: why?.reason, message: why?.message }),
);

/** The parts of a file. Whether they make up the file is checked with the file. */
const storedObjects = list(
  variants<StoredObject>({
    stretch: object<StoredStretch>({
      kind: oneOf('stretch'),
      key: textThat(
        'key of data',
        remembering((value) => parseKey(value)?.kind === 'data'),
      ),
      sizeBytes: count,
      storedBytes: count,
      sha256: sha256Text,
      encoding: oneOf('none', 'zstd'),
    }),
    archived: object<ArchivedFile>({
      kind: oneOf('archived'),
      key: textThat(
        'key of an archive',
        remembering((value) => parseKey(value)?.kind === 'archive'),
      ),
      storedBytes: count,
      contentBytes: count,
      entry: text(1024),
    }),
  }),
);

/** The fields of a file, for whoever says more about it. */
export const storedFileShape = {
  path: text(1024),
  sizeBytes: count,
  sha256: sha256Text,
  uid: optional(uidText),
  objects: storedObjects,
};

const storedFile = checked(object<StoredFile>(storedFileShape), complaintAboutParts);

const storedStore = checked(
  object<StoredStore>({
    name: textThat('name of a store', isStoreName),
    kind: oneOf('rocksdb', 'segmented', 'other'),
    rocksdbVersion: optional(text(64)),
    columnFamilies: list(nameText),
    status: optional(oneOf('open', 'closed')),
    position: optional(offsetMap),
    files: list(storedFile),
  }),
  (store) => {
    const foreign = store.files.find((file) => !isStoreFilePath(store, file.path));
    return foreign === undefined
      ? undefined
      : `${JSON.stringify(foreign.path)} is no file of ${store.kind} store ${store.name}`;
  },
);

const entry = checked(
  object<Entry>({
    task: taskName,
    quality: qualityWord,
    layout: layoutWord,
    stateTimeMs: named('stateTime', time),
    capturedAtMs: named('capturedAt', time),
    capturedBy: snapshotNameText,
    offsets: offsetMap,
    topicIds: optional(topicIdMap),
    files: list(storedFile),
    stores: list(storedStore),
  }),
  complaintAboutEntry,
);

const inodeAndMtime = object<{ inode: bigint; mtimeNs: bigint }>({ inode: digits, mtimeNs: signedDigits });

const taskMemory = object<TaskMemory>({
  device: digits,
  inode: digits,
  birthtimeNs: signedDigits,
  checkpoint: optional(inodeAndMtime),
  passed: flag,
  exceeded: optional(flag),
  tainted: flag,
  databases: mapOf(
    nameText,
    object<{ manifest: string; greatestSequence: bigint }>({ manifest: nameText, greatestSequence: digits }),
  ),
  parents: mapOf(
    nameText,
    object<{ mtimeNs: bigint; children: readonly string[] }>({ mtimeNs: signedDigits, children: list(nameText) }),
  ),
  watch: object<CheckpointWatch>({ sinceMs: named('since', time), writes: digits, looksExactlyOnce: flag }),
  topicIds: optional(topicIdMap),
  undatedNs: named('undated', optional(signedDigits)),
  offsetsSince: optional(object<OffsetsSince>({ offsets: offsetMap, stateTimeMs: named('stateTime', time) })),
});

export const documentShape: Codec<SnapshotDocument> = checked(
  object<SnapshotDocument>({
    application: nameText,
    lineage: nameText,
    instance: nameText,
    epoch: epochText,
    n: attemptNumber,
    timeMs: named('time', time),
    writer: nameText,
    guarantee: guaranteeWord,
    entries: list(entry),
    ahead: list(storedFile),
    seen: mapOf(taskName, taskMemory),
  }),
  complaintAboutDocument,
);

function isSnapshotName(value: string): boolean {
  try {
    return formatSnapshotName(parseSnapshotName(value)) === value;
  } catch {
    return false;
  }
}

/** What was fit a moment ago is so again: files that follow one another mostly lie in one archive. */
function remembering(isFit: (value: string) => boolean): (value: string) => boolean {
  let fit: string | undefined;
  return (value) => {
    if (value === fit) return true;
    if (!isFit(value)) return false;
    fit = value;
    return true;
  };
}

/** Stretches cover a file without gaps; an archive holds it whole. */
function complaintAboutParts({ path, sizeBytes, sha256, objects }: StoredFile): string | undefined {
  const [first] = objects;
  if (first === undefined) return `${path} lies in no object`;
  if (first.kind === 'archived' && objects.length === 1) return undefined;
  const stretches = objects.filter((part) => part.kind === 'stretch');
  if (stretches.length < objects.length) return `${path} lies in an archive and elsewhere`;
  const bloated = stretches.find((part) => part.encoding === 'none' && part.sizeBytes !== part.storedBytes);
  if (bloated !== undefined) return `${bloated.key} is not packed, yet changes its size`;
  const coveredBytes = stretches.reduce((sum, part) => sum + part.sizeBytes, 0);
  if (coveredBytes !== sizeBytes) return `${path} has ${sizeBytes} bytes, its objects have ${coveredBytes}`;
  const isOtherHash = stretches.length === 1 && stretches[0]?.sha256 !== sha256;
  return isOtherHash ? `${path} has another hash than its only object` : undefined;
}

function complaintAboutEntry(one: Entry): string | undefined {
  const foreign = one.files.find((file) => !isTaskFilePath(file.path));
  if (foreign !== undefined) return `${JSON.stringify(foreign.path)} is no file of a task directory`;
  const hasCheckpoint = one.files.some((file) => file.path === CHECKPOINT_FILE);
  // Without it Kafka Streams replays everything over old data; over a column family it would replace the offsets.
  if (hasCheckpoint !== (one.layout === 'file'))
    return `layout ${one.layout} ${hasCheckpoint ? 'with' : 'without'} a ${CHECKPOINT_FILE}`;
  const store = firstRepeated(one.stores.map((each) => each.name));
  if (store !== undefined) return `store ${store} is named twice`;
  const paths = [one.files, ...one.stores.map((each) => each.files)].flat().map((file) => file.path);
  const path = firstRepeated(paths);
  if (path !== undefined) return `${path} is named twice`;
  const files = new Set(paths);
  const folder = paths.find((each) => liesBelow(each, files));
  return folder === undefined ? undefined : `${folder} lies below a file`;
}

function complaintAboutDocument(document: SnapshotDocument): string | undefined {
  const task = firstRepeated(document.entries.map((each) => each.task));
  if (task !== undefined) return `task ${task} is named twice`;
  const foreign = document.ahead.find((file) => !isTablePath(file.path));
  if (foreign !== undefined) return `${JSON.stringify(foreign.path)} is no table`;

  const { dataPrefix } = repositoryKeys(document);
  const files = filesOf(document);
  const factsOf = new Map<string, string>();
  for (const file of files) {
    for (const part of file.objects) {
      if (!part.key.startsWith(dataPrefix)) return `${part.key} belongs to another repository`;
      for (const [thing, facts] of factsAbout(file, part)) {
        if ((factsOf.get(thing) ?? facts) !== facts) return `${thing} is ${facts} and ${factsOf.get(thing)}`;
        factsOf.set(thing, facts);
      }
    }
  }
  const sizeBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0);
  return Number.isSafeInteger(sizeBytes) ? undefined : `its files have ${sizeBytes} bytes in all`;
}

/** What a part says about the objects it names: two files that share an object must say the same. */
function factsAbout(file: StoredFile, part: StoredObject): readonly (readonly [thing: string, facts: string])[] {
  if (part.kind === 'stretch')
    return [[part.key, `${part.storedBytes} bytes of ${part.encoding} ${part.sizeBytes} ${part.sha256}`]];
  return [
    [part.key, `${part.storedBytes} bytes, ${part.contentBytes} unpacked`],
    [`${part.key} ${part.entry}`, `${file.sizeBytes} bytes ${file.sha256}`],
  ];
}

/** Every file of every entry and what was sent ahead. */
function filesOf(document: SnapshotDocument): readonly StoredFile[] {
  const ofEntries = document.entries.flatMap((one) => [...one.files, ...one.stores.flatMap((store) => store.files)]);
  return [...ofEntries, ...document.ahead];
}

export function firstRepeated(texts: readonly string[]): string | undefined {
  const seen = new Set<string>();
  return texts.find((one) => seen.size === seen.add(one).size);
}

function liesBelow(path: string, files: ReadonlySet<string>): boolean {
  for (let slash = path.indexOf('/'); slash >= 0; slash = path.indexOf('/', slash + 1))
    if (files.has(path.slice(0, slash))) return true;
  return false;
}
