/**
 * How fast a manifest is replayed: that of a store which flushes one table per edit and compacts every tenth,
 * generated in memory. Prints one line; the best of five.
 */
import { ManifestReplay } from '../src/rocksdb/live-files.ts';
import { frameRecords } from '../src/rocksdb/record-writer.ts';
import { EditBuilder } from '../test/support/manifest.ts';

const FLUSHES = 200_000;
const RUNS = 5;
/** As a capture reads it. */
const CHUNK_BYTES = 1 << 20;

const edits = generateEdits();
const manifest = frameRecords(edits);
const seconds = Math.min(...Array.from({ length: RUNS }, () => secondsOfReplay(manifest)));
const megabytes = manifest.length / 1e6;
console.log(
  `manifest of ${megabytes.toFixed(1)} MB, ${edits.length} edits: ${(megabytes / seconds).toFixed(0)} MB/s, ` +
    `${Math.round(edits.length / seconds / 1000)}k edits/s`,
);

function secondsOfReplay(bytes: Uint8Array): number {
  const replay = new ManifestReplay();
  const start = performance.now();
  for (let at = 0; at < bytes.length; at += CHUNK_BYTES) replay.feed(bytes.subarray(at, at + CHUNK_BYTES));
  const elapsed = (performance.now() - start) / 1000;
  if (replay.trustedBytes !== bytes.length) throw new Error('the manifest was not read to its end');
  return elapsed;
}

function generateEdits(): readonly Uint8Array[] {
  const edits: Uint8Array[] = [];
  let number = 10;
  let young: number[] = [];
  let old: number | undefined;
  for (let flush = 0; flush < FLUSHES; flush++) {
    number++;
    const sequence = BigInt(flush) * 1000n;
    edits.push(flushEdit(number, sequence));
    young.push(number);
    if (young.length < 10) continue;
    number++;
    const compaction = new EditBuilder().counters(3, number + 1, sequence);
    for (const table of young) compaction.deleteTable(0, table);
    if (old !== undefined) compaction.deleteTable(6, old);
    edits.push(addTable(compaction, 6, number).bytes());
    young = [];
    old = number;
  }
  return edits;
}

function flushEdit(number: number, sequence: bigint): Uint8Array {
  return addTable(new EditBuilder().counters(3, number + 1, sequence), 0, number).bytes();
}

/** With the custom fields that RocksDB 9.7 writes. */
function addTable(edit: EditBuilder, level: number, number: number): EditBuilder {
  const time = Buffer.from([0xb0, 0xa1, 0xb2, 0xc3, 0x06]);
  const uid = Buffer.alloc(16, number);
  const customFields = [
    [5, time],
    [6, time],
    [13, Buffer.from([number & 0x7f])],
    [12, uid],
    [15, Buffer.from([0x90, 0x1c])],
  ] as const;
  return edit.addTable({ level, number, sizeBytes: 64 << 20, sequences: [1n, BigInt(number) * 1000n], customFields });
}
