/**
 * Speed, CPU and memory of sending tables to a directory and reading them back: `node bench/transfer.ts [GB]`.
 *
 * Each phase runs in a process of its own and reports the peak of its own memory. The row `idle` is what Node
 * and the modules take by themselves; started from TypeScript some 25 MB of it are Node's type stripping.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock, systemRandom } from '../src/base/clock.ts';
import { Budget, mapBounded } from '../src/base/concurrency.ts';
import type { StoredFile } from '../src/repository/document.ts';
import { nodeDisk } from '../src/restore/disk.ts';
import { openFileStore } from '../src/storage/file-store.ts';
import type { ObjectStore } from '../src/storage/object-store.ts';
import { downloadFiles } from '../src/transfer/download.ts';
import { COMPRESSION_MEMORY_BYTES } from '../src/transfer/memory.ts';
import { diskSink } from '../src/transfer/sink.ts';
import { uploadTable } from '../src/transfer/upload.ts';

const CONCURRENCY = 8;
const { signal } = new AbortController();

interface Measured {
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly peakBytes: number;
}

const [phase = '1', root = ''] = process.argv.slice(2);
switch (phase) {
  case 'idle':
    await measure(async () => {});
    break;
  case 'prepare':
    writeTables(Number(process.argv[4]));
    break;
  case 'zstd':
  case 'none':
    await measure(() => upload(phase));
    break;
  case 'download':
    await measure(download);
    break;
  default:
    compareAll(Number(phase));
}

function compareAll(gigabytes: number): void {
  const directory = mkdtempSync(join(tmpdir(), 'warmstate-bench-'));
  try {
    spawn('prepare', directory, `${gigabytes * 1e9}`);
    print('idle', JSON.parse(spawn('idle', directory)), gigabytes);
    for (const compression of ['zstd', 'none']) {
      print(`upload ${compression}`, JSON.parse(spawn(compression, directory)), gigabytes);
      print(`download ${compression}`, JSON.parse(spawn('download', directory)), gigabytes);
      rmSync(join(directory, 'store'), { recursive: true });
      rmSync(join(directory, 'restored'), { recursive: true });
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function spawn(...args: readonly string[]): string {
  const child = spawnSync(process.execPath, [import.meta.filename, ...args], { encoding: 'utf8' });
  if (child.status !== 0) throw new Error(child.stderr);
  return child.stdout;
}

function print(name: string, { seconds, cpuSeconds, peakBytes }: Measured, gigabytes: number): void {
  const speed = `${((gigabytes * 1000) / seconds).toFixed(0).padStart(6)} MB/s  `;
  const cpu = `${(cpuSeconds / gigabytes).toFixed(2).padStart(6)} CPU s/GB  `;
  const isIdle = name === 'idle';
  console.log(
    `${name.padEnd(14)} ${isIdle ? ''.padEnd(29) : speed + cpu} ${(peakBytes / 1e6).toFixed(0).padStart(4)} MB peak`,
  );
}

async function measure(work: () => Promise<void>): Promise<void> {
  const before = process.cpuUsage();
  const start = performance.now();
  await work();
  const cpu = process.cpuUsage(before);
  const measured: Measured = {
    seconds: (performance.now() - start) / 1000,
    cpuSeconds: (cpu.user + cpu.system) / 1e6,
    peakBytes: peakBytes(),
  };
  process.stdout.write(JSON.stringify(measured));
}

/** getrusage would count the parent's memory at the fork as ours; VmHWM, in KiB, begins with the program. */
function peakBytes(): number {
  const [, kibibytes] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
  return Number(kibibytes) * 1024;
}

function openStore(): Promise<ObjectStore> {
  return openFileStore(join(root, 'store'), { clock: systemClock, random: systemRandom });
}

async function upload(compression: 'zstd' | 'none'): Promise<void> {
  const store = await openStore();
  const memory = new Budget(COMPRESSION_MEMORY_BYTES);
  const sizes: readonly number[] = JSON.parse(readFileSync(join(root, 'tables.json'), 'utf8'));
  let keys = 0;
  const nextKey = (): string => `data/${String(keys++).padStart(6, '0')}`;
  const files = await mapBounded(sizes.entries(), { limit: CONCURRENCY, signal }, async ([index, sizeBytes]) => {
    const path = join(root, 'tables', `${index}`);
    await using handle = await open(path);
    const read = async (buffer: Uint8Array, position: number): Promise<number> =>
      (await handle.read(buffer, 0, buffer.byteLength, position)).bytesRead;
    const source = { path, sizeBytes, read, assertUnchanged: async () => {} };
    const sent = await uploadTable(source, { store, nextKey, memory, compression, emit: () => {}, signal });
    return { path: `${index}`, sizeBytes, uid: undefined, ...sent };
  });
  writeFileSync(join(root, 'files.json'), JSON.stringify(files));
}

async function download(): Promise<void> {
  const store = await openStore();
  const files: readonly StoredFile[] = JSON.parse(readFileSync(join(root, 'files.json'), 'utf8'));
  mkdirSync(join(root, 'restored'));
  const placed = files.map((file) => ({ file, target: join(root, 'restored', file.path) }));
  const source = { store, concurrency: CONCURRENCY, work: 'download', emit: () => {}, signal } as const;
  await downloadFiles(placed, source, {
    ...diskSink(nodeDisk),
    isWanted: () => true,
    reject: (_, damage) => {
      throw damage.failure;
    },
  });
}

/** Tables of 16 to 64 MB with rows that zstd level 1 shrinks to about a third, as it does with real ones. */
function writeTables(totalBytes: number): void {
  mkdirSync(join(root, 'tables'));
  const sizes: number[] = [];
  for (let left = totalBytes; left > 0; ) {
    const sizeBytes = Math.min(left, 16e6 + ((sizes.length * 7) % 13) * 4e6);
    const handle = openSync(join(root, 'tables', `${sizes.length}`), 'w');
    for (let position = 0; position < sizeBytes; ) {
      const rows = Buffer.from(rowsFrom(sizes.length * 1e9 + position));
      position += writeSync(handle, rows, 0, Math.min(rows.byteLength, sizeBytes - position));
    }
    closeSync(handle);
    sizes.push(sizeBytes);
    left -= sizeBytes;
  }
  writeFileSync(join(root, 'tables.json'), JSON.stringify(sizes));
}

function rowsFrom(seed: number): string {
  const row = (index: number): string => {
    const id = createHash('sha1')
      .update(`${seed + index}`)
      .digest('hex');
    return `{"orderId":"${id.slice(0, 16)}","customer":"customer-${index % 997}","state":"SHIPPED","updatedAt":${1.7e12 + seed + index},"total":${parseInt(id.slice(16, 20), 16)},"note":"${id.slice(20, 32)}"}\n`;
  };
  return Array.from({ length: 2000 }, (_, index) => row(index)).join('');
}
