"""Share groups with Kafka's tools: their consumers, and the command that describes and steers them."""

import collections
import pathlib
import re
import signal
import tempfile

from harness import await_that, check, equal, events, matches, running, tool, topic
from topics import create, produce

DELIVERIES = ["--formatter-property", "print.offset=true", "--formatter-property", "print.delivery=true"]


def group_of(name: str) -> str:
    """A share group that begins at the start of what it reads."""
    group = topic(f"{name}-group")
    tool("ConfigCommand", "--alter", "--entity-type", "groups", "--entity-name", group, "--add-config", "share.auto.offset.reset=earliest")
    return group


def share_groups(action: str, group: str, *args, **options) -> str:
    return tool("consumer.group.ShareGroupCommand", action, "--group", group, *args, **options)


def stands_at(group: str, t: str, start: int, lag: int) -> None:
    """The group's first unfinished record, and how many there are."""
    matches(share_groups("--describe", group), rf"^{group} +{t} +0 +{start} +{lag} *$")


def shared(t: str, group: str, *args) -> list[tuple[int, int]]:
    """What a console consumer is given: offsets and delivery counts."""
    out = tool("consumer.ConsoleShareConsumer", "--topic", t, "--group", group, "--timeout-ms", 30000, *DELIVERIES, *args)
    rows = [line.split("\t") for line in out.splitlines() if line.startswith("Offset:")]
    return [(int(offset.removeprefix("Offset:")), int(count.removeprefix("Delivery:"))) for offset, count, _ in rows]


@check
def share_console():
    t, group = create("share-console"), group_of("share-console")
    produce(t, *"abcdefghij")
    equal("accepted", shared(t, group, "--max-messages", 4), [(0, 1), (1, 1), (2, 1), (3, 1)])
    stands_at(group, t, 4, 6)
    # The first consumer had been given all ten; what it closed with does not count as delivered.
    equal("released", shared(t, group, "--max-messages", 2, "--release"), [(4, 1), (5, 1)])
    equal("rejected", shared(t, group, "--max-messages", 2, "--reject"), [(4, 2), (5, 2)])
    stands_at(group, t, 6, 4)
    equal("the rest", shared(t, group, "--max-messages", 4), [(6, 1), (7, 1), (8, 1), (9, 1)])
    stands_at(group, t, 10, 0)


def finished(group: str, t: str) -> bool:
    """Whether the group has finished every record of the topic, of which it has begun to read."""
    return bool(re.search(rf"^{group} +{t} +0 +\d+ +0 *$", share_groups("--describe", group), re.MULTILINE))


@check
def share_verifiable():
    t = create("share-verifiable")
    tool("VerifiableProducer", "--topic", t, "--max-messages", 200)
    # Of four neighbours the second is given back until it is given up, the fourth is held on to and then accepted.
    pattern, ways = ["--ack-pattern", "accept,release,reject,renew"], {"ACCEPT": 100, "RELEASE": 250, "REJECT": 50, "RENEW": 50}
    for mode, args, want in (("sync", pattern, ways), ("async", pattern, ways), ("auto", [], {})):
        group = group_of(f"share-verifiable-{mode}")
        with running("VerifiableShareConsumer", "--topic", t, "--group-id", group, "--acknowledgement-mode", mode, *args) as consumer:
            await_that("every record is finished", lambda g=group: finished(g, t))
            consumer.send_signal(signal.SIGTERM)
            acks = [e for e in events(consumer.stdout) if e["name"] == "offsets_acknowledged"]
        equal(f"{mode}: success", {e["success"] for e in acks}, {True})
        got = collections.Counter()
        for e in acks:
            got.update(e.get("ackTypeCounts", {}))
        equal(mode, (dict(got), sum(e["count"] for e in acks)), (want, sum(want.values()) or 200))


@check
def share_performance():
    t, group = create("share-performance"), group_of("share-performance")
    tool("VerifiableProducer", "--topic", t, "--max-messages", 5000)
    out = tool("ShareConsumerPerformance", "--topic", t, "--group", group, "--num-records", 5000, "--timeout", 60000)
    equal("records consumed", int(out.splitlines()[-1].split(", ")[5]) >= 5000, True)


@check
def share_groups_members():
    t, group = create("share-members"), group_of("share-members")
    produce(t, "a")
    with running("consumer.ConsoleShareConsumer", "--topic", t, "--group", group) as consumer:
        consumer.stdout.readline()
        matches(share_groups("--describe", group, "--members"), rf"^{group} +\S+ +/\S+ +console-share-consumer +1 +{t}:0$")
        matches(share_groups("--describe", group, "--state", "--verbose"), rf"^{group} +\S+ +\(1\) +Stable +\d+ +\d+ +1 *$")
        matches(tool("consumer.group.ShareGroupCommand", "--list", "--state", "Stable"), rf"^{group} +Stable$")
        matches(tool("GroupsCommand", "--list", "--share"), rf"^{group} +Share +share")
        # What has members is not moved and not deleted.
        matches(share_groups("--reset-offsets", group, "--to-earliest", "--topic", t, "--execute", fails=True), "is not empty")
        matches(share_groups("--delete-offsets", group, "--topic", t), rf"^{t} +Error: The group is not empty")
        matches(share_groups("--delete", group), "GroupNotEmptyException")
        consumer.send_signal(signal.SIGTERM)
        consumer.wait(30)
    matches(share_groups("--describe", group, "--state"), rf"^{group} +\S+ +\(1\) +Empty +0 *$")
    stands_at(group, t, 1, 0)
    matches(share_groups("--delete", group), "was successful")
    if group in tool("consumer.group.ShareGroupCommand", "--list").split():
        raise AssertionError(f"{group} is listed though deleted")
    matches(share_groups("--describe", group, fails=None), "GroupIdNotFoundException")


@check
def share_groups_offsets():
    t, group = create("share-offsets"), topic("share-offsets-group")
    produce(t, *"abcdefghij")
    reset = lambda *args: share_groups("--reset-offsets", group, *args)
    # The reset makes the group.
    matches(reset("--to-earliest", "--topic", t, "--execute"), rf"^{group} +{t} +0 +0 *$")
    stands_at(group, t, 0, 10)
    matches(reset("--to-offset", 7, "--all-topics", "--dry-run"), rf"^{group} +{t} +0 +7 *$")
    stands_at(group, t, 0, 10)
    matches(reset("--to-offset", 4, "--topic", f"{t}:0", "--execute"), rf"^{group} +{t} +0 +4 *$")
    stands_at(group, t, 4, 6)
    matches(reset("--to-current", "--topic", t, "--execute"), rf"^{group} +{t} +0 +4 *$")
    matches(reset("--to-datetime", "2000-01-01T00:00:00.000", "--topic", t, "--execute"), rf"^{group} +{t} +0 +0 *$")
    matches(reset("--to-latest", "--topic", t, "--execute"), rf"^{group} +{t} +0 +10 *$")
    stands_at(group, t, 10, 0)
    with tempfile.TemporaryDirectory() as d:
        plan = pathlib.Path(d) / "plan.csv"
        plan.write_text(reset("--to-offset", 8, "--topic", t, "--export", "--dry-run").strip() + "\n")
        matches(reset("--from-file", plan, "--execute"), rf"^{group} +{t} +0 +8 *$")
    equal("read from there", shared(t, group, "--max-messages", 2), [(8, 1), (9, 1)])
    matches(share_groups("--delete-offsets", group, "--topic", t), rf"^{t} +Successful")
    matches(share_groups("--describe", group), "has no offset information")
    matches(share_groups("--delete-offsets", group, "--topic", topic("no-such-topic")), "does not host this topic-partition")
