package warmstate;

import java.util.Collection;
import java.util.Map;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.apache.kafka.streams.KafkaStreams;

/** Which tasks this instance has, and how far they are behind their changelogs. */
final class LocalTasks {
    private LocalTasks() {}

    /** The ids of the active and of the standby tasks, each list with blanks between. */
    static Map<String, String> of(KafkaStreams streams) throws ReflectiveOperationException {
        return Map.of("active", idsOf(streams, "activeTasks"), "standby", idsOf(streams, "standbyTasks"));
    }

    /** Of the changelog partition that is furthest behind, in records. */
    static long lagOf(KafkaStreams streams) {
        return streams.allLocalStorePartitionLags().values().stream().flatMap(partitions -> partitions.values().stream())
            .mapToLong(lag -> lag.offsetLag()).max().orElse(0);
    }

    private static String idsOf(KafkaStreams streams, String kind) throws ReflectiveOperationException {
        TreeSet<String> ids = new TreeSet<>();
        for (Object thread : (Collection<?>) call(streams, threadsMethod())) {
            for (Object task : (Collection<?>) call(thread, kind)) ids.add(call(task, "taskId").toString());
        }
        return ids.stream().collect(Collectors.joining(" "));
    }

    /** {@code localThreadsMetadata} went in 4.0, {@code metadataForLocalThreads} came in 3.0. */
    private static String threadsMethod() {
        try {
            return KafkaStreams.class.getMethod("metadataForLocalThreads").getName();
        } catch (NoSuchMethodException before30) {
            return "localThreadsMetadata";
        }
    }

    private static Object call(Object target, String method) throws ReflectiveOperationException {
        return target.getClass().getMethod(method).invoke(target);
    }
}
