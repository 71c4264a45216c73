package warmstate;

import java.io.IOException;
import java.io.Writer;
import java.lang.reflect.Method;
import java.time.Duration;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StoreQueryParameters;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.QueryableStoreTypes;
import org.apache.kafka.streams.state.WindowStore;

/**
 * The five stores and what fills them. Sub-topology 0 reads {@code <topics>-input} into agg, win and mem, sub-topology 1
 * reads {@code <topics>-table} into tab; {@code <topics>-global} fills glob.
 */
final class Stores {
    private static final Serde<String> TEXT = Serdes.String();
    private static final Duration WINDOW = Duration.ofMinutes(10);

    private Stores() {}

    static Topology topology(String topics, Duration retention, Release release, Failures failures) {
        StreamsBuilder builder = new StreamsBuilder();
        if (release == Release.TABLE_FIRST) addTable(builder, topics);
        addInput(builder, topics, retention, release, failures);
        if (release == Release.FIRST || release == Release.WITHOUT_MEMORY) addTable(builder, topics);
        builder.globalTable(topics + (release == Release.OTHER_GLOBAL ? "-table" : "-global"), Consumed.with(TEXT, TEXT),
            Materialized.<String, String, KeyValueStore<Bytes, byte[]>>as("glob").withKeySerde(TEXT).withValueSerde(TEXT));
        return builder.build();
    }

    private static void addInput(StreamsBuilder builder, String topics, Duration retention, Release release, Failures failures) {
        KStream<String, String> records = builder.stream(topics + "-input", Consumed.with(TEXT, TEXT));
        KGroupedStream<String, String> input = records.groupByKey(Grouped.with(TEXT, TEXT));
        input.aggregate(() -> "", (key, value, sum) -> failures.mark(value, aggregate(sum, value)),
            Materialized.<String, String, KeyValueStore<Bytes, byte[]>>as("agg").withKeySerde(TEXT).withValueSerde(TEXT));
        input.windowedBy(windows()).count(
            Materialized.<String, Long, WindowStore<Bytes, byte[]>>as("win").withKeySerde(TEXT).withRetention(retention));
        if (release != Release.WITHOUT_MEMORY) input.count(Materialized.<String, Long>as(org.apache.kafka.streams.state.Stores.inMemoryKeyValueStore("mem"))
            .withKeySerde(TEXT).withValueSerde(Serdes.Long()));
        if (failures.areWanted()) records.foreach((key, value) -> failures.at(value)); // The last: its stores are written.
    }

    private static void addTable(StreamsBuilder builder, String topics) {
        builder.table(topics + "-table", Consumed.with(TEXT, TEXT),
            Materialized.<String, String, KeyValueStore<Bytes, byte[]>>as("tab").withKeySerde(TEXT).withValueSerde(TEXT));
    }

    /** One line {@code key TAB value} per entry; the key of a window is {@code key@start}, its start in milliseconds. */
    static void dump(KafkaStreams streams, String store, Writer lines) throws IOException {
        if (store.equals("win")) {
            try (KeyValueIterator<Windowed<String>, Object> all = streams.store(
                StoreQueryParameters.fromNameAndType(store, QueryableStoreTypes.<String, Object>windowStore())).all()) {
                while (all.hasNext()) {
                    KeyValue<Windowed<String>, Object> entry = all.next();
                    lines.append(entry.key.key() + "@" + entry.key.window().start() + "\t" + entry.value + "\n");
                }
            }
            return;
        }
        try (KeyValueIterator<String, Object> all = streams.store(
            StoreQueryParameters.fromNameAndType(store, QueryableStoreTypes.<String, Object>keyValueStore())).all()) {
            while (all.hasNext()) {
                KeyValue<String, Object> entry = all.next();
                lines.append(entry.key + "\t" + entry.value + "\n");
            }
        }
    }

    /** {@code value} is "number amount payload"; the sum is "count=… sum=… last=… payload". */
    private static String aggregate(String sum, String value) {
        String[] input = value.split(" ", 3);
        long count = 0;
        long total = 0;
        if (!sum.isEmpty()) {
            String[] before = sum.split(" ", 3);
            count = Long.parseLong(before[0].substring("count=".length()));
            total = Long.parseLong(before[1].substring("sum=".length()));
        }
        return "count=" + (count + 1) + " sum=" + (total + Long.parseLong(input[1])) + " last=" + input[0] + " " + input[2];
    }

    /** {@code of} went in 4.0, {@code ofSizeAndGrace} came in 3.0. */
    private static TimeWindows windows() {
        try {
            Method ofSizeAndGrace = TimeWindows.class.getMethod("ofSizeAndGrace", Duration.class, Duration.class);
            return (TimeWindows) ofSizeAndGrace.invoke(null, WINDOW, WINDOW);
        } catch (NoSuchMethodException before30) {
            return windowsBefore30();
        } catch (ReflectiveOperationException error) {
            throw new IllegalStateException(error);
        }
    }

    private static TimeWindows windowsBefore30() {
        try {
            Object windows = TimeWindows.class.getMethod("of", Duration.class).invoke(null, WINDOW);
            return (TimeWindows) TimeWindows.class.getMethod("grace", Duration.class).invoke(windows, WINDOW);
        } catch (ReflectiveOperationException error) {
            throw new IllegalStateException(error);
        }
    }
}
