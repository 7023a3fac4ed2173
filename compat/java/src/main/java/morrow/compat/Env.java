package morrow.compat;

import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * What a running check has: a topic name of its own, which is also the name of its group, an admin client, and whatever
 * it opens through this class, which is closed at its end. For use by one thread.
 */
final class Env implements AutoCloseable {
    static final int GROUP_PARTITIONS = 4;
    private static final Duration POLL = Duration.ofMillis(100);

    final String bootstrap;
    final String topic;
    final TopicPartition partition;
    final Admin admin;
    private final Deque<AutoCloseable> opened = new ArrayDeque<>();
    private KafkaProducer<String, String> producer;

    Env(String bootstrap, String topic) {
        this.bootstrap = bootstrap;
        this.topic = topic;
        this.partition = new TopicPartition(topic, 0);
        this.admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
    }

    @Override
    public void close() {
        for (AutoCloseable c : opened) {
            try {
                c.close();
            } catch (Exception e) {
                System.err.println(topic + ": " + e);
            }
        }
        admin.close(Duration.ofSeconds(5));
    }

    /** Closes c at the end of the check, before what was opened earlier. */
    <T extends AutoCloseable> T closing(T c) {
        opened.push(c);
        return c;
    }

    // Conditions

    static void equal(String what, Object got, Object want) {
        if (!Objects.equals(String.valueOf(got), String.valueOf(want))) {
            throw new AssertionError(what + ": got " + got + ", want " + want);
        }
    }

    /** Polls until the condition holds; Main bounds the wait. */
    static void await(Callable<Boolean> condition) throws Exception {
        while (!condition.call()) {
            TimeUnit.MILLISECONDS.sleep(20);
        }
    }

    // Topics and producing

    void createTopic(int partitions) throws Exception {
        createTopic(partitions, Map.of());
    }

    void createTopic(int partitions, Map<String, String> configs) throws Exception {
        createTopic(topic, partitions, configs);
    }

    void createTopic(String topic, int partitions, Map<String, String> configs) throws Exception {
        NewTopic newTopic = new NewTopic(topic, Optional.of(partitions), Optional.empty()).configs(configs);
        admin.createTopics(List.of(newTopic)).all().get();
    }

    KafkaProducer<String, String> producer(Map<String, Object> options) {
        Map<String, Object> config = new HashMap<>(options);
        config.put("bootstrap.servers", bootstrap);
        return closing(new KafkaProducer<>(config, new StringSerializer(), new StringSerializer()));
    }

    ProducerRecord<String, String> record(int partition, String key, String value, Map<String, String> headers) {
        ProducerRecord<String, String> r = new ProducerRecord<>(topic, partition, key, value);
        headers.forEach((k, v) -> r.headers().add(k, v.getBytes()));
        return r;
    }

    /** Sends a record with the client's default options and waits for its answer. */
    RecordMetadata produce(ProducerRecord<String, String> r) throws Exception {
        return produce(List.of(r)).get(0);
    }

    List<RecordMetadata> produce(List<ProducerRecord<String, String>> records) throws Exception {
        if (producer == null) {
            producer = producer(Map.of());
        }
        List<Future<RecordMetadata>> futures = new ArrayList<>();
        for (ProducerRecord<String, String> r : records) {
            futures.add(producer.send(r));
        }
        producer.flush();
        List<RecordMetadata> answers = new ArrayList<>();
        for (Future<RecordMetadata> f : futures) {
            answers.add(f.get());
        }
        return answers;
    }

    void produceValues(List<String> values) throws Exception {
        produce(values.stream().map(v -> record(0, null, v, Map.of())).toList());
    }

    /** Appends n records that nobody sees for an hour. */
    void hide(int n) throws Exception {
        ProducerRecord<String, String> r = record(0, null, "hidden", Map.of("morrow-delay", "1h"));
        produce(IntStream.range(0, n).mapToObj(i -> r).toList());
    }

    static List<String> numbered(int first, int last) {
        return IntStream.rangeClosed(first, last).mapToObj(String::valueOf).toList();
    }

    // Consuming

    /** A consumer that is assigned partition 0 and has no position yet. */
    KafkaConsumer<String, String> consumer(String isolation) {
        return consumer(isolation, partition);
    }

    KafkaConsumer<String, String> consumer(String isolation, TopicPartition partition) {
        KafkaConsumer<String, String> c = closing(new KafkaConsumer<>(
                Map.of(
                        "bootstrap.servers", bootstrap,
                        "isolation.level", isolation,
                        "fetch.max.wait.ms", 500,
                        "enable.auto.commit", false,
                        "auto.offset.reset", "none"),
                new StringDeserializer(),
                new StringDeserializer()));
        c.assign(List.of(partition));
        return c;
    }

    KafkaConsumer<String, String> consumerAtBeginning() {
        KafkaConsumer<String, String> c = consumer("read_uncommitted");
        c.seekToBeginning(List.of(partition));
        return c;
    }

    static List<ConsumerRecord<String, String>> read(KafkaConsumer<String, String> c, int n) {
        List<ConsumerRecord<String, String>> records = new ArrayList<>();
        while (records.size() < n) {
            c.poll(POLL).forEach(records::add);
        }
        return records;
    }

    /** The loop of every bounded reader: from the beginning until the position is the end that ListOffsets gives. */
    List<ConsumerRecord<String, String>> readToEnd(String isolation) {
        KafkaConsumer<String, String> c = consumer(isolation);
        c.seekToBeginning(List.of(partition));
        long end = c.endOffsets(List.of(partition)).get(partition);
        List<ConsumerRecord<String, String>> records = new ArrayList<>();
        while (c.position(partition) < end) {
            c.poll(POLL).forEach(records::add);
        }
        return records;
    }

    long end() {
        return consumer("read_uncommitted").endOffsets(List.of(partition)).get(partition);
    }

    static List<String> values(List<ConsumerRecord<String, String>> records) {
        return records.stream().map(ConsumerRecord::value).toList();
    }

    static Map<String, String> headers(ConsumerRecord<String, String> r) {
        Map<String, String> headers = new HashMap<>();
        for (Header h : r.headers()) {
            headers.put(h.key(), new String(h.value()));
        }
        return headers;
    }

    Member join(String protocol) {
        return closing(new Member(bootstrap, topic, protocol));
    }

    /** The error a future of the client failed with, or null if it did not. */
    static Throwable causeOf(Future<?> future) throws InterruptedException {
        try {
            future.get();
            return null;
        } catch (ExecutionException e) {
            return e.getCause();
        }
    }
}
