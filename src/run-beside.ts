import { createHash } from 'node:crypto';
import { decodeSnapshotResult, type SnapshotResult } from './agent/snapshot-result.ts';
import { Failure, isFailure } from './base/failure.ts';
import type { CommandContext } from './cli/command.ts';
import { type AgentStatus, decodeAgentStatus } from './events/agent-status.ts';
import { askRun } from './http/client.ts';
import type { ListenAddress } from './http/listen-address.ts';
import type { SettingsOf } from './settings.ts';

/** It answers from memory. */
const STATUS_MS_MAX = 5000;

/** What the `run` of this pod knows. Failure `missing` where none answers. */
export async function askForStatus(
  listen: ListenAddress,
  { signal }: Pick<CommandContext, 'signal'>,
): Promise<AgentStatus> {
  const answer = await askRun(listen, { method: 'GET', path: STATUS, timeoutMs: STATUS_MS_MAX }, { signal });
  if (answer !== undefined) return decodeAgentStatus(answer);
  throw new Failure('missing', `cannot ask for the status: no run listens on port ${listen.port} of this machine`, {
    hint: 'kubectl exec POD -c warmstate -- warmstate status, or --listen as run has it',
  });
}

const STATUS = '/api/v1/status';

/**
 * Lets the `run` of this pod take the snapshot, for it knows what is stored; undefined where none lives that serves the
 * same application, state directory and repository.
 */
export async function askForSnapshot(
  settings: SettingsOf<'snapshot'>,
  { signal, emit }: Pick<CommandContext, 'signal' | 'emit'>,
): Promise<SnapshotResult | undefined> {
  const same = `for=${identityOf(settings)}`;
  const isThere = await isServed(settings.listen, `${STATUS}?${same}`, signal);
  if (!isThere) return undefined;
  const message = 'the run of this pod takes the snapshot';
  emit({ kind: 'notice', name: 'snapshot-delegated', level: 'info', message });
  const question = { method: 'POST', path: `/-/snapshot?${same}`, timeoutMs: undefined } as const;
  const answer = await askRun(settings.listen, question, { signal });
  return answer === undefined ? undefined : decodeSnapshotResult(answer);
}

/** Whoever answers anything else, or not at all, is none of ours. */
async function isServed(listen: ListenAddress, path: string, signal: AbortSignal): Promise<boolean> {
  try {
    return (await askRun(listen, { method: 'GET', path, timeoutMs: STATUS_MS_MAX }, { signal })) !== undefined;
  } catch (error) {
    if (isFailure(error)) return false;
    throw error;
  }
}

/** Says whether two processes of a pod serve the same: who asks for a snapshot wants it in the repository of its own settings. */
export function identityOf(
  settings: Pick<
    SettingsOf<'snapshot'>,
    'stateDir' | 'applicationId' | 'lineage' | 'instance' | 'destination' | 's3Endpoint'
  >,
): string {
  const { stateDir, applicationId, lineage, instance, destination, s3Endpoint = '' } = settings;
  const text = JSON.stringify([stateDir, applicationId, lineage, instance, destination, s3Endpoint]);
  return createHash('sha256').update(text).digest('hex').slice(0, 32);
}
