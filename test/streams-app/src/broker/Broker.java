package warmstate;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;
import kafka.Kafka;
import kafka.tools.StorageTool;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.ScramCredentialInfo;
import org.apache.kafka.clients.admin.ScramMechanism;
import org.apache.kafka.clients.admin.UserScramCredentialUpsertion;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** One KRaft broker with what the tests ask of it: topics, records, offsets, groups. */
public final class Broker {
    private Broker() {}

    public static void main(String[] arguments) throws Exception {
        Arguments settings = new Arguments(arguments);
        String bootstrap = settings.text("bootstrap");
        String properties = settings.text("properties");
        // System.err: what it says does no harm there, and is shown when something fails.
        int formatted = StorageTool.execute(
            new String[] {"format", "--cluster-id", settings.text("clusterId"), "--config", properties}, System.err);
        if (formatted != 0) throw new IllegalStateException("cannot format the log directory: status " + formatted);
        Thread broker = new Thread(() -> Kafka.main(new String[] {properties}));
        broker.setDaemon(true);
        broker.start();

        Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap, "default.api.timeout.ms", 120_000, "retries", 1_000_000));
        admin.describeCluster().clusterId().get();
        Harness harness = new Harness(settings);
        harness.on("/topics", (query, body) -> createTopics(admin, query.text("topics"), query.number("partitions")));
        harness.on("/scram-user", (query, body) -> admin.alterUserScramCredentials(List.of(new UserScramCredentialUpsertion(
            query.text("user"), new ScramCredentialInfo(ScramMechanism.fromMechanismName(query.text("mechanism")), 4096),
            query.text("password")))).all().get());
        harness.on("/delete-topic", (query, body) -> admin.deleteTopics(List.of(query.text("topic"))).all().get());
        harness.on("/feed", (query, body) -> Feed.send(bootstrap, query));
        harness.on("/end-offsets", (query, body) -> body.append(Json.of(endOffsets(admin))));
        harness.on("/committed-offsets", (query, body) -> body.append(Json.of(committedOffsets(admin, query.text("group")))));
        harness.on("/tombstones", (query, body) -> body.append(
            Json.of(Map.of("tombstones", tombstones(bootstrap, query.text("topic"), query.longNumber("beforeMs"))))));
        harness.on("/members", (query, body) -> body.append(Json.of(Map.of("members", members(admin, query.text("group"))))));
        harness.start();
        broker.join();
    }

    private static void createTopics(Admin admin, String topics, int partitions) throws Exception {
        Map<String, String> keep = Map.of("retention.ms", "-1");
        admin.createTopics(List.of(
            new NewTopic(topics + "-input", partitions, (short) 1).configs(keep),
            new NewTopic(topics + "-table", partitions, (short) 1).configs(keep),
            new NewTopic(topics + "-global", 2, (short) 1).configs(keep))).all().get();
        endOffsets(admin); // Answered once every partition has its leader.
    }

    /** Of all partitions, as the next offset that will be written (not only what is committed). */
    private static Map<String, String> endOffsets(Admin admin) throws Exception {
        List<TopicPartition> partitions = new ArrayList<>();
        admin.describeTopics(admin.listTopics().names().get()).allTopicNames().get().values().forEach(topic ->
            topic.partitions().forEach(partition -> partitions.add(new TopicPartition(topic.name(), partition.partition()))));
        return admin.listOffsets(partitions.stream().collect(Collectors.toMap(p -> p, p -> OffsetSpec.latest()))).all().get()
            .entrySet().stream().collect(
                Collectors.toMap(e -> e.getKey().toString(), e -> Long.toString(e.getValue().offset()), (a, b) -> a, TreeMap::new));
    }

    private static Map<String, String> committedOffsets(Admin admin, String group) throws Exception {
        return admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().entrySet().stream()
            .filter(e -> e.getValue() != null)
            .collect(Collectors.toMap(e -> e.getKey().toString(), e -> Long.toString(e.getValue().offset()), (a, b) -> a, TreeMap::new));
    }

    /** How many with an earlier timestamp are still in the topic. */
    private static long tombstones(String bootstrap, String topic, long beforeMs) {
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(Map.of("bootstrap.servers", bootstrap),
            new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> partitions = consumer.partitionsFor(topic).stream()
                .map(found -> new TopicPartition(found.topic(), found.partition())).collect(Collectors.toList());
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            long found = 0;
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            while (ends.entrySet().stream().anyMatch(end -> consumer.position(end.getKey()) < end.getValue())) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(500))) {
                    if (record.value() == null && record.timestamp() < beforeMs) found++;
                }
            }
            return found;
        }
    }

    private static int members(Admin admin, String group) throws Exception {
        try {
            return admin.describeConsumerGroups(List.of(group)).describedGroups().get(group).get().members().size();
        } catch (java.util.concurrent.ExecutionException error) {
            if (error.getCause() instanceof org.apache.kafka.common.errors.GroupIdNotFoundException) return 0;
            throw error;
        }
    }
}
