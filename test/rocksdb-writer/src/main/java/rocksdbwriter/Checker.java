package rocksdbwriter;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Opens captured databases as Kafka Streams would and compares them with the model.
 *
 * <p>One request per line of standard input, fields divided by tabs: directory, store, segment number (0 for a plain
 * store), {@code timestamped} or {@code plain}, and the captured checkpoint's offset (0 when there is none). One line of
 * JSON answers each: {@code {"ok":true,"n":<operations>,"entries":<count>}} or {@code {"ok":false,"error":"..."}}, where n
 * is the least over the column families. The directory is opened for writing, so it must be a copy.
 */
public final class Checker {
  private Checker() {}

  public static void main(String[] args) throws Exception {
    BufferedReader requests = new BufferedReader(new InputStreamReader(System.in));
    for (String line = requests.readLine(); line != null; line = requests.readLine()) {
      System.out.println(answer(line.split("\t")));
    }
  }

  private static String answer(String[] request) {
    try {
      boolean timestamped = request[3].equals("timestamped");
      Verdict verdict =
          check(Path.of(request[0]), request[1], Long.parseLong(request[2]), timestamped, Long.parseLong(request[4]));
      return "{\"ok\":true,\"n\":" + verdict.n + ",\"entries\":" + verdict.entries + "}";
    } catch (Exception error) {
      Throwable cause = error.getCause() == null ? error : error.getCause();
      return "{\"ok\":false,\"error\":\"" + escaped(cause.toString()) + "\"}";
    }
  }

  private static String escaped(String text) {
    return text.replaceAll("[\\\\\"\\p{Cntrl}]", "'");
  }

  private record Verdict(long n, int entries) {}

  private static Verdict check(Path directory, String store, long segment, boolean timestamped, long checkpoint)
      throws Exception {
    try (Database database = new Database(directory, timestamped, Set.of())) {
      database.verifyChecksum();
      Verdict whole = new Verdict(Long.MAX_VALUE, 0);
      for (int family = 0; family < (timestamped ? 2 : 1); family++) {
        Verdict part = checkFamily(database.entries(family), store, segment, timestamped, family, checkpoint);
        whole = new Verdict(Math.min(whole.n, part.n), whole.entries + part.entries);
      }
      return whole;
    }
  }

  private static Verdict checkFamily(
      List<Database.Entry> entries, String store, long segment, boolean timestamped, int family, long checkpoint) {
    long greatest = 0;
    for (Database.Entry entry : entries) greatest = Math.max(greatest, Operations.offsetOf(entry.value()));
    int incarnation = Operations.incarnationOf(greatest == 0 ? checkpoint : greatest);
    if (checkpoint != 0 && incarnation != Operations.incarnationOf(checkpoint)) {
      throw new IllegalStateException(
          "incarnation " + incarnation + " beside a checkpoint of " + Operations.incarnationOf(checkpoint));
    }
    Operations operations = new Operations(store, incarnation, timestamped);
    long n = exactPrefix(operations, entries, segment, family, Operations.operationOf(greatest));
    long behind = operations.next(n, segment, family);
    if (behind <= Operations.operationOf(checkpoint)) {
      throw new IllegalStateException(
          "holds operations up to " + n + ", lacks " + behind + " of checkpoint " + Operations.operationOf(checkpoint));
    }
    return new Verdict(n, entries.size());
  }

  /**
   * The greatest operation after which the content is exactly this. Deletions leave nothing to see, so those that follow
   * the greatest value may or may not have been applied: each is tried.
   */
  private static long exactPrefix(
      Operations operations, List<Database.Entry> entries, long segment, int family, long greatest) {
    Map<Integer, byte[]> found = new HashMap<>();
    for (Database.Entry entry : entries) {
      int key = Operations.keyOf(entry.key());
      if (!Arrays.equals(entry.key(), operations.keyBytes(key, segment))) throw new IllegalStateException("foreign key");
      found.put(key, entry.value());
    }
    long exact = -1;
    String difference = null;
    long candidate = greatest;
    while (true) {
      String different = difference(operations, found, operations.contentAfter(candidate, segment, family));
      if (different == null) exact = candidate;
      if (difference == null) difference = different;
      long next = operations.next(candidate, segment, family);
      if (next == Long.MAX_VALUE || !operations.isDeletion(next)) break;
      candidate = next;
    }
    if (exact < 0) throw new IllegalStateException("is no state after " + greatest + " operations: " + difference);
    return exact;
  }

  private static String difference(Operations operations, Map<Integer, byte[]> found, Map<Integer, Long> expected) {
    for (Map.Entry<Integer, Long> each : expected.entrySet()) {
      byte[] value = found.get(each.getKey());
      if (value == null) return "key " + each.getKey() + " of operation " + each.getValue() + " is missing";
      if (!Arrays.equals(value, operations.value(each.getValue()))) {
        return "key " + each.getKey() + " has not the value of operation " + each.getValue();
      }
    }
    return found.size() == expected.size() ? null : (found.size() - expected.size()) + " entries too many";
  }
}
