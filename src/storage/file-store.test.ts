import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeStoreContract } from '../../test/support/store-contract.ts';
import { systemClock, systemRandom } from '../base/clock.ts';
import { openFileStore } from './file-store.ts';

const world = { clock: systemClock, random: systemRandom };

async function makeFolder(scope: AsyncDisposableStack): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'warmstate-file-store-'));
  scope.defer(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

describeStoreContract('the file store', async (scope) => openFileStore(join(await makeFolder(scope), 'root'), world));
