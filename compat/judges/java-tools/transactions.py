"""Transactions with Kafka's tools: those that end, and one that stays open."""

from harness import TOOLS, alone, await_that, bootstrap, check, consume, equal, java, matches, running, tool, topic
from topics import create


@check
def transactions():
    source, target = create("copied-from"), create("copied-to")
    tool("VerifiableProducer", "--topic", source, "--max-messages", 1000)
    out = java(
        TOOLS + "TransactionalMessageCopier", "--broker-list", bootstrap(), "--input-topic", source, "--input-partition", 0,
        "--output-topic", target, "--max-messages", 1000, "--transaction-size", 100, "--transactional-id", topic("copier"),
        "--consumer-group", topic("copiers"), "--enable-random-aborts", "--group-mode", "--use-group-metadata",
    )
    matches(out, r'"remaining":0')
    equal("copied", consume(target, 1000, "--isolation-level", "read_committed"), [str(i) for i in range(1000)])
    matches(tool("TransactionsCommand", "list"), rf"^{topic('copier')}\s+1\s+\d+\s+CompleteCommit")
    matches(tool("TransactionsCommand", "describe", "--transactional-id", topic("copier")), rf"^1\s+{topic('copier')}\s.*CompleteCommit")


@alone
def transactions_open():
    t, tid = create("open-transaction"), topic("stays-open")
    on_partition, on_id = ["--topic", t, "--partition", 0], ["--transactional-id", tid]
    described = lambda: tool("TransactionsCommand", "describe-producers", *on_partition)
    with running(
        "ProducerPerformance", "--topic", t, "--num-records", 1000000, "--record-size", 10, "--throughput", 20, *on_id, "--transaction-duration-ms", 600000,
        "--command-property", "transaction.timeout.ms=900000",
    ) as producer:
        await_that("the transaction is open", lambda: "\t0 " in described())
        matches(described(), r"^\d+\s+0\s+-1\s+\d+\s+\d+\s+0\s*$")
        matches(tool("TransactionsCommand", "list", "--transactional-id-pattern", f"{tid}.*"), rf"^{tid}\s+1\s+\d+\s+Ongoing")
        equal("of an hour", rows(tool("TransactionsCommand", "list", "--duration-filter", 3600000)), [])
        matches(tool("TransactionsCommand", "describe", *on_id), rf"^1\s+{tid}\s+\d+\s+0\s+Ongoing\s+900000\s.*\s{t}-0\s*$")
        # It is older than no time at all, but its coordinator knows of it, and will end it.
        for where in (["--broker-id", 1], on_partition):
            equal("hanging", rows(tool("TransactionsCommand", "find-hanging", "--max-transaction-timeout", 0, *where)), [])
        producer.kill()
        producer.wait()
    tool("TransactionsCommand", "abort", *on_partition, "--start-offset", 0)
    matches(described(), r"^\d+\s+0\s+0\s+\d+\s+\d+\s+None\s*$")
    again = tool("TransactionsCommand", "abort", *on_partition, "--start-offset", 0, fails=True)
    matches(again, f"Could not find any open transactions starting at offset 0 on partition {t}-0")
    equal("what was committed", consume(t, 1, "--partition", 0, "--isolation-level", "read_committed", timeout_ms=5000), [])
    tool("TransactionsCommand", "forceTerminateTransaction", "--transactionalId", tid)
    matches(tool("TransactionsCommand", "describe", *on_id), rf"^1\s+{tid}\s+\d+\s+[1-9]\d*\s+Empty\s")


def rows(table: str) -> list[str]:
    """The lines of a table below its heads."""
    return table.splitlines()[1:]
