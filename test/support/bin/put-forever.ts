/**
 * Stores objects in the directory given until it is killed: numbered ones that describe themselves, one that is
 * replaced all the time, and deletes behind itself. Prints `<verb> <key>` after each call that has resolved.
 */
import { setMaxListeners } from 'node:events';
import { systemClock, systemRandom } from '../../../src/base/clock.ts';
import { openFileStore } from '../../../src/storage/file-store.ts';
import { selfDescribing } from '../self-describing.ts';

const [root = '', epoch = ''] = process.argv.slice(2);
const { signal } = new AbortController();
setMaxListeners(0, signal);
const store = await openFileStore(root, { clock: systemClock, random: systemRandom });

for (let n = 0; ; n++) {
  const key = `data/${epoch}/${n}`;
  await store.put(key, selfDescribing(key, n * 40_009), { signal });
  console.log(`put ${key}`);
  await store.put('records/shared.json', selfDescribing('records/shared.json', n * 997), { signal });
  console.log('put records/shared.json');
  if (n % 5 === 4) await store.delete(`data/${epoch}/${n - 2}`, { signal });
  if (n % 5 === 4) console.log(`delete data/${epoch}/${n - 2}`);
}
