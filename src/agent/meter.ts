import type { Emit } from '../events/event.ts';
import type { SnapshotResult } from './snapshot-result.ts';

/** Counts bytes and objects on their way to the listeners. */
export function createMeter(emit: Emit): {
  readonly emit: Emit;
  readonly counts: () => Pick<SnapshotResult, 'bytesRead' | 'bytesUploaded' | 'objectsUploaded'>;
} {
  const counted = { bytesRead: 0, bytesUploaded: 0, objectsUploaded: 0 };
  return {
    counts: () => counted,
    emit: (event) => {
      if (event.kind === 'work-done' && event.work === 'upload') counted.bytesRead += event.bytes;
      if (event.kind === 'object-uploaded') {
        counted.bytesUploaded += event.storedBytes;
        counted.objectsUploaded += 1;
      }
      emit(event);
    },
  };
}
