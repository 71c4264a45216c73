import { type Tree, textAt, textsAt, treeAt, treesAt } from './tree.ts';

/** Something that a container is told under a name, as far as its manifest says it. */
export interface Property {
  /** Without what separates words, in small letters: `SPRING_KAFKA_STREAMS_STATE_DIR` and `-Dspring.kafka.streams.state-dir` are one. */
  readonly key: string;
  /** Undefined where the manifest does not say it: it lies in a Secret, or in an object that is not there. */
  readonly text: string | undefined;
  /** The `valueFrom` of an environment variable that has the same value, where it is no literal. */
  readonly source: Tree | undefined;
  /** `environment variable STATE_DIR` */
  readonly from: string;
}

/** Data of the ConfigMaps at hand, by name. */
export type ConfigMaps = ReadonlyMap<string, Tree>;

/** Everything that a container is told: environment, arguments, options of its JVM. */
export function findProperties(container: Tree, configMaps: ConfigMaps): readonly Property[] {
  const environment = findVariables(container, configMaps);
  const words = [...textsAt(container, 'command'), ...textsAt(container, 'args')];
  const options = environment
    .filter(({ name }) => JVM_OPTIONS.test(name))
    .flatMap(({ name, text = '' }) => findOptions([text], `environment variable ${name}`));
  return [...environment.map(propertyOf), ...findOptions(words, 'command line'), ...options];
}

/** Variables that JVMs and the usual start scripts take options from. */
const JVM_OPTIONS =
  /^(?:JAVA_TOOL_OPTIONS|JDK_JAVA_OPTIONS|(?:JAVA|JVM|KAFKA|STREAMS|SPRING|APP|CATALINA)_(?:OPTS|OPTIONS|ARGS)|JAVA_OPTS_APPEND)$/;

interface Variable {
  readonly name: string;
  readonly text: string | undefined;
  readonly source: Tree | undefined;
}

function propertyOf({ name, text, source }: Variable): Property {
  return { key: keyOf(name), text, source, from: `environment variable ${name}` };
}

function keyOf(name: string): string {
  return name.toLowerCase().replaceAll(/[^a-z0-9]/g, '');
}

/** As the kubelet makes it: `env` over `envFrom`, and of each the later one. */
function findVariables(container: Tree, configMaps: ConfigMaps): readonly Variable[] {
  const variables = new Map<string, Variable>();
  for (const source of treesAt(container, 'envFrom')) {
    const map = textAt(source, 'configMapRef', 'name') ?? '';
    for (const [key, value] of Object.entries(configMaps.get(map) ?? {})) {
      const name = `${textAt(source, 'prefix') ?? ''}${key}`;
      if (typeof value !== 'string') continue;
      variables.set(name, { name, text: value, source: { configMapKeyRef: { name: map, key } } });
    }
  }
  for (const variable of treesAt(container, 'env')) {
    const name = textAt(variable, 'name') ?? '';
    variables.set(name, { name, ...valueOf(variable, variables, configMaps) });
  }
  return [...variables.values()];
}

function valueOf(
  variable: Tree,
  before: ReadonlyMap<string, Variable>,
  configMaps: ConfigMaps,
): Pick<Variable, 'text' | 'source'> {
  const { valueFrom } = variable;
  if (valueFrom === undefined) {
    const text = textAt(variable, 'value') ?? '';
    return { text: expand(text, before), source: undefined };
  }
  const source = treeAt(variable, 'valueFrom');
  const map = configMaps.get(textAt(source, 'configMapKeyRef', 'name') ?? '');
  return { text: textAt(map, textAt(source, 'configMapKeyRef', 'key') ?? ''), source };
}

/** `$(OTHER)` as the kubelet replaces it; undefined where that is not known here. */
function expand(text: string, before: ReadonlyMap<string, Variable>): string | undefined {
  let isKnown = true;
  const expanded = text.replaceAll(/\$\$|\$\(([^)]+)\)/g, (whole, name: string | undefined) => {
    if (name === undefined) return '$';
    const variable = before.get(name);
    if (variable === undefined) return whole;
    isKnown &&= variable.text !== undefined;
    return variable.text ?? '';
  });
  return isKnown ? expanded : undefined;
}

/** `--name value`, `--name=value`, `-Dname=value`, as words of their own or inside a line for a shell. */
function findOptions(words: readonly string[], from: string): readonly Property[] {
  return words.flatMap((word, index) => {
    const next = words[index + 1];
    const name = /^--([\w.-]+)$/.exec(word)?.[1];
    const pair = name === undefined || next === undefined || next.startsWith('-') ? [] : [[name, next] as const];
    const inside = [...word.matchAll(/(?:^|\s)(?:-D|--)([\w.-]+)[= ]("[^"]*"|'[^']*'|[^\s"'-]\S*)/g)];
    const pairs = [...pair, ...inside.map(([, key = '', value = '']) => [key, unquote(value)] as const)];
    return pairs.map(([key, text]) => {
      // What a shell or the kubelet replaces is not known here.
      const isLiteral = !text.includes('$');
      return { key: keyOf(key), text: isLiteral ? text : undefined, source: undefined, from: `${from}, ${key}` };
    });
  });
}

function unquote(text: string): string {
  return /^(["']).*\1$/.test(text) ? text.slice(1, -1) : text;
}
