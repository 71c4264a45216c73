import { expect, test } from 'vitest';
import { sampleRecord } from '../../test/support/sample-documents.ts';
import { SimulatedStore } from '../../test/support/simulated-store.ts';
import { findPreviousLife } from '../repository/recall.ts';
import { type EpochRecord, encodeRecord } from '../repository/record.ts';
import { listRepository, openRepository } from '../repository/repository.ts';
import { bytesBody } from '../storage/object-store.ts';
import { type PreviousShutdown, shutdownOf } from './previous-life.ts';

const { signal } = new AbortController();

type Life = Partial<Pick<EpochRecord, 'state' | 'role' | 'instance'>>;

/** What orders-0 is told of lives, oldest first. */
async function told(lives: readonly Life[]): Promise<PreviousShutdown> {
  const store = new SimulatedStore();
  const repository = await openRepository(store, { application: 'orders', lineage: 'shop', notice: () => {}, signal });
  for (const [index, life] of lives.entries()) {
    const { instance = 'orders-0' } = life;
    const record = sampleRecord({ ...life, epoch: `${1_763_854_560_000 + index}-${instance}-a1b2` });
    await store.put(repository.keys.record(record.epoch), bytesBody(encodeRecord(record)), { signal });
  }
  const listing = await listRepository(repository, { signal });
  return shutdownOf(await findPreviousLife(repository, listing, { instance: 'orders-0', signal }));
}

const restores = (count: number): readonly Life[] => Array.from({ length: count }, () => ({ role: 'restore' }));

test.each<[string, readonly Life[], PreviousShutdown]>([
  ['there was none', [], 'none'],
  ['it published its last snapshot', [{ state: 'sealed' }], 'sealed'],
  ['it saw the application close, and no more', [{ state: 'released' }], 'partial'],
  ['it gave no sign of an end', [{ state: 'alive' }], 'killed'],
  ['the newest life counts', [{ state: 'sealed' }, { state: 'alive' }], 'killed'],
  ['those of others do not', [{ state: 'sealed' }, { state: 'alive', instance: 'orders-1' }], 'sealed'],
  ['a snapshot by hand is a life', [{ state: 'alive' }, { state: 'sealed', role: 'snapshot' }], 'sealed'],
  ['restores are passed over', [{ state: 'released' }, ...restores(15)], 'partial'],
  ['but not without end', [{ state: 'released' }, ...restores(16)], 'none'],
])('%s', async (_what, lives, shutdown) => {
  expect(await told(lives)).toBe(shutdown);
});
