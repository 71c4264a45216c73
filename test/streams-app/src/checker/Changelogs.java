package warmstate;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** What an application committed to the changelogs of its persistent stores, version by version of every key. */
final class Changelogs {
    private static final Duration POLL = Duration.ofMillis(500);
    /** Half of the retention of 24 hours: Kafka Streams' own rule. */
    private static final long SEGMENT_MS = 12 * 60 * 60_000L;

    /** From this offset on, until the next version of the key; without a value it is gone. */
    record Version(long offset, byte[] value) {}

    private final KafkaConsumer<byte[], byte[]> consumer;
    /** Store, as in the directory, by topic. */
    private final Map<String, String> storeOf;
    private final Map<TopicPartition, Map<String, Map<ByteBuffer, List<Version>>>> databases = new HashMap<>();

    Changelogs(String bootstrap, String application, String topics) {
        consumer = new KafkaConsumer<>(Map.of("bootstrap.servers", bootstrap, "isolation.level", "read_committed"),
            new ByteArrayDeserializer(), new ByteArrayDeserializer());
        storeOf = Map.of(application + "-agg-changelog", "agg", application + "-win-changelog", "win",
            application + "-tab-changelog", "tab", topics + "-global", "glob");
        List<TopicPartition> partitions = storeOf.keySet().stream().flatMap(topic -> consumer.partitionsFor(topic).stream())
            .map(found -> new TopicPartition(found.topic(), found.partition())).collect(Collectors.toList());
        consumer.assign(partitions);
        consumer.seekToBeginning(partitions);
    }

    /** Takes in what was committed since. */
    void readToEnd() {
        Map<TopicPartition, Long> ends = consumer.endOffsets(consumer.assignment());
        while (ends.entrySet().stream().anyMatch(end -> consumer.position(end.getKey()) < end.getValue())) {
            consumer.poll(POLL).forEach(this::add);
        }
    }

    String storeOf(String topic) {
        return storeOf.get(topic);
    }

    /** The databases that the partition fills, by their place in the store: segments, or one that is called "". */
    Map<String, Map<ByteBuffer, List<Version>>> databasesOf(TopicPartition partition) {
        return databases.getOrDefault(partition, Map.of());
    }

    List<TopicPartition> partitionsOf(String topic) {
        return consumer.assignment().stream().filter(partition -> partition.topic().equals(topic)).collect(Collectors.toList());
    }

    private void add(ConsumerRecord<byte[], byte[]> change) {
        String database = storeOf.get(change.topic()).equals("win") ? segmentOf(change.key()) : "";
        databases.computeIfAbsent(new TopicPartition(change.topic(), change.partition()), any -> new HashMap<>())
            .computeIfAbsent(database, any -> new HashMap<>())
            .computeIfAbsent(ByteBuffer.wrap(change.key()), any -> new ArrayList<>())
            .add(new Version(change.offset(), stored(change)));
    }

    /** The key of a window ends with its start and a sequence number. */
    private static String segmentOf(byte[] key) {
        long windowMs = ByteBuffer.wrap(key).getLong(key.length - Long.BYTES - Integer.BYTES);
        return "win." + windowMs / SEGMENT_MS * SEGMENT_MS;
    }

    /** Every store of the application keeps the timestamp before the value. */
    private static byte[] stored(ConsumerRecord<byte[], byte[]> change) {
        if (change.value() == null) return null;
        return ByteBuffer.allocate(Long.BYTES + change.value().length).putLong(change.timestamp()).put(change.value()).array();
    }
}
