"""What a running check has to work with."""

import time

from . import BEGINNING, Record, Start, deadline


class Env:
    """What a running check has: its client and a topic name of its own, which is also the name of its group."""

    def __init__(self, client, bootstrap: str, topic: str) -> None:
        self.client, self.bootstrap, self.topic = client, bootstrap, topic
        self._closers = []

    def close(self) -> None:
        for close in reversed(self._closers):
            close()

    def create_topic(self, partitions: int, configs: dict[str, str] | None = None) -> None:
        self.client.create_topic(self.topic, partitions, configs or {})

    def produce(self, values: list[str]) -> list[int | None]:
        return self.client.produce(self.topic, [Record(v) for v in values])

    def hide(self, n: int) -> None:
        """Appends n records that nobody sees for an hour."""
        chunk = 5000
        while n > 0:
            hidden = Record("hidden", headers={"morrow-delay": "1h"})
            self.client.produce(self.topic, [hidden] * min(n, chunk))
            n -= chunk

    def consume(self, start: Start, read_committed: bool = False):
        consumer = self.client.consume(self.topic, start, read_committed)
        self._closers.append(consumer.close)
        return consumer

    def read(self, count: int, start: Start = Start()) -> list[Record]:
        consumer = self.consume(start)
        return [consumer.next() for _ in range(count)]

    def read_to_latest(self, read_committed: bool = False) -> list[Record]:
        """The loop of every bounded reader: from the beginning until the position is what ListOffsets calls latest."""
        position, latest = self.client.offsets(self.topic)
        records: list[Record] = []
        if position == latest:
            return records
        consumer = self.consume(Start(BEGINNING), read_committed)
        while position < latest:
            records.append(consumer.next())
            position = records[-1].offset + 1
        return records

    def transactional(self):
        """A producer whose transactional id is the name of the topic."""
        producer = self.client.transactional(self.topic)
        self._closers.append(producer.close)
        return producer

    def join(self, protocol: str = "classic"):
        member = self.client.join(self.topic, self.topic, protocol)
        self._closers.append(member.leave)
        return member


def nothing(consumer, seconds: float) -> None:
    """Sees to it that the consumer gets no record for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        equal("records", consumer.poll(0.05), [])


def equal(what: str, got, want) -> None:
    if got != want:
        raise AssertionError(f"{what}: got {str(got)[:200]}, want {str(want)[:200]}")


def values(records: list[Record]) -> list[str]:
    return [r.value for r in records]


def numbered(first: int, last: int) -> list[str]:
    return [str(i) for i in range(first, last + 1)]
