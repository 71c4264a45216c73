import { EXIT_CODES } from '../base/failure.ts';
import { describeBytes, describeCount } from '../base/quantity.ts';
import { type Collection, collect } from '../repository/collection.ts';
import { createEpoch } from '../repository/keys.ts';
import { listRepository } from '../repository/repository.ts';
import type { KeepReason } from '../repository/retention.ts';
import type { ObjectStore } from '../storage/object-store.ts';
import type { CommandContext } from './command.ts';
import { type Look, paint } from './look.ts';
import { openOnlyRepository, type RepositoryChoice } from './repository-choice.ts';
import { renderTable } from './table.ts';

export interface PruneSettings extends RepositoryChoice {
  readonly maxAge: number;
  readonly keepWithin: number;
  readonly dryRun: boolean;
}

/** What the damage that this command finds is called by, where a pod has its name. */
const FINDER = 'prune';

/** Removes what retention lets go. Nothing stored is nothing to do. */
export async function prune(
  store: ObjectStore,
  settings: PruneSettings,
  context: Pick<CommandContext, 'signal' | 'emit' | 'random'> & { readonly program: string },
): Promise<Collection> {
  const { signal, random, program } = context;
  const repository = await openOnlyRepository(store, settings, context);
  if (repository === undefined)
    return { documents: 0, objects: 0, bytes: 0, missing: [], kept: new Map(), repositoryBytes: 0 };
  const { storeTimeMs, epochs } = await listRepository(repository, { signal });
  return collect(repository, {
    maxAgeMs: settings.maxAge,
    keepWithinMs: settings.keepWithin,
    isDryRun: settings.dryRun,
    epoch: createEpoch({ storeTimeMs, instance: FINDER, random, after: epochs }),
    program,
    random,
    signal,
  });
}

const REASONS: Readonly<Record<KeepReason, string>> = {
  newest_alive: 'the newest snapshot of an instance that lives',
  newest_young: 'the newest snapshot of an epoch that is over, young enough to be restored',
  superseded_lately: 'superseded within --keep-within: somebody may still read it',
  referenced: 'an object that a snapshot which stays needs',
  young: 'an object within --keep-within: a snapshot may still come to need it',
  record: 'the record of an epoch that may still be spoken of',
  unreadable: 'something beside it cannot be read, and may need it: see the warnings',
  foreign: 'none of ours',
};

export function renderPrune(collection: Collection, look: Look, { isDryRun }: { readonly isDryRun: boolean }): string {
  const { documents, objects, bytes, missing, kept, repositoryBytes } = collection;
  const columns = [{ title: 'STAYS', align: 'right' as const }, { title: 'REASON' }, { title: 'WHICH IS' }];
  const rows = [...kept].map(([reason, count]) => [String(count), reason, REASONS[reason]]);
  const table = rows.length === 0 ? '' : `${renderTable(columns, rows, look)}\n`;
  const lost = missing.map((key) => `${paint(`missing: ${key}`, 'bad', look)}\n`).join('');
  const goes = `${describeCount(documents, 'snapshot')} and ${describeCount(objects, 'object')}, ${describeBytes(bytes)}`;
  const said = isDryRun ? `would be removed: ${goes}` : `removed: ${goes}`;
  return `${table}${lost}${paint(`${said}; ${describeBytes(repositoryBytes)} stay`, 'good', look)}\n`;
}

/** The stable shape of `prune --output json`. */
export function pruneJson({ documents, objects, bytes, missing, kept }: Collection): object {
  return { documents, objects, bytes, missing, kept: Object.fromEntries(kept) };
}

/** What is missing will fail somebody's restore. */
export function pruneExitCode({ missing }: Collection): number {
  return missing.length === 0 ? 0 : EXIT_CODES.corrupt;
}
