import { readFile, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { constants, zstdCompress, zstdDecompress } from 'node:zlib';
import type { Scenario } from './scenario.ts';

/*
 * What somebody who may write to the repository could put there: sound outside, hostile inside. Every object keeps its
 * place, and what names it names its new size.
 */

const BLOCK_BYTES = 512;

/** Rewrites the text of the newest document. */
export async function rewriteDocument(scenario: Scenario, change: (text: string) => string): Promise<void> {
  const path = (await scenario.objects('snapshots')).at(-1) ?? '';
  const text = (await unpack(await readFile(path))).toString();
  const changed = change(text);
  if (changed === text) throw new Error(`nothing to change in ${text.slice(0, 2000)}`);
  await writeFile(path, await pack(Buffer.from(changed)));
}

/** Rewrites what the first archive unpacks to. */
export async function rewriteArchive(scenario: Scenario, change: (tar: Buffer) => Buffer): Promise<void> {
  const path = (await scenario.objects('data')).find((one) => one.endsWith('.tar.zst')) ?? '';
  const before = await readFile(path);
  const after = await pack(change(await unpack(before)));
  await writeFile(path, after);
  await rewriteDocument(scenario, (text) =>
    text.replaceAll(`"storedBytes":${before.byteLength}`, `"storedBytes":${after.byteLength}`),
  );
}

/** The same archive, but its first file is a symbolic link. */
export function linkFirst(tar: Buffer, target: string): Buffer {
  const header = Buffer.from(tar.subarray(0, BLOCK_BYTES));
  header.write('00000000000\0', 124);
  header.write('2', 156);
  header.write(target.padEnd(100, '\0'), 157);
  return Buffer.concat([withChecksum(header), tar.subarray(BLOCK_BYTES + paddedSizeOf(tar))]);
}

/** The same archive with its first file once more. */
export function repeatFirst(tar: Buffer): Buffer {
  return Buffer.concat([tar.subarray(0, BLOCK_BYTES + paddedSizeOf(tar)), tar]);
}

/** Of the first file. */
function paddedSizeOf(tar: Buffer): number {
  const size = Number.parseInt(tar.subarray(124, 135).toString(), 8);
  return Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES;
}

/** The sum of a tar header's bytes, its own place counted as blanks. */
function withChecksum(header: Buffer): Buffer {
  header.write(' '.repeat(8), 148);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return header;
}

const compress = promisify(zstdCompress);
const decompress = promisify(zstdDecompress);

async function pack(bytes: Buffer): Promise<Buffer> {
  return compress(bytes, { params: { [constants.ZSTD_c_checksumFlag]: 1 } });
}

async function unpack(bytes: Buffer): Promise<Buffer> {
  return decompress(bytes);
}
