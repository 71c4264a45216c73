import { writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Tree, textAt, treeAt, treesAt } from '../../src/inject/tree.ts';
import { AppInCluster, LOAD, nameOf, TASKS } from '../support/cluster-app.ts';
import { openPolicy } from '../support/cluster-policy.ts';
import { openServersOfFile } from '../support/cluster-servers.ts';
import { documentedCommands } from '../support/documentation.ts';
import { departuresFromDelta, firstOf } from '../support/kafka/delta.ts';
import { podShape } from '../support/pod-shape.ts';
import { openTempDirectory } from '../support/temp-directory.ts';

const WAYS = ['pasted', 'injected', 'policy'] as const;
const FEW = 2000;
const MAIN = resolve(import.meta.dirname, '../../src/main.ts');

const servers = openServersOfFile(900_000);
const held = new AsyncDisposableStack();

beforeAll(async () => void held.use(await openPolicy(servers().cluster)));
afterAll(() => held.disposeAsync());

test('the pods that are pasted, injected and made by the policy are the same, and each comes back warm', async () => {
  const shapes = await Promise.all(
    WAYS.map(async (way) => {
      await using app = await start('StatefulSet', way);
      const first = await app.podBeside([]);
      await comesBackWarm(app, first);
      return shapeOf(app, first);
    }),
  );
  expectTheSame(shapes);
});

test('the same holds for the pods of a Deployment', async () => {
  const shapes = await Promise.all(
    WAYS.map(async (way) => {
      await using app = await start('Deployment', way);
      return shapeOf(app, await app.podBeside([]));
    }),
  );
  expectTheSame(shapes);
});

test('where sidecars are containers like any other, run waits for the application, and the pod comes back warm', async () => {
  await using app = await start('StatefulSet', 'injected as for 1.28');
  const first = await app.podBeside([]);
  expect(treesAt(first, 'spec', 'containers').map(({ name }) => name)).toEqual(['app', 'warmstate']);
  await comesBackWarm(app, first);
});

test('who does what the documents say to do first, by the letter, has a pod that comes back warm', async () => {
  const unknown = (manifest: Tree): Tree => {
    const { labels: _label, ...metadata } = treeAt(manifest, 'metadata');
    const spec = treeAt(manifest, 'spec');
    const template = treeAt(spec, 'template');
    const { annotations: _said, ...ofPods } = treeAt(template, 'metadata');
    return { ...manifest, metadata, spec: { ...spec, template: { ...template, metadata: ofPods } } };
  };
  const asItIs = { kind: 'StatefulSet', way: 'not at all', guarantee: 'at_least_once', change: unknown } as const;
  await using app = await AppInCluster.start(servers(), asItIs);
  await app.podBeside([]);
  await app.feed(0, FEW);
  await caughtUp(app);
  await using directory = await openTempDirectory();
  await writeFile(join(directory.path, 'orders.yaml'), app.manifest);
  const said: string[] = [];
  for (const command of documentedCommands('operations.md', 'From nothing to a warm pod in ten minutes')) {
    if (command.startsWith('kubectl delete')) await caughtUp(app);
    said.push(await byTheLetter(app, command, directory.path));
  }
  // Every command ended well, doctor among them.
  expect(said.some((each) => each.startsWith('if this pod died now: '))).toBe(true);
  expect(said.at(-1)).toContain(`restored: ${TASKS.length} warm`);
});

async function caughtUp(app: AppInCluster): Promise<void> {
  const [pod] = await app.pods();
  await using running = await app.running(treeAt(pod));
  await running.caughtUp(FEW, LOAD);
}

/** In the namespace of the application, with its name, and with where the S3 server is and what it asks for. */
async function byTheLetter(app: AppInCluster, command: string, directory: string): Promise<string> {
  const { configuration, secret } = servers().settings;
  const endpoint = `--from-literal WARMSTATE_S3_ENDPOINT=${configuration['WARMSTATE_S3_ENDPOINT']}`;
  const here = command
    .replaceAll(/\borders(?=-0|$)/g, 'wordcount')
    .replace(/(AWS_\w+)=…/g, (_all, name: keyof typeof secret) => `${name}=${secret[name]}`)
    .replace(/AWS_REGION=\S+/, `AWS_REGION=${configuration['AWS_REGION']}`)
    .replace(/^kubectl create configmap .*/, `$& ${endpoint}`);
  const names = [
    `cd ${directory}`,
    `kubectl() { command kubectl -n ${app.name} "$@"; }`,
    `warmstate() { ${process.execPath} ${MAIN} "$@"; }`,
    'set -o pipefail',
  ];
  return servers().cluster.inside('bash', '-c', [...names, here].join('\n'));
}

function start(
  kind: 'StatefulSet' | 'Deployment',
  way: (typeof WAYS)[number] | 'injected as for 1.28',
): Promise<AppInCluster> {
  return AppInCluster.start(servers(), { kind, way, guarantee: 'exactly_once_v2' });
}

async function comesBackWarm(app: AppInCluster, first: Tree): Promise<void> {
  {
    await using running = await app.running(first);
    await app.feed(0, FEW);
    await running.caughtUp(FEW, LOAD);
  }
  await app.namespace.delete('pod', nameOf(first), '--wait=false');
  const second = await app.podBeside([first]);
  const { tasks } = await app.restored(second);
  expect(tasks.map(({ task, decision, quality }) => [task, decision, quality])).toEqual(
    TASKS.map((task) => [task, 'warm', 'clean']),
  );
  await using running = await app.running(second);
  await running.caughtUp(FEW, LOAD);
  const departures = departuresFromDelta(firstOf(running.restorations), tasks, 'exactly_once_v2');
  expect(departures, JSON.stringify(running.events)).toEqual([]);
  expect(await running.differencesFrom(FEW, LOAD)).toEqual([]);
}

/** As the API server has it, without the names that differ from namespace to namespace. */
async function shapeOf(app: AppInCluster, pod: Tree): Promise<unknown> {
  const stored = await app.namespace.get('configmap', 'warmstate');
  const destination = textAt(stored, 'data', 'WARMSTATE_DESTINATION');
  const shape = treeAt(podShape(pod, new Map([['warmstate', { WARMSTATE_DESTINATION: destination }]])));
  const { hostname: _its, nodeName: _where, ...rest } = shape;
  const text = JSON.stringify(rest).replaceAll(app.name, 'NAMESPACE');
  return JSON.parse(text.replaceAll(/kube-api-access-\w+/g, 'kube-api-access'));
}

function expectTheSame([pasted, ...others]: readonly unknown[]): void {
  expect(treeAt(pasted)['initContainers']).toHaveLength(2);
  for (const other of others) expect(other).toEqual(pasted);
}
