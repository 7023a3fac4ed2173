"""Does the checks of package check with confluent-kafka-python, and so with librdkafka."""

import json

import confluent_kafka as ck
from confluent_kafka import admin as cka

from check import (
    END,
    MAX_WAIT_MS,
    InvalidRecord,
    Member,
    Record,
    Start,
    TopicExists,
    Unsupported,
    deadline,
)
from check.run import main

POLL = 0.1


def to_record(message: ck.Message) -> Record:
    return Record(
        value=message.value().decode(),
        key=message.key().decode() if message.key() is not None else None,
        headers={k: v.decode() for k, v in message.headers() or []},
        partition=message.partition(),
        offset=message.offset(),
        timestamp=message.timestamp()[1],
    )


def result(future):
    """The one result of an admin call."""
    return future.result(timeout=30)


def send(producer: ck.Producer, topic: str, records: list[Record]) -> list[int | None]:
    """Produces records and returns the offsets that were told."""
    told: list[int | None] = [None] * len(records)
    errors: list[ck.KafkaError] = []

    def delivered(i: int):
        def callback(error, message):
            if error is not None:
                errors.append(error)
            elif message.offset() is not None and message.offset() >= 0:
                told[i] = message.offset()

        return callback

    for i, r in enumerate(records):
        headers = [(k, v.encode()) for k, v in r.headers.items()]
        producer.produce(topic, r.value, r.key, r.partition, delivered(i), headers=headers)
    while producer.flush(POLL):
        deadline.check("the answer to a produce")
    if errors:
        if errors[0].code() == ck.KafkaError.INVALID_RECORD:
            raise InvalidRecord(errors[0].str())
        raise ck.KafkaException(errors[0])
    return told


class Client:
    def __init__(self, bootstrap: str) -> None:
        self._base = {"bootstrap.servers": bootstrap}
        self._admin = cka.AdminClient(self._base)
        self._producers: dict[tuple, ck.Producer] = {}

    def produce(self, topic, records, codec="none", acks="all", idempotent=False):
        options = (codec, acks, idempotent)
        if options not in self._producers:
            self._producers[options] = ck.Producer(
                self._base | {"compression.type": codec, "acks": acks, "enable.idempotence": idempotent, "linger.ms": 5}
            )
        return send(self._producers[options], topic, records)

    def transactional(self, id):
        return Transactional(self._base, id)

    def consume(self, topic, start, read_committed=False):
        return Consumer(self._base, topic, start, read_committed)

    def join(self, group, topic, protocol):
        config = self._base | {
            "group.id": group,
            "group.protocol": protocol,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": MAX_WAIT_MS,
        }
        if protocol == "classic":  # the consumer protocol takes these from the broker
            config |= {"heartbeat.interval.ms": 300, "session.timeout.ms": 10_000}
        consumer = ck.Consumer(config)
        consumer.subscribe([topic])
        return Member(
            poll=lambda: poll(consumer, 0.05),
            assigned=lambda: len(consumer.assignment()),
            commit=lambda: consumer.commit(asynchronous=False),
            close=consumer.close,
        )

    def create_topic(self, topic, partitions, configs):
        new = cka.NewTopic(topic, num_partitions=partitions, config=configs)
        try:
            result(self._admin.create_topics([new])[topic])
        except ck.KafkaException as e:
            if e.args[0].code() == ck.KafkaError.TOPIC_ALREADY_EXISTS:
                raise TopicExists from e
            raise

    def leaders(self, topic):
        described = result(self._admin.describe_topics(ck.TopicCollection([topic]))[topic])
        return [p.leader.id for p in described.partitions]

    def create_partitions(self, topic, total):
        result(self._admin.create_partitions([cka.NewPartitions(topic, total)])[topic])

    def delete_topic(self, topic):
        result(self._admin.delete_topics([topic])[topic])

    def topics(self):
        return list(self._admin.list_topics(timeout=30).topics)

    def configs(self, topic):
        resource = cka.ConfigResource(cka.ResourceType.TOPIC, topic)
        entries = result(self._admin.describe_configs([resource])[resource])
        return {name: entry.value for name, entry in entries.items()}

    def alter_config(self, topic, key, value):
        entry = cka.ConfigEntry(key, value, incremental_operation=cka.AlterConfigOpType.SET)
        resource = cka.ConfigResource(cka.ResourceType.TOPIC, topic, incremental_configs=[entry])
        result(self._admin.incremental_alter_configs([resource])[resource])

    def offsets(self, topic):
        partition = ck.TopicPartition(topic, 0)

        def at(spec):
            return result(self._admin.list_offsets({partition: spec})[partition]).offset

        return at(cka.OffsetSpec.earliest()), at(cka.OffsetSpec.latest())

    def delete_records(self, topic, before):
        partition = ck.TopicPartition(topic, 0, before)
        result(self._admin.delete_records([partition])[partition])

    def groups(self):
        listed = result(self._admin.list_consumer_groups())
        if listed.errors:
            raise listed.errors[0]
        return [g.group_id for g in listed.valid]

    def describe_group(self, group):
        described = result(self._admin.describe_consumer_groups([group])[group])
        return described.state.name.capitalize(), len(described.members)

    def delete_group(self, group):
        result(self._admin.delete_consumer_groups([group])[group])

    def commit(self, group, topic, offset):
        offsets = ck.ConsumerGroupTopicPartitions(group, [ck.TopicPartition(topic, 0, offset)])
        altered = result(self._admin.alter_consumer_group_offsets([offsets])[group])
        if altered.topic_partitions[0].error is not None:
            raise ck.KafkaException(altered.topic_partitions[0].error)

    def committed(self, group, topic):
        wanted = ck.ConsumerGroupTopicPartitions(group, [ck.TopicPartition(topic, 0)])
        return result(self._admin.list_consumer_group_offsets([wanted])[group]).topic_partitions[0].offset

    def log_dir_size(self, topic):
        raise Unsupported

    def brokers(self):
        return [f"{node.host}:{node.port}" for node in result(self._admin.describe_cluster()).nodes]


def poll(consumer: ck.Consumer, seconds: float) -> list[Record]:
    message = consumer.poll(seconds)
    if message is None:
        return []
    if message.error() is not None:
        raise ck.KafkaException(message.error())
    return [to_record(message)]


class Transactional:
    """A producer with a transactional id."""

    def __init__(self, base: dict, id: str) -> None:
        self._base = base
        self._producer = ck.Producer(base | {"transactional.id": id, "linger.ms": 5})
        self._producer.init_transactions(30)

    def begin(self) -> None:
        self._producer.begin_transaction()

    def produce(self, topic: str, records: list[Record]) -> None:
        send(self._producer, topic, records)

    def send_offset(self, group: str, topic: str, offset: int) -> None:
        consumer = ck.Consumer(self._base | {"group.id": group})
        metadata = consumer.consumer_group_metadata()
        self._producer.send_offsets_to_transaction([ck.TopicPartition(topic, 0, offset)], metadata, 30)
        consumer.close()

    def end(self, commit: bool) -> None:
        if commit:
            self._producer.commit_transaction(30)
        else:
            self._producer.abort_transaction(30)

    def close(self) -> None:
        pass  # a producer of librdkafka ends with its last reference


class Consumer:
    """Reads partition 0 by assignment, so that no group is involved."""

    def __init__(self, base: dict, topic: str, start: Start, read_committed: bool) -> None:
        self._fetches = 0
        self._consumer = ck.Consumer(
            base
            | {
                "group.id": topic,
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "isolation.level": "read_committed" if read_committed else "read_uncommitted",
                "fetch.wait.max.ms": MAX_WAIT_MS,
                "statistics.interval.ms": 50,
                "stats_cb": self._count,
            }
        )
        partition = ck.TopicPartition(topic, 0, {END: ck.OFFSET_END}.get(start.offset, ck.OFFSET_BEGINNING))
        if start.time_ms is not None:
            partition = self._consumer.offsets_for_times([ck.TopicPartition(topic, 0, start.time_ms)], timeout=30)[0]
        self._consumer.assign([partition])
        self._buffer: list[Record] = []
        if start.offset == END:
            self._await_end()

    def _count(self, stats: str) -> None:
        brokers = json.loads(stats)["brokers"].values()
        self._fetches = sum(b["req"].get("Fetch", 0) for b in brokers)

    def _await_end(self) -> None:
        """Returns when librdkafka says that the position is the end, which it does once per end."""
        while True:
            deadline.check("the end of the partition")
            message = self._consumer.poll(POLL)
            if message is not None and message.error() is not None:
                if message.error().code() == ck.KafkaError._PARTITION_EOF:
                    return
                raise ck.KafkaException(message.error())

    def poll(self, seconds: float) -> list[Record]:
        message = self._consumer.poll(seconds)
        if message is None or (message.error() is not None and message.error().code() == ck.KafkaError._PARTITION_EOF):
            return []
        if message.error() is not None:
            raise ck.KafkaException(message.error())
        return [to_record(message)]

    def next(self) -> Record:
        while not self._buffer:
            deadline.check("a record")
            self._buffer = self.poll(POLL)
        return self._buffer.pop(0)

    def fetches(self) -> int:
        return self._fetches

    def close(self) -> None:
        self._consumer.close()


main("confluent-kafka", f"{ck.version()} (librdkafka {ck.libversion()[0]})", Client)
