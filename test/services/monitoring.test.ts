import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { dashboardQueries, monitoringFile, ruleFile, rules, selectorsOf } from '../support/monitoring.ts';
import { installPrometheus, Prometheus, promtool, type ScrapeTarget } from '../support/prometheus.ts';
import { layOut } from '../support/recorded.ts';
import { listFiles, Scenario } from '../support/scenario.ts';
import { Sidecar } from '../support/sidecar.ts';
import { warmstate } from '../support/warmstate.ts';

const held = new AsyncDisposableStack();
let prometheus: Prometheus;

/** Pods that are well, refused, thrown back, restored cold and cut off from their store, scraped with a cluster's own metrics. */
beforeAll(async () => {
  await installPrometheus();
  const pods = {
    'orders-0': await wellPod(),
    'eos-0': await exactlyOncePod(),
    'reset-0': await regressedPod(),
    'cold-0': await coldPod(),
    'cut-0': await cutOffPod(),
  };
  const targets: ScrapeTarget[] = [{ address: await serve('kube-state-metrics/pods.prom') }];
  for (const [pod, sidecar] of Object.entries(pods)) {
    const labels = { namespace: 'shop', pod, container: 'warmstate' };
    targets.push({ address: `127.0.0.1:${await sidecar.port()}`, labels });
  }
  prometheus = held.use(await Prometheus.start(targets, ruleFile()));
  await prometheus.query(`count(up == 1) == ${targets.length}`);
  // Rates are known after the second scrape, rules that read other rules a moment later.
  await prometheus.query('namespace:warmstate_storage_failures:ratio_rate15m');
});

afterAll(() => held.disposeAsync());

async function scenarioOf(recording: string): Promise<Scenario> {
  return held.use(await Scenario.open(recording));
}

function start(flags: readonly string[]): Sidecar {
  return held.use(Sidecar.start([...flags, '--interval', '1s', '--state-dir-limit', '1GiB']));
}

async function stored(sidecar: Sidecar): Promise<void> {
  await sidecar.logged('snapshot-finished', ({ result }) => result === 'published');
}

async function restore(scenario: Scenario): Promise<void> {
  expect((await warmstate(['restore', ...scenario.flags])).code).toBe(0);
}

async function wellPod(): Promise<Sidecar> {
  const scenario = await scenarioOf('3.9.2-alos-closed');
  await scenario.snapshot();
  await scenario.loseDisk();
  await restore(scenario);
  return start([...scenario.flags, '--termination-grace-period', '2m']);
}

async function exactlyOncePod(): Promise<Sidecar> {
  const scenario = await scenarioOf('3.9.2-eos-flushed');
  return start([...scenario.flags, '--processing-guarantee', 'exactly_once_v2']);
}

async function regressedPod(): Promise<Sidecar> {
  const scenario = await scenarioOf('3.9.2-alos-closed');
  const sidecar = start(scenario.flags);
  await stored(sidecar);
  await scenario.moveOffsets('0_0', -10);
  await sidecar.until('a task is refused as regressed', async () =>
    (await sidecar.status()).tasks.find(({ reason }) => reason === 'regressed'),
  );
  return sidecar;
}

/** Nothing that was stored can be read any more; what its application has built since lacks a table. */
async function coldPod(): Promise<Sidecar> {
  const scenario = await scenarioOf('3.9.2-alos-closed');
  await scenario.snapshot();
  for (const path of await scenario.objects('data')) await rm(path);
  await scenario.loseDisk();
  await restore(scenario);
  await layOut('3.9.2-alos-closed', scenario.stateDir);
  const [table = ''] = (await listFiles(scenario.applicationDirectory)).filter((path) => /^0_0.*\.sst$/.test(path));
  await rm(join(scenario.applicationDirectory, table));
  const sidecar = start(scenario.flags);
  await sidecar.until('a task is refused as incomplete', async () =>
    (await sidecar.status()).tasks.find(({ reason }) => reason === 'incomplete'),
  );
  return sidecar;
}

async function cutOffPod(): Promise<Sidecar> {
  const scenario = await scenarioOf('3.9.2-alos-closed');
  const nowhere = ['--destination', 's3://state', '--s3-endpoint', 'http://127.0.0.1:1', '--s3-region', 'eu-west-1'];
  const sidecar = start([...scenario.flags, ...nowhere]);
  await sidecar.logged('problem-appeared', ({ area }) => area === 'storage');
  return sidecar;
}

/** Serves a file of fixtures as metrics; its address. */
async function serve(name: string): Promise<string> {
  const text = readFileSync(new URL(`../fixtures/${name}`, import.meta.url));
  const server = createServer((_request, response) => response.setHeader('content-type', 'text/plain').end(text));
  held.defer(() => new Promise((resolve) => server.close(() => resolve())));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const address = server.address();
  return `127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
}

test('every expression of rules and dashboard is evaluated, and every selector in it finds a series', async () => {
  const expressions = [...rules().map(({ expr }) => expr), ...dashboardQueries()];
  const objections = [];
  for (const expression of expressions) {
    const objection = await prometheus.objection(expression);
    if (objection !== undefined) objections.push([expression, objection]);
  }
  expect(objections).toEqual([]);
  const silent = [];
  for (const selector of new Set(expressions.flatMap(selectorsOf))) {
    const { '': found = 0 } = await prometheus.query(`count(${selector}) or vector(0)`);
    if (found === 0) silent.push(selector);
  }
  expect(silent).toEqual([]);
});

test('what is well raises nothing; what is not, its own alert', async () => {
  const raised = await prometheus.query('count by (pod, alertname) (ALERTS{pod!=""})');
  expect(Object.keys(raised).sort()).toEqual([
    'WarmstateBlocksPodStart orders-1',
    'WarmstateColdStart cold-0',
    'WarmstateRegressed reset-0',
    'WarmstateTaskRefused cold-0',
  ]);
});

test('promtool accepts the rules, and their tests pass', { timeout: 300_000 }, async () => {
  const files = { 'rules.yaml': ruleFile(), 'rules.test.yaml': monitoringFile('rules.test.yaml') };
  expect(await promtool(['check', 'rules', 'rules.yaml'], files)).toBe('');
  expect(await promtool(['test', 'rules', 'rules.test.yaml'], files)).toBe('');
});

test('the tests of the rules notice a rule that never fires', { timeout: 300_000 }, async () => {
  const files = {
    'rules.yaml': ruleFile().replace('reason="regressed"', 'reason="regresed"'),
    'rules.test.yaml': monitoringFile('rules.test.yaml'),
  };
  expect(await promtool(['test', 'rules', 'rules.test.yaml'], files)).toContain('WarmstateRegressed');
});
