import { once } from 'node:events';
import { createServer } from 'node:net';
import { isFailure, systemErrorCode } from '../base/failure.ts';
import { askRun } from '../http/client.ts';
import type { ListenAddress } from '../http/listen-address.ts';
import { type Check, ok, warn } from './doctor-check.ts';

/** What is found at the address of `--listen`. */
export type ListenFacts =
  /** Nobody, and it can be had. */
  | { readonly kind: 'free' }
  /** A `run` of ours. */
  | { readonly kind: 'run' }
  /** It cannot be had: the system's code, EADDRINUSE where somebody else has it. */
  | { readonly kind: 'refused'; readonly code: string };

const ANSWER_MS_MAX = 5000;

/** Asks at the address, and takes it for a moment where nobody answers. */
export async function findListenFacts(
  address: ListenAddress,
  { signal }: { readonly signal: AbortSignal },
): Promise<ListenFacts> {
  const question = { method: 'GET', path: '/api/v1/status', timeoutMs: ANSWER_MS_MAX } as const;
  try {
    const isAnswered = (await askRun(address, question, { signal })) !== undefined;
    return isAnswered ? { kind: 'run' } : await tryToListen(address);
  } catch (error) {
    if (isFailure(error, 'conflict', 'unavailable')) return { kind: 'refused', code: 'EADDRINUSE' };
    throw error;
  }
}

async function tryToListen({ host, port }: ListenAddress): Promise<ListenFacts> {
  const server = createServer();
  try {
    server.listen({ port, ...(host === undefined ? {} : { host }) });
    await once(server, 'listening');
    server.close();
    await once(server, 'close');
    return { kind: 'free' };
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === undefined) throw error;
    return { kind: 'refused', code };
  }
}

export function checkListen(facts: ListenFacts, { host = '', port }: ListenAddress): Check {
  const address = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
  switch (facts.kind) {
    case 'free':
      return ok('listen', `${address} is free`);
    case 'run':
      return ok('listen', `run answers at ${address}`);
    case 'refused': {
      const isTaken = facts.code === 'EADDRINUSE';
      const why = isTaken ? 'is taken by another program' : `cannot be had (${facts.code})`;
      const hint = 'another --listen, and the same port in the probes of the pod';
      return warn('listen', `${address} ${why}: run works on without metrics and probes`, hint);
    }
  }
}
