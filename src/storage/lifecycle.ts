/** A rule of a bucket that takes objects away, or to where they cannot be read at once. */
export interface HarmfulRule {
  readonly name: string;
  readonly does: 'removes' | 'archives';
  /** `30 days after they were stored`, `on 2027-01-01` */
  readonly when: string;
  /** The beginning of the keys that it is about; empty for all. */
  readonly prefix: string;
}

/** Storage classes whose objects must be brought back before they can be read. */
const ARCHIVES = new Set(['GLACIER', 'DEEP_ARCHIVE']);

/**
 * The rules of a bucket that harm objects below a prefix, from the answer to GetBucketLifecycleConfiguration
 * (docs.aws.amazon.com, API version 2006-03-01). What asks for tags is left out: our objects have none.
 */
export function findHarmfulRules(xml: string, prefix: string): readonly HarmfulRule[] {
  return elementsOf(xml, 'Rule').flatMap((rule): readonly HarmfulRule[] => {
    const rulePrefix = textOf(rule, 'Prefix') ?? '';
    const isAbout = prefix.startsWith(rulePrefix) || rulePrefix.startsWith(prefix);
    if (textOf(rule, 'Status') !== 'Enabled' || !isAbout || elementsOf(rule, 'Tag').length > 0) return [];
    const name = textOf(rule, 'ID') ?? `for ${rulePrefix === '' ? 'all keys' : rulePrefix}`;
    const removals = elementsOf(rule, 'Expiration').map((content) => ({ does: 'removes' as const, content }));
    const archivals = elementsOf(rule, 'Transition')
      .filter((content) => ARCHIVES.has(textOf(content, 'StorageClass') ?? ''))
      .map((content) => ({ does: 'archives' as const, content }));
    return [...removals, ...archivals].flatMap(({ does, content }) => {
      const when = momentOf(content); // An Expiration may also be about delete markers alone.
      return when === undefined ? [] : [{ name, does, when, prefix: rulePrefix }];
    });
  });
}

function momentOf(content: string): string | undefined {
  const days = textOf(content, 'Days');
  if (days !== undefined) return `${days} days after they were stored`;
  const date = textOf(content, 'Date');
  return date === undefined ? undefined : `on ${date.slice(0, 10)}`;
}

function elementsOf(xml: string, name: string): readonly string[] {
  return [...xml.matchAll(new RegExp(`<${name}>(.*?)</${name}>`, 'gs'))].map(([, content = '']) => content);
}

function textOf(xml: string, name: string): string | undefined {
  return elementsOf(xml, name)[0]
    ?.trim()
    .replaceAll(/&(?:#(x?)([\da-f]+)|(lt|gt|amp|quot|apos));/gi, (...match: readonly string[]) => {
      const [all = '', hex = '', code = '', entity] = match;
      if (entity !== undefined) return ENTITIES[entity] ?? all;
      return String.fromCodePoint(Number.parseInt(code, hex === '' ? 10 : 16));
    });
}

const ENTITIES: Readonly<Record<string, string>> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" };
