/** Why an entry may be trusted. */
export type Quality = 'clean' | 'live' | 'transactional';

/**
 * What earlier looks at one task directory leave to later ones. Lives in the memory of a running process and, for
 * the next process of the same instance, in the newest document.
 */
export interface TaskMemory {
  /** Which directory it is about; birth time tells a reused inode number apart, 0 where the file system has none. */
  readonly device: bigint;
  readonly inode: bigint;
  readonly birthtimeNs: bigint;
  /** The checkpoint of the last look. */
  readonly checkpoint: { readonly inode: bigint; readonly mtimeNs: bigint } | undefined;
  /** Whether that checkpoint covered everything on disk at the last look (Q1 or Q2). */
  readonly passed: boolean;
  /** Opened anew over tables that no checkpoint covered (Q6): never again `clean` while it is this directory. */
  readonly tainted: boolean;
  /** Per database, by its path below the task directory, as of the last look. */
  readonly databases: ReadonlyMap<string, { readonly manifest: string; readonly greatestSequence: bigint }>;
  /** Per parent of stores or segments, as of the last look that found nothing missing (D2, D4). */
  readonly parents: ReadonlyMap<string, { readonly mtimeNs: bigint; readonly children: readonly string[] }>;
  /** Since when the checkpoint has stood still, and the sum of the sequence numbers then (Q7). */
  readonly watch: { readonly sinceMs: number; readonly sequences: bigint };
}
