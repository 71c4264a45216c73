import { Failure } from '../base/failure.ts';
import { list, named, object, oneOf, optional, time } from '../base/json-codec.ts';
import type { Quality } from '../streams/quality.ts';
import type { Explanation } from '../streams/reason.ts';
import { AGREES_MS } from './clocks.ts';
import type { Layout } from './document.ts';
import { layoutWord, nameText, qualityWord, taskName } from './document-shape.ts';
import { decodeText, encodeText } from './format.ts';
import { type FenceName, isEpochOf, parseSnapshotName, repositoryKeys } from './keys.ts';

/**
 * What is no longer offered: state in a scope whose state time lies before a moment, whenever it was or will be
 * captured. Immutable, and never taken away: a volume may wake up years later. See docs/format.md.
 */
export interface Fence extends FenceScope {
  readonly application: string;
  readonly lineage: string;
  /** When it was put up and what tells it from others, as its key says. */
  readonly timeMs: number;
  readonly token: string;
  /** The program that wrote it, `warmstate 0.1.0`. */
  readonly writer: string;
  /** Somebody said so; Kafka threw a task back behind its own past; the application is not what its settings say (Q7). */
  readonly reason: FenceReason;
}

export type FenceReason = 'forgotten' | 'regressed' | 'looks_exactly_once';

/** What is left out stands for all. */
export interface FenceScope {
  /** What is known to be current up to this moment or longer is spared. */
  readonly beforeMs: number;
  readonly tasks: readonly string[] | undefined;
  /** What it offered or captured. */
  readonly instance: string | undefined;
  readonly layout: Layout | undefined;
  readonly quality: Quality | undefined;
}

/** State that may lie behind a fence, in a repository or on a volume. */
export interface FencedState {
  readonly task: string;
  readonly layout: Layout;
  readonly quality: Quality | undefined;
  readonly stateTimeMs: number;
  readonly isOf: (instance: string) => boolean;
}

/** Why state is not offered any more, or undefined while it is. */
export function whyFenced(fences: readonly Fence[], state: FencedState): Explanation | undefined {
  const fence = fences.find((one) => isBehind(one, state));
  if (fence === undefined) return undefined;
  const put = new Date(fence.timeMs).toISOString();
  const before = new Date(fence.beforeMs).toISOString();
  return {
    reason: 'forgotten',
    message: `a fence of ${put} (${WORDS[fence.reason]}) withdrew what is older than ${before}`,
  };
}

const WORDS: Readonly<Record<FenceReason, string>> = {
  forgotten: 'warmstate forget',
  regressed: 'the task was thrown back by Kafka',
  looks_exactly_once: 'the application is exactly-once, its setting is not',
};

/**
 * Some stores know the time to the second only: what they call now lasts until the next one. And what was stamped before it may look
 * later by as much as a clock is off unnoticed (A5).
 */
export const NOW_LASTS_MS = 1000 + AGREES_MS;

/** Whether a fence has everything in its scope that another one has, and reaches as far. */
export function covers(fence: FenceScope, other: FenceScope): boolean {
  return (
    fence.beforeMs >= other.beforeMs &&
    (fence.tasks === undefined || (other.tasks?.every((task) => fence.tasks?.includes(task)) ?? false)) &&
    (['instance', 'layout', 'quality'] as const).every((key) => fence[key] === undefined || fence[key] === other[key])
  );
}

/** Whether an entry of a document stems from an instance: it offers it, or took its bytes. */
export function stemsFrom(entry: { readonly epoch: string; readonly capturedBy: string }, instance: string): boolean {
  return isEpochOf(entry.epoch, instance) || isEpochOf(parseSnapshotName(entry.capturedBy).epoch, instance);
}

function isBehind(fence: Fence, { task, layout, quality, stateTimeMs, isOf }: FencedState): boolean {
  return (
    stateTimeMs < fence.beforeMs &&
    (fence.tasks === undefined || fence.tasks.includes(task)) &&
    (fence.instance === undefined || isOf(fence.instance)) &&
    (fence.layout === undefined || fence.layout === layout) &&
    (fence.quality === undefined || fence.quality === quality)
  );
}

/** JSON, read by people. Failure `invalid` for what `decodeFence` would refuse. */
export function encodeFence(fence: Fence): Uint8Array {
  return encodeText(fence, FORMAT, 'a fence');
}

/** The fence that lies under `key`; Failure `corrupt`, or `invalid` for another format, with the key. */
export function decodeFence(bytes: Uint8Array, key: string): Fence {
  const fence = decodeText(bytes, FORMAT, key);
  const own = repositoryKeys(fence).fence(fence);
  if (own !== key) throw new Failure('corrupt', `cannot read ${key}: it is ${own}`);
  return fence;
}

/** What a fence that cannot be read may withdraw at most: all that was current when it was put up. */
export function widestFence(
  location: { readonly application: string; readonly lineage: string },
  name: FenceName,
): Fence {
  const { application, lineage } = location;
  const everything = { tasks: undefined, instance: undefined, layout: undefined, quality: undefined };
  return {
    application,
    lineage,
    ...name,
    writer: 'unknown',
    reason: 'forgotten',
    beforeMs: name.timeMs + NOW_LASTS_MS,
    ...everything,
  };
}

/** The format that this program writes and the only one it reads. */
const FORMAT = {
  number: 1,
  shape: object<Fence>({
    application: nameText,
    lineage: nameText,
    timeMs: named('time', time),
    token: nameText,
    writer: nameText,
    reason: oneOf('forgotten', 'regressed', 'looks_exactly_once'),
    beforeMs: named('before', time),
    tasks: optional(list(taskName)),
    instance: optional(nameText),
    layout: optional(layoutWord),
    quality: optional(qualityWord),
  }),
};
