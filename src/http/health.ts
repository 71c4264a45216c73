import type { AgentStatus } from '../events/agent-status.ts';

/** One thing that must be so. */
export interface Check {
  readonly name: string;
  /** What is wrong; undefined in health. */
  readonly complaint: string | undefined;
}

/**
 * A loop that neither turned nor did anything for so long hangs. Patient: a store may keep a request waiting for a minute, and
 * a container that is killed for nothing takes no last snapshot.
 */
const STANDSTILL_MS_MAX = 5 * 60_000;
/** The record is renewed every minute. */
const STORAGE_SILENCE_MS_MAX = 5 * 60_000;

/** `aliveMs`: when the loop last turned or anything happened. Storage is never asked. */
export function checkLiveness(facts: { readonly nowMs: number; readonly aliveMs: number }): readonly Check[] {
  const stillMs = facts.nowMs - facts.aliveMs;
  const complaint = `the loop has not turned for ${Math.round(stillMs / 1000)} s`;
  return [{ name: 'loop', complaint: stillMs > STANDSTILL_MS_MAX ? complaint : undefined }];
}

/** Settings valid, state directory readable, storage answered lately. */
export function checkReadiness(
  { problems }: Pick<AgentStatus, 'problems'>,
  facts: { readonly nowMs: number; readonly storageAnsweredMs: number | undefined },
): readonly Check[] {
  const problemOf = (area: AgentStatus['problems'][number]['area']): string | undefined =>
    problems.find((problem) => problem.area === area)?.message;
  const settings = problemOf('settings');
  const unseen = settings === undefined ? undefined : 'without settings it is not looked at';
  return [
    { name: 'settings', complaint: settings },
    { name: 'state-dir', complaint: problemOf('state-dir') ?? unseen },
    { name: 'storage', complaint: problemOf('storage') ?? findSilence(facts) },
  ];
}

function findSilence({ nowMs, storageAnsweredMs }: Parameters<typeof checkReadiness>[1]): string | undefined {
  if (storageAnsweredMs === undefined) return 'it has not answered yet';
  const silentMs = nowMs - storageAnsweredMs;
  return silentMs > STORAGE_SILENCE_MS_MAX ? `it has not answered for ${Math.round(silentMs / 1000)} s` : undefined;
}
