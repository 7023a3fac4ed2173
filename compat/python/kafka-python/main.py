"""Does the checks of package check with kafka-python."""

import contextlib

import kafka
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewPartitions, NewTopic
from kafka.errors import InvalidRecordError, NoError, TopicAlreadyExistsError, for_code
from kafka.metrics.stats import Count
from kafka.structs import OffsetAndMetadata

from check import BEGINNING, END, MAX_WAIT_MS, InvalidRecord, Member, Record, Start, TopicExists, Unsupported, deadline
from check.run import main


def to_record(r) -> Record:
    return Record(
        value=r.value.decode(),
        key=r.key.decode() if r.key is not None else None,
        headers={k: v.decode() for k, v in r.headers},
        partition=r.partition,
        offset=r.offset,
        timestamp=r.timestamp,
    )


def poll(consumer: KafkaConsumer, seconds: float) -> list[Record]:
    return [to_record(r) for batch in consumer.poll(timeout_ms=int(seconds * 1000)).values() for r in batch]


def send(producer: KafkaProducer, topic: str, records: list[Record]) -> list[int | None]:
    """Produces records and returns the offsets that were told."""
    futures = [
        producer.send(
            topic,
            value=r.value.encode(),
            key=r.key.encode() if r.key is not None else None,
            headers=[(k, v.encode()) for k, v in r.headers.items()],
            partition=r.partition,
        )
        for r in records
    ]
    producer.flush()
    try:
        told = [f.get(timeout=30).offset for f in futures]
    except InvalidRecordError as e:
        raise InvalidRecord(str(e)) from e
    return [offset if offset >= 0 else None for offset in told]


class Client:
    def __init__(self, bootstrap: str) -> None:
        self._base = {"bootstrap_servers": bootstrap}
        self._admin = KafkaAdminClient(**self._base)
        self._producers: dict[tuple, KafkaProducer] = {}

    def produce(self, topic, records, codec="none", acks="all", idempotent=False):
        if acks == "0":
            raise Unsupported  # reports success without writing the request to its socket, see FINDINGS.md
        options = (codec, acks, idempotent)
        if options not in self._producers:
            self._producers[options] = KafkaProducer(
                **self._base,
                compression_type=None if codec == "none" else codec,
                acks=acks if acks == "all" else int(acks),
                enable_idempotence=idempotent,
                linger_ms=5,
            )
        return send(self._producers[options], topic, records)

    def transactional(self, id):
        return Transactional(self._base, id)

    def consume(self, topic, start, read_committed=False):
        return Consumer(self._base, topic, start, read_committed)

    def join(self, group, topic, protocol):
        if protocol != "classic":
            raise Unsupported
        consumer = KafkaConsumer(
            topic,
            **self._base,
            group_id=group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            fetch_max_wait_ms=MAX_WAIT_MS,
            heartbeat_interval_ms=300,
            session_timeout_ms=10_000,
        )
        return Member(
            poll=lambda: poll(consumer, 0.05),
            assigned=lambda: len(consumer.assignment()),
            commit=consumer.commit,
            close=lambda: consumer.close(autocommit=False),
        )

    def create_topic(self, topic, partitions, configs):
        try:
            self._admin.create_topics([NewTopic(topic, partitions, -1, topic_configs=configs)])
        except TopicAlreadyExistsError as e:
            raise TopicExists from e

    def leaders(self, topic):
        return [p["leader"] for p in self._admin.describe_topics([topic])[0]["partitions"]]

    def create_partitions(self, topic, total):
        self._admin.create_partitions({topic: NewPartitions(total)})

    def delete_topic(self, topic):
        self._admin.delete_topics([topic])

    def topics(self):
        return self._admin.list_topics()

    def configs(self, topic):
        [response] = self._admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        error, message, _, _, entries = response.resources[0]
        if error:
            raise for_code(error)(message)
        return {entry[0]: entry[1] for entry in entries}

    def alter_config(self, topic, key, value):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs={key: value})
        error, message, *_ = self._admin.alter_configs([resource]).resources[0]
        if error:
            raise for_code(error)(message)

    def offsets(self, topic):
        partition = TopicPartition(topic, 0)
        with self._groupless() as consumer:
            return consumer.beginning_offsets([partition])[partition], consumer.end_offsets([partition])[partition]

    def _groupless(self):
        return contextlib.closing(KafkaConsumer(**self._base))

    def delete_records(self, topic, before):
        self._admin.delete_records({TopicPartition(topic, 0): before})

    def groups(self):
        return [group for group, _ in self._admin.list_consumer_groups()]

    def describe_group(self, group):
        [described] = self._admin.describe_consumer_groups([group], include_authorized_operations=True)
        return described.state, len(described.members)

    def delete_group(self, group):
        [(_, error)] = self._admin.delete_consumer_groups([group])
        if error is not NoError:
            raise error

    def commit(self, group, topic, offset):
        # A consumer that is assigned its partitions commits for its group without being a member.
        partition = TopicPartition(topic, 0)
        consumer = KafkaConsumer(**self._base, group_id=group, enable_auto_commit=False)
        with contextlib.closing(consumer):
            consumer.assign([partition])
            consumer.commit({partition: OffsetAndMetadata(offset, "", -1)})

    def committed(self, group, topic):
        position = self._admin.list_consumer_group_offsets(group).get(TopicPartition(topic, 0))
        return -1 if position is None else position.offset

    def log_dir_size(self, topic):
        size = 0
        for error, _, topics, *_ in self._admin.describe_log_dirs().log_dirs:
            if error:
                raise for_code(error)
            size += sum(partition[1] for name, partitions in topics if name == topic for partition in partitions)
        return size

    def brokers(self):
        return [f"{b['host']}:{b['port']}" for b in self._admin.describe_cluster()["brokers"]]


class Transactional:
    """A producer with a transactional id."""

    def __init__(self, base: dict, id: str) -> None:
        self._producer = KafkaProducer(**base, transactional_id=id, linger_ms=5)
        self._producer.init_transactions()

    def begin(self) -> None:
        self._producer.begin_transaction()

    def produce(self, topic: str, records: list[Record]) -> None:
        send(self._producer, topic, records)

    def send_offset(self, group: str, topic: str, offset: int) -> None:
        position = OffsetAndMetadata(offset, "", -1)
        self._producer.send_offsets_to_transaction({TopicPartition(topic, 0): position}, group)

    def end(self, commit: bool) -> None:
        if commit:
            self._producer.commit_transaction()
        else:
            self._producer.abort_transaction()

    def close(self) -> None:
        self._producer.close()


class Consumer:
    """Reads partition 0 by assignment, without a group."""

    def __init__(self, base: dict, topic: str, start: Start, read_committed: bool) -> None:
        self._consumer = KafkaConsumer(
            **base,
            auto_offset_reset="none",
            isolation_level="read_committed" if read_committed else "read_uncommitted",
            fetch_max_wait_ms=MAX_WAIT_MS,
        )
        # There is a rate of fetches, but no count, so one is hung onto the sensor that sees every fetch.
        metrics = self._consumer._metrics
        self._fetches = metrics.metric_name("fetch-count", "compat")
        metrics.sensor("fetch-latency").add(self._fetches, Count())

        partition = TopicPartition(topic, 0)
        self._consumer.assign([partition])
        if start.time_ms is not None:
            self._consumer.seek(partition, self._consumer.offsets_for_times({partition: start.time_ms})[partition].offset)
        elif start.offset == BEGINNING:
            self._consumer.seek_to_beginning(partition)
        elif start.offset == END:
            self._consumer.seek_to_end(partition)
        self._consumer.position(partition)
        self._buffer: list[Record] = []

    def poll(self, seconds: float) -> list[Record]:
        return poll(self._consumer, seconds)

    def next(self) -> Record:
        while not self._buffer:
            deadline.check("a record")
            self._buffer = self.poll(0.1)
        return self._buffer.pop(0)

    def fetches(self) -> int:
        return int(self._consumer._metrics.metrics[self._fetches].value())

    def close(self) -> None:
        self._consumer.close()


main("kafka-python", kafka.__version__, Client)
