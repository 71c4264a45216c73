package warmstate;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.kafka.common.TopicPartition;
import org.rocksdb.ColumnFamilyDescriptor;
import org.rocksdb.ColumnFamilyHandle;
import org.rocksdb.DBOptions;
import org.rocksdb.Options;
import org.rocksdb.ReadOptions;
import org.rocksdb.RocksDB;
import org.rocksdb.RocksDBException;
import org.rocksdb.RocksIterator;

/** One application directory, in either layout, compared with the changelogs. */
final class Image {
    private static final int ERRORS_MAX = 10;
    /** The column family in which databases carry their offsets from Kafka Streams 4.3 on. */
    private static final String OFFSETS = "offsets";

    private final Path application;
    private final Changelogs changelogs;
    /** Tasks that must be no further than their checkpoint either. */
    private final Set<String> exact;
    private final List<String> errors = new ArrayList<>();
    private int databases;
    private int entries;
    private long ahead;

    Image(Path application, Changelogs changelogs, Set<String> exact) {
        this.application = application;
        this.changelogs = changelogs;
        this.exact = exact;
    }

    Map<String, ?> check() throws Exception {
        Set<String> tasks = directoriesIn(application);
        for (String task : tasks) checkTask(task);
        return Map.of("tasks", tasks.size(), "databases", databases, "entries", entries, "ahead", ahead,
            "errors", String.join("\n", errors.subList(0, Math.min(errors.size(), ERRORS_MAX))));
    }

    private void checkTask(String task) throws Exception {
        Map<TopicPartition, Long> checkpoint = readCheckpoint(application.resolve(task));
        if (checkpoint.isEmpty()) errors.add(task + ": there is no checkpoint");
        Set<String> unnamed = storesIn(application.resolve(task));
        Map<String, List<TopicPartition>> changelogsOf = new TreeMap<>();
        for (TopicPartition changelog : checkpoint.keySet()) {
            String store = changelogs.storeOf(changelog.topic());
            if (store == null) continue; // The one in memory.
            changelogsOf.computeIfAbsent(store, any -> new ArrayList<>()).add(changelog);
            unnamed.remove(store);
        }
        if (!unnamed.isEmpty()) errors.add(task + ": " + unnamed + " have no offset");
        for (Map.Entry<String, List<TopicPartition>> each : changelogsOf.entrySet()) {
            checkStore(task, each.getKey(), each.getValue(), checkpoint);
        }
    }

    private void checkStore(String task, String store, List<TopicPartition> named, Map<TopicPartition, Long> checkpoint)
        throws Exception {
        Path place = store.equals("win") ? application.resolve(task).resolve(store) : application.resolve(task).resolve("rocksdb/" + store);
        if (!Files.isDirectory(place)) {
            errors.add(task + " " + store + ": has an offset and is not there");
            return;
        }
        Set<String> names = new TreeSet<>(store.equals("win") ? directoriesIn(place) : Set.of(""));
        for (TopicPartition changelog : named) names.addAll(changelogs.databasesOf(changelog).keySet());
        for (String name : names) {
            Map<ByteBuffer, byte[]> contents = read(name.isEmpty() ? place : place.resolve(name));
            databases++;
            entries += contents.size();
            Set<ByteBuffer> strange = new HashSet<>(contents.keySet());
            for (TopicPartition changelog : named) {
                Map<ByteBuffer, List<Changelogs.Version>> versions = changelogs.databasesOf(changelog).getOrDefault(name, Map.of());
                strange.removeAll(versions.keySet());
                // A global checkpoint names the next offset, a task's the last applied one.
                long offset = checkpoint.get(changelog) - (task.equals("global") ? 1 : 0);
                checkDatabase(task + " " + store + " " + name + " of " + changelog, contents, versions,
                    new Bounds(offset, exact.contains(task) ? offset : Long.MAX_VALUE));
            }
            if (!strange.isEmpty())
                errors.add(task + " " + store + " " + name + ": " + strange.size() + " keys that were never written, such as "
                    + text(strange.iterator().next()));
        }
    }

    /** Offsets of the last record that a database may hold. */
    private record Bounds(long from, long to) {}

    private void checkDatabase(String what, Map<ByteBuffer, byte[]> contents, Map<ByteBuffer, List<Changelogs.Version>> versions,
        Bounds bounds) {
        // How many more keys are right from this offset on than before it.
        TreeMap<Long, Integer> steps = new TreeMap<>(Map.of(bounds.from, 0));
        versions.forEach((key, all) -> addSteps(steps, bounds.from, contents.get(key), all));
        long best = bounds.from;
        int bestRight = -1;
        int right = 0;
        for (Map.Entry<Long, Integer> step : steps.entrySet()) {
            if (step.getKey() > bounds.to) break;
            right += step.getValue();
            if (right <= bestRight) continue;
            best = step.getKey();
            bestRight = right;
        }
        ahead = Math.max(ahead, best - bounds.from);
        if (bestRight == versions.size()) return;
        long at = best;
        ByteBuffer wrong = versions.entrySet().stream()
            .filter(each -> !Arrays.equals(valueAt(at, each.getValue()), contents.get(each.getKey()))).findFirst().orElseThrow().getKey();
        errors.add(what + ": is not what the changelog leaves at any offset from " + bounds.from
            + (bounds.to == Long.MAX_VALUE ? " on" : " to " + bounds.to) + "; nearest at " + at + ", where "
            + (versions.size() - bestRight) + " of " + versions.size() + " keys differ, such as " + text(wrong));
    }

    private static void addSteps(TreeMap<Long, Integer> steps, long from, byte[] value, List<Changelogs.Version> versions) {
        byte[] before = null;
        long since = Long.MIN_VALUE;
        for (int next = 0; next <= versions.size(); next++) {
            long until = next == versions.size() ? Long.MAX_VALUE : versions.get(next).offset();
            if (until > from && Arrays.equals(before, value)) {
                steps.merge(Math.max(since, from), 1, Integer::sum);
                if (until != Long.MAX_VALUE) steps.merge(until, -1, Integer::sum);
            }
            if (next == versions.size()) return;
            before = versions.get(next).value();
            since = until;
        }
    }

    private static byte[] valueAt(long offset, List<Changelogs.Version> versions) {
        byte[] value = null;
        for (Changelogs.Version version : versions) if (version.offset() <= offset) value = version.value();
        return value;
    }

    private static Map<ByteBuffer, byte[]> read(Path database) throws RocksDBException {
        return read(database, false);
    }

    /** Of the column family with the offsets, or of all others; nothing where no database is. */
    private static Map<ByteBuffer, byte[]> read(Path database, boolean offsets) throws RocksDBException {
        Map<ByteBuffer, byte[]> contents = new HashMap<>();
        if (!Files.isDirectory(database)) return contents;
        List<ColumnFamilyDescriptor> families = new ArrayList<>();
        try (Options options = new Options()) {
            for (byte[] name : RocksDB.listColumnFamilies(options, database.toString())) families.add(new ColumnFamilyDescriptor(name));
        }
        List<ColumnFamilyHandle> handles = new ArrayList<>();
        try (DBOptions options = new DBOptions().setParanoidChecks(true);
            RocksDB db = RocksDB.openReadOnly(options, database.toString(), families, handles);
            ReadOptions checked = new ReadOptions().setVerifyChecksums(true)) {
            for (ColumnFamilyHandle family : handles) {
                try (RocksIterator all = db.newIterator(family, checked)) {
                    boolean isOffsets = new String(family.getName(), StandardCharsets.UTF_8).equals(OFFSETS);
                for (all.seekToFirst(); isOffsets == offsets && all.isValid(); all.next()) contents.put(ByteBuffer.wrap(all.key()), all.value());
                    all.status(); // Kafka Streams does not ask.
                }
                family.close();
            }
        }
        return contents;
    }

    private static Map<TopicPartition, Long> readCheckpoint(Path task) throws IOException, RocksDBException {
        Map<TopicPartition, Long> offsets = new HashMap<>();
        Path file = task.resolve(".checkpoint");
        if (!Files.exists(file)) {
            for (Path database : databasesIn(task)) {
                for (Map.Entry<ByteBuffer, byte[]> entry : read(database, true).entrySet()) addOffset(offsets, entry.getKey(), entry.getValue());
            }
            return offsets;
        }
        List<String> lines = Files.readAllLines(file);
        for (String line : lines.subList(2, lines.size())) {
            String[] fields = line.split(" ");
            offsets.put(new TopicPartition(fields[0], Integer.parseInt(fields[1])), Long.parseLong(fields[2]));
        }
        return offsets;
    }

    /** The key is {@code topic-partition}, the value the offset; there are other keys, too. What segments agree on is the least. */
    private static void addOffset(Map<TopicPartition, Long> offsets, ByteBuffer key, byte[] value) {
        String name = text(key);
        int at = name.lastIndexOf('-');
        if (at < 0 || value.length != Long.BYTES) return;
        long offset = ByteBuffer.wrap(value).getLong();
        if (offset >= 0) offsets.merge(new TopicPartition(name.substring(0, at), Integer.parseInt(name.substring(at + 1))), offset, Math::min);
    }

    private static List<Path> databasesIn(Path task) throws IOException {
        List<Path> found = new ArrayList<>();
        for (String parent : directoriesIn(task)) {
            for (String name : directoriesIn(task.resolve(parent))) found.add(task.resolve(parent).resolve(name));
        }
        return found;
    }

    private static Set<String> storesIn(Path task) throws IOException {
        Set<String> stores = directoriesIn(task);
        if (stores.remove("rocksdb")) stores.addAll(directoriesIn(task.resolve("rocksdb")));
        return stores;
    }

    private static Set<String> directoriesIn(Path directory) throws IOException {
        Set<String> names = new TreeSet<>();
        try (DirectoryStream<Path> children = Files.newDirectoryStream(directory, Files::isDirectory)) {
            for (Path child : children) names.add(child.getFileName().toString());
        }
        return names;
    }

    private static String text(ByteBuffer key) {
        return new String(key.array(), StandardCharsets.UTF_8).replaceAll("\\p{Cntrl}", "?");
    }
}
