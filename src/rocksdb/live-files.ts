/** What a database consists of after all edits of its manifest that were applied. */
export interface LiveFiles {
  /** Of all column families, by number. */
  readonly tables: readonly LiveTable[];
  /** By number. */
  readonly blobFiles: readonly LiveBlobFile[];
  /** Names in the order of their ids; the first is `default`. */
  readonly columnFamilies: readonly string[];
  /** The greatest largest sequence number of any table that an edit ever added; 0 where none was. */
  readonly greatestSequence: bigint;
  /** Some edit deleted a table (a move to another level is one too), or dropped a column family that had some. */
  readonly deletedTables: boolean;
}

export interface LiveTable {
  readonly number: number;
  readonly sizeBytes: number;
  readonly level: number;
  /** The name of its column family. */
  readonly columnFamily: string;
  readonly smallestSequence: bigint;
  readonly largestSequence: bigint;
  /** RocksDB's unique id, 32 hex digits in the order of the manifest; undefined where there is none (before 7.3). */
  readonly uid: string | undefined;
}

export interface LiveBlobFile {
  readonly number: number;
  readonly sizeBytes: number;
}
