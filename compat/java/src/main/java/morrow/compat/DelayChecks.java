package morrow.compat;

import static morrow.compat.Env.await;
import static morrow.compat.Env.causeOf;
import static morrow.compat.Env.equal;
import static morrow.compat.Env.headers;
import static morrow.compat.Env.numbered;
import static morrow.compat.Env.read;
import static morrow.compat.Env.values;

import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.InvalidRecordException;

/** Delayed records, and what a consumer sees of a log with hidden ones in it. */
final class DelayChecks {
    static void delivered(Env env) throws Exception {
        env.createTopic(1);
        env.produceValues(List.of("first"));
        long before = System.currentTimeMillis();
        long ticket = env.produce(env.record(0, "key", "later", Map.of("morrow-delay", "2s", "other", "kept"))).offset();
        ConsumerRecord<String, String> r = read(env.consumerAtBeginning(), 2).get(1);
        long arrived = System.currentTimeMillis();

        Map<String, String> headers = headers(r);
        equal("key, value and header", r.key() + " " + r.value() + " " + headers.get("other"), "key later kept");
        equal("morrow-delay", headers.get("morrow-delay"), null);
        equal("offset told to the producer", ticket, 1);
        equal("morrow-ticket", headers.get("morrow-ticket"), ticket);
        long due = Long.parseLong(headers.get("morrow-due"));
        if (due < before + 2000 || r.timestamp() < due || arrived < due) {
            throw new AssertionError("early: produced at " + before + ", due " + due + ", delivered at " + r.timestamp() + ", arrived at " + arrived);
        }
    }

    static void refused(Env env) throws Exception {
        env.createTopic(1);
        env.produceValues(List.of("first"));
        refusal(env);
        equal("end", env.end(), 1);
    }

    static void sentence(Env env) throws Exception {
        env.createTopic(1);
        String message = refusal(env).getMessage();
        if (!message.contains("morrow-delay") || !message.contains("soon")) {
            throw new AssertionError("the message does not name the header and its value: " + message);
        }
    }

    private static Throwable refusal(Env env) throws Exception {
        Throwable cause = causeOf(env.producer(Map.of()).send(env.record(0, null, "never", Map.of("morrow-delay", "soon"))));
        if (!(cause instanceof InvalidRecordException)) {
            throw new AssertionError("got " + cause + ", want InvalidRecordException");
        }
        return cause;
    }

    static void hiddenBounded(Env env, String isolation) throws Exception {
        env.createTopic(1);
        env.produceValues(numbered(1, 10));
        env.hide(5);
        equal("end", env.end(), 10);
        equal("values", values(env.readToEnd(isolation)), numbered(1, 10));
    }

    static void hiddenOnly(Env env) throws Exception {
        env.createTopic(1);
        env.hide(5);
        equal("values", values(env.readToEnd("read_uncommitted")), List.of());
        KafkaConsumer<String, String> c = env.consumerAtBeginning();
        env.produceValues(List.of("visible"));
        ConsumerRecord<String, String> r = read(c, 1).get(0);
        equal("offset and value", r.offset() + " " + r.value(), "5 visible");
    }

    static void hiddenHole(Env env) throws Exception {
        final int hole = 100_000;
        env.createTopic(1);
        env.produceValues(List.of("before"));
        env.hide(hole);
        env.produceValues(List.of("after"));
        List<ConsumerRecord<String, String>> records = env.readToEnd("read_uncommitted");
        equal("values", values(records), List.of("before", "after"));
        equal("offsets", records.stream().map(ConsumerRecord::offset).toList(), List.of(0, hole + 1));
        equal("end", env.end(), hole + 2);
    }

    static void hiddenLag(Env env) throws Exception {
        env.createTopic(1);
        env.produceValues(numbered(1, 10));
        env.hide(5);
        Member m = env.join("classic");
        await(() -> m.records().size() >= 10);
        m.commit();
        m.close();
        long committed = env.admin.listConsumerGroupOffsets(env.topic).partitionsToOffsetAndMetadata().get().get(env.partition).offset();
        equal("lag", env.end() - committed, 0);
        equal("values", values(m.records()), numbered(1, 10));
    }

    static void hiddenCommitInside(Env env) throws Exception {
        env.createTopic(1);
        env.produceValues(numbered(1, 10));
        env.hide(5);
        env.admin.alterConsumerGroupOffsets(env.topic, Map.of(env.partition, new OffsetAndMetadata(13))).all().get();
        Member m = env.join("classic");
        await(() -> m.assigned() == 1);
        env.produceValues(List.of("visible"));
        await(() -> values(m.records()).contains("visible"));
        equal("values", values(m.records()), List.of("visible"));
        equal("offset", m.records().get(0).offset(), 15);
    }

    static void hiddenCaughtUp(Env env) throws Exception {
        final int batches = 12;
        final long paceMillis = 250;
        final int maxFetches = 30;
        env.createTopic(1);
        env.produceValues(List.of("first"));
        KafkaConsumer<String, String> c = env.consumerAtBeginning();
        read(c, 1);
        double before = fetches(c);
        for (int i = 0; i < batches; i++) {
            long next = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(paceMillis);
            env.hide(1);
            while (System.nanoTime() < next) {
                equal("records", c.poll(Duration.ofMillis(20)).count(), 0);
            }
        }
        double during = fetches(c) - before;
        env.produceValues(List.of("last"));
        ConsumerRecord<String, String> r = read(c, 1).get(0);
        equal("offset and value", r.offset() + " " + r.value(), (batches + 1) + " last");
        if (before == 0 || during > maxFetches) {
            throw new AssertionError(during + " fetches while " + batches + " hidden batches arrived");
        }
    }

    private static double fetches(KafkaConsumer<String, String> c) {
        return c.metrics().values().stream()
                .filter(m -> m.metricName().name().equals("fetch-total") && m.metricName().group().equals("consumer-fetch-manager-metrics"))
                .mapToDouble(m -> (Double) m.metricValue())
                .sum();
    }

    private DelayChecks() {}
}
