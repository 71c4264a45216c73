import type { Capture } from '../capture/capture.ts';
import { findInstalledTask, type RestoreReport } from '../repository/restore-result.ts';
import { layoutOf } from '../streams/offsets.ts';
import type { DatabaseSight } from '../streams/quality.ts';

/**
 * A capture without what a restore installed under a task id that means another sub-topology by now: sub-topologies are
 * numbered anew whenever one comes before them. Up to 4.2 the checkpoint no longer names such stores (C3). From 4.3 on their
 * offsets lie inside them and stay there for good: the task would be as old as they are, for ever. Kafka Streams opens
 * all stores of a task or none; where it has written others and opened none of those installed, these are not its own.
 */
export function withoutForeignStores(capture: Capture, report: RestoreReport | undefined): Capture {
  const { sight } = capture;
  const installed = report === undefined ? undefined : findInstalledTask(report, sight);
  if (installed === undefined || layoutOf(sight) === 'file') return capture;
  const paths = new Set(installed.files.map(({ path }) => path));
  const isInstalled = ({ path }: DatabaseSight): boolean => paths.has(`${path}/CURRENT`);
  const isUntouched = ({ path, manifest }: DatabaseSight): boolean => paths.has(`${path}/${manifest}`);
  const foreign = new Set(sight.databases.filter(isInstalled).map(({ store }) => store));
  const own = sight.databases.filter(({ store }) => !foreign.has(store));
  const theirs = sight.databases.filter(({ store }) => foreign.has(store));
  if (!theirs.every(isUntouched) || !own.some(hasOffset)) return capture;
  return {
    ...capture,
    sight: { ...sight, databases: own },
    stores: capture.stores.filter(({ name }) => !foreign.has(name)),
    [Symbol.asyncDispose]: () => capture[Symbol.asyncDispose](),
  };
}

function hasOffset({ own }: DatabaseSight): boolean {
  return own?.kind === 'read' && own.offsets.size > 0;
}
