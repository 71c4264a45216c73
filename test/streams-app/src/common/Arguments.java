package warmstate;

import java.util.HashMap;
import java.util.Map;
import java.util.stream.Collectors;

/** Arguments of the form {@code name=value}. */
final class Arguments {
    private final Map<String, String> values = new HashMap<>();

    Arguments(String[] arguments) {
        for (String argument : arguments) {
            int at = argument.indexOf('=');
            if (at < 1) throw new IllegalArgumentException("not name=value: " + argument);
            values.put(argument.substring(0, at), argument.substring(at + 1));
        }
    }

    Arguments(Map<String, String> values) {
        this.values.putAll(values);
    }

    String text(String name) {
        String value = values.get(name);
        if (value == null) throw new IllegalArgumentException("missing argument " + name);
        return value;
    }

    boolean has(String name) {
        return values.containsKey(name);
    }

    /** Without that prefix. */
    Map<String, String> startingWith(String prefix) {
        return values.entrySet().stream().filter(each -> each.getKey().startsWith(prefix))
            .collect(Collectors.toMap(each -> each.getKey().substring(prefix.length()), Map.Entry::getValue));
    }

    int number(String name) {
        return Integer.parseInt(text(name));
    }

    long longNumber(String name) {
        return Long.parseLong(text(name));
    }
}
