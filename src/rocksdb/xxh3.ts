/**
 * The XXH3 hash of 64 bits, without a seed and with the default secret (util/xxhash.h of RocksDB 10.1, which is
 * xxHash 0.8), as an unsigned 64-bit number. One way to mix for every range of lengths.
 */
export function xxh3(bytes: Uint8Array): bigint {
  const input = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = bytes.length;
  if (length > 240) return hashLong(input);
  if (length > 128) return hashUpTo240(input);
  if (length > 16) return hashUpTo128(input);
  if (length > 8) return hashUpTo16(input);
  if (length >= 4) return hashUpTo8(input);
  return length > 0 ? hashUpTo3(input) : avalanche64(secret64(56) ^ secret64(64));
}

function hashUpTo3(input: DataView): bigint {
  const length = input.byteLength;
  const [first, middle, last] = [input.getUint8(0), input.getUint8(length >> 1), input.getUint8(length - 1)];
  const combined = BigInt(((first << 16) | (middle << 24) | last | (length << 8)) >>> 0);
  return avalanche64(combined ^ (secret32(0) ^ secret32(4)));
}

function hashUpTo8(input: DataView): bigint {
  const length = input.byteLength;
  const word = BigInt(input.getUint32(length - 4, true)) + (BigInt(input.getUint32(0, true)) << 32n);
  let hash = word ^ secret64(8) ^ secret64(16);
  hash ^= rotateLeft(hash, 49n) ^ rotateLeft(hash, 24n);
  hash = wrap(hash * PRIME_MX2);
  hash ^= (hash >> 35n) + BigInt(length);
  hash = wrap(hash * PRIME_MX2);
  return hash ^ (hash >> 28n);
}

function hashUpTo16(input: DataView): bigint {
  const length = input.byteLength;
  const low = input.getBigUint64(0, true) ^ secret64(24) ^ secret64(32);
  const high = input.getBigUint64(length - 8, true) ^ secret64(40) ^ secret64(48);
  return avalanche(wrap(BigInt(length) + swapBytes(low) + high + foldedProduct(low, high)));
}

/** Pairs of 16 bytes from both ends, inwards. */
function hashUpTo128(input: DataView): bigint {
  const length = input.byteLength;
  let sum = BigInt(length) * PRIME64_1;
  for (let pair = (length - 1) >> 5; pair >= 0; pair--) {
    sum += mix16(input, 16 * pair, 32 * pair) + mix16(input, length - 16 * (pair + 1), 32 * pair + 16);
  }
  return avalanche(wrap(sum));
}

function hashUpTo240(input: DataView): bigint {
  const length = input.byteLength;
  let sum = BigInt(length) * PRIME64_1;
  for (let round = 0; round < 8; round++) sum += mix16(input, 16 * round, 16 * round);
  sum = avalanche(wrap(sum));
  for (let round = 8; round < length >> 4; round++) sum += mix16(input, 16 * round, 16 * (round - 8) + 3);
  return avalanche(wrap(sum + mix16(input, length - 16, SECRET_BYTES_MIN - 17)));
}

/** Stripes of 64 bytes into eight lanes; every block of 16 stripes uses the secret up, and the lanes are scrambled. */
function hashLong(input: DataView): bigint {
  const length = input.byteLength;
  const lanes = BigUint64Array.from(FIRST_LANES);
  const wholeStripes = Math.floor((length - 1) / STRIPE_BYTES);
  for (let stripe = 0; stripe < wholeStripes; stripe++) {
    const inBlock = stripe % BLOCK_STRIPES;
    accumulate(lanes, input, { at: stripe * STRIPE_BYTES, secretAt: 8 * inBlock });
    if (inBlock === BLOCK_STRIPES - 1) scramble(lanes);
  }
  accumulate(lanes, input, { at: length - STRIPE_BYTES, secretAt: SECRET.byteLength - STRIPE_BYTES - 7 });

  let sum = BigInt(length) * PRIME64_1;
  for (let pair = 0; pair < 4; pair++) {
    const at = 11 + 16 * pair;
    sum += foldedProduct(lanes[2 * pair]! ^ secret64(at), lanes[2 * pair + 1]! ^ secret64(at + 8));
  }
  return avalanche(wrap(sum));
}

function accumulate(
  lanes: BigUint64Array,
  input: DataView,
  { at, secretAt }: { readonly at: number; readonly secretAt: number },
): void {
  for (let lane = 0; lane < 8; lane++) {
    const value = input.getBigUint64(at + 8 * lane, true);
    const keyed = value ^ secret64(secretAt + 8 * lane);
    lanes[lane ^ 1]! += value; // The array wraps at 64 bits.
    lanes[lane]! += (keyed & UINT32_MAX) * (keyed >> 32n);
  }
}

function scramble(lanes: BigUint64Array): void {
  for (let lane = 0; lane < 8; lane++) {
    const value = lanes[lane]!;
    lanes[lane] = (value ^ (value >> 47n) ^ secret64(SECRET.byteLength - STRIPE_BYTES + 8 * lane)) * PRIME32_1;
  }
}

function mix16(input: DataView, at: number, secretAt: number): bigint {
  const low = input.getBigUint64(at, true) ^ secret64(secretAt);
  const high = input.getBigUint64(at + 8, true) ^ secret64(secretAt + 8);
  return foldedProduct(low, high);
}

/** The two halves of the product of 128 bits, one over the other. */
function foldedProduct(left: bigint, right: bigint): bigint {
  const product = left * right;
  return wrap(product) ^ (product >> 64n);
}

function avalanche(hash: bigint): bigint {
  const mixed = wrap((hash ^ (hash >> 37n)) * PRIME_MX1);
  return mixed ^ (mixed >> 32n);
}

/** That of the older XXH64. */
function avalanche64(hash: bigint): bigint {
  let mixed = wrap((hash ^ (hash >> 33n)) * PRIME64_2);
  mixed = wrap((mixed ^ (mixed >> 29n)) * PRIME64_3);
  return mixed ^ (mixed >> 32n);
}

function rotateLeft(value: bigint, bits: bigint): bigint {
  return wrap(value << bits) | (value >> (64n - bits));
}

function swapBytes(value: bigint): bigint {
  const bytes = new DataView(new ArrayBuffer(8));
  bytes.setBigUint64(0, value, true);
  return bytes.getBigUint64(0);
}

function wrap(value: bigint): bigint {
  return BigInt.asUintN(64, value);
}

function secret32(at: number): bigint {
  return BigInt(SECRET.getUint32(at, true));
}

function secret64(at: number): bigint {
  return SECRET.getBigUint64(at, true);
}

const STRIPE_BYTES = 64;
const BLOCK_STRIPES = 16;
/** The shortest secret that the definition allows, which places the last round of middle lengths. */
const SECRET_BYTES_MIN = 136;
const UINT32_MAX = 0xffff_ffffn;

const PRIME32_1 = 0x9e3779b1n;
const PRIME32_2 = 0x85ebca77n;
const PRIME32_3 = 0xc2b2ae3dn;
const PRIME64_1 = 0x9e3779b185ebca87n;
const PRIME64_2 = 0xc2b2ae3d27d4eb4fn;
const PRIME64_3 = 0x165667b19e3779f9n;
const PRIME64_4 = 0x85ebca77c2b2ae63n;
const PRIME64_5 = 0x27d4eb2f165667c5n;
const PRIME_MX1 = 0x165667919e3779f9n;
const PRIME_MX2 = 0x9fb21c651e98df25n;

const FIRST_LANES = [PRIME32_3, PRIME64_1, PRIME64_2, PRIME64_3, PRIME64_4, PRIME32_2, PRIME64_5, PRIME32_1];

/** XXH3_kSecret, 192 bytes. */
const SECRET_BYTES = Buffer.from(
  'b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f' +
    'cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c' +
    '3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8' +
    'a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364' +
    'eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e' +
    '2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e',
  'hex',
);
const SECRET = new DataView(SECRET_BYTES.buffer, SECRET_BYTES.byteOffset, SECRET_BYTES.byteLength);
