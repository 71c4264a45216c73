import { run } from './image/run.ts';

let last: Promise<unknown> = Promise.resolve();

/** Installs packages of Debian or Ubuntu; one call after another, for apt-get does not wait for its own locks. */
export function installPackages(names: readonly string[]): Promise<void> {
  const next = last.then(async () => {
    const env = { DEBIAN_FRONTEND: 'noninteractive' };
    await run('apt-get', ['update', '-qq'], { env });
    await run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...names], { env });
  });
  last = next.catch(() => undefined);
  return next;
}
