import { isDeepStrictEqual } from 'node:util';
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  type Node,
  Pair,
  parseDocument,
  type Tags,
  type YAMLMap,
  type YAMLParseError,
  type YAMLSeq,
} from 'yaml';
import { Failure, isFailure, messageOf } from '../base/failure.ts';
import { isTree, type Tree, textAt } from './tree.ts';

/** One document of a stream as it was written. What is not changed is written back byte by byte. */
export interface Manifest {
  /** What separates it from the one before. */
  readonly head: string;
  readonly body: string;
  /** Undefined where there are only comments. */
  readonly content: unknown;
  readonly document: Document;
}

/** Splits a stream at its `---` lines and parses every document as Kubernetes' own tools do. */
export function parseManifests(text: string): readonly Manifest[] {
  const parts = text.split(/^(---(?=\s|$)[^\S\n]*\n?)/m);
  const [first = '', ...rest] = parts;
  const pairs = [['', first] as const, ...pairsOf(rest)];
  return pairs.filter(([head, body]) => head !== '' || body !== '').map(([head, body]) => parse(head, body));
}

function pairsOf(parts: readonly string[]): readonly (readonly [string, string])[] {
  return parts.flatMap((part, index) => (index % 2 === 0 ? [[part, parts[index + 1] ?? ''] as const] : []));
}

/** What an alias stands for is written out in its place; with more of them it would be a bomb. */
const WRITTEN_OUT = { maxAliasCount: 1000 };

function parse(head: string, body: string): Manifest {
  const document = parseLeniently(body);
  const [error] = document.errors;
  if (error !== undefined) throw unreadable(error);
  try {
    return { head, body, content: document.toJS(WRITTEN_OUT), document };
  } catch (error) {
    throw unreadable(error);
  }
}

/** YAML 1.1, as Kubernetes reads it: `0644` is octal and `yes` is true. */
function parseLeniently(text: string): Document {
  const document = parseDocument(text, {
    version: '1.1',
    customTags: (tags) => tags.flatMap(keepSource),
    logLevel: 'error',
  });
  const [error] = document.errors;
  const indented = error === undefined ? undefined : indentQuoted(text, error);
  return indented === undefined ? document : parseLeniently(indented);
}

/**
 * Charts fill quotes with lines that begin at the margin, and Kubernetes' parser (go-yaml) takes them. Their indentation has
 * no meaning inside of quotes. Undefined where this is not the error, or there is nothing left to indent.
 */
function indentQuoted(text: string, { code, message, linePos }: YAMLParseError): string | undefined {
  const quote = code === 'MISSING_CHAR' ? /^Missing closing (['"])quote/.exec(message)?.[1] : undefined;
  const line = linePos?.[0].line;
  if (quote === undefined || line === undefined) return undefined;
  const lines = text.split('\n');
  const end = lines.findIndex((each, index) => index >= line && CLOSING[quote]?.test(each) === true);
  const margin = ' '.repeat((/^[ -]*/.exec(lines[line - 1] ?? '')?.[0].length ?? 0) + 2);
  const indented = lines.map((each, index) =>
    index < line || index > end || each.trim() === '' || each.startsWith(margin) ? each : margin + each.trimStart(),
  );
  return end < 0 || indented.join('\n') === text ? undefined : indented.join('\n');
}

/** In single quotes two of them are one, in double ones a backslash takes its meaning. */
const CLOSING: Readonly<Record<string, RegExp>> = {
  "'": /^(?:[^']|'')*'(?!')/,
  '"': /^(?:[^"\\]|\\.)*"/,
};

/** Numbers are written as they were, `1.10` and `12345678901234567890` too. Times are texts. */
function keepSource(tag: Tags[number]): Tags {
  if (typeof tag === 'string' || tag.tag === 'tag:yaml.org,2002:timestamp') return typeof tag === 'string' ? [tag] : [];
  const { stringify } = tag;
  if (stringify === undefined || !NUMBERS.has(tag.tag)) return [tag];
  const asWritten: typeof stringify = (item, ...rest) =>
    'source' in item && typeof item.source === 'string' ? item.source : stringify(item, ...rest);
  return [{ ...tag, stringify: asWritten }];
}

const NUMBERS = new Set(['tag:yaml.org,2002:int', 'tag:yaml.org,2002:float']);

function unreadable(error: unknown): Failure {
  const [line = ''] = messageOf(error).split('\n'); // What follows is an excerpt.
  return new Failure('invalid', `cannot read the manifest: ${line.replace(/:$/, '')}`, { cause: error });
}

/** The document with another content: what stays the same keeps its comments, its order and its style. */
export function renderManifest({ head, body, content, document }: Manifest, target: unknown): string {
  if (isDeepStrictEqual(content, target)) return head + body;
  if (body.trimStart().startsWith('{')) return `${head}${JSON.stringify(target, undefined, 2)}\n`;
  try {
    document.contents = reshape(document.contents, target, document);
    const text = document.toString({ lineWidth: 0, indentSeq: indentsLists(body), flowCollectionPadding: false });
    if (!isDeepStrictEqual(parseLeniently(text).toJS(WRITTEN_OUT), target))
      throw new Error('it would say something else');
    return head + (body.includes('\r\n') ? text.replaceAll(/\r?\n/g, '\r\n') : text);
  } catch (error) {
    if (isFailure(error)) throw error;
    throw new Failure('invalid', `cannot write the manifest: ${messageOf(error)}`, { cause: error });
  }
}

/** Whether the lists of a text stand further right than their keys. */
function indentsLists(text: string): boolean {
  const match = /^( *)[^\s#-][^\n]*:[^\S\n]*\n( *)- /m.exec(text);
  return match === null || (match[2] ?? '').length > (match[1] ?? '').length;
}

function reshape(node: Node | null, target: unknown, document: Document): Node {
  if (node === null) return create(target, document);
  if (isDeepStrictEqual(node.toJS(document, WRITTEN_OUT), target)) return node;
  if (isMap(node) && isTree(target)) return reshapeMap(node, target, document);
  if (isSeq(node) && Array.isArray(target)) return reshapeList(node, target, document);
  if (isAlias(node)) {
    throw new Failure('invalid', `cannot change what the alias *${node.source} stands for`, {
      hint: 'write it out: other places share it',
    });
  }
  return create(target, document);
}

function reshapeMap(map: YAMLMap, target: Tree, document: Document): YAMLMap {
  const pairs = new Map(
    map.items.map((pair) => [isScalar(pair.key) ? String(pair.key.value) : String(pair.key), pair]),
  );
  if (pairs.has('<<')) {
    throw new Failure('invalid', 'cannot change a mapping that merges another one (<<)', { hint: 'write it out' });
  }
  keepComments(map, target);
  map.items = Object.entries(target).map(([key, value]) => {
    const pair = pairs.get(key);
    if (pair === undefined) return new Pair(document.createNode(key), create(value, document));
    // oxlint-disable-next-line no-unsafe-type-assertion -- A parsed document has nodes and nothing else.
    pair.value = reshape(pair.value as Node | null, value, document);
    return pair;
  });
  return map;
}

/**
 * A comment above a key is the key's to who wrote it. To the parser one above the first key is the mapping's, and one
 * below a list that stands no further right than its key is the list's.
 */
function keepComments(map: YAMLMap, target: Tree): void {
  const [first] = map.items;
  if (isScalar(first?.key) && map.commentBefore) {
    first.key.commentBefore = map.commentBefore;
    map.commentBefore = null;
  }
  for (const [index, { key, value }] of map.items.entries()) {
    const next = map.items[index + 1]?.key;
    const isKept = isScalar(key) && Object.hasOwn(target, String(key.value));
    if (!isKept && isSeq(value) && value.comment && isScalar(next)) {
      next.commentBefore = [value.comment, next.commentBefore].filter(Boolean).join('\n');
    }
  }
}

/** Items are known again by what they are, or else by their name. */
function reshapeList(list: YAMLSeq, target: readonly unknown[], document: Document): YAMLSeq {
  // oxlint-disable-next-line no-unsafe-type-assertion -- As above.
  const left = (list.items as Node[]).map((node) => ({ node, content: node.toJS(document, WRITTEN_OUT) as unknown }));
  const take = (isIt: (content: unknown) => boolean): Node | undefined => {
    const index = left.findIndex(({ content }) => isIt(content));
    return index < 0 ? undefined : left.splice(index, 1)[0]?.node;
  };
  const same = target.map((item) => take((content) => isDeepStrictEqual(content, item)));
  list.items = target.map((item, index) => {
    const name = nameOf(item);
    const known = same[index] ?? (name === undefined ? undefined : take((content) => nameOf(content) === name));
    return reshape(known ?? null, item, document);
  });
  return list;
}

/** Of a container or a volume; of an object with its kind. */
function nameOf(item: unknown): string | undefined {
  return textAt(item, 'name') ?? textAt(item, 'metadata', 'name')?.concat(' ', textAt(item, 'kind') ?? '');
}

function create(value: unknown, document: Document): Node {
  return document.createNode(value, { aliasDuplicateObjects: false });
}
