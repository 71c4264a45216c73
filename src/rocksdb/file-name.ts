import { Failure } from '../base/failure.ts';

/**
 * The files of a RocksDB directory, by name (file/filename.cc, RocksDB 5.18 to 11.9). Only names that RocksDB
 * itself would write are recognised: `12.sst` is nobody's table 12, which is `000012.sst`.
 */
export type RocksFileName =
  | { readonly kind: 'table' | 'blob' | 'manifest' | 'options' | 'wal'; readonly number: number }
  /** `temporary`: about to be renamed or thrown away. `trash`: waits for its rate-limited deletion. */
  | { readonly kind: 'current' | 'lock' | 'identity' | 'info-log' | 'temporary' | 'trash' };

/** What a name says, or undefined for a name that is not RocksDB's. */
export function parseFileName(name: string): RocksFileName | undefined {
  const fixed = FIXED_NAMES.get(name);
  if (fixed !== undefined) return fixed;
  for (const [kind, pattern] of NUMBERED_NAMES) {
    const digits = pattern.exec(name)?.groups?.['number'];
    if (digits === undefined) continue;
    const number = Number(digits);
    return Number.isSafeInteger(number) && padded(number) === digits ? { kind, number } : undefined;
  }
  if (TEMPORARY_NAME.test(name)) return { kind: 'temporary' };
  if (OLD_INFO_LOG_NAME.test(name)) return { kind: 'info-log' };
  return name.endsWith('.trash') ? { kind: 'trash' } : undefined;
}

export function tableFileName(number: number): string {
  return `${padded(number)}.sst`;
}

export function blobFileName(number: number): string {
  return `${padded(number)}.blob`;
}

export function manifestFileName(number: number): string {
  return `MANIFEST-${padded(number)}`;
}

/** The manifest that the content of a CURRENT file names; Failure `corrupt` for anything but one name and a line feed. */
export function parseCurrent(bytes: Uint8Array): string {
  const text = Buffer.from(bytes.subarray(0, CURRENT_BYTES_MAX)).toString('latin1');
  if (!/^MANIFEST-\d{6,}\n$/.test(text)) throw new Failure('corrupt', `CURRENT holds ${JSON.stringify(text)}`);
  return text.slice(0, -1);
}

/** Longer than any real one: `MANIFEST-`, at most 20 digits, a line feed. */
const CURRENT_BYTES_MAX = 64;

const FIXED_NAMES: ReadonlyMap<string, RocksFileName> = new Map<string, RocksFileName>([
  ['CURRENT', { kind: 'current' }],
  ['LOCK', { kind: 'lock' }],
  ['IDENTITY', { kind: 'identity' }],
  ['LOG', { kind: 'info-log' }],
  ['LOG.old', { kind: 'info-log' }],
]);

const NUMBERED_NAMES = [
  ['table', /^(?<number>\d+)\.sst$/],
  ['blob', /^(?<number>\d+)\.blob$/],
  ['wal', /^(?<number>\d+)\.log$/],
  ['manifest', /^MANIFEST-(?<number>\d+)$/],
  ['options', /^OPTIONS-(?<number>\d+)$/],
] as const;

const OLD_INFO_LOG_NAME = /^LOG\.old\.\d+$/;

/** The progress of a compaction (from 10.8) is of use to its own process alone. */
const TEMPORARY_NAME = /^(?:(?:OPTIONS-|COMPACTION_PROGRESS-)?\d+\.dbtmp|COMPACTION_PROGRESS-\d+)$/;

function padded(number: number): string {
  return String(number).padStart(6, '0');
}
