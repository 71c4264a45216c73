import { z } from 'zod';
import { messageOf } from './base/failure.ts';
import { parseDurationMs, parseRate, parseSizeBytes } from './base/quantity.ts';
import { type ListenAddress, parseListenAddress } from './http/listen-address.ts';
import { type Destination, parseDestination } from './storage/open-store.ts';

/** From what the user wrote to what the program uses; its message completes "value …". */
export type Decoder<T> = z.ZodType<T, string>;
export type Decoded<D extends Decoder<unknown>> = z.output<D>;

export const matching = (pattern: RegExp, message: string): Decoder<string> => z.string().regex(pattern, message);

export const choice = <const T extends string>(...words: readonly T[]): z.ZodType<T, string> =>
  z.string().transform((value, context) => {
    return words.find((word) => word === value) ?? reject(context, `is none of ${words.join(', ')}`);
  });

export const quantity = (parse: (value: string) => number | undefined, message: string): z.ZodType<number, string> =>
  z.string().transform((value, context) => {
    const amount = parse(value);
    return amount === undefined || amount <= 0 ? reject(context, message) : amount;
  });

function reject(context: z.RefinementCtx, message: string): never {
  context.addIssue({ code: 'custom', message });
  return z.NEVER;
}

export const path = matching(/^[^\0]+$/, 'is not a path');
export const name = matching(
  /^[^\s/\\\p{Cc}]{1,200}$/u,
  'is not a name of 1 to 200 characters without space and slash',
);
export const size = quantity(parseSizeBytes, 'is not a size above zero such as 64MiB or 10GiB');
export const duration = quantity(parseDurationMs, 'is not a duration above zero such as 30s, 5m or 6h');
export const rate = quantity(parseRate, 'is not a rate above zero such as 50MiB/s');

export const taskSelection = z.string().transform((value, context): TaskSelection => {
  if (value === 'auto' || value === 'all' || value === 'none') return { kind: value };
  const tasks = value.split(',').map((task) => task.trim());
  if (tasks.every((task) => /^(?:\d+_\d+|global)$/.test(task))) return { kind: 'list', tasks: [...new Set(tasks)] };
  return reject(context, 'is none of auto, all, none, or a list of tasks such as 0_0,0_1,global');
});

type TaskSelection =
  | { readonly kind: 'auto' | 'all' | 'none' }
  | { readonly kind: 'list'; readonly tasks: readonly string[] };

export const destination = z.string().transform((value, context): Destination => {
  if (URL.parse(value)?.username) return reject(context, 'holds credentials: they come from the environment');
  try {
    return parseDestination(value);
  } catch (error) {
    return reject(context, `is ${messageOf(error)}`);
  }
});

export const endpoint = z.string().transform((value, context) => {
  const url = URL.parse(value);
  if (url?.username) return reject(context, 'holds credentials: they come from the environment');
  const isEndpoint = url !== null && /^https?:$/.test(url.protocol) && url.search === '' && url.hash === '';
  return isEndpoint ? value : reject(context, 'is not a URL such as https://minio.storage:9000');
});

export const listenAddress = z.string().transform((value, context): ListenAddress => {
  try {
    return parseListenAddress(value);
  } catch (error) {
    return reject(context, `is ${messageOf(error)}`);
  }
});
