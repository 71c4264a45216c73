import type { StateVolume } from './state-volume.ts';
import type { Tree } from './tree.ts';

// What warmstate is in a pod. Everything in deploy/ is the same: test/manifests compares them.

export const RESTORE = 'warmstate-restore';
export const SIDECAR = 'warmstate';
export const PORT = 10464;

/** What both containers have in common. */
export interface ContainerFacts {
  readonly image: string;
  /** The one block of settings. */
  readonly env: readonly Tree[];
  readonly volume: StateVolume;
  /** Whose user the application is, where the pod does not say it. */
  readonly user: Tree;
  /** `native`: a sidecar among the init containers, from Kubernetes 1.29 on; `beside`: one more main container. */
  readonly shape: Shape;
}

export type Shape = 'native' | 'beside';

/** Settings of the whole namespace and credentials, where there are any: what is not there changes nothing. */
const OF_THE_NAMESPACE = [
  { configMapRef: { name: 'warmstate', optional: true } },
  { secretRef: { name: 'warmstate', optional: true } },
];

/** Runs before the application, so what it asks for costs nothing beside what the others do. */
export function restoreContainer(facts: ContainerFacts): Tree {
  return {
    name: RESTORE,
    image: facts.image,
    args: ['restore'],
    ...settingsOf(facts),
    terminationMessagePolicy: 'FallbackToLogsOnError',
    resources: { requests: { cpu: '100m', memory: '256Mi' }, limits: { memory: '512Mi' } },
    securityContext: securityContextOf(facts),
    volumeMounts: [facts.volume.mount],
  };
}

/** No startup and no readiness probe: nothing of ours keeps the application from starting or out of service. */
export function sidecarContainer(facts: ContainerFacts): Tree {
  return {
    name: SIDECAR,
    image: facts.image,
    ...(facts.shape === 'native' ? { restartPolicy: 'Always' } : {}),
    args: ['run'],
    ...settingsOf(facts),
    ports: [{ name: 'warmstate', containerPort: PORT }],
    livenessProbe: {
      httpGet: { path: '/livez', port: 'warmstate' },
      periodSeconds: 30,
      timeoutSeconds: 10,
      failureThreshold: 10,
      // The pod's is long, for its own end: a sidecar that hangs would be waited for as long.
      terminationGracePeriodSeconds: 10,
    },
    lifecycle: { preStop: { httpGet: { path: '/-/pre-stop', port: 'warmstate' } } },
    terminationMessagePolicy: 'FallbackToLogsOnError',
    resources: { requests: { cpu: '50m', memory: '128Mi' }, limits: { memory: '512Mi' } },
    securityContext: securityContextOf(facts),
    volumeMounts: [{ ...facts.volume.mount, readOnly: true }],
  };
}

function settingsOf({ env }: ContainerFacts): Tree {
  return { env, envFrom: OF_THE_NAMESPACE };
}

function securityContextOf({ user }: ContainerFacts): Tree {
  return {
    ...user,
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'] },
    seccompProfile: { type: 'RuntimeDefault' },
  };
}
