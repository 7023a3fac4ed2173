"""The checks of compat/checks_test.go as scenarios over a small interface, so that the Python suites differ only in how
their client does each step.

An adapter is an object with the methods below. Each raises TimeoutError when the deadline of the check has passed.

    produce(topic, records, codec="none", acks="all", idempotent=False) -> offsets told, or None where none was
    consume(topic, start, read_committed=False) -> Consumer; returns when its position is known
    transactional(id) -> Transactional, a producer with this transactional id
    join(group, topic, protocol) -> Member of a classic or consumer group; starts at the beginning if nothing is committed
    create_topic(topic, partitions, configs)    delete_topic(topic)          topics() -> names
    leaders(topic) -> node of each partition    create_partitions(topic, total)
    configs(topic) -> dict                      alter_config(topic, key, value)
    offsets(topic) -> earliest, latest          delete_records(topic, before)
    groups() -> names                           describe_group(group) -> state, number of members
    delete_group(group)                         log_dir_size(topic) -> bytes
    commit(group, topic, offset)                committed(group, topic) -> offset, negative if none
    brokers() -> addresses

Consumer: next() -> Record, poll(seconds) -> Records, fetches() -> requests so far, close().
Transactional: begin(), produce(topic, records), send_offset(group, topic, offset), end(commit), close().
Member: assigned() -> number of partitions, records() -> Records so far, commit(), leave().
All of a topic but its groups concerns partition 0.
"""

import dataclasses
import threading
import time

BEGINNING = -2
END = -1
GROUP_PARTITIONS = 4
MAX_WAIT_MS = 500


class Unsupported(Exception):
    """The client cannot do this; makes the whole check unsupported."""


class InvalidRecord(Exception):
    """The broker answered INVALID_RECORD."""


class TopicExists(Exception):
    """The broker answered TOPIC_ALREADY_EXISTS."""


@dataclasses.dataclass(frozen=True)
class Start:
    """Where a consumer starts: at an offset, BEGINNING, END, or the first record at or after a time."""

    offset: int = BEGINNING
    time_ms: int | None = None


@dataclasses.dataclass
class Record:
    value: str
    key: str | None = None
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    partition: int = 0
    offset: int = -1
    timestamp: int = -1


class Deadline:
    """The time at which the running check must be done."""

    def __init__(self) -> None:
        self._at = 0.0

    def reset(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def check(self, waiting_for: str) -> None:
        if time.monotonic() > self._at:
            raise TimeoutError(f"waited in vain for {waiting_for}")

    def await_(self, what: str, condition) -> None:
        """Polls until the condition holds."""
        while not condition():
            self.check(what)
            time.sleep(0.02)


deadline = Deadline()


class Member:
    """A member of a group that polls in a thread of its own, the only one to touch its consumer, until it leaves.

    Adapters give it the four functions it needs.
    """

    def __init__(self, poll, assigned, commit, close) -> None:
        self._poll, self._count, self._commit, self._close = poll, assigned, commit, close
        self._records: list[Record] = []
        self._assigned = 0
        self._error: Exception | None = None
        self._to_commit = threading.Event()
        self._committed = threading.Event()
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._leaving.is_set():
                self._records.extend(self._poll())
                self._assigned = self._count()
                if self._to_commit.is_set():
                    self._to_commit.clear()
                    self._commit()
                    self._committed.set()
        except Exception as e:  # shown by the thread of the check
            self._error = e
        finally:
            self._assigned = 0
            self._close()

    def assigned(self) -> int:
        if self._error:
            raise self._error
        return self._assigned

    def records(self) -> list[Record]:
        return list(self._records)

    def commit(self) -> None:
        self._committed.clear()
        self._to_commit.set()
        deadline.await_("the commit", lambda: self._committed.is_set() or self._error)
        if self._error:
            raise self._error

    def leave(self) -> None:
        self._leaving.set()
        self._thread.join(timeout=30)
