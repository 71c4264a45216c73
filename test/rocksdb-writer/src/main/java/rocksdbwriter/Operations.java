package rocksdbwriter;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;

/**
 * What operation {@code n} (1, 2, ...) of one store does: a pure function of the store's name, its incarnation and n, so
 * that the content after any number of operations can be computed without having been there.
 *
 * <p>Plain stores touch every key once in each round of KEYS operations, in an order that differs from round to round.
 * The segmented store writes to the segment of n, every sixteenth operation to the one before. One operation in ten is a
 * deletion. A value begins with the operation's offset, which names n and incarnation.
 */
final class Operations {
  /** Distinct keys of a plain store; a power of two, so that every odd factor permutes them. */
  static final int KEYS = 2048;
  /** Distinct keys of a segment. */
  static final int WINDOW_KEYS = 1024;
  /** Operations between two segments. */
  static final int SEGMENT_OPERATIONS = 6000;
  /** Segments that are kept; Kafka's retention divided by its segment interval, and one. */
  static final int SEGMENTS_RETAINED = 3;
  static final long SEGMENT_INTERVAL_MS = 3_600_000;
  /** Incarnations are told apart modulo this; an offset is n times this and the incarnation. */
  static final int INCARNATIONS = 1024;

  final String store;
  final int incarnation;
  final boolean segmented;
  final boolean timestamped;
  private final long salt;

  Operations(String store, int incarnation, boolean timestamped) {
    this.store = store;
    this.incarnation = incarnation;
    this.segmented = isSegmented(store);
    this.timestamped = timestamped;
    this.salt = mix(store.hashCode() * 31L + incarnation);
  }

  static boolean isSegmented(String store) {
    return store.startsWith("win");
  }

  static boolean isTimestamped(String store, boolean timestamped) {
    return timestamped && store.startsWith("agg");
  }

  static long operationOf(long offset) {
    return offset / INCARNATIONS;
  }

  static int incarnationOf(long offset) {
    return (int) (offset % INCARNATIONS);
  }

  /** The changelog offset of an operation. */
  long offset(long n) {
    return n * INCARNATIONS + incarnation;
  }

  boolean isDeletion(long n) {
    return Long.remainderUnsigned(mix(salt ^ n), 10) == 0;
  }

  int key(long n) {
    if (segmented) return (int) Long.remainderUnsigned(mix(salt + n * 7), WINDOW_KEYS);
    long round = (n - 1) / KEYS;
    long position = (n - 1) % KEYS;
    return (int) ((position * factor(round) + shift(round)) & (KEYS - 1));
  }

  /** 0 for plain stores. */
  long segment(long n) {
    if (!segmented) return 0;
    long segment = (n - 1) / SEGMENT_OPERATIONS;
    return n % 16 == 15 && segment > 0 ? segment - 1 : segment;
  }

  /** 0 is the default column family, 1 Kafka's keyValueWithTimestamp; an upgraded store has data in both. */
  int family(int key) {
    return timestamped && key % 8 != 0 ? 1 : 0;
  }

  byte[] keyBytes(int key, long segment) {
    byte[] name = String.format("key-%06d", key).getBytes(StandardCharsets.US_ASCII);
    if (!segmented) return name;
    // A window key as Kafka writes it: the key, the window's start in milliseconds, a sequence number.
    return ByteBuffer.allocate(name.length + 12).put(name).putLong(segment * SEGMENT_INTERVAL_MS).putInt(0).array();
  }

  static int keyOf(byte[] bytes) {
    return Integer.parseInt(new String(bytes, 4, 6, StandardCharsets.US_ASCII));
  }

  byte[] value(long n) {
    long state = mix(salt ^ ~n);
    int words = 4 + (int) Long.remainderUnsigned(state, 24);
    ByteBuffer value = ByteBuffer.allocate(8 + words * 8);
    value.putLong(offset(n));
    while (value.hasRemaining()) {
      state = mix(state);
      value.putLong(state);
    }
    return value.array();
  }

  static long offsetOf(byte[] value) {
    return ByteBuffer.wrap(value).getLong();
  }

  /** Whether operation n writes to this segment and column family. */
  boolean reaches(long n, long segment, int family) {
    return segment(n) == segment && family(key(n)) == family;
  }

  /** The first operation after n that reaches this segment and family, or Long.MAX_VALUE. */
  long next(long n, long segment, int family) {
    long last = segmented ? (segment + 2) * SEGMENT_OPERATIONS : Long.MAX_VALUE;
    for (long candidate = Math.max(n, segment * SEGMENT_OPERATIONS) + 1; candidate <= last; candidate++) {
      if (reaches(candidate, segment, family)) return candidate;
    }
    return Long.MAX_VALUE;
  }

  /** The exact content of one segment and family after n operations: key to the operation that put it. */
  Map<Integer, Long> contentAfter(long n, long segment, int family) {
    Map<Integer, Long> content = new HashMap<>();
    if (segmented) {
      long last = Math.min(n, (segment + 2) * SEGMENT_OPERATIONS);
      for (long each = segment * SEGMENT_OPERATIONS + 1; each <= last; each++) {
        if (segment(each) != segment) continue;
        if (isDeletion(each)) content.remove(key(each));
        else content.put(key(each), each);
      }
    } else {
      for (int key = 0; key < KEYS; key++) {
        long touched = lastTouched(key, n);
        if (family(key) == family && touched > 0 && !isDeletion(touched)) content.put(key, touched);
      }
    }
    return content;
  }

  /** The last operation up to n that touched a key of a plain store; 0 or less if none did. */
  private long lastTouched(int key, long n) {
    long round = n <= 0 ? 0 : (n - 1) / KEYS;
    long operation = operationOn(key, round);
    return operation <= n ? operation : operationOn(key, round - 1);
  }

  private long operationOn(int key, long round) {
    if (round < 0) return 0;
    long factor = factor(round);
    long inverse = factor; // Newton's iteration modulo 2^64 doubles the correct bits; 3 at first, so five rounds suffice.
    for (int step = 0; step < 5; step++) inverse *= 2 - factor * inverse;
    long position = ((key - shift(round)) * inverse) & (KEYS - 1);
    return round * KEYS + position + 1;
  }

  private long factor(long round) {
    return mix(salt + round) | 1;
  }

  private long shift(long round) {
    return mix(salt - round);
  }

  /** The finaliser of SplitMix64. */
  private static long mix(long value) {
    long z = value + 0x9e3779b97f4a7c15L;
    z = (z ^ (z >>> 30)) * 0xbf58476d1ce4e5b9L;
    z = (z ^ (z >>> 27)) * 0x94d049bb133111ebL;
    return z ^ (z >>> 31);
  }
}
