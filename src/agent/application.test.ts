import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { hookedFiles } from '../../test/support/hooked-files.ts';
import { ManualClock } from '../../test/support/manual-clock.ts';
import { openTempDirectory } from '../../test/support/temp-directory.ts';
import { Failure } from '../base/failure.ts';
import type { ApplicationState } from '../streams/app-lock.ts';
import { Application } from './application.ts';
import { Troubles } from './troubles.ts';

test('an application that ends while its directory cannot be listed has ended all the same', async () => {
  await using root = await openTempDirectory();
  await mkdir(join(root.path, 'orders/0_0'), { recursive: true });
  const files = hookedFiles();
  let lock: ApplicationState = 'running';
  const world = { files, askLock: async () => lock, emit: () => {}, troubles: new Troubles(new ManualClock()) };
  const application = new Application({ stateDir: root.path, applicationId: 'orders' }, world, []);
  const listing = `list ${root.path.split('/').at(-1)}/orders`;
  expect(await application.observe(0)).toEqual({ hasEnded: false });
  lock = 'stopped';
  files.once('before', listing, () => {
    throw new Failure('unavailable', 'cannot list it: too many open files');
  });
  await expect(application.observe(1000)).rejects.toThrow('too many open files');
  expect(await application.observe(2000)).toEqual({ hasEnded: true });
  expect(await application.observe(3000)).toEqual({ hasEnded: false });
});
