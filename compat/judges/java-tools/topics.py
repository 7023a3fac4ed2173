"""Topics that the checks make and write with the tools themselves."""

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
