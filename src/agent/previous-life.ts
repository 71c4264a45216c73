import { isEpochOf } from '../repository/keys.ts';
import type { EpochRecord } from '../repository/record.ts';
import { loadRecords, type Repository, type RepositoryListing } from '../repository/repository.ts';

/**
 * How an earlier life of an instance ended. `partial`: the application had let go of its directory, but the last
 * snapshot was not published; `killed`: there was no sign of an end.
 */
export type PreviousShutdown = 'sealed' | 'partial' | 'killed' | 'none';

/** So many records of restores are passed over: a pod that starts again and again leaves one each time. */
const RECORDS_MAX = 16;

/** Of the newest life of this instance in a listing that published snapshots. */
export async function findPreviousShutdown(
  repository: Repository,
  listing: RepositoryListing,
  { instance, signal }: { readonly instance: string; readonly signal: AbortSignal },
): Promise<PreviousShutdown> {
  const epochs = listing.epochs.filter((epoch) => listing.recorded.has(epoch) && isEpochOf(epoch, instance));
  for (const epoch of epochs.toReversed().slice(0, RECORDS_MAX)) {
    const [loaded] = await loadRecords(repository, { ...listing, recorded: new Set([epoch]) }, { signal });
    if (loaded !== undefined && loaded.record.role !== 'restore') return shutdownOf(loaded.record);
  }
  return 'none';
}

function shutdownOf({ state }: Pick<EpochRecord, 'state'>): PreviousShutdown {
  switch (state) {
    case 'sealed':
      return 'sealed';
    case 'released':
      return 'partial';
    case 'alive':
      return 'killed';
  }
}
