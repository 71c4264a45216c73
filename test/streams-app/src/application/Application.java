package warmstate;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.processor.StateRestoreListener;

/**
 * A real Kafka Streams application with every kind of store, driven by the tests. One source for all releases from 2.8
 * to 4.x. Says on standard output which states it goes through and what every store restores.
 */
public final class Application {
    private Application() {}

    public static void main(String[] arguments) throws Exception {
        Arguments settings = new Arguments(arguments);
        KafkaStreams streams = new KafkaStreams(
            Stores.topology(settings.text("topics"), Duration.ofMillis(settings.longNumber("retentionMs")),
                Release.valueOf(settings.text("release")), new Failures(settings.longNumber("failsEvery"))), properties(settings));
        streams.setStateListener((now, before) -> Harness.emit("state", Map.of("state", now, "before", before)));
        streams.setUncaughtExceptionHandler(error -> {
            if (Failures.isOne(error)) {
                Harness.emit("failed", Map.of("message", error));
                return StreamThreadExceptionResponse.REPLACE_THREAD;
            }
            tell(error);
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        streams.setGlobalStateRestoreListener(new Restores());

        Harness harness = new Harness(settings);
        harness.on("/dump", (query, body) -> Stores.dump(streams, query.text("store"), body));
        harness.on("/tasks", (query, body) -> body.append(Json.of(LocalTasks.of(streams))));
        harness.on("/lag", (query, body) -> body.append(Json.of(Map.of("records", LocalTasks.lagOf(streams)))));
        harness.on("/close", (query, body) -> body.append(Json.of(Map.of("closed", streams.close(Duration.ofSeconds(120))))));
        harness.start();
        if (harness.isInPod()) Runtime.getRuntime().addShutdownHook(new Thread(() -> closeAtTheEnd(streams)));
        if (settings.text("cleansUp").equals("true")) streams.cleanUp(); // As Spring does where it is told to.
        try {
            streams.start();
        } catch (RuntimeException error) {
            tell(error);
            throw error; // The process ends, as an application's does.
        }
        Thread.currentThread().join(); // Ended by the harness: end of input, or a signal.
    }

    /** As applications in pods do when the kubelet sends SIGTERM. */
    private static void closeAtTheEnd(KafkaStreams streams) {
        Harness.emit("closing", Map.of());
        Harness.emit("closed", Map.of("closed", streams.close(Duration.ofSeconds(60))));
    }

    private static void tell(Throwable error) {
        StringWriter trace = new StringWriter();
        error.printStackTrace(new PrintWriter(trace, true));
        Harness.emit("exception", Map.of("message", error, "stack", trace));
    }

    private static Properties properties(Arguments settings) {
        Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, settings.text("applicationId"));
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, settings.text("bootstrap"));
        properties.put(StreamsConfig.STATE_DIR_CONFIG, settings.text("stateDir"));
        properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, settings.text("guarantee"));
        properties.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, settings.text("threads"));
        properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, settings.text("commitIntervalMs"));
        properties.put("cache.max.bytes.buffering", settings.text("cacheBytes")); // Until 4.x; then statestore.cache.max.bytes.
        properties.put("statestore.cache.max.bytes", settings.text("cacheBytes"));
        properties.put(StreamsConfig.ROCKSDB_CONFIG_SETTER_CLASS_CONFIG, WriteBuffers.class);
        properties.put(WriteBuffers.SIZE_SETTING, settings.text("writeBufferBytes"));
        // The records lie in the past: the windows' changelog must keep them.
        properties.put(StreamsConfig.WINDOW_STORE_CHANGE_LOG_ADDITIONAL_RETENTION_MS_CONFIG, Duration.ofDays(36_500).toMillis());
        properties.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        properties.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        properties.put(StreamsConfig.consumerPrefix("session.timeout.ms"), settings.text("sessionTimeoutMs"));
        properties.put(StreamsConfig.consumerPrefix("heartbeat.interval.ms"), 500);
        properties.putAll(settings.startingWith("streams."));
        return properties;
    }

    /** A restore that a rebalance interrupts goes on where it was: one that began at the first offset, with all its records. */
    private static final class Restores implements StateRestoreListener {
        private final Map<TopicPartition, Long> startedAt = new ConcurrentHashMap<>();
        private final Map<TopicPartition, Long> records = new ConcurrentHashMap<>();

        @Override
        public void onRestoreStart(TopicPartition changelog, String store, long startingOffset, long endingOffset) {
            Long before = startedAt.get(changelog);
            if (before != null && before <= startingOffset) return;
            startedAt.put(changelog, startingOffset);
            records.put(changelog, 0L);
            Harness.emit("restoreStart", Map.of("store", store, "topic", changelog.topic(), "partition", changelog.partition(),
                "startingOffset", startingOffset, "endingOffset", endingOffset));
        }

        @Override
        public void onBatchRestored(TopicPartition changelog, String store, long batchEndOffset, long restored) {
            records.merge(changelog, restored, Long::sum);
        }

        @Override
        public void onRestoreEnd(TopicPartition changelog, String store, long totalRestored) {
            startedAt.remove(changelog);
            Harness.emit("restoreEnd", Map.of("store", store, "topic", changelog.topic(), "partition", changelog.partition(),
                "totalRestored", Math.max(totalRestored, records.getOrDefault(changelog, 0L))));
        }
    }
}
