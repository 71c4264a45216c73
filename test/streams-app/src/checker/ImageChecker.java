package warmstate;

import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;

/**
 * Compares images of the application's state with its changelogs: every database must be exactly what some prefix of its
 * changelog leaves, one that goes at least as far as the checkpoint says. Kafka Streams then replays the rest over it and
 * is right. Whatever wrote the image, the changelogs know nothing of it.
 */
public final class ImageChecker {
    private ImageChecker() {}

    public static void main(String[] arguments) throws Exception {
        Arguments settings = new Arguments(arguments);
        Map<String, Changelogs> known = new HashMap<>();
        Harness harness = new Harness(settings);
        harness.on("/check", (query, body) -> {
            String application = query.text("applicationId");
            synchronized (known) {
                Changelogs changelogs = known.computeIfAbsent(application,
                    id -> new Changelogs(settings.text("bootstrap"), id, query.text("topics")));
                changelogs.readToEnd();
                Image image = new Image(Path.of(query.text("directory")), changelogs, Set.of(query.text("exact").split(",")));
                body.append(Json.of(image.check()));
            }
        });
        harness.start();
        Thread.currentThread().join(); // Ended by the harness: end of input, or a signal.
    }
}
