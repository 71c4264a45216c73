import type { Fence, FenceScope } from '../repository/fence.ts';
import { jsonTime } from './json.ts';

/** `0_3, instance orders-0`, or `everything`. */
export function describeScope({ tasks, instance, layout, quality }: FenceScope): string {
  const parts = [
    tasks?.join(', '),
    instance === undefined ? undefined : `instance ${instance}`,
    layout === undefined ? undefined : `${layout} layout`,
    quality === undefined ? undefined : `captured ${quality}`,
  ];
  const said = parts.filter((part) => part !== undefined);
  return said.length === 0 ? 'everything' : said.join(', ');
}

export function fenceJson({ timeMs, reason, beforeMs, tasks, instance, layout, quality }: Fence): object {
  return {
    time: jsonTime(timeMs),
    reason,
    before: jsonTime(beforeMs),
    tasks: tasks ?? [],
    instance: instance ?? null,
    layout: layout ?? null,
    quality: quality ?? null,
  };
}
