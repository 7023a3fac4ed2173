"""Does the checks of package check with aiokafka."""

import asyncio
import contextlib
import importlib.metadata
import threading

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, UnknownError, for_code
from aiokafka.protocol.fetch import FetchRequest

from check import BEGINNING, END, MAX_WAIT_MS, InvalidRecord, Member, Record, Start, TopicExists, Unsupported, deadline
from check.run import main

# Bounds one call, most of which retry for ever.
CALL_TIMEOUT = 60

# The loop that every object of the client belongs to, in a thread of its own.
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()


def wait(coroutine):
    """Runs a coroutine on the loop and returns its result."""
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result(CALL_TIMEOUT)


async def started(kind, *args, **config):
    """A client that has been made on the loop, as it has to be, and started."""
    client = kind(*args, **config)
    await client.start()
    return client


def raise_for(error: int, message: str | None = None) -> None:
    if error:
        raise for_code(error)(message)


def to_record(r) -> Record:
    return Record(
        value=r.value.decode(),
        key=r.key.decode() if r.key is not None else None,
        headers={k: v.decode() for k, v in r.headers},
        partition=r.partition,
        offset=r.offset,
        timestamp=r.timestamp,
    )


def poll(consumer: AIOKafkaConsumer, seconds: float) -> list[Record]:
    batches = wait(consumer.getmany(timeout_ms=int(seconds * 1000)))
    return [to_record(r) for batch in batches.values() for r in batch]


def send(producer: AIOKafkaProducer, topic: str, records: list[Record]) -> list[int | None]:
    """Produces records and returns the offsets that were told."""

    async def all_of_them():
        futures = [
            await producer.send(
                topic,
                value=r.value.encode(),
                key=r.key.encode() if r.key is not None else None,
                headers=[(k, v.encode()) for k, v in r.headers.items()],
                partition=r.partition,
            )
            for r in records
        ]
        return await asyncio.gather(*futures)

    try:
        told = wait(all_of_them())
    except UnknownError as e:  # what it makes of a code it has no class for, as of INVALID_RECORD: see FINDINGS.md
        raise InvalidRecord(str(e)) from e
    return [t.offset if t is not None and t.offset >= 0 else None for t in told]


class Client:
    def __init__(self, bootstrap: str) -> None:
        self._base = {"bootstrap_servers": bootstrap}
        self._admin = wait(started(AIOKafkaAdminClient, **self._base))
        self._producers: dict[tuple, AIOKafkaProducer] = {}

    def produce(self, topic, records, codec="none", acks="all", idempotent=False):
        options = (codec, acks, idempotent)
        if options not in self._producers:
            self._producers[options] = wait(
                started(
                    AIOKafkaProducer,
                    **self._base,
                    compression_type=None if codec == "none" else codec,
                    acks=acks if acks == "all" else int(acks),
                    enable_idempotence=idempotent,
                    linger_ms=5,
                )
            )
        return send(self._producers[options], topic, records)

    def transactional(self, id):
        return Transactional(self._base, id)

    def consume(self, topic, start, read_committed=False):
        return Consumer(self._base, topic, start, read_committed)

    def join(self, group, topic, protocol):
        if protocol != "classic":
            raise Unsupported
        consumer = wait(
            started(
                AIOKafkaConsumer,
                topic,
                **self._base,
                group_id=group,
                auto_offset_reset="earliest",
                enable_auto_commit=False,
                fetch_max_wait_ms=MAX_WAIT_MS,
                heartbeat_interval_ms=300,
                session_timeout_ms=10_000,
            )
        )
        return Member(
            poll=lambda: poll(consumer, 0.05),
            assigned=lambda: len(consumer.assignment()),
            commit=lambda: wait(consumer.commit()),
            close=lambda: wait(consumer.stop()),
        )

    def create_topic(self, topic, partitions, configs):
        new = NewTopic(topic, partitions, 1, topic_configs=configs)
        [(_, error, message, *_)] = wait(self._admin.create_topics([new])).topic_errors
        try:
            raise_for(error, message)
        except TopicAlreadyExistsError as e:
            raise TopicExists from e

    def leaders(self, topic):
        [described] = wait(self._admin.describe_topics([topic]))
        raise_for(described["error_code"])
        return [p["leader"] for p in described["partitions"]]

    def create_partitions(self, topic, total):
        wait(self._admin.create_partitions({topic: NewPartitions(total)}))

    def delete_topic(self, topic):
        [(_, error)] = wait(self._admin.delete_topics([topic])).topic_error_codes
        raise_for(error)

    def topics(self):
        return wait(self._admin.list_topics())

    def configs(self, topic):
        [response] = wait(self._admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)]))
        error, message, _, _, entries = response.resources[0]
        raise_for(error, message)
        return {entry[0]: entry[1] for entry in entries}

    def alter_config(self, topic, key, value):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs={key: value})
        [response] = wait(self._admin.alter_configs([resource]))
        error, message, *_ = response.resources[0]
        raise_for(error, message)

    def offsets(self, topic):
        partition = TopicPartition(topic, 0)
        with self._consumer() as consumer:
            earliest = wait(consumer.beginning_offsets([partition]))
            latest = wait(consumer.end_offsets([partition]))
        return earliest[partition], latest[partition]

    @contextlib.contextmanager
    def _consumer(self, **config):
        """A consumer that reads nothing."""
        consumer = wait(started(AIOKafkaConsumer, **self._base, **config))
        try:
            yield consumer
        finally:
            wait(consumer.stop())

    def delete_records(self, topic, before):
        wait(self._admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before)}))

    def groups(self):
        return [group for group, *_ in wait(self._admin.list_consumer_groups())]

    def describe_group(self, group):
        [response] = wait(self._admin.describe_consumer_groups([group]))
        error, _, state, _, _, members, *_ = response.groups[0]
        raise_for(error)
        return state, len(members)

    def delete_group(self, group):
        raise Unsupported

    def commit(self, group, topic, offset):
        # A consumer that is assigned its partitions commits for its group without being a member.
        partition = TopicPartition(topic, 0)

        async def assign_and_commit(consumer):
            consumer.assign([partition])
            await consumer.commit({partition: offset})

        with self._consumer(group_id=group, enable_auto_commit=False) as consumer:
            wait(assign_and_commit(consumer))

    def committed(self, group, topic):
        position = wait(self._admin.list_consumer_group_offsets(group)).get(TopicPartition(topic, 0))
        return -1 if position is None else position.offset

    def log_dir_size(self, topic):
        raise Unsupported

    def brokers(self):
        return [f"{b['host']}:{b['port']}" for b in wait(self._admin.describe_cluster())["brokers"]]


class Transactional:
    """A producer with a transactional id."""

    def __init__(self, base: dict, id: str) -> None:
        self._producer = wait(started(AIOKafkaProducer, **base, transactional_id=id, linger_ms=5))

    def begin(self) -> None:
        wait(self._producer.begin_transaction())

    def produce(self, topic: str, records: list[Record]) -> None:
        send(self._producer, topic, records)

    def send_offset(self, group: str, topic: str, offset: int) -> None:
        wait(self._producer.send_offsets_to_transaction({TopicPartition(topic, 0): offset}, group))

    def end(self, commit: bool) -> None:
        wait(self._producer.commit_transaction() if commit else self._producer.abort_transaction())

    def close(self) -> None:
        wait(self._producer.stop())


class Consumer:
    """Reads partition 0 by assignment, without a group."""

    def __init__(self, base: dict, topic: str, start: Start, read_committed: bool) -> None:
        self._consumer = wait(
            started(
                AIOKafkaConsumer,
                **base,
                auto_offset_reset="none",
                isolation_level="read_committed" if read_committed else "read_uncommitted",
                fetch_max_wait_ms=MAX_WAIT_MS,
            )
        )
        self._count_fetches()
        self._buffer: list[Record] = []
        wait(self._seek(TopicPartition(topic, 0), start))

    def _count_fetches(self) -> None:
        """There are no metrics, so what it sends is counted."""
        self._fetches, send = 0, self._consumer._client.send

        async def counted(node, request, **options):
            self._fetches += isinstance(request, FetchRequest)
            return await send(node, request, **options)

        self._consumer._client.send = counted

    async def _seek(self, partition: TopicPartition, start: Start) -> None:
        self._consumer.assign([partition])
        if start.time_ms is not None:
            found = await self._consumer.offsets_for_times({partition: start.time_ms})
            self._consumer.seek(partition, found[partition].offset)
        elif start.offset == BEGINNING:
            await self._consumer.seek_to_beginning(partition)
        elif start.offset == END:
            await self._consumer.seek_to_end(partition)
        await self._consumer.position(partition)

    def poll(self, seconds: float) -> list[Record]:
        return poll(self._consumer, seconds)

    def next(self) -> Record:
        while not self._buffer:
            deadline.check("a record")
            self._buffer = self.poll(0.1)
        return self._buffer.pop(0)

    def fetches(self) -> int:
        return self._fetches

    def close(self) -> None:
        wait(self._consumer.stop())


main("aiokafka", importlib.metadata.version("aiokafka"), Client)
