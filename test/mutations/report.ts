import type { Outcome } from './mutant-tests.ts';
import type { Mutation } from './mutation.ts';

/** What became of the tests without one condition of a rule. */
export interface Finding {
  readonly mutation: Mutation;
  readonly outcome: Outcome;
  readonly seconds: number;
}

/** One line: rule, what was taken out, which test failed first, seconds. */
export function describeFinding({ mutation: { rule, without }, outcome, seconds }: Finding): string {
  return `${rule.padEnd(4)} without: ${without} · ${describeOutcome(outcome)} · ${seconds.toFixed(1)} s`;
}

/** The last line of a run. */
export function summariseFindings(findings: readonly Finding[]): string {
  const rules = new Set(findings.map(({ mutation }) => mutation.rule));
  const missed = new Set(
    findings.filter(({ outcome }) => outcome.kind !== 'failed').map(({ mutation }) => mutation.rule),
  );
  const counts = `${rules.size} rules, ${rules.size - missed.size} noticed, ${missed.size} missed`;
  return `${counts} (${findings.length} mutations)`;
}

/** docs/decisions/0029. */
export function renderFindings(
  findings: readonly Finding[],
  of: { readonly commit: string; readonly date: string },
): string {
  const minutes = Math.ceil(findings.reduce((sum, { seconds }) => sum + seconds, 0) / 60);
  const rows = findings.map(({ mutation, outcome, seconds }) => {
    const { rule, without, file } = mutation;
    return `| ${rule} | ${without} | ${file} | ${cell(describeOutcome(outcome))} | ${seconds.toFixed(1)} |`;
  });
  return `${HEAD}
${of.date}, commit ${of.commit}: **${summariseFindings(findings)}** in ${minutes} min.

| rule | without | in | noticed first by | s |
|---|---|---|---|---|
${rows.join('\n')}
`;
}

const HEAD = `# 29. Every rule is seen to matter

A rule that no test would miss is a comment. So \`npm run mutate\` takes each rule of [docs/rules.md](../rules.md) out of a copy of the sources, one
condition after another (\`test/mutations/\` has them as data), and runs the tests that should notice. What nothing noticed got its test, or turned out to be unneeded and
is gone. \`npm test\` holds the list to the sources: every text that goes is there exactly once, and every rule has a mutation. A mutation that a compiler would
refuse counts for nothing here: sources are run as they are, without types.

This page is written by \`npm run mutate -- --write\`.
`;

function describeOutcome(outcome: Outcome): string {
  switch (outcome.kind) {
    case 'failed':
      return `${outcome.file} > ${outcome.test}`;
    case 'passed':
      return 'MISSED: every test passed';
    case 'broken':
      return `MISSED: no test said anything: ${outcome.why}`;
  }
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ');
}
