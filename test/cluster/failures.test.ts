import { afterAll, beforeAll, expect, test } from 'vitest';
import { at, numberAt, type Tree, textAt, treeAt, treesAt } from '../../src/inject/tree.ts';
import { Cluster } from '../support/cluster.ts';
import {
  AppInCluster,
  killContainer,
  killSandbox,
  LOAD,
  nameOf,
  TASKS,
  uidOf,
  withContainers,
  withPod,
} from '../support/cluster-app.ts';
import { Servers } from '../support/cluster-servers.ts';
import { ContainerLog, containerOf } from '../support/container-log.ts';

/** No table is flushed by so few. */
const FEW = 2000;
const MORE = 3000;
const FINALIZER = 'test.warmstate.dev/look';
/** Of the node, while a test wants storage to answer there. */
const SOMETIMES = '10.97.0.2';

const ended = new AbortController();
const signal = AbortSignal.any([ended.signal, AbortSignal.timeout(1_200_000)]);
let servers: Servers;

beforeAll(async () => {
  servers = await Servers.open(Cluster.open(), signal);
});

afterAll(async () => {
  ended.abort();
  await servers?.[Symbol.asyncDispose]();
});

type Options = Omit<Parameters<typeof AppInCluster.start>[1], 'kind' | 'guarantee' | 'signal'>;

function start(options: Options = {}): Promise<AppInCluster> {
  return AppInCluster.start(servers, { kind: 'StatefulSet', guarantee: 'at_least_once', signal, ...options });
}

function withVariable(name: string, value: string): (manifest: Tree) => Tree {
  return (manifest) =>
    withContainers(manifest, (container) => {
      const others = treesAt(container, 'env').filter((each) => each['name'] !== name);
      return { ...container, env: [...others, { name, value }] };
    });
}

const isSidecar = (container: Tree): boolean => container['name'] === 'warmstate';

const restartsOf = async (app: AppInCluster, pod: Tree, container: string): Promise<number | undefined> =>
  numberAt(containerOf(await app.namespace.get('pod', nameOf(pod)), container), 'restartCount');

const exitCodeOf = (pod: Tree, container: string): unknown =>
  at(containerOf(pod, container), ['state', 'terminated', 'exitCode']);

/** The application works, and no container but the application's own was started twice. */
async function expectUndisturbed(app: AppInCluster, pod: Tree): Promise<void> {
  await using running = await app.running(pod);
  await app.feed(0, FEW);
  await running.caughtUp(FEW, LOAD);
  expect(exitCodeOf(await app.namespace.get('pod', nameOf(pod)), 'warmstate-restore')).toBe(0);
  expect([await restartsOf(app, pod, 'warmstate'), await restartsOf(app, pod, 'app')]).toEqual([0, 0]);
}

/** `restore` says that it could not and why, and lets the application start. */
async function expectNotRestored(app: AppInCluster, pod: Tree, why: string): Promise<void> {
  const ended = await app.namespace.until('restore has ended', async () => {
    const now = await app.namespace.get('pod', nameOf(pod));
    return exitCodeOf(now, 'warmstate-restore') === 0 ? now : undefined;
  });
  expect(textAt(containerOf(ended, 'warmstate-restore'), 'state', 'terminated', 'message')).toContain(why);
  expect(await app.namespace.logs(nameOf(pod), 'warmstate-restore')).toContain(
    'not restored: the application starts cold',
  );
}

/** Deletes a pod and looks at what has become of it. */
async function endOf(app: AppInCluster, pod: Tree): Promise<Tree> {
  const patch = (finalizers: readonly string[]): Promise<string> =>
    app.namespace.kubectl(
      'patch',
      'pod',
      nameOf(pod),
      '--type=merge',
      '-p',
      JSON.stringify({ metadata: { finalizers } }),
    );
  await patch([FINALIZER]);
  await app.namespace.delete('pod', nameOf(pod), '--wait=false');
  const gone = await app.namespace.until('the pod has ended', async () => {
    const now = await app.namespace.get('pod', nameOf(pod));
    return /Succeeded|Failed/.test(textAt(now, 'status', 'phase') ?? '') ? now : undefined;
  });
  await patch([]);
  return gone;
}

test.concurrent('settings that cannot be used', async () => {
  await using app = await start({ configuration: { WARMSTATE_INTERVAL: 'soon' } });
  const pod = await app.podBeside([]);
  await expectUndisturbed(app, pod);
  expect(await app.metric(pod, 'warmstate_config_valid')).toBe(0);
  expect((await app.status(pod)).problems.map(({ message }) => message).join()).toContain('soon');
  expect(exitCodeOf(await endOf(app, pod), 'warmstate')).toBe(2);
});

test.concurrent('storage that refuses', async () => {
  await using app = await start({ secret: { AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'wrong' } });
  const pod = await app.podBeside([]);
  await expectNotRestored(app, pod, 'the store rejects the signature');
  await expectUndisturbed(app, pod);
  const told = await app.namespace.until('the sidecar says who was refused', async () => {
    const { problems } = await app.status(pod);
    return problems.length > 0 ? problems.map(({ message }) => message).join() : undefined;
  });
  expect(told).toContain('the store rejects the signature');
});

test.concurrent('a state directory that is missing, and an application that is', async () => {
  await Promise.all(
    [withVariable('WARMSTATE_STATE_DIR', '/nowhere'), withVariable('WARMSTATE_APPLICATION_ID', 'other')].map(
      async (change) => {
        await using app = await start({ change });
        const pod = await app.podBeside([]);
        await expectUndisturbed(app, pod);
        expect(await app.metric(pod, 'warmstate_application_found')).toBe(0);
      },
    ),
  );
});

test.concurrent('a state directory that cannot be read', async () => {
  const stranger = (manifest: Tree): Tree => {
    const changed = withContainers(manifest, (container) => ({
      ...container,
      securityContext: { ...treeAt(container, 'securityContext'), runAsUser: 65_532, runAsGroup: 65_532 },
    }));
    return withPod(changed, (pod) => {
      const { fsGroup: _withoutIt, ...securityContext } = treeAt(pod, 'securityContext');
      return { ...pod, securityContext };
    });
  };
  await using app = await start({ change: stranger });
  const pod = await app.podBeside([]);
  await expectUndisturbed(app, pod);
  const told = await app.namespace.until('the sidecar says what it may not read', async () => {
    const { problems } = await app.status(pod);
    return problems.length > 0 ? problems.map(({ message }) => message).join() : undefined;
  });
  expect(told).toContain(`/var/lib/kafka-streams/${app.name}`);
});

test.concurrent('a port that is taken: the container is started again and again, the application is not', async () => {
  const server = 'require("http").createServer((_, answer) => answer.writeHead(404).end()).listen(10464)';
  const impatient = (sidecar: Tree): Tree => ({
    ...sidecar,
    // A sidecar that is told to end waits for the application: else this takes the whole grace period.
    livenessProbe: {
      ...treeAt(sidecar, 'livenessProbe'),
      periodSeconds: 1,
      failureThreshold: 3,
      terminationGracePeriodSeconds: 3,
    },
  });
  const taken = (manifest: Tree): Tree =>
    withPod(manifest, (pod) => {
      const containers = treesAt(pod, 'initContainers');
      const { image, securityContext, resources } = containers.find(isSidecar) ?? {};
      const first = {
        name: 'first',
        image,
        command: ['node', '-e', server],
        restartPolicy: 'Always',
        securityContext,
        resources,
      };
      const others = containers.map((each) => (isSidecar(each) ? impatient(each) : each));
      return { ...pod, initContainers: [first, ...others] };
    });
  await using app = await start({ change: taken });
  const pod = await app.podBeside([]);
  await using log = await ContainerLog.follow(app.namespace, { pod: nameOf(pod), container: 'warmstate' });
  const lines = await log.toTheEnd();
  expect(lines.filter((line) => line.includes('problem-appeared') && line.includes('"listen"'))).not.toEqual([]);
  await using running = await app.running(pod);
  await app.feed(0, FEW);
  await running.caughtUp(FEW, LOAD);
  await app.namespace.until('the sidecar was started again', async () => {
    return ((await restartsOf(app, pod, 'warmstate')) ?? 0) > 0 || undefined;
  });
  expect(await restartsOf(app, pod, 'app')).toBe(0);
});

test.concurrent('storage that does not answer when a pod starts, comes back, and is away when the pod ends', async () => {
  const endpoint = new URL(servers.s3Endpoint);
  endpoint.hostname = SOMETIMES;
  const configuration = { WARMSTATE_S3_ENDPOINT: endpoint.origin, WARMSTATE_DEADLINE: '5s' };
  const change = (manifest: Tree): Tree => {
    const changed = withVariable('WARMSTATE_TERMINATION_GRACE_PERIOD', '20s')(manifest);
    return withPod(changed, (pod) => ({ ...pod, terminationGracePeriodSeconds: 20 }));
  };
  await using app = await start({ configuration, change });
  const first = await app.podBeside([]);
  await expectNotRestored(app, first, '--deadline 5s');
  await expectUndisturbed(app, first);
  await app.namespace.until('the sidecar says that storage is away', async () => {
    return (await app.status(first)).problems.some(({ area }) => area === 'storage') || undefined;
  });

  await servers.cluster.inside('ip', 'address', 'add', `${SOMETIMES}/24`, 'dev', 'node0');
  try {
    await app.namespace.until('storage has answered', async () => {
      const atSeconds = await app.metric(first, 'warmstate_storage_last_success_timestamp_seconds');
      return (atSeconds ?? 0) > 0 || undefined;
    });
    await app.namespace.delete('pod', nameOf(first), '--wait=false');
    const second = await app.podBeside([first]);
    const { tasks } = await app.restored(second);
    expect(tasks.map(({ task, decision }) => [task, decision])).toEqual(TASKS.map((task) => [task, 'warm']));
    await using running = await app.running(second);
    await running.caughtUp(FEW, LOAD);
    expect(await running.differencesFrom(FEW, LOAD)).toEqual([]);
    await app.feed(FEW, MORE);
    await running.caughtUp(MORE, LOAD);

    await servers.cluster.inside('ip', 'address', 'delete', `${SOMETIMES}/24`, 'dev', 'node0');
    await app.namespace.delete('pod', nameOf(second), '--wait=false');
    const third = await app.podBeside([second]);
    await expectNotRestored(app, third, '--deadline 5s');
    await using cold = await app.running(third);
    await cold.caughtUp(MORE, LOAD);
    expect(await cold.differencesFrom(MORE, LOAD)).toEqual([]);
  } finally {
    await servers.cluster.inside('ip', 'address', 'flush', 'to', `${SOMETIMES}/32`);
  }
});

test.concurrent('an application that crashes, a sidecar that is killed, and a sandbox that goes: the volume stays', async () => {
  await using app = await start();
  const pod = await app.podBeside([]);
  await expectUndisturbed(app, pod);
  await killContainer(servers.cluster, await app.namespace.get('pod', nameOf(pod)), 'app');
  {
    await using running = await app.running(pod, 1);
    await running.caughtUp(FEW, LOAD);
  }
  expect(await restartsOf(app, pod, 'warmstate')).toBe(0);

  await killContainer(servers.cluster, await app.namespace.get('pod', nameOf(pod)), 'warmstate');
  const killed = 'warmstate_previous_shutdown_info{result="killed"}';
  await app.namespace.until('the next sidecar knows how the last ended', async () => {
    return (await app.metric(pod, killed)) === 1 || undefined;
  });
  expect(await restartsOf(app, pod, 'app')).toBe(1);

  await killSandbox(servers.cluster, pod);
  const { tasks } = await app.namespace.until('restore has run again', async () => {
    const again = await app.restored(pod);
    return again.outcome === 'empty' ? undefined : again;
  });
  expect(tasks.map(({ task, decision }) => [task, decision])).toEqual(TASKS.map((task) => [task, 'local']));
  await using running = await app.running(pod, 2);
  await running.caughtUp(FEW, LOAD);
  expect(await running.differencesFrom(FEW, LOAD)).toEqual([]);
});

test.concurrent('a volume that outgrows its limit: the pod is evicted, and the next one has what was published', async () => {
  const volumes = [{ name: 'state', emptyDir: { sizeLimit: '30Mi' } }];
  const limited = (manifest: Tree): Tree => withPod(manifest, (pod) => ({ ...pod, volumes }));
  await using app = await start({ change: limited });
  const first = await app.podBeside([]);
  {
    await using running = await app.running(first);
    await app.feed(0, 10_000);
    await running.caughtUp(10_000, LOAD);
    await app.offered(first, ['0_0', '0_1']);
  }
  await fill(app, first, 60);
  const second = await app.podBeside([first]);
  const { tasks } = await app.restored(second);
  const warm = tasks.filter(({ decision }) => decision === 'warm').map(({ task }) => task);
  expect(warm).toEqual(expect.arrayContaining(['0_0', '0_1']));
  expect((await app.namespace.events(nameOf(first))).join('\n')).toContain('exceeds the limit "30Mi"');
  await using running = await app.running(second);
  await running.caughtUp(10_000, LOAD);
  expect(await running.differencesFrom(10_000, LOAD)).toEqual([]);
});

/** Where the volume `state` lies on the node. */
function volumeOf(pod: Tree): string {
  return `${servers.cluster.directory}/kubelet/pods/${uidOf(pod)}/volumes/kubernetes.io~empty-dir/state`;
}

async function fill(app: AppInCluster, pod: Tree, megabytes: number): Promise<void> {
  const options = ['if=/dev/zero', `of=${volumeOf(pod)}/filler`, 'bs=1M', `count=${megabytes}`, 'status=none'];
  await app.namespace.cluster.inside('dd', ...options);
}

test.concurrent('one task that cannot be captured: the others are', async () => {
  await using app = await start();
  const first = await app.podBeside([]);
  await expectUndisturbed(app, first);
  // As when Kafka Streams is about to delete it.
  await servers.cluster.inside('rm', `${volumeOf(first)}/${app.name}/1_0/rocksdb/tab/CURRENT`);
  await app.namespace.delete('pod', nameOf(first), '--wait=false');
  const second = await app.podBeside([first]);
  const { tasks } = await app.restored(second);
  const warm = tasks.filter(({ decision }) => decision === 'warm').map(({ task }) => task);
  expect(warm).toEqual(TASKS.filter((task) => task !== '1_0'));
  await using running = await app.running(second);
  await running.caughtUp(FEW, LOAD);
  expect(await running.differencesFrom(FEW, LOAD)).toEqual([]);
});

test.concurrent('a sidecar without memory: the application starts and works', async () => {
  const resources = { requests: { memory: '24Mi' }, limits: { memory: '24Mi' } };
  const starved = (manifest: Tree): Tree =>
    withContainers(manifest, (container) => (isSidecar(container) ? { ...container, resources } : container));
  await using app = await start({ change: starved });
  const pod = await app.podBeside([]);
  await using running = await app.running(pod);
  await app.feed(0, FEW);
  await running.caughtUp(FEW, LOAD);
  await app.namespace.until('the sidecar was killed for its memory', async () => {
    const status = containerOf(await app.namespace.get('pod', nameOf(pod)), 'warmstate');
    return JSON.stringify(status).includes('OOMKilled') || undefined;
  });
  expect(await restartsOf(app, pod, 'app')).toBe(0);
});
