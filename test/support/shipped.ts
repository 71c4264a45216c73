import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { injectManifests } from '../../src/inject/manifests.ts';
import type { KubernetesCode } from './kubernetes-code.ts';
import { OPTIONS } from './pod-shape.ts';

export const DEPLOY = fileURLToPath(new URL('../../deploy/', import.meta.url));

export function readShipped(path: string): string {
  return readFileSync(`${DEPLOY}${path}`, 'utf8');
}

/** The applications of the examples, without warmstate. */
export function bareApplication(kind: string): string {
  return readShipped(`kustomize/example/${kind.toLowerCase()}.yaml`);
}

export function injected(text: string, options: Partial<Parameters<typeof injectManifests>[1]> = {}): string {
  return injectManifests(text, { ...OPTIONS, ...options }).text;
}

/** The state on the layer of the container, as most have it. */
export function withoutVolume(text: string): string {
  return text.replace(/ {6}volumes:[\s\S]*$/, '').replace(/ {8}volumeMounts:\n.*\n/, '');
}

/** The Helm example as helm renders it. */
export function chart(kubernetes: KubernetesCode, ...sets: readonly string[]): Promise<string> {
  return kubernetes.helm(`${DEPLOY}helm/example`, 'wordcount', ...sets);
}

/** Every manifest that deploy/ ships or inject makes, and how it comes to be. */
export const SHIPPED: readonly (readonly [string, (kubernetes: KubernetesCode) => string | Promise<string>])[] = [
  ['the StatefulSet to paste', () => readShipped('statefulset.yaml')],
  ['the Deployment to paste', () => readShipped('deployment.yaml')],
  ['the kustomize example', (kubernetes) => kubernetes.kustomize(`${DEPLOY}kustomize/example`)],
  ['the Helm example', (kubernetes) => chart(kubernetes)],
  ['the Helm example as a Deployment', (kubernetes) => chart(kubernetes, 'kind=Deployment')],
  [
    'the Helm example with further settings',
    (kubernetes) => chart(kubernetes, 'warmstate.env[0].name=WARMSTATE_INTERVAL', 'warmstate.env[0].value=1m'),
  ],
  [
    'the Helm example without what may be left out',
    (kubernetes) =>
      chart(
        kubernetes,
        'warmstate.destination=null',
        'warmstate.stateDirLimit=null',
        'warmstate.terminationGracePeriodSeconds=null',
      ),
  ],
  ['the admission policy', () => readShipped('admission/policy.yaml')],
  ['the policy that explains', () => readShipped('admission/explanation.yaml')],
  ['the ConfigMap of a namespace', () => readShipped('admission/configmap.yaml')],
  ['what inject makes', () => injected(bareApplication('StatefulSet'))],
  ['what inject makes for an older cluster', () => injected(bareApplication('Deployment'), { shape: 'beside' })],
  ['what inject makes with a volume of its own', () => injected(withoutVolume(bareApplication('Deployment')))],
];
