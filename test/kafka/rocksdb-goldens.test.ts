import { execFile } from 'node:child_process';
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { ManifestReplay } from '../../src/rocksdb/live-files.ts';
import { GOLDEN_MAKER_DIRECTORY, GOLDENS, type Golden, type RocksDbDescription } from '../support/goldens.ts';
import { buildJava } from '../support/maven.ts';

const RELEASES = [...new Set(GOLDENS.map(({ release }) => release))].sort(byRelease);

describe.each(RELEASES)('RocksDB %s', (release) => {
  test('opens every database of its own and of older releases with a manifest that we wrote, and finds all in it', async () => {
    const goldens = GOLDENS.filter((golden) => byRelease(golden.release, release) <= 0 && canOpen(release, golden));
    await using copies = await copyWithNewManifests(goldens);
    const described = await describeAll(release, copies.directories);
    for (const [index, golden] of goldens.entries()) {
      const { contents, tables, blobFiles, lastSequence } = described[index] ?? {};
      expect({ name: golden.name, contents, blobFiles, lastSequence, tables: byNumber(tables) }).toEqual({
        name: golden.name,
        contents: golden.expected.contents,
        blobFiles: golden.expected.blobFiles,
        lastSequence: golden.expected.lastSequence,
        tables: byNumber(golden.expected.tables).map((table) => expect.objectContaining(table)),
      });
    }
  });
});

/** Copies of the databases, each under the manifest that a replay of its own writes. */
async function copyWithNewManifests(goldens: readonly Golden[]) {
  const parent = await mkdtemp(join(tmpdir(), 'warmstate-goldens-'));
  const directories: string[] = [];
  for (const [index, golden] of goldens.entries()) {
    const directory = join(parent, String(index));
    await cp(golden.directory, directory, { recursive: true });
    const replay = new ManifestReplay();
    replay.feed(golden.manifest);
    await writeFile(join(directory, golden.manifestName), replay.compact());
    directories.push(directory);
  }
  return { directories, [Symbol.asyncDispose]: () => rm(parent, { recursive: true, force: true }) };
}

/** What this release says of each database, after it has verified all checksums. */
async function describeAll(release: string, directories: readonly string[]): Promise<readonly RocksDbDescription[]> {
  const classPath = await buildJava(GOLDEN_MAKER_DIRECTORY, {
    properties: { 'rocksdb.version': release },
    classesDirectory: `target/${release}/classes`,
  });
  const args = ['-cp', classPath, 'goldenmaker.Main', 'describe', ...directories];
  const { stdout } = await promisify(execFile)('java', args);
  return stdout
    .trim()
    .split('\n')
    .map((line): RocksDbDescription => JSON.parse(line));
}

/** From 11.0 on, RocksDB opens no tables of format version 0 any more, which 5.18 writes. */
function canOpen(release: string, golden: Golden): boolean {
  return byRelease(release, '11') < 0 || byRelease(golden.release, '6') > 0 || golden.expected.tables.length === 0;
}

function byNumber(tables: RocksDbDescription['tables'] = []): RocksDbDescription['tables'] {
  return [...tables].sort((a, b) => a.number - b.number);
}

function byRelease(a: string, b: string): number {
  return a.localeCompare(b, 'en', { numeric: true });
}
