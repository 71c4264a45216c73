import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { REASONS } from '../../src/streams/reason.ts';
import { dashboard, dashboardQueries, monitoringFile, rules, selectorsOf } from '../support/monitoring.ts';

const RUNBOOKS = new URL('../../docs/runbooks/', import.meta.url);
const alerts = rules().filter(({ alert }) => alert !== undefined);
const names = alerts.map(({ alert = '' }) => alert);
const expressions = [...rules().map(({ expr }) => expr), ...dashboardQueries()];

test('every alert says what it is about, and only what keeps a pod from working pages', () => {
  for (const { alert = '', labels, annotations = {} } of alerts) {
    expect([alert, Object.keys(annotations)]).toEqual([alert, ['summary', 'description', 'runbook_url']]);
    expect(annotations['summary'], alert).toMatch(/^[^{]*\.$/); // The same for all that fire: they are grouped by it.
    expect(annotations['runbook_url']).toBe(`https://warmstate.dev/runbooks/${alert}`);
    expect(['critical', 'warning', 'info'], alert).toContain(labels?.['severity']);
  }
  const paging = alerts.filter(({ labels }) => labels?.['severity'] === 'critical');
  expect(paging.map(({ alert }) => alert)).toEqual([
    'WarmstateBlocksPodStart',
    'WarmstateRestoreDoesNotEnd',
    'WarmstateRestoredPodCrashLooping',
  ]);
});

test('every alert has a runbook, which begins with three commands and ends with whether it can wait', () => {
  expect(readdirSync(RUNBOOKS).sort()).toEqual(names.map((name) => `${name}.md`).sort());
  for (const name of names) {
    const page = readFileSync(new URL(`${name}.md`, RUNBOOKS), 'utf8');
    const [, first = ''] = page.split('```');
    const commands = first.split('\n').filter((line) => line.startsWith('kubectl '));
    expect([name, page.split('\n')[0], commands.length]).toEqual([name, `# ${name}`, 3]);
    expect(page.trimEnd().split('\n').at(-1), name).toMatch(/^\*\*Safe to ignore until morning\?\*\* (yes|no)\b/);
  }
});

test('every alert is seen to fire by the tests of the rules', () => {
  const { tests } = parse(monitoringFile('rules.test.yaml'));
  const expected = JSON.stringify(tests.flatMap((one: { promql_expr_test: unknown }) => one.promql_expr_test));
  expect(names.filter((name) => !expected.includes(`alertname=\\"${name}\\", `))).toEqual([]);
});

test('every reason that an expression asks for is one that there is', () => {
  const asked = expressions.flatMap(selectorsOf).filter((selector) => /^warmstate_(task|restore)/.test(selector));
  const reasons = asked.flatMap((selector) => /reason(?:=|!=|=~|!~)"([^"]*)"/.exec(selector)?.[1]?.split('|') ?? []);
  expect(reasons.length).toBeGreaterThan(10);
  expect(reasons.filter((reason) => reason !== '' && !REASONS.some((one) => one === reason))).toEqual([]);
});

test('the dashboard can be put on any Grafana: its own uid, its data source chosen, every panel explained', () => {
  const { uid, editable, panels, templating } = dashboard();
  expect([uid, editable]).toEqual(['warmstate', false]);
  expect(templating.list.map(({ name }) => name)).toEqual(['datasource', 'namespace', 'application', 'pod']);
  const rows = panels.filter(({ type }) => type === 'row');
  expect(rows.map(({ title }) => title)).toEqual([
    'Would a restart now be warm?',
    'One application, task by task',
    'What the last restarts did',
    'Cost and health of warmstate',
  ]);
  for (const panel of panels.filter(({ type }) => type !== 'row')) {
    const { title, description, datasource, targets = [], fieldConfig } = panel;
    expect(description, title).toMatch(/\.$/);
    expect(fieldConfig?.defaults.unit, title).toMatch(/./);
    expect([datasource, ...targets.map((target) => target.datasource)].map((source) => source?.uid)).toEqual(
      Array.from({ length: targets.length + 1 }, () => '${datasource}'),
    );
    for (const { expr } of targets) {
      expect(expr, title).toMatch(/namespace=~"\$namespace"/);
      expect(expr.match(/\[[^\]]*\]/g) ?? [], title).toEqual(
        Array.from({ length: expr.split('[').length - 1 }, () => '[$__rate_interval]'),
      );
    }
  }
});

test('a selector is found wherever it stands, and what is no PromQL is said to be none', () => {
  expect(selectorsOf('sum(rate(a_total{b!~"c|d"}[5m])) > on (x) group_left () 3 * y unless r:s')).toEqual([
    'a_total{b!~"c|d"}',
    'y',
    'r:s',
  ]);
  expect(() => selectorsOf('sum(a_total')).toThrow('no PromQL');
});
