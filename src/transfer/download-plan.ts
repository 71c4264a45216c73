import { Failure } from '../base/failure.ts';
import type { StoredFile, StoredStretch } from '../repository/document.ts';

/** One object to fetch, for the files that need it. */
export type DownloadJob<T> = ArchiveJob<T> | StretchJob<T>;

export interface ArchiveJob<T> {
  readonly kind: 'archive';
  readonly key: string;
  readonly storedBytes: number;
  /** By their names in the archive. Files of several snapshots may be one entry. */
  readonly members: ReadonlyMap<string, readonly T[]>;
}

export interface StretchJob<T> {
  readonly kind: 'stretch';
  readonly item: T;
  readonly stretch: StoredStretch;
  /** Where the stretch begins in its file. */
  readonly position: number;
}

export interface DownloadPlan<T> {
  readonly jobs: readonly DownloadJob<T>[];
  /** Files that their document describes in a way that cannot be; they are in no job. */
  readonly impossible: readonly { readonly item: T; readonly failure: Failure }[];
}

interface Stored {
  readonly file: StoredFile;
}

/**
 * The objects to fetch: each archive once and all archives first, since every task needs one; then stretches
 * in the order of the files, so that the first files are whole first.
 */
export function planDownload<T extends Stored>(items: readonly T[]): DownloadPlan<T> {
  const judged = items.map((item) => ({ item, contradiction: contradictionIn(item.file) }));
  const possible = judged.flatMap(({ item, contradiction }) => (contradiction === undefined ? [item] : []));
  const impossible = judged.flatMap(({ item, contradiction }) =>
    contradiction === undefined
      ? []
      : [{ item, failure: new Failure('corrupt', `cannot read ${item.file.path}: ${contradiction}`) }],
  );
  return { jobs: [...archiveJobs(possible), ...possible.flatMap(stretchJobs)], impossible };
}

function contradictionIn({ sizeBytes, sha256, objects }: StoredFile): string | undefined {
  const [first, second] = objects;
  if (first === undefined) return 'its document names no object';
  if (second === undefined && first.kind === 'archived') return undefined;
  const stretches = objects.filter((object) => object.kind === 'stretch');
  if (stretches.length < objects.length) return 'it lies in an archive and elsewhere';
  const coveredBytes = stretches.reduce((sum, stretch) => sum + stretch.sizeBytes, 0);
  if (coveredBytes !== sizeBytes) return `its stretches make ${coveredBytes} bytes, it has ${sizeBytes}`;
  if (second === undefined && stretches[0]?.sha256 !== sha256) return 'its only stretch has another hash than the file';
  return undefined;
}

function archiveJobs<T extends Stored>(items: readonly T[]): readonly ArchiveJob<T>[] {
  const jobs = new Map<string, { kind: 'archive'; key: string; storedBytes: number; members: Map<string, T[]> }>();
  for (const item of items) {
    for (const object of item.file.objects) {
      if (object.kind !== 'archived') continue;
      const { key, storedBytes, entry } = object;
      const id = `${key} ${storedBytes}`; // Who disagrees on its size is served apart, and fails alone.
      const job = jobs.get(id) ?? { kind: 'archive', key, storedBytes, members: new Map<string, T[]>() };
      jobs.set(id, job);
      job.members.set(entry, [...(job.members.get(entry) ?? []), item]);
    }
  }
  return [...jobs.values()];
}

function stretchJobs<T extends Stored>(item: T): readonly StretchJob<T>[] {
  let position = 0;
  const jobs: StretchJob<T>[] = [];
  for (const stretch of item.file.objects) {
    if (stretch.kind !== 'stretch') continue;
    jobs.push({ kind: 'stretch', item, stretch, position });
    position += stretch.sizeBytes;
  }
  return jobs;
}
