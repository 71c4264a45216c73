import { readFileSync } from 'node:fs';
import { parser } from '@prometheus-io/lezer-promql';
import { parse, stringify } from 'yaml';

export interface Rule {
  readonly record?: string;
  readonly alert?: string;
  readonly expr: string;
  readonly for?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface Panel {
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly datasource?: { readonly uid: string };
  readonly targets?: readonly { readonly expr: string; readonly datasource: { readonly uid: string } }[];
  readonly fieldConfig?: { readonly defaults: { readonly unit: string } };
}

interface Dashboard {
  readonly uid: string;
  readonly editable: boolean;
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly { readonly name: string; readonly query: unknown }[] };
}

interface PrometheusRule {
  readonly spec: { readonly groups: readonly { readonly name: string; readonly rules: readonly Rule[] }[] };
}

export function monitoringFile(name: string): string {
  return readFileSync(new URL(`../../deploy/monitoring/${name}`, import.meta.url), 'utf8');
}

/** The rules as Prometheus itself reads them: what stands inside the PrometheusRule. */
export function ruleFile(): string {
  return stringify(prometheusRule().spec);
}

export function rules(): readonly Rule[] {
  return prometheusRule().spec.groups.flatMap((group) => group.rules);
}

export function dashboard(): Dashboard {
  return JSON.parse(monitoringFile('dashboard.json'));
}

/** The expressions of the dashboard as Grafana asks them where everything is chosen. */
export function dashboardQueries(): readonly string[] {
  const expressions = dashboard().panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
  return expressions.map((expression) =>
    expression.replaceAll('$__rate_interval', '5m').replaceAll(/\$(namespace|application|pod)\b/g, '.*'),
  );
}

/** The selectors of an expression, as they are written; throws where it is none. */
export function selectorsOf(expression: string): readonly string[] {
  const selectors: string[] = [];
  parser.parse(expression).iterate({
    enter: ({ name, type, from, to }) => {
      if (type.isError) throw new Error(`no PromQL at ${from}: ${expression}`);
      if (name === 'VectorSelector') selectors.push(expression.slice(from, to));
    },
  });
  return selectors;
}

function prometheusRule(): PrometheusRule {
  return parse(monitoringFile('rules.yaml'));
}
