package rocksdbwriter;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;

/**
 * Works like one Kafka Streams task at high rate: applies numbered operations to three stores, and again and again flushes
 * all of them and then writes .checkpoint, whose offsets are the numbers of the operations (see {@link Operations}).
 *
 * <p>Arguments: {@code task=<directory> journal=<file> modes=<a,b,...> rate=<operations per second> checkpoint=<operations>}.
 * Modes: timestamped (agg has two column families), churn (many small tables), roll (a new manifest every few edits),
 * reopen (closed and opened every 100 ms), wipe (every 150 to 500 ms the whole task, or one store under its checkpoint,
 * is deleted and begins anew), blobs (values in blob files; not with RocksDB 5.18). Prints one line of JSON after the
 * first checkpoint and one at the end; ends with a clean close when its standard input does. May be killed and started
 * again: the journal, a file outside the task, remembers an unfinished wipe and which incarnations are used up.
 */
public final class LiveWriter {
  private static final List<String> STORES = List.of("agg", "tab", "win");

  private final Path task;
  private final Path journal;
  private final Set<String> modes;
  private final int partition;
  private final Random random = new Random();
  private final Map<String, Integer> counts = new TreeMap<>();
  private List<Store> stores = new ArrayList<>();
  private int nextIncarnation = 1;
  private long operations;
  private volatile boolean ending;

  private LiveWriter(Map<String, String> arguments) {
    task = Path.of(arguments.get("task"));
    journal = Path.of(arguments.get("journal"));
    modes = Set.of(arguments.getOrDefault("modes", "").split(","));
    String taskId = task.getFileName().toString();
    partition = Integer.parseInt(taskId.substring(taskId.indexOf('_') + 1));
  }

  public static void main(String[] args) throws Exception {
    Map<String, String> arguments = new HashMap<>();
    for (String arg : args) arguments.put(arg.substring(0, arg.indexOf('=')), arg.substring(arg.indexOf('=') + 1));
    LiveWriter writer = new LiveWriter(arguments);
    Thread stdin = new Thread(writer::awaitEndOfInput);
    stdin.setDaemon(true);
    stdin.start();
    writer.run(Long.parseLong(arguments.get("rate")), Long.parseLong(arguments.get("checkpoint")));
    System.exit(0);
  }

  private void awaitEndOfInput() {
    try {
      while (System.in.read() >= 0) {}
    } catch (IOException closed) {
      System.err.println(closed);
    }
    ending = true;
  }

  private void run(long operationsPerSecond, long checkpointEvery) throws Exception {
    recover();
    long startedNs = System.nanoTime();
    Timer reopen = new Timer("reopen", 100, 100);
    Timer wipe = new Timer("wipe", 150, 500);
    Timer compact = new Timer("churn", 200, 1000);
    while (!ending) {
      pause(startedNs, operationsPerSecond);
      for (Store store : stores) store.applyNext();
      operations++;
      if (operations % checkpointEvery == 0) checkpoint();
      if (operations == checkpointEvery) System.out.println("{\"event\":\"ready\"}");
      if (reopen.isDue()) reopen();
      if (wipe.isDue()) wipe();
      if (compact.isDue()) compact();
    }
    checkpoint();
    for (Store store : stores) store.close();
    counts.put("operations", (int) operations);
    StringBuilder line = new StringBuilder("{\"event\":\"stopped\"");
    counts.forEach((name, count) -> line.append(",\"" + name + "\":" + count));
    System.out.println(line + "}");
  }

  /** Sleeps while ahead of the rate. */
  private void pause(long startedNs, long operationsPerSecond) throws InterruptedException {
    if (operations % 16 != 0) return;
    long aheadMs = operations * 1000 / operationsPerSecond - (System.nanoTime() - startedNs) / 1_000_000;
    if (aheadMs > 0) Thread.sleep(aheadMs);
  }

  private void recover() throws Exception {
    if (Files.exists(journal)) {
      String[] lines = Files.readString(journal).split("\n", -1);
      nextIncarnation = Integer.parseInt(lines[0]);
      if (!lines[1].isEmpty()) TaskFiles.delete(Path.of(lines[1]));
    }
    Files.createDirectories(task);
    for (String name : STORES) stores.add(Store.recover(task, name, modes, nextIncarnation));
    writeJournal(nextIncarnation + 1, "");
  }

  /** Kafka's order: every store is flushed, then the positions are written, then the checkpoint. */
  private void checkpoint() throws Exception {
    for (Store store : stores) store.flush();
    Map<String, Long> offsetByTopic = new TreeMap<>();
    for (Store store : stores) {
      if (store.isEmpty()) continue;
      store.writePosition(partition);
      offsetByTopic.put(store.topic(), store.offset());
    }
    TaskFiles.writeCheckpoint(task.resolve(".checkpoint"), offsetByTopic, partition);
    count("checkpoints");
  }

  private void compact() throws Exception {
    stores.get(random.nextInt(stores.size())).compact();
    count("compactions");
  }

  /** A clean close and a new opening. */
  private void reopen() throws Exception {
    checkpoint();
    for (Store store : stores) store.close();
    for (Store store : stores) store.open();
    count("reopenings");
  }

  private void wipe() throws Exception {
    int incarnation = nextIncarnation;
    boolean wholeTask = random.nextBoolean();
    Store victim = stores.get(random.nextInt(stores.size()));
    writeJournal(incarnation + 1, (wholeTask ? task : victim.directory()).toString());
    if (wholeTask) {
      for (Store store : stores) store.close();
      TaskFiles.delete(task);
      writeJournal(incarnation + 1, "");
      List<Store> anew = new ArrayList<>();
      for (Store store : stores) anew.add(Store.create(task, store.name(), modes, incarnation));
      stores = anew;
    } else {
      victim.wipe(incarnation);
      writeJournal(incarnation + 1, "");
    }
    count(wholeTask ? "wipedTasks" : "wipedStores");
  }

  private void writeJournal(int next, String unfinishedWipe) throws IOException {
    nextIncarnation = next % Operations.INCARNATIONS;
    Path temporary = journal.resolveSibling(journal.getFileName() + ".tmp");
    Files.writeString(temporary, nextIncarnation + "\n" + unfinishedWipe + "\n");
    Files.move(temporary, journal, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
  }

  private void count(String what) {
    counts.merge(what, 1, Integer::sum);
  }

  /** Due at random distances, and never unless its mode is on. */
  private final class Timer {
    private final boolean on;
    private final int fromMs;
    private final int toMs;
    private long dueNs;

    Timer(String mode, int fromMs, int toMs) {
      this.on = modes.contains(mode);
      this.fromMs = fromMs;
      this.toMs = toMs;
      this.dueNs = System.nanoTime() + nextNs();
    }

    private long nextNs() {
      return (fromMs + random.nextInt(toMs - fromMs + 1)) * 1_000_000L;
    }

    boolean isDue() {
      if (!on || operations % 16 != 0 || System.nanoTime() < dueNs) return false;
      dueNs = System.nanoTime() + nextNs();
      return true;
    }
  }
}
