package rocksdbwriter;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

/**
 * Opens the databases of a captured task directory as Kafka Streams would and compares them with the model: each must
 * pass its checksums and be exactly what some number of operations leaves, no fewer than .checkpoint and the position
 * files say, and no store or segment may be missing.
 *
 * <p>One request per line of standard input: {@code timestamped} or {@code plain}, a tab, the directory, which is opened
 * for writing and so must be a copy. One line of JSON answers each: {@code {"ok":true,"databases":5,"entries":4711,
 * "ahead":120}}, where ahead counts the operations beyond the checkpoint, or {@code {"ok":false,"error":"..."}}.
 */
public final class Checker {
  private final Path task;
  private final boolean timestamped;
  private int databases;
  private int entries;
  private long ahead;

  private Checker(Path task, boolean timestamped) {
    this.task = task;
    this.timestamped = timestamped;
  }

  public static void main(String[] args) throws Exception {
    BufferedReader requests = new BufferedReader(new InputStreamReader(System.in));
    for (String line = requests.readLine(); line != null; line = requests.readLine()) {
      String[] request = line.split("\t");
      System.out.println(new Checker(Path.of(request[1]), request[0].equals("timestamped")).answer());
    }
  }

  private String answer() {
    try {
      checkTask();
      return "{\"ok\":true,\"databases\":" + databases + ",\"entries\":" + entries + ",\"ahead\":" + ahead + "}";
    } catch (Exception error) {
      Throwable cause = error.getCause() == null ? error : error.getCause();
      return "{\"ok\":false,\"error\":\"" + cause.toString().replaceAll("[\\\\\"\\p{Cntrl}]", "'") + "\"}";
    }
  }

  private void checkTask() throws Exception {
    Map<String, Long> checkpoint = TaskFiles.readCheckpoint(task.resolve(".checkpoint"));
    if (checkpoint.isEmpty()) throw new IllegalStateException("there is no checkpoint");
    Set<String> unnamed = storesOnDisk();
    for (Map.Entry<String, Long> each : checkpoint.entrySet()) {
      String[] topic = each.getKey().split("-"); // <application>-<store>-changelog
      String store = topic[topic.length - 2];
      if (!unnamed.remove(store)) throw new IllegalStateException(store + " has an offset and is not there");
      checkStore(store, laterOf(each.getValue(), position(store)));
    }
    if (!unnamed.isEmpty()) throw new IllegalStateException(unnamed + " have no offset");
  }

  private Set<String> storesOnDisk() throws Exception {
    Set<String> stores = new TreeSet<>();
    for (String name : directoriesIn(task)) {
      if (name.equals("rocksdb")) stores.addAll(directoriesIn(task.resolve(name)));
      else stores.add(name);
    }
    return stores;
  }

  private static Set<String> directoriesIn(Path directory) throws Exception {
    Set<String> names = new TreeSet<>();
    try (DirectoryStream<Path> children = Files.newDirectoryStream(directory, Files::isDirectory)) {
      for (Path child : children) names.add(child.getFileName().toString());
    }
    return names;
  }

  private long position(String store) throws Exception {
    return TaskFiles.readCheckpoint(task.resolve(store + ".position")).values().stream().findFirst().orElse(0L);
  }

  private static long laterOf(long checkpoint, long position) {
    if (position == 0) return checkpoint;
    if (Operations.incarnationOf(checkpoint) != Operations.incarnationOf(position)) {
      throw new IllegalStateException("the position file and .checkpoint are of different incarnations");
    }
    return Math.max(checkpoint, position);
  }

  private void checkStore(String store, long offset) throws Exception {
    Operations operations =
        new Operations(store, Operations.incarnationOf(offset), Operations.isTimestamped(store, timestamped));
    long n = Operations.operationOf(offset);
    if (!operations.segmented) {
      checkDatabase(task.resolve("rocksdb").resolve(store), operations, 0, n);
      return;
    }
    Set<Long> segments = new TreeSet<>();
    for (String name : directoriesIn(task.resolve(store))) {
      segments.add(Long.parseLong(name.substring(store.length() + 1)) / Operations.SEGMENT_INTERVAL_MS);
    }
    requireSegments(segments, store, n);
    for (long segment : segments) {
      String name = store + "." + segment * Operations.SEGMENT_INTERVAL_MS;
      checkDatabase(task.resolve(store).resolve(name), operations, segment, n);
    }
  }

  /** The newest segment at the checkpoint or a newer one, and with it all that had not expired then. */
  private static void requireSegments(Set<Long> segments, String store, long n) {
    long newest = Math.max((n - 1) / Operations.SEGMENT_OPERATIONS, segments.stream().max(Long::compare).orElse(0L));
    for (long each = Math.max(0, newest - Operations.SEGMENTS_RETAINED + 1); each <= newest; each++) {
      if (!segments.contains(each)) throw new IllegalStateException(store + " lacks segment " + each + " of " + segments);
    }
  }

  private void checkDatabase(Path directory, Operations operations, long segment, long n) throws Exception {
    databases++;
    try (Database database = new Database(directory, operations.timestamped, Set.of())) {
      database.verifyChecksum();
      for (int family = 0; family < (operations.timestamped ? 2 : 1); family++) {
        checkFamily(database.entries(family), operations, segment, family, n);
      }
    } catch (IllegalStateException wrong) {
      throw new IllegalStateException(task.relativize(directory) + " " + wrong.getMessage());
    }
  }

  private void checkFamily(
      List<Database.Entry> found, Operations operations, long segment, int family, long atLeast) {
    long greatest = 0;
    for (Database.Entry entry : found) greatest = Math.max(greatest, Operations.offsetOf(entry.value()));
    if (greatest != 0 && Operations.incarnationOf(greatest) != operations.incarnation) {
      throw new IllegalStateException(
          "is of incarnation " + Operations.incarnationOf(greatest) + ", its offset of " + operations.incarnation);
    }
    long n = exactPrefix(operations, found, segment, family, Operations.operationOf(greatest));
    long next = operations.next(n, segment, family);
    if (next <= atLeast) {
      throw new IllegalStateException("holds operations up to " + n + " and lacks " + next + ", offset " + atLeast);
    }
    entries += found.size();
    ahead += Math.max(0, n - atLeast);
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
    String firstDifference = null;
    long candidate = greatest;
    while (true) {
      String difference = difference(operations, found, operations.contentAfter(candidate, segment, family));
      if (difference == null) exact = candidate;
      if (firstDifference == null) firstDifference = difference;
      long next = operations.next(candidate, segment, family);
      if (next == Long.MAX_VALUE || !operations.isDeletion(next)) break;
      candidate = next;
    }
    if (exact < 0) throw new IllegalStateException("is no state after " + greatest + " operations: " + firstDifference);
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
