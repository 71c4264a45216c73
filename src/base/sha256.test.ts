import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { loadNative } from './native.ts';
import { openSha256, type Sha256, sha256By } from './sha256.ts';

const native = (await loadNative())?.sha256;

test('on this machine there is another thread to hash', () => {
  expect(native).toBeDefined();
});

describe.each([
  ['beside this thread', native],
  ['in this thread', undefined],
])('hashing %s', (_, how) => {
  test('gives the same as hashing all at once, however the bytes are cut, many at the same time', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(pieces, { minLength: 1, maxLength: 12 }), async (bodies) => {
        const hashes = await Promise.all(bodies.map((body) => hashed(sha256By(how), body)));
        expect(hashes).toEqual(
          bodies.map((body) =>
            createHash('sha256')
              .update(Buffer.concat(body.map(bytesOf)))
              .digest('hex'),
          ),
        );
      }),
      { numRuns: 40 },
    );
  });
});

test('one that is left in the midst is freed', async () => {
  const bytes = Buffer.alloc(1024 * 1024);
  for (let left = 0; left < 200; left++) {
    using hash = await openSha256();
    await hash.update(bytes.subarray(0, left * 1024));
  }
  using hash = await openSha256();
  expect(hash.digest()).toBe(createHash('sha256').digest('hex'));
});

/** By length and what is repeated in it; small ones and such as go to another thread. */
const pieces = fc.array(
  fc.tuple(fc.oneof(fc.nat(200), fc.integer({ min: 30_000, max: 300_000 })), fc.uint8Array({ minLength: 1 })),
  { maxLength: 6 },
);

function bytesOf([length, content]: readonly [number, Uint8Array]): Uint8Array {
  return Buffer.alloc(length, content);
}

/** Each piece in the same memory, as it comes from a network. */
async function hashed(hash: Sha256, body: readonly (readonly [number, Uint8Array])[]): Promise<string> {
  using open = hash;
  const memory = Buffer.alloc(300_000);
  for (const piece of body) {
    memory.set(bytesOf(piece));
    await open.update(memory.subarray(0, piece[0]));
    memory.fill(0xee);
  }
  return open.digest();
}
