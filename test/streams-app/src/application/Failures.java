package warmstate;

import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/** What makes the application throw now and then, once for each such record in the life of a process. */
final class Failures {
    private final long every;
    private final Set<Long> thrown = ConcurrentHashMap.newKeySet();

    Failures(long every) {
        this.every = every;
    }

    boolean areWanted() {
        return every > 0;
    }

    /** What the record writes, marked if its transaction is going to be taken back. {@code value} is "number amount payload". */
    String mark(String value, String written) {
        return isDue(numberOf(value)) ? written + " aborted" : written;
    }

    void at(String value) {
        long number = numberOf(value);
        if (isDue(number) && thrown.add(number)) throw new Wanted("thrown at record " + number);
    }

    /** Of ten numbers two are records of tables, a multiple of ten is none. */
    private boolean isDue(long number) {
        return areWanted() && number > 0 && number % every == 0 && !thrown.contains(number);
    }

    private static long numberOf(String value) {
        return Long.parseLong(value.substring(0, value.indexOf(' ')));
    }

    static boolean isOne(Throwable error) {
        for (Throwable cause = error; cause != null; cause = cause.getCause()) if (cause instanceof Wanted) return true;
        return false;
    }

    private static final class Wanted extends RuntimeException {
        private static final long serialVersionUID = 1L;

        Wanted(String message) {
            super(message);
        }
    }
}
