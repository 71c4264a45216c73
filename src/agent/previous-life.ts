import type { EpochRecord } from '../repository/record.ts';

/**
 * How an earlier life of an instance ended. `partial`: the application had let go of its directory, but the last
 * snapshot was not published; `killed`: there was no sign of an end.
 */
export type PreviousShutdown = 'sealed' | 'partial' | 'killed' | 'none';

/** `none` where there was no life before. */
export function shutdownOf(record: Pick<EpochRecord, 'state'> | undefined): PreviousShutdown {
  switch (record?.state) {
    case undefined:
      return 'none';
    case 'sealed':
      return 'sealed';
    case 'released':
      return 'partial';
    case 'alive':
    case 'finishing':
      return 'killed';
  }
}
