import { crc32c, maskCrc } from './crc32c.ts';
import { BLOCK_BYTES, FIRST, FULL, HEADER_BYTES, LAST, MIDDLE } from './record-reader.ts';

/** Frames records as the bytes of a manifest, the way db/log_writer.cc does; RecordReader has the grammar. */
export function frameRecords(records: readonly Uint8Array[]): Uint8Array {
  const parts: Uint8Array[] = [];
  let blockOffset = 0;
  for (const record of records) {
    let taken = 0;
    let isFirst = true;
    do {
      if (BLOCK_BYTES - blockOffset < HEADER_BYTES) {
        parts.push(new Uint8Array(BLOCK_BYTES - blockOffset));
        blockOffset = 0;
      }
      const fragment = record.subarray(taken, taken + BLOCK_BYTES - blockOffset - HEADER_BYTES);
      taken += fragment.length;
      parts.push(physicalRecord(typeOf(isFirst, taken === record.length), fragment));
      blockOffset += HEADER_BYTES + fragment.length;
      isFirst = false; // Also after an empty fragment, which fills a block that has room for a header only.
    } while (taken < record.length);
  }
  return Buffer.concat(parts);
}

function typeOf(isFirst: boolean, isLast: boolean): number {
  if (isFirst) return isLast ? FULL : FIRST;
  return isLast ? LAST : MIDDLE;
}

function physicalRecord(type: number, payload: Uint8Array): Uint8Array {
  const bytes = Buffer.alloc(HEADER_BYTES + payload.length);
  bytes.writeUInt16LE(payload.length, 4);
  bytes[6] = type;
  bytes.set(payload, HEADER_BYTES);
  bytes.writeUInt32LE(maskCrc(crc32c(bytes, 6)), 0);
  return bytes;
}
