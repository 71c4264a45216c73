import type { StoredFile } from '../repository/document.ts';
import type { Damage, FileSink, FileWriter } from './sink.ts';

/** One file on its way into a sink: from its first byte until the last of its objects has come or failed. */
export class Assembly<F extends { readonly file: StoredFile }> implements AsyncDisposable {
  readonly #item: F;
  readonly #sink: FileSink<F>;
  #objectsLeft: number;
  #state: 'whole' | 'unwanted' | 'rejected' = 'whole';
  #writer: Promise<FileWriter> | undefined;

  constructor(item: F, sink: FileSink<F>) {
    this.#item = item;
    this.#sink = sink;
    this.#objectsLeft = item.file.objects.length;
  }

  get file(): StoredFile {
    return this.#item.file;
  }

  /** Asked before each object; a file that is not wanted once is never finished. */
  isWanted(): boolean {
    if (this.#state === 'whole' && !this.#sink.isWanted(this.#item)) this.#state = 'unwanted';
    return this.#state === 'whole';
  }

  /** The same for all objects of the file. */
  writer(): Promise<FileWriter> {
    this.#writer ??= this.#sink.open(this.#item);
    return this.#writer;
  }

  /** Tells the sink of the first damage. */
  reject(damage: Damage): void {
    if (this.#state === 'rejected') return;
    this.#state = 'rejected';
    this.#sink.reject(this.#item, damage);
  }

  /** One object has come or failed; after the last the file is closed, and finished if it is whole. */
  async settle(): Promise<void> {
    this.#objectsLeft -= 1;
    if (this.#objectsLeft > 0) return;
    await this.close();
    if (this.#state === 'whole') await this.#sink.finish(this.#item);
  }

  /** Nothing more is written. */
  async close(): Promise<void> {
    const writer = this.#writer;
    this.#writer = undefined;
    await (await writer)?.[Symbol.asyncDispose]();
  }

  /** For a download that was cut short. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close().catch(() => {}); // Whatever cut it short is the error to tell.
  }
}
