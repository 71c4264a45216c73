import { expect, test } from 'vitest';
import { at, numberAt, type Tree, textAt, treeAt, treesAt } from '../../src/inject/tree.ts';
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
import { openServersOfFile } from '../support/cluster-servers.ts';
import { SlowStore } from '../support/cluster-slow-store.ts';
import { ContainerLog, containerOf } from '../support/container-log.ts';
import type { FAILURES, NODE_EVENTS, TestOf } from '../support/documented-failures.ts';
import { departuresOfInstalled, totalsOf } from '../support/kafka/delta.ts';

/** A checkpoint is written after 10,000 changelog records of a task: of the first subtopology after 8,334 of these. */
const SOME = 10_000;
const SOME_MORE = 11_000;
/** No table is flushed by so few. */
const FEW = 2000;
const MORE = 3000;
/** Of the node, while a test wants storage to answer there. */
const SOMETIMES = '10.97.0.2';
/** What Kubernetes gives who says nothing. */
const SHORT_GRACE_SECONDS = 30;
/** Of who was killed by a signal. */
const [SIGKILLED, SIGTERMED] = [137, 143];

const servers = openServersOfFile(1_200_000);

type Options = Omit<Parameters<typeof AppInCluster.start>[1], 'kind' | 'guarantee'>;

function start(options: Options = {}): Promise<AppInCluster> {
  return AppInCluster.start(servers(), { kind: 'StatefulSet', guarantee: 'at_least_once', ...options });
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

/** The application works, and no container was started twice. */
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

/** The application has caught up, and holds what the records leave. */
async function expectRight(app: AppInCluster, pod: Tree, records: number, restarts = 0): Promise<void> {
  await using running = await app.running(pod, restarts);
  await running.caughtUp(records, LOAD);
  expect(await running.differencesFrom(records, LOAD)).toEqual([]);
}

/** One story for several rows. */
function once(story: () => Promise<void>): () => Promise<void> {
  let told: Promise<void> | undefined;
  return () => {
    told ??= story();
    return told;
  };
}

const comesAndGoes = once(async () => {
  const endpoint = new URL(servers().s3Endpoint);
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
  await app.problems(first, 'storage');
  const answered = 'warmstate_storage_last_success_timestamp_seconds';
  await app.untilMetric(first, answered, (atSeconds) => atSeconds === 0);

  await servers().cluster.inside('ip', 'address', 'add', `${SOMETIMES}/24`, 'dev', 'node0');
  try {
    await app.untilMetric(first, answered, (atSeconds) => atSeconds > 0);
    await app.namespace.delete('pod', nameOf(first), '--wait=false');
    const second = await app.podBeside([first]);
    const { tasks } = await app.restored(second);
    expect(tasks.map(({ task, decision }) => [task, decision])).toEqual(TASKS.map((task) => [task, 'warm']));
    await expectRight(app, second, FEW);
    await app.feed(FEW, MORE);
    await expectRight(app, second, MORE);

    await servers().cluster.inside('ip', 'address', 'delete', `${SOMETIMES}/24`, 'dev', 'node0');
    await app.namespace.delete('pod', nameOf(second), '--wait=false');
    const third = await app.podBeside([second]);
    await expectNotRestored(app, third, '--deadline 5s');
    await expectRight(app, third, MORE);
  } finally {
    await servers().cluster.inside('ip', 'address', 'flush', 'to', `${SOMETIMES}/32`);
  }
});

const keepsItsVolume = once(async () => {
  await using app = await start();
  const pod = await app.podBeside([]);
  await expectUndisturbed(app, pod);
  await killContainer(servers().cluster, await app.namespace.get('pod', nameOf(pod)), 'app');
  {
    await using running = await app.running(pod, 1);
    await running.caughtUp(FEW, LOAD);
  }
  await app.namespace.until('the sidecar says that the application ended', async () => {
    return (await app.namespace.logs(nameOf(pod), 'warmstate')).includes('application-ended') || undefined;
  });
  expect(await restartsOf(app, pod, 'warmstate')).toBe(0);

  await killContainer(servers().cluster, await app.namespace.get('pod', nameOf(pod)), 'warmstate');
  await app.untilMetric(pod, 'warmstate_previous_shutdown_info{result="killed"}', (value) => value === 1);
  expect(await restartsOf(app, pod, 'app')).toBe(1);

  await killSandbox(servers().cluster, pod);
  const { tasks } = await app.namespace.until('restore has run again', async () => {
    const again = await app.restored(pod);
    return again.outcome === 'empty' ? undefined : again;
  });
  expect(tasks.map(({ task, decision }) => [task, decision])).toEqual(TASKS.map((task) => [task, 'local']));
  await expectRight(app, pod, FEW, 2);
});

/** Nothing is found there, and the application works. */
function findsNothing(name: string, value: string): () => Promise<void> {
  return async () => {
    await using app = await start({ change: withVariable(name, value) });
    const pod = await app.podBeside([]);
    await expectUndisturbed(app, pod);
    await app.untilMetric(pod, 'warmstate_application_found', (found) => found === 0);
  };
}

/** Where the volume `state` lies on the node. */
function volumeOf(pod: Tree): string {
  return `${servers().cluster.directory}/kubelet/pods/${uidOf(pod)}/volumes/kubernetes.io~empty-dir/state`;
}

const ROWS: TestOf<(typeof FAILURES)[number] | (typeof NODE_EVENTS)[number]> = {
  'settings that cannot be used': async () => {
    await using app = await start({ configuration: { WARMSTATE_INTERVAL: 'soon' } });
    const pod = await app.podBeside([]);
    await expectUndisturbed(app, pod);
    await app.untilMetric(pod, 'warmstate_config_valid', (value) => value === 0);
    expect(await app.problems(pod)).toContain('soon');
    expect(exitCodeOf(await app.endOf(pod), 'warmstate')).toBe(2);
  },

  'the port is taken': async () => {
    const server = 'require("http").createServer((_, answer) => answer.writeHead(404).end()).listen(10464)';
    const impatient = (sidecar: Tree): Tree => ({
      ...sidecar,
      livenessProbe: { ...treeAt(sidecar, 'livenessProbe'), periodSeconds: 1, failureThreshold: 3 },
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
    // It waits for the application when it is told to end: the probe's own grace period is over sooner than the pod's.
    await app.namespace.until('the sidecar was killed and started again', async () => {
      const sidecar = containerOf(await app.namespace.get('pod', nameOf(pod)), 'warmstate');
      return at(sidecar, ['lastState', 'terminated', 'exitCode']) === SIGKILLED || undefined;
    });
    expect(await restartsOf(app, pod, 'app')).toBe(0);
  },

  'storage does not answer': comesAndGoes,

  'storage refuses': async () => {
    await using app = await start({ secret: { AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'wrong' } });
    const pod = await app.podBeside([]);
    await expectNotRestored(app, pod, 'the store rejects the signature');
    await expectUndisturbed(app, pod);
    expect(await app.problems(pod, 'storage')).toContain('the store rejects the signature');
  },

  'the state directory is missing': findsNothing('WARMSTATE_STATE_DIR', '/nowhere'),

  'the state directory cannot be read': async () => {
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
    expect(await app.problems(pod, 'state-dir')).toContain(`/var/lib/kafka-streams/${app.name}`);
  },

  "the application's directory is missing": findsNothing('WARMSTATE_APPLICATION_ID', 'other'),

  'one task cannot be captured': async () => {
    await using app = await start();
    const first = await app.podBeside([]);
    await expectUndisturbed(app, first);
    // As when Kafka Streams is about to delete it.
    await servers().cluster.inside('rm', `${volumeOf(first)}/${app.name}/1_0/rocksdb/tab/CURRENT`);
    await app.namespace.delete('pod', nameOf(first), '--wait=false');
    const second = await app.podBeside([first]);
    const { tasks } = await app.restored(second);
    const warm = tasks.filter(({ decision }) => decision === 'warm').map(({ task }) => task);
    expect(warm).toEqual(TASKS.filter((task) => task !== '1_0'));
    await expectRight(app, second, FEW);
  },

  'warmstate is killed': keepsItsVolume,

  'the last snapshot does not get done in time': async () => {
    await using store = await SlowStore.start(servers());
    // warmstate is told more than there is, and so does not end by itself.
    const change = (manifest: Tree): Tree =>
      withPod(manifest, (pod) => ({ ...pod, terminationGracePeriodSeconds: SHORT_GRACE_SECONDS }));
    const configuration = { WARMSTATE_S3_ENDPOINT: store.endpoint, WARMSTATE_WAIT_FOR_FINAL: '1s' };
    await using app = await start({ configuration, change });
    const first = await app.podBeside([]);
    {
      await using running = await app.running(first);
      await app.feed(0, SOME);
      await running.caughtUp(SOME, LOAD);
      await app.offered(first, ['0_0', '0_1']);
      await store.hold();
      await app.feed(SOME, SOME_MORE);
      await running.caughtUp(SOME_MORE, LOAD);
    }
    const published = new Map((await app.status(first)).tasks.map(({ task, entry }) => [task, entry?.offsets]));
    expect(await app.metric(first, 'warmstate_final_snapshot_estimated_seconds')).toBeDefined();
    const gone = await app.endOf(first);
    expect(['app', 'warmstate'].map((container) => exitCodeOf(gone, container))).toEqual([SIGTERMED, SIGKILLED]);

    const second = await app.podBeside([first]);
    const warm = (await app.restored(second)).tasks.filter(({ decision }) => decision === 'warm');
    expect(warm.map(({ task }) => task)).toEqual(expect.arrayContaining(['0_0', '0_1']));
    expect(warm.map(({ offsets }) => offsets)).toEqual(warm.map(({ task }) => published.get(task)));
    await app.untilMetric(second, 'warmstate_previous_shutdown_info{result="partial"}', (value) => value === 1);
    await using running = await app.running(second);
    await running.caughtUp(SOME_MORE, LOAD);
    expect(departuresOfInstalled(running.restorations, warm, 'at_least_once')).toEqual([]);
    expect(totalsOf(running.restorations).agg).toBeGreaterThan(0n);
    expect(await running.differencesFrom(SOME_MORE, LOAD)).toEqual([]);
  },

  '`restore` has trouble': comesAndGoes,

  'the application crashes, and is started again in its pod': keepsItsVolume,

  'the sandbox of a pod ends, as when a node restarts': keepsItsVolume,

  'the volume outgrows its `sizeLimit`: the pod is evicted': async () => {
    const volumes = [{ name: 'state', emptyDir: { sizeLimit: '30Mi' } }];
    const limited = (manifest: Tree): Tree => withPod(manifest, (pod) => ({ ...pod, volumes }));
    await using app = await start({ change: limited });
    const first = await app.podBeside([]);
    {
      await using running = await app.running(first);
      await app.feed(0, SOME);
      await running.caughtUp(SOME, LOAD);
      await app.offered(first, ['0_0', '0_1']);
    }
    const filler = ['if=/dev/zero', `of=${volumeOf(first)}/filler`, 'bs=1M', 'count=60', 'status=none'];
    await servers().cluster.inside('dd', ...filler);
    const second = await app.podBeside([first]);
    const { tasks } = await app.restored(second);
    const warm = tasks.filter(({ decision }) => decision === 'warm').map(({ task }) => task);
    expect(warm).toEqual(expect.arrayContaining(['0_0', '0_1']));
    await app.namespace.until('the eviction is told', async () => {
      const events = await app.namespace.events(nameOf(first));
      return (
        events.some((event) => event.startsWith('Evicted') && event.includes('exceeds the limit "30Mi"')) || undefined
      );
    });
    await expectRight(app, second, SOME);
  },

  'the sidecar has too little memory': async () => {
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
  },
};

test.concurrent.each(Object.entries(ROWS))('%s', (_row, happens) => happens());
