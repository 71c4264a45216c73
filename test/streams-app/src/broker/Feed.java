package warmstate;

import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Produces records that are a function of their number, so that their effect can be computed independently
 * (README.md has the function in words; test/support/model.ts is the other implementation).
 */
final class Feed {
    /** 2026-01-05T11:00:00Z: an hour before a segment of the windowed store ends. */
    private static final long FIRST_TIMESTAMP_MS = 1_767_610_800_000L;
    private static final int GLOBAL_PARTITIONS = 2;
    private static final String[] WORDS = {
        "amber", "birch", "cedar", "delta", "ember", "frost", "grove", "heron",
        "inlet", "jetty", "kelp", "larch", "maple", "north", "ochre", "pearl",
    };

    private Feed() {}

    /** Records {@code from} (inclusive) to {@code to} (exclusive), all acknowledged when it returns. */
    static void send(String bootstrap, Arguments query) {
        Properties properties = new Properties();
        // One request in flight: with more, a producer that meets a partition whose leader is new may number its batches out of
        // order and never recover (seen with 4.4.0).
        properties.putAll(Map.of("bootstrap.servers", bootstrap, "acks", "all", "linger.ms", 5,
            "max.in.flight.requests.per.connection", 1));
        AtomicReference<Exception> failed = new AtomicReference<>();
        try (Producer<String, String> producer = new KafkaProducer<>(properties, new StringSerializer(), new StringSerializer())) {
            for (int n = query.number("from"); n < query.number("to"); n++) {
                producer.send(record(n, query), (metadata, error) -> {
                    if (error != null) failed.compareAndSet(null, error);
                });
            }
            producer.flush();
        }
        if (failed.get() != null) throw new IllegalStateException("not all records were taken", failed.get());
    }

    private static ProducerRecord<String, String> record(int n, Arguments query) {
        String topics = query.text("topics");
        long timestamp = FIRST_TIMESTAMP_MS + n * query.longNumber("stepMs");
        int payloadBytes = query.number("payloadBytes");
        switch (n % 10) {
            case 8:
                String row = "row-" + Integer.remainderUnsigned(chance(n, 0), query.number("rows"));
                boolean rowEnds = Integer.remainderUnsigned(chance(n, 1), 5) == 0;
                return new ProducerRecord<>(topics + "-table", null, timestamp, row, rowEnds ? null : n + " " + payload(n, payloadBytes));
            case 9:
                int item = Integer.remainderUnsigned(chance(n, 0), query.number("items"));
                boolean itemEnds = Integer.remainderUnsigned(chance(n, 1), 10) == 0;
                return new ProducerRecord<>(topics + "-global", item % GLOBAL_PARTITIONS, timestamp, "item-" + item,
                    itemEnds ? null : n + " " + payload(n, payloadBytes));
            default:
                String key = "key-" + Integer.remainderUnsigned(chance(n, 0), query.number("keys"));
                int amount = Integer.remainderUnsigned(chance(n, 1), 1000);
                return new ProducerRecord<>(topics + "-input", null, timestamp, key, n + " " + amount + " " + payload(n, payloadBytes));
        }
    }

    private static String payload(int n, int bytes) {
        StringBuilder text = new StringBuilder();
        int state = chance(n, 2);
        for (int i = 0; text.length() < bytes; i++) {
            text.append(WORDS[state & 15]).append(' ');
            state = mix(state + i);
        }
        return text.substring(0, bytes);
    }

    private static int chance(int n, int salt) {
        return mix(n * 8 + salt);
    }

    /** The finalizer of MurmurHash3. */
    private static int mix(int value) {
        int h = value * 0x9E3779B1;
        h = (h ^ (h >>> 16)) * 0x85EBCA6B;
        h = (h ^ (h >>> 13)) * 0xC2B2AE35;
        return h ^ (h >>> 16);
    }
}
