import { compareEpochs, parseEpoch, parseKey } from './keys.ts';
import { EPOCH_SILENCE_MS_MAX, type EpochRecord, isAlive } from './record.ts';
import { listAll, loadRecords, type Repository, type RepositoryListing } from './repository.ts';

/** The living instance with the smallest epoch of those that may: the one that collects (G5). Undefined where there is none. */
export async function findCollector(
  repository: Repository,
  { signal }: { readonly signal: AbortSignal },
): Promise<string | undefined> {
  const { objects, storeTimeMs } = await listAll(repository.store, repository.keys.recordsPrefix, { signal });
  const recorded = objects.flatMap(({ key, modifiedMs }) => {
    const parsed = parseKey(key);
    return parsed?.kind === 'record' ? [{ epoch: parsed.epoch, modifiedMs }] : [];
  });
  const load = async (
    epoch: string,
  ): Promise<{ readonly record: EpochRecord; readonly isAlive: boolean } | undefined> => {
    const listing: RepositoryListing = {
      storeTimeMs,
      epochs: [],
      recorded: new Map([[epoch, storeTimeMs]]),
      documents: [],
    };
    const [loaded] = await loadRecords(repository, listing, { signal });
    return loaded && { record: loaded.record, isAlive: isAlive(loaded.record, loaded) };
  };
  const inOrder = recorded.toSorted((left, right) => compareEpochs(left.epoch, right.epoch));
  for (const { epoch } of inOrder.filter(({ modifiedMs }) => storeTimeMs - modifiedMs <= EPOCH_SILENCE_MS_MAX)) {
    const loaded = await load(epoch);
    if (loaded?.record.role !== 'run' || loaded.record.collects === false || !loaded.isAlive) continue;
    const later = inOrder.filter(
      (other) => isOfSameInstance(other.epoch, epoch) && compareEpochs(other.epoch, epoch) > 0,
    );
    let isFollowed = false;
    for (const one of later) isFollowed ||= (await load(one.epoch))?.record.role !== 'snapshot';
    if (!isFollowed) return epoch;
  }
  return undefined;
}

function isOfSameInstance(one: string, other: string): boolean {
  return parseEpoch(one)?.instance === parseEpoch(other)?.instance;
}
