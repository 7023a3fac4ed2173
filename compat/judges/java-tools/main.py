"""Kafka's command line tools, each run as its script runs it, with a look at what it prints."""

import base64
import json
import os
import pathlib
import signal
import tempfile

import share  # for its checks
import transactions  # for its checks
from harness import TOOLS, alone, await_that, bootstrap, check, consume, equal, events, java, java_version, main, matches, running, share_classes, tool, topic
from topics import create, produce


def json_file(content) -> str:
    with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as f:
        json.dump(content, f)
    return f.name


@check
def topics():
    t = create("topics", 2, retention_ms=60000)
    matches(tool("TopicCommand", "--list"), f"^{t}$")
    described = tool("TopicCommand", "--describe", "--topic", t)
    matches(described, r"PartitionCount: 2\tReplicationFactor: 1\tConfigs: retention.ms=60000", r"Partition: 1\tLeader: 1\tReplicas: 1\tIsr: 1")
    tool("TopicCommand", "--alter", "--topic", t, "--partitions", 5)
    matches(tool("TopicCommand", "--describe", "--topic", t), r"PartitionCount: 5")
    again = tool("TopicCommand", "--create", "--topic", t, fails=True)
    matches(again, f"Topic '?{t}'? already exists|[Tt]opic \"{t}\" already exists")
    matches(tool("TopicCommand", "--alter", "--topic", t, "--partitions", 3, fails=True), "cannot be reduced to 3")
    equal("under-replicated", tool("TopicCommand", "--describe", "--under-replicated-partitions").strip(), "")
    tool("TopicCommand", "--delete", "--topic", t)
    await_that("the topic is gone", lambda: t not in tool("TopicCommand", "--list").split())


@check
def configs():
    t = create("configs")
    tool("ConfigCommand", "--alter", "--entity-type", "topics", "--entity-name", t, "--add-config", "retention.ms=1000,cleanup.policy=[compact,delete]")
    matches(
        tool("ConfigCommand", "--describe", "--entity-type", "topics", "--entity-name", t),
        r"retention\.ms=1000 .*DYNAMIC_TOPIC_CONFIG:retention\.ms=1000", r"cleanup\.policy=compact,delete",
    )
    tool("ConfigCommand", "--alter", "--entity-type", "topics", "--entity-name", t, "--delete-config", "retention.ms")
    everything = tool("ConfigCommand", "--describe", "--all", "--entity-type", "topics", "--entity-name", t)
    matches(everything, r"retention\.ms=604800000 sensitive=false synonyms=\{\}|retention\.ms=604800000 .*DEFAULT_CONFIG")
    refused = tool("ConfigCommand", "--alter", "--entity-type", "topics", "--entity-name", t, "--add-config", "retention.ms=soon", fails=True)
    matches(refused, "InvalidConfigurationException.*retention.ms|Invalid.*retention.ms")
    broker = tool("ConfigCommand", "--describe", "--all", "--entity-type", "brokers", "--entity-name", "1")
    matches(broker, r"log\.cleanup\.policy=delete", r"default\.replication\.factor=1", r"auto\.create\.topics\.enable=true")
    tool("ConfigCommand", "--alter", "--entity-type", "brokers", "--entity-default", "--add-config", "log.retention.ms=3600000")
    matches(tool("ConfigCommand", "--describe", "--entity-type", "brokers", "--entity-default"), r"log\.retention\.ms=3600000")
    tool("ConfigCommand", "--alter", "--entity-type", "brokers", "--entity-default", "--delete-config", "log.retention.ms")
    tool("ConfigCommand", "--alter", "--entity-type", "groups", "--entity-name", "g", "--add-config", "consumer.session.timeout.ms=50000")
    matches(tool("ConfigCommand", "--describe", "--entity-type", "groups", "--entity-name", "g"), r"consumer\.session\.timeout\.ms=50000")


@check
def console():
    t = topic("console")  # made by the producer
    tool(
        "ConsoleProducer", "--topic", t, "--reader-property", "parse.key=true", "--reader-property", "parse.headers=true",
        "--compression-codec", "zstd", stdin="h:1\tk1\tv1\nh:2\tk2\tv2\n",
    )
    formatted = consume(t, 2, "--formatter-property", "print.key=true", "--formatter-property", "print.headers=true", "--formatter-property", "print.offset=true")
    equal("records", formatted, ["Offset:0\th:1\tk1\tv1", "Offset:1\th:2\tk2\tv2"])
    equal("read committed", consume(t, 1, "--isolation-level", "read_committed"), ["v1"])
    one = tool("consumer.ConsoleConsumer", "--topic", t, "--partition", 0, "--offset", 1, "--max-messages", 1, "--timeout-ms", 30000)
    matches(one, "^v2$")


@check
def get_offsets():
    t = create("get-offsets", 2)
    produce(t, "a", "b", "c")
    end = tool("GetOffsetShell", "--topic", t)
    equal("records", sum(int(line.split(":")[2]) for line in end.split()), 3)
    equal("earliest", tool("GetOffsetShell", "--topic", t, "--time", "earliest").split(), [f"{t}:0:0", f"{t}:1:0"])
    equal("earliest local", tool("GetOffsetShell", "--topic", t, "--time", "earliest-local").split(), [f"{t}:0:0", f"{t}:1:0"])
    matches(tool("GetOffsetShell", "--topic", t, "--time", "max-timestamp"), f"^{t}:[01]:[012]$")
    # The producer sticks to one partition, whichever; the other has nothing after that time.
    matches(tool("GetOffsetShell", "--topic-partitions", f"{t}:0-2", "--time", "1"), f"^{t}:[01]:0$")


@check
def delete_records():
    t = create("delete-records")
    produce(t, "a", "b", "c")
    out = tool("DeleteRecordsCommand", "--offset-json-file", json_file({"version": 1, "partitions": [{"topic": t, "partition": 0, "offset": 2}]}))
    matches(out, f"partition: {t}-0\tlow_watermark: 2")
    equal("records left", consume(t, 1), ["c"])
    out = tool("DeleteRecordsCommand", "--offset-json-file", json_file({"version": 1, "partitions": [{"topic": t, "partition": 0, "offset": 99}]}))
    matches(out, "OffsetOutOfRangeException")


@check
def log_dirs():
    t = create("log-dirs")
    produce(t, "a")
    out = tool("LogDirsCommand", "--describe", "--topic-list", t)
    (broker,) = json.loads(out[out.index("{"):])["brokers"]
    (found,) = [p for d in broker["logDirs"] for p in d["partitions"] if p["partition"] == f"{t}-0"]
    if found["size"] <= 0 or found["isFuture"] or found["offsetLag"] != 0:
        raise AssertionError(found)


def consume_in_group(t: str, group: str, count: int, protocol: str) -> None:
    consume(t, count, "--group", group, "--command-property", f"group.protocol={protocol}")


def groups_with(protocol: str, kind: str) -> None:
    t, group = create(f"groups-{protocol}"), topic(f"group-{protocol}")
    produce(t, *"abcdefghij")
    consume_in_group(t, group, 10, protocol)
    on_group = ["--group", group]
    matches(tool("consumer.group.ConsumerGroupCommand", "--list", "--state"), rf"^{group} +(\w+ +)?Empty")
    matches(tool("GroupsCommand", "--list"), rf"^{group} +{kind} +consumer")
    matches(tool("consumer.group.ConsumerGroupCommand", "--describe", *on_group), rf"^{group} +{t} +0 +(\S+ +)?10 +10 +0 ")
    reset = ["--reset-offsets", "--topic", t, *on_group]
    matches(tool("consumer.group.ConsumerGroupCommand", *reset, "--shift-by", "-4", "--dry-run"), rf"^{group} +{t} +0 +6 *$")
    matches(tool("consumer.group.ConsumerGroupCommand", *reset, "--to-earliest", "--execute"), rf"^{group} +{t} +0 +0 *$")
    matches(tool("consumer.group.ConsumerGroupCommand", "--describe", *on_group), rf"^{group} +{t} +0 +(\S+ +)?0 +10 +10 ")
    matches(tool("consumer.group.ConsumerGroupCommand", "--delete-offsets", "--topic", t, *on_group), rf"^{t} +0 +Successful")
    consume_in_group(t, group, 1, protocol)
    matches(tool("consumer.group.ConsumerGroupCommand", "--describe", "--state", *on_group), rf"^{group} .*Empty +(\S+ +\S+ +)?0 *$")
    matches(tool("consumer.group.ConsumerGroupCommand", "--delete", *on_group), "was successful")
    if group in tool("consumer.group.ConsumerGroupCommand", "--list").split():
        raise AssertionError(f"{group} is listed though deleted")


@check
def consumer_groups_classic():
    groups_with("classic", "Classic")


@check
def consumer_groups_848():
    groups_with("consumer", "Consumer")


def verifiable(protocol: str) -> None:
    t, group, count = create(f"verifiable-{protocol}", 3), topic(f"verifiable-{protocol}-group"), 2000
    out = tool("VerifiableProducer", "--topic", t, "--max-messages", count, "--value-prefix", "7")
    sent = {e["value"] for e in events(out.splitlines()) if e["name"] == "producer_send_success"}
    equal("acknowledged", len(sent), count)
    with running(
        "VerifiableConsumer", "--topic", t, "--group-id", group, "--group-protocol", protocol, "--max-messages", count, "--reset-policy", "earliest", "--verbose",
    ) as consumer:
        got, committed = [], 0
        for event in events(consumer.stdout):
            if event["name"] == "record_data":
                got.append(event["value"])
            elif event["name"] == "offsets_committed" and event["success"]:
                committed = sum(o["offset"] for o in event["offsets"])
            if len(got) == count:
                break
        consumer.send_signal(signal.SIGTERM)
        for event in events(consumer.stdout):
            if event["name"] == "offsets_committed" and event["success"]:
                committed = sum(o["offset"] for o in event["offsets"])
    equal("records read", sorted(got), sorted(sent))
    if committed == 0:
        raise AssertionError("nothing was committed")


@check
def verifiable_classic():
    verifiable("classic")


@check
def verifiable_848():
    verifiable("consumer")


@check
def perf_test():
    t = create("perf", 3)
    out = java(
        TOOLS + "ProducerPerformance", "--topic", t, "--num-records", 50000, "--record-size", 200, "--throughput", "-1",
        "--command-property", f"bootstrap.servers={bootstrap()}", "compression.type=lz4",
    )
    matches(out, r"50000 records sent")
    out = tool("ConsumerPerformance", "--topic", t, "--num-records", 50000, "--timeout", 60000)
    equal("records consumed", out.splitlines()[-1].split(", ")[4], "50000")


@check
def end_to_end_latency():
    t = create("latency")
    out = tool("EndToEndLatency", "--topic", t, "--num-records", 200, "--producer-acks", "all", "--record-size", 100)
    matches(out, "Avg latency", "Percentiles: 50th")


@check
def client_compatibility():
    # What the system tests of Kafka ask of an old broker through a new client. It makes a topic of this name.
    tool("TopicCommand", "--delete", "--if-exists", "--topic", "newtopic")
    yes = [
        "offsets-for-times-supported", "cluster-id-supported", "create-topics-supported", "describe-configs-supported",
        "idempotent-producer-supported",
    ]
    out = tool(
        "ClientCompatibilityTest", "--topic", create("compatibility"), *(w for y in yes for w in (f"--{y}", "True")),
        "--expect-record-too-large-exception", "False", "--num-cluster-nodes", 1, "--describe-acls-supported", "False",
    )
    matches(out, "^SUCCESS")


@check
def cluster():
    matches(java(TOOLS + "ClusterTool", "cluster-id", "--bootstrap-server", bootstrap()), r"Cluster ID: \S{22}$")
    host, port = bootstrap().rsplit(":", 1)
    matches(java(TOOLS + "ClusterTool", "list-endpoints", "--bootstrap-server", bootstrap()), rf"^1 +{host} +{port} +\S+ +unfenced")
    versions = tool("BrokerApiVersionsCommand")
    matches(versions, r"Produce\(0\): 0 to 13", r"GetTelemetrySubscriptions\(71\): UNSUPPORTED")


@check
def features():
    out = java(TOOLS + "FeatureCommand", "--bootstrap-server", bootstrap(), "describe")
    matches(out, r"metadata\.version\s.*FinalizedVersionLevel: 4\.", r"group\.version\s.*FinalizedVersionLevel: 1")
    same = java(TOOLS + "FeatureCommand", "--bootstrap-server", bootstrap(), "upgrade", "--feature", "group.version=1")
    matches(same, "group.version was upgraded to 1")
    lower = java(TOOLS + "FeatureCommand", "--bootstrap-server", bootstrap(), "downgrade", "--feature", "group.version=0", fails=True)
    matches(lower, "Could not downgrade group.version to 0")


@alone
def leader_election():
    t = create("leader-election")
    equal("elections", tool("LeaderElectionCommand", "--election-type", "preferred", "--all-topic-partitions").strip(), "")
    one = tool("LeaderElectionCommand", "--election-type", "preferred", "--topic", t, "--partition", 0)
    matches(one, f"Valid replica already elected for partitions {t}-0")


@check
def reassign_partitions():
    t = create("reassign-partitions")
    matches(tool("reassign.ReassignPartitionsCommand", "--list"), "No partition reassignments found")
    here = json_file({"version": 1, "partitions": [{"topic": t, "partition": 0, "replicas": [1]}]})
    matches(tool("reassign.ReassignPartitionsCommand", "--execute", "--reassignment-json-file", here), f"Successfully started partition reassignment for {t}-0")
    matches(tool("reassign.ReassignPartitionsCommand", "--verify", "--reassignment-json-file", here), f"Reassignment of partition {t}-0 is completed")
    there = json_file({"version": 1, "partitions": [{"topic": t, "partition": 0, "replicas": [2]}]})
    tool("reassign.ReassignPartitionsCommand", "--execute", "--reassignment-json-file", there, fails=True)


@check
def log_compaction():
    # Writes keys many times over to topics that it has compacted, and compares what is left.
    out = tool("LogCompactionTester", "--messages", 5000, "--topics", 1, "--percent-deletes", 10, "--sleep", 5)
    matches(out, "Data verification is completed|De-duplicating and validating output files")


def directory(t: str, partition: int) -> pathlib.Path:
    """Where a partition lies: directories are named for the topic's id."""
    described = tool("TopicCommand", "--describe", "--topic", t)
    topic_id = described.split("TopicId: ")[1].split()[0]
    raw = base64.urlsafe_b64decode(topic_id + "==")
    return pathlib.Path(os.environ["COMPAT_DATA"]) / "logs" / f"{raw.hex()}-{partition}"


@check
def dump_log():
    t = create("dump-log", segment_bytes=1048576, index_interval_bytes=1024)
    java(
        TOOLS + "ProducerPerformance", "--topic", t, "--num-records", 9000, "--record-size", 300, "--throughput", "-1",
        "--command-property", f"bootstrap.servers={bootstrap()}", "compression.type=none", "batch.size=4000",
    )
    produce(t, "last words")
    segments = sorted(directory(t, 0).glob("*.log"))
    if len(segments) < 2:
        raise AssertionError(f"{segments} is not more than one segment")
    out = java(TOOLS + "DumpLogSegments", "--files", ",".join(map(str, segments)), "--print-data-log", "--deep-iteration")
    matches(out, r"^Log starting offset: 0$", r"^baseOffset: 0 .* magic: 2 .* isvalid: true$", r"payload: last words$")
    offsets = [int(line.split()[2]) for line in out.splitlines() if line.startswith("| offset: ")]
    equal("offsets", offsets, list(range(9001)))
    if "isvalid: false" in out:
        raise AssertionError("a batch is not valid")
    indexes = [str(f) for f in sorted(directory(t, 0).glob("*index"))]
    if not indexes:
        raise AssertionError("closed segments have no index")
    out = java(TOOLS + "DumpLogSegments", "--files", ",".join(indexes), "--index-sanity-check")
    for index in indexes:
        matches(out, f"{index} passed sanity check|Dumping {index}")


if __name__ == "__main__":
    latency = ["--topic", topic("classes"), "--num-records", 2, "--producer-acks", "all", "--record-size", 10]
    share_classes(TOOLS + "EndToEndLatency", "--bootstrap-server", bootstrap(), *latency)
    main("Kafka's tools", java_version())
