package morrow.compat;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * A member of the group that is named like its topic. It polls in a thread of its own, the only one to touch the
 * consumer, until it is closed, and then leaves without another commit.
 */
final class Member implements AutoCloseable {
    private final KafkaConsumer<String, String> consumer;
    private final Thread thread;
    private final List<ConsumerRecord<String, String>> records = new ArrayList<>(); // guarded by this
    private final ConcurrentLinkedQueue<CompletableFuture<Void>> commits = new ConcurrentLinkedQueue<>();
    private volatile int assigned;
    private volatile boolean leaving;
    private volatile RuntimeException failure;

    Member(String bootstrap, String topic, String protocol) {
        Map<String, Object> config = new HashMap<>(Map.of(
                "bootstrap.servers", bootstrap,
                "group.id", topic,
                "group.protocol", protocol,
                "auto.offset.reset", "earliest",
                "enable.auto.commit", false,
                "fetch.max.wait.ms", 500));
        if (protocol.equals("classic")) { // the consumer protocol takes these from the broker
            config.put("heartbeat.interval.ms", 300);
            config.put("session.timeout.ms", 10_000);
        }
        consumer = new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer());
        consumer.subscribe(List.of(topic));
        thread = new Thread(this::poll, "member");
        thread.setDaemon(true);
        thread.start();
    }

    private void poll() {
        try (consumer) {
            while (!leaving) {
                var polled = consumer.poll(Duration.ofMillis(50));
                synchronized (this) {
                    polled.forEach(records::add);
                }
                assigned = consumer.assignment().size();
                for (CompletableFuture<Void> c = commits.poll(); c != null; c = commits.poll()) {
                    consumer.commitSync();
                    c.complete(null);
                }
            }
        } catch (RuntimeException e) {
            failure = e;
            commits.forEach(c -> c.completeExceptionally(e));
        }
        assigned = 0;
    }

    /** How many partitions the member has. Throws what ended the member, if anything did. */
    int assigned() {
        if (failure != null) {
            throw failure;
        }
        return assigned;
    }

    synchronized List<ConsumerRecord<String, String>> records() {
        return List.copyOf(records);
    }

    void commit() throws Exception {
        CompletableFuture<Void> done = new CompletableFuture<>();
        commits.add(done);
        done.get();
    }

    @Override
    public void close() throws InterruptedException {
        leaving = true;
        thread.join();
    }
}
