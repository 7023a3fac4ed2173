"""A Kafka Streams application that counts words exactly once, killed and started again in the middle."""

import collections
import random
import shutil
import subprocess
import tempfile
import time

from harness import TOOLS, await_that, bootstrap, check, equal, java_command, java_version, main, matches, tool, topic

WORDS = [f"word{i}" for i in range(50)]
PARTITIONS = 3


class Application:
    """The word count with its topics and its state directory; it may be killed and started again."""

    def __init__(self, name: str) -> None:
        self.id, self.source, self.target = topic(name), topic(f"{name}-lines"), topic(f"{name}-counts")
        self.state = tempfile.mkdtemp(prefix="morrow-streams-")
        self.want = collections.Counter()
        self._random = random.Random(name)
        self._process = None
        for t in (self.source, self.target):
            tool("TopicCommand", "--create", "--topic", t, "--partitions", PARTITIONS)

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.kill()
        shutil.rmtree(self.state, ignore_errors=True)

    def write(self, lines: int) -> None:
        text = []
        for _ in range(lines):
            words = self._random.choices(WORDS, k=10)
            self.want.update(words)
            text.append(" ".join(words) + "\n")
        tool("ConsoleProducer", "--topic", self.source, stdin="".join(text))

    def start(self) -> None:
        command = java_command(
            "morrow.judges.WordCount", bootstrap(), self.id, self.source, self.target, self.state, options=["-Xmx512m"],
        )
        self._log = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(command, stdout=self._log, stderr=subprocess.STDOUT, text=True)

    def output(self) -> str:
        self._log.seek(0)
        return self._log.read()

    def kill(self) -> None:
        """Ends the process as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def counts(self) -> list[tuple[str, int]]:
        """Every count that was committed, in the order of its partition."""
        out = tool(
            "consumer.ConsoleConsumer", "--topic", self.target, "--from-beginning", "--timeout-ms", 5000, "--isolation-level", "read_committed",
            "--formatter-property", "print.key=true", "--formatter-property", "value.deserializer=org.apache.kafka.common.serialization.LongDeserializer",
        )
        rows = [line.split("\t") for line in out.splitlines() if "\t" in line]
        return [(word, int(count)) for word, count in rows]

    def await_counts(self) -> list[tuple[str, int]]:
        """Waits until the last count of every word is right, and returns them all."""
        found = []

        def right():
            nonlocal found
            found = self.counts()
            return collections.Counter(dict(found)) == self.want or self._process.poll() is not None

        try:
            await_that("the counts are right", right)
        except TimeoutError:
            pass
        equal(f"last counts; the application says {self.output()[-600:]}", dict(found), dict(self.want))
        return found


def never_twice(counts: list[tuple[str, int]]) -> None:
    """Counts of a word only grow: one that is seen again, or smaller, was counted by a transaction that did not count."""
    last: dict[str, int] = {}
    for word, count in counts:
        if count <= last.get(word, 0):
            raise AssertionError(f"{word} goes from {last[word]} to {count}")
        last[word] = count


@check
def exactly_once():
    with Application("exactly-once") as app:
        app.write(500)
        app.start()
        never_twice(app.await_counts())
        topics = tool("TopicCommand", "--list").split()
        for suffix in ("counts-repartition", "counts-changelog"):
            if f"{app.id}-{suffix}" not in topics:
                raise AssertionError(f"there is no {app.id}-{suffix}")
        changelog = tool("ConfigCommand", "--describe", "--entity-type", "topics", "--entity-name", f"{app.id}-counts-changelog")
        matches(changelog, r"cleanup\.policy=compact")


@check
def kill_and_restore():
    with Application("restore") as app:
        app.write(500)
        app.start()
        app.await_counts()
        for _ in range(2):
            app.write(500)
            time.sleep(1)  # somewhere within a transaction
            app.kill()
            # Its state is gone: it comes back from the changelog.
            shutil.rmtree(app.state)
            app.write(200)
            app.start()
        never_twice(app.await_counts())


@check
def reset():
    with Application("reset") as app:
        app.write(100)
        app.start()
        app.await_counts()
        app.kill()
        out = await_that("the application is gone from its group", lambda: reset_tool(app))
        matches(out, "Done")
        topics = tool("TopicCommand", "--list").split()
        left = [t for t in topics if t.startswith(f"{app.id}-counts-")]
        equal("internal topics after the reset", left, [])


def reset_tool(app: Application) -> str:
    done = subprocess.run(
        java_command(TOOLS + "StreamsResetter", "--bootstrap-server", bootstrap(), "--application-id", app.id, "--input-topics", app.source, "--force"),
        text=True, capture_output=True, check=False, timeout=90,
    )
    return done.stdout if done.returncode == 0 else ""


if __name__ == "__main__":
    main("Kafka Streams", java_version())
