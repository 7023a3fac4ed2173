package morrow.compat;

import java.io.IOException;
import java.io.InputStream;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.kafka.clients.producer.KafkaProducer;

/** Does every check of compat/checks_test.go with the Java client and prints one JSON line for each. */
public final class Main {
    /** Bounds a check, every step of which waits for a condition. */
    private static final long CHECK_TIMEOUT_SECONDS = 90;

    private static final int MAX_DETAIL = 500;

    /** A check is given an environment of its own and fails by throwing. */
    interface Check {
        void run(Env env) throws Exception;
    }

    public static void main(String[] args) throws IOException {
        String bootstrap = System.getenv("COMPAT_BOOTSTRAP");
        String prefix = System.getenv("COMPAT_PREFIX");
        if (bootstrap == null || prefix == null) {
            System.err.println("COMPAT_BOOTSTRAP and COMPAT_PREFIX must be set");
            System.exit(2);
        }
        System.out.printf("{\"client\":\"java\",\"version\":%s}%n", json(clientVersion()));
        checks().forEach((name, check) -> {
            String topic = prefix + "." + name.replace('/', '-').replace('=', '-');
            String failure = failureOf(check, new Env(bootstrap, topic));
            if (failure == null) {
                System.out.printf("{\"check\":%s,\"result\":\"pass\"}%n", json(name));
            } else {
                System.out.printf("{\"check\":%s,\"result\":\"fail\",\"detail\":%s}%n", json(name), json(failure));
            }
        });
        System.exit(0); // also when a check that hangs has left a thread behind
    }

    /** The version in the client's own jar. */
    private static String clientVersion() throws IOException {
        Properties properties = new Properties();
        try (InputStream in = KafkaProducer.class.getResourceAsStream("/kafka/kafka-version.properties")) {
            properties.load(in);
        }
        return properties.getProperty("version");
    }

    private static Map<String, Check> checks() {
        Map<String, Check> checks = new LinkedHashMap<>();
        for (String codec : new String[] {"none", "gzip", "snappy", "lz4", "zstd"}) {
            for (String acks : new String[] {"0", "1", "all"}) {
                checks.put("produce/" + codec + "/acks=" + acks, env -> Checks.produceAndRead(env, codec, acks, false));
            }
        }
        checks.put("produce/idempotent", env -> Checks.produceAndRead(env, "none", "all", true));
        checks.put("consume/beginning", Checks::consumeBeginning);
        checks.put("consume/end", Checks::consumeEnd);
        checks.put("consume/timestamp", Checks::consumeTimestamp);
        checks.put("group/rebalance", env -> Checks.groupRebalance(env, "classic"));
        checks.put("group/resume", env -> Checks.groupResume(env, "classic"));
        checks.put("group848/rebalance", env -> Checks.groupRebalance(env, "consumer"));
        checks.put("group848/resume", env -> Checks.groupResume(env, "consumer"));
        checks.put("admin/create-topic", AdminChecks::createTopic);
        checks.put("admin/describe-topic", AdminChecks::describeTopic);
        checks.put("admin/create-partitions", AdminChecks::createPartitions);
        checks.put("admin/delete-topic", AdminChecks::deleteTopic);
        checks.put("admin/describe-configs", AdminChecks::describeConfigs);
        checks.put("admin/alter-configs", AdminChecks::alterConfigs);
        checks.put("admin/list-offsets", AdminChecks::listOffsets);
        checks.put("admin/delete-records", AdminChecks::deleteRecords);
        checks.put("admin/list-groups", AdminChecks::listGroups);
        checks.put("admin/describe-group", AdminChecks::describeGroup);
        checks.put("admin/delete-group", AdminChecks::deleteGroup);
        checks.put("admin/describe-log-dirs", AdminChecks::describeLogDirs);
        checks.put("admin/describe-cluster", AdminChecks::describeCluster);
        checks.put("delay/delivered", DelayChecks::delivered);
        checks.put("delay/refused", DelayChecks::refused);
        checks.put("delay/sentence", DelayChecks::sentence);
        checks.put("txn/commit", TransactionChecks::commit);
        checks.put("txn/abort", TransactionChecks::abort);
        checks.put("txn/offsets", TransactionChecks::offsets);
        checks.put("txn/delayed", TransactionChecks::delayed);
        checks.put("hidden/bounded", env -> DelayChecks.hiddenBounded(env, "read_uncommitted"));
        checks.put("hidden/read-committed", env -> DelayChecks.hiddenBounded(env, "read_committed"));
        checks.put("hidden/only", DelayChecks::hiddenOnly);
        checks.put("hidden/hole", DelayChecks::hiddenHole);
        checks.put("hidden/lag", DelayChecks::hiddenLag);
        checks.put("hidden/commit-inside", DelayChecks::hiddenCommitInside);
        checks.put("hidden/caught-up", DelayChecks::hiddenCaughtUp);
        checks.put("share/accept", ShareChecks::accept);
        checks.put("share/release", ShareChecks::release);
        checks.put("share/lock-timeout", ShareChecks::lockTimeout);
        checks.put("share/retry-delay", ShareChecks::retryDelay);
        checks.put("share/dead-letter", ShareChecks::deadLetter);
        return checks;
    }

    /** Runs one check with a deadline and returns why it failed, or null. */
    private static String failureOf(Check check, Env env) {
        FutureTask<Void> task = new FutureTask<>(() -> {
            try (env) {
                check.run(env);
            }
            return null;
        });
        Thread thread = new Thread(task, "check");
        thread.setDaemon(true);
        thread.start();
        try {
            task.get(CHECK_TIMEOUT_SECONDS, TimeUnit.SECONDS);
            return null;
        } catch (TimeoutException e) {
            String where = Stream.of(thread.getStackTrace())
                    .filter(frame -> frame.getClassName().startsWith("morrow."))
                    .map(StackTraceElement::toString)
                    .collect(Collectors.joining(", from "));
            task.cancel(true);
            return "not done after " + CHECK_TIMEOUT_SECONDS + " s, in " + where;
        } catch (ExecutionException e) {
            Throwable cause = e.getCause();
            return (cause instanceof ExecutionException ? cause.getCause() : cause).toString();
        } catch (InterruptedException e) {
            return e.toString();
        }
    }

    private static String json(String s) {
        StringBuilder b = new StringBuilder("\"");
        s.chars().limit(MAX_DETAIL).forEach(c -> {
            if (c == '"' || c == '\\') {
                b.append('\\').append((char) c);
            } else if (c < ' ') {
                b.append(String.format("\\u%04x", c));
            } else {
                b.append((char) c);
            }
        });
        return b.append('"').toString();
    }

    private Main() {}
}
