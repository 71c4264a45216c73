import { describeBytes, describeCount } from '../base/quantity.ts';
import { type Look, paint } from './look.ts';
import { type Cell, renderTable } from './table.ts';

/** What `config` prints; secrets are masked already. */
export interface ConfigReport {
  readonly settings: readonly ShownSetting[];
  readonly memory: MemoryEstimate;
}

export interface ShownSetting {
  /** `maxAge` */
  readonly key: string;
  readonly flag: string;
  readonly environment: string | undefined;
  /** As it was written; undefined where it is not set. */
  readonly text: string | undefined;
  readonly source: 'flag' | 'environment' | 'file' | 'default';
  /** The file, the variable, or what a default was taken from. */
  readonly from: string | undefined;
  /** Why the value cannot be used. */
  readonly problem: string | undefined;
}

/** What the buffers take at most; the runtime itself comes on top. */
export interface MemoryEstimate {
  readonly concurrency: number;
  readonly bytesPerObject: number;
  /** Shared by all objects that are compressed at a time. */
  readonly compressionBytes: number;
}

export function renderConfig(report: ConfigReport, look: Look): string {
  const columns = ['SETTING', 'VALUE', 'FROM'].map((title) => ({ title }));
  const rows = report.settings.map((setting) => [setting.flag, valueCell(setting), originCell(setting)]);
  const { concurrency, bytesPerObject, compressionBytes } = report.memory;
  const objects = `${describeCount(concurrency, 'object')} in flight × ${describeBytes(bytesPerObject)}`;
  const total = describeBytes(totalBytes(report.memory));
  return `${renderTable(columns, rows, look)}\n${paint(`buffers: ${total} at most`, 'heading', look)} (${objects} + ${describeBytes(compressionBytes)} for compression)\n`;
}

function valueCell({ text, problem }: ShownSetting): Cell {
  if (problem !== undefined) return { text: text ?? '', tone: 'bad' };
  return text;
}

function originCell({ text, source, from }: ShownSetting): Cell {
  if (text === undefined) return { text: 'not set', tone: 'quiet' };
  switch (source) {
    case 'default':
      return { text: from === undefined ? 'default' : `default, the ${from}`, tone: 'quiet' };
    case 'flag':
      return from === undefined ? 'command line' : `command line, implied by ${from}`;
    case 'environment':
    case 'file':
      return from;
  }
}

/** What `config --output json` prints. */
export function configJson({ settings, memory }: ConfigReport): object {
  return {
    settings: settings.map(({ key, flag, environment, text, source, from, problem }) => ({
      name: key,
      flag,
      environment: environment ?? null,
      value: text ?? null,
      origin: source,
      from: from ?? null,
      problem: problem ?? null,
    })),
    bufferBytesMax: totalBytes(memory),
  };
}

function totalBytes({ concurrency, bytesPerObject, compressionBytes }: MemoryEstimate): number {
  return concurrency * bytesPerObject + compressionBytes;
}
