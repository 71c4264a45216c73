package warmstate;

import com.sun.net.httpserver.HttpServer;
import java.io.BufferedWriter;
import java.io.IOException;
import java.io.OutputStreamWriter;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.io.Writer;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.Executors;

/**
 * The side of a Java process that the TypeScript harness sees: one JSON object per line on standard output, commands over
 * HTTP. On this machine that is a free port of 127.0.0.1, and the process ends when standard input does, so that nothing
 * outlives the test run that started it. In a pod it is {@code podPort} of every address, and the kubelet ends it.
 */
final class Harness {
    /** Answers one request: reads its query, writes its body. An exception becomes status 500 with the stack trace. */
    interface Command {
        void answer(Arguments query, Writer body) throws Exception;
    }

    private final HttpServer server;
    private final boolean isInPod;

    Harness(Arguments settings) throws IOException {
        isInPod = settings.has("podPort");
        server = HttpServer.create(isInPod
            ? new InetSocketAddress(settings.number("podPort"))
            : new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.setExecutor(Executors.newCachedThreadPool(Harness::daemon));
    }

    boolean isInPod() {
        return isInPod;
    }

    void on(String path, Command command) {
        server.createContext(path, exchange -> {
            StringWriter answer = new StringWriter();
            int status = 200;
            try {
                command.answer(new Arguments(queryOf(exchange.getRequestURI().getQuery())), answer);
            } catch (Exception | LinkageError error) {
                status = 500;
                answer.getBuffer().setLength(0);
                error.printStackTrace(new PrintWriter(answer, true));
            }
            exchange.sendResponseHeaders(status, 0);
            try (Writer body = new BufferedWriter(new OutputStreamWriter(exchange.getResponseBody(), StandardCharsets.UTF_8))) {
                body.write(answer.toString());
            }
        });
    }

    /** Opens the port, says which one it is, and begins to watch standard input, which a pod has none of. */
    void start() {
        server.start();
        emit("listening", Map.of("port", server.getAddress().getPort()));
        if (!isInPod) daemon(Harness::haltAtEndOfInput).start();
    }

    static void emit(String event, Map<String, ?> facts) {
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("event", event);
        line.put("atMs", System.currentTimeMillis());
        line.putAll(facts);
        synchronized (System.out) {
            System.out.println(Json.of(line));
            System.out.flush();
        }
    }

    private static Map<String, String> queryOf(String query) {
        Map<String, String> values = new HashMap<>();
        if (query == null || query.isEmpty()) return values;
        for (String pair : query.split("&")) {
            int at = pair.indexOf('=');
            values.put(pair.substring(0, at), pair.substring(at + 1));
        }
        return values;
    }

    private static Thread daemon(Runnable work) {
        Thread thread = new Thread(work);
        thread.setDaemon(true);
        return thread;
    }

    private static void haltAtEndOfInput() {
        try {
            while (System.in.read() >= 0) {
                // What comes means nothing; only the end does.
            }
        } catch (IOException ended) {
            // The same.
        }
        Runtime.getRuntime().halt(3);
    }
}
