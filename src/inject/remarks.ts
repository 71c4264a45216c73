import type { Fact } from './application.ts';
import { PORT } from './containers.ts';
import { type PodApplication, portUser, userOf } from './pod.ts';
import type { StateVolume } from './state-volume.ts';
import { numberAt, type Tree, textAt } from './tree.ts';
import type { Workload } from './workload.ts';

/** What the user should know of a pod: what was found (`info`), and what he should look at (`warn`). */
export interface Remark {
  readonly level: 'info' | 'warn';
  readonly message: string;
}

export interface RemarkFacts {
  readonly workload: Workload;
  readonly application: PodApplication;
  readonly volume: StateVolume;
  /** Of the pod, before anything was added. */
  readonly spec: Tree;
  /** What the pod may fill. */
  readonly limit: Fact | undefined;
  /** As it was said before, and as it is now. */
  readonly graceSeconds: { readonly said: number | undefined; readonly now: number };
  readonly destination: string | undefined;
}

/** A close takes up to half a second per store, and the last snapshot comes after it. */
const GRACE_SECONDS_MIN = 60;
/** `restore --deadline`, and a minute for the application to become ready. */
const PROGRESS_SECONDS_MIN = 360;

export function remarksOn(facts: RemarkFacts): readonly Remark[] {
  const { applicationId, guarantee, stateDir } = facts.application;
  return [
    ...describeFact('application id', applicationId, '--application-id says another'),
    ...describeFact('state directory', stateDir, '--state-dir says another'),
    ...describeGuarantee(guarantee),
    ...describeVolume(facts),
    ...(facts.limit === undefined ? [] : [info(`the state may fill ${facts.limit.text} (${facts.limit.from})`)]),
    ...judgeGrace(facts),
    ...judgeUser(facts),
    ...judgeRollout(facts),
    ...judgeRest(facts),
  ];
}

const info = (message: string): Remark => ({ level: 'info', message });
const warn = (message: string): Remark => ({ level: 'warn', message });

function describeFact(what: string, { text, from, isAssumed }: Fact, otherwise: string): readonly Remark[] {
  const value = text ?? 'is known in the cluster';
  return [isAssumed ? warn(`${what} ${value} is assumed (${from}): ${otherwise}`) : info(`${what} ${value} (${from})`)];
}

function describeGuarantee(guarantee: Fact): readonly Remark[] {
  const { text, isAssumed } = guarantee;
  const otherwise =
    text === 'auto'
      ? 'it captures only what is valid under every guarantee; set --processing-guarantee to that of the application'
      : '--processing-guarantee says another';
  return isAssumed || text !== 'auto' ? describeFact('processing guarantee', guarantee, otherwise) : [];
}

function describeVolume({ volume, application, limit }: RemarkFacts): readonly Remark[] {
  const { name, kind, isInMemory } = volume;
  if (kind === 'persistent') {
    return [
      info(
        `the volume ${name} outlives the pod and stays as it is: state that is on it is used (decision local), and ` +
          'warmstate is for the day on which it is lost, full, or in another zone',
      ),
    ];
  }
  const place =
    kind === 'missing'
      ? `state lay on the layer of the container ${textAt(application.container, 'name')}: the emptyDir ${name} is added and mounted there`
      : `state lies on the emptyDir ${name}`;
  return [
    info(place),
    ...(isInMemory
      ? [warn(`the emptyDir ${name} lies in memory: state counts against the memory of the containers`)]
      : []),
    ...(limit === undefined
      ? [
          warn(
            `nothing limits the emptyDir ${name}: give it a sizeLimit, or the container a limit of ephemeral-storage`,
          ),
        ]
      : []),
  ];
}

function judgeGrace({ graceSeconds: { said, now } }: RemarkFacts): readonly Remark[] {
  const name = 'terminationGracePeriodSeconds';
  if (said !== now)
    return [
      info(`${name} is ${now}, ${said ?? "Kubernetes' default 30"} before: the last snapshot comes after the close`),
    ];
  if (now >= GRACE_SECONDS_MIN) return [];
  return [
    warn(`${name} ${now} is short: the close of the application and the last snapshot share it; 120 is a good start`),
  ];
}

function judgeUser({ spec, application, volume }: RemarkFacts): readonly Remark[] {
  const { uid, fsGroup } = userOf(spec, application.container);
  const mend =
    'set runAsUser, runAsGroup and fsGroup in the securityContext of the pod, unless the platform does (OpenShift)';
  if (uid === undefined) {
    const danger = 'nothing says as which user the application runs: warmstate could be unable to read its state';
    return [warn(`${danger}; ${mend}`)];
  }
  // An emptyDir without a group is open to everybody.
  if (fsGroup !== undefined || volume.kind !== 'persistent') return [];
  return [warn(`the pod has no fsGroup: the volume ${volume.name} may not be writable; ${mend}`)];
}

function judgeRollout({ workload: { kind, tree } }: RemarkFacts): readonly Remark[] {
  if (kind === 'StatefulSet') {
    const isOrdered = textAt(tree, 'spec', 'podManagementPolicy') !== 'Parallel';
    return isOrdered ? [info('podManagementPolicy: Parallel would start the pods together, each with its state')] : [];
  }
  const strategy = textAt(tree, 'spec', 'strategy', 'type') ?? 'RollingUpdate';
  const surgePath = ['spec', 'strategy', 'rollingUpdate', 'maxSurge'];
  const surge = textAt(tree, ...surgePath) ?? numberAt(tree, ...surgePath) ?? '25%';
  const progressSeconds = numberAt(tree, 'spec', 'progressDeadlineSeconds');
  return [
    ...(strategy === 'RollingUpdate' && surge !== 0 && surge !== '0' && surge !== '0%'
      ? [
          warn(
            `maxSurge ${surge}: new pods restore before old ones took their last snapshot; set maxSurge 0 and maxUnavailable 1`,
          ),
        ]
      : []),
    ...(progressSeconds !== undefined && progressSeconds < PROGRESS_SECONDS_MIN
      ? [warn(`progressDeadlineSeconds ${progressSeconds} may end before restore does, whose --deadline is 5m`)]
      : []),
  ];
}

function judgeRest({ spec, destination }: RemarkFacts): readonly Remark[] {
  const user = portUser(spec, PORT);
  const where = 'key WARMSTATE_DESTINATION';
  return [
    ...(destination === undefined
      ? [info(`no --destination: the ConfigMap warmstate of the namespace has to have it (${where})`)]
      : []),
    ...(user === undefined
      ? []
      : [warn(`the container ${user} uses port ${PORT} too: set WARMSTATE_LISTEN and the port of the sidecar`)]),
    ...(spec['hostNetwork'] === true ? [warn(`hostNetwork: one pod a node can have port ${PORT}`)] : []),
  ];
}
