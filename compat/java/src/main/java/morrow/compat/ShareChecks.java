package morrow.compat;

import static morrow.compat.Env.equal;
import static morrow.compat.Env.read;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.consumer.AcknowledgeType;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicIdPartition;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.StringDeserializer;

/** What members of a share group do (KIP-932). The group has the name of the topic. */
final class ShareChecks {
    private static final Duration POLL = Duration.ofMillis(200);

    /** Creates the topic and configures the group, which begins at the first record. */
    private static void prepare(Env env, Map<String, String> configs) throws Exception {
        env.createTopic(1);
        List<AlterConfigOp> ops = new ArrayList<>();
        ops.add(new AlterConfigOp(new ConfigEntry("share.auto.offset.reset", "earliest"), AlterConfigOp.OpType.SET));
        configs.forEach((k, v) -> ops.add(new AlterConfigOp(new ConfigEntry(k, v), AlterConfigOp.OpType.SET)));
        ConfigResource group = new ConfigResource(ConfigResource.Type.GROUP, env.topic);
        env.admin.incrementalAlterConfigs(Map.of(group, ops)).all().get();
    }

    private static KafkaShareConsumer<String, String> join(Env env) {
        KafkaShareConsumer<String, String> c = env.closing(new KafkaShareConsumer<>(
                Map.of(
                        "bootstrap.servers", env.bootstrap,
                        "group.id", env.topic,
                        "share.acknowledgement.mode", "explicit",
                        "fetch.max.wait.ms", 500),
                new StringDeserializer(),
                new StringDeserializer()));
        c.subscribe(List.of(env.topic));
        return c;
    }

    private static ConsumerRecord<String, String> next(KafkaShareConsumer<String, String> c) {
        while (true) {
            for (ConsumerRecord<String, String> r : c.poll(POLL)) {
                return r;
            }
        }
    }

    /** Commits what was acknowledged, and fails if the broker did not take it. */
    private static void commit(KafkaShareConsumer<String, String> c) {
        Map<TopicIdPartition, Optional<KafkaException>> result = c.commitSync();
        result.forEach((p, e) -> e.ifPresent(cause -> {
            throw cause;
        }));
    }

    private static void nothingWithin(KafkaShareConsumer<String, String> c, Duration wait) {
        for (long end = System.nanoTime() + wait.toNanos(); System.nanoTime() < end; ) {
            equal("records", c.poll(POLL).count(), 0);
        }
    }

    static void accept(Env env) throws Exception {
        prepare(env, Map.of());
        env.produceValues(Env.numbered(1, 20));
        KafkaShareConsumer<String, String> c = join(env);
        List<String> got = new ArrayList<>();
        while (got.size() < 20) {
            for (ConsumerRecord<String, String> r : c.poll(POLL)) {
                equal("delivery count of " + r.value(), r.deliveryCount().get(), 1);
                got.add(r.value());
                c.acknowledge(r, AcknowledgeType.ACCEPT);
            }
            commit(c);
        }
        equal("values", got, Env.numbered(1, 20));
        nothingWithin(join(env), Duration.ofSeconds(1));
    }

    static void release(Env env) throws Exception {
        prepare(env, Map.of());
        env.produceValues(List.of("a"));
        KafkaShareConsumer<String, String> c = join(env);
        for (int delivery = 1; delivery <= 3; delivery++) {
            ConsumerRecord<String, String> r = next(c);
            equal("delivery count", r.deliveryCount().get(), delivery);
            c.acknowledge(r, delivery < 3 ? AcknowledgeType.RELEASE : AcknowledgeType.ACCEPT);
            commit(c);
        }
        nothingWithin(c, Duration.ofSeconds(1));
    }

    static void lockTimeout(Env env) throws Exception {
        prepare(env, Map.of("share.record.lock.duration.ms", "15000"));
        env.produceValues(List.of("a"));
        KafkaShareConsumer<String, String> slow = join(env);
        equal("delivery count", next(slow).deliveryCount().get(), 1);
        long acquired = System.nanoTime();
        KafkaShareConsumer<String, String> other = join(env);
        ConsumerRecord<String, String> r = next(other);
        long waited = Duration.ofNanos(System.nanoTime() - acquired).toMillis();
        if (waited < 13_000) {
            throw new AssertionError("the record came back after " + waited + " ms, want 15000");
        }
        equal("delivery count, the second time", r.deliveryCount().get(), 2);
        other.acknowledge(r, AcknowledgeType.ACCEPT);
        commit(other);
    }

    static void retryDelay(Env env) throws Exception {
        prepare(env, Map.of("share.retry.delay.ms", "1000", "share.retry.delay.max.ms", "60000"));
        env.produceValues(List.of("a"));
        KafkaShareConsumer<String, String> c = join(env);
        for (int delivery = 1; delivery <= 3; delivery++) {
            ConsumerRecord<String, String> r = next(c);
            equal("delivery count", r.deliveryCount().get(), delivery);
            long released = System.nanoTime();
            c.acknowledge(r, delivery < 3 ? AcknowledgeType.RELEASE : AcknowledgeType.ACCEPT);
            commit(c);
            if (delivery < 3) {
                nothingWithin(c, Duration.ofMillis(1000L * delivery - 300).minusNanos(System.nanoTime() - released));
            }
        }
    }

    static void deadLetter(Env env) throws Exception {
        String dead = env.topic + ".dead";
        prepare(env, Map.of("errors.deadletterqueue.topic.name", dead, "share.delivery.count.limit", "2"));
        env.produceValues(List.of("refused", "fails"));
        KafkaShareConsumer<String, String> c = join(env);
        for (int done = 0; done < 3; ) {
            for (ConsumerRecord<String, String> r : c.poll(POLL)) {
                c.acknowledge(r, r.value().equals("refused") ? AcknowledgeType.REJECT : AcknowledgeType.RELEASE);
                done++;
            }
            commit(c);
        }
        Env.await(() -> env.admin.listTopics().names().get().contains(dead));
        KafkaConsumer<String, String> reader = env.consumerAtBeginning();
        TopicPartition partition = new TopicPartition(dead, 0);
        reader.assign(List.of(partition));
        reader.seekToBeginning(List.of(partition));
        List<ConsumerRecord<String, String>> letters = read(reader, 2);
        for (ConsumerRecord<String, String> r : letters) {
            boolean refused = r.value().equals("refused");
            Map<String, String> headers = Env.headers(r);
            equal("topic", headers.get("__dlq.errors.topic"), env.topic);
            equal("partition", headers.get("__dlq.errors.partition"), 0);
            equal("offset", headers.get("__dlq.errors.offset"), refused ? 0 : 1);
            equal("group", headers.get("__dlq.errors.group"), env.topic);
            equal("delivery count", headers.get("__dlq.errors.delivery.count"), refused ? 1 : 2);
        }
        nothingWithin(c, Duration.ofSeconds(1));
    }

    private ShareChecks() {}
}
