package rocksdbwriter;

import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;

/** One persistent store: a single database under rocksdb/, or one per segment under its own directory. */
final class Store implements AutoCloseable {
  private final Path task;
  private final Set<String> modes;
  private final TreeMap<Long, Database> segments = new TreeMap<>();
  private long newestSegment;
  private Operations operations;

  /** The last operation that was applied. */
  private long n;

  private Store(Path task, String name, Set<String> modes, int incarnation) {
    this.task = task;
    this.modes = modes;
    this.operations = operations(name, modes, incarnation);
  }

  private static Operations operations(String name, Set<String> modes, int incarnation) {
    return new Operations(name, incarnation, Operations.isTimestamped(name, modes.contains("timestamped")));
  }

  /** A store of a task that has just been created. */
  static Store create(Path task, String name, Set<String> modes, int incarnation) throws Exception {
    Store store = new Store(task, name, modes, incarnation);
    store.open();
    return store;
  }

  /**
   * Goes on from what an earlier process left: repeats, like Kafka, everything after the checkpoint, but leaves each
   * database alone until its own content has been reached, so that it stays the content after some operation.
   */
  static Store recover(Path task, String name, Set<String> modes, int freshIncarnation) throws Exception {
    Store store = new Store(task, name, modes, freshIncarnation);
    store.open();
    long greatest = 0;
    for (Database database : store.segments.values()) {
      for (long floor : database.floors) greatest = Math.max(greatest, floor);
    }
    if (greatest == 0) return store;
    store.operations = operations(name, modes, Operations.incarnationOf(greatest));
    Long checkpointed = TaskFiles.readCheckpoint(task.resolve(".checkpoint")).get(store.topic());
    boolean continues =
        checkpointed != null && Operations.incarnationOf(checkpointed) == store.operations.incarnation;
    store.n = continues ? Operations.operationOf(checkpointed) : 0;
    return store;
  }

  String name() {
    return operations.store;
  }

  String topic() {
    return task.getParent().getFileName() + "-" + name() + "-changelog";
  }

  long offset() {
    return operations.offset(n);
  }

  boolean isEmpty() {
    return n == 0;
  }

  /** Where all of its files lie. */
  Path directory() {
    return operations.segmented ? task.resolve(name()) : task.resolve("rocksdb").resolve(name());
  }

  /** Opens what is on disk; of the segments only those that have not expired, whose removal it finishes. */
  void open() throws Exception {
    if (!operations.segmented) {
      segments.put(0L, database(directory()));
      return;
    }
    Files.createDirectories(directory());
    TreeMap<Long, Path> found = new TreeMap<>();
    try (DirectoryStream<Path> entries = Files.newDirectoryStream(directory())) {
      for (Path entry : entries) found.put(segmentOf(entry), entry);
    }
    newestSegment = found.isEmpty() ? 0 : found.lastKey();
    for (Map.Entry<Long, Path> each : found.entrySet()) {
      if (isExpired(each.getKey())) TaskFiles.delete(each.getValue());
      else segments.put(each.getKey(), database(each.getValue()));
    }
  }

  private Database database(Path directory) throws Exception {
    Database database = new Database(directory, operations.timestamped, modes);
    database.findFloors();
    return database;
  }

  private long segmentOf(Path directory) {
    String name = directory.getFileName().toString();
    return Long.parseLong(name.substring(name().length() + 1)) / Operations.SEGMENT_INTERVAL_MS;
  }

  private Path segmentDirectory(long segment) {
    return directory().resolve(name() + "." + segment * Operations.SEGMENT_INTERVAL_MS);
  }

  private boolean isExpired(long segment) {
    return segment <= newestSegment - Operations.SEGMENTS_RETAINED;
  }

  void applyNext() throws Exception {
    n++;
    long segment = operations.segment(n);
    if (operations.segmented && isExpired(segment)) return; // Repeated after a restart.
    Database database = databaseOf(segment);
    int key = operations.key(n);
    int family = operations.family(key);
    if (operations.offset(n) <= database.floors[family]) return; // It is there already.
    byte[] keyBytes = operations.keyBytes(key, segment);
    if (operations.isDeletion(n)) database.delete(family, keyBytes);
    else database.put(family, keyBytes, operations.value(n));
  }

  /** As AbstractSegments.getOrCreateSegmentIfLive: the new segment first, then the expired ones go. */
  private Database databaseOf(long segment) throws Exception {
    Database present = segments.get(segment);
    if (present != null) return present;
    Database created = database(segmentDirectory(segment));
    segments.put(segment, created);
    newestSegment = Math.max(newestSegment, segment);
    while (isExpired(segments.firstKey())) {
      Map.Entry<Long, Database> expired = segments.pollFirstEntry();
      expired.getValue().close();
      TaskFiles.delete(segmentDirectory(expired.getKey()));
    }
    return created;
  }

  void flush() throws Exception {
    for (Database database : segments.values()) database.flush();
  }

  void compact() throws Exception {
    for (Database database : segments.values()) database.compact();
  }

  /** As StateStoreContext's commit callback: where the input stood when the store was flushed. */
  void writePosition(int partition) throws IOException {
    TaskFiles.writeCheckpoint(task.resolve(name() + ".position"), Map.of("input-" + name(), offset()), partition);
  }

  /** Removes everything and begins anew with operation 1. */
  void wipe(int incarnation) throws Exception {
    close();
    TaskFiles.delete(directory());
    operations = operations(name(), modes, incarnation);
    n = 0;
    open();
  }

  @Override
  public void close() throws Exception {
    for (Database database : segments.values()) database.close();
    segments.clear();
  }
}
