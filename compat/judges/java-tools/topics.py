"""Topics that the checks make, write and read with the tools themselves."""

from harness import tool, topic


def config(**values) -> list[str]:
    """--config key=value for every value, with . for _."""
    return [w for k, v in values.items() for w in ("--config", f"{k.replace('_', '.')}={v}")]


def create(name: str, partitions: int = 1, **configs) -> str:
    t = topic(name)
    tool("TopicCommand", "--create", "--topic", t, "--partitions", partitions, *config(**configs))
    return t


def produce(t: str, *lines: str) -> None:
    tool("ConsoleProducer", "--topic", t, stdin="".join(f"{line}\n" for line in lines))


def consume(t: str, count: int, *args, timeout_ms: int = 30000) -> list[str]:
    out = tool("consumer.ConsoleConsumer", "--topic", t, "--from-beginning", "--max-messages", count, "--timeout-ms", timeout_ms, *args)
    return [line for line in out.splitlines() if not line.startswith(("Processed a total", "The consumer rebalance"))]
