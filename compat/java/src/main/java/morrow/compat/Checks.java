package morrow.compat;

import static morrow.compat.Env.GROUP_PARTITIONS;
import static morrow.compat.Env.await;
import static morrow.compat.Env.equal;
import static morrow.compat.Env.headers;
import static morrow.compat.Env.numbered;
import static morrow.compat.Env.read;
import static morrow.compat.Env.values;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;

/** Producing, consuming and groups. */
final class Checks {
    static void produceAndRead(Env env, String codec, String acks, boolean idempotent) throws Exception {
        env.createTopic(1);
        KafkaProducer<String, String> producer =
                env.producer(Map.of("compression.type", codec, "acks", acks, "enable.idempotence", idempotent));
        for (String n : numbered(1, 100)) {
            producer.send(env.record(0, "key-" + n, "value-" + n, Map.of("h", n)));
        }
        producer.flush();
        List<ConsumerRecord<String, String>> records = read(env.consumerAtBeginning(), 100);
        for (int i = 0; i < 100; i++) {
            ConsumerRecord<String, String> r = records.get(i);
            int n = i + 1;
            equal("record", r.offset() + " " + r.key() + " " + r.value() + " " + headers(r), i + " key-" + n + " value-" + n + " {h=" + n + "}");
        }
    }

    static void consumeBeginning(Env env) throws Exception {
        env.createTopic(1);
        env.produceValues(numbered(1, 10));
        equal("values", values(read(env.consumerAtBeginning(), 10)), numbered(1, 10));
    }

    static void consumeEnd(Env env) throws Exception {
        env.createTopic(1);
        env.produceValues(numbered(1, 10));
        KafkaConsumer<String, String> c = env.consumer("read_uncommitted");
        c.seekToEnd(List.of(env.partition));
        equal("position", c.position(env.partition), 10);
        env.produceValues(numbered(11, 15));
        equal("values", values(read(c, 5)), numbered(11, 15));
    }

    static void consumeTimestamp(Env env) throws Exception {
        env.createTopic(1);
        env.produceValues(numbered(1, 10));
        long from = System.currentTimeMillis() + 1;
        await(() -> System.currentTimeMillis() > from);
        env.produceValues(numbered(11, 15));
        KafkaConsumer<String, String> c = env.consumer("read_uncommitted");
        c.seek(env.partition, c.offsetsForTimes(Map.of(env.partition, from)).get(env.partition).offset());
        equal("values", values(read(c, 5)), numbered(11, 15));
    }

    static void groupRebalance(Env env, String protocol) throws Exception {
        env.createTopic(GROUP_PARTITIONS);
        List<String> spread = new ArrayList<>();
        spread(env, "alone", spread);
        Member first = env.join(protocol);
        await(() -> first.assigned() == GROUP_PARTITIONS);
        await(() -> haveRead(spread, first));
        Member second = env.join(protocol);
        await(() -> first.assigned() == GROUP_PARTITIONS / 2 && second.assigned() == GROUP_PARTITIONS / 2);
        spread(env, "together", spread);
        await(() -> haveRead(spread, first, second));
        second.commit();
        second.close();
        await(() -> first.assigned() == GROUP_PARTITIONS);
        spread(env, "again", spread);
        await(() -> haveRead(spread, first, second));
    }

    /** Sends one value to every partition and adds what was sent to all. */
    private static void spread(Env env, String value, List<String> all) throws Exception {
        List<ProducerRecord<String, String>> records = new ArrayList<>();
        for (int p = 0; p < GROUP_PARTITIONS; p++) {
            records.add(env.record(p, null, value + "@" + p, Map.of()));
            all.add(value + "@" + p);
        }
        env.produce(records);
    }

    private static boolean haveRead(List<String> all, Member... members) {
        return Stream.of(members).flatMap(m -> values(m.records()).stream()).toList().containsAll(all);
    }

    static void groupResume(Env env, String protocol) throws Exception {
        env.createTopic(1);
        env.produceValues(numbered(1, 10));
        Member first = env.join(protocol);
        await(() -> first.records().size() >= 10);
        first.commit();
        first.close();
        env.produceValues(numbered(11, 15));
        Member second = env.join(protocol);
        await(() -> second.records().size() >= 5);
        equal("values of the second member", values(second.records()), numbered(11, 15));
    }

    private Checks() {}
}
