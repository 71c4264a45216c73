import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { cleanManifests, injectManifests } from '../../src/inject/manifests.ts';
import { treeAt, treesAt } from '../../src/inject/tree.ts';
import { OPTIONS, podShape } from '../support/pod-shape.ts';
import { warmstate } from '../support/warmstate.ts';

const read = (path: string): string => readFileSync(new URL(`../../deploy/${path}`, import.meta.url), 'utf8');

test.each(['statefulset', 'deployment'])('the %s to paste is what inject makes of it without warmstate', (kind) => {
  const pasted = read(`${kind}.yaml`);
  const bare = cleanManifests(pasted).text;
  expect(bare).not.toContain('warmstate:');
  const injected = injectManifests(bare, OPTIONS);
  expect(podShape(parse(injected.text))).toEqual(podShape(parse(pasted, { merge: true })));
  expect(injected.remarks.filter(({ level }) => level === 'warn')).toEqual([]);
});

test.each(['statefulset', 'deployment'])(
  'the %s of the kustomize example is the one to paste, without warmstate',
  (kind) => {
    const injected = injectManifests(read(`kustomize/example/${kind}.yaml`), OPTIONS);
    expect(podShape(parse(injected.text))).toEqual(podShape(parse(read(`${kind}.yaml`))));
  },
);

test.each(['statefulset', 'deployment'])(
  'the settings of the %s to paste are settings that can be used',
  async (kind) => {
    const pod = treeAt(podShape(parse(read(`${kind}.yaml`))));
    const environments = treesAt(pod, 'initContainers').map((container) => treeAt(container, 'environment'));
    expect(environments).toHaveLength(2);
    for (const environment of environments) {
      const values = Object.entries(environment).map(([name, value]) => [
        name,
        typeof value === 'string' ? value : 'asked',
      ]);
      const { code, stdout, stderr } = await warmstate(['config', '--output', 'json'], {
        env: Object.fromEntries(values),
      });
      const { settings } = JSON.parse(stdout);
      const set = settings.filter(({ origin }: { origin: string }) => origin === 'environment');
      expect([code, stderr, set.length]).toEqual([0, '', values.length]);
    }
  },
);

test('the pod of the README is part of the StatefulSet to paste', () => {
  const [, block = ''] = readFileSync(new URL('../../README.md', import.meta.url), 'utf8').split(
    /```yaml\n(initContainers:[^`]*)/,
  );
  const { spec } = parse(read('statefulset.yaml'));
  const { initContainers } = parse(block);
  expect(initContainers).toHaveLength(2);
  expect(spec.template.spec).toMatchObject({ initContainers });
});
