import type { StoreName } from '../model.ts';
import type { Guarantee, PrintedTask } from './protected-app.ts';
import type { Restoration } from './streams-app.ts';

/**
 * Where Kafka Streams restored anything else than what came after the installed offsets: every persistent store from its
 * checkpoint + 1 (the global one, whose checkpoint names the next offset, from there) to the end, the one in memory from
 * the beginning. No line means that it did so to the record.
 */
export function departuresFromDelta(
  restorations: readonly Restoration[],
  installed: readonly PrintedTask[],
  guarantee: Guarantee,
): readonly string[] {
  const starts = startsOf(installed);
  const persistent = restorations.filter(({ store }) => store !== 'mem');
  const restored = new Set(persistent.map(({ changelog }) => changelog));
  const forgotten = [...starts.keys()].filter((changelog) => !restored.has(changelog));
  return [
    ...forgotten.map((changelog) => `${changelog}: installed, and the application did not look at it`),
    ...restorations.flatMap((restoration) => {
      const start = restoration.store === 'mem' ? 0n : starts.get(restoration.changelog);
      return departuresOf(restoration, start, guarantee).map((text) => `${restoration.changelog}: ${text}`);
    }),
  ];
}

/** The same for what was installed alone: a task that had not been captured yet is restored from the beginning. */
export function departuresOfInstalled(
  restorations: readonly Restoration[],
  installed: readonly PrintedTask[],
  guarantee: Guarantee,
): readonly string[] {
  const starts = startsOf(installed);
  return departuresFromDelta(
    restorations.filter(({ store, changelog }) => store === 'mem' || starts.has(changelog)),
    installed,
    guarantee,
  );
}

/**
 * What was restored first of each changelog: how the application met what was installed. One that the broker takes for dead on a
 * slow machine begins anew, under exactly-once from nothing.
 */
export function firstOf(restorations: readonly Restoration[]): readonly Restoration[] {
  return [...new Map(restorations.toReversed().map((each) => [each.changelog, each])).values()];
}

/** How many records came back, by store. */
export function totalsOf(restorations: readonly Restoration[]): Readonly<Partial<Record<StoreName, bigint>>> {
  const totals: Record<string, bigint> = {};
  for (const { store, totalRestored } of restorations) totals[store] = (totals[store] ?? 0n) + totalRestored;
  return totals;
}

/** Where an application has to begin restoring what was installed, by changelog. */
export function startsOf(installed: readonly PrintedTask[]): ReadonlyMap<string, bigint> {
  return new Map(
    installed.flatMap(({ task, offsets }) =>
      Object.entries(offsets).map(
        ([changelog, offset]) => [changelog, BigInt(offset) + (task === 'global' ? 0n : 1n)] as const,
      ),
    ),
  );
}

function departuresOf(
  { startingOffset, endingOffset, totalRestored }: Restoration,
  start: bigint | undefined,
  guarantee: Guarantee,
): readonly string[] {
  if (start === undefined) return [`restored from ${startingOffset}, and nothing was installed`];
  const span = endingOffset - startingOffset;
  // Under exactly-once a transaction ends in a marker, which has an offset and is no record; one taken back has only these.
  const isWhole = guarantee === 'at_least_once' ? totalRestored === span : totalRestored <= span;
  return [
    ...(startingOffset === start ? [] : [`began at ${startingOffset}, not at ${start}`]),
    ...(isWhole ? [] : [`${totalRestored} records of [${startingOffset}, ${endingOffset})`]),
  ];
}
