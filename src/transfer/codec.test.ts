import { setImmediate as turn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { constants, createZstdCompress, zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Failure, isFailure } from '../base/failure.ts';
import { compress, decompress, packedBytesMax, shrinks } from './codec.ts';

setFlagsFromString('--expose-gc');
const collectYoung: (options: { readonly type: 'minor' }) => void = runInNewContext('gc');

test('what is compressed unpacks to itself, however it is cut into chunks', async () => {
  await fc.assert(
    fc.asyncProperty(contents, cuts, cuts, async (bytes, cutsIn, cutsOut) => {
      const packed = await compress(reused(bytes, cutsIn));
      const stored = Buffer.concat(packed.chunks);
      expect(stored.byteLength).toBe(packed.sizeBytes);
      expect(packed.sizeBytes).toBeLessThanOrEqual(packedBytesMax(bytes.byteLength));
      packed.free();
      expect((await collect(decompress(reused(stored, cutsOut), 'x'))).equals(bytes)).toBe(true);
    }),
    { numRuns: 60 },
  );
});

test('a frame that was cut anywhere is corrupt', async () => {
  const stored = zstdCompressSync(Buffer.from('0123456789'.repeat(500)));
  for (let length = 0; length < stored.byteLength; length++) {
    await expect(collect(decompress(reused(stored.subarray(0, length), [7]), 'data/e/1-1'))).rejects.toMatchObject({
      kind: 'corrupt',
      message: expect.stringMatching(/^cannot unpack data\/e\/1-1: /),
    });
  }
});

test('a flipped bit is corrupt or gives other bytes, and nothing else happens', async () => {
  const bytes = Buffer.from(Array.from({ length: 400 }, (_, index) => `row ${index * index}`).join());
  const stored = zstdCompressSync(bytes);
  await fc.assert(
    fc.asyncProperty(fc.nat(stored.byteLength * 8 - 1), async (bit) => {
      const flipped = Buffer.from(stored);
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      try {
        await collect(decompress(reused(flipped, [100]), 'x'));
      } catch (error) {
        expect(isFailure(error, 'corrupt')).toBe(true);
      }
    }),
    { numRuns: 300 },
  );
});

describe('bytes behind the end of a frame are corrupt', () => {
  const frame = zstdCompressSync(Buffer.from('hello'));
  test.each([
    ['in the same chunk', [Buffer.concat([frame, Buffer.from('more')])]],
    ['in a chunk of their own', [frame, Buffer.from('more')]],
    ['in many chunks', [frame, ...Array.from({ length: 50 }, () => Buffer.from('more'))]],
    ['as another frame', [Buffer.concat([frame, frame])]],
  ])('%s', async (_, chunks) => {
    await expect(collect(decompress(given(chunks), 'x'))).rejects.toMatchObject({ kind: 'corrupt' });
  });
});

test('a frame that wants a window of more than 8 MiB is corrupt', async () => {
  const large = createZstdCompress({ params: { [constants.ZSTD_c_windowLog]: 24 } });
  large.end(Buffer.alloc(1000));
  const stored = Buffer.concat(await large.toArray());
  await expect(collect(decompress(given([stored]), 'x'))).rejects.toMatchObject({
    kind: 'corrupt',
    message: expect.stringContaining('memory'),
  });
});

test('a bomb is not unpacked further than its reader reads', async () => {
  const bomb = zstdCompressSync(Buffer.concat([noise(4 * 1024 * 1024), Buffer.alloc(64 * 1024 * 1024)]));
  let given = 0;
  const source = async function* (): AsyncGenerator<Uint8Array> {
    for (let position = 0; position < bomb.byteLength; position += 64) {
      given++;
      yield bomb.subarray(position, position + 64);
    }
  };
  for await (const chunk of decompress(source(), 'x')) {
    expect(chunk.byteLength).toBeLessThanOrEqual(240 * 1024);
    for (let turns = 0; turns < 100; turns++) await turn();
    break;
  }
  expect(given * 64).toBeLessThan(bomb.byteLength / 2);
});

test('a bomb that is short is not unpacked further either', async () => {
  const bomb = zstdCompressSync(Buffer.alloc(64 * 1024 * 1024));
  for await (const chunk of decompress(given([bomb]), 'x')) expect(chunk.byteLength).toBeLessThanOrEqual(240 * 1024);
});

test('the copy of the beginning of a frame is not left to the garbage collector', async () => {
  const stored = zstdCompressSync(noise(700_000));
  const unpack = async (frames: number): Promise<void> => {
    for (let frame = 0; frame < frames; frame++) {
      // As a store reads: the first chunk may still be all there is. Two small collections make old what lives.
      const chunks = slices(stored, 256 * 1024, () => collectYoung({ type: 'minor' }));
      for await (const _ of decompress(chunks, 'x')) collectYoung({ type: 'minor' });
    }
  };
  await unpack(1);
  const beforeBytes = process.memoryUsage().arrayBuffers;
  await unpack(20);
  expect(process.memoryUsage().arrayBuffers - beforeBytes).toBeLessThan(1024 * 1024);
});

test('whoever stops reading closes the source', async () => {
  let isClosed = false;
  const stored = zstdCompressSync(Buffer.alloc(4 * 1024 * 1024));
  const source = async function* (): AsyncGenerator<Uint8Array> {
    try {
      for (const byte of stored) yield Uint8Array.of(byte);
    } finally {
      isClosed = true;
    }
  };
  for await (const _ of decompress(source(), 'x')) break;
  expect(isClosed).toBe(true);
});

test('the error of a source is passed on as it is', async () => {
  const failure = new Failure('unavailable', 'the disk is gone');
  const source = async function* (): AsyncGenerator<Uint8Array> {
    yield zstdCompressSync(Buffer.from('hello')).subarray(0, 4);
    throw failure;
  };
  await expect(compress(source())).rejects.toBe(failure);
  await expect(collect(decompress(source(), 'x'))).rejects.toBe(failure);
});

test('only what gains 5 % is worth compressing', async () => {
  expect(await shrinks(Buffer.from('row of a table '.repeat(1000)))).toBe(true);
  expect(await shrinks(noise(100_000))).toBe(false);
  expect(await shrinks(Buffer.concat([noise(96_000), Buffer.alloc(4_000)]))).toBe(false);
  expect(await shrinks(Buffer.concat([noise(90_000), Buffer.alloc(10_000)]))).toBe(true);
  expect(await shrinks(new Uint8Array(0))).toBe(false);
});

const contents = fc.oneof(
  fc.uint8Array({ maxLength: 3000 }),
  fc
    .record({ row: fc.uint8Array({ minLength: 1, maxLength: 50 }), times: fc.integer({ min: 1, max: 40_000 }) })
    .map(({ row, times }) => Buffer.concat(Array.from({ length: times }, () => row))),
  fc.integer({ min: 0, max: 1_500_000 }).map(noise),
);
const cuts = fc.array(fc.integer({ min: 1, max: 600_000 }), { minLength: 1, maxLength: 5 });

/** Bytes that do not compress, the same every time. */
function noise(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let state = 1;
  for (let index = 0; index < length; index++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[index] = state >>> 24;
  }
  return bytes;
}

/** Chunks of the given lengths in turn, all in one buffer, as a reader of files gives them. */
async function* reused(bytes: Uint8Array, lengths: readonly number[]): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(Math.max(...lengths));
  for (let position = 0, turn = 0; position < bytes.byteLength; turn++) {
    const length = Math.min(lengths[turn % lengths.length] ?? 1, bytes.byteLength - position);
    buffer.set(bytes.subarray(position, position + length));
    yield buffer.subarray(0, length);
    buffer.fill(0xee);
    position += length;
  }
}

/** Chunks without memory of their own. */
async function* slices(bytes: Uint8Array, length: number, between: () => void): AsyncGenerator<Uint8Array> {
  for (let position = 0; position < bytes.byteLength; position += length) {
    yield bytes.subarray(position, position + length);
    between();
  }
}

async function* given(chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
}

async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const copies: Buffer[] = [];
  for await (const chunk of chunks) copies.push(Buffer.from(chunk));
  return Buffer.concat(copies);
}
