import { type DamagedEntry, type DamagedObject, type DamageReport, damagedObject } from '../repository/damaged.ts';
import type { StoredFile } from '../repository/document.ts';
import { type DownloadSource, downloadFiles } from '../transfer/download.ts';
import { emptySink } from '../transfer/sink.ts';

/** Objects that seemed missing or wrong, until that is confirmed: bytes may have gone wrong on their way alone. */
export class Doubts {
  readonly #ofObject = new Map<string, { readonly file: StoredFile; readonly entries: Map<string, DamagedEntry> }>();

  /** An object that a file of an entry needs. */
  add(key: string, { file, task, capturedBy }: DamagedEntry & { readonly file: StoredFile }): void {
    const doubt = this.#ofObject.get(key) ?? { file: partIn(file, key), entries: new Map() };
    doubt.entries.set(`${task} ${capturedBy}`, { task, capturedBy });
    this.#ofObject.set(key, doubt);
  }

  /** Reads each of them once more, and returns what is so indeed. Failures are the store's. */
  async confirm(source: Omit<DownloadSource, 'work' | 'emit'>): Promise<Pick<DamageReport, 'objects' | 'entries'>> {
    const objects: DamagedObject[] = [];
    const items = [...this.#ofObject].map(([key, { file }]) => ({ key, file }));
    await downloadFiles<{ readonly key: string; readonly file: StoredFile }>(
      items,
      { ...source, work: 'verify', emit: () => {} },
      {
        ...emptySink,
        isWanted: () => true,
        reject: ({ key }, { failure }) => void objects.push(damagedObject(key, failure)),
      },
    );
    const entries = objects.flatMap(({ key }) => [...(this.#ofObject.get(key)?.entries ?? [])]);
    return { objects, entries: [...new Map(entries).values()] };
  }
}

/** As little of a file as tells whether one of its objects is sound: a stretch is a file of its own. */
function partIn(file: StoredFile, key: string): StoredFile {
  const object = file.objects.find((one) => one.key === key);
  if (object?.kind !== 'stretch') return file;
  return { ...file, uid: undefined, sizeBytes: object.sizeBytes, sha256: object.sha256, objects: [object] };
}
