"""The checks, in the order of compat/checks_test.go."""

import functools
import time

from . import BEGINNING, END, GROUP_PARTITIONS, InvalidRecord, Record, Start, TopicExists, Unsupported, deadline, transactions
from .env import Env, equal, numbered, values


def produce_and_read(env: Env, codec: str, acks: str, idempotent: bool = False) -> None:
    env.create_topic(1)
    records = [Record(f"value-{n}", f"key-{n}", {"h": n}) for n in numbered(1, 100)]
    told = env.client.produce(env.topic, records, codec, acks, idempotent)
    if acks != "0":
        equal("offsets told", told, list(range(100)))
    got = [(r.offset, r.key, r.value, r.headers) for r in env.read(100)]
    equal("records", got, [(i, r.key, r.value, r.headers) for i, r in enumerate(records)])


def consume_beginning(env: Env) -> None:
    env.create_topic(1)
    env.produce(numbered(1, 10))
    equal("values", values(env.read(10)), numbered(1, 10))


def consume_end(env: Env) -> None:
    env.create_topic(1)
    env.produce(numbered(1, 10))
    consumer = env.consume(Start(END))
    env.produce(numbered(11, 15))
    equal("values", values([consumer.next() for _ in range(5)]), numbered(11, 15))


def consume_timestamp(env: Env) -> None:
    env.create_topic(1)
    env.produce(numbered(1, 10))
    start = time.time_ns() // 1_000_000 + 1
    deadline.await_("the clock to move on", lambda: time.time_ns() // 1_000_000 > start)
    env.produce(numbered(11, 15))
    equal("values", values(env.read(5, Start(time_ms=start))), numbered(11, 15))


def group_rebalance(env: Env, protocol: str) -> None:
    env.create_topic(GROUP_PARTITIONS)
    sent: set[str] = set()

    def spread(value: str) -> None:
        records = [Record(f"{value}@{p}", partition=p) for p in range(GROUP_PARTITIONS)]
        env.client.produce(env.topic, records)
        sent.update(values(records))

    def await_read(*members) -> None:
        deadline.await_("all values to be read", lambda: sent <= {r.value for m in members for r in m.records()})

    half = GROUP_PARTITIONS // 2
    spread("alone")
    first = env.join(protocol)
    deadline.await_("the first member to have all partitions", lambda: first.assigned() == GROUP_PARTITIONS)
    await_read(first)
    second = env.join(protocol)
    deadline.await_(
        "each member to have half of the partitions", lambda: first.assigned() == half and second.assigned() == half
    )
    spread("together")
    await_read(first, second)
    second.commit()
    second.leave()
    deadline.await_("the first member to have all partitions again", lambda: first.assigned() == GROUP_PARTITIONS)
    spread("again")
    await_read(first, second)


def group_resume(env: Env, protocol: str) -> None:
    env.create_topic(1)
    env.produce(numbered(1, 10))
    first = env.join(protocol)
    deadline.await_("10 records to be read", lambda: len(first.records()) >= 10)
    first.commit()
    first.leave()
    env.produce(numbered(11, 15))
    second = env.join(protocol)
    deadline.await_("5 more records to be read", lambda: len(second.records()) >= 5)
    equal("values of the second member", values(second.records()), numbered(11, 15))


def admin_create_topic(env: Env) -> None:
    env.create_topic(3, {"retention.ms": "3600000"})
    equal("partitions", len(env.client.leaders(env.topic)), 3)
    try:
        env.create_topic(3)
    except TopicExists:
        return
    raise AssertionError("the topic was created again")


def admin_describe_topic(env: Env) -> None:
    env.create_topic(2)
    leaders = env.client.leaders(env.topic)
    equal("partitions", len(leaders), 2)
    equal("partitions without a leader", [node for node in leaders if node < 0], [])


def admin_create_partitions(env: Env) -> None:
    env.create_topic(1)
    env.client.create_partitions(env.topic, 3)
    deadline.await_("3 partitions", lambda: len(env.client.leaders(env.topic)) == 3)


def admin_delete_topic(env: Env) -> None:
    env.create_topic(1)
    equal("the topic is listed", env.topic in env.client.topics(), True)
    env.client.delete_topic(env.topic)
    deadline.await_("the topic to be gone", lambda: env.topic not in env.client.topics())


def admin_describe_configs(env: Env) -> None:
    env.create_topic(1, {"retention.ms": "7200000"})
    configs = env.client.configs(env.topic)
    equal("configs", (configs["retention.ms"], configs["cleanup.policy"]), ("7200000", "delete"))


def admin_alter_configs(env: Env) -> None:
    env.create_topic(1)
    env.client.alter_config(env.topic, "retention.ms", "5400000")
    deadline.await_("the new value", lambda: env.client.configs(env.topic)["retention.ms"] == "5400000")


def admin_list_offsets(env: Env) -> None:
    env.create_topic(1)
    env.produce(numbered(1, 7))
    equal("earliest and latest", env.client.offsets(env.topic), (0, 7))


def admin_delete_records(env: Env) -> None:
    env.create_topic(1)
    env.produce(numbered(0, 9))
    env.client.delete_records(env.topic, 4)
    equal("earliest and latest", env.client.offsets(env.topic), (4, 10))
    equal("first value", values(env.read(1)), ["4"])


def admin_list_groups(env: Env) -> None:
    env.create_topic(1)
    env.client.commit(env.topic, env.topic, 0)
    equal("the group is listed", env.topic in env.client.groups(), True)


def admin_describe_group(env: Env) -> None:
    env.create_topic(GROUP_PARTITIONS)
    member = env.join()
    deadline.await_("the member to have its partitions", lambda: member.assigned() == GROUP_PARTITIONS)
    equal("state and members", env.client.describe_group(env.topic), ("Stable", 1))


def admin_delete_group(env: Env) -> None:
    env.create_topic(1)
    env.client.commit(env.topic, env.topic, 0)
    env.client.delete_group(env.topic)
    equal("the group is listed", env.topic in env.client.groups(), False)


def admin_describe_log_dirs(env: Env) -> None:
    env.create_topic(1)
    env.produce(numbered(1, 10))
    size = env.client.log_dir_size(env.topic)
    if size <= 0:
        raise AssertionError(f"the size of the topic is {size}")


def admin_describe_cluster(env: Env) -> None:
    equal("brokers", env.client.brokers(), [env.bootstrap])


def delay_delivered(env: Env) -> None:
    env.create_topic(1)
    env.produce(["first"])
    before = time.time_ns() // 1_000_000
    told = env.client.produce(env.topic, [Record("later", "key", {"morrow-delay": "2s", "other": "kept"})])
    record = env.read(2)[1]
    arrived = time.time_ns() // 1_000_000
    equal("key, value and header", (record.key, record.value, record.headers.get("other")), ("key", "later", "kept"))
    equal("morrow-delay", record.headers.get("morrow-delay"), None)
    equal("offset told and morrow-ticket", (told[0], record.headers.get("morrow-ticket")), (1, "1"))
    due = int(record.headers["morrow-due"])
    if due < before + 2000 or record.timestamp < due or arrived < due:
        raise AssertionError(
            f"early: produced at {before}, due {due}, delivered at {record.timestamp}, arrived at {arrived}"
        )


def delay_refused(env: Env) -> None:
    env.create_topic(1)
    env.produce(["first"])
    try:
        env.client.produce(env.topic, [Record("never", headers={"morrow-delay": "soon"})])
    except InvalidRecord:
        equal("latest", env.client.offsets(env.topic)[1], 1)
        return
    raise AssertionError("the record was accepted")


def delay_sentence(env: Env) -> None:
    """An error with nothing but the code is taken for that of a client with no way to show more."""
    env.create_topic(1)
    try:
        env.client.produce(env.topic, [Record("never", headers={"morrow-delay": "soon"})])
    except InvalidRecord as e:
        if "morrow-delay" not in str(e) or "soon" not in str(e):
            raise Unsupported from e
        return
    raise AssertionError("the record was accepted")


def hidden_bounded(env: Env, read_committed: bool) -> None:
    env.create_topic(1)
    env.produce(numbered(1, 10))
    env.hide(5)
    equal("latest", env.client.offsets(env.topic)[1], 10)
    equal("values", values(env.read_to_latest(read_committed)), numbered(1, 10))


def hidden_only(env: Env) -> None:
    env.create_topic(1)
    env.hide(5)
    equal("values", values(env.read_to_latest()), [])
    consumer = env.consume(Start(BEGINNING))
    env.produce(["visible"])
    record = consumer.next()
    equal("offset and value", (record.offset, record.value), (5, "visible"))


def hidden_hole(env: Env) -> None:
    hole = 100_000
    env.create_topic(1)
    env.produce(["before"])
    env.hide(hole)
    env.produce(["after"])
    records = [(r.offset, r.value) for r in env.read_to_latest()]
    equal("offsets and values", records, [(0, "before"), (hole + 1, "after")])
    equal("latest", env.client.offsets(env.topic)[1], hole + 2)


def hidden_lag(env: Env) -> None:
    env.create_topic(1)
    env.produce(numbered(1, 10))
    env.hide(5)
    member = env.join()
    deadline.await_("10 records to be read", lambda: len(member.records()) >= 10)
    member.commit()
    member.leave()
    equal("lag", env.client.offsets(env.topic)[1] - env.client.committed(env.topic, env.topic), 0)
    equal("values", values(member.records()), numbered(1, 10))


def hidden_commit_inside(env: Env) -> None:
    env.create_topic(1)
    env.produce(numbered(1, 10))
    env.hide(5)
    env.client.commit(env.topic, env.topic, 13)
    member = env.join()
    deadline.await_("the member to have its partition", lambda: member.assigned() == 1)
    env.produce(["visible"])
    deadline.await_("the visible record", lambda: "visible" in values(member.records()))
    equal("records", [(r.offset, r.value) for r in member.records()], [(15, "visible")])


def hidden_caught_up(env: Env) -> None:
    batches, pace, max_fetches = 12, 0.25, 30
    env.create_topic(1)
    env.produce(["first"])
    consumer = env.consume(Start(BEGINNING))
    consumer.next()

    def has_counted() -> bool:  # some clients bring their statistics up to date once a second
        equal("records", consumer.poll(0.02), [])
        return consumer.fetches() > 0

    deadline.await_("the client to count its fetches", has_counted)
    before = consumer.fetches()
    for _ in range(batches):
        due = time.monotonic() + pace
        env.hide(1)
        while time.monotonic() < due:
            equal("records", consumer.poll(0.02), [])
    during = consumer.fetches() - before
    env.produce(["last"])
    record = consumer.next()
    equal("offset and value", (record.offset, record.value), (batches + 1, "last"))
    if during > max_fetches:
        raise AssertionError(f"{during} fetches while {batches} hidden batches arrived")


SCENARIOS = {
    f"produce/{codec}/acks={acks}": functools.partial(produce_and_read, codec=codec, acks=acks)
    for codec in ("none", "gzip", "snappy", "lz4", "zstd")
    for acks in ("0", "1", "all")
} | {
    "produce/idempotent": functools.partial(produce_and_read, codec="none", acks="all", idempotent=True),
    "consume/beginning": consume_beginning,
    "consume/end": consume_end,
    "consume/timestamp": consume_timestamp,
    "group/rebalance": functools.partial(group_rebalance, protocol="classic"),
    "group/resume": functools.partial(group_resume, protocol="classic"),
    "group848/rebalance": functools.partial(group_rebalance, protocol="consumer"),
    "group848/resume": functools.partial(group_resume, protocol="consumer"),
    "admin/create-topic": admin_create_topic,
    "admin/describe-topic": admin_describe_topic,
    "admin/create-partitions": admin_create_partitions,
    "admin/delete-topic": admin_delete_topic,
    "admin/describe-configs": admin_describe_configs,
    "admin/alter-configs": admin_alter_configs,
    "admin/list-offsets": admin_list_offsets,
    "admin/delete-records": admin_delete_records,
    "admin/list-groups": admin_list_groups,
    "admin/describe-group": admin_describe_group,
    "admin/delete-group": admin_delete_group,
    "admin/describe-log-dirs": admin_describe_log_dirs,
    "admin/describe-cluster": admin_describe_cluster,
    "delay/delivered": delay_delivered,
    "delay/refused": delay_refused,
    "delay/sentence": delay_sentence,
    "txn/commit": transactions.commit,
    "txn/abort": transactions.abort,
    "txn/offsets": transactions.offsets,
    "txn/delayed": transactions.delayed,
    "hidden/bounded": functools.partial(hidden_bounded, read_committed=False),
    "hidden/read-committed": functools.partial(hidden_bounded, read_committed=True),
    "hidden/only": hidden_only,
    "hidden/hole": hidden_hole,
    "hidden/lag": hidden_lag,
    "hidden/commit-inside": hidden_commit_inside,
    "hidden/caught-up": hidden_caught_up,
}
