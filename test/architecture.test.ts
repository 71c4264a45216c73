import { readFileSync } from 'node:fs';
import { glob } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';

/** The layers of ARCHITECTURE.md, lowest first: a folder imports only from lower rows, and from itself. */
const LAYERS = [
  ['base'],
  ['rocksdb', 'streams', 'storage', 'kafka'],
  ['repository'],
  ['events'],
  ['capture', 'transfer'],
  ['agent', 'restore'],
  ['http', 'inject'],
  ['cli'],
  ['.'],
];
/** Within a row: what lies in a store of Kafka Streams is RocksDB's. */
const ALSO_ALLOWED = new Set(['streams → rocksdb']);
/** Each outside thing has one home. */
const HOMES: Readonly<Record<string, string | readonly string[]>> = {
  tar: 'transfer/archive.ts',
  pino: 'events/logger.ts',
  commander: 'cli/program.ts',
  // A small file is read as plain values; manifests are changed, and keep what people wrote around them.
  yaml: ['effective-settings.ts', 'inject/manifest-stream.ts'],
  koffi: 'base/native.ts',
  '@aws-sdk/client-s3': 'storage/s3-client.ts',
  '@smithy/node-http-handler': 'storage/s3-transport.ts',
  chokidar: 'agent/watcher.ts',
  fastify: 'http/server.ts',
  'prom-client': 'events/metrics.ts',
};
/** What is taken from the air only in these files; everywhere else it is a parameter. */
const TAKEN_FROM_THE_AIR = [
  { what: /\bDate\.now\(|\bnew Date\(\)|\bperformance\.now\(/, homes: ['base/clock.ts'] },
  { what: /\bMath\.random\(|\brandomBytes\(|\brandomInt\(/, homes: ['base/clock.ts'] },
  { what: /\bprocess\.env\b/, homes: ['main.ts'] },
  { what: /\bprocess\.exit\(/, homes: [] },
  { what: /\bsetInterval\(/, homes: [] },
  { what: /\bconsole\./, homes: [] },
];
const LINES_MAX = 400;

interface SourceFile {
  /** Below src. */
  readonly path: string;
  readonly text: string;
}

const SOURCE = resolve(import.meta.dirname, '../src');
const files: SourceFile[] = [];
for await (const path of glob('**/*.ts', { cwd: SOURCE }))
  files.push({ path, text: readFileSync(join(SOURCE, path), 'utf8') });
const product = files.filter(({ path }) => !path.endsWith('.test.ts'));

describe('the house', () => {
  test('has the folders of its layers and no others', () => {
    expect([...new Set(product.map(({ path }) => folderOf(path)))].sort()).toEqual(LAYERS.flat().sort());
  });

  test('imports only from lower layers', () => {
    expect(product.flatMap(findWrongImports)).toEqual([]);
  });

  test('keeps each outside thing in one home', () => {
    expect(product.flatMap(findStrayPackages)).toEqual([]);
  });

  test('takes time, chance, the environment and the exit from the air in one place each', () => {
    expect(product.flatMap(findTakenFromTheAir)).toEqual([]);
  });

  test(`has no file of more than ${LINES_MAX} lines`, () => {
    expect(product.filter(({ text }) => text.split('\n').length > LINES_MAX).map(({ path }) => path)).toEqual([]);
  });
});

test('a planted violation of each rule is found', () => {
  const planted = {
    path: 'rocksdb/planted.ts',
    text: `import { x } from '../repository/keys.ts';\nimport type { y } from '../streams/reason.ts';\nconst z = await import('koffi');\nconst now = Date.now();\n`,
  };
  expect(findWrongImports(planted)).toEqual([
    'rocksdb/planted.ts imports repository/keys.ts',
    'rocksdb/planted.ts imports streams/reason.ts',
  ]);
  expect(findStrayPackages(planted)).toEqual(['rocksdb/planted.ts imports koffi, whose home is base/native.ts']);
  expect(findTakenFromTheAir(planted)).toEqual(['rocksdb/planted.ts: Date.now(']);
});

function importsOf({ text }: SourceFile): readonly string[] {
  return [...text.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*'([^']+)'/g)].map((match) => match[1] ?? '');
}

function findWrongImports(file: SourceFile): readonly string[] {
  const from = folderOf(file.path);
  const targets = importsOf(file)
    .filter((specifier) => specifier.startsWith('.'))
    .map((specifier) => relative(SOURCE, resolve(SOURCE, dirname(file.path), specifier)));
  const isAllowed = (to: string): boolean =>
    to === from || rowOf(to) < rowOf(from) || ALSO_ALLOWED.has(`${from} → ${to}`);
  return targets.filter((target) => !isAllowed(folderOf(target))).map((target) => `${file.path} imports ${target}`);
}

function findStrayPackages(file: SourceFile): readonly string[] {
  return importsOf(file).flatMap((specifier) => {
    const homes = [HOMES[specifier] ?? file.path].flat();
    return homes.includes(file.path) ? [] : [`${file.path} imports ${specifier}, whose home is ${homes.join(' or ')}`];
  });
}

function findTakenFromTheAir({ path, text }: SourceFile): readonly string[] {
  const code = text.replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');
  return TAKEN_FROM_THE_AIR.flatMap(({ what, homes }) => {
    const found = homes.includes(path) ? undefined : what.exec(code)?.[0];
    return found === undefined ? [] : [`${path}: ${found}`];
  });
}

function folderOf(path: string): string {
  return path.includes('/') ? (path.split('/')[0] ?? '') : '.';
}

function rowOf(folder: string): number {
  return LAYERS.findIndex((row) => row.includes(folder));
}
