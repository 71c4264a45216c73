/** A rule, or one condition of it, taken out of the sources. */
export interface Mutation {
  /** As docs/rules.md calls it. */
  readonly rule: string;
  /** What is not asked or done any more. */
  readonly without: string;
  /** Below the repository, as are `tests`. */
  readonly file: string;
  /** The text that goes, which the file has once, and what comes in its place. */
  readonly from: string;
  readonly to: string;
  /** The fewest and fastest files of tests that notice. */
  readonly tests: readonly string[];
  /** Only those of their tests whose names have this: of files that take long. */
  readonly only?: string;
}

/** The text of a file without what a mutation takes out; an Error where that is not there exactly once. */
export function mutateText(text: string, { rule, file, from, to }: Mutation): string {
  const found = text.split(from).length - 1;
  if (found !== 1) throw new Error(`${rule}: ${file} has this text ${found} times, not once: ${from}`);
  return text.replace(from, () => to);
}
