import { messageOf } from './base/failure.ts';
import { parseDurationMs, parseRate, parseSizeBytes } from './base/quantity.ts';
import { type ListenAddress, parseListenAddress } from './http/listen-address.ts';
import type { BrokerAddress } from './kafka/broker-facts.ts';
import { type Destination, parseDestination } from './storage/open-store.ts';

/** From what the user wrote to what the program uses. */
export type Decoder<T> = (text: string) => T | Rejected;
export type Decoded<D extends Decoder<unknown>> = Exclude<ReturnType<D>, Rejected>;

/** Why a value cannot be used; completes "value …". */
export class Rejected {
  readonly why: string;

  constructor(why: string) {
    this.why = why;
  }
}

export function matching(pattern: RegExp, otherwise: string): Decoder<string> {
  return (text) => (pattern.test(text) ? text : new Rejected(otherwise));
}

export function choice<const T extends string>(...words: readonly T[]): Decoder<T> {
  return (text) => words.find((word) => word === text) ?? new Rejected(`is none of ${words.join(', ')}`);
}

export function quantity(parse: (text: string) => number | undefined, otherwise: string): Decoder<number> {
  return (text) => {
    const amount = parse(text);
    return amount === undefined || amount <= 0 ? new Rejected(otherwise) : amount;
  };
}

export function mapped<T, R>(decode: Decoder<T>, map: (value: T) => R | Rejected): Decoder<R> {
  return (text) => {
    const value = decode(text);
    return value instanceof Rejected ? value : map(value);
  };
}

export const path = matching(/^[^\0]+$/, 'is not a path');
export const name = matching(
  /^[^\s/\\\p{Cc}]{1,200}$/u,
  'is not a name of 1 to 200 characters without space and slash',
);
export const size = quantity(parseSizeBytes, 'is not a size above zero such as 64MiB or 10GiB');
export const duration = quantity(parseDurationMs, 'is not a duration above zero such as 30s, 5m or 6h');
export const rate = quantity(parseRate, 'is not a rate above zero such as 50MiB/s');

export const taskSelection: Decoder<TaskSelection> = (value) => {
  if (value === 'auto' || value === 'all' || value === 'none') return { kind: value };
  const tasks = parseTasks(value);
  if (tasks !== undefined) return { kind: 'list', tasks };
  return new Rejected('is none of auto, all, none, or a list of tasks such as 0_0,0_1,global');
};

export const taskList: Decoder<readonly string[]> = (value) => {
  return parseTasks(value) ?? new Rejected('is no list of tasks such as 0_0,0_1,global');
};

function parseTasks(text: string): readonly string[] | undefined {
  const tasks = text.split(',').map((task) => task.trim());
  return tasks.every((task) => /^(?:\d+_\d+|global)$/.test(task)) ? [...new Set(tasks)] : undefined;
}

/** Milliseconds since 1970. Without a zone a time would mean something else on every machine. */
export const timestamp: Decoder<number> = (value) => {
  const isComplete = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,3})?)?(?:Z|[+-]\d{2}:\d{2})$/.test(value);
  const timeMs = isComplete ? Date.parse(value) : Number.NaN;
  return Number.isNaN(timeMs) || timeMs < 0 ? new Rejected('is not a time such as 2026-11-28T14:00:00Z') : timeMs;
};

type TaskSelection =
  | { readonly kind: 'auto' | 'all' | 'none' }
  | { readonly kind: 'list'; readonly tasks: readonly string[] };

export const destination: Decoder<Destination> = (value) => {
  if (URL.parse(value)?.username) return new Rejected('holds credentials: they come from the environment');
  try {
    return parseDestination(value);
  } catch (error) {
    return new Rejected(`is ${messageOf(error)}`);
  }
};

export const endpoint: Decoder<string> = (value) => {
  const url = URL.parse(value);
  if (url?.username) return new Rejected('holds credentials: they come from the environment');
  const isEndpoint = url !== null && /^https?:$/.test(url.protocol) && url.search === '' && url.hash === '';
  return isEndpoint ? value : new Rejected('is not a URL such as https://minio.storage:9000');
};

/** `broker-0:9092,broker-1:9092`, as Kafka's own tools take it. */
export const brokerAddresses: Decoder<readonly BrokerAddress[]> = (value) => {
  const addresses = value.split(',').map((text) => /^(?:\[([^\]]+)\]|([^:[\]/\s]+)):(\d{1,5})$/.exec(text.trim()));
  const known = addresses.flatMap((match) => {
    const [host, port] = [match?.[1] ?? match?.[2], Number(match?.[3])];
    return host !== undefined && port >= 1 && port <= 65_535 ? [{ host, port }] : [];
  });
  return known.length === addresses.length
    ? known
    : new Rejected('is no list of brokers such as kafka-0:9092,kafka-1:9092');
};

export const listenAddress: Decoder<ListenAddress> = (value) => {
  try {
    return parseListenAddress(value);
  } catch (error) {
    return new Rejected(`is ${messageOf(error)}`);
  }
};
