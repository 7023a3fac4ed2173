"""The checks of transactions."""

import time

from . import BEGINNING, Record, Start, deadline
from .env import Env, equal, nothing, numbered, values

MARKER = "end of the check"


def records(values: list[str]) -> list[Record]:
    return [Record(v) for v in values]


def transact(producer, topic: str, records: list[Record], commit: bool) -> None:
    producer.begin()
    producer.produce(topic, records)
    producer.end(commit)


def read_all(env: Env, read_committed: bool) -> list[str]:
    """The values a reader sees up to a record that is produced here, outside of any transaction."""
    env.produce([MARKER])
    consumer = env.consume(Start(BEGINNING), read_committed)
    got: list[str] = []
    while (value := consumer.next().value) != MARKER:
        got.append(value)
    return got


def commit(env: Env) -> None:
    env.create_topic(1)
    producer = env.transactional()
    producer.begin()
    producer.produce(env.topic, records(numbered(1, 5)))
    equal("values of the open transaction", values(env.read(5)), numbered(1, 5))

    env.produce(["outside"])
    clean = env.consume(Start(BEGINNING), read_committed=True)
    nothing(clean, 1.0)
    producer.end(True)
    got = values([clean.next() for _ in range(6)])
    equal("values of the committed transaction", got, [*numbered(1, 5), "outside"])


def abort(env: Env) -> None:
    env.create_topic(1)
    producer = env.transactional()
    transact(producer, env.topic, records(numbered(1, 5)), commit=False)
    transact(producer, env.topic, records(numbered(6, 10)), commit=True)
    equal("committed values", read_all(env, read_committed=True), numbered(6, 10))
    equal("all values", values(env.read(10)), numbered(1, 10))


def offsets(env: Env) -> None:
    source = env.topic + ".from"
    env.client.create_topic(source, 1, {})
    env.create_topic(1)
    env.client.produce(source, records(numbered(1, 5)))
    producer = env.transactional()

    def relay(commit: bool) -> None:
        """What an application between two topics does."""
        consumer = env.client.consume(source, Start(BEGINNING), True)
        read = [consumer.next() for _ in range(5)]
        consumer.close()
        producer.begin()
        producer.produce(env.topic, records(values(read)))
        producer.send_offset(env.topic, source, read[-1].offset + 1)
        producer.end(commit)

    relay(commit=False)
    committed = env.client.committed(env.topic, source)
    if committed >= 0:
        raise AssertionError(f"the aborted transaction committed offset {committed}")
    relay(commit=True)
    # The markers are written after the answer.
    deadline.await_("the position to be committed", lambda: env.client.committed(env.topic, source) == 5)
    equal("copies", read_all(env, read_committed=True), numbered(1, 5))


def delayed(env: Env) -> None:
    env.create_topic(1)
    later = {"morrow-delay": "1s"}
    producer = env.transactional()
    transact(producer, env.topic, [Record("dropped", headers=later)], commit=False)
    before = time.time_ns() // 1_000_000
    transact(producer, env.topic, [Record("kept", headers=later), Record("at once")], commit=True)

    consumer = env.consume(Start(BEGINNING), read_committed=True)
    got = [consumer.next() for _ in range(2)]
    equal("values", values(got), ["at once", "kept"])
    due = int(got[1].headers["morrow-due"])
    if due < before + 1000 or got[1].timestamp < due:
        raise AssertionError(f"early: produced at {before}, due {due}, delivered at {got[1].timestamp}")
    nothing(consumer, 1.0)
