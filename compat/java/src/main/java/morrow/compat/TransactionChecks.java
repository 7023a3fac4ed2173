package morrow.compat;

import static morrow.compat.Env.await;
import static morrow.compat.Env.equal;
import static morrow.compat.Env.headers;
import static morrow.compat.Env.numbered;
import static morrow.compat.Env.read;
import static morrow.compat.Env.values;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;

/** Transactions. The transactional id of a check is the name of its topic. */
final class TransactionChecks {
    private static final String MARKER = "end of the check";

    private static KafkaProducer<String, String> producer(Env env) {
        KafkaProducer<String, String> p = env.producer(Map.of("transactional.id", env.topic));
        p.initTransactions();
        return p;
    }

    /** Sends records and waits for their answers. */
    private static void send(KafkaProducer<String, String> p, List<ProducerRecord<String, String>> records) throws Exception {
        List<Future<RecordMetadata>> futures = records.stream().map(p::send).toList();
        p.flush();
        for (Future<RecordMetadata> f : futures) {
            f.get();
        }
    }

    private static void transact(KafkaProducer<String, String> p, List<ProducerRecord<String, String>> records, boolean commit)
            throws Exception {
        p.beginTransaction();
        send(p, records);
        end(p, commit);
    }

    private static void end(KafkaProducer<String, String> p, boolean commit) {
        if (commit) {
            p.commitTransaction();
        } else {
            p.abortTransaction();
        }
    }

    private static List<ProducerRecord<String, String>> records(Env env, List<String> values) {
        return values.stream().map(v -> env.record(0, null, v, Map.of())).toList();
    }

    private static KafkaConsumer<String, String> committed(Env env) {
        KafkaConsumer<String, String> c = env.consumer("read_committed");
        c.seekToBeginning(List.of(env.partition));
        return c;
    }

    private static void nothingWithin(KafkaConsumer<String, String> c, Duration wait) {
        for (long end = System.nanoTime() + wait.toNanos(); System.nanoTime() < end; ) {
            equal("records", c.poll(Duration.ofMillis(50)).count(), 0);
        }
    }

    /** The values that c sees up to a record that is produced here, outside of any transaction. */
    private static List<String> readAll(Env env, KafkaConsumer<String, String> c) throws Exception {
        env.produceValues(List.of(MARKER));
        List<String> got = new ArrayList<>();
        while (!got.contains(MARKER)) {
            got.addAll(values(read(c, 1)));
        }
        return got.subList(0, got.indexOf(MARKER));
    }

    static void commit(Env env) throws Exception {
        env.createTopic(1);
        KafkaProducer<String, String> p = producer(env);
        p.beginTransaction();
        send(p, records(env, numbered(1, 5)));
        equal("values of the open transaction", values(read(env.consumerAtBeginning(), 5)), numbered(1, 5));

        env.produceValues(List.of("outside"));
        KafkaConsumer<String, String> clean = committed(env);
        nothingWithin(clean, Duration.ofSeconds(1));
        p.commitTransaction();
        List<String> want = new ArrayList<>(numbered(1, 5));
        want.add("outside");
        equal("values of the committed transaction", values(read(clean, 6)), want);
    }

    static void abort(Env env) throws Exception {
        env.createTopic(1);
        KafkaProducer<String, String> p = producer(env);
        transact(p, records(env, numbered(1, 5)), false);
        transact(p, records(env, numbered(6, 10)), true);
        equal("committed values", readAll(env, committed(env)), numbered(6, 10));
        equal("all values", readAll(env, env.consumerAtBeginning()), numbered(1, 10));
    }

    static void offsets(Env env) throws Exception {
        TopicPartition from = new TopicPartition(env.topic + ".from", 0);
        env.createTopic(from.topic(), 1, Map.of());
        env.createTopic(1);
        env.produce(numbered(1, 5).stream().map(v -> new ProducerRecord<String, String>(from.topic(), 0, null, v)).toList());
        KafkaProducer<String, String> p = producer(env);
        relay(env, p, from, false);
        equal("position after the abort", position(env, from), null);
        relay(env, p, from, true);
        await(() -> position(env, from) != null); // the markers are written after the answer
        equal("position", position(env, from), 5);
        equal("copies", readAll(env, committed(env)), numbered(1, 5));
    }

    /** What an application between two topics does. */
    private static void relay(Env env, KafkaProducer<String, String> p, TopicPartition from, boolean commit) throws Exception {
        KafkaConsumer<String, String> source = env.consumer("read_committed", from);
        source.seekToBeginning(List.of(from));
        List<String> values = values(read(source, 5));
        p.beginTransaction();
        send(p, records(env, values));
        Map<TopicPartition, OffsetAndMetadata> next = Map.of(from, new OffsetAndMetadata(source.position(from)));
        p.sendOffsetsToTransaction(next, new ConsumerGroupMetadata(env.topic));
        end(p, commit);
    }

    /** The position that the group has committed, or null. */
    private static Long position(Env env, TopicPartition from) throws Exception {
        OffsetAndMetadata committed =
                env.admin.listConsumerGroupOffsets(env.topic).partitionsToOffsetAndMetadata().get().get(from);
        return committed == null ? null : committed.offset();
    }

    static void delayed(Env env) throws Exception {
        env.createTopic(1);
        Map<String, String> later = Map.of("morrow-delay", "1s");
        KafkaProducer<String, String> p = producer(env);
        transact(p, List.of(env.record(0, null, "dropped", later)), false);
        long before = System.currentTimeMillis();
        transact(p, List.of(env.record(0, null, "kept", later), env.record(0, null, "at once", Map.of())), true);

        KafkaConsumer<String, String> c = committed(env);
        List<ConsumerRecord<String, String>> got = read(c, 2);
        equal("values", values(got), List.of("at once", "kept"));
        long due = Long.parseLong(headers(got.get(1)).get("morrow-due"));
        long delivered = got.get(1).timestamp();
        if (due < before + 1000 || delivered < due) {
            throw new AssertionError("early: produced at " + before + ", due " + due + ", delivered at " + delivered);
        }
        nothingWithin(c, Duration.ofSeconds(1));
    }

    private TransactionChecks() {}
}
