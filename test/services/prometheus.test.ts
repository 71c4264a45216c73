import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { installPrometheus, lintMetrics, Prometheus } from '../support/prometheus.ts';
import { Scenario } from '../support/scenario.ts';
import { Sidecar } from '../support/sidecar.ts';

beforeAll(installPrometheus);

/** A run that has stored four of five tasks. */
async function startRun(scenario: Scenario): Promise<Sidecar> {
  await rm(join(scenario.applicationDirectory, '0_1', '.checkpoint'));
  const sidecar = Sidecar.start([...scenario.flags, '--interval', '1s']);
  await sidecar.logged('snapshot-finished', ({ result }) => result === 'published');
  return sidecar;
}

test('promtool has nothing to say of a live scrape, and much of one that is bad', async () => {
  await using scenario = await Scenario.open('3.9.2-alos-closed');
  await using sidecar = await startRun(scenario);
  const { body } = await sidecar.get('/metrics');
  expect(body).toContain('warmstate_task_uncapturable{task="0_1",reason="no_offset"} 1');
  expect(await lintMetrics(body)).toBe('');
  expect(await lintMetrics('# TYPE a_total gauge\na_total 1\n')).toContain(
    'non-counter metrics should not have "_total"',
  );
});

test('promtool has nothing to say of a run whose settings cannot be used', async () => {
  await using sidecar = Sidecar.start(['--application-id', 'orders']);
  expect(await lintMetrics((await sidecar.get('/metrics')).body)).toBe('');
});

test('Prometheus scrapes a run and knows what would be warm', async () => {
  await using scenario = await Scenario.open('3.9.2-alos-closed');
  await using sidecar = await startRun(scenario);
  await using prometheus = await Prometheus.start([{ address: `127.0.0.1:${await sidecar.port()}` }]);
  expect(await prometheus.query('up == 1')).toEqual({ '': 1 });
  expect(await prometheus.query('warmstate_tasks')).toEqual({ restorable: 4, pending: 0, uncapturable: 1 });
  expect(await prometheus.query('sum by (result) (warmstate_snapshots_total{result!="unchanged"})')).toEqual({
    published: 1,
    failed: 0,
  });
  expect(await prometheus.query('count({__name__=~"warmstate_.*", exported_instance!=""}) or vector(0)')).toEqual({
    '': 0,
  });
  const ages = await prometheus.query('time() - warmstate_last_snapshot_success_timestamp_seconds');
  expect(Object.values(ages).every((seconds) => seconds >= 0 && seconds < 600)).toBe(true);
});
