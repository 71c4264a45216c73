import { Failure } from '../base/failure.ts';
import { list, named, object, oneOf, textThat, time } from '../base/json-codec.ts';
import { epochText, nameText, snapshotNameText, taskName } from './document-shape.ts';
import { decodeText, encodeText } from './format.ts';
import { parseKey, repositoryKeys } from './keys.ts';

/** Objects that one process found missing or wrong, and the entries that it saw to need them. See docs/format.md. */
export interface DamageReport {
  readonly application: string;
  readonly lineage: string;
  readonly epoch: string;
  /** The program that wrote it, `warmstate 0.1.0`. */
  readonly writer: string;
  /** By the store's clock. */
  readonly timeMs: number;
  readonly objects: readonly DamagedObject[];
  readonly entries: readonly DamagedEntry[];
}

export interface DamagedObject {
  readonly key: string;
  readonly problem: 'missing' | 'wrong';
}

/** An entry, by the snapshot that took its bytes: those that carried it forward share them. */
export interface DamagedEntry {
  readonly task: string;
  readonly capturedBy: string;
}

/** What reading an object came to. */
export function damagedObject(key: string, { kind }: Pick<Failure, 'kind'>): DamagedObject {
  return { key, problem: kind === 'missing' ? 'missing' : 'wrong' };
}

/** JSON, read by people. Failure `invalid` for what `decodeDamageReport` would refuse. */
export function encodeDamageReport(report: DamageReport): Uint8Array {
  return encodeText(report, FORMAT, `the damage that ${report.epoch} found`);
}

/** The report that lies under `key`; Failure `corrupt`, or `invalid` for another format, with the key. */
export function decodeDamageReport(bytes: Uint8Array, key: string): DamageReport {
  const report = decodeText(bytes, FORMAT, key);
  const own = repositoryKeys(report).damaged(report.epoch);
  if (own !== key) throw new Failure('corrupt', `cannot read ${key}: it is ${own}`);
  return report;
}

const dataKey = textThat('key of data', (value) => ['data', 'archive'].includes(parseKey(value)?.kind ?? ''));

/** The format that this program writes and the only one it reads. */
const FORMAT = {
  number: 1,
  shape: object<DamageReport>({
    application: nameText,
    lineage: nameText,
    epoch: epochText,
    writer: nameText,
    timeMs: named('time', time),
    objects: list(object<DamagedObject>({ key: dataKey, problem: oneOf('missing', 'wrong') })),
    entries: list(object<DamagedEntry>({ task: taskName, capturedBy: snapshotNameText })),
  }),
};
